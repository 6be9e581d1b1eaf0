"""`dnabench worker`: take open trials of a folder that any number of machines share."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.allowed import as_memory_allows, on_several, precision_problem
from dnabench.cli.errors import fail, print_notes
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import Out
from dnabench.cli.sweep import ended_as_by_ctrl_c
from dnabench.cli.sweep_said import remarks

if TYPE_CHECKING:
    from dnabench.results.store import Store
    from dnabench.sweep.sweep import Summary
    from dnabench.sweep.worker import Worker

HERE = "local, or inline for a debugger: a worker runs trials on its own machine."
GRACE = 45.0  # seconds after SIGUSR1, well before Slurm kills


@partial(with_flags, hidden=("set_resource", "task_time"), texts={"executor": HERE})
def worker(
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    for_: Annotated[
        str, typer.Option("--for", help="End after this long (3600, 30m, 2h), whatever is left.")
    ] = "",
    trials: Annotated[
        Path | None, typer.Option(help="Take only these: a JSON file with a list of trial ids.")
    ] = None,
    requeue: Annotated[
        bool,
        typer.Option(
            "--requeue",
            help="In Slurm: 45 s after SIGUSR1, run the job again later if trials are left.",
        ),
    ] = False,
) -> None:
    """Take open trials of a folder that machines share.

    `dnabench run --queue` stores them; a worker ends when none is free or its time is up. Any
    number may run at once, on any machines that see the folder; each trial runs once. SIGUSR1 ends
    a worker after the trials that it is running, which save checkpoints meanwhile; SIGTERM and the
    end of its time end it at once, and others can take these trials.
    """
    from dnabench.executors import ELSEWHERE
    from dnabench.results.store import Store
    from dnabench.sweep.numbers import parse_duration
    from dnabench.sweep.stored import stored_grid
    from dnabench.sweep.sweep import Summary
    from dnabench.sweep.worker import Worker

    seconds, store, resources = parse_duration(for_, "--for"), Store(out), execution.resources()
    if (given := execution.task_time) != ExecutionOptions().task_time:
        fail(f"--task-time {given}: it divides trials into tasks of Slurm; leave it out here, or "
             "write `dnabench run --executor slurm`")  # fmt: skip
    if resources.executor in ELSEWHERE:
        fail(f"--executor {resources.executor}: a worker runs trials on its own machine; leave it "
             f"out here, or write `dnabench run --executor {resources.executor}`")  # fmt: skip
    grid, only = stored_grid(store), _only(trials)
    print_notes(f"ignored {path}: {why}" for path, why in grid.ignored.items())
    store.check_writable()
    problems: dict[str, None] = {}

    def can_run(job: Any) -> bool:
        why = precision_problem(job.trial.model, job.trial.recipe.precision, resources.devices)
        if why:
            problems[why] = None
        return not why

    taker, summary = Worker(store, resources, only, can_run), Summary()
    done = [row for row in store.rows() if row.done and row.id in grid.jobs]
    taker.resources = as_memory_allows(resources, execution, taker.free(grid), done)
    print_notes([*on_several(resources), *(f"left to other workers: {w}" for w in problems)])
    ended = _work(taker, summary, seconds, GRACE if requeue else 0.0)
    _print_end(taker, summary, store, ended, bool(problems))
    if requeue and ended == "SIGUSR1" and taker.left().waiting:
        _requeue(taker)
    if ended == "Ctrl-C":
        raise typer.Exit(130)
    if only is not None and problems:  # nobody else was given them
        fail(f"this machine cannot run all trials of {trials}: {'; '.join(problems)}")
    if summary.failed:
        raise typer.Exit(1)


def _only(path: Path | None) -> set[str] | None:
    if path is None:
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list) or not all(isinstance(i, str) for i in found):
        raise ValueError(f"--trials {path}: write a JSON list of trial ids")
    return set(found)


def _requeue(taker: Worker) -> None:
    """Have Slurm run this task again, unless that would never end."""
    from dnabench.executors.slurm import requeue_self

    if not taker.went_on():
        fail("no trial ended within the time limit of this task, and none left a checkpoint of a "
             "later step; give it more, such as --set-resource time=8:00:00")  # fmt: skip
    requeue_self()


class _TimeIsUpError(Exception):
    """The time of `--for` has passed."""


def _work(taker: Worker, summary: Summary, seconds: float, grace: float) -> str:
    """Take trials; what ended it early, "" if nothing did. `grace` as for `_told`."""
    from rich.console import Console

    from dnabench.sweep.progress import display

    terminated: list[int] = []
    try:
        with ended_as_by_ctrl_c(terminated), _told(taker.hold, seconds, grace):
            taker.take(
                lambda jobs: display(jobs, taker.resources.workers, Console(stderr=True)), summary
            )
    except KeyboardInterrupt:
        return signal.Signals(terminated[0]).name if terminated else "Ctrl-C"
    except _TimeIsUpError:
        return "SIGUSR1" if taker.stopping else "--for"
    return "SIGUSR1" if taker.stopping else ""


@contextmanager
def _told(hold: Callable[[], None], seconds: float, grace: float) -> Iterator[None]:
    """Hold on SIGUSR1; _TimeIsUpError after so many seconds, or `grace` seconds after SIGUSR1.

    Whichever is sooner; 0 seconds are no limit.
    """

    def no_more(number: int, frame: object) -> None:
        hold()
        if grace:
            left, _ = signal.getitimer(signal.ITIMER_REAL)
            signal.setitimer(signal.ITIMER_REAL, min(left or grace, grace))

    def time_is_up(number: int, frame: object) -> None:
        raise _TimeIsUpError

    before = {
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, no_more),
        signal.SIGALRM: signal.signal(signal.SIGALRM, time_is_up),
    }
    signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})  # blocked by `dnabench.__main__`
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_end(
    taker: Worker, summary: Summary, store: Store, ended: str, for_others: bool
) -> None:  # fmt: skip
    left = taker.left()
    why = f"ended by {ended}: " if ended else ""
    counts = f"{len(summary.finished)} ran, {len(summary.failed)} failed"
    typer.echo(f"{why}{counts}; {left.elsewhere} run elsewhere, {left.waiting} are left")
    print_notes(remarks(summary.finished))
    folder = shlex.quote(str(store.folder))
    open_ = left.elsewhere or left.waiting or for_others
    typer.echo(f"next: dnabench {'status' if open_ else 'report'} --out {folder}")
