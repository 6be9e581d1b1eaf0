"""`--executor slurm` from the command line: what trials take, how tasks are made, detaching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from dnabench.cli.bars import bar
from dnabench.cli.errors import split_commas, warn

if TYPE_CHECKING:
    from dnabench.cli.execution import ExecutionOptions
    from dnabench.executors.base import Executor
    from dnabench.results.store import Store
    from dnabench.sweep.slurm import Costs, Slurm
    from dnabench.types import Job, Resources

PROBE = 1.0  # seconds of measuring each model


def slurm_executor(store: Store, resources: Resources, execution: ExecutionOptions) -> Slurm:
    """The executor of these flags; ValueError for options that dnabench sets itself."""
    from dnabench.executors.slurm import check_options
    from dnabench.sweep.numbers import parse_duration
    from dnabench.sweep.slurm import Chosen, Slurm

    options = check_options(split_commas(execution.set_resource))
    if resources.device == "cuda" and not any(k.startswith(("gres", "gpus")) for k in options):
        _note("no GPU is asked for: tasks may need --set-resource gres=gpu:1")
    seconds = parse_duration(execution.task_time, "--task-time")

    def costs(jobs: Sequence[Job]) -> Costs:
        return _costs(jobs, resources)

    return Slurm(store, resources, Chosen(options, resources.workers, seconds, costs, _note))


def submit_and_leave(executor: Executor, jobs: Sequence[Job]) -> None:
    """Submit what is not in the queue yet and end, for `--detach`, which is Slurm's alone."""
    from dnabench.sweep.slurm import Slurm

    assert isinstance(executor, Slurm)
    executor.leave(executor.submit(jobs))
    typer.echo("the trials go on without this command; the same command without --detach follows "
               "them, `dnabench status` shows how far they are")  # fmt: skip


def _costs(jobs: Sequence[Job], resources: Resources) -> Costs:
    """By a few steps of each model on this machine, which a GPU node beats."""
    from dnabench.forecast.estimate import plan
    from dnabench.host.machine import device_named
    from dnabench.sweep.grid import label
    from dnabench.sweep.slurm import Costs

    try:
        device = device_named(resources.device)
    except ValueError:
        device = "cpu"
    here = resources._replace(device=device, executor="local", workers=1, timeout=0.0)
    with bar("measuring") as show:
        found = plan(jobs, here, seconds=PROBE, on_probe=lambda job, n: show(total=n, advance=1))
    rows = {(row.task, row.model): row.seconds for row in found.rows if not row.error}
    keys = {job.trial.id: (job.trial.task, label(job.trial)) for job in jobs}
    return Costs({i: rows.get(key, 0.0) for i, key in keys.items()}, found.peak)


def _note(text: str) -> None:
    warn(f"note: {text}")
