"""Where sequences lie on a genome, letter for letter, on either strand.

N sequences, K = 32 bp by which they are looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N, Progress, Sequences

K = 32
CHUNK = 1 << 22  # bp of a genome looked at together
SLOTS = 1 << 24  # of a table that rules out most places


class Places(NamedTuple):
    """Where sequences were found: int64 (H,) each, ascending by sequence.

    sequence: its row. start: first base, as in `Genome.starts`. end: exclusive.
    """

    sequence: Array
    start: Array
    end: Array


def places(
    seqs: Sequences, genome: Genome, progress: Progress = lambda done, total: None
) -> Places:  # fmt: skip
    """All exact copies of sequences in a genome, on both strands.

    Sequences with an N, or shorter than 32 bp, are not looked up. `progress` is called with the bp
    done and in all.
    """
    both = [seqs, seqs.reverse_complement()]
    rows = looked_up(seqs)
    keys = np.concatenate([_first(one, rows) for one in both])
    order = np.argsort(keys, kind="stable")
    keys, owner = keys[order], order % max(len(rows), 1)
    strand = order // max(len(rows), 1)
    found: list[tuple[Array, Array]] = []
    table = np.zeros(SLOTS, bool)
    table[_slot(keys)] = True
    if len(rows):
        for at, codes in _mers(genome, progress):
            hit, place = _joined(keys, codes, at, table)
            found += _confirmed(genome, both, rows[owner[hit]], strand[hit], place)
    which = np.concatenate([w for w, _ in found]) if found else np.zeros(0, np.int64)
    start = np.concatenate([s for _, s in found]) if found else np.zeros(0, np.int64)
    pairs = np.unique(np.stack([which, start], 1), axis=0)  # a palindrome is found twice
    return Places(pairs[:, 0], pairs[:, 1], pairs[:, 1] + seqs.lengths[pairs[:, 0]])


def together(seqs: Sequences, other: Sequences | None) -> Sequences:
    """N sequences; of pairs 2 N, all first ones and then all second ones."""
    if other is None:
        return seqs
    offsets = np.concatenate([seqs.offsets, seqs.offsets[-1] + other.offsets[1:]])
    return Sequences(np.concatenate([seqs.codes, other.codes]), offsets)


def looked_up(seqs: Sequences) -> Array:
    """Rows of the sequences without N, of 32 bp or more; the others cannot be found."""
    any_base = np.concatenate([[0], np.cumsum(seqs.codes == N)])
    count = any_base[seqs.offsets[1:]] - any_base[seqs.offsets[:-1]]
    return np.flatnonzero((seqs.lengths >= K) & (count == 0))


def _first(seqs: Sequences, rows: Array) -> Array:
    """uint64, the first K bases of the rows, two bits each."""
    codes = seqs.codes[seqs.offsets[:-1][rows][:, None] + np.arange(K)].astype(np.uint64)
    return np.asarray((codes << (2 * np.arange(K, dtype=np.uint64))[::-1]).sum(1, dtype=np.uint64))


def _mers(genome: Genome, progress: Progress) -> Iterator[tuple[Array, Array]]:
    """The K-mers without N of a genome in blocks: where they begin, and two bits a base."""
    done = 0
    for start, length in zip(genome.starts.tolist(), genome.lengths.tolist(), strict=True):
        for a in range(0, length - K + 1, CHUNK):
            size = min(CHUNK + K - 1, length - a)
            codes = genome.windows(np.array([start + a]), size)[0][0]
            mers = codes.astype(np.uint64) & np.uint64(3)
            n = np.concatenate([[0], np.cumsum(codes == N)])
            width = 1
            while width < K:
                mers = (mers[: len(mers) - width] << np.uint64(2 * width)) | mers[width:]
                width *= 2
            good = np.flatnonzero(n[K:] == n[:-K])
            yield start + a + good, mers[good]
            done += size
            progress(min(done, genome.bp), genome.bp)


def _joined(keys: Array, mers: Array, at: Array, table: Array) -> tuple[Array, Array]:
    """Pairs of an entry of sorted keys and the place of an equal K-mer.

    `table` says of a slot whether a key may be there.
    """
    maybe = np.flatnonzero(table[_slot(mers)])
    first = np.searchsorted(keys, mers[maybe], side="left")
    last = np.searchsorted(keys, mers[maybe], side="right")
    many = last - first
    hit = np.repeat(first - (np.cumsum(many) - many), many) + np.arange(many.sum())
    return hit, np.repeat(at[maybe], many)


def _slot(mers: Array) -> Array:
    return np.asarray((mers * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40))


def _confirmed(
    genome: Genome, both: Sequence[Sequences], row: Array, strand: Array, at: Array
) -> Iterator[tuple[Array, Array]]:
    """Rows and places at which the whole sequence is the genome's."""
    lengths = both[0].lengths[row]
    ends = genome.starts + genome.lengths
    fits = at + lengths <= ends[np.searchsorted(genome.starts, at, side="right") - 1]
    for length in np.unique(lengths[fits]).tolist():
        for which, seqs in enumerate(both):
            mine = np.flatnonzero(fits & (lengths == length) & (strand == which))
            for part in np.array_split(mine, max(1, len(mine) * length // CHUNK)):
                codes, _ = genome.windows(at[part], length)
                own = seqs.codes[seqs.offsets[:-1][row[part]][:, None] + np.arange(length)]
                same = (codes == own).all(1)
                yield row[part][same], at[part][same]


def seen(seqs: Sequences, genome: Genome, free: Array, length: int) -> Array:
    """Bool (N,), the sequences of which a copy touches a window that is trained on.

    Args:
        seqs: of any lengths.
        genome: on which they are looked up.
        free: int64 (I, 2), see `windows.Source`.
        length: bp of a window.
    """
    out, found = np.zeros(len(seqs), bool), places(seqs, genome)
    order = np.argsort(free[:, 0])
    starts, ends = free[order, 0], np.maximum.accumulate(free[order, 1] + length - 1)
    i = np.searchsorted(starts, found.end, side="left") - 1
    out[found.sequence[(i >= 0) & (ends[i.clip(0)] > found.start)]] = True
    return out
