"""A sweep from the command line: progress, interrupts, summary; for `run` and `reproduce`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import dnabench
from dnabench.cli.errors import fail
from dnabench.cli.report import warn_unreadable

Jobs = Annotated[str, typer.Option(help="Trials at once; auto: one a core that is free, GPU 1.")]
Compile = Annotated[
    str, typer.Option(help="auto: compile training where it pays, on CUDA, checked; or off.")
]


class ExecutionOptions(NamedTuple):
    """The flags that say where trials run."""

    device: str = "auto"
    jobs: str = "auto"
    threads: int = 1
    micro_batch: int = 0
    executor: str = "local"
    compile: str = "auto"
    trial_timeout: str = ""


def run_sweep(
    request: Any,
    plan: Iterable[Any],
    notes: Iterable[str],
    out: Path,
    how: ExecutionOptions,
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
        The `dnabench.sweep.sweep.Summary`.

    Raises:
        typer.Exit: 130 after Ctrl-C or SIGTERM; 2 for resources that are not there.
    """
    from rich.console import Console

    from dnabench.host.machine import free_memory
    from dnabench.results.store import Store
    from dnabench.sweep.progress import display
    from dnabench.sweep.sweep import Summary, fetch_weights, run

    plan = list(plan)
    store, resources, summary = Store(out), resources_of(how), Summary()
    store.check_writable()
    done = {r.trial.id: r for r in store if not r.error}
    left = [job for job in plan if job.trial.id not in done]
    _check_precisions(left, resources.device)
    if how.jobs == "auto" and resources.device == "cpu":
        most = most_in_memory(left, done.values(), free_memory())
        if most < min(resources.workers, len(left)):
            why = f"of the {resources.workers} trials that the cores allow, memory has room"
            notes = [*notes, f"{why} for {most} at once"]
            resources = resources._replace(workers=most)
    print_notes(notes)
    store.save_config(
        {
            "request": asdict(request), "resources": resources._asdict(), "argv": sys.argv[1:],
            "trials": {j.trial.id: asdict(j.trial) for j in plan}, "version": dnabench.__version__,
        }
    )  # fmt: skip
    console = Console(stderr=True)
    for problem in fetch_weights(left):
        typer.echo(f"warning: {problem}", err=True)
    try:
        with _sigterm_as_interrupt(), display(left, resources.workers, console) as on_event:
            run(plan, store, resources, on_event, summary)
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


def resources_of(how: ExecutionOptions) -> Any:
    """The `Resources` that were asked for; the command ends where there are none.

    `--jobs auto` on a CPU is the cores that affinity and cgroups allow over the threads of each.
    """
    import torch

    from dnabench.executors import EXECUTORS
    from dnabench.host.machine import usable_cores
    from dnabench.sweep.grid import parse_duration
    from dnabench.types import Resources

    device, jobs, threads, micro_batch, executor, compiling, timeout = how
    if executor not in EXECUTORS:
        fail(f"no executor named {executor!r}; there are {', '.join(EXECUTORS)}")
    if compiling not in ("auto", "off"):
        fail(f"--compile {compiling!r}: write auto or off")
    if jobs != "auto" and not jobs.isdecimal():
        fail(f"--jobs {jobs!r}: write auto, or how many trials at once")
    if min(micro_batch, threads - 1) < 0:
        fail(f"--threads {threads} --micro-batch {micro_batch}: too small")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        fail(f"--device {device!r} cannot be used here: {str(e).splitlines()[0]}")
    at_once = max(1, usable_cores() // threads) if device == "cpu" else 1
    at_once = int(jobs) or at_once if jobs != "auto" else at_once
    limit = parse_duration(timeout)
    return Resources(device, at_once, threads, micro_batch, executor, compiling, limit)


def most_in_memory(jobs: Iterable[Any], done: Iterable[Any], free: int) -> int:
    """How many of these trials memory holds at once, by what finished ones took.

    Args:
        jobs: to run.
        done: records. Those of the same model on sequences of the same length, on a CPU, tell what
            a trial takes; the greatest of all that is known so counts for every job.
        free: bytes, 0 = not known.

    Returns:
        At least 1; as many as there are jobs when nothing alike has run. No trial is probed for it
        (`dnabench plan` does that), and one that runs out of memory halves its micro-batch.
    """
    from dnabench.registry import TASKS

    records = [r for r in done if r.where.get("device") == "cpu"]
    lengths = {r.trial.task: r.task.get("length") for r in records}
    peaks: dict[tuple[str, Any], int] = {}
    for r in records:
        key = (r.trial.model, lengths[r.trial.task])
        peaks[key] = max(r.peak_memory, peaks.get(key, 0))
    known, n = 0, 0
    for job in jobs:
        name, n = job.trial.task, n + 1
        length = lengths.get(name) if job.path else TASKS[name].length
        known = max(known, peaks.get((job.trial.model, length), 0))
    return max(1, min(n, free // known)) if known and free else max(1, n)


def _check_precisions(jobs: Iterable[Any], device: str) -> None:
    """End the command for a precision that the device lacks, before anything runs."""
    from dnabench.registry import MODELS
    from dnabench.train.precision import check_precision

    asked = {
        job.trial.recipe.precision for job in jobs if MODELS[job.trial.model].reads("precision")
    }
    for precision in sorted(asked):
        check_precision(precision, device)


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

    from dnabench.sweep.grid import label

    counts = f"{len(summary.finished)} ran, {len(summary.skipped)} were there"
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
    for line in remarks(summary.finished):
        typer.echo(f"note: {line}", err=True)
    warn_unreadable(store)
    if summary.finished or summary.skipped:
        typer.echo(f"see: dnabench report --out {shlex.quote(str(out))}", err=aside)


def remarks(records: Iterable[Any]) -> list[str]:
    """What came otherwise than asked: compiling that is off, skipped steps, halved batches."""
    words = {
        "compile": "--compile is {}",
        "float32_layers": "bf16 gives wrong results here for {}; they ran in float32",
        "skipped_steps": "{} steps overflowed and were skipped",
        "eval_batch": "memory ran out, evaluation went on with {} examples at once",
    }  # fmt: skip
    trials: dict[str, int] = {}
    for record in records:
        for flag, text in words.items():
            value = record.flags.get(flag)
            if value and value != "on":
                value = ", ".join(value) if isinstance(value, list) else value
                line = f"{record.trial.model}: {text.format(value)}"
                trials[line] = trials.get(line, 0) + 1
    return [f"{line} ({n} trial{'s' * (n > 1)})" for line, n in trials.items()]
