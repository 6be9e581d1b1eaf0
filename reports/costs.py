"""What the runs of a cell cost: arithmetic, time, speed, memory, energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from dnabench.reports.evidence import Section
from dnabench.reports.table import Table
from dnabench.types import Record

TITLE = "Efficiency"


def costs(runs: Sequence[Record]) -> dict[str, Any]:
    """Means over the runs that say it; None where no run does.

    Args:
        runs: of one cell.

    Returns:
        flops: of a forward pass of one sequence of the task's length. train_per_second,
        inference_per_second: sequences. peak_memory: bytes, the largest of the runs.
        seconds: wall time of a trial, data and test included; of those that read a probe's features
        from disk, where other trials had left them, none. seconds_to_best: of training until
        the chosen epoch was over; of records that did not measure it the share of all seconds,
        taking epochs as equally long. joules: of the device in training.
    """
    return {
        "flops": max((r.flops for r in runs), default=0) or None,
        "train_per_second": _mean([r.examples_per_second for r in runs]),
        "inference_per_second": _mean([r.inference_per_second for r in runs]),
        "peak_memory": max((r.peak_memory for r in runs), default=0) or None,
        "seconds": _mean([0.0 if r.where.get("features") else r.seconds for r in runs]),
        "seconds_to_best": _mean([_to_best(r) for r in runs]),
        "joules": _mean([r.joules for r in runs]),
    }


def cost_section(table: Table) -> Section:
    """What a run of each column cost, mean over the tasks that it ran.

    Of energy there is a column only where a record has it.
    """
    rows, known = [], list[dict[str, Any]]()
    for k, column in enumerate(table.columns):
        each = [costs(row.cells[k].runs) for row in table.rows if row.cells[k].runs]
        each = [c for c in each if any(c.values())]
        if not each:
            continue
        mean: dict[str, Any] = {name: _mean([c[name] for c in each]) for name in each[0]}
        mean["peak_memory"] = max(c["peak_memory"] or 0 for c in each) or None
        known.append(mean)
        rows.append([column.name, _span(column.n_params), str(len(each))])
    shown = [s for s in SHOWN if s[1] != "joules" or any(mean["joules"] for mean in known)]
    for row, mean in zip(rows, known, strict=True):
        row += ["–" if mean[name] is None else text(mean[name]) for _, name, text in shown]
    heads = ["model", "parameters", "tasks", *(head for head, _, _ in shown)]
    says = WORDS + (JOULES if len(shown) == len(SHOWN) else "")
    return Section(TITLE, heads, rows, says)


WORDS = (
    "Means over tasks and seeds. FLOP: of a forward pass of one sequence as long as the task's "
    "longest, a multiplication and an addition are two; a training step takes about three times "
    "as many. Inference: predicting the test split; of a probe there is none, and its training is "
    "that of the head, on features made before; where they were read from disk its seconds do not "
    "count. Peak memory: the largest of a run. Wall time: "
    "until the chosen epoch was over, from the start of training with the validation between "
    "epochs; of a trial with its data and its test. Only models that ran the same tasks compare, "
    "and times only where the runs had the same machine to themselves: `where` in the records."
)
JOULES = " Energy is that of the whole device in training, other programs on it included."


def _mean(values: Sequence[float | None]) -> float | None:
    """Of those that are neither None nor 0, both of which stand for unknown."""
    said = [value for value in values if value]
    return fmean(said) if said else None


def _to_best(run: Record) -> float:
    return run.seconds_to_best or run.seconds * run.best_epoch / max(len(run.curve), 1)


def _span(n_params: tuple[int, int]) -> str:
    return "–".join(f"{n:,}" for n in dict.fromkeys(n_params) if n) or "–"


def _short(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 123, 1,234."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}".removesuffix(".")


SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("GFLOP per sequence", "flops", lambda x: _short(x / 1e9)),
    ("training (sequences/s)", "train_per_second", _short),
    ("inference (sequences/s)", "inference_per_second", _short),
    ("peak memory (GiB)", "peak_memory", lambda x: f"{x / 2**30:.2f}"),
    ("to the chosen epoch (s)", "seconds_to_best", lambda x: f"{x:,.1f}"),
    ("a trial (s)", "seconds", lambda x: f"{x:,.1f}"),
    ("energy (J)", "joules", _short),
)
