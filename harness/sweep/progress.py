"""What a sweep shows while it runs: bars on a terminal, plain lines elsewhere, both with an ETA."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from dnabench.executors.base import Event
from dnabench.sweep.grid import label
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.sweep import OnEvent
from dnabench.types import Job

STEP = 1 / 3
LEAST = 0.05  # share of its expected time that a running job still needs, however long it has run


class Eta:
    """How long until the last job ends, from the jobs that have ended and those that run.

    A job is expected to take as long as its model on its task; else as its model on other tasks,
    scaled by the bp that it reads; else as all jobs so far. A running job stays as much slower or
    faster than earlier ones as it is after the same share of its epochs; the first one of its kind
    counts with its own pace. Workers take the jobs in order. Once a job of every model has ended,
    the predicted end moves by at most STEP of the time left per job that ends, unless less than
    half of the expected time would be shown.

    Args:
        jobs: all that this call will run.
        workers: how many at once.
    """

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._left = {job.trial.id: job for job in jobs}
        self._workers = max(1, workers)
        self._started: dict[str, float] = {}
        # share done, seconds of the whole job at that pace, the same over earlier jobs; 0 = none
        self._pace: dict[str, tuple[float, float, float]] = {}
        self._spent: dict[tuple[str, str, float], list[float]] = {}  # by kind and share
        self._ended: list[tuple[Job, float]] = []
        # the end as predicted when a job ended, and how far it may move until the next one ends
        self._last: tuple[float, float] | None = None
        self._before: tuple[float, float] | None = None

    def update(self, event: Event, job: Job, outcome: Outcome | None, now: float) -> None:
        """Take an event into account. A job that runs elsewhere is still to come."""
        trial_id = job.trial.id
        if event.kind == "started":
            self._started[trial_id] = now
            self._workers = max(self._workers, len(self._started))  # a cluster says so only now
        elif event.kind == "progress":
            share = event.value[0] / event.value[1]
            spent = now - self._started[trial_id]
            earlier = self._spent.setdefault((*_kind(job), share), [])
            relative = spent * len(earlier) / sum(earlier) if sum(earlier) else 0.0
            self._pace[trial_id] = share, spent / share, relative
            earlier.append(spent)
        else:
            seconds = now - self._started.pop(trial_id)
            self._pace.pop(trial_id, None)
            if outcome is None or outcome.record is not None:
                del self._left[trial_id]
                self._ended.append((job, seconds))
                self._before = self._last
                models = {j.trial.model for j in self._left.values()}
                if models <= {j.trial.model for j, _ in self._ended}:
                    left, _ = self.remaining(now)
                    self._last = now + left, STEP * left

    def remaining(self, now: float) -> tuple[float, bool]:
        """Seconds left, and whether every model has shown how long it takes."""
        seconds, complete = self._unsmoothed(now)
        if self._before is not None and self._left:
            end, step = self._before
            latest = max(end + step - now, seconds / 2)
            seconds = min(max(seconds, end - step - now), latest)
        return seconds, complete

    def _unsmoothed(self, now: float) -> tuple[float, bool]:
        known = self._ended, [(self._left[i], seconds) for i, (_, seconds, _) in self._pace.items()]
        running, waiting, complete = [], [], True
        for trial_id, job in self._left.items():
            seconds, of_model = expected(job, known)
            complete = complete and of_model
            if trial_id in self._started:
                share, own, relative = self._pace.get(trial_id, (0.0, 0.0, 0.0))
                seconds = relative * seconds or share * own + (1 - share) * seconds
                spent = now - self._started[trial_id]
                running.append(max(LEAST * seconds, seconds - spent))
            else:
                waiting.append(seconds)
        return wall_time(waiting, [*running, *[0.0] * (self._workers - len(running))]), complete

    def text(self, now: float) -> str:
        """`1:02 left`."""
        seconds, complete = self.remaining(now)
        return f"{'' if complete else 'more than '}{clock(seconds)} left"


def expected(job: Job, known: Sequence[Sequence[tuple[Job, float]]]) -> tuple[float, bool]:
    """(seconds by the most similar jobs that have ended, or else run; whether of its model)."""
    for n_equal in (2, 1, 0):  # model and task, model, nothing
        for jobs in known:
            alike = [(j, s) for j, s in jobs if _kind(j)[:n_equal] == _kind(job)[:n_equal]]
            if alike:
                total, size = sum(s for _, s in alike), sum(j.size for j, _ in alike)
                return total * job.size / size, n_equal > 0
    return 0.0, False


def _kind(job: Job) -> tuple[str, str]:
    return job.trial.model, job.trial.task


def wall_time(queue: Iterable[float], busy: Iterable[float]) -> float:
    """Seconds until the last job ends, when each worker takes the next as soon as it is free.

    Args:
        queue: seconds of the jobs in order.
        busy: seconds until each worker is free.
    """
    free = list(busy)
    heapq.heapify(free)
    for seconds in queue:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


class Lines(AbstractContextManager["Lines"]):
    """A line for each trial that ends: for logs."""

    def __init__(self, jobs: Sequence[Job], workers: int, console: Console) -> None:
        self._eta, self._console = Eta(jobs, workers), console
        self._n, self._total = 0, len(jobs)

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, event: Event, job: Job, outcome: Outcome | None) -> None:
        """An `OnEvent`."""
        now = time.monotonic()
        self._eta.update(event, job, outcome, now)
        if outcome is not None and outcome.record is not None:
            self._n += 1
            text = f"[{self._n}/{self._total}] {result_line(job, outcome)}  {self._eta.text(now)}"
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars(AbstractContextManager["Bars"]):
    """A bar for the sweep and one for each running trial: for people."""

    def __init__(self, jobs: Sequence[Job], workers: int, console: Console) -> None:
        self._eta, self._console = Eta(jobs, workers), console
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self._bars = Progress(*columns, console=console)
        self._sweep = self._bars.add_task("all trials", total=len(jobs), note="")
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def __call__(self, event: Event, job: Job, outcome: Outcome | None) -> None:
        """An `OnEvent`."""
        trial_id, now = job.trial.id, time.monotonic()
        self._eta.update(event, job, outcome, now)
        if event.kind == "started":
            self._running[trial_id] = self._bars.add_task(
                f"  {name_of(job)}", total=job.trial.recipe.epochs, note="epochs"
            )
        elif event.kind == "progress":
            done, total = event.value
            self._bars.update(self._running[trial_id], completed=done, total=total)
        else:
            self._bars.remove_task(self._running.pop(trial_id))
        if outcome is not None and outcome.record is not None:
            self._bars.advance(self._sweep)
            self._console.print(result_line(job, outcome), markup=False, highlight=False)
        self._bars.update(self._sweep, note=self._eta.text(now))


def display(jobs: Sequence[Job], workers: int, console: Console) -> AbstractContextManager[OnEvent]:
    """Bars on a terminal, lines elsewhere."""
    return (Bars if console.is_terminal else Lines)(jobs, workers, console)


def name_of(job: Job) -> str:
    """The model, its changed options, task and seed."""
    return f"{label(job.trial)} {job.trial.task} seed {job.trial.seed}"


def result_line(job: Job, outcome: Outcome) -> str:
    """The score or the error of a trial that has ended."""
    record = outcome.record
    assert record is not None  # a trial that has ended has one
    if record.error:
        return f"FAILED {name_of(job)}: {record.reason}"
    metric = record.task["metric"]
    split = job.trial.scored
    value = record.scores[split].get(metric)
    text = "undefined" if value is None else f"{value:.3f}"
    return f"{name_of(job)}: {split} {metric} {text}  ({record.seconds:.0f} s)"


def clock(seconds: float) -> str:
    """`1:02` or `3:01:02`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
