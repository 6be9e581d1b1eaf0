"""The sweep: from jobs to records. No job runs twice, and one that fails does not stop the rest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

from dnabench.executors import EXECUTORS
from dnabench.executors.base import Event
from dnabench.registry import MODELS
from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.types import ONE_CPU, Array, Job, Progress, Record, Resources, printable
from dnabench.weights import fetch

LONGEST_ERROR = 20_000  # characters that are kept


class Outcome(NamedTuple):
    """How a job came out.

    kind: "finished" here; "failed" here, or in another process since the sweep began; "skipped", it
    had a record; "elsewhere", another process is running it, so there is no record yet.
    """

    kind: Literal["finished", "failed", "skipped", "elsewhere"]
    record: Record | None = None


def fetch_weights(jobs: Sequence[Job]) -> list[str]:
    """Download the weights that the jobs load, once and before any of them runs.

    Returns:
        What could not be downloaded. Those jobs fail with the same message, the others run.
    """
    problems = []
    for name, regime in {(job.trial.model, job.trial.regime): None for job in jobs}:
        if regime.startswith("pretrained:"):
            model = MODELS[name]
            try:
                fetch(model, regime)
                if model.weights is not None and model.weights.tokenizer:
                    fetch(model, regime, tokenizer=True)
            except ValueError as e:
                problems.append(str(e))
    return problems


def work(
    job: Job, progress: Progress, folder: str, resources: Resources, before: Mapping[str, int]
) -> Outcome:
    """Run a job unless it is done or another process runs it, and store its record or error.

    Args:
        job: what to run.
        progress: called with (epochs done, epochs in all).
        folder: of the store.
        resources: where to run.
        before: trial id -> `Store.written` when the sweep began. A failure that was written later
            comes from another process and is not run again.
    """
    store, trial_id = Store(folder), job.trial.id
    with store.claim(trial_id) as mine:
        if not mine:
            return Outcome("elsewhere")
        try:
            record = store.read_before_writing(trial_id)
        except ValueError as e:  # nothing is stored: the file stays as it is
            return Outcome("failed", _failure(job, resources, f"ValueError: {e}"))
        if record is not None and not record.error:
            return Outcome("skipped", record)
        if record is not None and store.written(trial_id) != before[trial_id]:
            return Outcome("failed", record)
        store.log("started", trial_id)
        predictions: dict[str, Array] | None = None
        try:
            record, predictions = run_trial(job, resources, progress)
        except Exception as e:
            if _out_of_memory(e):
                raise MemoryError(str(e)) from e  # an executor replaces the worker
            record = _failure(job, resources, traceback.format_exc())
        if mine.lost():  # this host was silent for minutes, and another runs the trial now
            return Outcome("elsewhere")
        store.append(record, predictions)
        return Outcome("failed" if record.error else "finished", record)


def _out_of_memory(error: Exception) -> bool:
    from dnabench.train.batches import ran_out

    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ran_out(error))


def _failure(job: Job, resources: Resources, error: str) -> Record:
    where = {**here(), "device": resources.device}
    return Record(trial=job.trial, error=_readable(error), where=where)


def _readable(error: str) -> str:
    """At most 20 kB, the first and last half of that, without what a terminal would obey."""
    if len(error) > LONGEST_ERROR:
        half = LONGEST_ERROR // 2
        left_out = f"[{len(error) - 2 * half} characters left out]"
        error = f"{error[:half]}\n... {left_out} ...\n{error[-half:]}"
    return printable(error)


@dataclass
class Summary:
    """The records of a sweep, by how their jobs came out."""

    finished: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    skipped: list[Record] = field(default_factory=list)  # they had a record, or got one elsewhere


OnEvent = Callable[[Event, Job, "Outcome | None"], None]  # the outcome comes with the last event


def run(
    jobs: Sequence[Job],
    store: Store,
    resources: Resources = ONE_CPU,
    on_event: OnEvent = lambda event, job, outcome: None,
    summary: Summary | None = None,
) -> Summary:
    """Run the jobs that have no record in the store, and those that failed before.

    Args:
        jobs: the grid.
        store: where records are read and written.
        resources: how many jobs at once, and where.
        on_event: called with every event.
        summary: filled while the sweep runs, for a caller that may be interrupted.

    Returns:
        How every job came out. One that another process is running is waited for, and taken over
        if that process dies; where it fails there, it is not run again.

    Raises:
        ValueError: the store's folder cannot be written, or the executor cannot keep the timeout.
    """
    store.check_writable()
    out = Summary() if summary is None else summary
    before = {job.trial.id: store.written(job.trial.id) for job in jobs}
    done = {r.trial.id: r for r in store if not r.error}
    out.skipped += [done[job.trial.id] for job in jobs if job.trial.id in done]
    left = [job for job in jobs if job.trial.id not in done]
    executor = EXECUTORS[resources.executor](
        partial(work, folder=str(store.folder.resolve()), resources=resources, before=before),
        resources.workers, resources.threads, resources.timeout,
    )  # fmt: skip
    while left:
        elsewhere: list[Job] = []
        with closing(executor.run(left)) as events:
            for event in events:
                job = left[event.job]
                outcome = _outcome(event, job, store, resources)
                on_event(event, job, outcome)
                if outcome is not None and outcome.record is not None:
                    getattr(out, outcome.kind).append(outcome.record)
                elif outcome is not None:
                    elsewhere.append(job)
        left = _wait_for_others(elsewhere, store, out)
    return out


def _outcome(event: Event, job: Job, store: Store, resources: Resources) -> Outcome | None:
    if event.kind == "returned":
        return event.value  # type: ignore[no-any-return]
    if event.kind != "died":
        return None
    with store.claim(job.trial.id) as mine:
        if not mine:
            return Outcome("elsewhere")
        try:
            record = store.read_before_writing(job.trial.id)
        except ValueError as e:
            return Outcome("failed", _failure(job, resources, f"ValueError: {e}"))
        if record is not None and not record.error:  # it died after it had stored the record
            return Outcome("finished", record)
        record = _failure(job, resources, event.value)
        store.append(record)
        return Outcome("failed", record)


def _wait_for_others(elsewhere: Sequence[Job], store: Store, out: Summary) -> list[Job]:
    """Wait until another process finishes or drops one of these jobs; those left to run."""
    left, pause = list(elsewhere), 0.5
    while left and len(left) == len(elsewhere):
        time.sleep(pause)
        pause = min(1.2 * pause, 5.0)
        for job in elsewhere:
            record = store.read(job.trial.id)
            if record is not None and not record.error:
                out.skipped.append(record)
                left.remove(job)
                continue
            with store.claim(job.trial.id) as free:
                if free:
                    return left
    return left
