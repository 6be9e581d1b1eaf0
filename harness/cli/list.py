"""`dnabench list`: what there is. Imports neither torch nor pandas."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.table import NARROWEST, print_table

KINDS = ("models", "tasks", "suites", "protocols", "recipes", "metrics", "spaces")


def list_(
    kind: Annotated[
        str, typer.Argument(help=f"{', '.join(KINDS)}.", autocompletion=lambda: [*KINDS])
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Only these, one field per line; of tasks also a suite."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Of recipes: each value of MODEL [SUITE] with its source."),
    ] = False,
) -> None:
    """List models, tasks, suites, protocols, recipes and the rest.

    On a terminal the table is cut to its width; in a pipe or a file it is complete.
    """
    from tabulate import tabulate

    from dnabench.cli.explain import explained
    from dnabench.cli.listing import LISTINGS
    from dnabench.registry import MODELS, TASKS, explain_miss
    from dnabench.sweep.tasks import suites

    if kind not in KINDS:
        fail(explain_miss("list", kind, [*KINDS], f"choose from {', '.join(KINDS)}"))
    if explain:
        if kind != "recipes":
            fail(f"--explain is for recipes, not for {kind}: dnabench list recipes --explain MODEL")
        typer.echo(explained(names or []))
        return
    header, rows = LISTINGS[kind]()
    width = shutil.get_terminal_size().columns
    if names and kind == "tasks":
        names = [task for name in names for task in suites().get(name, (name,))]
    for name in names or []:
        if not (found := [row for row in rows if row[0] == name]):
            known = [row[0] for row in rows]
            fail(explain_miss(kind[:-1], name, known, f"see `dnabench list {kind}`"))
        for row in found:
            room = [None, max(NARROWEST, width - 2 - max(map(len, header)))]
            fields = zip(header, row, strict=True)
            text = tabulate(fields, tablefmt="plain", maxcolwidths=room, disable_numparse=True)
            typer.echo(f"{text}\n")
    if not names:
        print_table(header, rows, f"`dnabench list {kind} NAME` shows all")
    for registry in (MODELS, TASKS):
        for what, why in registry.broken.items():
            typer.echo(f"warning: {registry.noun}s: {what} did not load: {why}", err=True)
