"""BEND gene finding: BED, genome and HDF5 labels become classes of bases; refusals; a training."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import completed
from sklearn.metrics import matthews_corrcoef

from dnabench.metrics import score
from dnabench.registry import MODELS, TASKS
from dnabench.tasks import bend
from dnabench.tasks.io.splice_sites import counted, problems
from dnabench.tasks.io.verifying import differences
from dnabench.train import losses
from dnabench.types import IGNORED, Sequences, Split

h5py = pytest.importorskip("h5py", reason="BEND's labels are HDF5: pip install h5py")
RNG = np.random.default_rng(0)
LENGTHS = {"chr1": 2000, "chr2": 1201, "chrM": 60}  # lines of 60: partial, partial, exact
GENOME = {c: "".join(RNG.choice(list("ACGTacgtN"), n)) for c, n in LENGTHS.items()}
SPLITS = ("train", "valid", "test", "train", "train", "valid", "test")


def regions():
    """(chromosome, start, end, strand, split): BEND mixes the splits, and lengths differ."""
    out = []
    for k in range(42):
        chromosome = ("chr1", "chr2")[k % 2]
        start = int(RNG.integers(0, 1000))
        strand = "+-"[k % 3 == 0]
        out.append((chromosome, start, start + 70 + k, strand, SPLITS[k % len(SPLITS)]))
    return [*out[:-1], ("chrM", 0, 60, "+", "train")]


REGIONS = regions()
LABELS = [RNG.integers(0, 9, end - start) for _, start, end, _, _ in REGIONS]


def fasta(path, newline="\n", last=True):
    records = []
    for name, text in GENOME.items():
        lines = [text[i : i + 60] for i in range(0, len(text), 60)]
        records.append(newline.join([f">{name} {len(text)} primary", *lines]))
    path.write_bytes((newline.join(records) + (newline if last else "")).encode())


def labels_file(path, rows, rectangular=False, kind="i8"):
    with h5py.File(path, "w") as f:
        if rectangular:
            values = np.full((len(rows), max(map(len, rows))), IGNORED, kind)
            for row, label in zip(values, rows, strict=True):
                row[: len(label)] = label
            f.create_dataset("labels", data=values, compression="gzip")
        else:
            values = f.create_dataset("labels", (len(rows),), h5py.vlen_dtype(np.dtype(kind)))
            for i, label in enumerate(rows):
                values[i] = label


def bed(path, rows, header="chromosome\tstart\tend\tstrand\tgene_id\tsplit"):
    lines = [f"{c}\t{a}\t{b}\t{s}\tG{i}\t{split}" for i, (c, a, b, s, split) in enumerate(rows)]
    path.write_text("\n".join([header, *lines]) + "\n")


@pytest.fixture
def data(tmp_path):
    """The folder `data` of BEND."""
    for name in ("gene_finding", "genomes"):
        (tmp_path / "data" / name).mkdir(parents=True)
    folder = tmp_path / "data" / "gene_finding"
    bed(folder / "gene_finding.bed", REGIONS)
    labels_file(folder / "gene_finding.hdf5", LABELS)
    fasta(tmp_path / "data" / "genomes" / bend.GENOME)
    return tmp_path / "data"


def check(folder):
    """What is read is the plus strand of each region with its own labels, split by split."""
    found = {}
    for split, part in bend.read(bend.recognise(folder)):
        found.setdefault(split, []).append(part)
    for theirs, split in (("train", "train"), ("valid", "dev"), ("test", "test")):
        of = [i for i, region in enumerate(REGIONS) if region[4] == theirs]
        parts = found[split]
        assert [i for p in parts for i in p.ids] == ["{}:{}-{}".format(*REGIONS[i]) for i in of]
        rows = iter(of)
        for part in parts:
            assert part.y.dtype == np.int8 and part.y.shape[1] == part.seqs.lengths.max()
            for k in range(len(part.y)):
                i = next(rows)
                chromosome, start, end, *_ = REGIONS[i]
                assert part.seqs[k] == GENOME[chromosome][start:end].upper()
                np.testing.assert_array_equal(part.y[k, : end - start], LABELS[i])
                assert (part.y[k, end - start :] == IGNORED).all()
    return {split: len(parts) for split, parts in found.items()}


def test_rows_of_the_bed_have_their_own_labels_and_the_plus_strand(data):
    assert any(region[3] == "-" for region in REGIONS)
    assert check(data / "gene_finding") == {"train": 1, "dev": 1, "test": 1}


def test_chunks_keep_every_row(data, monkeypatch):
    monkeypatch.setattr(bend, "CHUNK", 5)
    assert check(data / "gene_finding")["train"] > 3


@pytest.mark.parametrize("kind", ["i8", "f8", "u1"])
def test_label_types(data, kind):
    labels_file(data / "gene_finding" / "gene_finding.hdf5", LABELS, kind=kind)
    check(data / "gene_finding")


def test_labels_filled_up_to_a_rectangle(data):
    labels_file(data / "gene_finding" / "gene_finding.hdf5", LABELS, rectangular=True)
    check(data / "gene_finding")


@pytest.mark.parametrize(("newline", "last"), [("\r\n", True), ("\n", False), ("\r\n", False)])
def test_fasta_lines_of_every_kind(data, newline, last):
    fasta(data / "genomes" / bend.GENOME, newline, last)
    check(data / "gene_finding")
    with bend.Genome(data / "genomes" / bend.GENOME) as genome:
        for name, text in GENOME.items():
            assert genome.fetch(name, 0, len(text)) == text
            assert genome.fetch(name, 59, 60) == text[59]
            with pytest.raises(ValueError, match=rf"outside {name}, which has {len(text)} bp"):
                genome.fetch(name, 0, len(text) + 1)


def test_a_genome_beside_the_bed_is_found_too(data):
    (data / "genomes" / bend.GENOME).rename(data / "gene_finding" / bend.GENOME)
    check(data / "gene_finding")


def error(data, *of):
    with pytest.raises(ValueError) as caught:
        list(bend.read(bend.recognise(data / "gene_finding")))
    assert all(text in str(caught.value) for text in of), str(caught.value)


def test_files_that_do_not_fit_are_refused_with_the_place(data):
    folder, genome = data / "gene_finding", data / "genomes" / bend.GENOME
    labels_file(folder / "gene_finding.hdf5", LABELS[:-1])
    error(data, "41 rows of labels", "42 regions")
    labels_file(folder / "gene_finding.hdf5", [LABELS[1], *LABELS[1:]])
    error(data, "row 0 (from 0)", "71 labels", "70 bp")
    labels_file(folder / "gene_finding.hdf5", [LABELS[0][:-1], *LABELS[1:]], rectangular=True)
    list(bend.read(bend.recognise(folder)))  # filled up with -100: the base counts for nothing
    wrong = LABELS[0].copy()
    wrong[3] = 9
    labels_file(folder / "gene_finding.hdf5", [wrong, *LABELS[1:]])
    error(data, "row 0 (from 0) has label 9 at position 3", "0 to 8")
    labels_file(folder / "gene_finding.hdf5", LABELS)
    bed(folder / "gene_finding.bed", [(*REGIONS[0][:4], "val1"), *REGIONS[1:]])
    error(data, "gene_finding.bed:2", "'val1'")
    bed(folder / "gene_finding.bed", [("chr9", *REGIONS[0][1:]), *REGIONS[1:]])
    error(data, "'chr9'", "chr1, chr2", bend.GENOME)
    bed(folder / "gene_finding.bed", REGIONS, header="chr1\t1\t71\t+\tG\ttrain")
    error(data, "name the columns")
    bed(folder / "gene_finding.bed", REGIONS)
    genome.write_text(">chr1\nACGT\nACGTACGT\nACG\n>chr2\n" + "A" * 1201 + "\n>chrM\n" + "A" * 60)
    error(data, "chr1")
    (folder / "gene_finding.hdf5").write_bytes(b"<html>")
    error(data, "HDF5", "download")
    genome.unlink()
    error(data, bend.GENOME, "--genome")


def test_a_packed_genome_is_refused(tmp_path):
    (tmp_path / "g.fa.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ValueError, match="unpack"):
        bend.Genome(tmp_path / "g.fa.gz")
    (tmp_path / "g.fa").write_text("ACGT\n")
    with pytest.raises(ValueError, match="begins with"):
        bend.Genome(tmp_path / "g.fa")


def test_lines_of_unequal_length_are_refused(tmp_path):
    (tmp_path / "g.fa").write_text(">a\nACGTA\nAC\nACGTA\nACGTA\n>b\nACGTA\n")
    with (
        bend.Genome(tmp_path / "g.fa") as genome,
        pytest.raises(ValueError, match="differ in length"),
    ):
        genome.fetch("a", 0, 14)


def spliced(plus, labels, n=12):
    """The gene on each strand, n times."""
    reverse = Sequences.parse([plus]).reverse_complement()
    other = [label + 4 for label in labels[::-1]]
    y = np.full((2 * n, 20), IGNORED, np.int8)
    y[::2, :18], y[1::2, :18] = labels, other
    seqs = Sequences.parse([plus, reverse[0]] * n)
    return Split(seqs, y, np.arange(2 * n).astype(str))


PLUS = "ACCGTAAGTTTTCAGCAT"  # exon, GT ... AG, exon
PLACES = [0, 0, 0, 1] + [2] * 10 + [3, 0, 0, 0]


def test_splice_sites_have_their_two_bases():
    part = spliced(PLUS, PLACES)
    found = counted([part])
    assert found == dict.fromkeys((1, 3, 5, 7), (12, 12)) and not problems(found, bend.CLASSES)
    wide = spliced(PLUS, [0, 0, 0, 1, 1] + [2] * 8 + [3, 3, 0, 0, 0])
    assert counted([wide]) == found  # of a wider label, the base next to the exon
    turned = Sequences.parse([part.seqs[i][1:] + "A" for i in range(24)])
    assert [c.right for c in counted([part._replace(seqs=turned)]).values()] == [0] * 4


@pytest.mark.parametrize("strand", [(1, 3), (5, 7)])
def test_donor_and_acceptor_swapped_on_one_strand_are_found(strand):
    part = spliced(PLUS, PLACES)
    y, (donor, acceptor) = part.y.copy(), strand
    y[part.y == donor], y[part.y == acceptor] = acceptor, donor
    found = problems(counted([part._replace(y=y)]), bend.CLASSES)
    assert [text.partition(":")[0] for text in found] == [bend.CLASSES[k] for k in strand]
    assert "0 of 12 labelled sites (0%)" in found[0] and "may be swapped" in found[0]
    task = TASKS[bend.NAME]
    assert differences(task, {"test": 24}, {"test": part._replace(y=y)})[-2:] == found


def test_bases_without_a_class_count_in_neither_loss_nor_score():
    """BEND's mask of padded labels, `loss[~target != -100]`, lets all of them through."""
    rng = np.random.default_rng(5)
    logits = torch.tensor(rng.normal(size=(3, 40, 9)), requires_grad=True)
    y = rng.integers(0, 9, (3, 40)).astype(np.int8)
    y[0, 25:] = y[2, 3:9] = IGNORED
    there = y != IGNORED
    total = losses.loss("per_base", logits, losses.target("per_base", y))
    total.backward()
    assert not logits.grad.numpy()[~there].any() and logits.grad.numpy()[there].any(-1).all()
    chosen = torch.log_softmax(logits.detach(), -1).numpy()[there, y[there]]
    assert total.item() == pytest.approx(-chosen.sum())
    assert losses.weight("per_base", y) == there.sum() == 3 * 40 - 15 - 6
    flat = losses.flat("per_base", y, logits.detach().numpy())
    assert [len(part) for part in flat] == [99, 99] and IGNORED not in flat[0]
    wanted = matthews_corrcoef(y[there], logits.detach().numpy()[there].argmax(-1))
    assert score(*flat, ["mcc"])["mcc"] == pytest.approx(wanted, abs=1e-12)


def test_it_is_imported_and_trained_by_the_real_command(data, tmp_path):
    env = {**os.environ, "DNABENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    code = (
        "import sys; from pathlib import Path\n"
        "from dnabench.tasks.io.importing import import_tree\n"
        "(got,) = import_tree(Path(sys.argv[1])); print(got.error or got.counts)\n"
        "print(got.task, got.notes['regions'], max(got.notes['splice_sites'].values()) < .5)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, data], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counts = {s: sum(r[4] == t for r in REGIONS) for s, t in
              (("train", "train"), ("dev", "valid"), ("test", "test"))}  # fmt: skip
    assert done.stdout == f"{counts}\n{bend.NAME} 42, 5976 were published True\n"
    words = f"run -m convnova-386k -t {bend.NAME} --seeds 1 --epochs 1 --out {tmp_path / 'runs'}"
    run = completed([sys.executable, "-m", "dnabench", *words.split()], env)
    assert run.returncode == 0, run.stdout + run.stderr
    (record,) = (tmp_path / "runs" / "records").glob("*.json")
    recipe = json.loads(record.read_text())["trial"]["recipe"]
    assert recipe["source"] == MODELS["convnova-386k"].recipes["bend"].source
    assert recipe["differs"].startswith("the paper states no batch") and recipe["epochs"] == 1
    (predictions,) = (tmp_path / "runs" / "predictions").glob("*.npz")
    bases = sum(end - start for _, start, end, _, split in REGIONS if split == "test")
    with np.load(predictions) as stored:
        assert stored["logits"].shape == (bases, 9)  # padding is left out
        wanted = [LABELS[i] for i, region in enumerate(REGIONS) if region[4] == "test"]
        np.testing.assert_array_equal(stored["labels"], np.concatenate(wanted))
