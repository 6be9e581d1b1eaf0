"""Rows of a column that follow from the runs of another row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from dnabench.reports.papers.rules import Cell, Finding, at, grouped, listed
from dnabench.reports.papers.rules_seeds import DEFINITIONS, LARGEST, SIDES, best_definition, near

LEAST_GAIN = 3  # means and spreads that a relabelling must explain beyond the printed labels


def labels(cells: Sequence[Cell]) -> list[Finding]:
    """Columns in which another order of the labels explains more means and spreads.

    Within each column and metric every assignment of labels to printed cells is weighed by how
    many means and spreads follow from the runs of the label. A cycle of labels is reported when
    each of its cells gains by it and all of them gain three or more.

    Returns:
        One finding a cycle; `numbers` has the labels by printed label, and what is left over.
    """
    out = []
    lines = grouped((c for c in cells if c.runs and c.n != 1), lambda c: (c.table, c.model))
    tables = grouped((c for c in cells if c.runs), lambda c: c.table)
    spread_is = {table: best_definition(members) for table, members in tables.items()}
    for (table, model), column in lines.items():
        for members in grouped(column, lambda c: c.metric).values():
            for cycle in _cycles(members, spread_is[table]):
                out.append(_finding(at(table, model), cycle, spread_is[table]))
    return [*out, *(_mixed(table, members, out) for table, members in tables.items()
                    if any(f.where.startswith(f"{table}, ") for f in out))]  # fmt: skip


def relabelled(cells: Sequence[Cell], findings: Sequence[Finding]) -> list[Cell]:
    """The cells that no finding of `labels` names: those whose label stands."""
    moved = {(f.where, task) for f in findings for task in f.numbers["labels"]}
    return [c for c in cells if (at(c.table, c.model), c.task) not in moved]


def _mixed(table: str, cells: Sequence[Cell], cycles: Sequence[Finding]) -> Finding:
    """Which columns of the rows in question fit another label, and which their own."""
    of = [f for f in cycles if f.where.startswith(f"{table}, ")]
    moved = {f.where.removeprefix(f"{table}, ") for f in of}
    tasks = {task for f in of for task in f.numbers["labels"]}
    stay = dict.fromkeys(c.model for c in cells if c.task in tasks and c.model not in moved)
    says = f"on {listed(sorted(tasks))} {', '.join(sorted(moved))} fit another label"
    says += f", {', '.join(stay)} the printed one: a row compares different tasks" if stay else ""
    return Finding("labels", table, says, {"labels": {}, "moved": sorted(moved), "stay": [*stay]})


def _cycles(cells: Sequence[Cell], spread_is: str) -> list[list[tuple[Cell, Cell]]]:
    """(printed cell, cell of the label that fits) in cycles."""
    from scipy.optimize import linear_sum_assignment

    fits = np.array([[_fit(a, b.runs, spread_is) for b in cells] for a in cells], dtype=float)
    fits += 0.01 * np.eye(len(cells))  # the printed label, where another does no better
    _, chosen = linear_sum_assignment(-fits)
    out, seen = [], set[int]()
    for start in range(len(cells)):
        cycle, i = [], start
        while i not in seen:
            seen.add(i)
            cycle.append((i, int(chosen[i])))
            i = int(chosen[i])
        gains = [fits[i, j] - fits[i, i] for i, j in cycle]
        if len(cycle) > 1 and min(gains) > 0 and sum(map(round, gains)) >= LEAST_GAIN:
            out.append([(cells[i], cells[j]) for i, j in sorted(cycle)])
    return out


def _fit(cell: Cell, runs: Mapping[str, Sequence[float]], spread_is: str) -> int:
    """How much of mean and spread follows from the runs of a label: 0, 1 or 2."""
    return max(
        near(cell, cell.mean, float(np.mean(x))) + _spread_fits(cell, x, spread_is)
        for x in runs.values()
    )


def _spread_fits(cell: Cell, x: Sequence[float], spread_is: str) -> bool:
    names = (LARGEST, *SIDES) if spread_is == LARGEST else (spread_is,)
    return not math.isnan(cell.spread) and any(
        near(cell, cell.spread, DEFINITIONS[name](x)) for name in names
    )


def _finding(where: str, cycle: Sequence[tuple[Cell, Cell]], spread_is: str) -> Finding:
    left, moves, before, after = [], [], 0, 0
    for printed, true in cycle:
        variant = min(true.runs, key=lambda v: abs(float(np.mean(true.runs[v])) - printed.mean))
        x = true.runs[variant]
        ours, spread = float(np.mean(x)), DEFINITIONS[spread_is](x)
        before += _fit(printed, printed.runs, spread_is)
        after += _fit(printed, true.runs, spread_is)
        short = listed([printed.task, true.task]).split(", ")
        moves.append(f"{short[0]} ({printed.shown}) fits {short[1]} "
                     f"({printed.show(ours)} ± {printed.show(spread)})")  # fmt: skip
        if not near(printed, printed.mean, ours):
            left.append((printed, true, round(printed.mean - ours, printed.decimals)))
    says = "; ".join(moves) + f". {after} of {2 * len(cycle)} means and spreads fit so, {before} as"
    says += " labelled"
    if left:
        parts = ", ".join(f"{c.task.rpartition('/')[2]} {d:+.{c.decimals}f}" for c, _, d in left)
        says += f". Left over, printed minus recomputed: {parts}"
        again = Counter(d for *_, d in left).most_common(1)[0]
        says += f" (the same difference {again[1]} times)" if again[1] > 1 else ""
    numbers = {
        "labels": {a.task: b.task for a, b in cycle}, "before": before, "after": after,
        "left": {c.task: d for c, _, d in left},
    }  # fmt: skip
    return Finding("labels", where, says, numbers)
