"""Which test examples are related, so that resampling draws them together.

N test examples. What a task says of its examples comes first: its clusters. Without these, genomic
coordinates in the ids ("chr1:1000-1500") make blocks: chromosomes, windows of 1 Mbp, or windows
that overlap. Copies of a sequence, on either strand, join in any case, and so do the near copies
that an audit found.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnabench.reports.table import Row
from dnabench.tasks.audit.audit import kept
from dnabench.tasks.audit.near import merged
from dnabench.types import Array

LEAST = 20  # blocks by coordinates; an interval from fewer is too narrow
WINDOW = 1_000_000  # bp
COPIES, NEAR = "copies on either strand", "near copies"
MOST_NAMED = 3  # tasks that get words of their own
TOGETHER = "Related test examples are drawn together"
_PLACE = re.compile(r"(?:\S*::)?([^:\s]+):(\d+)-(\d+)")  # bedtools writes NAME::chr1:0-200


class Blocks(NamedTuple):
    """How the test examples of a row are drawn."""

    examples: int
    blocks: int
    by: str  # what the examples of a block share; "" = each is drawn on its own


def blocks(
    ids: Array, clusters: Array | None = None, copies: Array | None = None, shared: str = "",
    near: Sequence[Sequence[str]] = (),
) -> tuple[Array | None, Blocks]:  # fmt: skip
    """The block of each test example.

    Args:
        ids: str (N,).
        clusters: int (N,), those of the task, or None.
        copies: int (N,), equal for copies of a sequence, or None where there are none.
        shared: what the examples of a cluster share, in words.
        near: ids of near copies, those of each cluster together.

    Returns:
        int64 (N,), or None where every example is a block; and the same in words.
    """
    found = [] if clusters is None else [(clusters, shared or "clusters")]
    found += _by_place(ids) if clusters is None else []
    found += [] if copies is None else [(copies, COPIES)]
    found += _by_id(ids, near)
    unit = None
    for more, _ in found:
        unit = more if unit is None else merged(unit, more)
    n = len(ids) if unit is None else len(np.unique(unit))
    by = ", ".join(words for _, words in found) if n < len(ids) else ""
    return unit, Blocks(len(ids), n, by)


def _by_id(ids: Array, clusters: Sequence[Sequence[str]]) -> list[tuple[Array, str]]:
    number = {name: k for k, names in enumerate(clusters) for name in names}
    own = range(len(clusters), len(clusters) + len(ids))
    found = np.array([number.get(i, k) for i, k in zip(ids.tolist(), own, strict=True)])
    return [(found, NEAR)] if len(np.unique(found)) < len(ids) else []


def _by_place(ids: Array) -> list[tuple[Array, str]]:
    """By chromosome, by window or by overlap: the coarsest of which there are enough blocks."""
    places = _places(ids.tolist())
    if places is None:
        return []
    chromosome, start, end = places
    if int(chromosome.max()) + 1 >= LEAST:
        return [(chromosome, "chromosome")]
    window = np.stack([chromosome, (start + end) // 2 // WINDOW], 1)
    numbers = np.unique(window, axis=0, return_inverse=True)[1].reshape(-1)
    if int(numbers.max()) + 1 >= LEAST:
        return [(numbers, "window of 1 Mbp")]
    overlapping = _overlapping(chromosome, start, end)
    return [(overlapping, "overlap")] if len(np.unique(overlapping)) < len(ids) else []


def _places(ids: Iterable[str]) -> tuple[Array, Array, Array] | None:
    """Chromosome (numbers from 0), start and end of each, int64 (N,); None where an id has none."""
    numbers: dict[str, int] = {}
    rows = []
    for name in ids:
        found = _PLACE.match(name)
        if found is None:
            return None
        chromosome = numbers.setdefault(found[1], len(numbers))
        rows.append((chromosome, int(found[2]), int(found[3])))
    chromosome, start, end = np.array(rows, np.int64).T
    return chromosome, start, end


def _overlapping(chromosome: Array, start: Array, end: Array) -> Array:
    """Numbers that are equal for examples which overlap, directly or in a chain."""
    order = np.lexsort((start, chromosome))
    far = end + chromosome * (int(end.max()) + 1)  # chromosomes one behind the other
    near = start + chromosome * (int(end.max()) + 1)
    reach = np.maximum.accumulate(far[order])
    new = np.concatenate([[False], near[order][1:] > reach[:-1]])
    out = np.empty(len(order), np.int64)
    out[order] = np.cumsum(new)
    return out


def searched(row: Row) -> bool:
    """Whether near copies were looked for: by an audit of these data, or when they were read."""
    how = {str(run.task.get("clusters", "")) for cell in row.cells for run in cell.runs}
    return any("homology" in words for words in how) or kept(row.task, row.data) is not None


def sentences(found: Mapping[str, Blocks], looked: Collection[str] = ()) -> list[str]:
    """What is assumed of the test examples.

    Args:
        found: name of a task -> how its examples are drawn.
        looked: names of the tasks whose near copies were looked for.
    """
    known = {name: b for name, b in found.items() if b.by}
    out = []
    if len(known) > MOST_NAMED:
        examples, n = (sum(column) for column in zip(*(b[:2] for b in known.values()), strict=True))
        words = ", ".join(dict.fromkeys(b.by for b in known.values()))
        which = f"on {len(known)} of {len(found)} tasks, by {words}"
        out = [f"{TOGETHER} {which} ({examples:,} examples in {n:,} blocks)."]
    elif known:
        each = [
            f"{name} by {b.by} ({b.examples:,} examples in {b.blocks:,} blocks)"
            for name, b in known.items()
        ]
        out = [f"{TOGETHER}: {'; '.join(each)}."]
    reasons = {
        True: "none are known to be related (copies, overlaps, one gene). If some are,",
        False: "near copies were not looked for (`dnabench audit data` does). If some are related,",
    }
    for where, why in reasons.items():
        alone = sum((name in looked) == where for name in found.keys() - known.keys())
        which = f" of {alone} of {len(found)} tasks" if alone < len(found) else ""
        taken = f"Test examples{which} are taken as independent"
        out += [f"{taken}: {why} the intervals are too narrow."] * bool(alone)
    return out
