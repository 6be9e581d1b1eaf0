"""A table of text as Markdown."""

import re
from collections.abc import Iterable

from dnabench.reports.grid import Grid

_SPECIAL = re.compile(  # where Markdown would not read the letter as itself
    r"[\\|*`]|<(?=[\w/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\]\()"
)


def escaped(text: str) -> str:
    """Any text as itself, on one line of a table."""
    return " ".join(_SPECIAL.sub(r"\\\g<0>", text).split())


def grid(found: Grid, level: int = 3) -> str:
    """Title, table and notes."""
    parts = [f"{'#' * level} {escaped(found.title)}"] if found.title else []
    if found.heads:
        parts.append(pipes(map(escaped, found.heads), (map(escaped, row) for row in found.rows)))
    return "\n\n".join([*parts, *map(escaped, found.notes)])


def pipes(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of texts that are Markdown already."""
    from tabulate import tabulate

    return tabulate(list(map(list, rows)), list(heads), tablefmt="pipe", disable_numparse=True)
