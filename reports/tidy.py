"""Tables as data in full precision: a line a cell as CSV or Parquet; with the tests as JSON."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dnabench.metrics import METRICS
from dnabench.reports.across import difference, on_one_scale
from dnabench.reports.calibration import ECE, FLIPS
from dnabench.reports.costs import costs
from dnabench.reports.evidence import Comparison, Evidence, OverTasks, SuiteEvidence
from dnabench.reports.grouping import suite_of
from dnabench.reports.outputs import group_scores, other_scores
from dnabench.reports.stats import Summary
from dnabench.reports.table import Row, Table
from dnabench.reports.text.leads import leader
from dnabench.reports.variants import validation
from dnabench.spreadsheets import as_text

# of the suite's best model over that of the line; 95 % CI of these tasks, and of tasks like these
LEADS = ("lead_of_best", "lead_low", "lead_high", "lead_p_holm", "like_low", "like_high")
NUMBERS = ("mean", "sd", "min", "max", "ci_low", "ci_high")
COLUMNS: dict[str, type] = {
    "protocol": str, "limit": float, "train_share": float, "task": str, "data": str,
    "family": str, "metric": str, "better": str, "group": str, "model": str, "options": str,
    "regime": str, "recipe": str,
    "n_params": int, "n": int,
    **dict.fromkeys(NUMBERS, float),
    "failed": int, "undefined": int, "collapsed": int, "flops": int,
    "train_per_second": float, "inference_per_second": float, "peak_memory": int,
    "seconds": float, "seconds_to_best": float, "joules": float,
    "scores": str, "validation": float, "configurations": int, "watermark": str,
    "best_over_tasks": str, **dict.fromkeys(LEADS, float),
}  # fmt: skip


def lines(evidence: Sequence[Evidence], every: bool = False) -> Iterator[dict[str, Any]]:
    """A dict a cell, keys as COLUMNS; None where there is no value. ci: 95 % t interval.

    Behind the cells of a row are those of its other metrics with `every`, and those of its groups
    of outputs, `group` naming them, in every metric that has groups.
    """
    for e in evidence:
        leads = _bests(e)
        for row in e.table.rows:
            over = [leads.get((suite_of(row), k), NO_LEAD) for k in range(len(e.table.columns))]
            own = [cell.summary for cell in row.cells]
            groups = [(one.metric, one.group, one.cells) for one in group_scores(row)]
            for shown in [(row.metric, "", own), *(other_scores(row) if every else ()), *groups]:
                said = over if shown[0] == row.metric else [NO_LEAD] * len(over)
                found = _cells(e.table, row, *shown)
                yield from (line | lead for line, lead in zip(found, said, strict=True))


def _cells(
    table: Table, row: Row, metric: str, group: str, summaries: Sequence[Summary]
) -> Iterator[dict[str, Any]]:
    for column, cell, s in zip(table.columns, row.cells, summaries, strict=True):
        recipe = column.recipes.get(suite_of(row))
        numbers = dict(zip(NUMBERS, s[1:], strict=True))
        name = f"{metric}:{group}" if group else metric
        scores = [(run.trial.seed, run.scores["test"].get(name)) for run in cell.runs]
        yield {
            "protocol": table.protocol, "limit": float(table.limit),
            "train_share": table.train_share, "task": row.task, "data": row.data,
            "family": row.family, "metric": metric, "better": _better(metric), "group": group,
            "model": column.label if column.named else column.model,
            "options": _json(column.options), "regime": column.regime,
            "recipe": _json(asdict(recipe)) if recipe else "",
            "n_params": max((r.n_params for r in cell.runs), default=0) or None, "n": s.n,
            **{k: None if math.isnan(x) else x for k, x in numbers.items()},
            "failed": cell.failed,
            "undefined": cell.undefined + sum(_missing(x) for _, x in scores),
            "collapsed": cell.collapsed, **costs(cell.runs),
            "scores": " ".join(f"{seed}:{x!r}" for seed, x in scores if x is not None),
            "validation": _known(validation(cell, name).mean) if name == row.metric else None,
            "configurations": column.variants, "watermark": table.watermark,
        }  # fmt: skip


def _better(metric: str) -> str:
    """Higher or lower; "" where the metric is not known."""
    known = METRICS.get(metric)
    if known is None:
        return "lower" if metric in (ECE, FLIPS) else ""
    return "higher" if known.sign > 0 else "lower"


NO_LEAD = {"best_over_tasks": "", **dict.fromkeys(LEADS)}


def _bests(e: Evidence) -> dict[tuple[str, int], dict[str, Any]]:
    """The best model of each suite and its lead over each column, by suite and column."""
    out = {}
    for suite in e.suites:
        if (best := leader(suite)) is not None:
            name = {"best_over_tasks": e.table.columns[best].name}
            for k in suite.columns:
                pair = suite.between(best, k)
                out[suite.suite, k] = NO_LEAD | name | (_lead(pair) if pair else {})
    return out


def _lead(pair: OverTasks) -> dict[str, float | None]:
    lead, like = pair.lead, pair.like_these
    numbers = lead.value, lead.low, lead.high, pair.p_claim, like.low, like.high
    return {k: _known(x) for k, x in zip(LEADS, numbers, strict=True)}


def _missing(x: float | None) -> bool:
    return x is None or not math.isfinite(x)


def _known(x: float) -> float | None:
    return x if math.isfinite(x) else None


def csv_text(evidence: Sequence[Evidence], every: bool = False) -> str:
    """With a header line; empty where there is no value."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _exact(v) for k, v in line.items()} for line in lines(evidence, every))
    return out.getvalue()


def parquet(evidence: Sequence[Evidence], every: bool = False) -> bytes:
    """The same, typed; null where there is no value."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(lines(evidence, every)), schema), out)
    return out.getvalue()


def json_text(evidence: Sequence[Evidence], every: bool = False) -> str:
    """Every cell, every pair on every task, every pair over the tasks of a suite.

    null where there is no value; p_holm is adjusted for `tests` tests.
    """
    out = {
        "cells": list(lines(evidence, every)),
        "comparisons": [_comparison(e, d) for e in evidence for d in e.comparisons],
        "over_tasks": [
            _over_tasks(e, suite, pair) for e in evidence for suite in e.suites
            for pair in suite.pairs
        ],
    }  # fmt: skip
    return json.dumps(out, indent=1) + "\n"


def _comparison(e: Evidence, d: Comparison) -> dict[str, Any]:
    low, high = d.nested[1:] if d.nested else (d.welch.low, d.welch.high)
    numbers = {"difference": d.welch.difference, "low": low, "high": high, "p": d.p,
               "p_holm": d.p_holm}  # fmt: skip
    return {
        **_place(e, d.i, d.j), "task": d.row.task, "data": d.row.data, "metric": d.row.metric,
        "seeds": list(d.n), "counts_test_examples": d.nested is not None,
        "drawn": d.drawn._asdict() if d.drawn else None,
        **{k: _known(x) for k, x in numbers.items()}, "tests": d.tests, "verdict": d.verdict,
        "reason": d.reason,
    }  # fmt: skip


def _over_tasks(e: Evidence, suite: SuiteEvidence, pair: OverTasks) -> dict[str, Any]:
    rows = on_one_scale(suite.rows)
    lead, families = (difference(x, suite.rows) for x in (pair.lead, pair.lead_of_families))
    like = difference(pair.like_these, suite.rows)
    numbers = {
        "difference": lead.value, "low": lead.low, "high": lead.high,
        "p": lead.p, "p_holm": pair.p_claim, "of_families": families.value,
        "of_families_low": families.low, "of_families_high": families.high,
        "like_these_low": like.low, "like_these_high": like.high,
        "p_wilcoxon_holm": pair.p_holm,
    }  # fmt: skip
    return {
        **_place(e, pair.i, pair.j), "suite": suite.suite,
        "metric": rows[0].metric if rows else None, "tasks": len(rows), "seeds": pair.n,
        "families": pair.like_these.families, **{k: _known(x) for k, x in numbers.items()},
        "wins": pair.wins, "losses": pair.losses, "undecided": pair.undecided,
    }  # fmt: skip


def _place(e: Evidence, i: int, j: int) -> dict[str, Any]:
    a, b = (e.table.columns[k].name for k in (i, j))
    at = {"limit": float(e.table.limit), "train_share": e.table.train_share}
    return {"protocol": e.table.protocol, **at, "a": a, "b": b}


def _exact(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else as_text(value)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
