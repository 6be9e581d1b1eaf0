"""Random streams, the validation cut, and `--limit`: who sees which example, decided by a seed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from dnabench.types import Array, Protocol, Split, Task

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
    held = stratified(train.y, VALIDATION_SHARE, seed)
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))
