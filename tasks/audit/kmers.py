"""k-mers as integers, and fingerprints of whole sequences, vectorised.

N sequences, k length of a word in bp. A word is a number in base 4 with digits A=0 to T=3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dnabench.types import Array, Sequences
from dnabench.types import N as UNKNOWN

CHUNK = 1 << 18  # bp at once: 64-bit arrays of 2 MB, a core's share of cache
_SEED = 20_240_917  # of the multipliers, so that fingerprints are equal on every machine


class Words(NamedTuple):
    """The words without N of one chunk of sequences.

    row: int64, index of the sequence. place: int64, start within it, from 0. forward, reverse:
    uint64, the word and its reverse complement.
    """

    row: Array
    place: Array
    forward: Array
    reverse: Array


def chunks(seqs: Sequences, size: int = CHUNK) -> Iterator[tuple[int, int]]:
    """(first row, end row) of runs of whole sequences of about `size` bp, at least one each."""
    start, n = 0, len(seqs)
    while start < n:
        end = int(np.searchsorted(seqs.offsets, seqs.offsets[start] + size, side="right")) - 1
        end = max(end, start + 1)
        yield start, end
        start = end


def rolling(codes: Array, k: int, *, low_first: bool = False) -> Array:
    """The word that begins at each base, in about 2 log2(k) passes.

    Args:
        codes: uint8 (n,), 0..3.
        k: 1..32.
        low_first: the first base is the lowest digit, as for a reversed word.

    Returns:
        uint64 (n - k + 1,), empty when n < k.
    """
    power: Array = codes.astype(np.uint64)
    out, width, done = power[:0], 1, 0
    while True:
        if k & width:
            out = _joined(out, done, power, width, low_first) if done else power
            done += width
        if done == k:
            return out
        power = _joined(power, width, power, width, low_first)
        width *= 2


def _joined(a: Array, wide_a: int, b: Array, wide_b: int, low_first: bool) -> Array:
    n = max(len(b) - wide_a, 0)
    first, second = a[:n], b[wide_a:]
    if low_first:
        first, second, wide_b = second, first, wide_a
    out: Array = (first << np.uint64(2 * wide_b)) | second
    return out


def words(seqs: Sequences, k: int) -> Iterator[Words]:
    """All words of k bp without N, chunk by chunk; k is 1..32."""
    for start, end in chunks(seqs):
        codes = seqs.codes[seqs.offsets[start] : seqs.offsets[end]]
        if len(codes) < k:
            continue
        offsets = seqs.offsets[start : end + 1] - seqs.offsets[start]
        row = np.repeat(np.arange(end - start), np.diff(offsets))[: len(codes) - k + 1]
        at = np.arange(len(row))
        good = at + k <= offsets[row + 1]
        unknown = codes >= UNKNOWN
        if unknown.any():
            seen = np.concatenate([[0], np.cumsum(unknown)])
            good &= seen[k:] == seen[:-k]
        if not good.any():
            continue
        digits = codes & 3
        yield Words(
            row[good] + start,
            (at - offsets[row])[good],
            rolling(digits, k)[good],
            rolling(3 - digits, k, low_first=True)[good],
        )


def other_strand(seqs: Sequences) -> Sequences:
    """`Sequences.reverse_complement` in chunks, since it needs 24 bytes per base."""
    codes = np.empty_like(seqs.codes)
    for start, end in chunks(seqs):
        part = slice(seqs.offsets[start], seqs.offsets[end])
        offsets = seqs.offsets[start : end + 1] - seqs.offsets[start]
        codes[part] = Sequences(seqs.codes[part], offsets).reverse_complement().codes
    return Sequences(codes, seqs.offsets)


def fingerprints(seqs: Sequences) -> tuple[Array, Array]:
    """128 bits for every sequence and for its reverse complement.

    Returns:
        Two arrays uint64 (N, 2). Equal sequences have equal rows wherever they are.

    Accuracy:
        Two sums over positions of a random multiplier times the letter, modulo 2**64. Two different
        sequences agree with probability below 2**-120.
    """
    longest = int(seqs.lengths.max(initial=1))
    # drawn in order, so the first do not depend on the length of the longest sequence
    factors = [np.random.default_rng(_SEED + i).bit_generator.random_raw(longest) for i in range(2)]
    letters = np.arange(1, 6, dtype=np.uint64)
    other = letters[[3, 2, 1, 0, 4]]
    here, there = np.zeros((2, len(seqs), 2), np.uint64)
    for start, end in chunks(seqs):
        codes = seqs.codes[seqs.offsets[start] : seqs.offsets[end]]
        lengths = seqs.lengths[start:end]
        filled = np.flatnonzero(lengths) + start  # reduceat would give an empty run its first value
        first = seqs.offsets[filled] - seqs.offsets[start]
        place = np.arange(len(codes)) - np.repeat(first, lengths[lengths > 0])
        mirror = np.repeat(lengths - 1, lengths) - place
        for column, factor in enumerate(factors):
            here[filled, column] = np.add.reduceat(factor[place] * letters[codes], first)
            there[filled, column] = np.add.reduceat(factor[mirror] * other[codes], first)
    return here, there


def numbered(rows: Array) -> Array:
    """Number the distinct rows of a uint64 (N, 2) from 0 in sorted order: int64."""
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    ranked = rows[order]
    new = (ranked[1:] != ranked[:-1]).any(1)
    out = np.zeros(len(rows), np.int64)
    out[order[1:]] = np.cumsum(new)
    return out


def either_strand(here: Array, there: Array) -> Array:
    """The smaller of two fingerprints of each row: the same for a sequence and its complement."""
    less = (here[:, 0] < there[:, 0]) | ((here[:, 0] == there[:, 0]) & (here[:, 1] < there[:, 1]))
    return np.where(less[:, None], here, there)


def paired(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """What `fingerprints` gives, of N pairs: rows are equal where both sequences are.

    Args:
        first: fingerprints of the first sequence of each pair and of its reverse complement, uint64
            (N, 2) each.
        second: the same of the second sequences.
    """
    numbers = [numbered(np.concatenate(both)).astype(np.uint64) for both in (first, second)]
    rows = np.stack(numbers, axis=1)
    return rows[: len(first[0])], rows[len(first[0]) :]
