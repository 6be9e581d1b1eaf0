"""How much context a prediction uses: probes/context.py, and the smallest feature of a position."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_transformers as tiny
import torch
import typer
from conftest import dnabench
from kept_cases import put, tiny_network  # noqa: F401
from scipy.special import softmax
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import CASES, training
from test_probe_variants import letters, rc, slow_site, source

from dnabench.cli.probe_context import _asked, _middle, _say
from dnabench.models.language import entries
from dnabench.pretraining.language_nets import language_net
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes.blocks import blocks_of, interval, medians, quantiles
from dnabench.probes.context import (
    Places,
    contexts_of,
    last,
    of_language,
    of_network,
    places_of,
    shares,
    still,
    variances,
)
from dnabench.probes.context_figures import context_figure, position_figure
from dnabench.probes.context_files import Found, table, write_about
from dnabench.probes.likelihood import Likelihood
from dnabench.tasks.io.features import smallest_features
from dnabench.tasks.io.packed import packed
from dnabench.tasks.io.regions import read_regions
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture
CONTEXTS = np.arange(0, 2_001, 10)


def shifted(at, by=0.5):
    """Probabilities that change once, for good."""
    out = np.full((1, len(CONTEXTS), 4), 0.25)
    out[0, at <= CONTEXTS] = [0.25 + by, 0.25 - by / 3, 0.25 - by / 3, 0.25 - by / 3]
    return out


def test_a_lasting_change_by_both_rules():
    assert still(shifted(1_000), CONTEXTS).tolist() == [0]  # later than 100 contexts: not seen
    assert still(shifted(990), CONTEXTS).tolist() == [990]
    assert last(shifted(1_000), CONTEXTS).tolist() == [1_000]
    assert last(shifted(990), CONTEXTS).tolist() == [990]
    assert last(shifted(3_000), CONTEXTS).tolist() == [0]
    assert last(shifted(500, 0.0199), CONTEXTS).tolist() == [0]  # total variation .0199
    assert last(shifted(500, 0.0201), CONTEXTS).tolist() == [500]
    restless = np.random.default_rng(0).dirichlet(np.ones(4), (1, len(CONTEXTS)))
    assert np.isnan(still(restless, CONTEXTS)).all()
    assert last(restless, CONTEXTS).tolist() == [2_000]  # censored
    assert np.isnan(still(shifted(0)[:, :50], CONTEXTS[:50])).all()  # too few contexts


def test_variances_are_those_of_numpy():
    p = np.random.default_rng(1).dirichlet(np.ones(4), (2, 150))
    found = variances(p)
    assert found.shape == (2, 51)
    assert found[1, 7] == pytest.approx(sum(np.var(p[1, 7:107, k]) for k in range(4)))


def regions(tmp_path, *rows):
    path = tmp_path / "at.bed"
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    return read_regions(path)


@pytest.mark.parametrize("name", CASES)
def test_every_family_is_asked_as_in_a_loop_or_refused(name, tmp_path):
    one, seq = source(name), letters(90)
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    if name in ("dnabert2", "gena_lm"):
        with pytest.raises(ValueError, match="none of which stands for a base"):
            of_language(Likelihood(one))
        return
    asked = of_language(Likelihood(one))
    contexts = contexts_of(asked, 24, 12)
    reach = 24 if asked.causal else 12
    places = places_of(
        regions(tmp_path, ("1", 40, 41, "a", 0, "+"), ("1", 45, 46, "b", 0, "-"),
                ("1", 2, 3, "c", 0, "+")), genome, reach,
    )  # fmt: skip
    assert places.at.tolist() == [40, 45] and sum(places.left_out.values()) == 1
    [(_, found)] = list(shares(asked, genome, places, contexts))
    for i, (text, at) in enumerate(((seq, 40), (rc(seq), 89 - 45))):
        for j, context in enumerate(contexts.tolist()):
            left = context if asked.causal else context // 2
            shown = text[at - left : at + 1 + (0 if asked.causal else left)]
            slow = alone(one, shown, left)
            np.testing.assert_allclose(found["none"][i, j], slow, atol=2e-5)
    # with all of its context shown nothing is left to shuffle
    np.testing.assert_allclose(found["none"][:, -1], found["shuffled"][:, -1], atol=1e-5)
    assert np.abs(found["none"] - found["shuffled"])[:, 0].max() > 1e-4


def alone(one, text, index):
    if not one.model.language.causal:
        return softmax([slow_site(one, text, index, base) for base in "ACGT"])
    if index == 0:
        return [0.25] * 4
    ids = one.tokenizer(Sequences.parse([text]), len(text), "mask").ids.astype(int)
    with torch.no_grad():
        logits = one.net(torch.from_numpy(ids), None)[0, index - 1]
    return softmax(logits[list(entries(one.model, one.options)[:4])].double().numpy())


def test_a_convolution_settles_within_its_receptive_field(tmp_path):
    """A stack of kernel 9 with dilations 1 and 2 sees 25 bp, so 24 around the base."""
    one = source("gpn-legacy", 100, width=8, inner=8, layers=2)
    asked = of_language(Likelihood(one))
    genome = packed(fasta(tmp_path / "g.fa", random_contigs([1_000])))
    every = [("chr1", i, i + 1) for i in range(100, 900, 9)]
    places = places_of(regions(tmp_path, *every), genome, 50)
    contexts, parts = contexts_of(asked, 100, 2), []
    for _, found in shares(asked, genome, places, contexts):
        parts.append(found["shuffled"])
    p = np.concatenate(parts)
    assert len(p) == 89
    np.testing.assert_allclose(p[:, contexts >= 24], p[:, -1:].repeat(39, 1), atol=1e-5)
    assert 2 <= last(p, contexts).max() <= 24


def test_fine_tuned_networks_answer_for_the_base(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "per_base", 60)[0]
    asked, seq = of_network(network), letters(200)
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    places = places_of(regions(tmp_path, ("chr1", 100, 101)), genome, 20)
    [(_, found)] = list(shares(asked, genome, places, contexts_of(asked, 40, 20)))
    assert asked.trained == 60 and found["none"].shape[:2] == (1, 3)
    logits = network.logits([seq[90:111]])[0, 10].astype(float)
    np.testing.assert_allclose(found["none"][0, 1], softmax(logits), atol=1e-5)
    other = tiny_network(tmp_path / "b", put, "convnova-386k", "binary", 60)[0]
    with pytest.raises(ValueError, match="one answer for a sequence"):
        of_network(other)


def test_words_of_a_fine_tuned_network_stay_in_frame(tmp_path, put):  # noqa: F811
    """The base is the first of its word at every context, as it is for language models."""
    network = tiny_network(tmp_path, put, "ntv2-50m", "per_base", 60, CASES["ntv2-50m"])[0]
    asked, seen = of_network(network), []
    contexts = contexts_of(asked, 60, 10)
    assert contexts.tolist() == [0, 12, 24, 36, 48, 60]
    language = of_language(Likelihood(source("ntv2-50m")))
    assert contexts_of(language, 60, 10).tolist() == contexts.tolist()
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": letters(200)}))
    places = places_of(regions(tmp_path, ("chr1", 100, 101)), genome, 30)

    def noted(codes, index):
        seen.append(index)
        return asked.ask(codes, index)

    list(shares(asked._replace(ask=noted), genome, places, contexts))
    assert {index % 6 for index in seen} == {0}


def test_what_a_network_was_trained_on_is_said_only_where_it_is_known(tmp_path, capsys):
    official = of_language(Likelihood(source("convnova-386k", 512)))
    assert official.trained == 0
    found = found_of([10, 20, 40], range(0, 1500, 10))
    for known in (official, official._replace(trained=512)):
        _say(known, found.places, found, table(found), 1490)
        assert ("trained on 512 bp" in capsys.readouterr().out) == bool(known.trained)
        figure = context_figure(found, known.trained)
        names = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("training windows" in names) == bool(known.trained)
        dashed = [line for ax in figure.axes for line in ax.lines if line.get_linestyle() == "--"]
        assert len(dashed) == 2 * bool(known.trained)


def test_single_positions_are_counted_as_in_the_files():
    p = np.full((1, 150, 4), 0.25)
    found = found_of([10], range(0, 1500, 10))._replace(first={"none": p, "shuffled": p})
    found = found._replace(places=found.places._replace(at=np.array([14_737])))
    ax = position_figure(found, 0, tuple("ACGT")).axes[0]
    assert "c:14,737" in [text.get_text() for text in (*ax.texts, ax.title)]
    assert "position from 0" in ax.get_xlabel()


def test_flags_that_a_network_has_no_use_for_are_refused(tmp_path, put, capsys):  # noqa: F811
    tiny_network(tmp_path / "kept", put, "convnova-386k", "per_base", 60)
    kept = next((tmp_path / "kept").rglob("network.json")).parent
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")

    def said(network, length=0, regime="pretrained", set_=(), code="", trust=False):
        with pytest.raises((ValueError, typer.Exit)) as e:
            _asked(str(network), length, regime, list(set_), "cpu", code, trust)
        return capsys.readouterr().err or str(e.value)

    assert "--length 99: " in said(kept, 99) and "--length 99: " in said(tmp_path / "net", 99)
    assert "--regime scratch: " in said(kept, regime="scratch")
    assert "width=4: " in said(kept, set_=["width=4"])
    for network in (tmp_path / "net", "gpn"):
        assert "--model net.py:Net: " in said(network, code="net.py:Net")
        assert "--trust-remote-code: " in said(network, trust=True)
    assert "--regime scratch: " in said(tmp_path / "net", regime="scratch")


def test_the_smallest_feature_names_a_position(tmp_path):
    gff = tmp_path / "g.gff3"
    rows = [("chr1", "chromosome", 1, 1000), ("chr1", "gene", 101, 300), ("chr1", "CDS", 151, 200),
            ("chr1", "exon", 101, 200), ("chr2", "gene", 1, 10)]  # fmt: skip
    gff.write_text(
        "".join(f"{c}\tx\t{k}\t{a}\t{b}\t.\t+\t.\tID=x\n" for c, k, a, b in rows)
        + "##FASTA\nACGT\n"
    )
    at = np.array([99, 100, 149, 150, 199, 200, 299, 300, 9, 10])
    chroms = ["1"] * 8 + ["chr2"] * 2
    found = smallest_features(gff, chroms, at)
    none = "intergenic"
    assert found == [none, "exon", "exon", "CDS", "CDS", "gene", "gene", none, "gene", none]
    with pytest.raises(ValueError, match="has no feature on chr9"):
        smallest_features(gff, ["chr9"], np.array([4]))


def test_exact_names_win_and_aliases_of_the_genome_count(tmp_path):
    gff = tmp_path / "g.gff3"
    line = "{}\tx\t{}\t1\t100\t.\t+\t.\tID=x\n"
    gff.write_text(line.format("chr1", "gene") + line.format("1", "exon"))
    at = np.array([5, 5])
    assert smallest_features(gff, ["1", "chr1"], at) == ["exon", "gene"]
    assert smallest_features(gff, ["chr1", "1"], at) == ["gene", "exon"]
    # chr1 is another sequence of the genome, where no position lies
    gff.write_text(line.format("chr1", "gene") + line.format("1", "intron"))
    others = {"1": ["chr1"], "chr1": ["1"]}
    assert smallest_features(gff, ["1"], at[:1], others) == ["intron"]
    gff.write_text(line.format("IV", "gene"))
    names = {"NC_001136.10": ["IV", "chrIV"], "b": []}
    assert smallest_features(gff, ["NC_001136.10"], at[:1], names) == ["gene"]
    with pytest.raises(ValueError, match="has no feature on NC_001136"):
        smallest_features(gff, ["NC_001136.10"], at[:1])
    with pytest.raises(ValueError, match="'IV' may be any of a, b"):
        smallest_features(gff, ["a", "b"], at, {"a": ["IV"], "b": ["IV"]})


def found_of(still, contexts):
    n = len(still)
    places = Places(["c"] * n, np.arange(n) * 10_000, np.array(["+"] * n), np.zeros(n, int), {})
    each = dict.fromkeys(("none", "shuffled"), np.array(still, float))
    settled = dict.fromkeys(each, np.zeros(n))
    return Found(np.array(contexts), places, [], each, settled, {}, {})


def test_positions_that_are_never_still_count_as_beyond(tmp_path):
    nan = np.nan
    [row, _] = table(found_of([10, 20, nan, nan, nan], range(0, 1500, 10)))
    assert row.unsettled == 3 and row.still == np.inf and row.still_quartiles == (20, np.inf)
    assert _middle(row.still, row.still_quartiles, 500) == "> 500 [20, > 500]"
    assert found_of([], range(0, 1500, 10)).testable == 500
    [row, _] = table(found_of([10, 20, 40, 60, nan] * 10, range(0, 1500, 10)))
    assert row.still == 40 and row.still_interval[0] <= 40 <= row.still_interval[1]
    assert row.still_quartiles == (20, 60)
    # fewer contexts than the rule needs: nothing is said
    [few, other] = table(found_of([nan] * 5, range(99)))
    assert few.unsettled is None and np.isnan(few.still) and few.last == 0
    write_about([row, few, other], {}, tmp_path)
    said = json.loads((tmp_path / "context.json").read_text(), parse_constant=pytest.fail)["rows"]
    assert said[1]["still"] is None and said[1]["unsettled"] is None and said[0]["still"] == 40
    values = np.array([1.0, 2, 4, np.inf])
    assert quantiles(values, [0, 0.5, 0.625, 0.7, 1]).tolist() == [1, 3, 3.75, np.inf, np.inf]


def test_blocks_and_medians():
    block = blocks_of(["a", "a", "b", "b"], np.array([9_999, 10_000, 10_001, 5]))
    assert len(set(block.tolist())) == 4
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=50), rng.multinomial(50, np.full(50, 0.02), 20).T
    expected = [np.median(np.repeat(values, w)) for w in weights.T]
    np.testing.assert_allclose(medians(values, weights), expected)
    np.testing.assert_allclose(medians(values, weights[:, :1] * 0 + 1), np.median(values))
    assert interval(np.arange(10), lambda w: w.sum(0)) is None  # too few blocks
    x = rng.normal(size=4_000)
    low, high = interval(np.arange(4_000) // 10, lambda w: (x @ w) / w.sum(0))
    assert low < x.mean() < high and high - low == pytest.approx(2 * 1.96 / 4_000**0.5, rel=0.2)


@pytest.mark.slow
def test_the_command(tmp_path):
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    (tmp_path / "at.bed").write_text("".join(f"1\t{i}\t{i + 1}\n" for i in range(50, 3_900, 200)))
    (tmp_path / "g.gff3").write_text("chr1\tx\tgene\t1\t2000\t.\t+\t.\tID=g\n")
    words = ["probe", "context", tmp_path / "net", "--genome", tmp_path / "g.fa", "--step", 2]
    words += ["--to", tmp_path / "out", "--at", tmp_path / "at.bed", "--device", "cpu"]
    words += ["--longest", 240]
    said = dnabench(*words, "--gff", tmp_path / "g.gff3")
    assert said.returncode == 0, said.stderr
    assert "trained on 60 bp" in said.stdout and "intergenic" in said.stdout
    assert "left out: 1, less than 120 bp" in said.stdout
    assert "95 %: blocks of 10 kbp, bootstrapped, none from fewer than 20" in said.stdout
    each = pq.read_table(tmp_path / "out" / "context.parquet").to_pandas()
    assert len(each) == 19 and each["position"].min() == 250
    assert set(each["annotation"]) == {"gene", "intergenic"}
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pandas()
    assert len(rows) == 19 * 2 * 121
    np.testing.assert_allclose(rows.filter(like="p_").sum(axis=1), 1, atol=1e-5)
    about = json.loads((tmp_path / "out" / "context.json").read_text())
    assert about["trained"] == 60 and about["rows"][-1]["kind"] == "all"
    assert (tmp_path / "out" / "position-3.png").stat().st_size > 1000
    short = dnabench(*words[:-2], "--longest", 40)
    assert "needs 100 contexts, there are 21" in short.stdout and "was cut" not in short.stdout
    wrong = dnabench(*words[:-2], "--longest", 20_000)
    assert "none of 20 positions" in wrong.stderr


def test_words_of_transformers_stay_in_frame_and_causal_ones_are_refused(tmp_path):
    multiples = {"esm-6mer": 6, "bert-bases": 1}
    for name, multiple in multiples.items():
        tiny.make(tmp_path / name, name)
        asked = of_language(Likelihood(language_net(f"hf:{tmp_path / name}", 0)))
        assert asked.multiple == multiple
    tiny.make(tmp_path / "llama", "llama-6mer")
    with pytest.raises(ValueError, match=r"predicts the next of 6-mers of vocab\.json"):
        of_language(Likelihood(language_net(f"hf:{tmp_path / 'llama'}", 0)))
