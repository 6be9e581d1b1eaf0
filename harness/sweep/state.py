"""How far the grid of a folder is: done, running and where, failed, waiting, time left."""

from __future__ import annotations

import time
from typing import NamedTuple

from dnabench.results.checkpoints import checkpoints
from dnabench.results.claims import Holder
from dnabench.results.store import Store
from dnabench.sweep.progress import expected, wall_time
from dnabench.sweep.stored import Grid
from dnabench.types import Job, Record


class Running(NamedTuple):
    """A trial that a process has claimed."""

    job: Job
    holder: Holder

    def seconds(self, now: float) -> float:
        """Since it began; `now` is seconds since 1970."""
        return max(0.0, now - self.holder.since)


class State(NamedTuple):
    """The trials of a grid, each in one of these."""

    done: list[Record]
    failed: list[Record]  # with those whose records cannot be read, which no worker runs again
    running: list[Running]  # the longest first
    silent: list[Running]  # their processes have ended or are not heard of: any worker takes them
    waiting: list[Job]
    seconds: float | None  # until the last one ends, if as many run at once as now; None = unknown
    checkpoints: list[str]  # ids of those that have not ended, of which there is a checkpoint


def state_of(store: Store, grid: Grid, now: float | None = None) -> State:
    """Look at the records and claims of a folder; nothing is changed but the index in .cache.

    Args:
        store: the folder.
        grid: from `stored_grid`.
        now: seconds since 1970; None = the time.
    """
    now, held = time.time() if now is None else now, store.holders()
    every, found = store.listing(grid.jobs)
    rows = {row.id: row for row in every if row.id in grid.jobs}
    ended = {i for i, row in rows.items() if row.written != grid.failed.get(i)}
    # a worker would fail at these, and leave them as they are
    closed = {i for i, row in rows.items() if row.why and not store.can_open(i)}
    records = {r.trial.id: r for r in found if r.trial.id in ended}
    why = {i: store.unreadable.get(store.record_path(i), "") for i in ended | closed}
    state = State([], [], [], [], [], None, [])
    for trial_id, job in grid.jobs.items():
        record = records.get(trial_id)
        if record is not None:
            (state.failed if record.error else state.done).append(record)
        elif trial_id in held:
            one = Running(job, held[trial_id])
            (state.silent if one.holder.gone else state.running).append(one)
        elif why.get(trial_id):
            error = f"its record cannot be read: {why[trial_id]}"
            state.failed.append(Record(trial=job.trial, error=error))
        else:
            state.waiting.append(job)
    state.running.sort(key=lambda one: one.holder.since)
    done = {record.trial.id for record in state.done}
    state.checkpoints.extend(
        i for i in checkpoints(store.folder) if i in grid.jobs and i not in done
    )
    return state._replace(seconds=_left(state, grid, now))


def _left(state: State, grid: Grid, now: float) -> float | None:
    waiting = [*(one.job for one in state.silent), *state.waiting]
    if not state.running:
        return None if waiting else 0.0
    known = [[(grid.jobs[r.trial.id], r.seconds) for r in state.done]]
    if not state.done:
        return None
    took: dict[tuple[str, str, float], float] = {}

    def seconds(job: Job) -> float:
        key = (job.trial.model, job.trial.task, job.size)
        if key not in took:
            took[key] = expected(job, known)[0]
        return took[key]

    busy = [max(0.0, seconds(one.job) - one.seconds(now)) for one in state.running]
    return wall_time(map(seconds, waiting), busy)
