"""The sweep: jobs to records on disk. No job runs twice, and none that fails ends the others."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

from dnabench.executors.local import EXECUTORS, Event
from dnabench.registry import MODELS
from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.types import ONE_CPU, Array, Job, Progress, Record, Resources
from dnabench.weights import fetch, fetch_tokenizer


class Outcome(NamedTuple):
    """What became of a job: this call ran it ("ended", "failed") or somebody else did."""

    kind: Literal["ended", "failed", "busy", "already"]
    record: Record | None = None


def fetch_weights(jobs: Sequence[Job]) -> list[str]:
    """Download what the jobs will load, once and before any of them; what could not be had.

    Those jobs then fail with the same message, the others run.
    """
    problems = []
    for name, regime in {(job.trial.model, job.trial.regime): None for job in jobs}:
        if regime.startswith("pretrained:"):
            model = MODELS[name]
            try:
                fetch(model, regime)
                if model.weights is not None and model.weights.tokenizer:
                    fetch_tokenizer(model, regime)
            except ValueError as e:
                problems.append(str(e))
    return problems


def work(job: Job, progress: Progress, folder: str, resources: Resources) -> Outcome:
    """Run a job that nobody else runs or ran, and store what it gave, errors included."""
    store, trial_id = Store(folder), job.trial.id
    with store.claim(trial_id) as mine:
        if not mine:
            return Outcome("busy")
        record = store.read(trial_id)
        if record is not None and not record.error:
            return Outcome("already", record)
        store.log("started", trial_id)
        predictions: dict[str, Array] | None = None
        try:
            record, predictions = run_trial(job, resources, progress)
        except Exception:
            record = _failure(job, resources, traceback.format_exc())
        store.append(record, predictions)
        return Outcome("failed" if record.error else "ended", record)


def _failure(job: Job, resources: Resources, error: str) -> Record:
    return Record(trial=job.trial, error=error, where={**here(), "device": resources.device})


@dataclass
class Summary:
    """What a sweep did: the jobs by what became of them."""

    ended: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    already: list[Record] = field(default_factory=list)  # done before, or meanwhile by others


Observer = Callable[[Event, Job, "Outcome | None"], None]


def run(
    jobs: Sequence[Job],
    store: Store,
    resources: Resources = ONE_CPU,
    observe: Observer = lambda event, job, outcome: None,
    summary: Summary | None = None,
) -> Summary:
    """Run the jobs that the store does not have; jobs that failed before are tried again.

    Args:
        jobs: the grid.
        store: where records are and go.
        resources: how many at once, and where.
        observe: told of everything that happens.
        summary: filled as the sweep goes, for a caller that may be interrupted.

    Returns:
        What became of every job. A job that another process runs is waited for, and taken over
        when that process dies.

    Raises:
        ValueError: when the store's folder cannot be written.
    """
    store.check_writable()
    out = Summary() if summary is None else summary
    done = {r.trial.id: r for r in store if not r.error}
    out.already += [done[job.trial.id] for job in jobs if job.trial.id in done]
    left = [job for job in jobs if job.trial.id not in done]
    task = partial(work, folder=str(store.folder), resources=resources)
    while left:
        busy: list[Job] = []
        for event in EXECUTORS[resources.executor](
            task, left, resources.workers, resources.threads
        ):
            job = left[event.job]
            outcome = _outcome(event, job, store, resources)
            observe(event, job, outcome)
            if outcome is not None and outcome.record is not None:
                getattr(out, outcome.kind).append(outcome.record)
            elif outcome is not None:
                busy.append(job)
        left = _wait_for_others(busy, store, out)
    return out


def _outcome(event: Event, job: Job, store: Store, resources: Resources) -> Outcome | None:
    if event.kind == "returned":
        return event.value  # type: ignore[no-any-return]
    if event.kind != "died":
        return None
    code = event.value
    reason = f"signal {-code}, often out of memory" if code and code < 0 else f"exit status {code}"
    with store.claim(job.trial.id) as mine:
        if not mine:
            return Outcome("busy")
        record = store.read(job.trial.id)
        if record is not None and not record.error:  # it died after its last act
            return Outcome("ended", record)
        record = _failure(job, resources, f"RuntimeError: the worker process died ({reason})")
        store.append(record)
        return Outcome("failed", record)


def _wait_for_others(busy: Sequence[Job], store: Store, out: Summary) -> list[Job]:
    """Wait until another process has finished one of these or let go of it; the rest is left."""
    left = list(busy)
    while left and len(left) == len(busy):
        time.sleep(0.5)
        for job in busy:
            record = store.read(job.trial.id)
            if record is not None and not record.error:
                out.already.append(record)
                left.remove(job)
                continue
            with store.claim(job.trial.id) as free:
                if free:
                    return left
    return left
