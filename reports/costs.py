"""What the runs of a cell cost: arithmetic, time, speed, memory, energy."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from dnabench.reports.grid import NONE, Grid, short
from dnabench.reports.table import Table
from dnabench.types import Record

TITLE = "Efficiency"


def costs(runs: Sequence[Record]) -> dict[str, Any]:
    """Means over the runs of a cell that recorded each; None where none did.

    Returns:
        flops: of a forward pass of one sequence of the task's length. train_per_second,
        inference_per_second: sequences. peak_memory: bytes, the largest of the runs.
        seconds: wall time of a trial, data and test included; trials that read a probe's features
        from disk are left out. seconds_to_best: training until the end of the chosen epoch; where
        it was not measured, its share of all seconds, with epochs of equal length. joules: of the
        device in training.
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


def cost_section(table: Table) -> Grid:
    """What a run of each column cost, mean over its tasks; energy only where a record has it."""
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
        row += [NONE if mean[name] is None else text(mean[name]) for _, name, text in shown]
    heads = ["model", "parameters", "tasks", *(head for head, _, _ in shown)]
    return Grid(TITLE, heads, rows, [CAPTION + (JOULES if len(shown) == len(SHOWN) else "")])


CAPTION = (
    "Means over tasks and seeds. FLOP: forward pass of one sequence of the task's maximum length, "
    "a multiply-add counted as two; a training step takes about three times as many. Inference: "
    "prediction of the test split. A probe trains only its head on precomputed features, has no "
    "inference speed, and its seconds are left out where the features were read from disk. Peak "
    "memory: largest of all runs. Wall time: to the end of the chosen epoch, including the "
    "validation between epochs; of a trial, including data loading and test. Compare only models "
    "that ran the same tasks, and times only where runs had the same machine to themselves (see "
    "`where` in the records)."
)
JOULES = " Energy: the device in training, with other programs on it; none where trials shared one."


def _mean(values: Sequence[float | None]) -> float | None:
    """Of the known ones; None and 0 stand for unknown."""
    known = [value for value in values if value]
    return fmean(known) if known else None


def _to_best(run: Record) -> float:
    return run.seconds_to_best or run.seconds * run.best_epoch / max(len(run.curve), 1)


def _span(n_params: tuple[int, int]) -> str:
    return "–".join(f"{n:,}" for n in dict.fromkeys(n_params) if n) or NONE


SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("GFLOP per sequence", "flops", lambda x: short(x / 1e9)),
    ("training (sequences/s)", "train_per_second", short),
    ("inference (sequences/s)", "inference_per_second", short),
    ("peak memory (GiB)", "peak_memory", lambda x: f"{x / 2**30:.2f}"),
    ("to the chosen epoch (s)", "seconds_to_best", lambda x: f"{x:,.1f}"),
    ("a trial (s)", "seconds", lambda x: f"{x:,.1f}"),
    ("energy (J)", "joules", short),
)
