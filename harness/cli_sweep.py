"""A sweep from the command line: progress, interrupts, summary; for `run` and `reproduce`."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import typer

import dnabench
from dnabench.cli_report import warn_unreadable
from dnabench.saying import fail


class How(NamedTuple):
    """The flags that say where trials run."""

    device: str = "auto"
    jobs: int = 0
    threads: int = 1
    micro_batch: int = 0
    executor: str = "local"


def conduct(
    request: Any,
    plan: Iterable[Any],
    notes: Iterable[str],
    out: Path,
    how: How,
    aside: bool = False,
) -> Any:
    """Run what is missing of a plan and say what became of it.

    Args:
        request: a dataclass, kept with the records.
        plan: jobs.
        notes: printed first.
        out: folder of the records.
        how: where to run.
        aside: what is said goes to stderr, for commands that print a table.

    Returns:
        The `dnabench.run.Summary`.

    Raises:
        typer.Exit: 130 after Ctrl-C or SIGTERM; 2 for resources that are not there.
    """
    from rich.console import Console

    from dnabench.progress import observer
    from dnabench.results.store import Store
    from dnabench.run import Summary, fetch_weights, run

    plan = list(plan)
    store, resources, summary = Store(out), resources_of(how), Summary()
    store.check_writable()
    print_notes(notes)
    store.save_config(
        {
            "request": asdict(request), "resources": resources._asdict(), "argv": sys.argv[1:],
            "trials": {j.trial.id: asdict(j.trial) for j in plan}, "version": dnabench.__version__,
        }
    )  # fmt: skip
    done = store.done()
    left = [job for job in plan if job.trial.id not in done]
    console = Console(stderr=True)
    for problem in fetch_weights(left):
        typer.echo(f"warning: {problem}", err=True)
    try:
        with _sigterm_as_interrupt(), observer(left, resources.workers, console) as observe:
            run(plan, store, resources, observe, summary)
    except KeyboardInterrupt:
        typer.echo(
            "interrupted; what is done is kept, the same command goes on from here", err=True
        )
        _conclude(summary, store, out, aside)
        raise typer.Exit(130) from None
    _conclude(summary, store, out, aside)
    return summary


def print_notes(notes: Iterable[str]) -> None:
    """On stderr."""
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def resources_of(how: How) -> Any:
    """The `dnabench.run.Resources` that were asked for; the command ends where there are none."""
    import torch

    from dnabench.executors import EXECUTORS
    from dnabench.run import Resources

    device, jobs, threads, micro_batch, executor = how
    if executor not in EXECUTORS:
        fail(f"no executor named {executor!r}; there are {', '.join(EXECUTORS)}")
    if min(jobs, micro_batch, threads - 1) < 0:
        fail(f"--jobs {jobs} --threads {threads} --micro-batch {micro_batch}: too small")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        fail(f"--device {device!r} cannot be used here: {str(e).splitlines()[0]}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    at_once = jobs or (max(1, (cores or 1) // threads) if device == "cpu" else 1)
    return Resources(device, at_once, threads, micro_batch, executor)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """A scheduler's SIGTERM ends a sweep as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _conclude(summary: Any, store: Any, out: Path, aside: bool) -> None:
    from tabulate import tabulate

    from dnabench.plan import label

    counts = f"{len(summary.ended)} ran, {len(summary.already)} were there"
    typer.echo(f"{counts}, {len(summary.failed)} failed; records in {out}/records", err=aside)
    if summary.failed:
        rows = [
            (
                r.trial.task,
                label(r.trial),
                r.trial.seed,
                r.error.strip().splitlines()[-1],
                r.trial.id,
            )
            for r in summary.failed
        ]
        typer.echo(tabulate(rows, ("task", "model", "seed", "why", "record")), err=True)
        typer.echo("tracebacks are in the records; the same command tries them again", err=True)
    warn_unreadable(store)
    if summary.ended or summary.already:
        typer.echo(f"see: dnabench report --out {shlex.quote(str(out))}", err=aside)
