"""`dnabench audit published` and `dnabench audit tables`: numbers that do not fit each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail

if TYPE_CHECKING:
    from dnabench.reports.papers.audit import Audit

To = Annotated[Path | None, typer.Option(help="JSON file for the findings with their numbers.")]
Fail = Annotated[bool, typer.Option("--fail-on-findings", help="Exit 1 if there are any.")]


def published(
    paper: Annotated[str, typer.Option(help="As `dnabench published list` names it.")] = "convnova",
    to: To = None,
    fail_on_findings: Fail = False,
) -> None:
    """Check a paper's printed numbers against each other."""
    from dnabench.reports.papers.audit import COMMAND, of_paper

    title = f"The published numbers of {paper}, checked by rule"
    _show(of_paper(paper), title, COMMAND.format(paper), to, fail_on_findings)


def tables(
    file: Annotated[
        Path, typer.Argument(help="CSV: task, model, seed, value; also variant, mean, spread.")
    ],
    printed: Annotated[
        Path | None, typer.Option(help="CSV of the printed table: task, model, mean, spread, mark.")
    ] = None,
    to: To = None,
    fail_on_findings: Fail = False,
) -> None:
    """Check a table of runs, and say which model is better.

    Means that are printed with the runs are checked too. The rules are those of `audit
    published`, the verdicts those of `report`.
    """
    from dnabench.reports.papers.audit import of_file
    from dnabench.reports.papers.read_table import read
    from dnabench.reports.papers.verdicts import sentences

    command = f"dnabench audit tables {file}" + (f" --printed {printed}" if printed else "")
    said = ["", "## Which model is better", "", *(f"- {x}" for x in sentences(read(file)[1]))]
    done = of_file(file, printed)
    _show(done, f"{file.name}, checked by rule", command, to, fail_on_findings, said)


def _show(
    done: Audit, title: str, command: str, to: Path | None, fail_on_findings: bool,
    more: Sequence[str] = (),
) -> None:  # fmt: skip
    from dnabench.reports.grid import count
    from dnabench.reports.papers.audit import markdown, to_json

    if to is not None and not to.parent.is_dir():
        fail(f"--to {to}: there is no folder {to.parent}; make it, or name a file in one that is")
    typer.echo(markdown(done, title, command), nl=False)
    for line in more:
        typer.echo(line)
    if to is not None:
        to.write_text(to_json(done), encoding="utf-8")
    if fail_on_findings and done.found:
        typer.echo(count(len(done.found), "finding"), err=True)
        raise typer.Exit(1)
