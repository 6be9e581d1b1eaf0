"""Which sequences of a task's splits are equal, on either strand, and where labels disagree.

N examples of a split, Q distinct sequences of all splits; a reverse complement counts as equal. In
a task of pairs a sequence is a pair: equal where both are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dnabench.tasks.audit.kmers import either_strand, fingerprints, numbered, paired
from dnabench.types import IGNORED, Array, Sequences, Split, SplitName

BITS: dict[SplitName, int] = {"train": 1, "dev": 2, "test": 4}  # the splits that contain a sequence
NONE, EXACT, RC, NEAR = range(4)  # kinds of copy


class Copies(NamedTuple):
    """Every sequence by number; equal sequences have equal numbers.

    sequence: split -> int64 (N,). either: the same with reverse complements equal, 0..Q-1. label:
    split -> int64 (N,), numbers of the labels of sequences that occur twice. held: uint8, bits of
    the splits that contain each sequence. bits: uint8 (Q,), on either strand. first: int64 (Q,),
    the first example of each, counted through all splits.
    lengths: int64 (Q,), bp.
    """

    sequence: Mapping[SplitName, Array]
    either: Mapping[SplitName, Array]
    label: Mapping[SplitName, Array]
    held: Array
    bits: Array
    first: Array
    lengths: Array


def copies(splits: Mapping[SplitName, Split]) -> Copies:
    """Number the sequences of all splits, in their order."""
    here, there = _prints([s.seqs for s in splits.values()])
    second = [s.other for s in splits.values() if s.other is not None]
    if second:
        here, there = paired((here, there), _prints(second))
    sequence, either = numbered(here), numbered(either_strand(here, there))
    sizes = [len(s.y) for s in splits.values()]
    bit = np.repeat([BITS[name] for name in splits], sizes).astype(np.uint8)
    _, first, times = np.unique(either, return_index=True, return_counts=True)
    order = np.argsort(first)  # numbers in the order in which sequences first appear
    either = np.argsort(order)[either]
    first, times = first[order], times[order]
    lengths = np.concatenate([s.seqs.lengths for s in splits.values()])
    label = _label_numbers(list(splits.values()), times[either] > 1)
    ends = np.cumsum(sizes)[:-1]

    def by_split(values: Array) -> dict[SplitName, Array]:
        return dict(zip(splits, np.split(values, ends), strict=True))

    return Copies(
        by_split(sequence), by_split(either), by_split(label), _bits(sequence, bit),
        _bits(either, bit), first, lengths[first],
    )  # fmt: skip


def _prints(parts: Iterable[Sequences]) -> tuple[Array, Array]:
    here, there = zip(*map(fingerprints, parts), strict=True)
    return np.concatenate(here), np.concatenate(there)


def representatives(splits: Mapping[SplitName, Split], found: Copies) -> Sequences:
    """The Q distinct sequences; of pairs the first of each, which several may share."""
    parts, start = [], 0
    for split in splits.values():
        rows = found.first[(found.first >= start) & (found.first < start + len(split.y))] - start
        # a slice at a time: `take` needs 24 bytes a base
        parts += [split.seqs.take(r) for r in np.array_split(rows, len(rows) // 4096 + 1)]
        start += len(split.y)
    lengths = np.concatenate([p.lengths for p in parts])
    codes = np.concatenate([p.codes for p in parts])
    return Sequences(codes, np.concatenate([[0], np.cumsum(lengths)]))


def how_copied(
    found: Copies, near: Array | None, split: SplitName, among: tuple[SplitName, ...]
) -> Array:
    """The closest copy of each example in other splits: NONE, EXACT, RC or NEAR.

    Args:
        found: of the task.
        near: uint8 (Q,), bits of the splits that contain a near duplicate, or None.
        split: of the examples.
        among: the splits to search.
    """
    wanted = np.uint8(sum(BITS[name] for name in among))
    either = found.either[split]
    out = np.full(len(either), NONE, np.uint8)
    if near is not None:
        out[(near[either] & wanted) != 0] = NEAR
    out[(found.bits[either] & wanted) != 0] = RC
    out[(found.held[found.sequence[split]] & wanted) != 0] = EXACT
    return out


def within(found: Copies, near: Array | None, split: SplitName, strands: bool) -> dict[str, int]:
    """Counts of one split, as `audit.Audit` defines them.

    Args:
        found: of the task.
        near: as in `how_copied`; without it there is no near_duplicates.
        split: which.
        strands: whether labels are the same on both strands; otherwise no rc_conflicts.
    """
    sequence, either, label = found.sequence[split], found.either[split], found.label[split]
    n = len(np.unique(sequence))
    clashing = _disagreeing(sequence, label)
    out = {"duplicates": len(sequence) - n, "rc_duplicates": n - len(np.unique(either))}
    if near is not None:
        out["near_duplicates"] = int(((near[either] & BITS[split]) != 0).sum())
    out["conflicts"] = len(clashing)
    if strands:
        own = either[np.isin(sequence, clashing)]
        out["rc_conflicts"] = len(np.setdiff1d(_disagreeing(either, label), own))
    return out


def across(
    found: Copies, near: Array | None, first: SplitName, second: SplitName
) -> dict[str, int]:
    """Counts of the examples of the second split, as `audit.Audit` defines them."""
    how = np.bincount(how_copied(found, near, second, (first,)), minlength=4)
    one, two = found.sequence[first], found.sequence[second]
    both = np.intersect1d(one, two)
    sequence, label = (
        np.concatenate([column[first], column[second]]) for column in (found.sequence, found.label)
    )
    shared = np.isin(sequence, both)
    return {
        "duplicates": int(how[EXACT]),
        "rc_duplicates": int(how[RC]),
        **({} if near is None else {"near_duplicates": int(how[NEAR])}),
        "conflicts": len(_disagreeing(sequence[shared], label[shared])),
    }


def _bits(number: Array, bit: Array) -> Array:
    out = np.zeros(int(number.max(initial=-1)) + 1, np.uint8)
    np.bitwise_or.at(out, number, bit)
    return out


def _disagreeing(number: Array, label: Array) -> Array:
    """Numbers with more than one label."""
    pairs = np.unique(np.stack([number, label], axis=1), axis=0)
    values, times = np.unique(pairs[:, 0], return_counts=True)
    return values[times > 1]


def _label_numbers(splits: list[Split], repeated: Array) -> Array:
    """Numbers that are equal where whole rows of labels are; 0 for a sequence without a copy."""
    ys = [s.y for s in splits]
    if all(y.ndim == 1 for y in ys):
        return np.where(repeated, np.concatenate(ys), 0).astype(np.int64)
    width = max(y.shape[1] for y in ys)  # per base, the longest sequence of its split
    rows, start = [], 0
    for y in ys:
        taken = y[np.flatnonzero(repeated[start : start + len(y)])]
        rows.append(np.full((len(taken), width), IGNORED if y.dtype.kind == "i" else 0, y.dtype))
        rows[-1][:, : y.shape[1]] = taken
        start += len(y)
    table = np.ascontiguousarray(np.concatenate(rows))
    out = np.zeros(len(repeated), np.int64)
    if table.size:
        whole = table.view(np.dtype((np.void, table.dtype.itemsize * width))).ravel()
        out[repeated] = np.unique(whole, return_inverse=True)[1]
    return out
