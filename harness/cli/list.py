"""`dnabench list`: what there is. Imports neither torch nor pandas."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail

if TYPE_CHECKING:
    from dnabench.cli.listing import Row, Rows

KINDS = ("models", "tasks", "suites", "protocols", "recipes", "metrics")
NARROWEST = 16  # characters of a shortened column


def list_(
    kind: Annotated[
        str, typer.Argument(help=f"{', '.join(KINDS)}.", autocompletion=lambda: [*KINDS])
    ],
    names: Annotated[
        list[str] | None, typer.Argument(help="Show only these, one field per line.")
    ] = None,
) -> None:
    """List models, tasks, suites, protocols, recipes or metrics.

    On a terminal the table is cut to its width; in a pipe or a file it is complete.
    """
    from tabulate import tabulate

    import dnabench
    from dnabench.cli.listing import LISTINGS
    from dnabench.registry import explain_miss

    if kind not in KINDS:
        fail(explain_miss("list", kind, [*KINDS], f"choose from {', '.join(KINDS)}"))
    header, rows = LISTINGS[kind]()
    width = shutil.get_terminal_size().columns
    for name in names or []:
        if not (found := [row for row in rows if row[0] == name]):
            known = [row[0] for row in rows]
            fail(explain_miss(kind[:-1], name, known, f"see `dnabench list {kind}`"))
        for row in found:
            room = [None, max(NARROWEST, width - 2 - max(map(len, header)))]
            fields = zip(header, row, strict=True)
            typer.echo(tabulate(fields, tablefmt="plain", maxcolwidths=room) + "\n")
    if not names:
        cut = False
        if sys.stdout.isatty():
            header, rows, cut = fit(header, rows, max(width, 40))
        typer.echo(tabulate(rows, header, disable_numparse=True))
        if cut:
            typer.echo(f"cut to fit: `dnabench list {kind} NAME` shows all")
    for registry in (dnabench.MODELS, dnabench.TASKS):
        for what, why in registry.broken.items():
            typer.echo(f"warning: {registry.noun}s: {what} did not load: {why}", err=True)


def fit(header: Row, rows: Rows, width: int) -> tuple[Row, Rows, bool]:
    """The first columns that fit, the last one shortened, and whether anything was cut."""
    kept: list[list[str]] = []
    for column in zip(header, *rows, strict=True):
        texts = [str(cell) for cell in column]
        longest = max(len(texts[0]) + 2, *map(len, texts))  # tabulate pads headers
        if longest > width >= NARROWEST:
            kept.append([t if len(t) <= width else f"{t[: width - 1]}…" for t in texts])
        if longest > width:
            break
        kept.append(texts)
        width -= longest + 2
    first, *rest = zip(*kept, strict=True)
    return first, [*rest], width < longest
