"""Does a printed table follow from the runs it is said to summarise?

A printed mean follows from runs when it is within 1.5 units of the last decimal of theirs: half a
unit each for its own rounding, for that of the runs and for that of the spread's centre. A spread
is judged in the same way. Rules take cells with `runs`; cells without are passed over.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from scipy.special import bdtrc

from dnabench.reports.papers.rules import Cell, Finding, Severity, at, grouped, listed

Runs = Sequence[float]
UNITS = 1.5  # of the last decimal
FEWEST = 5  # cells of a table for a statement about the table
LARGEST = "largest deviation"
UPPER, LOWER = "upper side", "lower side"
SIDES = (UPPER, LOWER)
FEW_RUNS = 3


def _sem(x: Runs) -> float:
    return float(np.std(x, ddof=1)) / math.sqrt(len(x))


DEFINITIONS: Mapping[str, Callable[[Runs], float]] = {
    "sample sd": lambda x: float(np.std(x, ddof=1)),
    "population sd": lambda x: float(np.std(x)),
    "standard error": _sem,
    "1.96 standard errors": lambda x: 1.96 * _sem(x),
    "mean absolute deviation": lambda x: float(np.mean(np.abs(np.subtract(x, np.mean(x))))),
    LARGEST: lambda x: float(np.max(np.abs(np.subtract(x, np.mean(x))))),
    UPPER: lambda x: float(np.max(x) - np.mean(x)),
    LOWER: lambda x: float(np.mean(x) - np.min(x)),
    "half range": lambda x: float(np.ptp(x)) / 2,
    "range": lambda x: float(np.ptp(x)),
}


def near(cell: Cell, printed: float, computed: float, units: float = UNITS) -> bool:
    """Whether a printed value follows from a computed one."""
    return abs(printed - computed) <= units * cell.unit + 1e-9


def runs_of(cell: Cell) -> Runs:
    """The runs that fit a cell best by mean, of the variants it may be."""
    return cell.runs[variant_of(cell)]


def variant_of(cell: Cell) -> str:
    """The variant whose mean is nearest to the printed one."""
    return min(cell.runs, key=lambda v: abs(float(np.mean(cell.runs[v])) - cell.mean))


def counted(cells: Sequence[Cell]) -> dict[str, int]:
    """How many spreads each definition fits, in the order of `DEFINITIONS`."""
    known = [c for c in cells if c.runs and not math.isnan(c.spread)]
    return {
        name: sum(near(c, c.spread, f(runs_of(c))) for c in known)
        for name, f in DEFINITIONS.items()
    }  # fmt: skip


def best_definition(cells: Sequence[Cell]) -> str:
    """The definition that fits most spreads; the first of `DEFINITIONS` if none fits any."""
    counts = counted(cells)
    return max(counts, key=counts.__getitem__)


def spread_definition(cells: Sequence[Cell]) -> list[Finding]:
    """Tables whose ± is something else than the sample standard deviation."""
    out = []
    for table, members in grouped(_known(cells, spread=True), lambda c: c.table).items():
        counts = counted(members)
        best = best_definition(members)
        if len(members) < FEWEST or best == "sample sd" or not counts[best]:
            continue
        ranked = sorted(counts.items(), key=lambda item: -item[1])
        others = ", ".join(f"{name} {k}" for name, k in ranked[1:] if k or name == "sample sd")
        follow = [c for c in members if near(c, c.mean, float(np.mean(runs_of(c))))]
        both = counted(follow)[best]
        ratio = [DEFINITIONS[best](runs_of(c)) / DEFINITIONS["sample sd"](runs_of(c))
                 for c in members if np.ptp(runs_of(c))]  # fmt: skip
        says = (
            f"± is the {best} from the mean in {counts[best]} of {len(members)} cells ({both} of "
            f"the {len(follow)} whose mean follows from the runs); others: {others}. It is "
            f"{np.median(ratio):.1f} times the sample sd (median)"
        )
        numbers = {
            "cells": len(members), "counts": counts, "follow": len(follow), "both": both,
            "ratio": float(np.median(ratio)),
        }  # fmt: skip
        out.append(Finding("spread", table, says, numbers))
    return out


def runs_counted(cells: Sequence[Cell]) -> list[Finding]:
    """Tables whose means follow from another number of runs than the table says.

    Compared are all runs and the first n, for the n that a table states.
    """
    out = []
    for table, members in grouped(_known(cells), lambda c: c.table).items():
        stated = Counter(c.n for c in members if c.n > 1).most_common(1)
        every = max(len(runs_of(c)) for c in members)
        if not stated or stated[0][0] >= every or len(members) < FEWEST:
            continue
        n, fits = stated[0][0], Counter[int]()
        for c in members:
            for k in (n, every):
                fits[k] += near(c, c.mean, float(np.mean(runs_of(c)[:k])))
        if fits[n] < fits[every]:
            says = (
                f"stated n is {n}; {fits[every]} of {len(members)} means follow from all {every} "
                f"runs, {fits[n]} from the first {n}"
            )
            numbers = {"stated": n, "all": every, "fits": dict(fits), "cells": len(members)}
            out.append(Finding("n", table, says, numbers))
    return out


def configurations(cells: Sequence[Cell]) -> list[Finding]:
    """Columns of one name whose cells follow from runs of different variants."""
    out = []
    for (table, model), members in grouped(
        (c for c in cells if len(c.runs) > 1), lambda c: (c.table, c.model)
    ).items():
        follow = [c for c in members if near(c, c.mean, float(np.mean(runs_of(c))))]
        by_variant = grouped(follow, variant_of)
        if len(by_variant) > 1:
            parts = (
                f"{variant} on {len(found)} ({listed(c.task for c in found)})"
                for variant, found in sorted(by_variant.items(), key=lambda item: len(item[1]))
            )
            says = "one column follows " + "; ".join(parts)
            numbers = {v: [c.task for c in found] for v, found in by_variant.items()}
            out.append(Finding("variants", at(table, model), says, numbers))
    return out


def means(cells: Sequence[Cell]) -> list[Finding]:
    """Printed means that do not follow from the runs; off by less than 1.5 units is a note."""
    out = []
    for c in _known(cells):
        ours = float(np.mean(runs_of(c)))
        if abs(c.mean - ours) <= 0.5 * c.unit + 1e-9:
            continue
        severity: Severity = "note" if near(c, c.mean, ours) else "finding"
        says = f"printed {c.show(c.mean)}, mean of {len(runs_of(c))} runs {c.show(ours, 1)}"
        numbers = {"printed": c.mean, "computed": ours, "difference": c.mean - ours}
        out.append(Finding("means", at(c.table, c.task, c.model), says, numbers, severity))
    return out


def spreads(cells: Sequence[Cell]) -> list[Finding]:
    """Spreads that do not follow from the runs by the definition that fits their table."""
    out = []
    for table, members in grouped(_known(cells, spread=True), lambda c: c.table).items():
        name = best_definition(members)
        if len(members) < FEWEST or counted(members)[name] * 2 < len(members):
            continue
        for c in members:
            ours = DEFINITIONS[name](runs_of(c))
            if near(c, c.spread, ours):
                continue
            fits = [d for d, f in DEFINITIONS.items() if near(c, c.spread, f(runs_of(c)))]
            kind = f"that is the {fits[0]}" if fits else "no definition fits"
            kind += ", the smaller one" if name == LARGEST and fits and fits[0] in SIDES else ""
            says = f"printed ± {c.show(c.spread)}, {name} {c.show(ours)}; {kind}"
            numbers = {
                "printed": c.spread, "computed": ours, "difference": c.spread - ours,
                "fits": fits,
            }  # fmt: skip
            where = at(table, c.task, c.model)
            out.append(Finding("spreads", where, says, numbers))
    return out


def single_runs(cells: Sequence[Cell]) -> list[Finding]:
    """Cells of one run each that are another run than most cells of their table.

    Runs are counted from 1 in the order in which they are printed.
    """
    out = []
    single = (c for c in cells if c.n == 1 and c.runs)
    for table, members in grouped(single, lambda c: c.table).items():
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
            out.append(Finding("single runs", at(table, c.task, c.model), says, numbers))
    return out


def _places(cell: Cell) -> list[int]:
    rows = cell.runs.values()
    half = cell.unit / 2
    return sorted({i + 1 for x in rows for i, v in enumerate(x) if abs(v - cell.mean) < half})


def few_runs(cells: Sequence[Cell]) -> list[Finding]:
    """Columns whose cells that do not follow from the runs look like three runs of one decimal.

    Reported where three cells or more do, and a binomial test against the share among the cells of
    the other columns of the table gives p < 0.05: a note, as one cell in ten does so by chance.
    """
    out = []
    for table, members in grouped(_known(cells, spread=True), lambda c: c.table).items():
        coarse = {(c.model, c.task): few_values(c) for c in members}
        name = best_definition(members)
        for model, column in grouped(members, lambda c: c.model).items():
            off = [c for c in column if not _follows(c, name)]
            hit = [c for c in off if coarse[model, c.task]]
            others = [bool(x) for (m, _), x in coarse.items() if m != model]
            share = (sum(others) + 1) / (len(others) + 1)
            p = float(bdtrc(len(hit) - 1, len(off), share)) if hit else 1.0
            if len(hit) < FEW_RUNS or p >= 0.05:
                continue
            shown = "; ".join(
                f"{c.task} {c.shown} of {', '.join(map(str, coarse[model, c.task]))}" for c in hit
            )
            says = (
                f"{len(hit)} of the {len(off)} cells that do not follow from the runs are mean and "
                f"largest deviation of three values of one decimal: {shown} ({share:.0%} of the "
                f"other columns' cells are; p = {p:.2g})"
            )
            numbers = {"off": len(off), "share": share, "p": p,
                       "cells": {c.task: list(coarse[model, c.task]) for c in hit}}  # fmt: skip
            out.append(Finding("means", at(table, model), says, numbers, "note"))
    return out


def _follows(cell: Cell, name: str) -> bool:
    """Whether mean and spread are those of the runs, both rounded once."""
    x = runs_of(cell)
    spread = near(cell, cell.spread, DEFINITIONS[name](x))
    return spread and near(cell, cell.mean, float(np.mean(x)), 0.5)


def few_values(cell: Cell, n: int = FEW_RUNS) -> tuple[float, ...]:
    """N values of one decimal fewer that have the mean and the largest deviation of a cell.

    Args:
        cell: with a spread.
        n: values.

    Returns:
        The first such values, ascending; empty where there are none.
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
    return [
        c
        for c in cells
        if c.n != 1 and c.runs and len(runs_of(c)) > 1 and not (spread and math.isnan(c.spread))
    ]
