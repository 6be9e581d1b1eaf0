"""Work that forked processes share once it turns out to be long."""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dnabench.host.machine import free_memory, usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")
LONG = 1.0  # seconds of work left that are worth a fork
_given: tuple[Callable[[Any], Any], Sequence[Any]] | None = None  # to a fork: work, items


def each(
    work: Callable[[Item], Result], items: Sequence[Item],
    came: Callable[[Item], None] | None = None,
) -> list[Result]:  # fmt: skip
    """`[work(x) for x in items]`, by several processes where that saves time.

    Once the items that are left would take LONG at the pace so far, forks of this process do them,
    one a core and as far as memory goes. They know all that this one does, so only results are
    sent; what else `work` changes stays in the fork. On Linux alone, and not beside torch, whose
    threads and devices a fork does not have.

    Args:
        work: may be any callable; a fork calls no `each` of its own.
        items: those of the same results, whoever computes them.
        came: is called here with each item that a fork has done.
    """
    out, start = list[Result](), time.perf_counter()
    for n, item in enumerate(items):
        left = len(items) - n
        if n and (time.perf_counter() - start) / n * left > LONG and (size := _size(left)) > 1:
            return out + _by_forks(work, items[n:], size, came)
        out.append(work(item))
    return out


def forked() -> bool:
    """Whether this process works for another's `each`: what it shows is not seen."""
    return _given is not None


def _size(items: int) -> int:
    """As many processes as there is work, cores, and memory, each as large as this one ever was."""
    if forked() or not _safe():
        return 1
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return min(items, usable_cores(), free_memory() // largest)


def _safe() -> bool:
    return sys.platform.startswith("linux") and "torch" not in sys.modules


def _by_forks(
    work: Callable[[Item], Result], items: Sequence[Item], size: int,
    came: Callable[[Item], None] | None,
) -> list[Result]:  # fmt: skip
    """What a fork that is ended from outside leaves undone, this process does."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    out = list[Result]()
    pool = ProcessPoolExecutor(size, get_context("fork"), _give, (work, items))
    try:
        for item, result in zip(items, pool.map(_done, range(len(items))), strict=True):
            out.append(result)
            if came is not None:
                came(item)
    except BrokenProcessPool:
        out += map(work, items[len(out) :])
    finally:
        pool.shutdown(cancel_futures=True)
    return out


def _give(work: Callable[[Any], Any], items: Sequence[Any]) -> None:
    global _given
    _given = work, items
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process ends them


def _done(n: int) -> Any:
    assert _given is not None
    work, items = _given
    return work(items[n])
