"""The tasks that a request names: those of the registry, of suites and of the user's own files."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from dnabench.registry import TASKS, explain_miss
from dnabench.tasks.io.once import own_task
from dnabench.types import OwnData, Task

if TYPE_CHECKING:
    from dnabench.sweep.grid import Request


def tasks_of(request: Request) -> list[Task]:
    """The tasks that a request names by --tasks, --suite or --data."""
    mine = own_tasks(request)
    if mine and not (request.tasks or request.suite):
        return mine
    named = [request.suite] if isinstance(request.suite, str) else request.suite
    of_suites = [name for suite in dict.fromkeys(filter(None, named)) for name in _suite(suite)]
    names = [full for name in request.tasks for full in _full_names(name, named)]
    tasks = [TASKS[name] for name in names]
    for task in tasks if of_suites else ():
        if task.name not in of_suites:
            where = f"the suite{'s'[: len(named) - 1]} {' or '.join(named)}"
            raise ValueError(f"{task.name} is not in {where}; leave out --suite")
    tasks = tasks or [TASKS[name] for name in of_suites]
    if not tasks:
        raise ValueError("no tasks; write --suite demo, --tasks NAME,... or --data FILE")
    if absent := [task.name for task in tasks if not task.data]:
        raise ValueError(
            f"the data of {', '.join(absent)} are not here; `dnabench data fetch {absent[0]}` gets "
            "them or says where they are, `dnabench data import FOLDER` takes files that you have"
        )
    for task in tasks:
        if lacking := [split for split in ("train", "test") if split not in task.counts]:
            raise ValueError(
                f"the data of {task.name} that are here have no {' and no '.join(lacking)} split; "
                f"`dnabench data fetch {task.name}` gets all of them"
            )
    return list({task.name: task for task in [*tasks, *mine]}.values())


def _suite(name: str) -> tuple[str, ...]:
    """The tasks of a suite."""
    known = suites()
    if name not in known:
        raise KeyError(explain_miss("suite", name, list(known)))
    return known[name]


def _full_names(name: str, named: Sequence[str]) -> list[str]:
    """A task of --tasks with its suite: of several suites, each that has one of that name."""
    every = [f"{suite}/{name}" for suite in named if suite and "/" not in name]
    return [full for full in every if full in TASKS] or every[:1] or [name]


def own_tasks(request: Request) -> list[Task]:
    """The tasks of the user's own files; errors as from `as_each_needs`."""
    return [task for task, _ in _mine(request).values()]


def own_paths(request: Request) -> dict[str, tuple[str, OwnData]]:
    """Task name -> path and how it is read, of the user's own files."""
    names: dict[str, tuple[str, OwnData]] = {}
    for path, (task, own) in _mine(request).items():
        if (before := names.setdefault(task.name, (path, own))[0]) != path:
            raise ValueError(f"--data {path}: {before} has the same name, {task.name}; rename one")
    return names


def _mine(request: Request) -> dict[str, tuple[Task, OwnData]]:
    paths = [request.data] if isinstance(request.data, str) else request.data
    return as_each_needs(tuple(dict.fromkeys(filter(None, paths))), request.own)


@lru_cache(maxsize=2)
def as_each_needs(paths: tuple[str, ...], own: OwnData) -> dict[str, tuple[Task, OwnData]]:
    """The tasks of a user's files, each read without the flags that only others of them need.

    Args:
        paths: of the files, each once.
        own: the flags, which are for all of them.

    Returns:
        Path -> its task, whose notes name the flags that were left out, and the others.

    Raises:
        UnusedError: a flag that none of the files needs.
        FileNotFoundError, ValueError: as `task_from_path`.
    """
    from dnabench.tasks.io.flags import USUAL, UnusedError

    out, unused = {}, dict[str, list[UnusedError]]()
    for path in paths:
        left, without = own, list[str]()
        while True:
            try:
                task = own_task(path, left)
                break
            except UnusedError as e:
                unused.setdefault(e.field, []).append(e)
                if len(unused[e.field]) == len(paths):
                    raise unused[e.field][0] from None
                left = replace(left, **{e.field: getattr(USUAL, e.field)})
                without.append(e.flag)
        notes = [f"not used here: {', '.join(without)}"] if without else []
        out[path] = replace(task, notes=(*task.notes, *notes)), left
    return out


def suites() -> dict[str, tuple[str, ...]]:
    """Every suite and its tasks, whose names begin with `suite/`."""
    names = sorted(TASKS, key=lambda name: name.partition("/"))
    return {s: tuple(g) for s, g in itertools.groupby(names, lambda n: n.partition("/")[0])}
