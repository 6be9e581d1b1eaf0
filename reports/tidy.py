"""Tables as data: a line a cell, in full precision, as CSV or Parquet."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dnabench.reports.costs import costs
from dnabench.reports.evidence import Evidence
from dnabench.reports.outputs import group_scores
from dnabench.reports.stats import Summary
from dnabench.reports.table import Row, Table, suite_of

NUMBERS = ("mean", "sd", "min", "max", "ci_low", "ci_high")
COLUMNS: dict[str, type] = {
    "protocol": str, "limit": float, "task": str, "data": str, "family": str, "metric": str,
    "group": str, "model": str, "options": str, "regime": str, "recipe": str,
    "n_params": int, "n": int,
    **dict.fromkeys(NUMBERS, float),
    "failed": int, "undefined": int, "collapsed": int, "flops": int,
    "train_per_second": float, "inference_per_second": float, "peak_memory": int,
    "seconds": float, "seconds_to_best": float, "joules": float,
    "scores": str, "watermark": str,
}  # fmt: skip


def lines(evidence: Sequence[Evidence]) -> Iterator[dict[str, Any]]:
    """A dict a cell, keys as COLUMNS; None where there is no value. ci: 95 % t interval.

    Behind the cells of a row are those of its groups of outputs, `group` naming them, in every
    metric that has groups.
    """
    for e in evidence:
        for row in e.table.rows:
            yield from _cells(e.table, row, row.metric, "", [cell.summary for cell in row.cells])
            for one in group_scores(row):
                yield from _cells(e.table, row, one.metric, one.group, one.cells)


def _cells(
    table: Table, row: Row, metric: str, group: str, summaries: Sequence[Summary]
) -> Iterator[dict[str, Any]]:
    for column, cell, s in zip(table.columns, row.cells, summaries, strict=True):
        recipe = column.recipes.get(suite_of(row))
        numbers = dict(zip(NUMBERS, s[1:], strict=True))
        name = f"{metric}:{group}" if group else metric
        scores = {run.trial.seed: run.scores["test"].get(name) for run in cell.runs}
        yield {
            "protocol": table.protocol, "limit": float(table.limit), "task": row.task,
            "data": row.data, "family": row.family, "metric": metric, "group": group,
            "model": column.model, "options": _json(column.options), "regime": column.regime,
            "recipe": _json(asdict(recipe)) if recipe else "",
            "n_params": max((r.n_params for r in cell.runs), default=0) or None, "n": s.n,
            **{k: None if math.isnan(x) else x for k, x in numbers.items()},
            "failed": cell.failed, "undefined": cell.undefined + len(cell.runs) - s.n,
            "collapsed": cell.collapsed, **costs(cell.runs),
            "scores": " ".join(f"{seed}:{x!r}" for seed, x in scores.items() if x is not None),
            "watermark": table.watermark,
        }  # fmt: skip


def csv_text(evidence: Sequence[Evidence]) -> str:
    """With a header line; empty where there is no value."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _exact(v) for k, v in line.items()} for line in lines(evidence))
    return out.getvalue()


def parquet(evidence: Sequence[Evidence]) -> bytes:
    """The same, typed; null where there is no value."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(lines(evidence)), schema), out)
    return out.getvalue()


def _exact(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
