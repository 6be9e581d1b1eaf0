"""What a person sees while a sweep runs: bars with an ETA, or plain lines when nobody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from dnabench.executors import Event
from dnabench.plan import Job
from dnabench.run import Outcome


class Estimate:
    """Seconds until the last job ends, from those that ended and those that run.

    A job is expected to take the mean time of its model on its task, else of its model, else of
    all jobs so far.

    Args:
        jobs: all that this call will run.
        workers: how many at once.
    """

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._left = {job.trial.id: job for job in jobs}
        self._workers = max(1, workers)
        self._started: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._seconds: dict[tuple[str, ...], list[float]] = {}

    def observe(self, event: Event, job: Job, now: float) -> None:
        """Take note of an event."""
        trial_id = job.trial.id
        if event.kind == "started":
            self._started[trial_id] = now
        elif event.kind == "progress":
            self._share[trial_id] = event.value[0] / event.value[1]
        elif self._left.pop(trial_id, None) is not None:
            self._note(job, now - self._started[trial_id])

    def remaining(self, now: float) -> float | None:
        """Seconds left; None while nothing is known."""
        total = 0.0
        for trial_id, job in self._left.items():
            spent = now - self._started.get(trial_id, now)
            share = self._share.get(trial_id, 0.0)
            expected = spent / share if share else self._expected(job)
            if expected is None:
                return None
            total += max(expected - spent, 0.0)
        return total / min(self._workers, max(1, len(self._left)))

    def _note(self, job: Job, seconds: float) -> None:
        for key in _kinds(job):
            self._seconds.setdefault(key, []).append(seconds)

    def _expected(self, job: Job) -> float | None:
        for key in _kinds(job):
            if key in self._seconds:
                return sum(self._seconds[key]) / len(self._seconds[key])
        running = [
            (t - self._started[i]) / self._share[i]
            for i, t in ((i, time.monotonic()) for i in self._share)
            if i in self._left
        ]
        return sum(running) / len(running) if running else None


def _kinds(job: Job) -> list[tuple[str, ...]]:
    return [(job.trial.model, job.trial.task), (job.trial.model,), ()]


class Lines:
    """One line when a trial ends: for logs."""

    def __init__(self, jobs: Sequence[Job], workers: int, console: Console) -> None:
        self._estimate, self._console = Estimate(jobs, workers), console
        self._n, self._total = 0, len(jobs)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, event: Event, job: Job, outcome: Outcome | None) -> None:
        """An observer for `run`."""
        now = time.monotonic()
        self._estimate.observe(event, job, now)
        if outcome is None or outcome.kind == "busy":
            return
        self._n += 1
        left = _clock(self._estimate.remaining(now))
        text = f"[{self._n}/{self._total}] {result_line(job, outcome)}  {left} left"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """A bar for the sweep and one for each running trial: for people."""

    def __init__(self, jobs: Sequence[Job], workers: int, console: Console) -> None:
        self._estimate, self._console = Estimate(jobs, workers), console
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
        """An observer for `run`."""
        trial_id, now = job.trial.id, time.monotonic()
        self._estimate.observe(event, job, now)
        if event.kind == "started":
            epochs = job.trial.recipe.epochs
            self._running[trial_id] = self._bars.add_task(
                f"  {name_of(job)}", total=epochs, note="epochs"
            )
        elif event.kind == "progress":
            done, total = event.value
            self._bars.update(self._running[trial_id], completed=done, total=total)
        elif trial_id in self._running:
            self._bars.remove_task(self._running.pop(trial_id))
            self._bars.advance(self._sweep)
        if outcome is not None and outcome.kind != "busy":
            self._console.print(result_line(job, outcome), markup=False, highlight=False)
        self._bars.update(self._sweep, note=f"{_clock(self._estimate.remaining(now))} left")


def observer(jobs: Sequence[Job], workers: int, console: Console) -> AbstractContextManager[Any]:
    """Bars on a terminal, lines elsewhere."""
    return (Bars if console.is_terminal else Lines)(jobs, workers, console)


def name_of(job: Job) -> str:
    """A trial in a few words."""
    return f"{job.trial.model} {job.trial.task} seed {job.trial.seed}"


def result_line(job: Job, outcome: Outcome) -> str:
    """What a finished trial gave, in a line."""
    record = outcome.record
    assert record is not None  # a finished trial has one
    if record.error:
        return f"FAILED {name_of(job)}: {record.error.strip().splitlines()[-1]}"
    metric = record.task["metric"]
    value = record.scores["test"][metric]
    return f"{name_of(job)}: test {metric} {value:.3f}  ({record.seconds:.0f} s)"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
