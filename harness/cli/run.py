"""`dnabench run`: models x tasks x seeds, into records."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.config import Config
from dnabench.cli.options import ExecutionOptions, GridOptions, Out, with_flags
from dnabench.cli.report import warn_unreadable
from dnabench.cli.sweep import print_notes, run_sweep


@with_flags
def run(
    choice: GridOptions,
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trials and their state; run nothing.")
    ] = False,
) -> None:
    """Train and score models on tasks over several seeds.

    Finished trials are kept: the same command again runs only what is missing or failed.
    """
    from dnabench.sweep.grid import grid, tasks_of

    request, notes = choice.request(), list[str]()
    jobs = grid(request, notes.append)
    if request.data:
        from dnabench.tasks.io.files import describe

        typer.echo(describe(tasks_of(request)[0]))
    if dry_run:
        _dry_run(jobs, notes, out)
    elif run_sweep(request, jobs, notes, out, execution).failed:
        raise typer.Exit(1)


def _dry_run(jobs: Iterable[Any], notes: Iterable[str], out: Path) -> None:
    from tabulate import tabulate

    from dnabench.results.store import Store
    from dnabench.sweep.grid import label

    store = Store(out)
    rows = []
    for job in jobs:
        record = store.read(job.trial.id)
        state = "missing" if record is None else "failed" if record.error else "done"
        rows.append((job.trial.task, job.trial.seed, job.trial.id, state, label(job.trial)))
    typer.echo(tabulate(rows, ("task", "seed", "trial", "state", "model")))
    n_done = sum(row[3] == "done" for row in rows)
    print_notes(notes)
    typer.echo(f"\n{len(rows)} trials: {n_done} done, {len(rows) - n_done} to run")
    warn_unreadable(store)
