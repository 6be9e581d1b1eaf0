"""How much choosing the epoch on the test split raises a score, by task and model.

Scores are fractions. Runs are compared within one state of the data, one limit, one configuration
of a model and one recipe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from dnabench.protocols import PROTOCOLS
from dnabench.reports import stats
from dnabench.reports.grid import Grid, interval, signed
from dnabench.reports.table import Cell, Column, Row, Table, tables
from dnabench.types import Record

HONEST = "honest/1"
LAST = "last-epoch/1"


class Gain(NamedTuple):
    """Score with the epoch chosen on test minus the score of the other choice."""

    n: tuple[int, int]  # runs of both choices; the same runs where they are paired
    value: float
    low: float  # 95 %; NaN where undefined
    high: float
    paired: bool
    how: str


@dataclass(frozen=True, kw_only=True)
class Inflation:
    """The gain of one model on one task."""

    row: Row
    column: Column
    limit: float
    against: str  # protocol of the other choice
    gain: Gain


def inflation(records: Iterable[Record]) -> list[Inflation]:
    """Compare runs that chose the epoch on test with other choices of the same configuration.

    Args:
        records: of any protocols; configurations without runs that chose on test are skipped.

    Returns:
        For each task and configuration, in the order of the tables: against honest/1, and against
        the last epoch. Where the run itself recorded the score of the other choice, the interval is
        a paired t over seeds: it is the same training. Otherwise it is Welch's, of two sets of
        runs; where one of them trained on fewer examples, `how` names both sizes, since the
        difference then has two causes. One run, or two sets of which one has one run, give a value
        without an interval.

    Source:
        Student 1908, Biometrika 6:1; Welch 1947, Biometrika 34:28. Ours: which of the two.
    """
    found = tables(records)
    out = []
    for table in found:
        if table.protocol not in PROTOCOLS or not PROTOCOLS[table.protocol].looks_at_test:
            continue
        others = {t.protocol: t for t in found if t.limit == table.limit}
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                for against in (HONEST, LAST):
                    other = others.get(against)
                    gain = _within(cell.runs, row.metric, against) or _between(
                        cell, _match(other, row, column) if other else None
                    )
                    if gain is not None:
                        limit = table.limit
                        out.append(
                            Inflation(
                                row=row, column=column, limit=limit, against=against, gain=gain
                            )
                        )
    return out


def inflation_section(found: Sequence[Inflation], digits: int) -> Grid:
    """The same as a table of text."""
    heads = ["task", "model", "against", "n", "gain", "95 % CI", "how"]
    rows = [
        [
            one.row.name + (f" (limit {one.limit:g})" if one.limit else ""), one.column.name,
            one.against, ", ".join(map(str, dict.fromkeys(one.gain.n))),
            signed(one.gain.value, digits), interval(*one.gain[2:4], digits), one.gain.how,
        ]
        for one in found
    ]  # fmt: skip
    note = (
        "Score with the epoch chosen on test minus the score with it chosen on validation "
        "(honest/1) or with the last epoch. Same runs: both choices from the same training, paired "
        "t over seeds. Other runs: Welch's t."
    )
    return Grid("Gain from choosing the epoch on the test split", heads, rows, [note])


def _within(runs: Sequence[Record], metric: str, against: str) -> Gain | None:
    """From the other choice as the runs themselves recorded it."""
    gains = []
    for run in runs:
        other = _other_score(run, metric, against)
        if other is not None and math.isfinite(other):
            gains.append(run.scores["test"][metric] - other)
    if not gains:
        return None
    s = stats.summary(gains)
    missing = f", not recorded in {len(runs) - s.n} others" if s.n < len(runs) else ""
    return Gain((s.n, s.n), s.mean, s.low, s.high, True, f"same runs{missing}")


def _other_score(run: Record, metric: str, against: str) -> float | None:
    if other := run.alternatives.get(against):
        return other["test"].get(metric)  # type: ignore[no-any-return]
    if against == LAST and run.curve and not run.trial.recipe.patience:
        return run.curve[-1].get("test", {}).get(metric)  # type: ignore[no-any-return]
    return None


def _between(cell: Cell, other: Cell | None) -> Gain | None:
    """From runs of the other protocol."""
    if other is None or not cell.scores or not other.scores:
        return None
    test = stats.welch(cell.values, other.values)
    sizes = [{r.n_examples.get("train", 0) for r in c.runs} for c in (cell, other)]
    fewer = ""
    if sizes[0] != sizes[1]:
        a, b = (" or ".join(f"{n:,}" for n in sorted(s)) for s in sizes)
        fewer = f"; trained on {a} vs {b} examples, which adds to the difference"
    constant = "; no variation between seeds" if test.degenerate else ""
    n = len(cell.scores), len(other.scores)
    how = f"other runs{fewer}{constant}"
    return Gain(n, test.difference, test.low, test.high, False, how)


def _match(table: Table, row: Row, column: Column) -> Cell | None:
    """The cell of the same task, data, metric, configuration and recipe."""
    suite = row.task.partition("/")[0]
    for other in table.rows:
        if (other.task, other.data, other.metric) != (row.task, row.data, row.metric):
            continue
        for candidate, cell in zip(table.columns, other.cells, strict=True):
            if _same(candidate, column, suite):
                return cell
    return None


def _same(a: Column, b: Column, suite: str) -> bool:
    if (a.model, a.regime, a.options) != (b.model, b.regime, b.options):
        return False
    mine, theirs = a.recipes.get(suite), b.recipes.get(suite)
    return (
        mine is not None
        and theirs is not None
        and replace(mine, source="") == replace(theirs, source="")
    )
