"""How much choosing the epoch on the test split raises a score, by task and model.

Scores are fractions. Runs are compared within one state of the data, one limit and share of train,
one configuration of a model and one recipe.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from dnabench.protocols import PROTOCOLS
from dnabench.reports import stats
from dnabench.reports.cells import Cell, by_unit, unit_of
from dnabench.reports.columns import Column
from dnabench.reports.grid import NONE, Grid, interval, signed
from dnabench.reports.grouping import suite_of
from dnabench.reports.table import Row, Table, tables
from dnabench.types import Record

HONEST = "honest/1"
LAST = "last-epoch/1"
OTHERS = (HONEST, "honest/2"), (LAST, "last-epoch/2")  # of own data the second of each


class Gain(NamedTuple):
    """By how much the score is better with the epoch chosen on test than by the other choice."""

    n: tuple[int, int]  # runs of both choices; where paired the same ones, as `cells.by_unit`
    value: float  # NaN of no runs
    low: float  # 95 %; NaN where undefined
    high: float
    paired: bool
    how: str


class Inflation(NamedTuple):
    """The gain of one model on one task."""

    row: Row
    column: Column
    table: tuple[float, float]  # limit and share of train
    against: str  # protocol of the other choice
    gain: Gain


def inflation(records: Iterable[Record], metric: str = "") -> list[Inflation]:
    """Compare runs that chose the epoch on test with other choices of the same configuration.

    Where the run itself recorded the score of the other choice, the interval is a paired t over
    seeds: it is the same training. Otherwise it is Welch's, of two sets of runs; where one of them
    trained on fewer examples, `how` names both sizes, since the difference then has two causes. One
    run, or two sets of which one has one run, give a value without an interval.

    Returns:
        For each task and configuration with runs that chose on test, in the order of the tables:
        against the epoch chosen on validation, and against the last; by each version of these
        protocols that was run, where the runs did not record it. Of 0 runs, with NaN, where no
        epoch can be chosen on validation and none was otherwise.

    Source: Student 1908, Biometrika 6:1; Welch 1947, Biometrika 34:28. Ours: which of the two.
    """
    found = tables(records, metric=metric)
    out = []
    for table in found:
        if table.protocol not in PROTOCOLS or not PROTOCOLS[table.protocol].looks_at_test:
            continue
        at = table.limit, table.train_share
        others = {t.protocol: t for t in found if (t.limit, t.train_share) == at}
        cells = product(table.rows, enumerate(table.columns), OTHERS)
        for row, (k, column), versions in cells:
            for against, gain in _gains(row, k, column, versions, others):
                if row.sign < 0:
                    gain = gain._replace(value=-gain.value, low=-gain.high, high=-gain.low)
                out.append(Inflation(row, column, at, against, gain))
    return out


def _gains(
    row: Row, k: int, column: Column, versions: Sequence[str], others: Mapping[str, Table]
) -> list[tuple[str, Gain]]:
    """Against the versions of one protocol: of the same runs, else of each that has other runs."""
    cell = row.cells[k]
    for against in versions:
        if gain := _within(cell.runs, row.metric, against):
            return [(against, gain)]
    found = [
        (against, _between(cell, _match(others[against], row, column)))
        for against in versions if against in others
    ]  # fmt: skip
    known = [(against, gain) for against, gain in found if gain]
    if not known and HONEST in versions and _undefined(cell.runs, row.chosen_by or row.metric):
        why = f"{row.chosen_by or row.metric} is undefined on validation"
        known = [(HONEST, Gain((0, 0), math.nan, math.nan, math.nan, True, why))]
    return known


def _undefined(runs: Sequence[Record], metric: str) -> bool:
    """Whether validation was looked at in all runs, and had the metric in none."""
    epochs = [epoch for run in runs for epoch in run.curve]
    return bool(epochs) and not any(metric in epoch.get("val", {metric: 0}) for epoch in epochs)


def inflation_section(found: Sequence[Inflation], digits: int) -> Grid:
    """The same as a table of text."""
    heads = ["task", "model", "against", "n", "gain", "95 % CI", "how"]
    rows = [
        [
            one.row.name + _part(*one.table), one.column.name,
            one.against, ", ".join(map(str, dict.fromkeys(one.gain.n))),
            NONE if math.isnan(one.gain.value) else signed(one.gain.value, digits),
            interval(*one.gain[2:4], digits), one.gain.how,
        ]
        for one in found
    ]  # fmt: skip
    note = (
        "Score with the epoch chosen on test minus the score with it chosen on validation "
        "(honest) or with the last epoch, turned where lower is better. Same runs: both choices "
        "from the same training, paired t over seeds. Other runs: Welch's t."
    )
    return Grid("Gain from choosing the epoch on the test split", heads, rows, [note])


def _part(limit: float, share: float) -> str:
    said = [f"limit {limit:g}"] if limit else []
    said += [f"{100 * share:g} % of train"] if share < 1 else []
    return f" ({', '.join(said)})" if said else ""


def _within(runs: Sequence[Record], metric: str, against: str) -> Gain | None:
    """From the other choice as the runs themselves recorded it."""
    others = [(run, _other_score(run, metric, against)) for run in runs]
    known = [(run, x) for run, x in others if x is not None and math.isfinite(x)]
    gains = [run.scores["test"][metric] - x for run, x in known]
    if not gains:
        return None
    s = stats.summary(by_unit(gains, [unit_of(run) for run, _ in known]))
    missing = f", not recorded in {len(runs) - len(known)} others" * (len(known) < len(runs))
    return Gain((s.n, s.n), s.mean, s.low, s.high, True, f"same runs{missing}")


def _other_score(run: Record, metric: str, against: str) -> float | None:
    other = run.alternatives.get(against)
    if not other and against == LAST and run.curve and not run.trial.recipe.patience:
        other = run.curve[-1]
    return (other or {}).get("test", {}).get(metric)  # type: ignore[no-any-return]


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
    n = len(cell.values), len(other.values)
    how = f"other runs{fewer}{constant}"
    return Gain(n, test.difference, test.low, test.high, False, how)


def _match(table: Table, row: Row, column: Column) -> Cell | None:
    """The cell of the same task, data, metric, metric that chose, configuration and recipe."""

    def place(row: Row) -> tuple[str, ...]:
        return row.task, row.data, row.metric, row.chosen_by or row.metric

    suite = suite_of(row)
    for other in table.rows:
        if place(other) == place(row):
            for candidate, cell in zip(table.columns, other.cells, strict=True):
                if suite in column.recipes and _key(candidate, suite) == _key(column, suite):
                    return cell
    return None


def _key(column: Column, suite: str) -> tuple[Any, ...]:
    recipe = column.recipes.get(suite)
    options = column.model, column.regime, column.options
    return *options, recipe and recipe.numbers
