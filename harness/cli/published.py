"""`dnabench published ...`: the numbers that papers printed."""

from typing import Annotated

import typer

from dnabench.cli.help import command, group
from dnabench.cli.table import Rows, print_table

published = group("published", "Show the numbers that papers printed.")


@command(published, "list", "", "convnova", "gpn-thesis")
def list_(
    paper: Annotated[str, typer.Argument(help="convnova, ...; every paper if none.")] = "",
) -> None:
    """List the tables of a paper and how many values we have."""
    from dnabench.reports.papers.published import facts, seeds, tables, values

    rows: Rows = []
    for one in tables(paper):
        at = one.source, one.table
        count = len(values(*at)) or len(seeds(*at)) or len(facts(*at))
        rows.append((one.name, count, one.unit or "-", one.title))
    print_table(("table", "values", "unit", "what"), rows)


@command(
    published, "show", "convnova/table1", "convnova/table1 --format latex",
    "convnova/table13 --format csv",
)  # fmt: skip
def show(
    table: Annotated[str, typer.Argument(help="As `dnabench published list` has it.")],
    fmt: Annotated[str, typer.Option("--format", "-f", help="md, csv or latex.")] = "md",
) -> None:
    """Print a table as the paper does, with our marks."""
    from dnabench.reports.papers.published_text import show

    typer.echo(show(table, fmt), nl=False)
