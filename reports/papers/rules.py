"""Checks of printed tables that need no runs: marks, copies, steps, agreement between tables.

A rule takes cells and yields findings, none where all is in order. A finding names a pattern,
where it is and the numbers; it does not say how the pattern came about.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np

from dnabench.reports.grouping import grouped

Severity = Literal["finding", "note"]
EXPECTED = 0.05  # copies by chance in a table, above which a copy tells nothing
RARE = 0.001  # chance of a pattern in all columns of a table
UNITS = 1.5  # of the last decimal, within which a printed value follows from a computed one
STEPS = (2, 5, 10)  # units of the last decimal


@dataclass(frozen=True)
class Finding:
    """A pattern in printed numbers."""

    rule: str
    where: str
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "finding"


Findings = Iterator[Finding]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A printed mean, with the runs it should summarise where these are known."""

    table: str
    task: str  # the row; with the metric where a task has several
    metric: str
    model: str  # the column as printed: with size or regime where these tell columns apart
    mean: float
    spread: float = math.nan  # NaN = not printed
    n: int = 0  # 0 = not known
    mark: str = ""  # "best", "second"
    decimals: int = 2
    runs: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # variant -> by seed
    config: str = ""  # what names the same cell in another table; empty = comparable with none

    @property
    def unit(self) -> float:
        """Of the last decimal."""
        return 10.0**-self.decimals

    @property
    def place(self) -> str:
        """Table, row and column."""
        return at(self.table, self.task, self.model)

    @property
    def shown(self) -> str:
        """As in print."""
        text = self.show(self.mean)
        return text if math.isnan(self.spread) else f"{text} ± {self.show(self.spread)}"

    def show(self, value: float, more: int = 0) -> str:
        """A value with the decimals of the cell, or some more."""
        return f"{value:.{self.decimals + more}f}"

    @property
    def variant(self) -> str:
        """The variant whose runs have the mean nearest to the printed one."""
        return min(self.runs, key=lambda v: abs(float(np.mean(self.runs[v])) - self.mean))

    @property
    def scores(self) -> tuple[float, ...]:
        """The runs of that variant."""
        return self.runs[self.variant]

    @property
    def computed(self) -> float:
        """Their mean."""
        return float(np.mean(self.scores))

    def near(self, printed: float, computed: float, units: float = UNITS) -> bool:
        """Whether a printed value follows from a computed one."""
        return abs(printed - computed) <= units * self.unit + 1e-9

    @property
    def follows(self) -> bool:
        """Whether the printed mean follows from the runs."""
        return self.near(self.mean, self.computed)


def by_table(cells: Iterable[Cell]) -> Mapping[str, list[Cell]]:
    """Cells by table."""
    return grouped(cells, lambda c: c.table)


def by_column(cells: Iterable[Cell]) -> Mapping[str, list[Cell]]:
    """Cells by model; of several tables, together."""
    return grouped(cells, lambda c: c.model)


def by_row(cells: Iterable[Cell]) -> list[list[Cell]]:
    """The rows of a table."""
    return list(grouped(cells, lambda c: c.task).values())


def at(*parts: str) -> str:
    """A place: "Table 1, nt/h3, convnova"."""
    return ", ".join(filter(None, parts))


def listed(names: Iterable[str]) -> str:
    """Names in a sentence; a suite that they share is left out."""
    names = list(names)
    suites = {name.rpartition("/")[0] for name in names}
    if len(names) > 1 and len(suites) == 1 and (suite := suites.pop()):
        names = [name.removeprefix(suite + "/") for name in names]
    return ", ".join(names)


def marks(cells: Sequence[Cell]) -> Findings:
    """Marks that are not on the highest ("best") or next highest ("second") mean of their row.

    Means that are printed alike share a rank. A missing mark counts only in tables that mark more
    than half of their rows so; behind two that tie for first it is a note.
    """
    for members in by_table(cells).values():
        rows = [row for row in by_row(members) if len(row) > 2]
        for rank, word in enumerate(("best", "second")):
            marked = sum(any(c.mark == word for c in row) for row in rows)
            for row in rows if marked else ():
                yield from _row_marks(row, rank, word, usual=2 * marked > len(rows))


def _row_marks(row: Sequence[Cell], rank: int, word: str, usual: bool) -> Findings:
    where = at(row[0].table, row[0].task)
    levels = sorted({_units(c) for c in row}, reverse=True)
    first, right = ([c for c in row if _units(c) in levels[i : i + 1]] for i in (0, rank))
    marked = [c for c in row if c.mark == word]
    should = f"{word} is {_with_means(right)}"
    for c in marked:
        if c in right:
            continue
        place = 1 + sum(_units(other) > _units(c) for other in row)
        which = {1: "is the highest", len(row): "is the lowest"}.get(place, f"ranks {place}")
        says = f"{c.model} {c.show(c.mean)} is marked as {word} and {which} of {len(row)}; "
        says += f"best is {_with_means(first)}, " * bool(rank) + should
        says += f"; the row has {len(marked)} {word} marks" if len(marked) > 1 else ""
        counts = {"place": place, "of": len(row), "marks": len(marked)}
        yield Finding("marks", where, says, {"model": c.model, "mean": c.mean, **counts})
    missing = [c for c in right if c not in marked]
    numbers = {"model": missing[0].model, "mean": missing[0].mean} if missing else {}
    if not marked and missing and usual:
        tied = rank and len(first) > 1  # then some give no second place
        says = f"no {word} mark; {should}"
        says += f", behind {len(first)} that tie for first" if tied else ""
        yield Finding("marks", where, says, numbers, "note" if tied else "finding")
    elif 0 < len(missing) < len(right):
        names = " and ".join(c.model for c in missing)
        yield Finding("marks", where, f"{should}, but {names} has no mark", numbers)


def _with_means(cells: Iterable[Cell]) -> str:
    return " and ".join(f"{c.model} ({c.show(c.mean)})" for c in cells)


def copies(cells: Sequence[Cell]) -> Findings:
    """Two cells of a row, or of a column, with the same mean and the same spread.

    Reported where fewer than 0.05 such pairs are expected in the table by chance at its number of
    decimals. The expectation takes the means and spreads of a row (a column) as normal and
    independent of each other.
    """
    for table, members in by_table(cells).items():
        known = [c for c in members if not math.isnan(c.spread)]
        for lines in (by_row(known), list(by_column(known).values())):
            expected = sum(_coincidence(line) * math.comb(len(line), 2) for line in lines)
            pairs = (pair for line in lines for pair in combinations(line, 2))
            for a, b in pairs if expected < EXPECTED else ():
                if _units(a) == _units(b) and _units(a, a.spread) == _units(b, b.spread):
                    yield _copy(table, a, b, expected)


def _copy(table: str, a: Cell, b: Cell, expected: float) -> Finding:
    same_row = a.task == b.task
    names = f"{a.model} and {b.model}" if same_row else f"{a.task} and {b.task}"
    says = f"{names} have the same entry, {a.shown}; {expected:.2g} such pairs expected by chance"
    numbers = {"mean": a.mean, "spread": a.spread, "expected": expected}
    return Finding("copies", at(table, a.task if same_row else a.model), says, numbers)


def _coincidence(line: Sequence[Cell]) -> float:
    """Chance that two cells of a line print the same mean and spread."""
    p = 1.0
    for values in ({c.mean for c in line}, {c.spread for c in line}):
        sd = float(np.std(sorted(values), ddof=1)) if len(values) > 1 else 0.0
        p *= min(1.0, line[0].unit / (2 * math.sqrt(math.pi) * sd)) if sd else 1.0
    return p


def across(cells: Sequence[Cell]) -> Findings:
    """Columns of one name in two tables, some of whose cells differ.

    Single runs are not compared with means.
    """
    pairs: dict[tuple[str, str, str], list[tuple[Cell, Cell]]] = defaultdict(list)
    for same in grouped((c for c in cells if c.config), lambda c: (c.task, c.config)).values():
        for a, b in combinations(same, 2):
            if a.table != b.table and (a.n == 1) == (b.n == 1):
                pairs[a.table, b.table, a.config].append((a, b))
    for (first, second, _), both in pairs.items():
        differ = [(a, b) for a, b in both if _differ(a, b)]
        if differ:
            parts = (f"{a.task} {a.shown} and {b.shown}{_runs(a)}" for a, b in differ)
            says = f"{len(differ)} of {len(both)} cells differ: {'; '.join(parts)}"
            shown = {a.task: [a.shown, b.shown] for a, b in differ}
            where = at(f"{first} against {second}", both[0][0].model)
            yield Finding("across", where, says, {"both": len(both), "cells": shown})


def _runs(cell: Cell) -> str:
    """The means of a cell's runs, in brackets."""
    means = {v: cell.show(math.fsum(x) / len(x), 1) for v, x in cell.runs.items()}
    parts = (f"{v} {mean}" if len(means) > 1 else mean for v, mean in means.items())
    return f" (runs: {', '.join(parts)})" if means else ""


def constant(cells: Sequence[Cell]) -> Findings:
    """A spread of zero over several runs."""
    for c in cells:
        if c.spread == 0 and c.n != 1:
            says = f"{c.shown}: no variation" + (f" over {c.n} runs" if c.n else "")
            yield Finding("constant", c.place, says, {"mean": c.mean})


def steps(cells: Sequence[Cell]) -> Findings:
    """Columns, or whole tables, whose values are all multiples of more than one unit."""
    for table, members in by_table(cells).items():
        columns = {at(table, model): line for model, line in by_column(members).items()}
        rate = RARE / (len(columns) + 1)
        for where, line in ({table: members} if _step(members, rate) else columns).items():
            if step := _step(line, rate):
                yield _stepped(where, line, step)


def _stepped(where: str, line: Sequence[Cell], step: int) -> Finding:
    n, unit = len(_printed(line)), line[0].unit
    says = f"all {n} printed values are multiples of {step * unit:g}"
    if step < 10:
        says += f", as means of {10 // step} runs given to {10 * unit:g} would be"
    numbers = {"count": n, "step": step * unit, "p": float(step) ** -n}
    return Finding("steps", where, says, numbers)


def _step(line: Sequence[Cell], rate: float) -> int:
    """The largest step that divides all values of a line, if chance would not do it; else 0."""
    values = _printed(line)
    kept = [s for s in STEPS if all(v % s == 0 for v in values) and s ** -len(values) < rate]
    return max(kept, default=0)


def _printed(line: Sequence[Cell]) -> list[int]:
    """Means and spreads in units of the last decimal."""
    spreads = [_units(c, c.spread) for c in line if not math.isnan(c.spread)]
    return [_units(c) for c in line] + spreads


def _units(cell: Cell, value: float | None = None) -> int:
    return round((cell.mean if value is None else value) / cell.unit)


def _differ(a: Cell, b: Cell) -> bool:
    coarse = max(a.unit, b.unit)
    spreads = not (math.isnan(a.spread) or math.isnan(b.spread))
    limit = 0.5 * coarse if a.decimals != b.decimals else 1e-9
    return abs(a.mean - b.mean) > limit or (spreads and abs(a.spread - b.spread) > limit)
