"""Jobs in worker processes on this machine."""

from __future__ import annotations

import multiprocessing as mp
import os
import secrets
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.executors.base import UNUSABLE, Event, Here, Work, attempt, first, last_line
from dnabench.host.machine import pinned

MARK = "DNABENCH_WORKER"  # in the environment of a worker, and so of all that it starts
TICK = 1.0  # seconds of waiting at a time, so that a stopped process notices


@contextmanager
def workers_kept() -> Iterator[None]:
    """Workers of `Local` that have no job left wait for its next submission, in this context.

    They end with it. For submissions one after another, with the same threads and devices; what
    runs the jobs, how many at once and for how long may differ.
    """
    kept: list[_Worker] = []
    token = _KEPT.set(kept)
    try:
        yield
    finally:
        _KEPT.reset(token)
        for worker in kept:
            worker.kill()


def idle_memory() -> int:
    """Bytes of the workers that wait in `workers_kept`, which the next jobs use again.

    On Linux; elsewhere 0.
    """
    pages = 0
    for process in (worker._process for worker in _KEPT.get() or ()):
        with suppress(OSError):
            if process is not None:
                pages += int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") if pages else 0


class Local(Here):
    """In worker processes on this machine, while `events` is read.

    A worker runs one job at a time and keeps its caches from job to job. One that dies, exceeds the
    timeout or runs out of memory is replaced, on the same GPU. Workers end with their submission,
    unless `workers_kept`, and when this process ends, however it ends; on Linux so does every
    process that their jobs started.
    """

    name = "local"

    def submit(self, jobs: Sequence[Any]) -> str:
        """Workers start when `events` is read, no more of them than jobs."""
        handle = self._keep((deque(), [], count()))
        for job in jobs:
            self.add(handle, job)
        return handle

    def add(self, handle: str, job: Any) -> None:
        """Hand over one more job; its number is the next.

        Where `events` has ended, a new call of it goes on, with the workers that there are.
        """
        waiting, crew, numbers = self._queue(handle)
        waiting.append((next(numbers), job))
        if len(crew) < self.workers:
            crew.append(self._place(len(crew)))

    def _place(self, number: int) -> _Worker:
        """For one more worker: one that an earlier submission left, if there is one."""
        device = self.devices[number % len(self.devices)] if self.devices else ""
        if kept := _KEPT.get():
            worker = kept.pop(next((i for i, w in enumerate(kept) if w.device == device), 0))
            worker.work = self.work
            return worker
        return _Worker(self.work, self.threads, device)

    def events(self, handle: str) -> Iterator[Event]:
        """Give jobs to idle workers and pass on what they send."""
        waiting: deque[tuple[int, Any]]
        crew: list[_Worker]
        waiting, crew, _ = self._queue(handle)
        seen = time.monotonic()
        while waiting or any(w.job is not None for w in crew):
            for worker in crew:
                if worker.job is None and (taken := first(waiting)) is not None:
                    worker.give(*taken)
            busy = [w for w in crew if w.job is not None]
            if not busy:  # `hold` was called meanwhile
                continue
            ends = [w.begun + self.timeout for w in busy if w.begun and self.timeout]
            patience = min(TICK, max(0.0, min(ends) - time.monotonic())) if ends else None
            ready = wait([w.connection for w in busy], patience)
            seen, before = time.monotonic(), seen
            if self.timeout and (gap := seen - before) > 2 * TICK:
                for worker in busy:  # this process was stopped (Ctrl-Z), and they with it
                    worker.begun += gap if worker.begun else 0.0
            for worker in busy:
                if worker.job is None:  # cancelled meanwhile
                    continue
                if worker.connection in ready:
                    yield worker.take()
                elif self.timeout and 0 < worker.begun < time.monotonic() - self.timeout:
                    yield worker.stop(self.timeout)

    def hold(self, handle: str) -> None:
        """Forget the jobs that no worker has; send SIGUSR1 to those that run one."""
        waiting, crew, _ = self._queue(handle)
        waiting.clear()
        for worker in crew:
            worker.warn()

    def cancel(self, handle: str) -> None:
        """Kill the workers; of those that are kept, the ones that run a job."""
        waiting, crew, _ = self._queue(handle)
        waiting.clear()
        kept = _KEPT.get()
        for worker in crew:
            if kept is None or worker.job is not None:
                worker.kill()
        if kept is not None:
            kept.extend(crew)
            crew.clear()


class _Next(NamedTuple):
    """Tells a process what runs the jobs from now on."""

    work: Work


@dataclass(eq=False)
class _Worker:
    """A place for one process after another, and the pipes to the present one."""

    work: Work
    threads: int
    device: str
    job: int | None = None
    begun: float = 0.0  # by the monotonic clock, when the process began the job; 0 = not yet
    _process: BaseProcess | None = None
    _mark: str = ""
    _told: Work | None = None  # what the process runs jobs with

    def give(self, number: int, job: Any) -> None:
        """Send a job; to a new process if there is none, or if it died while it was idle."""
        if self._process is None:
            self._start()
        try:
            if self._told is not self.work:
                self.connection.send(_Next(self.work))
                self._told = self.work
            self.connection.send(job)
        except OSError:
            self.kill()
            self._start()
            self.connection.send(job)
        self.job, self.begun = number, 0.0

    def take(self) -> Event:
        """The next message of the process, or that it died."""
        assert self.job is not None and self._process is not None
        number = self.job
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            if self.begun:
                self._process.join()
                error = f"RuntimeError: the worker process died ({_how(self._process.exitcode)})"
                self.kill()
                return Event("died", number, error)
            kind, value = "started", None  # the next call says that it died
        except Exception as e:  # a message cut off, or a value that does not unpickle
            if self.begun:
                self.kill()
                error = f"RuntimeError: the worker's answer is unreadable ({type(e).__name__}: {e})"
                return Event("died", number, error)
            self._process.kill()
            kind, value = "started", None
        if kind == "started":
            self.begun = time.monotonic()
        elif kind == "died" and _spoiled(last_line(value)):
            self.kill()  # what the job holds, or did to its GPU, would fail the next one
        elif kind != "progress":
            self.job = None
        return Event(kind, number, value)

    def stop(self, timeout: float) -> Event:
        """End the process because its job takes too long."""
        assert self.job is not None
        number = self.job
        self.kill()
        error = f"still running after {timeout:g} s (--trial-timeout); its worker was stopped"
        return Event("died", number, f"TimeoutError: {error}")

    def warn(self) -> None:
        """Tell the process that it may be ended soon; before its job began it cannot be told."""
        pid = self._process.pid if self._process is not None and self.begun else None
        if self.job is not None and pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    def kill(self) -> None:
        """End the process, if there is one, and all it started; wait until it has ended."""
        self.job = None
        if self._process is not None:
            self._process.kill()
            self._process.join()
            _kill_marked(self._mark)
            self.connection.close()
            self._life.close()
            self._process = None

    def _start(self) -> None:
        context = mp.get_context("spawn")
        with ExitStack() as ends:  # all of them are closed if the process cannot start
            self.connection, theirs = context.Pipe()
            life, self._life = context.Pipe(duplex=False)
            for end in (self.connection, self._life):
                ends.enter_context(end)
            with theirs, life:
                args = (self.work, theirs, life, self.threads)
                process = context.Process(target=_serve, args=args, daemon=True)
                resource_tracker.ensure_running()  # else the first start does, unblocking SIGINT
                self._mark = secrets.token_hex(8)
                with _inherited(self.threads, self._mark, self.device):
                    process.start()
            ends.pop_all()
        self._process, self._told = process, self.work


# places of `workers_kept` that no submission has; None = workers end with their submission
_KEPT: ContextVar[list[_Worker] | None] = ContextVar("_KEPT", default=None)


def _serve(work: Work, jobs: Connection, life: Connection, threads: int) -> None:
    """A worker's life: take a job, send its events, repeat."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
        signal.signal(number, _leave_to_parent)  # batch systems send them to every process
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    import torch

    torch.set_num_threads(threads)

    def tell(message: tuple[str, Any]) -> None:
        try:
            jobs.send(message)
        except OSError:  # the parent has ended; its job must not take that for a failure
            _end()

    while True:
        job = jobs.recv()
        if isinstance(job, _Next):
            work = job.work
            continue
        tell(("started", None))
        tell(attempt(work, job, lambda *step: tell(("progress", step))))


def _leave_to_parent(number: int, frame: object) -> None:
    """Not SIG_IGN, which programs that the job starts would inherit."""


def _end_with_parent(life: Connection) -> None:
    """The parent never writes to this pipe; when it ends, reading fails and this process exits."""
    try:
        life.recv()
    except (EOFError, OSError):
        _end()


def _end() -> None:
    _kill_marked(os.environ[MARK])
    os._exit(1)


def _kill_marked(mark: str) -> None:
    """End every other process that was started with this mark in its environment; Linux only."""
    entry = f"{MARK}={mark}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended, or is another user's
            process = int(environment.parent.name)
            if process != os.getpid() and entry in environment.read_bytes().split(b"\0"):
                os.kill(process, signal.SIGKILL)


def _spoiled(error: str) -> bool:
    return error.startswith("MemoryError") or UNUSABLE in error


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    with suppress(ValueError):
        name = signal.Signals(-exitcode).name
        return f"{name}, often out of memory" if name == "SIGKILL" else name
    return f"signal {-exitcode}"


KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "10000000000"}


@contextmanager
def _inherited(threads: int, mark: str, device: str = "") -> Iterator[None]:
    """What a child inherits: SIGINT blocked, its mark, GPU, threads of libraries, memory policy.

    By default glibc returns arrays of a few megabytes to the kernel, which must clear their pages
    again for the next (measured in docs/benchmarks/scaling.md). A user's own memory settings win.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    wanted = {k: v for k, v in KEEP_MEMORY.items() if k not in os.environ}
    wanted.update({**dict.fromkeys(names, str(threads)), MARK: mark})
    wanted.update(pinned(device) if device.startswith("cuda:") else {})
    before = {name: os.environ.get(name) for name in wanted}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
