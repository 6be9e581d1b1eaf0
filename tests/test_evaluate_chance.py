"""What chance is, of a genome and of each region, against slow references and planted regions."""

import json

import numpy as np
import pytest
from test_evaluate import GENES
from test_genomes import fasta, own_cache, random_contigs
from test_pretraining import training
from typer.testing import CliRunner

from dnabench.cli.app import app
from dnabench.pretraining import markov
from dnabench.pretraining.chance import (
    ByClass,
    by_class,
    chance_for,
    count,
    majority_of,
    name_of,
    said_by,
)
from dnabench.pretraining.classes import CLASSES, classes_of, left_out
from dnabench.pretraining.pretrain import pretrain
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed

__all__ = ["own_cache"]


def genes_file(path, genes):
    """Genes of two coding parts of 90 and 60 bp: (sequence, start from 1, strand)."""
    text = ""
    for i, (name, start, strand) in enumerate(genes):
        one = GENES.format(a=start, b=start + 89, c=start + 140, d=start + 199, s=strand)
        for key in ("ID=g", "ID=t", "Parent=g", "Parent=t"):
            one = one.replace(key, f"{key}{i}")
        text += one.replace("chr1", name)
    path.write_text(text)
    return read_annotation(path, coding=True)


@pytest.mark.parametrize("chunk", [50, 1 << 22])
def test_chains_by_region_are_the_counted_mers(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(markov, "CHUNK", chunk)
    contigs = random_contigs([2400, 2300, 2000], n=0.02)
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    places = [("chr1", 1201, "+"), ("chr1", 1801, "-"), ("chr2", 1301, "-"), ("chr3", 1501, "+")]
    annotation = genes_file(tmp_path / "g.gff", places)
    longest, counts, whole = 2, {}, {}
    for i in (0, 1):
        text, kinds = contigs[f"chr{i + 1}"].upper(), classes_of(annotation, genome, i)
        for at in range(longest, len(text)):
            if "N" not in (mer := text[at - longest : at + 1]):
                for size in range(1, longest + 2):
                    key = mer[-size:]
                    whole[key] = whole.get(key, 0) + 1
                    counts[kinds[at], key] = counts.get((kinds[at], key), 0) + 1
    found = by_class(count(genome, [0, 1], annotation, longest), (0, 1, 2))
    for chain in found:
        k = chain.order
        for number in range(4**k):
            context = "".join("ACGT"[number // 4**j % 4] for j in reversed(range(k)))
            prior = np.array([1 + whole.get(context + base, 0) for base in "ACGT"])
            for kind in range(len(CLASSES)):
                row = np.array([counts.get((kind, context + base), 0) for base in "ACGT"])
                row = row + 4 * prior / prior.sum()
                np.testing.assert_allclose(
                    np.exp(chain.logs[kind, number]), row / row.sum(), rtol=1e-5
                )
        np.testing.assert_array_equal(chain.plain, found[0].logs[:, 0])


def test_a_chain_by_region_reads_class_and_bases_before():
    rng = np.random.default_rng(0)
    logs, plain = rng.random((9, 16, 4), np.float32), rng.random((9, 4), np.float32)
    chain = ByClass(2, logs, plain)
    before, kinds = rng.integers(0, 5, (3, 24)).astype(np.uint8), rng.integers(0, 9, (3, 20))
    said = said_by(chain, before, kinds.astype(np.uint8))
    assert said.shape == (3, 20, 4)
    for i in range(3):
        for j in range(20):
            a, b = before[i, j + 2 : j + 4]
            known = a < 4 and b < 4
            right = logs[kinds[i, j], 4 * int(a) + b] if known else plain[kinds[i, j]]
            np.testing.assert_array_equal(said[i, j], right)


def planted(tmp_path):
    """A genome whose classes have frequencies of their own, and these frequencies."""
    lengths = {"chr1": 200_000, "chr2": 100_000}
    fasta(tmp_path / "empty.fa", {name: "A" * bp for name, bp in lengths.items()})
    genes = [
        (name, at, "+-"[at // 1500 % 2])
        for name, bp in lengths.items() for at in range(1201, bp - 1500, 1500)
    ]  # fmt: skip
    annotation = genes_file(tmp_path / "g.gff", genes)
    genome, rng = packed(tmp_path / "empty.fa"), np.random.default_rng(1)
    shares = rng.dirichlet([6, 4, 4, 4], len(CLASSES))
    contigs = {}
    for i, name in enumerate(lengths):
        kinds = classes_of(annotation, genome, i)
        letters = np.empty(len(kinds), "U1")
        for kind in range(len(CLASSES)):
            here = kinds == kind
            letters[here] = rng.choice([*"ACGT"], here.sum(), p=shares[kind])
        contigs[name] = "".join(letters)
    return packed(fasta(tmp_path / "g.fa", contigs)), annotation, shares


def test_frequencies_by_region_have_the_entropy_of_planted_regions(tmp_path):
    genome, annotation, shares = planted(tmp_path)
    chance = chance_for(genome, [1], annotation)
    kinds = classes_of(annotation, genome, 1)
    codes = genome.windows(genome.starts[1:2], len(kinds))[0]
    each = np.arange(len(kinds))
    loss = {
        name_of(chain): -said_by(chain, codes, kinds[None])[0, each, codes[0].astype(int)]
        for chain in chance.chains
    }  # fmt: skip
    entropy = -(shares * np.log(shares)).sum(1)
    for kind, name in enumerate(CLASSES):
        here = kinds == kind
        assert here.sum() > 1000 and chance.bases[name] > 2000
        assert loss["order 0 by region"][here].mean() == pytest.approx(entropy[kind], abs=0.03)
        assert chance.majority[name] == "ACGT"[shares[kind].argmax()]
    assert loss["order 0 by region"].mean() < min(
        values.mean() for name, values in loss.items() if "region" not in name
    )
    # no letter depends on those before it
    assert loss["order 0 by region"].mean() < loss["order 4 by region"].mean()
    orders = [name for name in loss if name.endswith("by region")]
    assert orders == [f"order {k} by region" for k in range(8)]  # 9 x 4^8 is more than 200,000
    assert majority_of([*loss]) == "order 0 by region"


def test_a_region_that_was_not_counted_has_the_chain_of_the_forward_strand(tmp_path):
    rng = np.random.default_rng(0)
    p = [0.1, 0.2, 0.3, 0.4]
    contigs = {f"chr{i}": "".join(rng.choice([*"ACGT"], 3000, p=p)) for i in (1, 2)}
    genome = packed(fasta(tmp_path / "g.fa", contigs))
    annotation = genes_file(tmp_path / "g.gff", [("chr2", 1301, "+")])
    chance = chance_for(genome, [1], annotation)
    assert [name for name, bases in chance.bases.items() if bases] == ["intergenic"]
    assert set(chance.majority.values()) == {"T"}
    # the longest chain has order 4, and counts begin where it fits
    counted = count(genome, [0], None, 4)[-1].reshape(16, 16, 4).sum(0) + 1.0
    (chain,) = (c for c in chance.chains if name_of(c) == "order 2 by region")
    for kind in range(len(CLASSES) - 1):
        expected = counted / counted.sum(1, keepdims=True)
        np.testing.assert_allclose(np.exp(chain.logs[kind]), expected, rtol=1e-5)


@pytest.mark.parametrize("most", "AT")
def test_the_majority_is_that_of_the_forward_strand(tmp_path, most):
    """Both strands together have as many A as T, but for what the ends of sequences decide."""
    rng, p = np.random.default_rng(0), [0.4 if base == most else 0.2 for base in "ACGT"]
    contigs = {f"chr{i}": "".join(rng.choice([*"ACGT"], 5976, p=p)) for i in (1, 2)}
    ends = 12 * most, 12 * "TA"["AT".index(most)]
    contigs = {name: ends[0] + text + ends[1] for name, text in contigs.items()}
    fasta(tmp_path / "g.fa", contigs)
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "net")
    words = ["evaluate", str(tmp_path / "net"), "--genome", str(tmp_path / "g.fa")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "net" / "evaluation-mask-1.json").read_text())
    row = said["rows"][-1]
    assert row["majority"] == pytest.approx(0.4, abs=0.04)
    assert row["chance"]["order 0 forward"]["accuracy"] == row["majority"]
    assert row["chance"]["order 0 forward"]["loss"] == pytest.approx(1.332, abs=0.03)
    assert said["majority"] == {"intergenic": most} and said["counted"] == {"intergenic": 6000}
    assert "majority base of the forward strand" in done.output
    assert f"{row['majority']:.3f}" in done.output.splitlines()[-2].split()
    genes_file(tmp_path / "g.gff", [("chr2", 1301, "+")])
    done = CliRunner().invoke(app, [*words, "--regions", str(tmp_path / "g.gff")])
    assert "majority base of each region" in done.output
    assert "the other sequences have no base of CDS +, codon 1; CDS +, codon 2;" in done.output


def evaluated(tmp_path, *more):
    words = ["evaluate", str(tmp_path / "net"), "--genome", str(tmp_path / "g.fa"), *more]
    return CliRunner().invoke(app, words)


def test_a_sequence_is_scored_once(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "net")
    for names in (["chr2", "chr2"], ["chr2", "c1"]):  # c1 is the chromosome of its header
        done = evaluated(tmp_path, "--sequence", names[0], "--sequence", names[1])
        assert done.exit_code == 2
        said = (
            f"--sequence {names[0]} and --sequence {names[1]} are the same sequence of g.fa, chr2"
        )
        assert said in " ".join(done.output.split())
    assert not [*(tmp_path / "net").glob("evaluation*")]


def test_no_evaluation_replaces_another(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "net")
    genes_file(tmp_path / "g.gff", [("chr2", 1301, "+")])
    first = tmp_path / "net" / "evaluation-mask-1.json"
    assert evaluated(tmp_path).exit_code == 0
    before = first.read_text()
    more = (["--seed", "1"], ["--regions", str(tmp_path / "g.gff")], ["--protocol", "thesis"])
    for options in more:
        assert evaluated(tmp_path, *options).exit_code == 0
    fasta(tmp_path / "h.fa", random_contigs([3000, 2500], seed=1))
    done = evaluated(tmp_path, "--sequence", "chr2", "--genome", str(tmp_path / "h.fa"))
    assert done.exit_code == 0
    files = sorted((tmp_path / "net").glob("evaluation-*.json"))
    assert len(files) == 5 and first.read_text() == before
    said = [json.loads(file.read_text()) for file in files]
    assert len({(one["genome"], one["regions"], one["seed"], one["protocol"]) for one in said}) == 5
    # the same once more is written where it was
    for options in ([], *more):
        assert evaluated(tmp_path, *options).exit_code == 0
    assert sorted((tmp_path / "net").glob("evaluation-*.json")) == files
    assert first.read_text() == before


def test_genes_without_a_place_for_their_introns_are_told(tmp_path):
    pretrain(training(tmp_path, steps=1, looks=1), tmp_path / "net")
    genes_file(tmp_path / "g.gff", [("chr2", 1301, "+"), ("chr2", 301, "+"), ("chr1", 1301, "+")])
    text = (tmp_path / "g.gff").read_text().replace("ID=g1\n", "ID=g1;exception=trans-splicing\n")
    (tmp_path / "g.gff").write_text(text)
    annotation = read_annotation(tmp_path / "g.gff", coding=True)
    genome = packed(tmp_path / "g.fa")
    assert set(classes_of(annotation, genome, 1)[:1300][300:390]) == {CLASSES.index("promoter")}
    assert left_out(annotation, genome, [0]).startswith(
        "genes left out: 1 trans-spliced (g1); their 0"
    )
    done = evaluated(tmp_path, "--regions", str(tmp_path / "g.gff"))
    assert done.exit_code == 0, done.output
    assert (
        "genes left out: 1 trans-spliced (g1); their 150 coding bp on the scored sequences count "
        "as if the genes were not there, mostly as intergenic\n"
    ) in done.output
    said = json.loads((tmp_path / "net" / "evaluation-mask-1.json").read_text())
    assert said["left_out"] == {"trans-spliced": ["g1"]}
    genes_file(tmp_path / "g.gff", [("chr2", 1301, "+")])
    assert "left out" not in evaluated(tmp_path, "--regions", str(tmp_path / "g.gff")).output
