"""`dnabench report` and `dnabench compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail, report_errors

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")]


@report_errors
def report(
    out: Out = Path("runs"),
    full: Annotated[
        bool, typer.Option("--full", help="Print every table, as Markdown; same as --format md.")
    ] = False,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="Every table as md, csv, latex, html or parquet.",
            show_default=False,
        ),
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option(help="File to write; html and parquet default to report.* in the folder."),
    ] = None,
    against: Annotated[
        str, typer.Option(help="Compare only with this model: fewer tests, more power.")
    ] = "",
) -> None:
    """Print scores, verdicts and assumptions on one screen; --full or --format for every table."""
    from dnabench.reports.render import FILES, FORMATS, render
    from dnabench.reports.report import report
    from dnabench.reports.resampling import Resampler
    from dnabench.reports.text.overview import overview

    if format not in {"": None, **FORMATS, **FILES}:
        fail(f"no format {format!r}; there are {', '.join([*FORMATS, *FILES])}")
    if not format and (full or to is not None):
        format = "md"
    store, records = records_in(out)
    with _rows_bar(len({(r.trial.protocol, r.trial.task) for r in records})) as observe:
        evidence = report(records, store, Resampler(store, observe=observe), against)
        found = render(evidence, format) if format else overview(evidence, store.folder)
    if to is None and format != "html" and isinstance(found, str):
        typer.echo(found.removesuffix("\n"))
        return
    to = to or out / f"report.{format}"
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(found if isinstance(found, bytes) else found.encode())
    typer.echo(str(to))


@report_errors
def compare(a: str, b: str, out: Out = Path("runs")) -> None:
    """Compare two models on every task that both ran."""
    from dnabench.reports.memo import Memo
    from dnabench.reports.render import compare_text
    from dnabench.reports.resampling import Resampler

    store, records = records_in(out)
    with _rows_bar(len({r.trial.task for r in records})) as observe:
        memo = Memo(store.folder / ".cache" / "report")
        text = compare_text(records, a, b, Resampler(store, observe=observe), memo)
    typer.echo(text)


def records_in(out: Path) -> tuple[Any, list[Any]]:
    """The store in a folder and its records; ends the command when there are none."""
    from dnabench.results.store import Store

    store = Store(out)
    records = list(store)
    warn_unreadable(store)
    if not records:
        fail(f"no records in {out}; make some: dnabench run --suite demo --out {out}")
    return store, records


def warn_unreadable(store: Any) -> None:
    """Name the files that are not records."""
    for path, why in store.unreadable.items():
        typer.echo(f"warning: skipped {path}: not a record: {why}", err=True)


@contextmanager
def _rows_bar(rows: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on stderr, a step for each task whose test examples are resampled."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task("reading", total=rows)

        def observe(what: str) -> None:
            progress.update(line, description=what, advance=1)

        yield observe
