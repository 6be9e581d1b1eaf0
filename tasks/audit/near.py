"""Pairs of near-duplicate sequences, on either strand, without comparing all with all.

Words of k bp with a small hash are seeds. Equal seeds are sorted by position, and each is paired
with the next few of its split and with the nearest of another split: copies have their seeds at
the same positions, so the right ones meet even when thousands share a word. Pairs that share seeds
on one diagonal are then aligned (`align.py`).

N sequences, S seeds, k length of a word in bp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dnabench.tasks.audit.align import (
    Likeness,
    Pairs,
    alike,
    alike_without_gaps,
    half_band,
    shorter_first,
)
from dnabench.tasks.audit.copies import BITS
from dnabench.tasks.audit.kmers import words
from dnabench.types import Array, Sequences

SEEDS = 12_000_000  # of all sequences; beyond that a share of the words is used
CHANCE = 4_000_000  # pairs of equal seeds allowed in random sequences of that size
FOLLOWERS = 4  # seeds that a seed is paired with: in its split, and on either side in another
GAPPED = 6  # gapped alignment needs 1/6 of the seeds expected at the least identity
PARTNERS = 8  # per split: sequences that a sequence is compared with, most seeds first
SHORTEST = 20  # bp; shorter sequences are skipped
LARGEST = 1_000_000_000  # bp; more would not fit in memory
TRAIN, DEV, TEST = BITS["train"], BITS["dev"], BITS["test"]
_HASH = np.uint64(0x9E3779B97F4A7C15)  # odd


class Search(NamedTuple):
    """Near duplicates, and how they were searched.

    near: uint8 (N,), bits of the splits that contain a near duplicate of each sequence. a, b:
    int64, the pairs found. flipped: bool, b is on the other strand. k, share: of the seeds.
    candidates, aligned: pairs compared, and those compared with gaps.
    """

    near: Array
    a: Array
    b: Array
    flipped: Array
    k: int
    share: float
    candidates: int
    aligned: int


class _Seeds(NamedTuple):
    """Seeds that occur at least twice, sorted by word and place: each array (S,).

    word: uint64. row: int64. place: int64, on the strand on which the word is smaller. strand:
    bool, whether that is the other strand.
    """

    word: Array
    row: Array
    place: Array
    strand: Array


class _Edges(NamedTuple):
    """How pairs of rows are packed into 64 bits: first row, second, strand, diagonal."""

    row_bits: int
    diagonal_bits: int
    zero: int  # code of diagonal 0


def near_duplicates(
    seqs: Sequences,
    bits: Array,
    observe: Callable[[float], object] = lambda share: None,
    rule: Likeness = Likeness(),  # noqa: B008  # a constant
    known: tuple[Array, Array] | None = None,
) -> Search:
    """Find near duplicates as defined in `align.py`.

    Args:
        seqs: N sequences, distinct and none another's reverse complement, except the first ones
            of pairs.
        bits: uint8 (N,), the splits that contain each.
        observe: called with the share of the work done, 0..1.
        rule: how alike near duplicates are.
        known: what another search found: `near` as in `Search`, and int64 (N,) clusters. Pairs
            that would add to neither are not compared.

    Returns:
        Which sequences have a near duplicate in which split, with evidence: not all pairs.

    Raises:
        ValueError: the data are too large, see `too_large`.

    Accuracy:
        No false positives; some are missed: docs/benchmarks/audit.md has the recall.
    """
    if reason := too_large(seqs.lengths):
        raise ValueError(reason)
    k, share, expected = plan(seqs.lengths, rule.identity)
    need = 2 if expected >= 8 else 1
    pairs, hits = _candidates(seqs, bits, _seeds(seqs, k, share), k, need)
    observe(0.5)
    near, cluster = known or (np.zeros(len(seqs), np.uint8), None)
    near = near.copy()
    left = np.flatnonzero(_adds(near, bits, cluster, pairs))
    pairs, hits = pairs.take(left), hits[left]
    plain = alike_without_gaps(seqs, pairs, rule, _part(observe, 0.5, 0.7))
    _mark(near, bits, pairs.take(np.flatnonzero(plain)))
    if cluster is not None:
        cluster = joined(cluster, pairs.a[plain], pairs.b[plain])
    new = _adds(near, bits, cluster, pairs)
    rest = np.flatnonzero(~plain & new & (hits >= max(2.0, expected / GAPPED)))
    gapped = rest[alike(seqs, pairs.take(rest), rule, _part(observe, 0.7, 1.0))]
    _mark(near, bits, pairs.take(gapped))
    found = pairs.take(np.concatenate([np.flatnonzero(plain), gapped]))
    return Search(near, found.a, found.b, found.flipped, k, share, len(hits), len(rest))


def too_large(lengths: Array) -> str:
    """Why sequences of these lengths cannot be searched; "" when they can."""
    total, longest = int(lengths.sum()), int(lengths.max(initial=1))
    if total > LARGEST:
        return f"{total:,} bp, more than the {LARGEST:,} that fit in memory"
    k = plan(lengths)[0]
    seed = 2 * k + 1 + longest.bit_length() + len(lengths).bit_length()
    if max(seed, 2 * len(lengths).bit_length() + 1 + (3 * longest + 256).bit_length()) > 64:
        return f"{len(lengths):,} sequences of up to {longest:,} bp, more than 64 bits can number"
    return ""


def joined(cluster: Array, a: Array, b: Array) -> Array:
    """Clusters int64 (N,), merged where a member of one is linked to a member of another."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = int(cluster.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(a), bool), (cluster[a], cluster[b])), shape=(n, n))
    number: Array = connected_components(edges, directed=False)[1].astype(np.int64)
    return number[cluster]


def merged(a: Array, b: Array) -> Array:
    """The finest clusters that hold every cluster of both: int64 (N,)."""
    order = np.argsort(b, kind="stable")
    same = b[order][1:] == b[order][:-1]
    numbers = np.unique(a, return_inverse=True)[1].reshape(-1)
    return joined(numbers, order[1:][same], order[:-1][same])


def plan(lengths: Array, identity: float = 0.9) -> tuple[int, float, float]:
    """Length of a seed, share of words that are seeds, and seeds that near duplicates share.

    Args:
        lengths: int64 (N,), bp.
        identity: of near duplicates.

    Returns:
        k, odd so that no word is its own reverse complement, and large enough that at most CHANCE
        pairs of seeds are equal by chance; share 0..1; seeds that two sequences of median length
        share at that identity.
    """
    total = int(lengths.sum())
    share = min(1.0, SEEDS / max(total, 1))
    k = 7
    while k < 15 and (share * total) ** 2 / 4**k > CHANCE:
        k += 2
    places = float(np.median(lengths)) - k + 1 if len(lengths) else 0.0
    return k, share, share * places * identity**k


def _part(
    observe: Callable[[float], object], start: float, end: float
) -> Callable[[float], object]:
    """An observer of a step that is start..end of the whole."""
    done = start

    def step(share: float) -> None:
        nonlocal done
        done += share * (end - start)
        observe(min(done, end))

    return step


def _mark(near: Array, bits: Array, found: Pairs) -> None:
    np.bitwise_or.at(near, found.a, bits[found.b])
    np.bitwise_or.at(near, found.b, bits[found.a])


def _adds(near: Array, bits: Array, cluster: Array | None, pairs: Pairs) -> Array:
    """Which pairs would add a bit to `near`, or join two clusters: bool (P,)."""
    a, b = pairs.a, pairs.b
    out: Array = ((near[a] & bits[b]) != bits[b]) | ((near[b] & bits[a]) != bits[a])
    return out if cluster is None else out | (cluster[a] != cluster[b])


def _seeds(seqs: Sequences, k: int, share: float) -> _Seeds:
    """Find the seeds; all fields are packed into one integer, so that one sort orders them."""
    longest = int(seqs.lengths.max(initial=1))
    row_bits, place_bits = len(seqs).bit_length(), longest.bit_length()
    limit = np.uint64(min(int(share * 2**64), 2**64 - 1))
    long_enough = seqs.lengths >= SHORTEST
    parts = [np.zeros(0, np.uint64)]
    for found in words(seqs, k):
        word = np.minimum(found.forward, found.reverse)
        taken = np.flatnonzero((word * _HASH <= limit) & long_enough[found.row])
        row, strand = found.row[taken], (found.reverse < found.forward)[taken]
        place = np.where(strand, seqs.lengths[row] - k - found.place[taken], found.place[taken])
        packed = (word[taken] << np.uint64(place_bits)) | place.astype(np.uint64)
        packed = (packed << np.uint64(1)) | strand
        parts.append((packed << np.uint64(row_bits)) | row.astype(np.uint64))
    packed = np.concatenate(parts)
    parts.clear()
    packed.sort()
    word = packed >> np.uint64(row_bits + 1 + place_bits)
    twin = np.concatenate([[False], word[1:] == word[:-1], [False]])
    kept = np.flatnonzero(twin[1:] | twin[:-1])
    packed, word = packed[kept], word[kept]
    row = (packed & np.uint64((1 << row_bits) - 1)).astype(np.int64)
    rest = packed >> np.uint64(row_bits)
    place = (rest >> np.uint64(1)) & np.uint64((1 << place_bits) - 1)
    return _Seeds(word, row, place.astype(np.int64), (rest & np.uint64(1)) == 1)


def _candidates(
    seqs: Sequences, bits: Array, seeds: _Seeds, k: int, need: int
) -> tuple[Pairs, Array]:
    """Pairs of rows that share at least `need` seeds near one diagonal, and how many they share."""
    longest = int(seqs.lengths.max(initial=1))
    form = _Edges(len(seqs).bit_length(), (3 * longest + 256).bit_length(), longest)
    parts = [np.zeros(0, np.uint64)]
    for first, second in _meetings(seeds, bits):
        parts.append(_packed(form, seeds, seqs.lengths, k, first, second))
    edges = np.concatenate(parts)
    parts.clear()
    edges.sort()
    pairs, hits = _grouped(form, edges, 2 * half_band(longest), need)
    kept = _best_partners(pairs, hits, bits)
    return shorter_first(pairs.take(kept), seqs.lengths), hits[kept]


def _meetings(seeds: _Seeds, bits: Array) -> Iterator[tuple[Array, Array]]:
    """Pairs of equal seeds: neighbours within a split, and the nearest of two splits."""
    word, held = seeds.word, bits[seeds.row]
    for split in (TRAIN, DEV, TEST):
        inside = np.flatnonzero(held & split)
        for lag in range(1, FOLLOWERS + 1):
            same = np.flatnonzero(word[inside[lag:]] == word[inside[:-lag]])
            yield inside[same], inside[same + lag]
    for wanted, askers in ((TRAIN, (held & TRAIN) == 0), (DEV, held == TEST)):
        has = (held & wanted) != 0
        inside, asking = np.flatnonzero(has), np.flatnonzero(askers)
        after = np.cumsum(has)[asking]  # which of those inside follows
        for step in range(-FOLLOWERS, FOLLOWERS):
            there = (after + step >= 0) & (after + step < len(inside))
            one, two = asking[there], inside[(after + step)[there]]
            same = word[one] == word[two]
            yield one[same], two[same]


def _packed(
    form: _Edges, seeds: _Seeds, lengths: Array, k: int, first: Array, second: Array
) -> Array:
    """The rows of two seeds, strand and diagonal, packed into one integer; distinct ones."""
    apart = seeds.row[first] != seeds.row[second]
    first, second = first[apart], second[apart]
    turn = seeds.row[first] > seeds.row[second]
    first, second = np.where(turn, second, first), np.where(turn, first, second)
    a, b = seeds.row[first], seeds.row[second]
    back = seeds.strand[first]
    here, there = seeds.place[first], seeds.place[second]
    diagonal = np.where(back, (lengths[b] - there) - (lengths[a] - here), there - here)
    out: Array = (a.astype(np.uint64) << np.uint64(form.row_bits)) | b.astype(np.uint64)
    out = (out << np.uint64(1)) | (back != seeds.strand[second])
    out <<= np.uint64(form.diagonal_bits)
    out |= (diagonal + form.zero).astype(np.uint64)
    return out


def _grouped(form: _Edges, edges: Array, band: int, need: int) -> tuple[Pairs, Array]:
    """One candidate for each pair of rows and strand, where its diagonals are densest."""
    new = np.flatnonzero(np.concatenate([[True], edges[1:] != edges[:-1]])[: len(edges)])
    count = np.diff(new, append=len(edges))
    edges = edges[new]
    whose = edges >> np.uint64(form.diagonal_bits)
    start = np.flatnonzero(np.concatenate([[True], whose[1:] != whose[:-1]])[: len(edges)])
    if not len(start):
        none = np.zeros(0, np.int64)
        return Pairs(none, none, none.astype(bool), none, none), none
    several = np.add.reduceat(count, start) >= need
    # within the band above each diagonal
    end = np.searchsorted(edges, edges + np.uint64(band), side="right")
    before = np.concatenate([[0], np.cumsum(count)])
    dense, hits = _first_largest(before[end] - before[:-1], start)
    exact, _ = _first_largest(count, start)
    kept = several & (hits >= need)
    dense, exact, hits = dense[kept], exact[kept], hits[kept]
    diagonal = (edges & np.uint64((1 << form.diagonal_bits) - 1)).astype(np.int64) - form.zero
    pair = whose[dense].astype(np.int64)
    rows = pair >> 1
    mask = (1 << form.row_bits) - 1
    middle = (diagonal[dense] + diagonal[end[dense] - 1]) // 2
    return Pairs(rows >> form.row_bits, rows & mask, (pair & 1) == 1, diagonal[exact], middle), hits


def _first_largest(values: Array, start: Array) -> tuple[Array, Array]:
    """Index and value of the maximum of each run."""
    top = np.maximum.reduceat(values, start)
    runs = np.diff(start, append=len(values))
    at = np.flatnonzero(values == np.repeat(top, runs))
    run = np.searchsorted(start, at, side="right") - 1
    first = np.concatenate([[True], run[1:] != run[:-1]])
    return at[first], top


def _best_partners(pairs: Pairs, hits: Array, bits: Array) -> Array:
    """Pairs among the PARTNERS best of either row, per split of the other."""
    kept = np.zeros(len(hits), bool)
    for me, other in ((pairs.a, pairs.b), (pairs.b, pairs.a)):
        order = np.lexsort((-hits, bits[other], me))
        group = me[order] * 8 + bits[other][order]
        at = np.arange(len(order))
        new = np.concatenate([[True], group[1:] != group[:-1]])[: len(order)]
        rank = at - np.maximum.accumulate(np.where(new, at, 0))
        kept[order[rank < PARTNERS]] = True
    return np.flatnonzero(kept)
