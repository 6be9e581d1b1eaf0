"""What a person sees while a sweep runs: bars with an ETA, or plain lines when nobody looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from dnabench.executors.local import Event
from dnabench.sweep.grid import label
from dnabench.sweep.sweep import Outcome
from dnabench.types import Job


class Estimate:
    """How long until the last job ends, from the jobs that ended and those that run.

    A job is expected to take as long as its model on its task; else as its model elsewhere, scaled
    by the bp it reads; else as all jobs so far. A running job counts with what its finished epochs
    promise.

    Args:
        jobs: all that this call will run.
        workers: how many at once.
    """

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._left = {job.trial.id: job for job in jobs}
        self._workers = max(1, workers)
        self._started: dict[str, float] = {}
        self._share: dict[str, float] = {}
        self._ended: list[tuple[Job, float]] = []

    def observe(self, event: Event, job: Job, outcome: Outcome | None, now: float) -> None:
        """Take note of an event. A job that another process runs is still to come."""
        trial_id = job.trial.id
        if outcome is not None and outcome.kind == "busy":
            self._started.pop(trial_id, None)
        elif event.kind == "started":
            self._started[trial_id] = now
        elif event.kind == "progress":
            self._share[trial_id] = event.value[0] / event.value[1]
        elif self._left.pop(trial_id, None) is not None:
            self._share.pop(trial_id, None)
            self._ended.append((job, now - self._started[trial_id]))

    def remaining(self, now: float) -> tuple[float, bool]:
        """Seconds left, and whether every model has shown how long it takes."""
        known = [*self._ended, *self._promised(now)]
        total, complete = 0.0, True
        for trial_id, job in self._left.items():
            seconds, own = _expected(job, known)
            spent = now - self._started.get(trial_id, now)
            total, complete = total + max(seconds - spent, 0.0), complete and own
        return total / min(self._workers, max(1, len(self._left))), complete

    def text(self, now: float) -> str:
        """The same in words."""
        seconds, complete = self.remaining(now)
        return f"{'' if complete else 'over '}{_clock(seconds)} left"

    def _promised(self, now: float) -> list[tuple[Job, float]]:
        shares = self._share.items()
        return [(self._left[i], (now - self._started[i]) / share) for i, share in shares]


def _expected(job: Job, known: Sequence[tuple[Job, float]]) -> tuple[float, bool]:
    """(seconds by the most similar jobs known, whether one is of the same model)."""
    t = job.trial
    of_model = [(j, s) for j, s in known if j.trial.model == t.model]
    alike = [(j, s) for j, s in of_model if j.trial.task == t.task] or of_model or known
    total, size = sum(s for _, s in alike), sum(j.size for j, _ in alike)
    return (total * job.size / size if size else 0.0), bool(of_model)


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
        self._estimate.observe(event, job, outcome, now)
        if outcome is None or outcome.kind == "busy":
            return
        self._n += 1
        left = self._estimate.text(now)
        text = f"[{self._n}/{self._total}] {result_line(job, outcome)}  {left}"
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
        self._estimate.observe(event, job, outcome, now)
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
        if outcome is not None and outcome.kind != "busy":
            self._bars.advance(self._sweep)
            self._console.print(result_line(job, outcome), markup=False, highlight=False)
        self._bars.update(self._sweep, note=self._estimate.text(now))


def observer(jobs: Sequence[Job], workers: int, console: Console) -> AbstractContextManager[Any]:
    """Bars on a terminal, lines elsewhere."""
    return (Bars if console.is_terminal else Lines)(jobs, workers, console)


def name_of(job: Job) -> str:
    """A trial in a few words."""
    return f"{label(job.trial)} {job.trial.task} seed {job.trial.seed}"


def result_line(job: Job, outcome: Outcome) -> str:
    """What a finished trial gave, in a line."""
    record = outcome.record
    assert record is not None  # a finished trial has one
    if record.error:
        return f"FAILED {name_of(job)}: {record.error.strip().splitlines()[-1]}"
    metric = record.task["metric"]
    value = record.scores["test"].get(metric)
    text = "undefined" if value is None else f"{value:.3f}"
    return f"{name_of(job)}: test {metric} {text}  ({record.seconds:.0f} s)"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
