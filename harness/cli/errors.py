"""How the command line reports what is wrong."""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import typer

F = TypeVar("F", bound=Callable[..., Any])


def report_errors(command: F) -> F:
    """Turn errors in the user's input or files into one message and exit status 2."""

    @functools.wraps(command)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (ValueError, KeyError, OSError) as e:
            if os.environ.get("DNABENCH_TRACEBACK"):
                raise
            if isinstance(e, BrokenPipeError) and _unread():
                raise  # typer ends without a word
            fail(e.args[0] if isinstance(e, KeyError) else str(e))

    return inner  # type: ignore[return-value]


def _unread() -> bool:
    """Whether the reader of standard output has left, as `head` does."""
    polled = select.poll()
    polled.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in polled.poll(0))


def fail(message: str) -> NoReturn:
    """Print what is wrong and end with exit status 2."""
    warn(f"error: {message}")
    raise typer.Exit(2)


def warn(text: str) -> None:
    """Print to stderr, without what a terminal would obey: names and errors may have that."""
    from dnabench.records import printable

    typer.echo(printable(text), err=True)


def print_notes(notes: Iterable[str]) -> None:
    """Print them to stderr."""
    for note in notes:
        warn(f"note: {note}")


def split_commas(texts: str | Iterable[str]) -> list[str]:
    """The words between commas of one text, or of a flag that was given several times."""
    parts = ",".join([texts] if isinstance(texts, str) else texts).split(",")
    return [word.strip() for word in parts if word.strip()]
