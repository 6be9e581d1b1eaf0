"""Tasks with planted copies, for the tests of tasks/audit/."""

import json

import numpy as np
from conftest import planted_task

from dnabench import Sequences, Split
from dnabench.tasks.audit.audit import audit

TURN = str.maketrans("ACGT", "TGCA")


def sequences(rows):
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)])
    return Sequences(np.concatenate([np.zeros(0, np.uint8), *rows]).astype(np.uint8), offsets)


def random_rows(rng, n, length=100):
    return list(rng.integers(0, 4, (n, length), np.uint8))


def split_of(rows, y, name):
    return Split(sequences(rows), np.asarray(y), np.array([f"{name}{i}" for i in range(len(rows))]))


def task_of(splits, classes=("0", "1"), **changes):
    """A task of {name: (rows, y)}."""
    made = {name: split_of(*parts, name) for name, parts in splits.items()}
    counts = {name: len(s.seqs) for name, s in made.items()}
    fields = {"name": "made/up", "classes": classes, "counts": counts, "load": made.__getitem__}
    task = planted_task(**{k: v for k, v in fields.items() if k != "classes"}, **changes)
    object.__setattr__(task, "classes", classes)
    return task


def document(task, genome=None):
    return json.loads(audit(task, genome).to_json())


def texts(split):
    return [split.seqs[i] for i in range(len(split.seqs))]


def reverse(text):
    return text.translate(TURN)[::-1]
