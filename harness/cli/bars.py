"""Progress bars of commands that run no trials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def bar(what: str, total: int | None = None, shown: bool = True) -> Iterator[Callable[..., None]]:
    """A bar on stderr, gone when it ends; without a total it pulses.

    Yields:
        What changes it: `show(description=..., advance=1, completed=..., total=...)`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    console = Console(stderr=True, quiet=not shown)
    with Progress(*columns, console=console, transient=True) as progress:
        yield partial(progress.update, progress.add_task(what, total=total))
