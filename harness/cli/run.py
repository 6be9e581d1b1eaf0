"""`dnabench run`: models x tasks x seeds, into records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.config import Config
from dnabench.cli.errors import fail, print_notes, split_commas
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import DataOptions, GridOptions, Keep, Out
from dnabench.cli.report import warn_unreadable
from dnabench.cli.sweep import queue_sweep, run_sweep


@with_flags
def run(
    choice: GridOptions,
    reading: DataOptions,
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    keep: Keep = "no",
    config: Config = None,
    again: Annotated[
        list[str],
        typer.Option(help="Run these trials anew, by id; their records are kept as *.replaced-N."),
    ] = [],  # noqa: B006
    invalid: Annotated[
        bool,
        typer.Option("--invalid", help="Run anew what `report` shows as invalid."),
    ] = False,
    declare: Annotated[
        list[str],
        typer.Option(help="Before results exist: pairs to judge on their own, as 'mine>cnn'."),
    ] = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trials and their state; run nothing.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Slurm: submit and end; the same command follows.")
    ] = False,
    queue: Annotated[
        bool, typer.Option("--queue", help="Store the trials for `dnabench worker`; run nothing.")
    ] = False,
) -> None:  # fmt: skip
    """Train and score models on tasks over several seeds.

    Finished trials are kept: the same command again runs only what is missing or failed.
    """
    from dnabench.sweep.grid import grid
    from dnabench.sweep.keeping import check_keep
    from dnabench.sweep.tasks import own_tasks

    request, notes = choice.request(reading), list[str]()
    jobs = [job._replace(keep=keep) for job in grid(request, notes.append)]
    check_keep(keep, jobs)
    if mine := own_tasks(request):
        from dnabench.tasks.io.describing import describe

        typer.echo("\n\n".join(map(describe, mine)))
    if again or invalid:
        jobs = _repeated(jobs, out, again, invalid, dry_run)
    declared = _declared(split_commas(declare), jobs, out)
    if dry_run:
        _dry_run(jobs, notes, out, execution.micro_batch)
        return
    if queue:
        notes += _set_aside(execution)
        queue_sweep(request, jobs, notes, out, declared)
        return
    summary = run_sweep(request, jobs, notes, out, execution, declared=declared, detach=detach)
    if summary.failed or any(summary.networks.values()):
        raise typer.Exit(1)


def _set_aside(execution: ExecutionOptions) -> list[str]:
    """A note of the flags that say where trials run, which a queue does not hold; [] = none."""
    usual = ExecutionOptions._field_defaults
    given = [name for name, value in execution._asdict().items() if value != usual[name]]
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    return [f"{flags}: not kept by --queue; write this after `dnabench worker`"] if given else []


def _declared(texts: Sequence[str], jobs: Sequence[Any], out: Path) -> list[list[str]]:
    """Pairs of models to declare; the command ends where both have results already."""
    from dnabench.results.store import Store

    store, models = Store(out), {job.trial.model for job in jobs}
    known, pairs = store.declared(), [text.partition(">")[::2] for text in texts]
    if not pairs:
        return []
    ended = {row.model for row in store.rows() if row.done}
    for text, (a, b) in zip(texts, pairs, strict=True):
        if a == b or not {a, b} <= models:
            fail(f"--declare {text!r}: write two models of this run as 'a>b'; it has "
                 f"{', '.join(sorted(models))}")  # fmt: skip
        if (a, b) not in known and {a, b} <= ended:
            fail(
                f"--declare {text!r}: {out} already has results of both, and a pair chosen after "
                "seeing them is not declared; declare before the first run, or in another folder"
            )
    return [[a, b] for a, b in pairs]


def _repeated(
    jobs: Sequence[Any], out: Path, again: list[str], invalid: bool, dry_run: bool
) -> list[Any]:
    """The jobs to run anew, whose records are set aside."""
    from dnabench.reports.validity import reason
    from dnabench.results.store import Store

    store, ids = Store(out), {job.trial.id for job in jobs}
    chosen = set(split_commas(again))
    if unknown := sorted(chosen - ids):
        fail(f"--again {unknown[0]}: not a trial of this command; --dry-run lists its {len(ids)}")
    for trial_id in ids if invalid else ():
        record = store.read(trial_id)
        if record is not None and not record.error and reason(record, store):
            chosen.add(trial_id)
    for trial_id in () if dry_run else chosen:
        store.set_aside(trial_id)
    return [job for job in jobs if job.trial.id in chosen]


def _dry_run(
    jobs: Iterable[Any], notes: Iterable[str], out: Path, micro_batch: int
) -> None:  # fmt: skip
    from tabulate import tabulate

    from dnabench.reports.grid import count
    from dnabench.results.store import Store
    from dnabench.sweep.buildable import check_buildable
    from dnabench.sweep.grid import label

    check_buildable(jobs, micro_batch)
    store = Store(out)
    rows, stored = [], {row.id: row for row in store.rows() if not row.why}
    for job in jobs:
        found = stored.get(job.trial.id)
        state = "missing" if found is None else "failed" if found.failed else "done"
        rows.append((job.trial.task, job.trial.seed, job.trial.id, state, label(job.trial)))
    heads = ("task", "seed", "trial", "state", "model")
    typer.echo(tabulate(rows, heads, disable_numparse=True))
    n_done = sum(row[3] == "done" for row in rows)
    print_notes(notes)
    typer.echo(f"\n{count(len(rows), 'trial')}: {n_done} done, {len(rows) - n_done} to run")
    warn_unreadable(store)
