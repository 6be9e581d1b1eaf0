"""`dnabench plan`: what a run with the same flags would take."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.allowed import check_precisions
from dnabench.cli.bars import bar
from dnabench.cli.config import Config
from dnabench.cli.errors import fail, print_notes
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import DataOptions, GridOptions, Json, Keep, Out

EXECUTOR = "That of the run; this machine is measured in any case, and a note says so."


@partial(with_flags, hidden=("set_resource", "task_time"), texts={"executor": EXECUTOR})
def plan(
    choice: GridOptions,
    reading: DataOptions,
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    keep: Keep = "no",
    config: Config = None,
    probe_seconds: Annotated[
        float, typer.Option(help="Seconds to measure each model, roughly.")
    ] = 4.0,
    detect: Annotated[
        float,
        typer.Option(help="Instead say whether a difference of this size could be seen: 0.01.",
                     show_default=False),
    ] = 0.0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Estimate the time, memory and disk space a run would take.

    Takes the flags of `dnabench run` and measures a few real training steps of each model. For
    tuning use `dnabench tune ... --dry-run`; for pretraining `dnabench pretrain ... --plan`.
    """
    from dnabench.cache import room
    from dnabench.executors import ELSEWHERE
    from dnabench.forecast.estimate import plan, summary, table
    from dnabench.host.machine import free_memory, seen_here
    from dnabench.results.store import Store
    from dnabench.sweep.buildable import check_buildable
    from dnabench.sweep.grid import grid
    from dnabench.sweep.keeping import check_keep

    request, notes = choice.request(reading), list[str]()
    if not probe_seconds > 0:
        fail(f"--probe-seconds {probe_seconds}: must be above 0")
    jobs = [job._replace(keep=keep) for job in grid(request, notes.append)]
    check_keep(keep, jobs)
    check_buildable(jobs, execution.micro_batch)
    print_notes(notes)
    if detect:
        _detect(jobs, request, detect, as_json)
        return
    resources, aside = execution.measured_here()
    print_notes(aside)
    done = {row.id: row.seconds for row in Store(out).rows() if row.done}
    if execution.executor not in ELSEWHERE:
        check_precisions([job for job in jobs if job.trial.id not in done], resources.devices)
    with bar("measuring") as show:
        found = plan(jobs, resources, done, probe_seconds, lambda job, n: show(total=n, advance=1))
    memory, disk = min(map(free_memory, seen_here(resources.devices))), room(out)
    if as_json:
        typer.echo(json.dumps(_document(found, memory, disk), indent=1))
    else:
        typer.echo("\n".join([table(found), "", *summary(found, memory, disk)]))
    if any(row.error for row in found.rows):
        raise typer.Exit(1)


def _detect(jobs: Any, request: Any, difference: float, as_json: bool) -> None:
    from tabulate import tabulate

    from dnabench.forecast.detect import detect, grid
    from dnabench.sweep.tasks import tasks_of

    if not 0 < difference < 1:
        fail(f"--detect {difference:g}: a difference of scores, between 0 and 1")
    tasks = {task.name: task for task in tasks_of(request)}
    found = detect(jobs, lambda job: tasks[job.trial.task], difference)
    if not found:
        fail("--detect needs two models or more: with one there is nothing to compare")
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in found], indent=1))
        return
    shown = grid(found, difference, len({job.trial.seed for job in jobs}))
    typer.echo(tabulate(list(map(list, shown.rows)), list(shown.heads), disable_numparse=True))
    typer.echo("\n" + "\n".join(shown.notes))


def _document(found: Any, memory: int, disk: int) -> dict[str, Any]:
    return {
        **found._asdict(), "free_memory": memory, "free_disk": disk, "peak": found.peak,
        "rows": [row._asdict() | {"sizes": row.sizes._asdict()} for row in found.rows],
        "resources": found.resources._asdict(),
    }  # fmt: skip
