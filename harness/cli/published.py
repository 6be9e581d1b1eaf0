"""`dnabench published ...`: the numbers that papers printed."""

from __future__ import annotations

from typing import Annotated

import typer

from dnabench.cli.errors import report_errors

published = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The numbers that papers printed."
)


@published.command("list", epilog="Examples: dnabench published list | ... list convnova")
@report_errors
def list_(
    paper: Annotated[str, typer.Argument(help="convnova, ...; every paper if none.")] = "",
) -> None:
    """Print every table of a paper, and how many values of it are in the package."""
    from tabulate import tabulate

    from dnabench.reports.papers.published import facts, seeds, tables, values

    rows = []
    for one in tables(paper):
        at = one.source, one.table
        count = len(values(*at)) or len(seeds(*at)) or len(facts(*at))
        rows.append((one.name, count, one.unit or "-", one.title))
    typer.echo(tabulate(rows, ("table", "values", "unit", "what"), disable_numparse=True))


@published.command(epilog="Example: dnabench published show convnova/table1 --format latex")
@report_errors
def show(
    table: Annotated[str, typer.Argument(help="As `dnabench published list` has it.")],
    fmt: Annotated[str, typer.Option("--format", "-f", help="md, csv or latex.")] = "md",
) -> None:
    """Print a table in the paper's layout, with its numbers as printed and our marks."""
    from dnabench.reports.papers.published_text import show

    typer.echo(show(table, fmt), nl=False)
