"""Run a grid from the command line: progress, interrupts, summary; for `run` and `reproduce`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dnabench.cli.errors import warn
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.ray import ray_executor
from dnabench.cli.report import warn_unreadable
from dnabench.cli.slurm import slurm_executor, submit_and_leave

if TYPE_CHECKING:
    from dnabench.executors.base import Executor
    from dnabench.results.rows import Row
    from dnabench.results.store import Store
    from dnabench.sweep.sweep import OnEvent, Summary
    from dnabench.types import Job, Record, Resources

SHOWN = 10  # networks in the summary


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
    check_buildable([] if searched else left)
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
        _print_summary(summary, store, to_stderr)
        raise
    _print_summary(summary, store, to_stderr)
    _print_networks(jobs, summary, store, to_stderr)
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


def print_notes(notes: Iterable[str]) -> None:
    """Print them to stderr."""
    for note in notes:
        warn(f"note: {note}")


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


def _print_summary(summary: Summary, store: Store, to_stderr: bool) -> None:
    from tabulate import tabulate

    from dnabench.sweep.grid import label

    counts = f"{len(summary.finished)} ran, {len(summary.skipped)} already done"
    records = f"{len(summary.failed)} failed; records in {store.folder}/records"
    typer.echo(f"{counts}, {records}", err=to_stderr)
    if summary.failed:
        rows = [
            (t.task, label(t), t.seed, r.reason, t.id)
            for r in summary.failed for t in [r.trial]
        ]  # fmt: skip
        heads = ("task", "model", "seed", "error", "record")
        typer.echo(tabulate(rows, heads, disable_numparse=True), err=True)
        typer.echo("the records hold the tracebacks; the same command runs these again", err=True)
    print_notes(remarks(summary.finished))
    if wrong := broken_contracts([*summary.finished, *summary.skipped]):
        typer.echo("\n".join(["Look at these", *(f"- {line}" for line in wrong)]), err=True)
    warn_unreadable(store)
    if summary.finished or summary.skipped:
        folder = shlex.quote(str(store.folder))
        typer.echo(f"next: dnabench report --out {folder}", err=to_stderr)


def broken_contracts(records: Iterable[Record]) -> list[str]:
    """What the checks of networks found, a line each."""
    found = {f"{r.trial.model}: {s}": None for r in records for s in r.flags.get("contract", ())}
    return [*found, *(["`dnabench check-model` makes all checks"] if found else [])]


def _print_networks(jobs: Sequence[Job], summary: Summary, store: Store, to_stderr: bool) -> None:
    """Which networks are kept and which are not, or how to keep them."""
    from dnabench.sweep.grid import label
    from dnabench.sweep.keeping import wanted

    done = [*summary.finished, *summary.skipped]
    if done and not to_stderr and all(job.keep == "no" for job in jobs):  # of `run` alone
        how = "the same command with --keep best keeps the best seed of each"
        typer.echo(f"no trained network is kept; {how}", err=to_stderr)
    kept = []
    for trial in (job.trial for job in wanted(jobs, done)):
        what = f"{label(trial)} on {trial.task}, seed {trial.seed}"
        if store.has_network(trial.id):
            kept.append(f"  {trial.id}  {what}")
        else:
            why = summary.networks.get(trial.id) or "interrupted; run the same command again"
            warn(f"warning: the network of {what} is not kept: {why}")
    if kept:
        more = [f"  and {len(kept) - SHOWN} more"] if len(kept) > SHOWN else []
        folder = shlex.quote(str(store.folder / "networks"))
        head = f"{len(kept)} network{'s' * (len(kept) > 1)} kept in {folder}:"
        typer.echo("\n".join([head, *kept[:SHOWN], *more]), err=to_stderr)


def remarks(records: Iterable[Record]) -> list[str]:
    """What differed from the request: no compilation, skipped steps, smaller batches."""
    words = {
        "compile": "--compile is {}",
        "float32_layers": "bf16 gives wrong results here for {}; they ran in float32",
        "skipped_steps": "{} steps overflowed in fp16 and were skipped",
        "absent_classes": "no training example of {} is in the share of train",
        "checkpoint": "a checkpoint was not used: {}",
        "host_data": "the device has no room for the training sequences; they are sent by batches",
        "features_anew": "the features of all bases have no room in a quarter of the memory; each "
        "batch computes its own",
        "eval_batch": "out of memory, so evaluation continued with {} examples at once",
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
