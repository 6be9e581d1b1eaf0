"""What choosing the epoch on the test split added to a score, task by task and model by model.

Scores are fractions. Runs are compared within one state of the data, one limit, one configuration
of a model and one recipe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dnabench.protocols import PROTOCOLS
from dnabench.reports import stats
from dnabench.reports.evidence import Section
from dnabench.reports.table import Cell, Column, Row, Table, fixed, tables
from dnabench.types import Record

HONEST = "honest/1"
LAST = "last-epoch/1"


@dataclass(frozen=True, kw_only=True)
class Inflation:
    """Score with the epoch chosen on test, minus the score without."""

    task: str  # the row's name
    data: str
    model: str  # the column's name
    metric: str
    limit: float
    n: tuple[int, int]  # runs with and without; the same runs where they are paired
    value: float
    low: float  # 95 %; NaN where undefined
    high: float
    against: str  # the protocol without
    paired: bool
    how: str


def inflation(records: Iterable[Record]) -> list[Inflation]:
    """Compare runs that chose on test with what the same configuration scores otherwise.

    Args:
        records: of any protocols; nothing comes of a configuration without one that chose on test.

    Returns:
        For each task and configuration, in the order of the tables: against honest/1, and against
        the last epoch. Where the run itself says what the other choice would have scored, the
        interval is a paired t over seeds: it is the same training. Otherwise it is Welch's, of two
        sets of runs; where one of them trained on fewer examples, `how` says so, for then the
        difference is not that of choosing alone. One run, or two sets of which one has one run,
        give a value without an interval.

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
                    one = _within(cell.runs, row.metric, against) or _between(
                        cell, _match(other, row, column) if other else None, against
                    )
                    if one is not None:
                        one = replace(one, task=row.name, data=row.data, model=column.name)
                        out.append(replace(one, metric=row.metric, limit=table.limit))
    return out


def inflation_section(found: Sequence[Inflation], digits: int) -> Section:
    """The same as a table in words."""
    limits = any(one.limit for one in found)
    heads = ["task", "model", "against", "n", "added", "95 % CI", "how"]
    rows = []
    for one in found:
        n = str(one.n[0]) if one.paired or one.n[0] == one.n[1] else f"{one.n[0]}, {one.n[1]}"
        ends = "–" if math.isnan(one.low) else f"[{', '.join(_both(one, digits))}]"
        limit = f" (limit {one.limit:g})" if limits and one.limit else ""
        line = [one.task + limit, one.model, one.against, n, _signed(one.value, digits), ends]
        rows.append([*line, one.how])
    return Section("What choosing on the test split added", heads, rows, WORDS)


WORDS = (
    "Score with the epoch chosen on test, minus the score with it chosen on validation (honest/1) "
    "or with the last epoch. Same runs: what the very same training would have scored, paired t "
    "over seeds. Other runs: Welch's t."
)


def _within(runs: Sequence[Record], metric: str, against: str) -> Inflation | None:
    """From what the runs themselves say of the other choice."""
    gains = []
    for run in runs:
        other = _other_score(run, metric, against)
        if other is not None and math.isfinite(other):
            gains.append(run.scores["test"][metric] - other)
    if not gains:
        return None
    s = stats.summary(gains)
    missing = f", {len(runs) - s.n} others do not say it" if s.n < len(runs) else ""
    return _one(
        n=(s.n, s.n), ends=(s.mean, s.low, s.high), against=against, paired=True,
        how=f"same runs{missing}",
    )  # fmt: skip


def _other_score(run: Record, metric: str, against: str) -> float | None:
    said = run.alternatives.get(against)
    if said:
        return said["test"].get(metric)  # type: ignore[no-any-return]
    if against == LAST and run.curve and not run.trial.recipe.patience:
        return run.curve[-1].get("test", {}).get(metric)  # type: ignore[no-any-return]
    return None


def _between(cell: Cell, other: Cell | None, against: str) -> Inflation | None:
    """From runs of the other protocol."""
    if other is None or not cell.scores or not other.scores:
        return None
    test = stats.welch(cell.values, other.values)
    sizes = [{r.n_examples.get("train", 0) for r in c.runs} for c in (cell, other)]
    fewer = ""
    if sizes[0] != sizes[1]:
        a, b = (" or ".join(f"{n:,}" for n in sorted(s)) for s in sizes)
        fewer = f"; trained on {a} examples against {b}, which is in the difference"
    still = "; no spread over seeds" if test.degenerate else ""
    return _one(
        n=(len(cell.scores), len(other.scores)), ends=(test.difference, test.low, test.high),
        against=against, paired=False, how=f"other runs{fewer}{still}",
    )  # fmt: skip


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


def _one(
    *, n: tuple[int, int], ends: tuple[float, float, float], against: str, paired: bool, how: str
) -> Inflation:
    """Without its place, which the caller knows."""
    value, low, high = ends
    return Inflation(
        task="", data="", model="", metric="", limit=0.0, n=n, value=value, low=low, high=high,
        against=against, paired=paired, how=how,
    )  # fmt: skip


def _both(one: Inflation, digits: int) -> tuple[str, str]:
    return _signed(one.low, digits), _signed(one.high, digits)


def _signed(x: float, digits: int) -> str:
    text = fixed(x, digits)
    return f"+{text}" if float(text) > 0 else text
