"""Locations of sequences in a genome, and how many bp of one split lie in windows of another.

Matches are exact, on either strand. N sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.tasks.audit.kmers import other_strand, rolling, words
from dnabench.tasks.io.fasta import encoded, records
from dnabench.types import Array, Sequences, Split, SplitName
from dnabench.types import N as UNKNOWN

WORD = 32  # bp of a sequence that are looked up; shorter sequences are not located
PIECE = 1 << 22  # bp of a chromosome at once
MOST = 100  # places kept per sequence


class Places(NamedTuple):
    """Where sequences were found: row, chromosome, start (from 0) of each place, int64 (P,).

    chromosomes: names, in the order of the file. repeated: sequences with more than MOST places,
    of which the first MOST are kept. short: sequences too short to locate.
    """

    row: Array
    chromosome: Array
    start: Array
    chromosomes: tuple[str, ...]
    repeated: int
    short: int


def read_genome(path: Path) -> Iterator[tuple[str, Array]]:
    """(name, codes uint8) of every sequence of a FASTA file, plain or gzipped, one at a time.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not FASTA, broken gzip, or has a letter that is not DNA.
    """
    for line, header, body in records(path):
        name = header.split()[0]
        yield name, encoded(f"{path}:{line}", name, body).codes


def locate(
    seqs: Sequences, genome: Path, observe: Callable[[float], object] = lambda share: None
) -> Places:
    """Find every exact match of each sequence in the genome, on either strand.

    Args:
        seqs: N sequences. N equals N only.
        genome: FASTA file.
        observe: called with the share of the genome done, estimated from the file size.

    Raises:
        ValueError: the file is not a genome.

    Accuracy:
        Exact, up to MOST places per sequence; sequences without WORD bp free of N are not found.
    """
    both = seqs, other_strand(seqs)
    anchors = [_anchors(s, other) for other, s in enumerate(both)]
    key, inside, row, other = (np.concatenate(column) for column in zip(*anchors, strict=True))
    order = np.argsort(key)
    key, inside, row, other = key[order], inside[order], row[order], other[order]
    maybe = np.zeros(1 << 24, bool)
    maybe[_slot(key)] = True
    parts, names, done = [np.zeros((0, 3), np.int64)], list[str](), 0
    for chromosome, (name, codes) in enumerate(read_genome(genome)):
        names.append(name)
        observe(min(1.0, done / genome.stat().st_size))
        done += len(codes)
        for at, found in _hits(codes, key, maybe):
            start = at - inside[found]
            good = _equal(both, codes, row[found], other[found] == 1, start)
            where = np.full(int(good.sum()), chromosome)
            parts.append(np.stack([row[found][good], where, start[good]], axis=1))
    # a palindromic sequence was found twice
    rows, chromosomes, starts = np.unique(np.concatenate(parts), axis=0).T
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = rank < MOST
    short = len(seqs) - len(anchors[0][0])
    repeated = len(np.unique(rows[~kept]))
    return Places(rows[kept], chromosomes[kept], starts[kept], tuple(names), repeated, short)


def _anchors(seqs: Sequences, other: int) -> tuple[Array, Array, Array, Array]:
    """The first word without N of each sequence that has one; its place, row and strand."""
    parts = [[np.zeros(0, kind) for kind in (np.uint64, np.int64, np.int64)]]
    for found in words(seqs, WORD):
        rows, first = np.unique(found.row, return_index=True)
        parts.append([found.forward[first], found.place[first], rows])
    word, place, row = (np.concatenate(column) for column in zip(*parts, strict=True))
    return word, place, row, np.full(len(row), other)


def _slot(word: Array) -> Array:
    """24 bits of a word, for a table that rules out most words quickly."""
    return (word * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)


def _hits(codes: Array, key: Array, maybe: Array) -> Iterator[tuple[Array, Array]]:
    """(position, anchor) of every anchor in a chromosome, piece by piece."""
    for start in range(0, max(len(codes) - WORD + 1, 0), PIECE):
        piece = codes[start : start + PIECE + WORD - 1]
        word = rolling(piece & 3, WORD)
        seen = np.concatenate([[0], np.cumsum(piece >= UNKNOWN)])
        possible = np.flatnonzero(maybe[_slot(word)] & (seen[WORD:] == seen[:-WORD]))
        first = np.searchsorted(key, word[possible], side="left")
        times = np.searchsorted(key, word[possible], side="right") - first
        base = np.repeat(np.cumsum(times) - times, times)
        which = np.repeat(first, times) + np.arange(int(times.sum())) - base
        yield np.repeat(possible + start, times), which


def _equal(
    both: tuple[Sequences, Sequences], codes: Array, row: Array, other: Array, start: Array
) -> Array:
    """Whether the genome matches the whole sequence, or its reverse complement, at `start`."""
    lengths, first = both[0].lengths[row], both[0].offsets[:-1][row]
    out = (start >= 0) & (start + lengths <= len(codes))
    for begin in range(0, len(row), 4096):
        at = np.flatnonzero(out[begin : begin + 4096]) + begin
        if not len(at):
            continue
        sizes = lengths[at]
        runs = np.cumsum(sizes) - sizes
        step = np.arange(int(sizes.sum())) - np.repeat(runs, sizes)
        source = np.repeat(first[at], sizes) + step
        strand = np.repeat(other[at], sizes)
        read = np.where(strand, both[1].codes[source], both[0].codes[source])
        same = read == codes[np.repeat(start[at], sizes) + step]
        out[at] = np.logical_and.reduceat(same, runs)
    return out


def shared_bp(places: Places, lengths: Array, first: Array, second: Array) -> Array:
    """How many bp of each sequence lie in windows of other sequences.

    Args:
        places: of all N sequences.
        lengths: int64 (N,), bp.
        first: bool (N,), sequences that form the windows.
        second: bool (N,), sequences to measure.

    Returns:
        int64 (N,), the largest overlap of any place of the sequence; 0 where it is not in `second`
        or has no place.
    """
    out = np.zeros(len(lengths), np.int64)
    ends = places.start + lengths[places.row]
    for chromosome in np.unique(places.chromosome):
        on = places.chromosome == chromosome
        laid, measured = on & first[places.row], on & second[places.row]
        if laid.any() and measured.any():
            low, high = _merged(places.start[laid], ends[laid])
            bp = _covered(low, high, ends[measured]) - _covered(low, high, places.start[measured])
            np.maximum.at(out, places.row[measured], bp)
    return out


def _merged(start: Array, end: Array) -> tuple[Array, Array]:
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    new = np.flatnonzero(np.concatenate([[True], start[1:] > reach[:-1]]))
    return start[new], reach[np.concatenate([new[1:] - 1, [len(start) - 1]])]


def _covered(low: Array, high: Array, at: Array) -> Array:
    """How many bp of the merged intervals lie below a position."""
    before = np.concatenate([[0], np.cumsum(high - low)])
    i = np.searchsorted(low, at, side="right")
    inside = np.clip(high[i - 1] - at, 0, None)
    return np.where(i > 0, before[i] - inside, 0)


def windows(
    splits: Mapping[SplitName, Split], genome: Path, observe: Callable[[float], object]
) -> dict[str, Any]:
    """Test examples whose windows in a genome overlap windows of train or dev.

    Args:
        splits: of a task.
        genome: FASTA file.
        observe: called with the share of the file read.

    Returns:
        genome: the file's name. placed, short, repeated: examples with a place, too short to
        locate, with more than MOST places. overlapping, most, contained: test examples with at
        least 1 bp, at least half, or all of their bp in windows of train or dev. bp: quartiles of
        the overlaps. rows: the test examples that overlap. share: of their bp, in the same order.
    """
    seqs = Sequences(
        np.concatenate([s.seqs.codes for s in splits.values()]),
        np.concatenate([[0], np.cumsum(np.concatenate([s.seqs.lengths for s in splits.values()]))]),
    )
    is_test = np.repeat([name == "test" for name in splits], [len(s.y) for s in splits.values()])
    places = locate(seqs, genome, observe)
    bp = shared_bp(places, seqs.lengths, ~is_test, is_test)[is_test]
    rows = np.flatnonzero(bp)
    share = bp[rows] / seqs.lengths[is_test][rows]
    return {
        "genome": genome.name,
        "placed": len(np.unique(places.row)),
        "short": places.short,
        "repeated": places.repeated,
        "overlapping": len(rows),
        "most": int((share >= 0.5).sum()),
        "contained": int((share == 1).sum()),
        "bp": np.quantile(bp[rows], [0.25, 0.5, 0.75]).tolist() if len(rows) else [],
        "rows": rows.tolist(),
        "share": np.round(share, 4).tolist(),
    }
