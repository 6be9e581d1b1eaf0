"""Several cores for NumPy, which computes outside the interpreter's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from dnabench.host.machine import usable_cores

MOST = 8  # threads: each has replicates of its own in memory
Item = TypeVar("Item")
Found = TypeVar("Found")


def each(function: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """The function of each item, in their order; several are computed at once."""
    items = list(items)
    if min(len(items), _threads()) < 2:
        return list(map(function, items))
    with ThreadPoolExecutor(_threads()) as pool:
        return list(pool.map(function, items))


@cache
def _threads() -> int:
    return min(MOST, usable_cores())
