"""Random streams, the validation cut, and `--limit`: who sees which example, decided by a seed."""

from __future__ import annotations

import hashlib
import itertools
from typing import NamedTuple

import numpy as np

from dnabench.types import Array, Protocol, Sequences, Split, Task

VALIDATION_SHARE = 0.1


class Streams(NamedTuple):
    """Seeds of the three random streams of a trial.

    init: weights. order: batches, dropout and strand flips. cut: the validation examples, the same
    for every model.
    """

    init: int
    order: int
    cut: int


def streams(seed: int, task: str) -> Streams:
    """Three independent 32-bit seeds; `cut` depends on the task too, none on the model."""
    words = (f"init/{seed}", f"order/{seed}", f"cut/{task}/{seed}")
    digests = (hashlib.sha256(w.encode()).digest() for w in words)
    return Streams(*(int.from_bytes(d[:4], "big") for d in digests))


def same_sequence(seqs: Sequences) -> Array:
    """Number the distinct sequences, a sequence and its reverse complement being the same.

    Returns:
        int64 (N,), numbers from 0 in the order in which they first appear.
    """
    numbers: dict[bytes, int] = {}
    bounds = list(itertools.pairwise(seqs.offsets.tolist()))
    here, there = seqs.codes.tobytes(), seqs.reverse_complement().codes.tobytes()
    keys = (min(here[a:b], there[a:b]) for a, b in bounds)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def held_out(split: Split, share: float, seed: int) -> Array:
    """Pick a share of every class at random, all copies of a sequence together.

    Args:
        split: N examples; copies may stand on either strand.
        share: see `stratified`, of the distinct sequences; a class is that of the first copy.
        seed: of the draw.

    Returns:
        bool (N,), True where picked.
    """
    group = same_sequence(split.seqs)
    _, first = np.unique(group, return_index=True)
    return stratified(split.y[first], share, seed)[group]


def stratified(y: Array, share: float, seed: int) -> Array:
    """Pick a share of every class at random.

    Args:
        y: int64 (N,), class indices.
        share: of each class, rounded to whole examples; at least one where a class has two.
        seed: of the draw.

    Returns:
        bool (N,), True where picked.
    """
    rng = np.random.default_rng(seed)
    picked = np.zeros(len(y), bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        n = max(round(share * len(rows)), 1 if len(rows) > 1 else 0)
        picked[rng.permutation(rows)[:n]] = True
    return picked


def limited(split: Split, limit: float) -> Split:
    """A fixed stratified subset, for trying things out.

    Args:
        split: all of it.
        limit: 0 keeps all; below 1 a share; from 1 a number of examples, of which every class gets
            its proportion (so a class may round the number up or down).
    """
    n = len(split.y)
    share = limit if limit < 1 else limit / n
    if not limit or share >= 1:
        return split
    return split.take(np.flatnonzero(stratified(split.y, share, seed=0)))


def cut(task: Task, protocol: Protocol, seed: int, limit: float = 0) -> tuple[Split, Split | None]:
    """The training and the validation examples of a trial. The test split is not read.

    Args:
        task: its official dev split is the validation, where it has one.
        protocol: without a dev split, says whether 10 % of train are cut off.
        seed: of the cut, from `streams`.
        limit: see `limited`; applied to each official split before the cut.

    Returns:
        (train, validation or None).
    """
    train = limited(task.load("train"), limit)
    if "dev" in task.counts:
        return train, limited(task.load("dev"), limit)
    if not protocol.cuts_validation:
        return train, None
    held = held_out(train, VALIDATION_SHARE, seed)
    if not held.any():
        raise ValueError(
            f"{task.name}: no class has two different sequences in train, so no validation can be "
            "cut off; add examples or a dev split"
        )
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))
