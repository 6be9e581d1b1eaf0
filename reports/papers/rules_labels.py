"""Cells of a column that follow from the runs of another row."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dnabench.reports.grouping import grouped
from dnabench.reports.papers.rules import Cell, Finding, Findings, at, by_table, listed
from dnabench.reports.papers.rules_seeds import DEFINITIONS, LARGEST, SIDES, best_definition

LEAST_GAIN = 3  # means and spreads that a relabelling must explain beyond the printed labels


def labels(cells: Sequence[Cell]) -> Findings:
    """Columns in which another order of the labels explains more means and spreads.

    Within each column and metric every assignment of labels to printed cells is scored by how
    many means and spreads follow from the runs of the label. A cycle of labels is reported when
    each of its cells gains by it and all of them together gain three or more.

    Returns:
        One finding a cycle; `numbers` has the true label by printed label, and what remains
        unexplained. Then one finding a table: its columns that match other labels and those that
        do not.
    """
    summaries = []
    for table, members in by_table(c for c in cells if c.runs).items():
        spread_is, found = best_definition(members), []
        several = (c for c in members if c.n != 1)
        for (model, _), column in grouped(several, lambda c: (c.model, c.metric)).items():
            for cycle in _cycles(column, spread_is):
                found.append((model, _finding(at(table, model), cycle, spread_is)))
        yield from (finding for _, finding in found)
        if found:
            tasks = {task for _, finding in found for task in finding.numbers["labels"]}
            summaries.append(_summary(table, members, sorted(tasks), {m for m, _ in found}))
    yield from summaries


def relabelled(cells: Sequence[Cell], findings: Sequence[Finding]) -> list[Cell]:
    """The cells that no finding of `labels` names."""
    moved = {(f.where, task) for f in findings for task in f.numbers["labels"]}
    return [c for c in cells if (at(c.table, c.model), c.task) not in moved]


def _summary(table: str, cells: Sequence[Cell], tasks: Sequence[str], moved: set[str]) -> Finding:
    stay = list(dict.fromkeys(c.model for c in cells if c.task in tasks and c.model not in moved))
    says = f"on {listed(tasks)}, {', '.join(sorted(moved))} match another label"
    if stay:
        says += f" and {', '.join(stay)} the printed one, so that a row compares different tasks"
    return Finding("labels", table, says, {"labels": {}, "moved": sorted(moved), "stay": stay})


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
    names = (LARGEST, *SIDES) if spread_is == LARGEST else (spread_is,)
    return max(
        cell.near(cell.mean, float(np.mean(x)))
        + any(cell.near(cell.spread, DEFINITIONS[name](x)) for name in names)
        for x in runs.values()
    )


def _finding(where: str, cycle: Sequence[tuple[Cell, Cell]], spread_is: str) -> Finding:
    left, moves, before, after = {}, [], 0, 0
    for printed, true in cycle:
        moved = replace(printed, runs=true.runs)
        ours, spread = moved.computed, DEFINITIONS[spread_is](moved.scores)
        before += _fit(printed, printed.runs, spread_is)
        after += _fit(printed, true.runs, spread_is)
        here, there = listed([printed.task, true.task]).split(", ")
        moves.append(
            f"{here} ({printed.shown}) matches the runs of {there} "
            f"({printed.show(ours)} ± {printed.show(spread)})"
        )
        if not moved.follows:
            left[printed.task] = round(printed.mean - ours, printed.decimals)
    says = f"{'; '.join(moves)}. {after} of {2 * len(cycle)} means and spreads match this way, "
    says += f"{before} as labelled"
    if left:
        parts = (f"{task.rpartition('/')[2]} {d:+.{printed.decimals}f}" for task, d in left.items())
        says += f". Unexplained, printed minus recomputed: {', '.join(parts)}"
        times = Counter(left.values()).most_common(1)[0][1]
        says += f" (the same difference {times} times)" if times > 1 else ""
    numbers = {"before": before, "after": after, "left": left}
    true_of = {a.task: b.task for a, b in cycle}
    return Finding("labels", where, says, {"labels": true_of, **numbers})
