"""Places in a genome that look like given ones and are not them: matched negatives.

M places of one sequence of a genome, L bp.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.genome import Chromosome
from dnabench.types import Array, C, G, N

GC_OFF, MASKED_OFF = 0.02, 0.1  # a negative differs by at most that share of its bases
ROUNDS, DRAWS = 250, 16  # each place without a negative draws that many times


class Likeness(NamedTuple):
    """Share of the bases of each place that are G or C, and soft-masked: float64 (M,) each."""

    gc: Array
    masked: Array


class Composition:
    """How many of the first i bases of a sequence are G or C, and how many are soft-masked."""

    def __init__(self, chromosome: Chromosome) -> None:
        codes = chromosome.codes
        self._gc = _running((codes == G) | (codes == C))
        self._masked = _running(chromosome.masked) if chromosome.masked.any() else None

    def of(self, start: Array, end: Array) -> Likeness:
        """The shares of places of any shape."""
        length = end - start
        gc = (self._gc[end] - self._gc[start]) / length
        if self._masked is None:
            return Likeness(gc, np.zeros_like(gc))
        return Likeness(gc, (self._masked[end] - self._masked[start]) / length)


def draw_negatives(
    chromosome: Chromosome, start: Array, end: Array, off: tuple[Array, Array], seed: int
) -> Array:
    """Draw for each place another one of its length, GC and soft-masked share on the same sequence.

    A negative holds no N, and overlaps neither what it must stay off nor another negative. Among
    the places that are like it each is equally likely.

    Args:
        chromosome: the sequence.
        start: int64 (M,), of the places.
        end: int64 (M,).
        off: start and end of what negatives must stay off.
        seed: of the draw; the same one draws the same places.

    Returns:
        int64 (M,), the starts; -1 where ROUNDS x DRAWS places held none that is free and like it.
    """
    digest = hashlib.sha256(chromosome.names[0].encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
    composition, unknown = Composition(chromosome), _runs(chromosome.codes == N)
    length, alike = end - start, composition.of(start, end)
    taken = _merged(*(np.concatenate(pair) for pair in zip(off, unknown, strict=True)))
    found = np.full(len(start), -1)
    for _ in range(ROUNDS):
        left = np.flatnonzero(found < 0)
        if not left.size:
            break
        bp = length[left, None]
        at = (rng.random((len(left), DRAWS)) * (len(chromosome.codes) - bp + 1)).astype(np.int64)
        drawn = composition.of(at, at + bp)
        good = _free(taken, at, at + bp) & _near(drawn.gc, alike.gc[left], GC_OFF)
        good &= _near(drawn.masked, alike.masked[left], MASKED_OFF)
        rows = np.flatnonzero(good.any(1))
        rows = rows[np.argsort(at[rows, good[rows].argmax(1)], kind="stable")]
        place = at[rows, good[rows].argmax(1)]
        until = place + length[left[rows]]
        alone = np.append(True, place[1:] >= np.maximum.accumulate(until)[:-1])[: len(rows)]
        found[left[rows[alone]]] = place[alone]
        new = place[alone], until[alone]
        taken = _merged(*(np.concatenate(pair) for pair in zip(taken, new, strict=True)))
    return found


def overlapping(start: Array, end: Array, off: tuple[Array, Array]) -> Array:
    """Which places overlap one of the others: bool (M,)."""
    return ~_free(_merged(*off), start, end)


def _running(marks: Array) -> Array:
    return np.concatenate([[0], np.cumsum(marks, dtype=np.int32)]).astype(np.int32)


def _near(one: Array, other: Array, most: float) -> Array:
    return np.asarray(np.abs(one - other[:, None]) <= most + 1e-9)


def _runs(marks: Array) -> tuple[Array, Array]:
    """Start and end of every run of True."""
    edge = np.diff(np.pad(marks.view(np.int8), 1))
    return np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)


def _merged(start: Array, end: Array) -> tuple[Array, Array]:
    """Ascending, touching and overlapping ones joined."""
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.append(True, start[1:] > reach[:-1])[: len(start)]
    last = np.append(first[1:], True)[: len(start)]
    return start[first], reach[last]


def _free(taken: tuple[Array, Array], start: Array, end: Array) -> Array:
    begins, ends = taken
    return np.asarray(np.searchsorted(ends, start, "right") == np.searchsorted(begins, end, "left"))
