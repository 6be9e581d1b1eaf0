"""Whether two sequences are near duplicates: banded alignment of many pairs at once.

Two sequences are near duplicates when their alignment has a stretch that covers at least a share
`coverage` of the bases of the shorter one and in which at least a share `identity` of the columns
are matches. A column is a base against a base or against a gap; N matches nothing.

P pairs, a the shorter sequence of a pair, b the longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dnabench.tasks.audit.kmers import other_strand
from dnabench.types import Array, Sequences
from dnabench.types import N as UNKNOWN

FINEST = 1000  # identities are counted in thousandths
MISMATCH, GAP = -2, -2  # with +1 for a match: scores of the alignment itself
OUTSIDE, MATCH, MISS = 0, 1, 2  # a base outside the alignment, which no stretch crosses; others
CELLS = 1 << 25  # of the largest array of a batch
_A_N, _B_N, _B_END = 250, 251, 252  # letters that match nothing


class Likeness(NamedTuple):
    """How alike near duplicates are: shares of the columns, and of the shorter sequence's bases."""

    identity: float = 0.9
    coverage: float = 0.8

    @property
    def match(self) -> int:
        """Of a match: with `miss`, a stretch sums to 0 or more if it is alike enough."""
        return FINEST - round(FINEST * self.identity)

    @property
    def miss(self) -> int:
        """Of a mismatch or a gapped base."""
        return -round(FINEST * self.identity)


class Pairs(NamedTuple):
    """Sequences to compare: rows of one `Sequences`, each array (P,).

    a, b: int64, a no longer than b. flipped: bool, b is read from the other strand. diagonal:
    int64, position in b as read minus position in a. middle: the same, for the middle of the band
    of an alignment with gaps.
    """

    a: Array
    b: Array
    flipped: Array
    diagonal: Array
    middle: Array

    def take(self, at: Array) -> Pairs:
        """Those pairs."""
        return Pairs(*(column[at] for column in self))


def shorter_first(pairs: Pairs, lengths: Array) -> Pairs:
    """The same pairs, with a and b swapped where a is longer."""
    a, b, flipped, *diagonals = pairs
    swap = lengths[a] > lengths[b]
    turned = lengths[a] - lengths[b]
    one, two = (np.where(swap, np.where(flipped, turned + d, -d), d) for d in diagonals)
    return Pairs(np.where(swap, b, a), np.where(swap, a, b), flipped, one, two)


def half_band(length: int) -> int:
    """How far a path may leave the middle diagonal, in bp: 10 % of the length, at most 64."""
    return min(8 + length // 20, 64)


def alike_without_gaps(
    seqs: Sequences, pairs: Pairs, rule: Likeness, observe: Callable[[float], object]
) -> Array:
    """Compare base by base along `diagonal`.

    Returns:
        bool (P,), True where the pair is a near duplicate; exact.
    """
    out = np.zeros(len(pairs.a), bool)
    letters = _Letters(seqs, pairs, int(seqs.lengths[pairs.a].max(initial=1)))
    for rows, length in _batches(seqs.lengths[pairs.a], lambda n: 16 * n):
        part = pairs.take(rows)
        here = letters.read(part.a, np.zeros(len(rows), bool), 0, length)
        there = letters.read(part.b, part.flipped, part.diagonal, length)
        same = (here == there) & (here < UNKNOWN)
        least = rule.identity * rule.coverage * seqs.lengths[part.a]  # matches of any stretch
        maybe = np.flatnonzero(np.count_nonzero(same, axis=1) >= least - 1e-6)
        here, there = here[maybe], there[maybe]
        steps = np.where(same[maybe], np.int8(MATCH), np.int8(MISS))
        steps[(here == _B_END) | (there == _B_END)] = OUTSIDE
        out[rows[maybe]] = _has_stretch(steps, None, seqs.lengths[part.a[maybe]], rule)
        observe(len(rows) / len(out))
    return out


def alike(
    seqs: Sequences, pairs: Pairs, rule: Likeness, observe: Callable[[float], object]
) -> Array:
    """Align each pair within a band about `middle` and look for a stretch in the best path.

    Returns:
        bool (P,), True where the pair is a near duplicate.

    Accuracy:
        The path is a best local alignment with +1 for a match, -2 for a mismatch or a gapped base.
        Another path may have a stretch where this one has none; paths outside the band are not
        seen.

    Source:
        Smith and Waterman 1981, J. Mol. Biol. 147:195, within a band.
    """
    out = np.zeros(len(pairs.a), bool)
    longest = int(seqs.lengths[pairs.a].max(initial=1))
    letters = _Letters(seqs, pairs, longest + 2 * half_band(longest))
    for rows, length in _batches(
        seqs.lengths[pairs.a], lambda n: 2 * n * (2 * half_band(n) + 1), most=1024
    ):
        part, half = pairs.take(rows), half_band(length)
        here = letters.read(part.a, np.zeros(len(rows), bool), 0, length)
        there = letters.read(part.b, part.flipped, part.middle - half, length + 2 * half)
        here[here >= UNKNOWN] = _A_N
        there[there == UNKNOWN] = _B_N
        scores = _scores(here.T.copy(), there.T.copy())
        steps, gaps = _path(scores, here, there)
        out[rows] = _has_stretch(steps, gaps, seqs.lengths[part.a], rule)
        observe(len(rows) / len(out))
    return out


def _batches(
    lengths: Array, cells: Callable[[int], int], most: int = 1 << 14
) -> Iterator[tuple[Array, int]]:
    """Batches of pairs of similar length, and their longest, so that arrays stay small."""
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        size = max(1, min(most, CELLS // cells(longest)))
        yield order[start : start + size], longest
        start += size


class _Letters:
    """Windows of sequences on either strand, also beyond their ends."""

    def __init__(self, seqs: Sequences, pairs: Pairs, length: int) -> None:
        self._seqs, self._margin = seqs, length
        self._strands = [_padded(seqs.codes, length)]
        if pairs.flipped.any():
            self._strands.append(_padded(other_strand(seqs).codes, length))

    def read(self, rows: Array, flipped: Array, first: Array | int, length: int) -> Array:
        """Bases first..first + length - 1 of each row as read: uint8 (P, length)."""
        first = np.broadcast_to(first, len(rows))
        size = self._seqs.lengths[rows]
        # a window wholly beyond an end is read at that end: all of it becomes _B_END
        at = np.clip(first, -length, size) + self._seqs.offsets[:-1][rows] + self._margin
        out = np.empty((len(rows), length), np.uint8)
        for strand, codes in enumerate(self._strands):
            mine = np.flatnonzero(flipped == bool(strand))
            out[mine] = np.lib.stride_tricks.sliding_window_view(codes, length)[at[mine]]
        column = np.arange(length, dtype=np.int32)
        outside = column < -first.astype(np.int32)[:, None]
        outside |= column >= (size - first).astype(np.int32)[:, None]
        out[outside] = _B_END
        return out


def _padded(codes: Array, margin: int) -> Array:
    ends = np.full(margin, _B_END, np.uint8)
    return np.concatenate([ends, codes, ends])


def _has_stretch(steps: Array, gaps: Array | None, lengths: Array, rule: Likeness) -> Array:
    """Whether a run of enough bases has no negative sum.

    Args:
        steps: int8 (P, L), MATCH, MISS or OUTSIDE.
        gaps: int (P, L), gapped bases of b before each base of a, or None.
        lengths: int64 (P,), bp of a.
        rule: what counts as enough.
    """
    length = steps.shape[1]
    unit = math.gcd(rule.match, rule.miss)
    match, miss = rule.match // unit, rule.miss // unit
    barrier = -length * match - 1
    kind = np.int32 if length * (miss + barrier) > -(1 << 30) else np.int64
    steps = np.array([barrier, match, miss], kind)[steps]
    columns = steps if gaps is None else steps + np.multiply(gaps, miss, dtype=kind)
    ends: Array = np.cumsum(columns, axis=1, dtype=kind)
    lowest = np.minimum.accumulate(ends - steps, axis=1)  # the sum before each base
    need = np.maximum(np.ceil(rule.coverage * lengths - 1e-9).astype(np.int64), 1)
    start = np.arange(length) - need[:, None] + 1
    floor = np.take_along_axis(lowest, np.maximum(start, 0), axis=1)
    return np.asarray(((start >= 0) & (ends >= floor)).any(axis=1))


def _scores(here: Array, there: Array) -> Array:
    """Best score of a local alignment that ends in each cell of the band.

    Args:
        here: uint8 (L, P).
        there: uint8 (L + band - 1, P); column t of row i faces base i + t.

    Returns:
        int16, or int32 where L is large, (L + 1, band, P); row 0 is zero.
    """
    length, n = here.shape
    band = len(there) - length + 1
    kind = np.int16 if length < 30_000 else np.int32
    out = np.zeros((length + 1, band, n), kind)
    ramp = (-GAP * np.arange(band, dtype=kind))[:, None]
    for i in range(length):
        row = np.where(there[i : i + band] == here[i], kind(1), kind(MISMATCH))
        row += out[i]
        np.maximum(row[:-1], out[i][1:] + kind(GAP), out=row[:-1])
        np.maximum(row, 0, out=row)
        row += ramp
        np.maximum.accumulate(row, axis=0, out=out[i + 1])
        out[i + 1] -= ramp
    return out


def _path(scores: Array, here: Array, there: Array) -> tuple[Array, Array]:
    """Follow the best path of every pair back: `steps` and `gaps` of `_has_stretch`."""
    rows, band, n = scores.shape
    steps = np.full((n, rows - 1), OUTSIDE, np.int8)
    gaps = np.zeros((n, rows - 1), np.int32)
    best = scores.reshape(-1, n).argmax(axis=0)
    pair = np.arange(n)
    i, t = best // band, best % band
    while True:
        now = scores[i, t, pair]
        left = now > 0
        if not left.any():
            return steps, gaps
        pair, i, t, now = pair[left], i[left], t[left], now[left]
        same = here[pair, i - 1] == there[pair, i - 1 + t]
        across = now == scores[i - 1, t, pair] + np.where(same, 1, MISMATCH)
        up = scores[i - 1, np.minimum(t + 1, band - 1), pair] + GAP
        down = ~across & (t + 1 < band) & (now == up)
        aside = ~across & ~down
        kind = np.where(across & same, MATCH, MISS)
        steps[pair, i - 1] = np.where(aside, steps[pair, i - 1], kind)
        later = aside & (i < rows - 1)
        gaps[pair[later], i[later]] += 1
        i, t = i - ~aside, t + down - aside
