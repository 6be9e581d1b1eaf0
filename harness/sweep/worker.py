"""A worker: takes open trials of the grid in a folder, beside any number of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import NamedTuple

from dnabench.executors.base import Executor
from dnabench.results.checkpoints import checkpoint_path
from dnabench.results.store import Store
from dnabench.sweep.keeping import apart_from_seed, drop_worse
from dnabench.sweep.stored import Grid, is_open, stored_grid
from dnabench.sweep.sweep import Summary, executor_for, outcomes
from dnabench.sweep.whole import Show
from dnabench.types import Job, Record, Resources

PAUSE = 1.0  # seconds before looking again, when claims were released meanwhile


class Left(NamedTuple):
    """Trials that a worker leaves, of those that it may take."""

    waiting: int
    elsewhere: int  # other processes are running them


class Worker:
    """Takes open trials until none is free or it is told to stop.

    Args:
        store: of the grid and the records.
        resources: where to run.
        only: ids of the trials that it may take; None = all.
        can_run: whether this machine can run a job, such as at its precision.
    """

    def __init__(
        self, store: Store, resources: Resources, only: Collection[str] | None = None,
        can_run: Callable[[Job], bool] = lambda job: True,
    ) -> None:  # fmt: skip
        self.store, self.resources, self.only, self.can_run = store, resources, only, can_run
        self.stopping = False
        self.moved = False  # whether a trial that it ran is open no more
        self._tried: dict[str, int] = {}  # trial id -> the failure that it was to replace
        self._saved: dict[str, int] = {}  # trial id -> steps that its checkpoint had
        self._running: tuple[Executor, str] | None = None

    def hold(self) -> None:
        """Begin no more trials; those that run save what they can. A signal handler may call it."""
        self.stopping = True
        if self._running is not None:
            executor, handle = self._running
            executor.hold(handle)

    def went_on(self) -> bool:
        """Whether a trial ended, or a checkpoint of one came further, since it began.

        One that was thrown away and written anew did not: two kinds of nodes could go on with that
        for ever under `deterministic`.
        """
        return self.moved or any(self._steps(i) > n for i, n in self._saved.items())

    def _steps(self, trial_id: str) -> int:
        path = checkpoint_path(self.store.folder, trial_id)
        if not path.exists():
            return 0
        from dnabench.train.checkpoint import steps_in

        return steps_in(path)

    def take(self, show: Show, summary: Summary) -> None:
        """Run open trials. Whatever ends this early kills what runs, and frees it for others.

        Args:
            show: from the jobs about to run to what shows their progress.
            summary: filled meanwhile.
        """
        while not self.stopping and (jobs := self.free(grid := stored_grid(self.store))):
            n = len(self._tried)
            for job in jobs:
                if job.trial.id not in self._saved:
                    self._saved[job.trial.id] = self._steps(job.trial.id)
            with show(jobs) as on_event:
                executor = executor_for(
                    self.store, self.resources, {i: grid.failed.get(i, 0) for i in grid.jobs}
                )
                handle = executor.submit(jobs)
                self._running = executor, handle
                seen = outcomes(executor.follow(handle), jobs, self.store, self.resources)
                with closing(seen):
                    if self.stopping:  # told so just before there was something to hold
                        executor.hold(handle)
                    for event, job, outcome in seen:
                        on_event(event, job, outcome)
                        if outcome is not None and outcome.record is not None:
                            getattr(summary, outcome.kind).append(outcome.record)
                            self._tried[job.trial.id] = grid.failed.get(job.trial.id, 0)
                            self.moved |= not is_open(job.trial.id, self.store, grid)
                            self._drop_worse(job, outcome.record, grid)
            if n == len(self._tried):
                time.sleep(PAUSE)

    def free(self, grid: Grid) -> list[Job]:
        """The open trials that it may take, has not tried, and nobody runs."""
        held = {name for name, holder in self.store.holders().items() if not holder.gone}
        return [job for job in self._mine(grid) if job.trial.id not in held]

    def left(self) -> Left:
        """What is not done, of the trials that it may take."""
        mine, held = self._mine(stored_grid(self.store)), self.store.holders()
        elsewhere = sum(j.trial.id in held and not held[j.trial.id].gone for j in mine)
        return Left(len(mine) - elsewhere, elsewhere)

    def _mine(self, grid: Grid) -> list[Job]:
        """A trial that it tried and could not store, as its file may not be opened, is not."""
        return [
            job for trial_id, job in grid.jobs.items()
            if (self.only is None or trial_id in self.only)
            and self._tried.get(trial_id) != grid.failed.get(trial_id, 0)
            and is_open(trial_id, self.store, grid) and self.can_run(job)
        ]  # fmt: skip

    def _drop_worse(self, job: Job, record: Record, grid: Grid) -> None:
        """Of kept networks that differ in the seed alone the best stays, if that is asked for."""
        if job.keep != "best" or record.error:
            return
        kind = apart_from_seed(job.trial)
        drop_worse(_records(self.store, [
            j for j in grid.jobs.values()
            if j.trial.model == job.trial.model and self.store.has_network(j.trial.id)
            and apart_from_seed(j.trial) == kind
        ]), record, self.store)  # fmt: skip


def _records(store: Store, jobs: Sequence[Job]) -> list[Record]:
    found = (store.read(job.trial.id) for job in jobs)
    return [record for record in found if record is not None and not record.error]
