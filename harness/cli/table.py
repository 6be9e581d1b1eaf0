"""Tables on the terminal: cut to its width there, complete in a pipe or a file."""

import shutil
import sys
from collections.abc import Sequence
from typing import Any

import typer

Row = Sequence[Any]
Rows = list[Row]
NARROWEST = 16  # characters of a shortened column


def print_table(
    header: Row, rows: Rows, more: str = "add `| cat` to see all", numbers: bool = False
) -> None:
    """Print rows under a header; if the terminal is too narrow, say how to see `more`.

    With `numbers` all columns but the first are aligned at the right.
    """
    from tabulate import tabulate

    cut = False
    if sys.stdout.isatty():
        header, rows, cut = fit(header, rows, max(shutil.get_terminal_size().columns, 40))
    align = ("left", *("right",) * (len(header) - 1)) if numbers else None
    typer.echo(tabulate(rows, header, disable_numparse=True, colalign=align))
    if cut:
        typer.echo(f"cut to fit: {more}")


def between(interval: tuple[float, float] | None) -> str:
    """A cell for an interval; "" = there is none."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""


def fit(header: Row, rows: Rows, width: int) -> tuple[Row, Rows, bool]:
    """The first columns that fit, the last one shortened, and whether anything was cut."""
    kept: list[list[str]] = []
    for column in zip(header, *rows, strict=True):
        texts = [str(cell) for cell in column]
        head = max(map(len, texts[0].split("\n")))  # a header may have several lines
        longest = max([head + 2, *map(len, texts[1:])])  # tabulate pads headers
        if longest > width >= NARROWEST:
            kept.append([t if len(t) <= width else f"{t[: width - 1]}…" for t in texts])
        if longest > width:
            break
        kept.append(texts)
        width -= longest + 2
    first, *rest = zip(*kept, strict=True)
    return first, [*rest], width < longest
