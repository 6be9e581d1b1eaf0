"""What this machine allows a sweep: trials at once, and the precisions of its devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from dnabench.cli.errors import print_notes
from dnabench.cli.execution import ExecutionOptions

if TYPE_CHECKING:
    from dnabench.results.rows import Row
    from dnabench.types import Job, Resources


def as_memory_allows(
    resources: Resources, execution: ExecutionOptions, jobs: Sequence[Job], done: Sequence[Row]
) -> Resources:
    """Fewer trials at once under `--jobs auto`, if more would not fit in memory; says so."""
    from dnabench.executors.local import idle_memory
    from dnabench.host.machine import free_memory

    if execution.jobs != "auto" or resources.device != "cpu":
        return resources
    free = free_memory()
    most = most_in_memory(jobs, done, free + idle_memory() if free else 0)
    if most >= min(resources.workers, len(jobs)):
        return resources
    cores = f"the CPU cores allow {resources.workers} trials at once"
    print_notes([f"{cores}, the free memory {most}; running {most}"])
    return resources._replace(workers=most)


def most_in_memory(jobs: Sequence[Job], done: Iterable[Row], free: int) -> int:
    """How many of these trials fit in memory at once, judging by finished ones.

    Args:
        jobs: to run.
        done: of a store. What a trial takes is the largest peak of any trial on a CPU with the same
            model and sequence length as one of the jobs.
        free: bytes, 0 = unknown.

    Returns:
        At least 1; the number of jobs when nothing similar has run. Nothing is measured for this
        (`dnabench plan` does that); a trial that runs out of memory halves its micro-batch.
    """
    from dnabench.registry import TASKS

    rows = [row for row in done if row.device == "cpu"]
    lengths = {row.task: row.length for row in rows}
    peaks: dict[tuple[str, int | None], int] = {}
    for row in rows:
        key = (row.model, lengths[row.task])
        peaks[key] = max(row.peak_memory, peaks.get(key, 0))
    known = 0
    for job in jobs:
        name = job.trial.task
        length = lengths.get(name) if job.path else TASKS[name].length
        known = max(known, peaks.get((job.trial.model, length), 0))
    return max(1, min(len(jobs), free // known) if known and free else len(jobs))


def on_several(resources: Resources) -> list[str]:
    """How trials are divided among several GPUs of this host, a line; none for one."""
    n, names = len(resources.devices), ", ".join(resources.devices)
    at_once = resources.workers // n
    text = f"{n} GPUs ({names}), {at_once} trial{'s' * (at_once > 1)} at once on each"
    return [text] if n > 1 and at_once else []


def check_precisions(jobs: Iterable[Job], devices: Sequence[str]) -> None:
    """ValueError if one of the devices cannot train one of the models at its precision."""
    for key in {(job.trial.model, job.trial.recipe.precision): None for job in jobs}:
        if why := precision_problem(*key, devices):
            raise ValueError(why)


@cache
def precision_problem(model: str, precision: str, devices: Sequence[str]) -> str:
    """Why one of the devices cannot train a model at a precision, "" if all can."""
    if precision == "fp32":
        return ""
    from dnabench.host.machine import seen_here
    from dnabench.registry import MODELS
    from dnabench.train.precision import check_precision

    if model not in MODELS or MODELS[model].reads("precision"):
        try:
            for device in seen_here(devices):
                check_precision(precision, device)
        except ValueError as e:
            return str(e)
    return ""
