"""Which sequences must stay on one side of a split: related ones, linked directly or in a chain.

Two sequences are linked where they are equal or near duplicates (`align.py`), or share an exact
stretch of `Rules.stretch` bp or of a quarter of the shorter one, on either strand, or where their
coordinates overlap. Half-overlapping windows are no near duplicates; the stretch links them.

N sequences, L bp of a stretch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dnabench.splits import numbered as by_appearance
from dnabench.tasks.audit.align import Likeness
from dnabench.tasks.audit.kmers import chunks, either_strand, fingerprints, numbered, rolling
from dnabench.tasks.audit.near import joined, near_duplicates, too_large
from dnabench.types import Array, Sequences
from dnabench.types import N as UNKNOWN

STRETCH, QUARTER = 50, 4  # bp; part of the shorter sequence
CHANCE = 0.01  # stretches that random sequences may share, in all
PERIODS = (4, 5, 6)  # bp, and so 1, 2, 3: a stretch that repeats such a word is no evidence
AT_ONCE = 60_000_000  # stretches held at once; beyond that a share of them is looked at
_PARTS = 16  # that are sorted one after the other
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)  # odd


class Places(NamedTuple):
    """Where sequences lie: chromosome (numbers, -1 = not known), start, end: int64 (N,) each."""

    chromosome: Array
    start: Array
    end: Array


class Links(NamedTuple):
    """What is linked with what.

    cluster: int64 (N,), numbers from 0 in the order in which clusters first appear. held: uint8
    (N,), bits of the splits with a sequence that each is directly linked to, itself left out.
    shortest: bp of the shortest stretch that counted, 0 = none did. unsearched: why near duplicates
    were not searched, "" = they were.
    """

    cluster: Array
    held: Array
    shortest: int
    unsearched: str


def links(
    seqs: Sequences,
    bits: Array,
    places: Places | None = None,
    rule: Likeness = Likeness(),  # noqa: B008  # a constant
    observe: Callable[[float], object] = lambda share: None,
) -> Links:
    """Link related sequences.

    Args:
        seqs: N sequences.
        bits: uint8 (N,), the split of each, as in `copies.BITS`.
        places: their coordinates, where they have some.
        rule: how alike near duplicates are.
        observe: called with the share of the work done, 0..1.

    Accuracy:
        Copies, coordinates and stretches: exact. Stretches with N, those that are simple repeats
        (three quarters repeat a word of up to 6 bp) and those so short that unrelated data of
        this size would share them do not count; beyond 60 million bp longer ones are found with a
        probability that grows with their length. Near duplicates: no false ones, some are missed
        (docs/benchmarks/audit.md).
    """
    copy = by_appearance(numbered(either_strand(*fingerprints(seqs))))
    _, first, times = np.unique(copy, return_index=True, return_counts=True)
    one = seqs if len(first) == len(seqs) else _rows(seqs, first)
    own = np.zeros(len(first), np.uint8)
    np.bitwise_or.at(own, copy, bits)
    held = np.zeros(len(first), np.uint8)
    cluster, shortest = np.arange(len(first)), 0
    for length, askers, members in _stretches(one.lengths):
        cluster = _share_stretch(one, own, held, cluster, length, askers, members)
        shortest = min(shortest or length, length)
    observe(0.4)
    if not (unsearched := too_large(one.lengths)):
        found = near_duplicates(one, own, lambda s: observe(0.4 + 0.6 * s), rule, (held, cluster))
        held, cluster = found.near, joined(cluster, found.a, found.b)
    cluster, held = cluster[copy], held[copy]
    held |= np.where(times[copy] > 1, _others(copy, bits), 0).astype(np.uint8)
    if places is not None:
        cluster = _overlapping(places, bits, cluster, held)
    return Links(by_appearance(cluster), held, shortest, unsearched)


def stretch_length(lengths: Array) -> Array:
    """Length in bp of an exact stretch that links each sequence to one no shorter; 0 = none would.

    Args:
        lengths: int64 (N,), bp, of all sequences: the more there are, the longer are the stretches
            that they share by chance.
    """
    total = max(int(lengths.sum()), 1)
    floor = math.ceil(math.log(total * total / CHANCE, 4))
    quarter = -(-lengths // QUARTER)
    need: Array = np.minimum(np.maximum(quarter, floor), max(STRETCH, floor))
    return np.where(need <= lengths, need, 0)


def _stretches(lengths: Array) -> Iterator[tuple[int, Array, Array]]:
    """(bp, rows that it links, rows that these may share it with), bool (N,) each."""
    need = stretch_length(lengths)
    for length in np.unique(need[need > 0]).tolist():
        askers, members = need == length, need >= length
        if members.sum() > 1:
            yield length, askers, members


def _share_stretch(
    seqs: Sequences, own: Array, held: Array, cluster: Array, length: int, askers: Array,
    members: Array,
) -> Array:  # fmt: skip
    """The clusters, joined where a stretch is shared; bits are added to `held`."""
    hashes, good = _hashes(seqs, length, members)
    several = len(np.unique(own)) > 1
    for part in range(_PARTS):
        at, run = _runs(hashes, good & ((hashes >> np.uint64(60)) == part))
        if not len(at):
            continue
        row = np.searchsorted(seqs.offsets, at, side="right") - 1
        start = np.flatnonzero(np.diff(run, prepend=-1))
        if several:
            _add_bits(own, held, row, run, askers)
        first = row[start][run]
        asked = np.logical_or.reduceat(askers[row], start)[run]
        if not several:  # so that no pair of them is compared again
            shared = asked & (first != row)
            for rows in (row[shared], first[shared]):
                held[rows] |= own[rows]
        new = np.flatnonzero(asked & (cluster[first] != cluster[row]))
        cluster = joined(
            cluster, *np.divmod(_distinct(first[new] * len(seqs) + row[new]), len(seqs))
        )
    return cluster


def _runs(hashes: Array, wanted: Array) -> tuple[Array, Array]:
    """Bases where equal stretches begin, those of one stretch together, and its number."""
    at = np.flatnonzero(wanted)
    key = hashes[at]
    ranked = np.sort(key)
    twice = ranked[1:][ranked[1:] == ranked[:-1]]
    if len(twice) < len(key) // 8:  # mostly unrelated: only the shared ones need an order
        twice = np.append(twice, np.uint64(0))  # so that there is one to compare with
        kept: Array = np.flatnonzero(twice[np.searchsorted(twice[:-1], key)] == key)
        at, key = at[kept], key[kept]
    order = np.argsort(key)
    key, at = key[order], at[order]
    same = key[1:] == key[:-1]
    in_run = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    at, key = at[in_run[: len(at)]], key[in_run[: len(key)]]
    return at, np.cumsum(np.concatenate([[False], key[1:] != key[:-1]])[: len(key)])


def _hashes(seqs: Sequences, length: int, members: Array) -> tuple[Array, Array]:
    """A hash of the stretch from each base, the same on both strands, and which are stretches."""
    hashes = np.zeros(len(seqs.codes), np.uint64)
    good = np.zeros(len(seqs.codes), bool)
    half, most = length // 2, min(1.0, AT_ONCE / max(len(seqs.codes), 1))
    limit = np.uint64(min(int(most * 2**64), 2**64 - 1))
    for begin, end in chunks(seqs):
        low, high = int(seqs.offsets[begin]), int(seqs.offsets[end])
        codes = seqs.codes[low:high]
        n = len(codes) - length + 1
        if n < 1 or not members[begin:end].any():
            continue
        one, two = rolling(codes & 3, half), rolling(3 - (codes & 3), half, low_first=True)
        last = length - half  # an odd stretch leaves out its middle base, which is added below
        here = (one[:n] * _FACTORS[0]) ^ _mixed(one[last:][:n] * _FACTORS[1])
        there = (two[last:][:n] * _FACTORS[0]) ^ _mixed(two[:n] * _FACTORS[1])
        if length % 2:
            middle = codes[half : half + n] & 3
            here ^= middle.astype(np.uint64) << np.uint64(17)
            there ^= (3 - middle).astype(np.uint64) << np.uint64(17)
        ends = np.repeat(seqs.offsets[begin + 1 : end + 1], seqs.lengths[begin:end])[:n] - low
        fits = np.arange(n) + length <= ends
        fits &= np.repeat(members[begin:end], seqs.lengths[begin:end])[:n]
        unknown = codes >= UNKNOWN
        if unknown.any():
            seen = np.concatenate([[0], np.cumsum(unknown)])
            fits &= seen[length:] == seen[:-length]
        fits &= ~_simple(codes, length)
        both = _mixed(np.minimum(here, there))
        hashes[low : low + n] = both
        good[low : low + n] = fits & (both <= limit)
    return hashes, good


def _mixed(values: Array) -> Array:
    values = values ^ (values >> np.uint64(29))
    values = values * _FACTORS[1]
    out: Array = values ^ (values >> np.uint64(32))
    return out


def _simple(codes: Array, length: int) -> Array:
    """Whether three quarters of the stretch from each base repeat a word of up to 6 bp."""
    n = len(codes) - length + 1
    out = np.zeros(n, bool)
    for period in PERIODS:
        same = np.concatenate([[0], np.cumsum(codes[period:] == codes[:-period], dtype=np.int32)])
        out |= 4 * (same[length - period :][:n] - same[:n]) >= 3 * (length - period)
    return out


def _distinct(values: Array) -> Array:
    """np.unique, which is slow for many values that are nearly all different."""
    values = np.sort(values)
    out: Array = values[np.diff(values, prepend=-1) != 0]
    return out


def _add_bits(own: Array, held: Array, row: Array, run: Array, askers: Array) -> None:
    """To each row the splits of the other rows of its runs, where one of the two asks."""
    run, row = np.divmod(_distinct(run * len(own) + row), len(own))
    for bit in (1, 2, 4):
        has = (own[row] & bit) != 0
        n = int(run[-1]) + 1
        among = np.bincount(run[has], minlength=n)
        asking = np.bincount(run[has & askers[row]], minlength=n)
        others = np.where(askers[row], among[run] - has, asking[run])
        np.bitwise_or.at(held, row[others > 0], np.uint8(bit))


def _others(copy: Array, bits: Array) -> Array:
    """Bits of the splits of the other copies of each sequence."""
    out = np.zeros(len(copy), np.uint8)
    for bit in (1, 2, 4):
        has = (bits & bit) != 0
        times = np.bincount(copy[has], minlength=int(copy.max(initial=-1)) + 1)
        out |= np.where(times[copy] - has > 0, bit, 0).astype(np.uint8)
    return out


def _overlapping(places: Places, bits: Array, cluster: Array, held: Array) -> Array:
    """The clusters, joined where coordinates overlap; bits are added to `held`."""
    rows = np.flatnonzero(places.chromosome >= 0)
    rows = rows[np.lexsort((places.start[rows], places.chromosome[rows]))]
    if not len(rows):
        return cluster
    chromosome, start, end = (column[rows] for column in places)
    shift = chromosome * (int(end.max()) + 1)  # so that chromosomes lie behind one another
    start, end = start + shift, end + shift
    reach = np.maximum.accumulate(end)
    after = np.flatnonzero(start[1:] < reach[:-1])
    for bit in (1, 2, 4):
        has = (bits[rows] & bit) != 0
        begun = np.searchsorted(start[has], end, side="left")
        ended = np.searchsorted(np.sort(end[has]), start, side="right")
        held[rows[begun - ended - has > 0]] |= np.uint8(bit)
    return joined(cluster, rows[after], rows[after + 1])


def _rows(seqs: Sequences, rows: Array) -> Sequences:
    """`Sequences.take` in pieces, since it needs 24 bytes a base."""
    parts = [seqs.take(r) for r in np.array_split(rows, len(rows) // 4096 + 1)]
    offsets = np.concatenate([[0], np.cumsum(seqs.lengths[rows])])
    return Sequences(np.concatenate([p.codes for p in parts]), offsets)
