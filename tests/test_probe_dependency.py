"""Dependency maps: probes/dependency.py."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from test_genomes import fasta, own_cache
from test_pretraining import CASES, training
from test_probe_variants import letters, rc, source

from dnabench.cli.probe_dependency import along, read_region
from dnabench.models.language import entries
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes.dependency import dependencies, dependency, region_of, write
from dnabench.probes.likelihood import Likelihood
from dnabench.tasks.io.packed import packed
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture

BEFORE = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.6, 0.2, 0.1]])  # of the reference AC
AT_FIRST = [[0.2, 0.4, 0.2, 0.2], BEFORE[1], [0.05, 0.8, 0.1, 0.05]]  # P(1) when 0 is C, G, T
AT_SECOND = [[0.6, 0.2, 0.1, 0.1], BEFORE[0], [0.4, 0.2, 0.2, 0.2]]  # P(0) when 1 is A, G, T
AFTER = np.array([[BEFORE[0], p] for p in AT_FIRST] + [[p, BEFORE[1]] for p in AT_SECOND])


def test_the_worked_example():
    found = dependencies(BEFORE, AFTER.reshape(2, 3, 2, 4))
    assert found[0, 1] == pytest.approx(1.415037, abs=1e-6)
    assert found[1, 0] == pytest.approx(1.807355, abs=1e-6)
    log_p = np.abs(np.log2(AFTER) - np.log2(BEFORE)).max(-1)  # not of odds: another number
    assert log_p[:3, 1].max() == pytest.approx(1) and log_p[3:, 0].max() == pytest.approx(1)


def slowly(one, seq):
    """One sequence at a time, letter by letter."""

    def odds(text):
        ids = one.tokenizer(Sequences.parse([text]), len(text), "mask").ids.astype(int)
        with torch.no_grad():
            logits = one.net(torch.from_numpy(ids), None)[0].double()
        p = logits[:, list(entries(one.model, one.options)[:4])].softmax(-1).numpy() + 1e-10
        p = p / p.sum(1, keepdims=True)
        return np.log2(p / (1 - p))

    out, was = np.zeros((len(seq), len(seq))), odds(seq)
    for i, letter in enumerate(seq):
        for other in set("ACGT") - {letter}:
            change = np.abs(odds(seq[:i] + other + seq[i + 1 :]) - was).max(1)
            if one.model.language.causal:
                change = np.concatenate([[np.nan], change[:-1]])
            out[i] = np.maximum(out[i], change)
        out[i, i] = 0
    return out


@pytest.mark.parametrize("name", [*CASES, "dnabert-5"])
def test_every_family_gives_what_a_loop_gives_or_is_refused(name):
    more = CASES["dnabert-3"] if name == "dnabert-5" else {}
    one, seq = source(name, **more), letters(24)
    codes = Sequences.parse([seq]).codes
    likelihood = Likelihood(one)
    if not likelihood.letters:
        with pytest.raises(ValueError, match="tokens, not bases"):
            dependency(likelihood, codes)
        return
    found, done = dependency(likelihood, codes), slowly(one, seq)
    assert likelihood.passes == 1 + 3 * 24
    np.testing.assert_allclose(found.values, done, atol=2e-5)
    assert np.nanmax(found.values) > 1e-3
    if found.causal:
        assert np.isnan(found.values[1:, 0]).all()
        assert np.nanmax(np.tril(found.values)) < 2e-5  # a base changes none before it
        assert found.symmetric[3, 9] == found.symmetric[9, 3] == found.values[3, 9]
    else:
        assert found.symmetric[3, 9] == pytest.approx((done[3, 9] + done[9, 3]) / 2, abs=2e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_parts_and_n(monkeypatch, whole):
    likelihood = Likelihood(source("convnova-386k"))
    codes = Sequences.parse(["ACGTNACGGTCATTACGGAT"]).codes
    one, done = dependency(likelihood, codes, whole=whole).values, []
    monkeypatch.setattr("dnabench.probes.dependency.AT_ONCE", 200)
    monkeypatch.setattr("dnabench.probes.likelihood.CPU_TOKENS", 100)
    parts = dependency(likelihood, codes, done.append, whole=whole).values
    np.testing.assert_allclose(parts, one, atol=1e-5)
    assert sum(done) == 19 and len(done) > 3
    assert np.isnan(one[4]).all() and np.isfinite(np.delete(one, 4, 0)).all()


def test_regions_count_from_1_with_their_end(tmp_path):
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": "ACGTTGCA", "chr2": "GGGGG"}))
    name, first, codes = region_of(genome, "1:3-6")
    assert (name, first, codes.tolist()) == ("chr1", 2, [2, 3, 3, 2])
    for text, message in (
        ("chr1:0-4", "from 1 and with the end"), ("chr1", "from 1 and with the end"),
        ("chr1:3-9", "chr1 has bases 1 to 8"), ("chr9:1-2", "no sequence 'chr9'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            region_of(genome, text)
    with pytest.raises(ValueError, match="the region has 1 bp"):
        dependency(Likelihood(source("convnova-386k")), np.zeros(1, np.uint8))


def test_regions_may_be_as_long_as_the_network_can_read():
    one = source("gpn-smol", 24)._replace(trained=24)
    codes = Sequences.parse([letters(30)]).codes  # longer than its windows
    np.testing.assert_allclose(
        dependency(Likelihood(one), codes).values, slowly(one, letters(30)), atol=2e-5
    )
    short = source("hyenadna-tiny-1k", 24, l_max=34)  # whose filters end after 32 bp
    assert short.longest == 32
    assert dependency(Likelihood(short), np.zeros(32, np.uint8)).values.shape == (32, 32)
    with pytest.raises(ValueError, match="the region has 33 bp; hyenadna-tiny-1k reads 2 to 32"):
        dependency(Likelihood(short), np.zeros(33, np.uint8))
    many = Likelihood(source("convnova-386k"))
    with pytest.raises(ValueError, match="has 4,097 bp; a map has 2 to 4,096: name a part of it"):
        dependency(many, np.zeros(4097, np.uint8))
    assert many.passes == 0


def test_a_sequence_of_the_other_strand_has_the_positions_of_its_id(tmp_path):
    """Row i, column j of the map are bases 129 - i and 129 - j of the chromosome."""
    seq = letters(200)
    (tmp_path / "g.gff3").write_text("chr1\tx\tgene\t1\t110\t.\t+\t.\tID=g\n")
    (tmp_path / "one.fa").write_text(f">chr1:101-130(-)\n{rc(seq[100:130])}\n")
    place, codes, _, others = read_region(None, "", tmp_path / "one.fa")
    assert place == ("chr1", 129, "-")
    found = along(place, len(codes), tmp_path / "g.gff3", others)
    assert (found.first, found.step) == (129, -1)
    assert list(found.track) == ["intergenic"] * 20 + ["gene"] * 10
    one = source("convnova-386k", 30)
    slow = slowly(one, rc(seq[100:130]))
    files = write(dependency(Likelihood(one), codes), place, {}, tmp_path / "out")
    table = pq.read_table(files[0]).to_pandas()
    assert len(table) == 30 * 29 and {*table.chrom} == {"chr1"}
    i, j = 129 - table["from"], 129 - table["to"]
    np.testing.assert_allclose(table.dependency, slow[i, j], atol=2e-5)
    assert np.abs(slow - slow[::-1, ::-1]).max() > 1e-3  # turned round it is another map


def test_features_are_found_by_the_names_in_a_header(tmp_path):
    genome = fasta(tmp_path / "g.fa", {"NC_1": letters(200)})
    (tmp_path / "g.gff3").write_text("chrc0\tx\tgene\t1\t110\t.\t+\t.\tID=g\n")
    place, codes, _, others = read_region(genome, "c0:101-120", None)
    assert place.chromosome == "NC_1"
    found = along(place, len(codes), tmp_path / "g.gff3", others)
    assert list(found.track) == ["gene"] * 10 + ["intergenic"] * 10
    place, codes, _, others = read_region(None, "", genome)
    found = along(place, len(codes), tmp_path / "g.gff3", others)
    assert list(found.track) == ["gene"] * 110 + ["intergenic"] * 90


@pytest.mark.slow
def test_the_command(tmp_path):
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    words = ["probe", "dependency", tmp_path / "net", "--to", tmp_path / "out", "--device", "cpu"]
    said = dnabench(*words, "--genome", tmp_path / "g.fa", "--region", "chr1:101-130")
    assert "change of log2 odds" in said.stdout
    _, alone, pairs = said.stdout.partition("and they alone are computed")
    assert alone and pairs.count(" and ") == 5
    table = pq.read_table(tmp_path / "out" / "dependency.parquet").to_pandas()
    assert len(table) == 30 * 29 and table["from"].min() == 100 and table["to"].max() == 129
    codes = region_of(packed(tmp_path / "g.fa"), "chr1:101-130")[2]
    seq = Sequences(codes, np.array([0, 30]))[0]
    (tmp_path / "one.fa").write_text(f">chr1:101-130\n{seq}\n")
    assert dnabench(*words, "--fasta", tmp_path / "one.fa").returncode == 0
    again = pq.read_table(tmp_path / "out" / "dependency.parquet").to_pandas()
    assert again.equals(table)
    assert (tmp_path / "out" / "symmetric.png").stat().st_size > 1000
    said = dnabench(*words, "--genome", tmp_path / "g.fa", "--region", "chr1:101-165")
    assert "65 bp are more than the windows of its training, 60 bp" in said.stdout
    assert json.loads((tmp_path / "out" / "dependency.json").read_text())["trained"] == 60
    wrong = dnabench(*words, "--region", "chr1:101-130")
    assert "say what to map" in wrong.stderr
