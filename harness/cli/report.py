"""`dnabench report` and `dnabench compare`: words in, calls out."""

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
    format: Annotated[
        str, typer.Option("--format", "-f", help="md, csv, latex, html or parquet.")
    ] = "md",
    to: Annotated[
        Path | None, typer.Option(help="File to write; html, parquet: in the folder.")
    ] = None,
    against: Annotated[
        str, typer.Option(help="Compare only with this model: fewer tests, more power.")
    ] = "",
) -> None:
    """Print the tables: mean ± standard deviation over seeds, tests, verdicts."""
    from dnabench.reports.render import FILES, FORMATS, render
    from dnabench.reports.report import report
    from dnabench.reports.resampling import Resampler

    if format not in {**FORMATS, **FILES}:
        fail(f"no format {format!r}; there are {', '.join([*FORMATS, *FILES])}")
    store, records = records_in(out)
    with _rows_bar(len({(r.trial.protocol, r.trial.task) for r in records})) as observe:
        evidence = report(records, store, Resampler(store, observe=observe), against)
        found = render(evidence, format)
    if to is None and (format == "html" or isinstance(found, bytes)):
        to = out / f"report.{format}"
    if to is None:
        typer.echo(found)
        return
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
    """The store in a folder and its records; the command ends where there are none."""
    from dnabench.results.store import Store

    store = Store(out)
    records = list(store)
    warn_unreadable(store)
    if not records:
        fail(f"no records in {out}; make some: dnabench run --suite demo --out {out}")
    return store, records


def warn_unreadable(store: Any) -> None:
    """Name the files that are no records."""
    for path, why in store.unreadable.items():
        typer.echo(f"warning: skipped {path}: not a record: {why}", err=True)


@contextmanager
def _rows_bar(rows: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, a step for each row whose test examples are drawn again."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task("reading", total=rows)

        def observe(what: str) -> None:
            progress.update(line, description=what, advance=1)

        yield observe
