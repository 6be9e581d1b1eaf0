"""Files in the layouts that `dnabench data import` knows, and their data."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabench import TASKS


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def sequences(n, seed=0, length=30):
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]]


def rows(n, seed=0, classes=2):
    return [(seq, i % classes) for i, seq in enumerate(sequences(n, seed))]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


def csv(of, header="sequence,label"):
    return "\n".join([header, *(f"{seq},{label}" for seq, label in of)]) + "\n"


def fasta(of):
    return "".join(f">chr1:{i}|{label}\n{seq}\n" for i, (seq, label) in enumerate(of))


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


def columns(of, **more):
    return {"sequence": [s for s, _ in of], "name": [f"n{i}" for i in range(len(of))],
            "label": [y for _, y in of], **more}  # fmt: skip


def by_task(imported):
    assert len({i.task for i in imported}) == len(imported)
    return {i.task: i for i in imported}


TRAIN, DEV, TEST = rows(12, 1), rows(4, 2), rows(6, 3)
BOTH = {"train": TRAIN, "test": TEST}


def nt_plain(folder):
    for split, of in BOTH.items():
        put(folder / f"nt/H3/{split}.fna", fasta(of))


def nt_fetched(folder):
    for split, of in BOTH.items():
        put(folder / f"nt/h3/H3/{split}.fna", fasta(of))


GUE = {
    "gue/emp_h3": "EMP/H3", "gue/prom_core_tata": "prom/prom_core_tata", "gue/mouse_0": "mouse/0",
    "gue/tf_0": "tf/0", "gue/splice_reconstructed": "splice/reconstructed",
    "gue/virus_covid": "virus/covid",
}  # fmt: skip


def gue_tree(folder):
    for i, (task, path) in enumerate(GUE.items()):
        for split, n in (("train", 12), ("dev", 4), ("test", 6)):
            of = rows(n, i, len(TASKS[task].classes))
            put(folder / path / f"{split}.csv", csv(of))
