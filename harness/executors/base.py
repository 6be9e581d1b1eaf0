"""The contract of an executor: something that runs jobs, here or elsewhere."""

from __future__ import annotations

import os
import socket
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from dnabench.types import Progress

Work = Callable[[Any, Progress], Any]
UNUSABLE = "cannot be used by this process any more"  # of a GPU, in the error of a job


class Event(NamedTuple):
    """Something that happened to job number `job`, counted from 0 in the order of submission.

    kind: "started"; "progress" with value (done, total); "returned" with the value of the function;
    "died" with an error text whose last line is "Class: reason".
    """

    kind: Literal["started", "progress", "returned", "died"]
    job: int
    value: Any = None


class Executor(ABC):
    """Runs every job that is submitted, and reports events.

    Every job gives one "started", any number of "progress" and then one "returned" or "died",
    unless it is cancelled; jobs may overlap and end in any order. A job that raises, or whose
    worker exits, is killed or exceeds the timeout, is a "died" event and costs no other job
    anything. An executor may start one worker for several jobs, or several workers for a job that
    the system restarts: the events stay the same.
    """

    name: ClassVar[str]

    @abstractmethod
    def submit(self, jobs: Sequence[Any]) -> str:
        """Hand over jobs.

        Returns:
            A handle for the other methods: one line of text that can be written down.
        """

    @abstractmethod
    def events(self, handle: str) -> Iterator[Event]:
        """What happens to the jobs, as it happens; ends with the last job. Cancels nothing."""

    @abstractmethod
    def cancel(self, handle: str) -> None:
        """Stop the submission's jobs and workers, and no others; they give no more events.

        A second call does nothing.
        """

    @abstractmethod
    def hold(self, handle: str) -> None:
        """Begin no more jobs; `events` ends with those that run. A signal handler may call it.

        Those that run may be ended soon; where that can be done they are told so, by SIGUSR1.
        """

    def run(self, jobs: Sequence[Any]) -> Generator[Event, None, None]:
        """Submit and follow; whatever ends this iterator early cancels what is left."""
        yield from self.follow(self.submit(jobs))

    def follow(self, handle: str) -> Generator[Event, None, None]:
        """The events; whatever ends this iterator early cancels what is left."""
        try:
            yield from self.events(handle)
        finally:
            self.cancel(handle)


class Here(Executor):
    """Runs `work(job, progress)` on this machine, in processes that end with this one.

    Jobs and values are pickled, so `work` is a function of a module, and what must outlast this
    process is written to disk by `work` itself.

    Args:
        work: the function that runs a job.
        workers: jobs at once.
        threads: of each worker.
        timeout: seconds that a job may run once a worker has begun it; 0 = no limit.
        devices: GPUs, "cuda:0" and so on, that isolated workers get in turn, each one alone; other
            names say nothing.

    Raises:
        ValueError: a timeout where jobs cannot be stopped from outside.
    """

    isolated: ClassVar[bool] = True  # jobs run in other processes, which can be stopped

    def __init__(
        self, work: Work, workers: int = 1, threads: int = 1, timeout: float = 0,
        devices: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if timeout and not self.isolated:
            raise ValueError(
                f"--trial-timeout {timeout:g}: the executor {self.name!r} cannot stop a trial that "
                "is running; write --executor local"
            )
        self.work, self.workers, self.threads, self.timeout = work, workers, threads, timeout
        self.devices = devices
        self._queues: dict[str, Any] = {}  # by handle

    def _keep(self, queue: Any) -> str:
        """A handle for a queue that only this process knows."""
        handle = f"{self.name}:{socket.gethostname()}:{os.getpid()}:{id(self)}:{len(self._queues)}"
        self._queues[handle] = queue
        return handle

    def _queue(self, handle: str) -> Any:
        if handle not in self._queues:
            raise ValueError(f"{handle}: this executor has submitted nothing under this handle")
        return self._queues[handle]


def first(waiting: deque[tuple[int, Any]]) -> tuple[int, Any] | None:
    """Take the first job, if there is one; `hold` may empty the queue at any moment."""
    try:
        return waiting.popleft()
    except IndexError:
        return None


def attempt(work: Work, job: Any, progress: Progress) -> tuple[Literal["returned", "died"], Any]:
    """Run a job; the kind and value of its last event. The working folder is as before it."""
    home = os.open(".", os.O_RDONLY)
    try:
        return "returned", work(job, progress)
    except Exception:
        return "died", traceback.format_exc()
    finally:
        os.fchdir(home)
        os.close(home)


def last_line(error: str) -> str:
    """`Class: reason` of an error text."""
    return error.strip().rpartition("\n")[2]
