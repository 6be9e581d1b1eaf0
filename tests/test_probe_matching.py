"""Matched controls, baselines and intervals of labelled variants, against slow references."""

import math
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import RobustScaler
from test_genomes import fasta, own_cache
from test_probe_variants import allele, letters, net, rc, source
from typer.testing import CliRunner

from dnabench.cli import main
from dnabench.pretraining.markov import fit
from dnabench.probes.baselines import (
    ORDER,
    Baselines,
    chain_direction,
    compared,
    contexts,
    log_ratios,
)
from dnabench.probes.changes import Change, Windows
from dnabench.probes.labelled import areas, rates_elsewhere
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.matching import distances_to, match, matched_table, with_distances
from dnabench.probes.variant_tables import read_table
from dnabench.probes.variants import Asked, score_alleles, score_file
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed
from dnabench.types import Sequences

__all__ = ["net", "own_cache"]  # fixtures


def drawn(n=400, seed=0):
    rng = np.random.default_rng(seed)
    kinds = [f"{rng.integers(1, 4)}, {rng.choice(['a', 'b'])}" for _ in range(n)]
    near = np.stack([rng.exponential(50_000, n), rng.random(n) / 2, rng.gamma(2, 40, n)], 1)
    near[:, 0] = np.round(near[:, 0], -4)  # equal distances
    return rng.random(n) < 0.04, kinds, near


def slow_match(positive, kinds, near, k):
    """One variant after the other, all distances at once, as RobustScaler and cdist have them."""
    scaled, taken, groups = RobustScaler().fit_transform(near), set(), {}
    for kind in sorted({*kinds}):
        for i in range(len(kinds)):
            if positive[i] and kinds[i] == kind:
                away = cdist(scaled[[i]], scaled)[0]
                free = [
                    j for j in range(len(kinds))
                    if not positive[j] and kinds[j] == kind and j not in taken
                ]  # fmt: skip
                groups[i] = sorted(free, key=lambda j, away=away: (round(away[j], 9), j))[:k]
                taken.update(groups[i])
    out = np.full(len(kinds), -1)
    for number, i in enumerate(sorted(groups)):
        out[[i, *groups[i]]] = number
    return out


@pytest.mark.parametrize("features", [1, 3])
@pytest.mark.parametrize("k", [1, 9])
def test_controls_are_those_of_a_slow_search(k, features):
    positive, kinds, near = drawn(900)
    found = match(positive, kinds, near[:, :features], k)
    assert not found.dropped and found.controls == (~positive).sum()
    assert (found.group == slow_match(positive, kinds, near[:, :features], k)).all()
    sizes = np.bincount(found.group[found.group >= 0])
    assert (sizes == k + 1).all() and len(sizes) == positive.sum()
    for i in range(len(sizes)):
        own = found.group == i
        assert len({kind for kind, mine in zip(kinds, own, strict=True) if mine}) == 1
        assert positive[own].sum() == 1


def test_variants_without_enough_controls_are_left_out_and_counted():
    positive = np.array([True] * 3 + [False] * 5 + [True])
    kinds = ["a"] * 8 + ["b"]
    found = match(positive, kinds, np.arange(9.0)[:, None], 2, seed=3)
    assert found.dropped == {"a": 1, "b": 1}
    assert (np.bincount(found.group[found.group >= 0]) == 3).all()
    assert found.group.max() == 1 and (found.group[8] == -1)
    again = match(positive, kinds, np.arange(9.0)[:, None], 2, seed=3)
    assert (again.group == found.group).all()


TRAITS = {"chrom": pa.string(), "pos": pa.int64(), "ref": pa.string(), "alt": pa.string(),
          "label": pa.bool_(), "consequence": pa.string(), "tss_dist": pa.int64(),
          "maf": pa.float64(), "ld_score": pa.float64()}  # fmt: skip


def trait_table(seqs, n=300, seed=0):
    """Variants with the columns that TraitGym's files have."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(n):
        name = str(rng.choice([*seqs]))
        pos = int(rng.integers(1, len(seqs[name])))
        ref = seqs[name][pos - 1]
        alt = str(rng.choice([b for b in "ACGT" if b != ref]))
        rows.append((name.removeprefix("chr"), pos, ref, alt, i % 15 == 0,
                     str(rng.choice(["PLS", "dELS"])), int(rng.integers(0, 90_000)),
                     float(rng.random() / 2), float(rng.gamma(2, 40))))  # fmt: skip
    rows.sort()
    columns = dict(zip(TRAITS, zip(*rows, strict=True), strict=True))
    return pa.table(columns, schema=pa.schema(list(TRAITS.items())))


SEQS = {f"chr{i}": letters(700, i) for i in (1, 2, 3)}
GFF = "".join(
    f"{c}\tx\tgene\t{a}\t{b}\t.\t{s}\t.\tID=g{a}\n"
    f"{c}\tx\tmRNA\t{a}\t{b}\t.\t{s}\t.\tID=t{a};Parent=g{a}\n"
    f"{c}\tx\texon\t{a}\t{b}\t.\t{s}\t.\tParent=t{a}\n"
    f"{c}\tx\tCDS\t{a + 10}\t{b - 10}\t.\t{s}\t0\tParent=t{a}\n"
    for c, a, b, s in (("1", 101, 200, "+"), ("2", 301, 420, "-"), ("3", 51, 190, "+"),
                       ("3", 500, 640, "-"))
)  # fmt: skip


@pytest.mark.slow
def test_from_a_table_of_traits_to_areas_by_the_commands(tmp_path, net):
    path = fasta(tmp_path / "x.fa", SEQS)
    made = trait_table(SEQS, 900)
    pq.write_table(made.drop_columns(["tss_dist"]), tmp_path / "all.parquet")
    (tmp_path / "g.gff3").write_text(GFF)
    matched = tmp_path / "m.parquet"
    said = dnabench("probe", "match", tmp_path / "all.parquet", "--near", "tss_dist,maf,ld_score",
                    "--gff", tmp_path / "g.gff3", "--controls", 5, "--to", matched)  # fmt: skip
    assert "controls each, of 840; equal in chrom, consequence" in said.stdout, said.stderr
    table = pq.read_table(matched)
    assert table.column_names == [n for n in TRAITS if n != "tss_dist"] + [
        "tss_dist",
        "match_group",
    ]
    groups = table["match_group"].to_numpy()
    assert (np.bincount(groups) == 6).all()
    out = tmp_path / "out.parquet"
    said = dnabench("probe", "variants", net, "--vcf", matched, "--genome", path, "--labels",
                    "label", "--direction", "abs", "--to", out, "--device", "cpu")  # fmt: skip
    assert f"{len({*groups})} match groups, bootstrapped within sequences" in said.stdout, (
        said.stderr
    )
    assert "distance to a start" in said.stdout and "needs --gff" not in said.stdout
    scored = pq.read_table(out)
    assert scored.select(table.column_names).equals(table)
    assert scored.column_names[-3:] == ["genome", "score", "reason"]
    assert scored["score"].null_count == 0


def test_a_table_is_scored_as_its_variants_are(tmp_path):
    genome = packed(fasta(tmp_path / "x.fa", SEQS))
    table, likelihood = trait_table(SEQS, 40), Likelihood(source("convnova-386k"))
    rows = table.to_pylist()
    rows[3]["ref"] = rc(rows[3]["ref"])
    table = pa.Table.from_pylist(rows, table.schema)
    pq.write_table(table, tmp_path / "v.parquet")
    done = score_file(likelihood, tmp_path / "v.parquet", genome, tmp_path / "out.parquet",
                      Asked("label"))  # fmt: skip
    out = pq.read_table(tmp_path / "out.parquet").to_pylist()
    one = [allele(r["pos"] - 1, r["ref"], r["alt"], r["chrom"]) for r in rows]
    expected = score_alleles(likelihood, genome, one)
    for row, said in zip(out, expected, strict=True):
        assert row["score"] is None if math.isnan(said.score) else row["score"] == said.score
        assert (row["reason"], row["genome"]) == (said.why, said.said)
    assert out[3]["score"] is None and done.scored == 39
    assert done.labelled.labels == [str(r["label"]) for r in rows]
    with pytest.raises(ValueError, match="has a column genome, score, reason, which is"):
        score_file(likelihood, tmp_path / "out.parquet", genome, tmp_path / "again.parquet")
    with pytest.raises(ValueError, match="is a table; name a file that ends in"):
        score_file(likelihood, tmp_path / "v.parquet", genome, tmp_path / "out.vcf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["alt"]), "has no column alt; it has chrom"),
        (lambda t: t.slice(0, 0), "no variants, the table has no rows"),
        (lambda t: t.set_column(1, "pos", t["pos"].cast(pa.string())), "pos is string; write"),
        (lambda t: t.set_column(1, "pos", pa.array([0] * len(t))), "row 1: .*'pos': 0"),
        (lambda t: t.set_column(1, "pos", pa.array([5, None] + [5] * 18)), "row 2: .*'pos': None"),
        (lambda t: t.set_column(0, "chrom", pa.array(["Z"] * len(t))), "no sequence has the same"),
        (lambda t: t.append_column("ref", t["ref"]), "has several columns ref"),
        (lambda t: t.set_column(4, "label", pa.array(["maybe"] * len(t))), None),
    ],
)  # fmt: skip
def test_bad_tables_get_one_message_and_lose_nothing(change, message, tmp_path):
    genome = packed(fasta(tmp_path / "x.fa", SEQS))
    pq.write_table(change(trait_table(SEQS, 20)), tmp_path / "v.parquet")
    (tmp_path / "out.parquet").write_text("mine")
    likelihood = Likelihood(source("convnova-386k"))
    if message is None:  # a label that is neither is said by matching and before scoring
        with pytest.raises(ValueError, match="'maybe' is neither 0 nor 1; write 1 for the class"):
            score_file(likelihood, tmp_path / "v.parquet", genome, tmp_path / "out.parquet",
                       Asked("label"))  # fmt: skip
        assert likelihood.passes == 0 and (tmp_path / "out.parquet").read_text() == "mine"
        with pytest.raises(ValueError, match="'maybe' is neither 0 nor 1"):
            matched_table(read_table(tmp_path / "v.parquet"), tmp_path, "label", [], [], 1, 0)
        return
    with pytest.raises(ValueError, match=message):
        score_file(likelihood, tmp_path / "v.parquet", genome, tmp_path / "out.parquet")
    assert (tmp_path / "out.parquet").read_text() == "mine"


def test_what_cannot_be_matched_is_refused(tmp_path):
    table = trait_table(SEQS, 60)

    def ask(table, **more):
        how = {"label": "label", "exact": ["consequence"], "near": ["tss_dist"], "k": 9, "seed": 0}
        return matched_table(table, tmp_path / "v.parquet", **{**how, **more})

    with pytest.raises(ValueError, match="no variant of class 1 has 99 controls"):
        ask(table, k=99)
    some = pa.array([None if i == 7 else 5 for i in range(60)])
    with pytest.raises(ValueError, match="1 variant with a label has no tss_dist, row 8"):
        ask(table.set_column(6, "tss_dist", some))
    with pytest.raises(ValueError, match="column consequence has string, not numbers"):
        ask(table, near=["consequence"])
    with pytest.raises(ValueError, match="0 of 60 variants with a label in label are of class 1"):
        ask(table.set_column(4, "label", pa.array([False] * 60)))
    signs = pa.array([(-1) ** i * v for i, v in enumerate(table["tss_dist"].to_pylist())])
    signed, plain = ask(table.set_column(6, "tss_dist", signs))[1], ask(table)[1]
    assert (signed.group == plain.group).all()  # bp before and behind a start are alike
    out, _ = ask(table)
    with pytest.raises(ValueError, match="has a column match_group, which is written here"):
        ask(out)


def test_distances_are_to_the_first_base_of_either_strand(tmp_path):
    (tmp_path / "g.gff3").write_text(GFF)
    annotation = read_annotation(tmp_path / "g.gff3", coding=False)
    starts = {"chr1": [101], "2": [420], "chr3": [51, 640]}  # from 1
    rows = [(c, p) for c in starts for p in (1, 51, 300, 420, 641)]
    table = pa.table({"chrom": [c for c, _ in rows], "pos": [p for _, p in rows]})
    expected = [min(abs(p - s) for s in starts[c]) for c, p in rows]
    assert distances_to(annotation, table, tmp_path).tolist() == expected
    some = pa.array([-7 if i % 2 else None for i in range(len(rows))], pa.int64())
    filled = with_distances(annotation, table.append_column("tss_dist", some), tmp_path)
    made = [-7 if i % 2 else x for i, x in enumerate(expected)]
    assert filled.column_names == ["chrom", "pos", "tss_dist"]
    assert filled["tss_dist"].to_pylist() == made
    assert with_distances(annotation, table, tmp_path)["tss_dist"].to_pylist() == expected
    with pytest.raises(ValueError, match=r"every row of .* has a tss_dist, so that none is made"):
        with_distances(annotation, filled, tmp_path)
    with pytest.raises(ValueError, match="has no gene on 9"):
        distances_to(annotation, pa.table({"chrom": ["9"], "pos": [1]}), tmp_path)


def test_an_annotation_that_would_not_be_read_is_refused(tmp_path):
    (tmp_path / "g.gff3").write_text(GFF)
    pq.write_table(trait_table(SEQS), tmp_path / "v.parquet")
    words = ["probe", "match", tmp_path / "v.parquet", "--gff", tmp_path / "g.gff3", "--near"]
    for near, message in (("maf", "tss_dist is not in --near, so"), ("tss_dist", "every row of")):
        said = CliRunner().invoke(main, [*map(str, words), near])
        assert said.exit_code and message in f"{said.output} {said.exception}"


def test_a_chain_scores_a_base_by_the_windows_of_both_strands(tmp_path):
    genome = packed(fasta(tmp_path / "x.fa", SEQS))
    (chain,) = fit(genome, [0, 1, 2], [2])

    def log_p(text):
        codes = Sequences.parse([text]).codes[None]
        logs = chain.predict(codes)[0].astype(float)
        return sum(logs[i, "ACGT".index(b)] for i, b in enumerate(text) if i >= 2 and b != "N")

    seq = SEQS["chr1"]
    for at in (2, 30, 400):
        first, alt = seq[at - 2 : at + 30], rc(seq[at])
        second = first[:2] + alt + first[3:]
        slow = np.mean([log_p(f(second)) - log_p(f(first)) for f in (str, rc)])
        around = Sequences.parse([seq[at - 2 : at + 3]]).codes[None]
        found = log_ratios(chain, around, Sequences.parse([alt]).codes)
        assert found == pytest.approx([slow], abs=1e-5)
    beside = Baselines(genome, 24)([allele(1, seq[1], rc(seq[1]))])
    assert np.isfinite(beside.markov).all() and ORDER > 1  # at the end of a sequence too


def test_contexts_are_alike_on_both_strands():
    three = ["ACG", "TTA", "CAT", "GGG", "NCA"]
    alts = ["T", "G", "C", "A", "T"]

    def kinds(texts, alts):
        codes = np.stack([Sequences.parse([t]).codes for t in texts])
        return contexts(codes, Sequences.parse(["".join(alts)]).codes)

    found = kinds(three, alts)
    assert (found == kinds([rc(t) for t in three], [rc(a) for a in alts])).all()
    assert found[-1] == -1 and len({*found.tolist()}) == 5
    changes = [(a + r + b, x) for a in "ACGT" for b in "ACGT" for r in "ACGT" for x in "ACGT"]
    every = kinds(*zip(*[(t, x) for t, x in changes if t[1] != x], strict=True))
    assert len({*every.tolist()}) == 96


def test_rates_are_of_other_chromosomes():
    rng = np.random.default_rng(0)
    kinds, y = rng.integers(-1, 5, 200), rng.random(200) < 0.3
    chrom = [f"chr{i % 3}" for i in range(200)]
    found = rates_elsewhere(kinds, y, chrom)
    for i in range(200):
        others = [j for j in range(200) if chrom[j] != chrom[i]]
        same = [y[j] for j in others if kinds[j] == kinds[i]]
        slow = (sum(same) + np.mean(y[others])) / (len(same) + 1)
        assert np.isnan(found[i]) if kinds[i] < 0 else found[i] == pytest.approx(slow, abs=1e-12)
    assert np.isnan(rates_elsewhere(kinds, y, ["chr1"] * 200)).all()


def test_groups_are_drawn_within_chromosomes_and_the_mean_is_over_chromosomes():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 5)
    chrom = [f"chr{i % 4}" for i in groups]
    y = np.tile([True, False, False, False, False], 60)
    scores = rng.normal(size=300) - y
    labels = [*map(str, y)]
    found = areas(scores, labels, chrom, groups=[*map(str, groups)])
    by = defaultdict(list)
    for i, name in enumerate(chrom):
        by[name].append(i)
    each = {c: (len(i), average_precision_score(y[i], -scores[i])) for c, i in by.items()}
    mean = sum(n * a for n, a in each.values()) / 300
    assert found.by_chromosome == pytest.approx(mean, abs=1e-12) and found.mixed == 4
    assert found.groups == 60 and found.draws == 1_000
    low, high = found.by_chromosome_interval
    assert low < found.by_chromosome < high
    slow = []
    for _ in range(1_000):
        top = 0
        for c in by:
            own = [g for g in range(60) if f"chr{g % 4}" == c]
            i = np.concatenate([np.flatnonzero(groups == g) for g in rng.choice(own, len(own))])
            top += len(i) * average_precision_score(y[i], -scores[i])
        slow.append(top / 300)
    bounds = np.quantile(slow, [0.025, 0.975]) - np.mean(slow) + mean
    assert (low, high) == pytest.approx(tuple(bounds), abs=0.02)
    one = areas(scores, labels, ["chr1"] * 300, groups=[*map(str, groups)])
    assert one.auprc_interval is not None  # groups of a single chromosome are enough
    assert areas(scores, labels, ["chr1"] * 300).auprc_interval is None
    with pytest.raises(ValueError, match="match group 0: on several chromosomes"):
        areas(scores, labels, chrom, groups=["0"] * 5 + [*map(str, groups[5:])][:-1] + ["0"])


def test_baselines_are_compared_on_the_variants_that_the_network_scored(tmp_path):
    genome = packed(fasta(tmp_path / "x.fa", SEQS))
    rows = trait_table(SEQS, 120).to_pylist()
    alleles = [allele(r["pos"] - 1, r["ref"], r["alt"], r["chrom"]) for r in rows]
    beside = Baselines(genome, 24, {0: np.array([100])})(alleles)
    gc = [sum(b in "GC" for b in SEQS[f"chr{r['chrom']}"][max(0, r["pos"] - 13) : r["pos"] + 11])
          for r in rows]  # fmt: skip
    inner = [i for i, r in enumerate(rows) if 13 <= r["pos"] <= 688]
    assert beside.gc[inner] == pytest.approx(np.array(gc)[inner] / 24)
    scores = np.arange(120.0)
    scores[:5] = np.nan
    labels, chroms = [str(r["label"]) for r in rows], [r["chrom"] for r in rows]
    found = compared(scores, "minus", labels, chroms, (), beside)
    assert [v if isinstance(v, str) else v.variants for v in found.values()] == [
        115, 115, 115, sum(c == "1" for c in chroms[5:])
    ]  # fmt: skip
    assert found["GC of the window"].direction == "plus"
    assert found["Markov chain of order 6"].direction == "minus"
    read = Change(Windows("net", 24), "", "", "", "", lambda codes: codes.sum(1))
    assert chain_direction(read, "plus") == "minus" == chain_direction(read, "minus")
    assert chain_direction(Likelihood(source("convnova-386k")), "plus") == "plus"
    indels = compared(scores, "minus", labels, chroms, (), beside._replace(
        context=np.full(120, -1), markov=np.full(120, np.nan)))  # fmt: skip
    assert indels["context of 3 bp"] == "of single bases alone" == indels["Markov chain of order 6"]
    apart = np.full(120, np.nan)
    apart[[i for i in range(120) if labels[i] == "True"]] = 0.5
    some = compared(scores, "minus", labels, chroms, (), beside._replace(gc=apart))
    assert str(some["GC of the window"]).startswith("--labels: ")
    alone = compared(scores, "minus", labels, ["1"] * 120, (), beside._replace(
        distance=np.full(120, np.nan)))  # fmt: skip
    assert alone["context of 3 bp"] == "needs variants of several sequences"
    assert alone["distance to a start"] == "needs --gff, or a column tss_dist"
