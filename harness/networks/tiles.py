"""Long sequences in pieces that a network reads: tiles that overlap, or windows at a stride.

N tiles or windows, L bp of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.unlabelled import Part
from dnabench.types import Array, Sequences

AT_ONCE = 1 << 19  # bp of the tiles or windows that are predicted at once


class Tile(NamedTuple):
    """A stretch of a sequence with its surroundings.

    name: of the sequence. start: bp before the stretch. lead: bp of surroundings before it in
    `codes`. size: bp of the stretch.
    """

    name: str
    start: int
    codes: Array
    lead: int
    size: int


class Windows(NamedTuple):
    """Windows of equal or, in short sequences, smaller length: names and starts (N,)."""

    names: list[str]
    starts: list[int]
    seqs: Sequences


def tiles(parts: Iterable[Part], size: int, around: int, whole: int = 0) -> Iterator[Tile]:
    """Stretches of `size` bp that follow each other, with up to `around` bp on either side.

    A sequence of up to `whole` bp is one stretch.
    """
    for part in parts:
        for name, start, codes, ends in part.segments():
            if start == 0:
                held, begin, at = codes, 0, 0  # bases not yet done, their place, the next stretch
            else:
                held = np.concatenate([held, codes])
            stop = begin + len(held)
            if at == 0 and stop <= whole and not ends:
                continue  # it may have no more than that
            longest = whole if at == 0 and stop <= whole else size
            while at + size + around <= stop or (ends and at < stop):
                left, right = max(at - around, 0), min(at + longest + around, stop)
                n = min(longest, stop - at)
                yield Tile(name, at, held[left - begin : right - begin], at - left, n)
                at += n
            keep = max(at - around, begin)
            held, begin = held[keep - begin :].copy(), keep


def together(found: Iterable[Tile], most: int = AT_ONCE) -> Iterator[list[Tile]]:
    """Tiles that are predicted at once: about `most` bp, padding included."""
    group: list[Tile] = []
    longest = 0
    for tile in found:
        longest = max(longest, len(tile.codes))
        if group and longest * (len(group) + 1) > most:
            yield group
            group, longest = [], len(tile.codes)
        group.append(tile)
    if group:
        yield group


def windows(parts: Iterable[Part], length: int, stride: int) -> Iterator[Windows]:
    """Windows of `length` bp every `stride` bp; the last one of a sequence ends with it.

    A sequence shorter than `length` is one window.
    """
    names, starts, rows, bp = list[str](), list[int](), list[Array](), 0
    for part in parts:
        for name, start, codes, ends in part.segments():
            if start == 0:
                held, begin, at = codes, 0, 0
            else:
                held = np.concatenate([held, codes])
            stop = begin + len(held)
            places = list(range(at, stop - length + 1, stride))
            at = places[-1] + stride if places else at
            if ends and (at == 0 or at - stride + length < stop):
                places.append(max(stop - length, 0))
            for place in places:
                rows.append(held[place - begin : place - begin + length])
                names.append(name)
                starts.append(place)
                bp += len(rows[-1])
                if bp >= AT_ONCE:
                    yield Windows(names, starts, joined(rows))
                    names, starts, rows, bp = [], [], [], 0
            keep = max(begin, min(at, stop - length))
            held, begin = held[keep - begin :].copy(), keep
    if rows:
        yield Windows(names, starts, joined(rows))


def joined(rows: list[Array]) -> Sequences:
    """Rows of letter codes as sequences."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Sequences(np.concatenate(rows), offsets)
