"""Scores without the test examples that have a copy in train or dev."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dnabench.reports import stats
from dnabench.reports.cells import by_unit, unit_of
from dnabench.reports.evidence import Interval
from dnabench.reports.grid import Grid, fixed, interval
from dnabench.reports.homology import on_part_of_train
from dnabench.reports.memo import Memo, stamp
from dnabench.reports.table import Row, Table
from dnabench.results.store import Store
from dnabench.tasks.audit.audit import Audit, kept, scores_without_leaks
from dnabench.types import Record


class LeakFree(NamedTuple):
    """One column on one row, with and without the copied examples; means over the same seeds."""

    row: Row
    column: int
    n: int  # seeds, or pretrainings, with stored predictions
    score: float
    without: float
    change: Interval  # without - with, paired: it is the same run; 95 % t interval over seeds
    examples: int
    leaked: int


def leak_free(table: Table, store: Store, memo: Memo) -> list[LeakFree]:
    """Score again every cell whose task has an audit of exactly the data of the runs.

    Rows without such an audit (`dnabench audit data TASK` makes one) and cells without stored
    predictions are left out.
    """
    out = []
    for row in table.rows:
        if audit := kept(row.task, row.data):
            for k, cell in enumerate(row.cells):
                scored = [(_scores(store, run, audit, row.metric, memo), run) for run in cell.runs]
                if pairs := [(s, unit_of(run)) for s, run in scored if s is not None]:
                    out.append(_summed(row, k, *zip(*pairs, strict=True)))
    return out


def _summed(
    row: Row, column: int, pairs: Sequence[Sequence[float]], units: Sequence[int | None]
) -> LeakFree:
    whole, without, change = (
        stats.summary(by_unit(x, units))
        for x in ([p[0] for p in pairs], [p[1] for p in pairs], [p[1] - p[0] for p in pairs])
    )
    examples, leaked = int(pairs[0][2]), int(pairs[0][2] - pairs[0][3])
    interval = Interval(change.mean, change.low, change.high)
    return LeakFree(row, column, change.n, whole.mean, without.mean, interval, examples, leaked)


def _scores(
    store: Store, run: Record, audit: Audit, metric: str, memo: Memo
) -> tuple[float, float, float, float] | None:
    """Score with, score without, examples, examples left; None without predictions or metric."""
    mark = stamp(store.predictions_path(run.trial.id))
    if mark is None:
        return None

    def compute() -> list[float]:
        found = store.predictions(run.trial.id)
        ids, y, logits = (found[name] for name in ("ids", "labels", "logits"))
        if "bases" in found:  # an example is a sequence, a row is a base
            ids = ids.repeat(found["bases"])
        scores = scores_without_leaks(audit, y, logits, [metric], ids)
        names = [(k, name) for name in (metric, "examples") for k in ("all", "without")]
        return [scores[k].get(name, math.nan) for k, name in names]

    key = [run.trial.id, mark, metric, audit.data, sorted(audit.leaked_ids)]
    try:
        a, b, n, left = memo.get("leak-free", key, compute)
    except (OSError, ValueError):  # the intervals of the row name the file and the reason
        return None
    return None if math.isnan(a) or math.isnan(b) else (a, b, n, left)


def leak_section(table: Table, store: Store, memo: Memo) -> Grid:
    """A line a cell that `leak_free` gives."""
    heads = ["task", "model", "n", "metric", "all", "without", "change", "95 % CI", "copied"]
    digits = table.digits
    rows = [
        [
            x.row.name, table.columns[x.column].name, str(x.n), x.row.heading,
            fixed(x.score, digits), fixed(x.without, digits), f"{x.change.value:+.{digits}f}",
            interval(x.change.low, x.change.high, digits), f"{x.leaked:,} of {x.examples:,}",
        ]
        for x in leak_free(table, store, memo)
    ]  # fmt: skip
    note = (
        "Without: the same predictions scored without the test examples that have an identical, "
        "reverse-complement or near-identical copy in train or dev, according to the audit of "
        "these data. Change: of the same runs, with a 95 % t interval over seeds; a smaller test "
        "split alone also changes a score."
    )
    part = (
        "These runs trained on a part of train, and the audit is of all of it: some of the copies "
        "that are left out were not among their training examples."
    )
    notes = [note, *[part] * any(on_part_of_train(r.trial) for r in table.records)]
    return Grid("Without the copied examples", heads, rows, notes)
