"""Is A better than B, by anybody's table of runs: the same tests as for our own records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dnabench.reports.analysis import analyze
from dnabench.reports.table import Table, tables
from dnabench.reports.text.summary import summary_sentences
from dnabench.types import Recipe, Record, Trial

SUITE, METRIC = "table", "mcc"  # the metric lends its smallest relevant difference, 0.01
PERCENT = 1.5  # a larger value means that all are per cent


def sentences(scores: Mapping[tuple[str, str], Sequence[float]]) -> list[str]:
    """What a report would say of the runs; higher is better, all scores on one scale.

    Args:
        scores: (model, task) -> a value a seed, as fractions or per cent.
    """
    unit = 100.0 if any(abs(x) > PERCENT for row in scores.values() for x in row) else 1.0
    records = [
        _record(model, task, seed, x / unit)
        for (model, task), values in scores.items()
        for seed, x in enumerate(values)
    ]
    found = tables(records)
    return summary_sentences(analyze(_plain(found[0]))) if found else []


def _record(model: str, task: str, seed: int, score: float) -> Record:
    trial = Trial(
        model=model, options={}, regime="scratch", task=f"{SUITE}/{task}", data="", protocol="",
        recipe=Recipe(), seed=seed,
    )  # fmt: skip
    return Record(trial=trial, scores={"test": {METRIC: score}}, task={"metric": METRIC})


def _plain(table: Table) -> Table:
    """Tasks by their own names; the metric is not known."""
    rows = [
        replace(row, name=row.task.removeprefix(f"{SUITE}/"), label="(fraction)")
        for row in table.rows
    ]
    return replace(table, rows=tuple(rows))
