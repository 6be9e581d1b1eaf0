"""One job of a sweep, in the process that runs it: its record or error goes into the store."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence

from dnabench.host.machine import of_worker
from dnabench.networks.saving import Trained, network_files
from dnabench.results.checkpoints import Place, checkpoint_path, remove_checkpoint, warned
from dnabench.results.store import Store, UnwritableError
from dnabench.sweep.failures import device_lost, failed_record, no_memory
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.trial import run_trial
from dnabench.types import Array, Job, Progress, Resources

ROUNDING = 1e-4  # of the largest logit: by more, a trial that ran again gave another network


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
    try:
        return _worked(job, progress, Store(folder), of_worker(resources), before)
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
            return Outcome("failed", failed_record(job, resources, f"ValueError: {e}"))
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
            if said := no_memory(e, resources):
                raise MemoryError(*said) from e  # an executor replaces the worker
            if why := device_lost(e, resources.device):
                raise RuntimeError(why) from e  # likewise
            record = failed_record(job, resources, traceback.format_exc())
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


def other_logits(off: float, resources: Resources) -> str:
    """Why a trial that was run again has other logits, by up to `off`, and what to do."""
    why = "another machine, version or number of threads rounds differently"
    if resources.device.startswith("cuda") and not resources.deterministic:
        why = f"on a GPU no two runs round alike without --deterministic, and {why}"
    return (
        f"run again, its test logits differ from the stored ones by up to {off:.2g}; {why}: run it "
        "into a new folder"
    )


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
        return other_logits(off, resources)
    return _save(trained, job, store)
