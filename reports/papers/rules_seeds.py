"""Does a printed table follow from the runs that it should summarise?

A printed mean follows from runs when it is within 1.5 units of the last decimal of theirs: half a
unit each for its own rounding, for that of the runs and for that of the spread's centre. A spread
is judged in the same way. Rules skip cells without `runs`.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy.special import bdtrc

from dnabench.reports.grouping import grouped
from dnabench.reports.papers import rules
from dnabench.reports.papers.rules import Cell, Finding, Findings, at, by_table, listed

Runs = Sequence[float]
FEWEST = 5  # cells of a table for a statement about the table
LARGEST = "largest deviation"
UPPER, LOWER = "upper side", "lower side"
SIDES = (UPPER, LOWER)
FEW_RUNS = 3


def _sd(x: Runs) -> float:
    return float(np.std(x, ddof=1))


DEFINITIONS: Mapping[str, Callable[[Runs], float]] = {
    "sample sd": _sd,
    "population sd": lambda x: float(np.std(x)),
    "standard error": lambda x: _sd(x) / math.sqrt(len(x)),
    "1.96 standard errors": lambda x: 1.96 * _sd(x) / math.sqrt(len(x)),
    "mean absolute deviation": lambda x: float(np.mean(np.abs(np.subtract(x, np.mean(x))))),
    LARGEST: lambda x: float(np.max(np.abs(np.subtract(x, np.mean(x))))),
    UPPER: lambda x: float(np.max(x) - np.mean(x)),
    LOWER: lambda x: float(np.mean(x) - np.min(x)),
    "half range": lambda x: float(np.ptp(x)) / 2,
    "range": lambda x: float(np.ptp(x)),
}


def counted(cells: Sequence[Cell]) -> dict[str, int]:
    """How many spreads each definition fits, in the order of `DEFINITIONS`."""
    known = [c for c in cells if c.runs and not math.isnan(c.spread)]
    return {
        name: sum(c.near(c.spread, spread_of(c.scores)) for c in known)
        for name, spread_of in DEFINITIONS.items()
    }


def best_definition(cells: Sequence[Cell]) -> str:
    """The definition that fits most spreads; the first of `DEFINITIONS` if none fits any."""
    counts = counted(cells)
    return max(counts, key=counts.__getitem__)


def spread_definition(cells: Sequence[Cell]) -> Findings:
    """Tables whose ± is something else than the sample standard deviation."""
    for table, members in by_table(_known(cells, spread=True)).items():
        counts, best = counted(members), best_definition(members)
        if len(members) < FEWEST or best == "sample sd" or not counts[best]:
            continue
        ranked = sorted(counts.items(), key=lambda item: -item[1])
        others = ", ".join(f"{name} {k}" for name, k in ranked[1:] if k or name == "sample sd")
        follow = [c for c in members if c.follows]
        both = counted(follow)[best]
        samples = [c.scores for c in members if np.ptp(c.scores)]
        ratio = float(np.median([DEFINITIONS[best](x) / _sd(x) for x in samples]))
        says = (
            f"± is the {best} from the mean in {counts[best]} of {len(members)} cells ({both} of "
            f"the {len(follow)} whose mean follows from the runs). Other definitions: {others}. "
            f"The median ratio to the sample sd is {ratio:.1f}"
        )
        sizes = {"cells": len(members), "follow": len(follow), "both": both}
        yield Finding("spread", table, says, {**sizes, "counts": counts, "ratio": ratio})


def runs_counted(cells: Sequence[Cell]) -> Findings:
    """Tables whose means follow from another number of runs than the table says.

    All runs are compared with the first n, for the n that a table states.
    """
    for table, members in by_table(_known(cells)).items():
        stated = Counter(c.n for c in members if c.n > 1).most_common(1)
        every = max(len(c.scores) for c in members)
        if not stated or stated[0][0] >= every or len(members) < FEWEST:
            continue
        n = stated[0][0]
        fits = {k: fitting(members, k) for k in (n, every)}
        if fits[n] < fits[every]:
            says = (
                f"stated n is {n}; {fits[every]} of {len(members)} means follow from all {every} "
                f"runs, {fits[n]} from the first {n}"
            )
            numbers = {"stated": n, "all": every, "fits": fits, "cells": len(members)}
            yield Finding("n", table, says, numbers)


def fitting(cells: Sequence[Cell], n: int) -> int:
    """How many means follow from the first n runs."""
    return sum(c.near(c.mean, float(np.mean(c.scores[:n]))) for c in cells)


def configurations(cells: Sequence[Cell]) -> Findings:
    """Columns of one name whose cells follow from runs of different variants."""
    several = (c for c in cells if len(c.runs) > 1)
    for where, members in grouped(several, lambda c: at(c.table, c.model)).items():
        by_variant = grouped((c for c in members if c.follows), lambda c: c.variant)
        if len(by_variant) > 1:
            parts = (
                f"from {variant} on {len(found)} tasks ({listed(c.task for c in found)})"
                for variant, found in sorted(by_variant.items(), key=lambda item: len(item[1]))
            )
            says = "the cells of this column follow " + " and ".join(parts)
            numbers = {v: [c.task for c in found] for v, found in by_variant.items()}
            yield Finding("variants", where, says, numbers)


def means(cells: Sequence[Cell]) -> Findings:
    """Printed means that do not follow from the runs; off by less than 1.5 units is a note."""
    for c in _known(cells):
        if not c.near(c.mean, c.computed, 0.5):
            n = len(c.scores)
            says = f"printed {c.show(c.mean)}, mean of {n} runs {c.show(c.computed, 1)}"
            numbers = _numbers(c.mean, c.computed)
            yield Finding("means", c.place, says, numbers, "note" if c.follows else "finding")


def spreads(cells: Sequence[Cell]) -> Findings:
    """Spreads that do not follow from the runs by the definition that fits their table."""
    for members in by_table(_known(cells, spread=True)).values():
        name = best_definition(members)
        if len(members) < FEWEST or counted(members)[name] * 2 < len(members):
            continue
        for c in members:
            ours = DEFINITIONS[name](c.scores)
            if c.near(c.spread, ours):
                continue
            fits = [d for d, f in DEFINITIONS.items() if c.near(c.spread, f(c.scores))]
            kind = f"it fits the {fits[0]}" if fits else "no definition fits"
            kind += ", the smaller one" if name == LARGEST and fits and fits[0] in SIDES else ""
            says = f"printed ± {c.show(c.spread)}, {name} {c.show(ours)}; {kind}"
            yield Finding("spreads", c.place, says, {**_numbers(c.spread, ours), "fits": fits})


def _numbers(printed: float, computed: float) -> dict[str, object]:
    return {"printed": printed, "computed": computed, "difference": printed - computed}


def single_runs(cells: Sequence[Cell]) -> Findings:
    """Cells of one run each that are another run than most cells of their table.

    Runs are counted from 1 in the order in which they are printed.
    """
    for members in by_table(c for c in cells if c.n == 1 and c.runs).values():
        places = {c.task: _places(c) for c in members}
        usual = Counter(i for found in places.values() for i in found).most_common(1)
        if len(members) < 3 or not usual or usual[0][1] < 2:
            continue
        place, count = usual[0]
        for c in members:
            if place in (found := places[c.task]):
                continue
            which = f"run {' or '.join(map(str, found))}" if found else "none of the runs"
            says = f"{count} of {len(members)} cells are run {place} of their row; "
            says += f"{c.show(c.mean)} is {which}"
            numbers = {"printed": c.mean, "place": place, "count": count, "found": found}
            yield Finding("single runs", c.place, says, numbers)


def _places(cell: Cell) -> list[int]:
    runs, half = (enumerate(x, 1) for x in cell.runs.values()), cell.unit / 2
    return sorted({i for x in runs for i, v in x if abs(v - cell.mean) < half})


def few_runs(cells: Sequence[Cell]) -> Findings:
    """Columns whose cells that do not follow from the runs look like three runs of one decimal.

    Reported where three cells or more do, and a binomial test against the share among the cells of
    the other columns of the table gives p < 0.05: a note, as one cell in ten does so by chance.
    """
    for table, members in by_table(_known(cells, spread=True)).items():
        coarse = {(c.model, c.task): few_values(c) for c in members}
        name = best_definition(members)
        for model, column in rules.by_column(members).items():
            off = [c for c in column if not _both_follow(c, name)]
            hit = [(c, found) for c in off if (found := coarse[model, c.task])]
            others = [bool(x) for (m, _), x in coarse.items() if m != model]
            share = (sum(others) + 1) / (len(others) + 1)
            p = float(bdtrc(len(hit) - 1, len(off), share)) if hit else 1.0
            if len(hit) < FEW_RUNS or p >= 0.05:
                continue
            parts = (f"{c.task} {c.shown} from {', '.join(map(str, x))}" for c, x in hit)
            says = (
                f"{len(hit)} of the {len(off)} cells that do not follow from the runs are the mean "
                f"and largest deviation of three values with one decimal: {'; '.join(parts)} (as "
                f"are {share:.0%} of the cells of other columns; p = {p:.2g})"
            )
            found_of = {c.task: list(x) for c, x in hit}
            numbers = {"off": len(off), "share": share, "p": p, "cells": found_of}
            yield Finding("means", at(table, model), says, numbers, "note")


def _both_follow(cell: Cell, name: str) -> bool:
    """Whether mean and spread are those of the runs, the mean rounded once."""
    spread = cell.near(cell.spread, DEFINITIONS[name](cell.scores))
    return spread and cell.near(cell.mean, cell.computed, 0.5)


def few_values(cell: Cell, n: int = FEW_RUNS) -> tuple[float, ...]:
    """The first n values of one decimal fewer with the mean and the largest deviation of a cell.

    They are ascending; empty where there are none.
    """
    if math.isnan(cell.spread) or cell.decimals < 1:
        return ()
    m, s = round(cell.mean / cell.unit), round(cell.spread / cell.unit)
    ladder = range((m - s - 20) // 10 * 10, m + s + 20, 10)
    if len(ladder) > 40:  # some ladder holds every spread that wide
        return ()
    for x in combinations_with_replacement(ladder, n):
        mean = sum(x) / n
        far = max(x[-1] - mean, mean - x[0])
        if abs(mean - m) <= 0.5 and abs(far - s) <= 0.5:
            return tuple(round(v * cell.unit, cell.decimals) for v in x)
    return ()


def _known(cells: Sequence[Cell], spread: bool = False) -> list[Cell]:
    """Cells that summarise two runs or more, and have a spread if it is needed."""
    known = [c for c in cells if c.n != 1 and c.runs and len(c.scores) > 1]
    return [c for c in known if not (spread and math.isnan(c.spread))]
