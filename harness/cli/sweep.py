"""Run a grid from the command line: progress, interrupts, summary; for `run` and `reproduce`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dnabench.cli.allowed import as_memory_allows, check_precisions, on_several
from dnabench.cli.errors import print_notes, warn
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.ray import ray_executor
from dnabench.cli.slurm import slurm_executor, submit_and_leave
from dnabench.cli.sweep_said import print_networks, print_summary

if TYPE_CHECKING:
    from dnabench.executors.base import Executor
    from dnabench.results.rows import Row
    from dnabench.results.store import Store
    from dnabench.sweep.sweep import OnEvent, Summary
    from dnabench.types import Job, Resources


def run_sweep(
    request: Any, jobs: Sequence[Job], notes: Sequence[str], out: Path,
    execution: ExecutionOptions, to_stderr: bool = False,
    declared: Sequence[Sequence[str]] = (), detach: bool = False, searched: bool = False,
) -> Summary:  # fmt: skip
    """Run the jobs that are missing and print how they ended.

    Args:
        request: a dataclass, kept with the records.
        jobs: the grid.
        notes: printed first.
        out: results folder.
        execution: where to run.
        to_stderr: print the summary there, for commands whose output is a table.
        declared: pairs of models, kept with the records.
        detach: submit the jobs and do not wait for them.
        searched: the jobs are those of a search, in which options of no network are failed trials.

    Raises:
        ValueError: options with which no network can be built.
        typer.Exit: 130 after Ctrl-C, SIGTERM, SIGHUP or SIGQUIT; 2 for resources that are not
            available.
    """
    from rich.console import Console

    from dnabench.results.store import Store
    from dnabench.sweep.buildable import check_buildable
    from dnabench.sweep.progress import display
    from dnabench.sweep.sweep import Summary
    from dnabench.sweep.whole import run_and_keep

    store, resources, summary = Store(out), execution.resources(), Summary()
    store.check_writable()
    kept, rows = store.kept(), store.rows()
    done = {row.id: row for row in rows if row.done}
    left = [job for job in jobs if job.trial.id not in done]
    check_buildable([] if searched else left, resources.micro_batch)
    print_notes([*notes, *on_several(resources)])
    executor = executor_elsewhere(store, resources, execution, detach)
    if executor is None:
        check_precisions(left, resources.devices)
        resources = as_memory_allows(resources, execution, left, list(done.values()))
    config = config_of(request, jobs, resources, rows)
    store.save_config({**config, "declared": [list(pair) for pair in declared]})
    fetch_all_weights(left)
    if detach and executor is not None:
        submit_and_leave(executor, left)
        return summary
    interrupted = False

    def show(some: Sequence[Job]) -> AbstractContextManager[OnEvent]:
        if again := sum(job.trial.id in done for job in some):
            print_notes([f"{again} finished trials run again to keep their networks"])
        return display(some, resources.workers, Console(stderr=True))

    try:
        with ended_as_by_ctrl_c():
            run_and_keep(jobs, left, store, resources, show, summary, executor)
    except KeyboardInterrupt:
        interrupted = True
        typer.echo("interrupted; finished trials are kept, run the same command to continue",
                   err=True)  # fmt: skip
    except ValueError:  # the folder cannot be written any more
        print_summary(summary, store, to_stderr)
        raise
    print_summary(summary, store, to_stderr)
    print_networks(jobs, summary, store, to_stderr)
    for path in sorted(store.kept() - kept):
        why = "this version cannot read that record, so the trial ran again"
        warn(f"warning: kept {path}: {why}")
    if interrupted:
        raise typer.Exit(130)
    return summary


def executor_elsewhere(
    store: Store, resources: Resources, execution: ExecutionOptions, detach: bool
) -> Executor | None:
    """What runs trials on other machines; None = they run on this one."""
    if detach and resources.executor != "slurm":
        raise ValueError("--detach is for --executor slurm; nohup does it for others")
    if resources.executor == "slurm":
        return slurm_executor(store, resources, execution)
    return ray_executor(store, resources, execution) if resources.executor == "ray" else None


def queue_sweep(
    request: Any, jobs: Sequence[Job], notes: Sequence[str], out: Path,
    declared: Sequence[Sequence[str]] = (),
) -> None:  # fmt: skip
    """Store the jobs for workers, download their weights, and run nothing; as `run_sweep`."""
    from dnabench.reports.grid import count
    from dnabench.results.store import Store
    from dnabench.sweep.buildable import check_buildable
    from dnabench.sweep.stored import is_open, stored_grid

    check_buildable(jobs)
    store = Store(out)
    store.check_writable()
    print_notes(notes)
    config = config_of(request, jobs, None, store.rows())
    store.save_config({**config, "declared": [list(pair) for pair in declared]})
    grid = stored_grid(store)
    left = [job for job in jobs if is_open(job.trial.id, store, grid)]
    fetch_all_weights(left)
    typer.echo(f"{count(len(jobs), 'trial')} stored in {out}, {len(left)} of them to run")
    typer.echo(f"next, as often and on as many machines as you like: dnabench worker --out "
               f"{shlex.quote(str(out))}")  # fmt: skip


def config_of(
    request: Any, jobs: Sequence[Job], resources: Resources | None, rows: Iterable[Row]
) -> dict[str, Any]:
    """What a sweep was asked to do, as a store keeps it.

    Args:
        request: a dataclass.
        jobs: the grid.
        resources: None before it runs.
        rows: of the store.
    """
    from dnabench.sweep.stored import written_grid

    return {
        "request": asdict(request), "resources": resources and resources._asdict(),
        "argv": sys.argv[1:], "version": version("dnabench"), **written_grid(jobs, rows),
    }  # fmt: skip


def fetch_all_weights(jobs: Sequence[Job]) -> None:
    """Download the weights that the jobs load, and warn of what cannot be had."""
    from dnabench.sweep.sweep import fetch_weights

    for problem in fetch_weights(jobs):
        warn(f"warning: {problem}")


@contextmanager
def ended_as_by_ctrl_c(heard: list[int] | None = None) -> Iterator[None]:
    """SIGTERM, SIGHUP (the terminal closed) and SIGQUIT end a sweep as Ctrl-C does.

    What is ignored, as SIGHUP under nohup, stays ignored. A signal that came is added to `heard`.
    """

    def interrupt(number: int, frame: object) -> None:
        if heard is not None:
            heard.append(number)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
    minded = [n for n in numbers if signal.getsignal(n) is not signal.SIG_IGN]
    before = {n: signal.signal(n, interrupt) for n in minded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
