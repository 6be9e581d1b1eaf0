"""Published files, where they are here, read as the user's own data."""

import csv
from pathlib import Path

import pytest

from dnabench.tasks.io.describing import describe, overlap
from dnabench.tasks.io.files import task_from_path

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def shared(path):
    if not (SHARED / path).exists():
        pytest.skip(f"real benchmark data missing: {SHARED / path}")
    return SHARED / path


def test_gue_core_promoters():
    task = task_from_path(shared("gue/prom/prom_core_tata"))
    assert task.counts == {"train": 4904, "dev": 613, "test": 613}
    assert (task.name, task.length, task.kind) == ("data/prom_core_tata", 70, "binary")
    train, test = task.load("train"), task.load("test")
    # 16 shared; 12 sequences have both labels within train, but only 1 of the 16 differs in label
    assert overlap(train, test) == (16, 1)
    text = describe(task)
    assert "test sequences that are also in train: 16 of 613, 1 of them with another" in text
    assert "train sequences that have more than one label: 12" in text


def test_nt_fasta_agrees_with_the_csv_of_the_same_examples():
    task = task_from_path(shared("nt/H3/test.fna"))
    assert sum(task.counts.values()) == 1497 and task.length == 500
    ids = {*task.load("train").ids, *task.load("test").ids}
    assert len(ids) == 1497 and "iYMR122W-A_513047" in ids
    reduced = task_from_path(shared("nt_histone_reduced/H3"))
    assert reduced.counts == {"train": 3964, "test": 1497}
    both = [
        texts_with_labels(t, s) for t, s in ((task, "train"), (task, "test"), (reduced, "test"))
    ]
    assert sorted(both[0] + both[1]) == sorted(both[2])


def texts_with_labels(task, split):
    seqs, y, *_ = task.load(split)
    return [(seqs[i], int(y[i])) for i in range(len(y))]


def test_a_quoted_gene_name_with_a_comma_is_read_as_the_csv_module_does():
    path = shared("nt_histone_reduced/H3/test.csv")
    with path.open(newline="") as f:
        expected = [(r["sequence"], int(r["label"])) for r in csv.DictReader(f)]
    assert '"YBR208C_DUR1,2"' in path.read_text()
    assert texts_with_labels(task_from_path(path.parent), "test") == expected


def test_genomic_benchmarks_has_one_row_with_an_n():
    path = shared("genomic_benchmarks/human_nontata_promoters/test.csv")
    task = task_from_path(path)
    assert sum(task.counts.values()) == 9034 and task.length == 251
    with_n = [t for s in task.counts for t, _ in texts_with_labels(task, s) if "N" in t]
    assert len(with_n) == 1 and with_n[0].count("N") == 1
    assert "IUPAC ambiguity letters read as N: 0" in describe(task)  # it was an N already
