"""`dnabench report`: records into tables."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.bars import bar
from dnabench.cli.errors import fail, warn
from dnabench.cli.options import Out, Shown, names_of

if TYPE_CHECKING:
    from dnabench.reports.evidence import Report
    from dnabench.types import Job

NEAREST = 3  # folders with records that a message names


def report(
    out: Out = Path("runs"),
    full: Annotated[
        bool, typer.Option("--full", help="Print every table, as Markdown; same as --format md.")
    ] = False,
    format: Annotated[
        str,
        typer.Option("--format", "-f", help="Every table as md, csv, json, latex, html or parquet; "
                     "default: one screen of text.", show_default=False),
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option(help="File to write; html and parquet default to report.* in the folder."),
    ] = None,
    against: Annotated[
        str,
        typer.Option(help="Show only pairs with this model; p counts all pairs unless declared.",
                     autocompletion=names_of("models")),
    ] = "",
    metric: Shown = "",
    all_metrics: Annotated[
        bool,
        typer.Option("--all-metrics", help="Every recorded metric, in csv, json and parquet."),
    ] = False,
    same_code: Annotated[
        bool,
        typer.Option("--same-code", help="Refuse runs made by several versions, commits or torch."),
    ] = False,
) -> None:  # fmt: skip
    """Show scores, verdicts and what they assume, on one screen.

    --full or --format gives every table.
    """
    from dnabench.reports.render import DATA, FILES, FORMATS, render
    from dnabench.reports.report import report
    from dnabench.reports.resampling import Resampler
    from dnabench.reports.text.overview import overview

    if format not in {"": None, **FORMATS, **FILES}:
        fail(f"no format {format!r}; choose from {', '.join([*FORMATS, *FILES])}")
    if all_metrics and format not in DATA:
        fail(f"--all-metrics is for --format {', '.join(DATA)}; --metric NAME shows one in any")
    if not format and (full or to is not None):
        format = "md"
    store, records = records_in(out, tuning=True)
    read = {(r.trial.protocol, r.trial.task) for r in records if not r.trial.tuning}
    with bar("reading", len(read)) as show:
        resampler = Resampler(store, observe=lambda task: show(description=task, advance=1))
        evidence = report(records, store, resampler, against, same_code, metric, all_metrics)
        found = (
            render(evidence, format, all_metrics) if format else overview(evidence, store.folder)
        )
    if to is None and format != "html" and isinstance(found, str):
        typer.echo(found.removesuffix("\n"))
        return
    to = to or out / f"report.{format}"
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(found if isinstance(found, bytes) else found.encode())
    typer.echo(str(to))


def report_on(out: Path, jobs: Sequence[Job]) -> Report:
    """The report of these trials alone, of those that a folder has."""
    from dnabench.reports.report import report
    from dnabench.reports.resampling import Resampler

    store, records = records_in(out)
    ids = {job.trial.id for job in jobs}
    return report([r for r in records if r.trial.id in ids], store, Resampler(store))


def records_in(out: Path, tuning: bool = False) -> tuple[Any, list[Any]]:
    """The store in a folder and its records; ends the command when none has read test.

    Args:
        out: the folder.
        tuning: also trials of tuning, which have no test score.
    """
    from dnabench.results.read_once import ReadOnce

    store = ReadOnce(out)
    gc.disable()  # records hold no cycles, and looking for some takes a fifth of the reading
    every = list(store)
    tested = [record for record in every if not record.trial.tuning]
    if "torch" not in sys.modules:  # what is frozen is never freed, and triton complains of that
        gc.freeze()
    gc.enable()
    warn_unreadable(store)
    if every and not tested:
        fail(
            f"in {out} are only trials of tuning ({len(every)}), and no run that was tested: "
            "run their `dnabench tune` again, which resumes and then tests"
        )
    if not tested:
        fail(
            f"no records in {out}; {_folders_near(out)}make some: dnabench run --suite demo "
            f"--out {out}"
        )
    return store, every if tuning else tested


def _folders_near(out: Path) -> str:
    """Which folders in this one, or in the current one, have records, for a message."""
    places = [*out.glob("*/records"), *Path().glob("*/records")]
    near = sorted({place.parent for place in places if any(place.glob("*.json"))} - {out})
    if not near:
        return ""
    more = f" and {len(near) - NEAREST} more" if len(near) > NEAREST else ""
    return f"there are some in {', '.join(map(str, near[:NEAREST]))}{more} (--out), or "


def warn_unreadable(store: Any) -> None:
    """Name the files that are not records."""
    for path, why in store.unreadable.items():
        warn(f"warning: skipped {path}: not a record: {why}")
