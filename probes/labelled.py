"""How well scores tell labelled variants apart, with intervals from what is drawn again.

M variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.pretraining.blocks import BLOCK, FEWEST
from dnabench.probes.blocks import blocks_of
from dnabench.tasks.io.genome import few
from dnabench.types import Array

DIRECTIONS = {"minus": "-score", "plus": "score", "abs": "|score|"}
DRAWS = 1_000
LEVEL = 0.95
STRETCHES = {1_000_000: "1 Mbp", 100_000: "100 kbp", BLOCK: "10 kbp"}  # bp
SEQUENCES, GROUPS = "sequences", "match groups"
A_CHROMOSOME = 10  # match groups; k drawn among k give a variance that is 1 / k too small
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}

Interval = tuple[float, float] | None


class Areas(NamedTuple):
    """Areas under the curves of M variants, `positive` of them of class 1.

    Args:
        variants: M.
        positive: of class 1.
        unscored: labelled variants without a score, which are left out.
        unlabelled: variants without a label.
        chromosomes: how many there are.
        direction: a key of DIRECTIONS.
        auprc: average precision of all variants.
        auprc_interval: None where `least` is below FEWEST.
        auroc: of all variants.
        auroc_interval: as that of the AUPRC.
        by_chromosome: mean of the chromosomes' AUPRC, weighted by their variants, over those with
            both classes; None where none has.
        by_chromosome_interval: as that of the AUPRC; where chromosomes are drawn None if fewer than
            two have both classes.
        mixed: chromosomes with both classes.
        groups: match groups with a name.
        unit: what is drawn again for intervals, in words.
        within: whether within chromosomes, not over all of them.
        units: how many of them there are.
        least: how many have variants of class 1, or of class 0 if that is fewer.
        draws: how many of DRAWS had both classes.
    """

    variants: int
    positive: int
    unscored: int
    unlabelled: int
    chromosomes: int
    direction: str
    auprc: float
    auprc_interval: Interval
    auroc: float
    auroc_interval: Interval
    by_chromosome: float | None
    by_chromosome_interval: Interval
    mixed: int
    groups: int
    unit: str
    within: bool
    units: int
    least: int
    draws: int

    @property
    def prevalence(self) -> float:
        """The AUPRC of chance."""
        return self.positive / self.variants


class _Unit(NamedTuple):
    """What is drawn again. number: int64 (M,), of each variant's unit, from 0."""

    name: str
    number: Array
    least: int
    within: bool = False  # chromosomes, not over all of them


def areas(
    scores: Array, labels: Sequence[str], chroms: Sequence[str], direction: str = "minus",
    groups: Sequence[str] = (), at: Sequence[int] | Array = (), seed: int = 0,
) -> Areas:  # fmt: skip
    """AUPRC (average precision) and AUROC of scores, together and by chromosome.

    Intervals are from match groups drawn again where there are any: within their chromosomes if
    those have A_CHROMOSOME or more in the mean, as fewer would vary too little. Else they are from
    chromosomes, or, where a class lies in fewer than FEWEST of those, from the longest of
    STRETCHES that are enough. With fewer of any there are no intervals: draws of a few units
    hardly differ, and intervals would be far too narrow.

    Args:
        scores: float64 (M,), log ratios; NaN = none.
        labels: of `codes_of`.
        chroms: of each variant.
        direction: a key of DIRECTIONS: what is high in class 1.
        groups: match group of each variant, "" = it is one of its own; () = there are none.
        at: position of each variant in bp; () = not known, so that there are no stretches.
        seed: of the draws.

    Raises:
        ValueError: another label, labels of one class, a match group on several chromosomes.
    """
    codes = codes_of(labels)
    used = (codes >= 0) & np.isfinite(scores)
    y = codes[used] == 1
    if not y.any() or y.all():
        raise ValueError(
            f"--labels: {int(y.sum()):,} of {len(y):,} scored variants are of class 1; both "
            "classes are needed"
        )
    values = {"minus": -scores, "plus": scores, "abs": np.abs(scores)}[direction][used]
    _, rank = np.unique(-values, return_inverse=True)
    kinds, chrom = np.unique(np.array(chroms)[used], return_inverse=True)
    named = np.unique(np.array(groups)[used]) if len(groups) else np.zeros(0, str)
    named = named[named != ""]
    places = np.array(at, np.int64)[used] if len(at) else None
    unit = _unit(np.array(groups)[used] if len(named) else None, chrom, places, y)
    parts = _parts(rank, chrom)
    ones, drawn, rng = np.ones(len(y)), list[tuple[float, ...]](), np.random.default_rng(seed)
    for _ in range(DRAWS if unit.least >= FEWEST else 0):
        weight = _drawn(unit, chrom, rng)
        if weight[y].any() and weight[~y].any():
            drawn.append(_all_areas(rank, y, weight, parts))
    estimates = _all_areas(rank, y, ones, parts)
    between = _intervals(estimates, drawn)
    mixed = np.minimum(np.bincount(chrom, y), np.bincount(chrom, ~y)) > 0
    some = int(mixed.sum())
    return Areas(
        len(y), int(y.sum()), int(((codes >= 0) & ~used).sum()), int((codes < 0).sum()),
        len(kinds), direction, estimates[0], between[0], estimates[1], between[1],
        estimates[2] if some else None, between[2] if some > (unit.name == SEQUENCES) else None,
        some, len(named), unit.name, unit.within, int(unit.number.max()) + 1, unit.least,
        len(drawn),
    )  # fmt: skip


def _unit(groups: Array | None, chrom: Array, at: Array | None, y: Array) -> _Unit:
    """Match groups, or the largest parts of the genome of which there are enough."""
    if groups is not None:
        number = _units(groups, chrom)
        within = int(number.max()) + 1 >= A_CHROMOSOME * (int(chrom.max()) + 1)
        return _Unit(GROUPS, number, _least(number, y), within)
    found = _Unit(SEQUENCES, chrom, _least(chrom, y))
    for bp, words in STRETCHES.items():
        if at is None or found.least >= FEWEST:
            break
        number = blocks_of(chrom, at, bp)
        found = _Unit(f"stretches of {words}", number, _least(number, y))
    return found


def _least(number: Array, y: Array) -> int:
    """Units with variants of class 1, or of class 0 if those are fewer."""
    return min(len(np.unique(number[y])), len(np.unique(number[~y])))


def _intervals(estimates: Sequence[float], drawn: Sequence[tuple[float, ...]]) -> list[Interval]:
    """Quantiles of LEVEL of the draws, moved by how far the draws' mean is from the estimate.

    A variant of class 1 that is drawn twice counts as found twice, so that draws have larger AUPRC.
    """
    if not drawn:
        return [None] * len(estimates)
    return [_interval(x, values) for x, values in zip(estimates, np.array(drawn).T, strict=True)]


def _interval(estimate: float, values: Array) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    bias = values.mean() - estimate
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - bias
    return max(0.0, float(low)), min(1.0, float(high))


def check_labels(labels: Sequence[str], chroms: Sequence[str], groups: Sequence[str] = ()) -> None:
    """Before anything is scored: what `areas` would raise of all labelled variants.

    Raises:
        ValueError: another label, labels of one class, a match group on several chromosomes.
    """
    used = codes_of(labels) >= 0
    y = codes_of(labels)[used] == 1
    if not y.any() or y.all():
        raise ValueError(
            f"--labels: {int(y.sum()):,} of {len(y):,} labelled variants are of class 1; both "
            "classes are needed"
        )
    if len(groups):
        _units(np.array(groups)[used], np.unique(np.array(chroms)[used], return_inverse=True)[1])


def codes_of(labels: Sequence[str]) -> Array:
    """int64 (M,): 0 or 1, of 0, 1, false or true; -1 of "" or a dot, which is none.

    Raises:
        ValueError: another label.
    """
    codes = np.array([-1 if v in ("", ".") else LABELS.get(v.lower(), 2) for v in labels], np.int64)
    if (codes == 2).any():
        raise ValueError(
            f"--labels: {labels[int(np.argmax(codes == 2))]!r} is neither 0 nor 1; write 1 for the "
            "class that is looked for, 0 for the other, and . where it is not known"
        )
    return codes


def _units(groups: Array, chrom: Array) -> Array:
    """int64 (M,), the number of each match group; variants without one are their own."""
    own = np.array([f"\0{i}" for i in range(len(groups))])
    names, first, unit = np.unique(
        np.where(groups == "", own, groups), return_index=True, return_inverse=True
    )
    several = np.unique(unit[chrom != chrom[first][unit]])
    if len(several):
        raise ValueError(
            f"match group {few(names[several].tolist())}: on several chromosomes; groups are "
            "bootstrapped within chromosomes"
        )
    return np.asarray(unit)


def _drawn(unit: _Unit, chrom: Array, rng: np.random.Generator) -> Array:
    """How often each variant is drawn: with its unit, of all or of those of its chromosome."""
    where = np.zeros(int(unit.number.max()) + 1, np.int64)
    if unit.within:
        where[unit.number] = chrom
    times = np.zeros(len(where), np.int64)
    for k in range(int(where.max()) + 1):
        own = np.flatnonzero(where == k)
        times[own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)))
    return np.asarray(times[unit.number])


def _parts(rank: Array, chrom: Array) -> list[tuple[Array, Array]]:
    """Of each chromosome the rows of its variants and their ranks among themselves."""
    rows = np.split(np.argsort(chrom, kind="stable"), np.cumsum(np.bincount(chrom))[:-1])
    return [(own, np.unique(rank[own], return_inverse=True)[1]) for own in rows]


def _all_areas(
    rank: Array, y: Array, weight: Array, parts: Sequence[tuple[Array, Array]]
) -> tuple[float, float, float]:
    """AUPRC and AUROC of all, and the mean AUPRC of chromosomes with both classes, or NaN."""
    total, sums = 0.0, 0.0
    for own, order in parts:
        w, hit = weight[own], y[own]
        if w[hit].any() and w[~hit].any():
            total += float(w.sum())
            sums += float(w.sum()) * _areas(order, hit, w)[0]
    return (*_areas(rank, y, weight), sums / total if total else float("nan"))


def _areas(rank: Array, y: Array, weight: Array) -> tuple[float, float]:
    """AUPRC and AUROC of weighted variants; rank 0 has the highest score, equal ones share it."""
    hits = np.bincount(rank, weight * y)
    misses = np.bincount(rank, weight * ~y, len(hits))
    found, called = np.cumsum(hits), np.cumsum(hits + misses)
    below = misses.sum() - np.cumsum(misses)
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, found / called, 0.0)
    auprc = float((hits * precision).sum() / found[-1])
    auroc = float((hits * (below + misses / 2)).sum() / (hits.sum() * misses.sum()))
    return auprc, auroc


def rates_elsewhere(kinds: Array, y: Array, chrom: Sequence[str]) -> Array:
    """The share of class 1 among variants of the same kind on the other chromosomes.

    Args:
        kinds: int64 (M,), from 0; -1 = of none.
        y: bool (M,), class 1.
        chrom: of each variant.

    Returns:
        float64 (M,), with one variant of the other chromosomes' mean share added to each kind; NaN
        for variants of no kind, and where there is no other chromosome.
    """
    names, where = np.unique(np.array(chrom), return_inverse=True)
    if len(names) < 2:
        return np.full(len(y), np.nan)
    size = int(kinds.max()) + 2
    key = where * size + kinds + 1
    n, hits = (np.bincount(key, w, len(names) * size).reshape(-1, size) for w in (None, y))
    n, hits = n.sum(0) - n, hits.sum(0) - hits
    mean = hits.sum(1, keepdims=True) / n.sum(1, keepdims=True)
    return np.where(kinds < 0, np.nan, ((hits + mean) / (n + 1))[where, kinds + 1])
