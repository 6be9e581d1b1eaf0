"""Several cores for NumPy, which computes outside the interpreter's lock."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from dnabench.host.machine import usable_cores

MOST = 8  # threads: each has replicates of its own in memory
Item = TypeVar("Item")
Found = TypeVar("Found")


def each(function: Callable[[Item], Found], items: Iterable[Item], most: int = MOST) -> list[Found]:
    """The function of each item, in their order; up to `most` are computed at once.

    Items are taken when they are needed, so that few of a generator are in memory.
    """
    threads = min(most, _threads())
    if threads < 2:
        return list(map(function, items))
    found: list[Found] = []
    waiting: deque[Future[Found]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                found.append(waiting.popleft().result())
        found += [future.result() for future in waiting]
    return found


@cache
def _threads() -> int:
    return min(MOST, usable_cores())
