"""Which windows of genomes are trained on and which are held out.

B windows, L length in bp of each. Places are counted as in `Genome.starts`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N

MOST_N = 0.1  # share of a window
CHUNK = 1 << 24  # bp looked at together
TRIES = 100  # draws of windows that hold too many N, one after the other


class Drawn(NamedTuple):
    """B windows: uint8 (B, L) letter codes and bool (B, L) soft-masked bases."""

    codes: Array
    small: Array


@dataclass(frozen=True, kw_only=True)
class Source:
    """A genome and the places where windows of L bp may begin.

    Args:
        genome: packed.
        length: L.
        free: int64 (I, 2), intervals of the first bases of windows to train on.
        regions: the same for windows around annotated regions; None = there are none, and all are
            drawn from `free`. With regions, half of the windows are drawn there.
        held: int64 (H,), first bases of held-out windows, end to end.
        holdout: names of the sequences that are held out.
        weight: of this genome among several; 0 = the number of places in `free`.
        most_n: share of N that a window may have.
        stride: bp from one window to the next, where all are read in turn; 0 = drawn at random.
            The last window of an interval may be nearer.
        tiles: int64 (M,), first bases of the windows that are read in turn.
    """

    genome: Genome
    length: int
    free: Array
    regions: Array | None = None
    held: Array
    holdout: tuple[str, ...] = ()
    weight: float = 0.0
    most_n: float = MOST_N
    stride: int = 0
    tiles: Array | None = None

    @property
    def places(self) -> int:
        """How many windows there are to draw from, those that overlap counted."""
        return int((self.free[:, 1] - self.free[:, 0]).sum())

    @property
    def covered(self) -> int:
        """How many bp are in a window."""
        ends = merged(self.free + np.array([0, self.length - 1]))
        return int((ends[:, 1] - ends[:, 0]).sum())


def source(
    genome: Genome, length: int, holdout: Collection[str] = (), *,
    left_out: Array | None = None, regions: Array | None = None, weight: float = 0.0,
    most_n: float = MOST_N, stride: int = 0,
) -> Source:  # fmt: skip
    """The windows of a genome.

    Args:
        genome: packed.
        length: L.
        holdout: sequences that are not trained on; windows of them, end to end, are held out.
        left_out: int64 (X, 2), places that no window may touch, with L bp on each side.
        regions: int64 (R, 2), places on which the middle of a window may lie.
        weight: see `Source`.
        most_n: see `Source`.
        stride: see `Source`; at most L.

    Raises:
        ValueError: an unknown sequence, or no window left to train on.
    """
    kept = np.ones(len(genome.contigs), bool)
    kept[[genome.number(name) for name in holdout]] = False
    ends = genome.starts + genome.lengths - length + 1
    whole = np.stack([genome.starts, ends], 1)
    free = whole[kept & (ends > genome.starts)]
    if left_out is not None and len(left_out):
        free = without(free, merged(_too_near(genome, left_out, length)))
    if not len(free):
        raise ValueError(f"{genome.name} has no window of {length} bp to train on")
    near, tiles = None, None
    if stride:
        tiles = _tiles(genome, length, free, stride, most_n)
        free = _joined(tiles, free, stride)
    if regions is not None:
        near = inside(free, merged(regions - length // 2))
        if not len(near):
            raise ValueError(f"none of the regions is on a part of {genome.name} to train on")
    held = [np.arange(a, b, length) for a, b in whole[~kept] if b > a]
    return Source(
        genome=genome, length=length, free=free, regions=near, weight=weight, most_n=most_n,
        stride=stride, tiles=tiles,
        holdout=tuple(genome.contigs[i] for i in np.flatnonzero(~kept)),
        held=np.concatenate(held) if held else np.zeros(0, np.int64),
    )  # fmt: skip


def _too_near(genome: Genome, places: Array, length: int) -> Array:
    """int64 (X, 2), first bases of windows within L bp of places, on the same sequences."""
    of = np.searchsorted(genome.starts, places[:, 0], side="right") - 1
    first, end = places[:, 0] - 2 * length + 1, places[:, 1] + length
    starts = genome.starts[of]
    return np.stack([np.maximum(first, starts), np.minimum(end, starts + genome.lengths[of])], 1)


def _tiles(genome: Genome, length: int, free: Array, stride: int, most_n: float) -> Array:
    """int64 (M,), windows at even distances, and the last one of each interval; not those of N."""
    every = np.concatenate(
        [np.append(np.arange(a, b - 1, stride), b - 1) for a, b in free.tolist()]
    )
    parts = np.array_split(every, -(-len(every) * length // CHUNK))
    good = [part[_few_n(genome.windows(part, length)[0], most_n)] for part in parts]
    tiles = np.concatenate(good)
    if not len(tiles):
        raise ValueError(
            f"{genome.name}: all windows of {length} bp, one every {stride} bp, have more than "
            f"{most_n:.0%} N; --most-n allows more"
        )
    return tiles


def _joined(tiles: Array, free: Array, stride: int) -> Array:
    """int64 (I, 2), runs of tiles that follow each other in one interval, as such intervals."""
    of = np.searchsorted(free[:, 0], tiles, side="right")
    new = np.flatnonzero((np.diff(tiles) > stride) | (np.diff(of) > 0)) + 1
    first, last = np.concatenate([[0], new]), np.concatenate([new, [len(tiles)]]) - 1
    return np.stack([tiles[first], tiles[last] + 1], 1)


def _few_n(codes: Array, most: float) -> Array:
    """Bool (B,), windows of which at most this share is N."""
    return np.asarray((codes == N).mean(1) <= most)


def merged(places: Array) -> Array:
    """Overlapping or touching intervals (I, 2) as one each, ascending."""
    places = places[np.argsort(places[:, 0], kind="stable")]
    if not len(places):
        return places
    furthest = np.maximum.accumulate(places[:, 1])
    first = np.concatenate([[True], places[1:, 0] > furthest[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([places[first, 0], furthest[last]], 1)


def without(free: Array, taken: Array) -> Array:
    """What of intervals, which are apart, is in none of others, which are apart too."""
    return _pieces(free, taken, inside=False)


def inside(free: Array, wanted: Array) -> Array:
    """What two sets of intervals, each apart, have in common."""
    return _pieces(free, wanted, inside=True)


def _pieces(free: Array, other: Array, inside: bool) -> Array:
    edges = np.unique(np.concatenate([free.ravel(), other.ravel()]))
    if len(edges) < 2:
        return np.zeros((0, 2), np.int64)
    cut = np.stack([edges[:-1], edges[1:]], 1)
    return merged(cut[_within(cut[:, 0], free) & (_within(cut[:, 0], other) == inside)])


def _within(at: Array, intervals: Array) -> Array:
    """bool, which places are in one of the intervals."""
    if not len(intervals):
        return np.zeros(len(at), bool)
    intervals = intervals[np.argsort(intervals[:, 0])]
    which = np.searchsorted(intervals[:, 0], at, side="right") - 1
    return np.asarray((which >= 0) & (at < intervals[which.clip(0), 1]))


def draw(sources: Sequence[Source], n: int, rng: np.random.Generator) -> Drawn:
    """N random windows of one or several genomes.

    Windows with more than `Source.most_n` of N are drawn again, at most TRIES times.

    Raises:
        ValueError: when so many hold N that none is found.
    """
    length = sources[0].length
    codes, small = np.empty((n, length), np.uint8), np.empty((n, length), bool)
    weights = np.array([s.weight or s.places for s in sources], float)
    of = rng.choice(len(sources), n, p=weights / weights.sum())
    for i, one in enumerate(sources):
        rows = np.flatnonzero(of == i)
        for _ in range(TRIES):
            if not len(rows):
                break
            codes[rows], small[rows] = one.genome.windows(_places(one, len(rows), rng), length)
            rows = rows[~_few_n(codes[rows], one.most_n)]
        else:
            raise ValueError(
                f"{one.genome.name}: {TRIES} draws found windows of {length} bp with more than "
                f"{one.most_n:.0%} N only; --most-n allows more"
            )
    return Drawn(codes, small)


def in_turn(sources: Sequence[Source], first: int, n: int, seed: int) -> Drawn:
    """N tiles of one or several genomes.

    Each comes once before any comes again, in an order of its own in every pass.

    Args:
        sources: with tiles.
        first: number of the first tile of these, counted over all passes.
        n: how many.
        seed: of the orders.
    """
    ends = np.cumsum([0 if one.tiles is None else len(one.tiles) for one in sources])
    total, length = int(ends[-1]), sources[0].length
    turn, at = np.divmod(np.arange(first, first + n), total)
    which = np.empty(n, np.int64)
    for one in np.unique(turn).tolist():
        which[turn == one] = _order(total, seed, one)[at[turn == one]]
    codes, small = np.empty((n, length), np.uint8), np.empty((n, length), bool)
    of = np.searchsorted(ends, which, side="right")
    for i, source in enumerate(sources):
        rows = np.flatnonzero(of == i)
        if len(rows) and source.tiles is not None:
            places = source.tiles[which[rows] - ends[i] + len(source.tiles)]
            codes[rows], small[rows] = source.genome.windows(places, length)
    return Drawn(codes, small)


@lru_cache(maxsize=2)
def _order(n: int, seed: int, turn: int) -> Array:
    return np.random.default_rng([seed, turn, n]).permutation(n)


def _places(one: Source, n: int, rng: np.random.Generator) -> Array:
    """First bases of n windows; with regions, each comes from them with probability one half."""
    if one.regions is None:
        return _uniform(one.free, n, rng)
    near, anywhere = _uniform(one.regions, n, rng), _uniform(one.free, n, rng)
    return np.where(rng.random(n) < 0.5, near, anywhere)


def _uniform(intervals: Array, n: int, rng: np.random.Generator) -> Array:
    sizes = intervals[:, 1] - intervals[:, 0]
    ends = np.cumsum(sizes)
    at = rng.integers(0, ends[-1], n)
    which = np.searchsorted(ends, at, side="right")
    return np.asarray(intervals[which, 0] + at - (ends - sizes)[which])


def held_out(sources: Sequence[Source], most: int) -> Drawn:
    """Held-out windows, at most `most`, evenly spaced; those with too many N are left out.

    Raises:
        ValueError: there are none.
    """
    length = sources[0].length
    parts, step = [], max(1, -(-sum(len(one.held) for one in sources) // most))
    for one in sources:
        codes, small = one.genome.windows(one.held[::step], length)
        good = _few_n(codes, one.most_n)
        parts.append((codes[good], small[good]))
    codes = np.concatenate([c for c, _ in parts])
    small = np.concatenate([s for _, s in parts])
    if not len(codes):
        named = [name for one in sources for name in one.holdout]
        most_n = ", ".join(dict.fromkeys(f"{one.most_n:.0%}" for one in sources))
        why = f"{', '.join(named)}: shorter than {length} bp, or all with more than {most_n} N"
        raise ValueError(
            f"no window is held out ({why if named else 'none named'}); name a sequence to "
            "evaluate on with --holdout, or allow more N with --most-n"
        )
    return Drawn(codes, small)
