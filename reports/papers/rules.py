"""What a printed table may be checked for by itself: marks, copies, steps, agreement with others.

Every rule takes cells and returns findings, none where all is in order. A finding names a pattern,
where it is and the numbers; it does not say how the pattern came about.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal, TypeVar

Severity = Literal["finding", "note"]
Key = TypeVar("Key", bound=Hashable)
EXPECTED = 0.05  # copies by chance in a table, above which a copy tells nothing
RARE = 0.001  # chance of a pattern in all columns of a table
STEPS = (2, 5, 10)  # units of the last decimal


@dataclass(frozen=True)
class Finding:
    """A pattern in printed numbers."""

    rule: str
    where: str
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "finding"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A printed mean, with the runs it is said to summarise where these are known."""

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
    def shown(self) -> str:
        """As in print."""
        text = self.show(self.mean)
        return text if math.isnan(self.spread) else f"{text} ± {self.show(self.spread)}"

    def show(self, value: float, more: int = 0) -> str:
        """A value with the decimals of the cell, or some more."""
        return f"{value:.{self.decimals + more}f}"


def grouped(cells: Iterable[Cell], key: Callable[[Cell], Key]) -> dict[Key, list[Cell]]:
    """Cells by key, both in order of appearance."""
    out: dict[Key, list[Cell]] = defaultdict(list)
    for cell in cells:
        out[key(cell)].append(cell)
    return dict(out)


def at(*parts: str) -> str:
    """A place: "Table 1, nt/h3, convnova"."""
    return ", ".join(part for part in parts if part)


def listed(names: Iterable[str]) -> str:
    """Names in a sentence; the suite they share is said once."""
    names = list(names)
    suites = {name.rpartition("/")[0] for name in names}
    if len(names) > 1 and len(suites) == 1 and (suite := suites.pop()):
        names = [name.removeprefix(suite + "/") for name in names]
    return ", ".join(names)


def marks(cells: Sequence[Cell]) -> list[Finding]:
    """Marks that are not on the highest ("best") or next ("second") mean of their row.

    Means that print alike share a place. A missing mark counts only in tables that mark more than
    half of their rows so; behind two that share the first place it is a note.
    """
    out = []
    for table, members in grouped(cells, lambda c: c.table).items():
        rows = [row for row in _rows(members) if len(row) > 2]
        for place, word in enumerate(("best", "second")):
            marked = sum(any(c.mark == word for c in row) for row in rows)
            for row in rows if marked else ():
                out += _row_marks(at(table, row[0].task), row, place, word, 2 * marked > len(rows))
    return out


def _row_marks(
    where: str, row: Sequence[Cell], place: int, word: str, usual: bool
) -> list[Finding]:
    levels = sorted({_units(c) for c in row}, reverse=True)
    first, right = ([c for c in row if _units(c) in levels[i : i + 1]] for i in (0, place))
    marked = [c for c in row if c.mark == word]
    should = f"{word} is " + " and ".join(f"{c.model} ({c.show(c.mean)})" for c in right)
    out = []
    for c in marked:
        if c in right:
            continue
        above = 1 + sum(_units(other) > _units(c) for other in row)
        rank = {1: "the highest", len(row): "the lowest"}.get(above, f"in place {above}")
        says = f"{c.model} {c.show(c.mean)} is marked as {word} and is {rank} of {len(row)}; "
        if place:
            says += "best is " + " and ".join(f"{o.model} ({o.show(o.mean)})" for o in first) + ", "
        says += should
        says += f"; the row has {len(marked)} {word} marks" if len(marked) > 1 else ""
        numbers = {
            "model": c.model, "mean": c.mean, "place": above, "of": len(row), "marks": len(marked),
        }  # fmt: skip
        out.append(Finding("marks", where, says, numbers))
    missing = [c for c in right if c not in marked]
    numbers = {"model": missing[0].model, "mean": missing[0].mean} if missing else {}
    if not marked and missing and usual:
        shared = place and len(first) > 1  # then some give no second place
        severity: Severity = "note" if shared else "finding"
        says = f"no {word} mark; {should}"
        says += f", behind {len(first)} that share the first place" if shared else ""
        out.append(Finding("marks", where, says, numbers, severity))
    elif 0 < len(missing) < len(right):
        names = " and ".join(c.model for c in missing)
        out.append(Finding("marks", where, f"{should}, {names} without a mark", numbers))
    return out


def copies(cells: Sequence[Cell]) -> list[Finding]:
    """Two cells of a row, or of a column, with the same mean and the same spread.

    Reported where the steps of print let expect fewer than 0.05 such pairs in the table by chance:
    the expectation takes means and spreads of a row (a column) as normal, apart from the pair.
    """
    out = []
    for table, members in grouped(cells, lambda c: c.table).items():
        known = [c for c in members if not math.isnan(c.spread)]
        columns = grouped(known, lambda c: c.model).values()
        for lines in (_rows(known), list(columns)):
            pairs = [pair for line in lines for pair in combinations(line, 2)]
            chance = {id(line): _coincidence(line) for line in lines}
            expected = sum(chance[id(line)] * math.comb(len(line), 2) for line in lines)
            for a, b in pairs if expected < EXPECTED else ():
                if _units(a) == _units(b) and _units(a, a.spread) == _units(b, b.spread):
                    out.append(_copy(table, a, b, expected))
    return out


def _copy(table: str, a: Cell, b: Cell, expected: float) -> Finding:
    same_row = a.task == b.task
    names = f"{a.model} and {b.model}" if same_row else f"{a.task} and {b.task}"
    says = f"{names} have the same entry, {a.shown}; {expected:.2g} such pairs expected by chance"
    where = at(table, a.task if same_row else a.model)
    numbers = {"mean": a.mean, "spread": a.spread, "expected": expected}
    return Finding("copies", where, says, numbers)


def _coincidence(line: Sequence[Cell]) -> float:
    """Chance that two cells of a line print the same mean and spread."""
    p = 1.0
    for values in ([c.mean for c in line], [c.spread for c in line]):
        sd = _sd(sorted(set(values)))
        p *= min(1.0, line[0].unit / (2 * math.sqrt(math.pi) * sd)) if sd else 1.0
    return p


def across(cells: Sequence[Cell]) -> list[Finding]:
    """Columns of one name in two tables, some of whose cells differ.

    Single runs are not compared with means.
    """
    pairs: dict[tuple[str, str, str], list[tuple[Cell, Cell]]] = defaultdict(list)
    for same in grouped((c for c in cells if c.config), lambda c: (c.task, c.config)).values():
        for a, b in combinations(same, 2):
            if a.table != b.table and (a.n == 1) == (b.n == 1):
                pairs[a.table, b.table, a.config].append((a, b))
    out = []
    for (first, second, _), both in pairs.items():
        differ = [(a, b) for a, b in both if _differ(a, b)]
        if not differ:
            continue
        parts = (f"{a.task} {a.shown} and {b.shown}{_runs(a)}" for a, b in differ)
        says = f"{len(differ)} of {len(both)} cells differ: {'; '.join(parts)}"
        numbers = {
            "both": len(both), "cells": {a.task: [a.shown, b.shown] for a, b in differ},
        }  # fmt: skip
        where = at(f"{first} against {second}", both[0][0].model)
        out.append(Finding("across", where, says, numbers))
    return out


def _runs(cell: Cell) -> str:
    """What the runs of a cell give, in brackets."""
    means = {v: math.fsum(x) / len(x) for v, x in cell.runs.items()}
    parts = (
        f"{v} {cell.show(m, 1)}" if len(means) > 1 else cell.show(m, 1) for v, m in means.items()
    )
    return f" (runs: {', '.join(parts)})" if means else ""


def constant(cells: Sequence[Cell]) -> list[Finding]:
    """A spread of zero over several runs."""
    out = []
    for c in cells:
        if c.spread == 0 and c.n != 1:
            runs = f" over {c.n} runs" if c.n else ""
            says = f"{c.shown}: no variation{runs}"
            where = at(c.table, c.task, c.model)
            out.append(Finding("constant", where, says, {"mean": c.mean}))
    return out


def steps(cells: Sequence[Cell]) -> list[Finding]:
    """Columns, or whole tables, all of whose values are multiples of more than one unit."""
    out = []
    for table, members in grouped(cells, lambda c: c.table).items():
        lines = [members, *grouped(members, lambda c: c.model).values()]
        seen: set[str] = set()
        for line in lines:
            model = line[0].model if line is not members else ""
            step = _step(line, RARE / len(lines))
            if step and "" not in seen:
                seen.add(model)
                out.append(_stepped(table, model, line, step))
    return out


def _stepped(table: str, model: str, line: Sequence[Cell], step: int) -> Finding:
    values, size = _printed(line), step * line[0].unit
    tenth, runs = 10 * line[0].unit, 10 // step
    says = f"all {len(values)} printed values are multiples of {size:g}"
    if step < 10:
        says += f", as means of {runs} runs with steps of {tenth:g} are"
    numbers = {"count": len(values), "step": size, "p": float(step) ** -len(values)}
    return Finding("steps", at(table, model), says, numbers)


def _step(line: Sequence[Cell], rate: float) -> int:
    """The largest step that all values of a line keep to, if chance would not do it; else 0."""
    values = _printed(line)
    kept = [s for s in STEPS if all(v % s == 0 for v in values) and s ** -len(values) < rate]
    return max(kept, default=0)


def _printed(line: Sequence[Cell]) -> list[int]:
    """Means and spreads in units of the last decimal."""
    spreads = [_units(c, c.spread) for c in line if not math.isnan(c.spread)]
    return [_units(c) for c in line] + spreads


def _rows(cells: Iterable[Cell]) -> list[list[Cell]]:
    return list(grouped(cells, lambda c: c.task).values())


def _units(cell: Cell, value: float | None = None) -> int:
    return round((cell.mean if value is None else value) / cell.unit)


def _differ(a: Cell, b: Cell) -> bool:
    coarse = max(a.unit, b.unit)
    spreads = not (math.isnan(a.spread) or math.isnan(b.spread))
    limit = 0.5 * coarse if a.decimals != b.decimals else 1e-9
    return abs(a.mean - b.mean) > limit or (spreads and abs(a.spread - b.spread) > limit)


def _sd(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
