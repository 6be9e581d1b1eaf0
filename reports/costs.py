"""What the runs of a cell cost: time, speed, memory."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from dnabench.reports.evidence import Section
from dnabench.reports.table import Table
from dnabench.types import Record


def costs(runs: Sequence[Record]) -> dict[str, Any]:
    """Means over the runs; None where no run says it.

    Args:
        runs: of one cell.

    Returns:
        seconds: wall time of a trial, data and test included. train_per_second: examples a second
        in training. peak_memory: bytes, the largest of the runs. seconds_to_best: the share of
        the wall time until the chosen epoch, taking epochs as equally long.
    """
    known = [r for r in runs if r.seconds]
    return {
        "seconds": fmean(r.seconds for r in known) if known else None,
        "train_per_second": fmean(r.examples_per_second for r in known) if known else None,
        "peak_memory": max((r.peak_memory for r in known), default=0) or None,
        "seconds_to_best": fmean(r.seconds * r.best_epoch / max(len(r.curve), 1) for r in known)
        if known
        else None,
    }


def cost_section(table: Table) -> Section:
    """What a run of each column cost, mean over the tasks that it ran."""
    rows = []
    for k, column in enumerate(table.columns):
        each = [costs(row.cells[k].runs) for row in table.rows if row.cells[k].runs]
        each = [c for c in each if c["seconds"]]
        if not each:
            continue
        mean = {name: fmean(c[name] for c in each) for name in each[0] if name != "peak_memory"}
        peak = max(c["peak_memory"] or 0 for c in each)
        rows.append(
            [
                column.name, _span(column.n_params), str(len(each)), _duration(mean["seconds"]),
                _duration(mean["seconds_to_best"]), f"{mean['train_per_second']:,.0f}",
                f"{peak / 2**30:.2f} GiB" if peak else "–",
            ]
        )  # fmt: skip
    heads = [
        "model",
        "parameters",
        "tasks",
        "a trial",
        "to the chosen epoch",
        "examples/s",
        "peak memory",
    ]
    return Section("What a run cost", heads, rows, WORDS)


WORDS = (
    "Wall time of a trial with its data and its test, mean over tasks and seeds; examples a second "
    "in training; the largest memory of a process. Only models that ran the same tasks compare, "
    "and times only where the runs had the same machine to themselves: see the provenance."
)


def _span(n_params: tuple[int, int]) -> str:
    return "–".join(f"{n:,}" for n in dict.fromkeys(n_params) if n) or "–"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
