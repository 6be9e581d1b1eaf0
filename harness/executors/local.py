"""Executors: ways to map a function over jobs. Each yields what happened as it happens.

The function runs in worker processes, one job at a time each, so that a crash, a kill or a leak
costs one trial. The workers end when this process ends, however it ends.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from dnabench.types import Progress

Work = Callable[[Any, Progress], Any]


class Event(NamedTuple):
    """What happened to job number `job`.

    kind: "started"; "progress" with value (done, total); "returned" with what the function gave;
    "died" with the exit code of the worker.
    """

    kind: Literal["started", "progress", "returned", "died"]
    job: int
    value: Any = None


def inline(work: Work, jobs: Sequence[Any], workers: int, threads: int) -> Iterator[Event]:
    """One after another in this process: for debuggers."""
    import torch

    torch.set_num_threads(threads)
    for i, job in enumerate(jobs):
        yield Event("started", i)
        yield Event("returned", i, work(job, lambda done, total: None))


def local(work: Work, jobs: Sequence[Any], workers: int, threads: int) -> Iterator[Event]:
    """In `workers` processes of `threads` threads each on this machine."""
    waiting = deque(range(len(jobs)))
    crew = [_Worker(work, threads) for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(w.job is not None for w in crew):
            for place, w in enumerate(crew):
                if w.job is None and waiting:
                    crew[place] = _given(w, waiting[0], jobs[waiting[0]])
                    yield Event("started", waiting.popleft())
            busy = {w.connection: w for w in crew if w.job is not None}
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                event = worker.take()
                if event.kind == "died":
                    crew[crew.index(worker)] = worker.successor()
                yield event
    finally:
        for w in crew:
            w.kill()


def _given(worker: _Worker, number: int, job: Any) -> _Worker:
    """Give a job; to a successor when the worker died while it had none."""
    try:
        worker.give(number, job)
    except OSError:
        worker = worker.successor()
        worker.give(number, job)
    return worker


@dataclass(eq=False)
class _Worker:
    """One process and the pipe to it."""

    work: Work
    threads: int
    job: int | None = None

    def __post_init__(self) -> None:
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        life, self._life = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve, args=(self.work, theirs, life, self.threads), daemon=True
        )
        resource_tracker.ensure_running()  # else the first start does it, and unblocks SIGINT
        with _environment(self.threads), _sigint_blocked():  # the child inherits both
            self._process.start()
        theirs.close()
        life.close()

    def give(self, number: int, job: Any) -> None:
        self.job = number
        self.connection.send(job)

    def take(self) -> Event:
        assert self.job is not None
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            return Event("died", self.job, self._process.exitcode)
        job = self.job
        if kind == "returned":
            self.job = None
        return Event(kind, job, value)

    def successor(self) -> _Worker:
        self.kill()
        return _Worker(self.work, self.threads)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._life.close()


def _serve(work: Work, jobs: Connection, life: Connection, threads: int) -> None:
    """A worker's life: take a job, send its progress and its result, repeat."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while True:
        job = jobs.recv()
        value = work(job, lambda done, total: jobs.send(("progress", (done, total))))
        jobs.send(("returned", value))


def _end_with_parent(life: Connection) -> None:
    """The parent never writes to this pipe; when it ends, reading fails, and so do we."""
    try:
        life.recv()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "10000000000"}


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """What libraries read when a child process starts: thread counts, and how glibc frees memory.

    Left alone, glibc gives arrays of some megabytes back to the kernel, which must clear them again
    for the next (measured in docs/benchmarks/scaling.md). A user's own values win.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    wanted = {**KEEP_MEMORY, **dict.fromkeys(names, str(threads))}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({k: v for k, v in wanted.items() if k in names or k not in os.environ})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


Executor = Callable[[Work, Sequence[Any], int, int], Iterator[Event]]
EXECUTORS: dict[str, Executor] = {"local": local, "inline": inline}
