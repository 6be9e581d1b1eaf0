"""Saturation mutagenesis of kept networks: probes/mutagenesis.py."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import MOTIF, dnabench, planted_split
from kept_cases import job_of, kept, put, task_of_kind, tiny_network  # noqa: F401
from scipy.special import log_softmax, softmax
from test_genomes import fasta, own_cache
from test_probe_variants import letters, rc

from dnabench import MODELS
from dnabench.cache import file_sha256
from dnabench.networks.network import load_network
from dnabench.probes.mutagenesis import (
    answer_of,
    answers,
    graph_lines,
    importance,
    mutagenesis,
    place_of,
    placed,
    stretches,
    table_rows,
)  # fmt: skip
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture


def codes_of(text):
    return Sequences.parse([text]).codes


@pytest.fixture
def network(tmp_path, put):  # noqa: F811
    return tiny_network(tmp_path, put, "convnova-386k", "binary", 60)[0]


def test_changes_are_those_of_predicting_each_mutant_alone(network):
    seq = "ACGTNACGGTCATTACGGAT" * 2
    was, changes = mutagenesis(network, codes_of(seq), answer_of(network))
    alone = network.logits([seq])[0]
    assert was == pytest.approx(alone[1] - alone[0], abs=1e-6)
    assert np.isnan(changes[4]).all() and changes[0, 0] == 0 and changes[1, 1] == 0
    for i in (0, 7, 39):
        for k, letter in enumerate("ACGT"):
            mutant = network.logits([seq[:i] + letter + seq[i + 1 :]])[0]
            assert changes[i, k] == pytest.approx(mutant[1] - mutant[0] - was, abs=1e-5)


def test_parts_change_nothing(network, monkeypatch):
    codes = codes_of("ACGTACGGTCATTACGGATT")
    one = mutagenesis(network, codes, answer_of(network))[1]
    done = []
    monkeypatch.setattr("dnabench.probes.mutagenesis.AT_ONCE", 200)
    parts = mutagenesis(network, codes, answer_of(network), done.append)[1]
    assert parts == pytest.approx(one, abs=1e-6)
    assert sum(done) == 20 and len(done) > 3


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_answers_are_log_odds_logits_and_values(kind, tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", kind, 60)[0]
    names = network.card.task["classes"]
    seqs = Sequences.parse(["ACGT" * 15, "GGCA" * 15])
    logits = network.logits(seqs).astype(float)
    for k, name in enumerate(names):
        found = answers(network, seqs, answer_of(network, name))
        p = softmax(logits, axis=1)[:, k]
        expected = np.log(p / (1 - p)) if kind in ("binary", "multiclass") else logits[:, k]
        assert found == pytest.approx(expected, abs=1e-5)
    if kind == "binary":
        assert answer_of(network).name == f"log odds of {names[1]}"
        both = log_softmax(logits, axis=1)
        assert answers(network, seqs, answer_of(network)) == pytest.approx(both[:, 1] - both[:, 0])
    else:
        with pytest.raises(ValueError, match="--output: choose one of"):
            answer_of(network)
    with pytest.raises(ValueError, match="--output 'x': this network has"):
        answer_of(network, "x")


NOTE = "labels are standardised; mean and standard deviation in train: 0 100 and 12.5"
SCALE = ((100.0, 12.5), (0.0, 2e-5), (3.0, 1.0))


def test_values_are_in_the_unit_of_the_labels(tmp_path, put):  # noqa: F811
    task = put(task_of_kind("regression", 60, notes=(NOTE,), scale=SCALE))
    network, record, _ = kept(job_of(MODELS["cnn"], task), tmp_path / "runs")
    first, small, _ = (answer_of(network, name) for name in task.classes)
    assert first.name == task.classes[0] and first.unit == f"the unit of {first.name}"
    assert first.text(112.5049) == "112.50" and small.text(1e-6, "+") == "+0.00000100"
    seq = "ACGTTACGGTCATTACGGAT" * 3
    plain = network.logits([seq]).astype(float)[0]
    was, changes = mutagenesis(network, codes_of(seq), first)
    assert was == pytest.approx(100 + 12.5 * plain[0], rel=1e-6)
    mutant = network.logits([f"C{seq[1:]}"]).astype(float)[0]
    assert changes[0, 1] == pytest.approx(12.5 * (mutant[0] - plain[0]), abs=1e-4)

    path = tmp_path / "runs" / "networks" / record.trial.id
    file = fasta(tmp_path / "x.fa", {"a": seq})
    done = dnabench("probe", "mutagenesis", path, file, "--output", first.name,
                    "--to", tmp_path / "m")  # fmt: skip
    assert done.returncode == 0 and f"  a: {was:.2f}\n" in done.stdout, done.stderr
    assert "standardised" not in dnabench("predict", path, file).stderr


def test_a_network_without_the_deviation_says_that_values_are_standardised(tmp_path, put):  # noqa: F811
    task = put(task_of_kind("regression", 60, notes=(NOTE,)))
    network, _, _ = kept(job_of(MODELS["cnn"], task), tmp_path)
    answer = answer_of(network, task.classes[0])
    assert answer.name == f"{task.classes[0]}, standardised" and answer.scale == 1


def test_an_answer_for_each_base_is_refused(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "per_base", 60)[0]
    with pytest.raises(ValueError, match="an answer for each base"):
        answer_of(network)


def test_a_planted_motif_is_found(tmp_path, put):  # noqa: F811
    task = put(task_of_kind("binary", 60))
    network = kept(job_of(MODELS["kmer"], task, {"k": 4}, epochs=30), tmp_path)[0]
    part = planted_split(40, 9)
    hits, n = 0, 0
    for i in range(1, 40, 2):  # those with the motif
        text = part.seqs[i]
        codes = codes_of(text)
        values = importance(mutagenesis(network, codes, answer_of(network))[1])
        start = text.index(MOTIF)
        inside = values[start : start + len(MOTIF)].mean()
        outside = np.delete(values, np.s_[start : start + len(MOTIF)]).mean()
        hits, n = hits + (inside > outside), n + 1
    assert hits >= 0.8 * n


def test_stretches_join_neighbours_and_are_sorted():
    codes = codes_of("ACGTACGTACGTACGTACGT")
    values = np.zeros(20)
    values[[3, 4, 6]], values[[15]], values[10] = 2.0, 1.5, 0.1
    found = stretches(codes, values)
    assert [(s.start, s.end, s.letters) for s in found] == [(3, 7, "TACG"), (15, 16, "T")]
    assert found[0].importance == pytest.approx(1.5)
    values = np.zeros(20)
    values[[2, 3, 6]], values[10:13] = (2.2, 1.1, 1.1), (1.1, 1.1, 2.1)  # sums of 4.4 and 4.3
    assert [(s.start, s.end) for s in stretches(codes, values)] == [(2, 7), (10, 13)]
    assert [(s.start, s.end) for s in stretches(codes, values, most=1)] == [(2, 7)]
    assert stretches(codes, -values) == [] and stretches(codes, np.full(20, np.nan)) == []


@pytest.mark.parametrize(
    ("name", "length", "place"),
    [("chr1:100-300", 200, ("chr1", 100, "+")), ("chr1:101-300", 200, ("chr1", 100, "+")),
     ("peak::chr2:1,000-1,004(-)", 4, ("chr2", 1003, "-")), ("chr1:100-300", 77, None),
     ("HLA:A:1-5", 4, ("HLA:A", 1, "+")), ("plain", 4, None)],
)  # fmt: skip
def test_places_of_both_ways_of_counting(name, length, place):
    assert place_of(name, length) == (place or (name, 0, "+"))


def test_minus_strands_go_backwards():
    codes, values = codes_of("ACGN"), np.array([0.5, 1.0, 2.0, np.nan])
    assert list(graph_lines("c:10-14(-)", values)) == [
        "c\t11\t12\t2\n", "c\t12\t13\t1\n", "c\t13\t14\t0.5\n",
    ]  # fmt: skip
    assert placed(place_of("c:10-14(-)", 4), 1, 3) == (11, 13)  # read backwards from base 12
    changes = np.arange(16.0).reshape(4, 4)
    changes[3] = np.nan
    rows = table_rows("c:10-14(-)", codes, changes)
    assert rows["position"].tolist() == [13] * 3 + [12] * 3 + [11] * 3
    assert "".join(rows["reference"]) == "AAACCCGGG"
    assert "".join(rows["alternative"]) == "CGTAGTACT"


def test_the_command_writes_table_graph_and_figures(tmp_path, put):  # noqa: F811
    task = put(task_of_kind("binary", 60))
    _, record, _ = kept(job_of(MODELS["kmer"], task, {"k": 3}), tmp_path)
    part = planted_split(12, 4)
    ids = [f"chr1:{100 * i}-{100 * i + 60}" for i in range(12)]
    (tmp_path / "x.fa").write_text("".join(f">{ids[i]}\n{part.seqs[i]}\n" for i in range(12)))
    folder = tmp_path / "networks" / record.trial.id
    done = dnabench("probe", "mutagenesis", folder, tmp_path / "x.fa", "--to", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "log odds of" in done.stdout and "... and 2 more" in done.stdout
    rows = pq.read_table(tmp_path / "out" / "mutagenesis.parquet").to_pandas()
    assert len(rows) == 12 * 60 * 3 and rows.position.max() == 1100 + 59
    lines = (tmp_path / "out" / "importance.bedgraph").read_text().splitlines()
    assert len(lines) == 720 and lines[0].startswith("chr1\t0\t1\t")
    mean = -rows[rows.position == 0].change.mean()
    assert float(lines[0].split("\t")[3]) == pytest.approx(mean, rel=1e-4, abs=1e-6)
    drawn = {f.name for f in (tmp_path / "out").glob("*.png")}
    assert drawn == {f"figure-{i}.png" for i in range(1, 11)}
    (tmp_path / "one.fa").write_text(f">one\n{part.seqs[0]}\n>n\n{'N' * 60}\n")
    again = dnabench("probe", "mutagenesis", folder, tmp_path / "one.fa", "--to", tmp_path / "out")
    assert again.returncode == 0 and "Warning" not in again.stderr
    assert len(pq.read_table(tmp_path / "out" / "mutagenesis.parquet")) == 180
    assert len(list((tmp_path / "out").glob("*.png"))) == 2  # those of the first call are gone
    about = json.loads((tmp_path / "out" / "mutagenesis.json").read_text())
    assert about["file"] == file_sha256(tmp_path / "one.fa") and about["sequences"] == 2

    seq = letters(200)
    genome = fasta(tmp_path / "g.fa", {"chr1": seq, "chr2": rc(seq)})
    words = ["probe", "mutagenesis", folder, "--genome", genome, "--to", tmp_path / "out"]
    region = dnabench(*words, "--region", "1:101-160")
    assert region.returncode == 0, region.stderr
    assert "from 0, the end excluded, on the chromosome\n" in region.stdout
    printed = re.findall(r"^    (\d+)-(\d+) ([ACGT]+) ", region.stdout, re.M)
    assert printed and all(seq[int(a) : int(b)] == found for a, b, found in printed)
    assert "from 0, the end excluded, in the sequence\n" in again.stdout
    table = pq.read_table(tmp_path / "out" / "mutagenesis.parquet").to_pandas()
    assert {*table.chrom} == {"chr1"} and {*table.position} == set(range(100, 160))
    network = load_network(folder)
    codes = codes_of(seq[100:160])
    changes = mutagenesis(network, codes, answer_of(network))[1]
    others = changes[np.arange(4) != codes[:, None]]
    assert table.change.tolist() == pytest.approx(others.tolist(), abs=1e-6)
    about = json.loads((tmp_path / "out" / "mutagenesis.json").read_text())
    assert about["region"] == "chr1:101-160" and about["network"] == str(folder)
    assert about["answer"].startswith("log odds of") and len(about["genome"]) == 64
    odd = fasta(tmp_path / "odd.fa", {"a::b": seq})
    words = ["--genome", odd, "--region", "a::b:101-160", "--to", tmp_path / "odd"]
    wrong = dnabench("probe", "mutagenesis", folder, *words)
    assert wrong.returncode == 2 and "rename it in the FASTA file" in wrong.stderr
    assert not (tmp_path / "odd").exists()
    for words in (["--genome", genome], ["--region", "1:1-9"], [],
                  [tmp_path / "one.fa", "--genome", genome, "--region", "1:1-9"]):  # fmt: skip
        wrong = dnabench("probe", "mutagenesis", folder, *words)
        assert wrong.returncode == 2 and "say what to mutate" in wrong.stderr

    (tmp_path / "long.fa").write_text(">a\n" + "ACGT" * 40 + "\n")
    bad = dnabench("probe", "mutagenesis", folder, tmp_path / "long.fa", "--to", tmp_path / "no")
    assert bad.returncode == 2 and "a has 160 bp" in bad.stderr and "Traceback" not in bad.stderr
    assert "--window" not in bad.stderr
    assert not list((tmp_path / "no").glob("*"))
