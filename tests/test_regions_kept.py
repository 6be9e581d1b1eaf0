"""Kept networks on the regions of a genome: the stored logits again, in the order of the file."""

import csv
import gzip
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from kept_cases import job_of, kept, task_of_kind, tiny_network
from test_regions import genome, peaks, rows_of, scattered, written  # noqa: F401

from dnabench import MODELS, embed
from dnabench.networks.embed_file import embed_file
from dnabench.networks.embedding import Embedder, of_model, of_network
from dnabench.networks.network import Network, load_network
from dnabench.networks.predicting import Asked, predict_file
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import task_of
from dnabench.tasks.io import region_windows
from dnabench.types import OwnData


def network_of(folder, path, fasta, model="cnn", length=101, negatives="", **recipe):
    """A kept network of regions, its task, and the stored predictions of its test split."""
    own = OwnData(genome=str(fasta), length=length, negatives=str(negatives))
    (job,) = grid(Request(models=[model], data=str(path), own=own, seeds="1"))
    trial = job_of(MODELS[model], task_of(job), **recipe).trial
    network, _, stored = kept(job._replace(trial=trial), folder / "runs")
    return network, task_of(job), stored


def predicted(network, path, form="csv", **asked):
    out, said = io.BytesIO(), []
    predict_file(network, path, out, form, Asked(**asked), said.append)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode()))), said


@pytest.fixture
def read(monkeypatch):
    """The sequences that a network is given, in its order."""
    found, prepared = [], Network.prepared

    def noted(self, seqs, other=None):
        found.extend(seqs)
        return prepared(self, seqs, other)

    monkeypatch.setattr(Network, "prepared", noted)
    return found


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def of_training(path):
    """Regions in no order of the genome, the last four of which training leaves out."""
    rows = [(*r[:2], r[1] + 60 + i % 3, *r[3:]) for i, r in enumerate(scattered(30))]
    rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    odd = [
        ("chrX", 5, 69, "x", 0, "."),
        ("chr1", 1, 60, "y", 0, "+"),
        (*rows[3][:3], "z", *rows[3][4:]),
        ("chr1", 12_100, 12_160, "n", 0, "+"),
    ]
    return written(path, [*rows, *odd])


@pytest.mark.parametrize(
    ("model", "length", "recipe"),
    [("cnn", 151, {"rc": "conjoin"}), ("cnn", 0, {}), ("kmer", 200, {})],
)
def test_the_training_regions_get_the_stored_answers(
    model, length, recipe, genome, tmp_path, monkeypatch, read  # noqa: F811
):  # fmt: skip
    path = of_training(tmp_path / "a.bed")
    others = [(*r[:2], r[1] + 60, f"n{i}", *r[4:]) for i, r in enumerate(scattered(40, seed=9))]
    negatives = written(tmp_path / "b.bed.gz", [])
    negatives.write_bytes(
        gzip.compress("".join("\t".join(map(str, r)) + "\n" for r in others).encode())
    )
    network, task, stored = network_of(
        tmp_path, path, genome[0], model, length, negatives, **recipe
    )
    test, training = task.load("test"), rows_of(task)
    assert np.array_equal(stored["ids"], test.ids) and len(set(test.y)) == 2
    monkeypatch.setattr(region_windows, "AT_ONCE", 1_000)  # several parts a chromosome
    rows, said, answered = {}, {}, {}
    read.clear()
    for file in (path, negatives):
        found, said[file] = predicted(network, file, genome=str(genome[0]))
        rows |= {row["id"]: row for row in found}
        answered[file] = found
    # of the test split: the sequences that were read, and the answers
    for i, name in enumerate(test.ids.tolist()):
        assert test.seqs[i] in read
        p = [float(rows[name]["p_0"]), float(rows[name]["p_1"])]
        np.testing.assert_allclose(p, softmax(stored["logits"][i : i + 1])[0], atol=2e-6)
    positives = {name: seq for name, (seq, y) in training.items() if y}
    assert [row["id"] for row in answered[path]] != list(positives)
    assert {row["id"] for row in answered[path]} == set(positives)
    assert sorted(read[: len(positives)]) == sorted(positives.values())
    # left out as in training, in its words
    notes = [n for n in task.notes if n.startswith(("positives: ", "left out: "))]
    assert said[path][0].removeprefix("predicted") == notes[0].removeprefix("positives")
    assert said[path][1:] == notes[1 : len(said[path])] and len(said[path]) == 4 + (length > 0)


@pytest.mark.parametrize("without", ["notes", "whole_regions"])  # now; as older folders are
def test_regions_are_read_as_they_are_by_the_card(without, genome, tmp_path):  # noqa: F811
    path = of_training(tmp_path / "a.bed")
    network_of(tmp_path, path, genome[0], length=0)
    (file,) = (tmp_path / "runs" / "networks").glob("*/network.json")
    card = json.loads(file.read_text())
    assert card["task"]["whole_regions"] is True
    del (card["record"]["task"] if without == "notes" else card["task"])[without]
    file.write_text(json.dumps(card))
    rows, _ = predicted(load_network(file.parent), path, genome=str(genome[0]))
    regions = {
        f"{r['chrom']}:{r['start']}-{r['end']}({r['strand'].replace('.', '+')})" for r in rows
    }
    assert len(rows) == 61 and {r["id"] for r in rows} == regions


def test_rows_are_as_in_the_file(genome, tmp_path):  # noqa: F811
    path = of_training(tmp_path / "a.bed")
    network, *_ = network_of(tmp_path, path, genome[0], length=151)
    lines = [line.split("\t") for line in path.read_text().splitlines()[:-4]]
    found, _ = predicted(network, path, genome=str(genome[0]))
    columns = ["chrom", "start", "end", "name", "strand"]
    assert [[row[c] for c in columns] for row in found] == [[*r[:4], r[5]] for r in lines]
    assert list(found[0])[:6] == ["id", "chrom", "start", "end", "strand", "name"]
    # without names and strands, other names of the sequences, to Parquet
    short = written(tmp_path / "c.broadPeak", [(r[0].removeprefix("chr"), *r[1:3]) for r in lines])
    out = io.BytesIO()
    assert predict_file(network, short, out, "parquet", Asked(genome=str(genome[0]))) == 60
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table.column_names == ["id", "chrom", "start", "end", "class", "margin", "p_0", "p_1"]
    assert table["start"].to_pylist() == [int(r[1]) for r in lines]
    middle = int(lines[0][1]) + (int(lines[0][2]) - int(lines[0][1])) // 2
    start = middle - 75
    assert table["id"][0].as_py() == f"{lines[0][0].removeprefix('chr')}:{start}-{start + 151}"
    one = [i for i, r in enumerate(lines) if r[5] != "-"]
    np.testing.assert_allclose(
        table["p_1"].to_numpy()[one], [float(found[i]["p_1"]) for i in one], atol=2e-6
    )


def test_peaks_are_read_around_their_summits(put, genome, tmp_path, read):  # noqa: F811
    fasta, texts = genome
    network, *_ = kept(job_of(MODELS["cnn"], put(task_of_kind("binary"))), tmp_path / "runs")
    rows = peaks(scattered(3))
    path = written(tmp_path / "p.narrowPeak", rows)
    found, said = predicted(network, path, genome=str(fasta))
    assert said == ["predicted: 6 of 6 regions in p.narrowPeak, windows of 80 bp around their "
                    "summits"]  # fmt: skip
    expected = [texts[c.removeprefix("chr")][s + 7 - 40 : s + 7 + 40] for c, s, *_ in rows]
    assert sorted(read[-6:]) == sorted(expected)
    logits = network.logits(expected)
    p = [float(row["p_b" if "p_b" in row else [*row][-1]]) for row in found]
    np.testing.assert_allclose(p, softmax(logits)[:, -1], atol=2e-6)


def test_what_cannot_be_predicted_is_said(put, genome, tmp_path):  # noqa: F811
    fasta, path = str(genome[0]), of_training(tmp_path / "a.bed")
    as_they_are, *_ = network_of(tmp_path, path, fasta, length=0)
    words, *_ = network_of(tmp_path, path, fasta, "dnabert", length=0)
    single, *_ = kept(job_of(MODELS["cnn"], put(task_of_kind("binary"))), tmp_path / "one")
    base, *_ = tiny_network(tmp_path / "base", put)
    far = written(tmp_path / "far.bed", [("chr1", 3, 5)])
    long = written(tmp_path / "long.bed", [("chr1", 300, 360), ("chr1", 300, 363)])
    short = written(tmp_path / "short.bed", [("chr1", 300, 360), ("chr1", 300, 303)])
    bases = r"a\.bed: this network answers each base of sequences: .*, bedtools getfasta"
    for network, file, asked, says in (
        (single, path, {}, r"a\.bed: regions need the genome they are on: --genome FASTA"),
        (single, tmp_path / "b.bed", {"genome": fasta}, r"b\.bed: no such file"),
        (single, path, {"genome": fasta, "window": 40}, "--window: windows of regions are cut as"),
        (single, far, {"genome": fasta}, "no region can be used; .*: 1 region with a window"),
        (as_they_are, long, {"genome": fasta}, r"bed:2: the region has 63 bp; .* reads 62 at most"),
        (words, short, {"genome": fasta}, r"bed:2: the region has 3 bp; dnabert needs \d or more"),
        (base, path, {}, bases),
        (base, path, {"genome": fasta}, bases),
    ):  # fmt: skip
        form = "bed" if network is base else "csv"
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            predicted(network, file, form, **asked)


def test_regions_by_command(genome, tmp_path):  # noqa: F811
    path = of_training(tmp_path / "a.bed")
    network_of(tmp_path, path, genome[0], length=151)
    (folder,) = (tmp_path / "runs" / "networks").iterdir()
    out = tmp_path / "out.csv"
    done = dnabench("predict", folder, path, "--genome", genome[0], "--to", out)
    assert done.returncode == 0 and f"{out}: 60 rows" in done.stdout, done.stderr
    assert "note: left out: 1 region on sequences that are not in the genome" in done.stderr
    again = dnabench("predict", folder, path, "--genome", genome[0])
    assert again.stdout == out.read_text() and len(out.read_text().splitlines()) == 61
    done = dnabench("predict", folder, path)
    assert done.returncode == 2 and "--genome FASTA" in done.stderr


@pytest.mark.parametrize("length", [151, 0])
def test_embeddings_of_regions_are_those_of_the_windows_of_training(
    length, genome, tmp_path  # noqa: F811
):  # fmt: skip
    path, to = of_training(tmp_path / "a.bed"), tmp_path / "e.parquet"
    network, task, _ = network_of(tmp_path, path, genome[0], "convnova-386k", length=length)
    (folder,) = (tmp_path / "runs" / "networks").iterdir()
    done = dnabench("embed", folder, path, "--genome", genome[0], "--to", to)
    assert done.returncode == 0 and "left out: 1 region on sequences" in done.stderr, done.stderr
    table = pq.read_table(to).to_pandas()
    answers, _ = predicted(network, path, genome=str(genome[0]))
    assert table["id"].tolist() == [row["id"] for row in answers]  # the order of the file
    named = ["id", "chrom", "start", "end", "strand", "name"]
    assert table.columns[:7].tolist() == [*named, "e0"]
    values = table.set_index("id").filter(regex=r"^e\d+$")
    test = task.load("test")
    known = [i for i, name in enumerate(test.ids.tolist()) if name in values.index]
    assert len(known) >= 5
    wanted = embed(network, test.seqs.take(np.array(known)))
    np.testing.assert_allclose(values.loc[test.ids[known]], wanted, rtol=1e-4, atol=1e-5)
    embed_file(Embedder(of_network(network)), path, tmp_path / "e.npy", genome=str(genome[0]))
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embed(folder, path, genome=genome[0]), values, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_embedded_is_said(put, genome, tmp_path):  # noqa: F811
    fasta, path, to = str(genome[0]), of_training(tmp_path / "a.bed"), tmp_path / "e.npy"
    network, *_ = network_of(tmp_path, path, fasta, length=151)
    base, *_ = tiny_network(tmp_path / "base", put)
    single, whole = of_network(network), of_network(base)
    model = of_model("convnova-386k", "scratch", 151)
    for source, file, more, asked, says in (
        (single, genome[0], {}, fasta, "--genome: regions of a BED file lie on a genome, and"),
        (single, path, {}, "", r"a\.bed: regions need the genome they are on: --genome FASTA"),
        (model, path, {}, fasta, r"a kept network of whole sequences was trained on, .*getfasta"),
        (whole, path, {"pool": "mean"}, fasta, "trained on, and this is none; write them to a FAS"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            embed_file(Embedder(source, **more), file, to, genome=asked)
    with pytest.raises(ValueError, match=r"genome=\.\.\.: give the path of a BED file"):
        embed(network, ["ACGT"], genome=fasta)
    assert not to.exists()
