"""What a sweep prints at its end: counts, failures, remarks, and the networks that are kept."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from dnabench.cli.errors import print_notes, warn
from dnabench.cli.report import warn_unreadable

if TYPE_CHECKING:
    from dnabench.results.store import Store
    from dnabench.sweep.sweep import Summary
    from dnabench.types import Job, Record


SHOWN = 10  # networks in the summary


def print_summary(summary: Summary, store: Store, to_stderr: bool) -> None:
    """Counts, the failed trials, and what is remarkable about the others."""
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


def print_networks(jobs: Sequence[Job], summary: Summary, store: Store, to_stderr: bool) -> None:
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
        "features_anew": "the features of all bases have no room in a quarter of the memory, "
        "divided by --jobs; each batch computes its own",
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
