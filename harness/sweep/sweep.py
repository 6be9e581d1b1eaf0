"""The sweep: from jobs to records. No job runs twice, and one that fails does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from dnabench.executors import EXECUTORS
from dnabench.executors.base import Event, Executor, last_line
from dnabench.registry import MODELS
from dnabench.results.checkpoints import remove_checkpoint
from dnabench.results.store import Store, UnwritableError
from dnabench.sweep.failures import failed_record
from dnabench.sweep.keeping import drop_worse
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.work import work
from dnabench.types import ONE_CPU, Job, Record, Resources
from dnabench.weights import fetch


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
                if model.fetch_official is not None:
                    model.fetch_official()
                    continue
                fetch(model, regime)
                if model.weights is not None and model.weights.tokenizer:
                    fetch(model, regime, tokenizer=True)
            except ValueError as e:
                problems.append(str(e))
    return problems


@dataclass
class Summary:
    """The records of a sweep, by how their jobs came out."""

    finished: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    skipped: list[Record] = field(default_factory=list)  # they had a record, or got one elsewhere
    # trial id -> why its network is not kept, "" where it is; those to be kept only
    networks: dict[str, str] = field(default_factory=dict)


OnEvent = Callable[[Event, Job, "Outcome | None"], None]  # the outcome comes with the last event


def run(
    jobs: Sequence[Job],
    store: Store,
    resources: Resources = ONE_CPU,
    on_event: OnEvent = lambda event, job, outcome: None,
    summary: Summary | None = None,
    executor: Executor | None = None,
) -> Summary:
    """Run the jobs that have no record in the store, and those that failed before.

    Args:
        jobs: the grid.
        store: where records are read and written.
        resources: how many jobs at once, and where.
        on_event: called with every event.
        summary: filled while the sweep runs, for a caller that may be interrupted.
        executor: None = the one that the resources name, on this machine.

    Returns:
        How every job came out. One that another process is running is waited for, and taken over
        if that process dies; where it fails there, it is not run again.

    Raises:
        UnwritableError: the store's folder cannot be written.
        ValueError: the executor cannot keep the timeout.
    """
    store.check_writable()
    out = Summary() if summary is None else summary
    before = {job.trial.id: store.written(job.trial.id) for job in jobs}
    done = {r.trial.id: r for r in store.records(before) if not r.error}
    out.skipped += [done[job.trial.id] for job in jobs if job.trial.id in done]
    left = [job for job in jobs if job.trial.id not in done]
    executor = executor or executor_for(store, resources, before)
    while left:
        elsewhere: list[Job] = []
        with closing(outcomes(executor.run(left), left, store, resources)) as seen:
            for event, job, outcome in seen:
                on_event(event, job, outcome)
                if outcome is not None and outcome.record is not None:
                    getattr(out, outcome.kind).append(outcome.record)
                    _note_network(job, outcome, store, out)
                elif outcome is not None:
                    elsewhere.append(job)
        left = _wait_for_others(elsewhere, store, out)
    return out


def outcomes(
    events: Generator[Event, None, None], jobs: Sequence[Job], store: Store, resources: Resources
) -> Generator[tuple[Event, Job, Outcome | None], None, None]:
    """Every event with its job and, if it is the job's last, how the job came out.

    Ending this early ends the events. Jobs that were killed with them are then free at once for
    other hosts, which would otherwise wait until the claims are stale.
    """
    running: dict[int, Job] = {}
    try:
        for event in events:
            job = running.setdefault(event.job, jobs[event.job])
            outcome = _outcome(event, job, store, resources)
            if outcome is not None:
                del running[event.job]
            yield event, job, outcome
    finally:
        events.close()
        for job in running.values():
            with suppress(UnwritableError), store.claim(job.trial.id):
                pass


def run_for_networks(
    jobs: Sequence[Job], store: Store, resources: Resources, on_event: OnEvent, summary: Summary
) -> None:
    """Run finished trials again to keep their networks; what became of each is in the summary.

    Args:
        jobs: from `keeping.without_network`.
        store: as for `run`.
        resources: as for `run`.
        on_event: as for `run`.
        summary: that of the sweep.

    Raises:
        UnwritableError: the store's folder cannot be written.
    """
    executor = executor_for(store, resources, {})
    with closing(executor.run(jobs)) as events:
        for event in events:
            job, outcome = jobs[event.job], None
            if event.kind == "returned":
                outcome = _returned(event)
            elif event.kind == "died":
                outcome = Outcome("failed", store.read(job.trial.id), last_line(event.value))
            on_event(event, job, outcome)
            if outcome is not None:
                busy = "another process runs the trial" if outcome.kind == "elsewhere" else ""
                summary.networks[job.trial.id] = outcome.not_kept or busy
                if job.keep == "best" and outcome.record is not None:
                    drop_worse([*summary.finished, *summary.skipped], outcome.record, store)


def executor_for(store: Store, resources: Resources, before: Mapping[str, int]) -> Executor:
    """What runs jobs into a store; `before` as for `work`."""
    return EXECUTORS[resources.executor](
        partial(work, folder=str(store.folder.resolve()), resources=resources, before=before),
        resources.workers, resources.threads, resources.timeout, resources.devices,
    )  # fmt: skip


def _returned(event: Event) -> Outcome:
    """What `work` returned; UnwritableError where it could not write."""
    outcome: Outcome = event.value
    if outcome.kind == "unwritable":
        raise UnwritableError(outcome.not_kept)
    return outcome


def _outcome(event: Event, job: Job, store: Store, resources: Resources) -> Outcome | None:
    if event.kind == "returned":
        return _returned(event)
    if event.kind != "died":
        return None
    with store.claim(job.trial.id) as mine:
        if not mine:
            return Outcome("elsewhere")
        try:
            record = store.read_before_writing(job.trial.id)
        except UnwritableError:
            raise
        except ValueError as e:
            return Outcome("failed", failed_record(job, resources, f"ValueError: {e}"))
        if record is not None and not record.error:  # it died after it had stored the record
            remove_checkpoint(store.folder, job.trial.id)
            return Outcome("finished", record)
        failure = failed_record(job, resources, event.value)
        if not store.append(failure, first=record is None):
            record = store.read(job.trial.id)
            if record is None:
                return Outcome("elsewhere")
            return Outcome("failed" if record.error else "finished", record)
        return Outcome("failed", failure)


def _note_network(job: Job, outcome: Outcome, store: Store, out: Summary) -> None:
    """Whether it is kept; of all but the best, if those alone are wanted, the network goes."""
    if job.keep == "no" or outcome.kind == "failed":
        return
    out.networks[job.trial.id] = outcome.not_kept
    if job.keep == "best" and outcome.record is not None:
        drop_worse([*out.finished, *out.skipped], outcome.record, store)


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
