"""The sweep: from jobs to records. No job runs twice, and one that fails does not stop the rest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial

from dnabench.executors import EXECUTORS
from dnabench.executors.base import UNUSABLE, Event, Executor, last_line
from dnabench.host.machine import device_label, own_device
from dnabench.networks.saving import Trained, network_files
from dnabench.registry import MODELS
from dnabench.results.checkpoints import Place, checkpoint_path, remove_checkpoint, warned
from dnabench.results.provenance import here
from dnabench.results.store import Store, UnwritableError
from dnabench.sweep.keeping import drop_worse
from dnabench.sweep.outcome import Outcome as Outcome
from dnabench.sweep.trial import run_trial
from dnabench.types import ONE_CPU, Array, Job, Progress, Record, Resources, printable
from dnabench.weights import fetch

LONGEST_ERROR = 20_000  # bytes that are kept
NO_MEMORY = (
    "the process may have no more memory; run fewer trials at once (--jobs), take a smaller batch, "
    "or give it more"
)
MEMORY_WORDS = (  # as Python, C++, the kernel, the loader of libraries and oneDNN say it
    "MemoryError", "bad_alloc", "Cannot allocate memory", "failed to map segment",
    "could not create a primitive",
)  # fmt: skip
ROUNDING = 1e-4  # of the largest logit: by more, a trial that ran again gave another network


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
    here = -(-resources.workers // len(resources.devices))  # on the device of this one
    resources = resources._replace(device=own_device(resources.device), workers=here)
    try:
        return _worked(job, progress, Store(folder), resources, before)
    except UnwritableError as e:
        return Outcome("unwritable", not_kept=str(e))


def _worked(
    job: Job, progress: Progress, store: Store, resources: Resources, before: Mapping[str, int]
) -> Outcome:
    trial_id = job.trial.id
    with store.claim(trial_id) as mine:
        if not mine:
            return Outcome("elsewhere")
        try:
            record = store.read_before_writing(trial_id)
        except UnwritableError:
            raise
        except ValueError as e:  # nothing is stored: the file stays as it is
            return Outcome("failed", _failure(job, resources, f"ValueError: {e}"))
        if record is not None and not record.error:
            remove_checkpoint(store.folder, trial_id)
            return Outcome("skipped", record, _kept_again(job, progress, store, resources))
        if record is not None and store.written(trial_id) != before[trial_id]:
            return Outcome("failed", record)
        store.log("started", trial_id)
        first = record is None
        predictions: dict[str, Array] | None = None
        trained: list[Trained] = []
        keep = None if job.keep == "no" else trained.append
        checkpoint = checkpoint_path(store.folder, trial_id)
        try:
            with warned() as soon:
                place = Place(checkpoint, resources.checkpoint, lambda: not mine.lost(), soon)
                record, predictions = run_trial(job, resources, progress, keep, place)
        except Exception as e:
            if said := _no_memory(e, resources):
                raise MemoryError(*said) from e  # an executor replaces the worker
            if why := _lost(e, resources.device):
                raise RuntimeError(why) from e  # likewise
            record = _failure(job, resources, traceback.format_exc())
        if mine.lost():  # this host was silent for minutes, and another runs the trial now
            return Outcome("elsewhere")
        why = _save(trained, job, store)
        if not store.append(record, predictions or None, first):  # or while this one was written
            return Outcome("elsewhere")
        remove_checkpoint(store.folder, trial_id)
        return Outcome("failed" if record.error else "finished", record, why)


def _save(trained: Sequence[Trained], job: Job, store: Store) -> str:
    """Keep the network, if there is one; why that cannot be done. A full disk stops the sweep."""
    try:
        for one in trained:
            store.save_network(job.trial.id, network_files(one, job.keep))
    except UnwritableError:
        raise
    except ValueError as e:
        return str(e)
    return ""


def _kept_again(job: Job, progress: Progress, store: Store, resources: Resources) -> str:
    """Run a finished trial again for its network alone; why it is not kept, "" if it is.

    The record stays as it is. The network is kept if it gives the logits that are stored.
    """
    trial_id = job.trial.id
    if job.keep == "no" or store.has_network(trial_id):
        return ""
    trained: list[Trained] = []
    try:
        stored = store.predictions(trial_id)["logits"]
        _, predictions = run_trial(job, resources, progress, trained.append)
    except Exception as e:
        return f"running it again failed: {type(e).__name__}: {e}"
    logits = predictions["logits"]
    if logits.shape != stored.shape:
        return f"run again, it gave logits {logits.shape}; {stored.shape} are stored"
    off, largest = float(abs(logits - stored).max()), max(1.0, float(abs(stored).max()))
    if off > ROUNDING * largest:
        return (
            f"run again, its test logits differ from the stored ones by up to {off:.2g}; another "
            "machine, version or number of threads rounds differently: run it into a new folder"
        )
    return _save(trained, job, store)


def _no_memory(error: Exception, resources: Resources) -> tuple[str, ...]:
    """What a MemoryError should say in place of this error; () = memory did not run out.

    One line, wherever it ran out: in a pass forward or backward, or in a step of the optimiser.
    """
    from dnabench.train.batches import ran_out

    if isinstance(error, MemoryError):
        return (str(error),)
    if not (isinstance(error, RuntimeError) and ran_out(error)):
        return ()
    where, said = device_label(resources.device), str(error).strip().partition("\n")[0]
    how = "run fewer trials at once (--jobs), or set a smaller --micro-batch"
    return (f"no memory is left on {where}; {how} ({said})",)


def _lost(error: Exception, device: str) -> str:
    """That CUDA failed for good in this process, as after an invalid index; "" = it did not."""
    import torch

    if not (device.startswith("cuda") and isinstance(error, RuntimeError)):
        return ""
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as e:
        said = str(e).strip().partition("\n")[0]
        how = "with CUDA_LAUNCH_BLOCKING=1 the traceback names the operation that failed"
        return f"{device_label(device)} {UNUSABLE} ({said}); {how}"
    return ""


def _failure(job: Job, resources: Resources, error: str) -> Record:
    said = last_line(error)
    if any(word in said for word in MEMORY_WORDS) and "run fewer trials" not in said:
        said = said.removeprefix("MemoryError").removeprefix(": ")
        error = f"{error.rstrip()}\nMemoryError: {NO_MEMORY}{f' ({said})' if said else ''}\n"
    where = {**here(), "device": device_label(resources.device)}
    return Record(trial=job.trial, error=_readable(error), where=where)


def _readable(error: str) -> str:
    """At most 20 kB as UTF-8, the first and last half, without what a terminal would obey."""
    half = LONGEST_ERROR // 2 - 50
    few = error if len(error) <= LONGEST_ERROR else error[:half] + error[-half:]
    text = printable(few).encode()
    if few is error and len(text) <= LONGEST_ERROR:
        return text.decode()
    first, last = text[:half].decode(errors="ignore"), text[-half:].decode(errors="ignore")
    return f"{first}\n... [most of {len(error)} characters left out] ...\n{last}"


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
            return Outcome("failed", _failure(job, resources, f"ValueError: {e}"))
        if record is not None and not record.error:  # it died after it had stored the record
            remove_checkpoint(store.folder, job.trial.id)
            return Outcome("finished", record)
        failure = _failure(job, resources, event.value)
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
