"""Groups of records and rows, and the order of their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, TypeVar

from dnabench.types import Record

if TYPE_CHECKING:
    from dnabench.reports.table import Row

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by key, both in order of appearance."""
    out: dict[Key, list[Item]] = {}
    for item in items:
        out.setdefault(key(item), []).append(item)
    return out


def suite_of(thing: Record | Row) -> str:
    """The part of the task's name before the slash."""
    return (thing.trial.task if isinstance(thing, Record) else thing.task).partition("/")[0]


def natural(text: str) -> list[tuple[str, float]]:
    """A key that sorts k9 before k10, and lr=0.0003 before lr=0.001 before lr=1e-2."""
    found = re.findall(r"(\D*?)((?:(?<![\w.])\d+\.\d+|\d+)(?:e[+-]?\d+\b)?|$)", text)
    return [(word, float(digits or 0)) for word, digits in found]
