"""`dnabench store ...`: folders of results as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail, warn
from dnabench.cli.help import command, group
from dnabench.cli.options import Out

if TYPE_CHECKING:
    from dnabench.results.store import Store

SHOWN = 20  # lines of a list

store = group("store", "Check, merge and export folders of results.")


@command(store, "check", "", "--out /shared/runs", "--out runs/demo")
def check(out: Out = Path("runs")) -> None:
    """Name every file that is not what it should be.

    Reads all records and predictions, and computes every score from the predictions. The epoch and
    the number of parameters must be those of the learning curve and the kept network. Changes
    nothing but the index in .cache. The exit status is 1 when something is wrong.
    """
    from dnabench.cli.bars import bar
    from dnabench.reports.grid import count
    from dnabench.reports.soundness import unsound
    from dnabench.results.merging import faults, work_in

    opened = _opened(out)
    with bar(f"checking {count(len(opened.rows()), 'record')}", total=1 + work_in(opened)) as show:
        show(advance=1)  # from here on the time is measured, so that one record tells what is left
        found = list(
            faults(opened, lambda n: show(advance=n), lambda record: unsound(record, opened))
        )
    for path, why, way in found[:SHOWN]:
        typer.echo(f"{path}: {why}; {way}")
    if len(found) > SHOWN:
        typer.echo(f"... and {len(found) - SHOWN:,} more")
    typer.echo(f"{count(len(opened.rows()), 'record')}, {count(len(found), 'fault')} in {out}")
    raise typer.Exit(bool(found))


@command(store, "compact", "", "--out /shared/runs", "--out runs/demo")
def compact(out: Out = Path("runs")) -> None:
    """Write the index of the records as one file.

    The index makes large folders quick to read; it can be removed at any time, and the records
    stay as they are. What other versions of dnabench added to it is removed, and so are checkpoints
    of trials that have ended.
    """
    from dnabench.reports.grid import count
    from dnabench.results.checkpoints import remove_stale

    opened = _opened(out)
    files, rows = opened.compact()
    if n := remove_stale(opened):
        typer.echo(f"{out}: {count(n, 'checkpoint')} of trials that have ended removed")
    text = f"the index of {count(files, 'file')} is one file now, with {count(rows, 'row')}"
    typer.echo(f"{out}: {text if files else 'no index yet; large folders get one when read'}")


@command(store, "merge", "laptop cluster --out runs", "/a/runs /b/runs --out all", "new --out runs")
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Folders of results.")],
    out: Out = Path("runs"),
) -> None:
    """Copy the trials of several folders into one.

    A trial that the target has stays as it is, unless it failed there and finished in a source; of
    a trial with the same scores, predictions and a network that the target lacks are copied. The
    networks of `dnabench regimes` are copied, too.
    Duplicates are named, and so are trials with other scores, with which the exit status is 1. The
    sources are not changed but for the index in .cache.
    """
    from dnabench.reports.grid import count
    from dnabench.results.merging import merge as merged
    from dnabench.results.store import Store

    stores = [_opened(path) for path in sources]
    if any(path.resolve() == out.resolve() for path in sources):
        fail(f"--out {out}: also one of the sources; name another folder")
    found = merged(stores, Store(out), lambda line: warn(f"note: {line}"))
    _named(
        found.conflicts, "conflict: {}: other scores in {} than in the target, which stays as it "
        "is, or its record there is unreadable",
    )  # fmt: skip
    _named(found.equal, "duplicate: {}: {} has it with the scores of the target")
    _named(found.failed, "failed: {}: in {} it failed; the target has it finished")
    if found.running:
        n = len(found.running)
        are = "1 trial is" if n == 1 else f"{n:,} trials are"
        typer.echo(f"{are} running in {out}: merge again later")
    failed = f", {len(found.failed):,} that failed in a source alone" * bool(found.failed)
    typer.echo(
        f"{out}: {count(len(found.copied), 'trial')} copied, {len(found.replaced):,} in place of "
        f"failed ones, {len(found.equal):,} already there, "
        f"{count(len(found.conflicts), 'conflict')}{failed}"
    )
    raise typer.Exit(bool(found.conflicts or found.running))


def _named(trials: list[tuple[str, Path]], text: str) -> None:
    """A line for each trial and the source that has it."""
    for trial_id, folder in trials[:SHOWN]:
        typer.echo(text.format(trial_id, folder))
    if len(trials) > SHOWN:
        typer.echo(f"... and {len(trials) - SHOWN:,} more")


@command(store, "export", "", "--out runs --to records.parquet", "--out /shared/runs")
def export(
    out: Out = Path("runs"),
    to: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("records.parquet"),
    format_: Annotated[str, typer.Option("--format", help="Of the table: parquet.")] = "parquet",
) -> None:
    """Write all records as a table, a row each.

    With scores by split and metric, options and recipe as JSON, and the whole record as JSON.
    """
    from dnabench.cache import replacing
    from dnabench.reports.grid import count
    from dnabench.results.merging import export as exported

    if format_ != "parquet":
        fail(f"--format {format_}: there is parquet alone; `dnabench report` writes other tables")
    if to.suffix != ".parquet":
        fail(f"--to {to}: name a file that ends in .parquet")
    opened = _opened(out)
    with replacing(to) as file:
        n = exported(opened, file)
    typer.echo(f"{to}: {count(n, 'record')}")
    for path, why in list(opened.unreadable.items())[:SHOWN]:
        warn(f"note: {path}: {why}; left out")


def _opened(out: Path) -> Store:
    from dnabench.results.store import Store

    if not (out / "records").is_dir():
        fail(f"{out}: no folder of results; it would hold a folder records")
    return Store(out)
