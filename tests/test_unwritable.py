"""A store or a cache that takes no more, as on a full disk: nothing untrue is recorded."""

import numpy as np
import pytest
from conftest import planted_split
from kept_cases import job_of, task_of_kind

from dnabench import MODELS
from dnabench.executors.base import Event
from dnabench.results.store import Store, UnwritableError
from dnabench.sweep.sweep import Summary, _outcome, outcomes, run, run_for_networks
from dnabench.tasks.io import related
from dnabench.types import OwnData, Resources

INLINE = Resources(executor="inline")


@pytest.fixture
def store(tmp_path):
    """Its folder of networks cannot be written: a file is in its place, which stops root too."""
    store = Store(tmp_path / "runs")
    store.check_writable()
    (store.folder / "networks").touch()
    return store


@pytest.fixture
def job(put):
    """Its network is to be kept."""
    return job_of(MODELS["cnn"], put(task_of_kind("multiclass")))._replace(keep="all")


def test_no_room_for_a_network_stops_the_sweep_before_its_record(job, store):
    with pytest.raises(UnwritableError, match="cannot write to"):
        run([job], store, INLINE)
    assert not store.done() and not list(store.folder.glob("*/*.npz"))
    (store.folder / "networks").unlink()
    done = run([job], store, INLINE)
    assert len(done.finished) == 1 and done.networks == {job.trial.id: ""}


def test_no_room_stops_a_pass_for_networks_at_the_first(job, store):
    assert run([job._replace(keep="no")], store, INLINE).finished
    summary = Summary()
    with pytest.raises(UnwritableError, match="cannot write to"):
        run_for_networks([job, job], store, INLINE, lambda *seen: None, summary)
    assert summary.networks == {} and store.done() == {job.trial.id}


def test_a_record_that_cannot_be_set_aside_is_no_failure_of_a_dead_worker(job, tmp_path):
    class Full(Store):
        def read_before_writing(self, trial_id):
            with self._explained():
                raise OSError(28, "No space left on device")

    Store(tmp_path).check_writable()
    with pytest.raises(UnwritableError, match="No space left"):
        _outcome(Event("died", 0, "RuntimeError: signal 9"), job, Full(tmp_path), INLINE)


def test_ctrl_c_stays_ctrl_c_where_claims_cannot_be_written(job, store):
    events = (Event("started", i) for i in range(2))
    seen = outcomes(events, [job, job._replace(trial=job.trial)], store, INLINE)
    next(seen), next(seen)
    locks = store.folder / ".locks"
    locks.rmdir()
    locks.touch()
    with pytest.raises(KeyboardInterrupt):
        seen.throw(KeyboardInterrupt)


def test_related_sequences_are_found_where_the_cache_takes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(related, "WORTH_KEEPING", -1.0)
    (tmp_path / "links").touch()  # a file in place of the folder
    seqs = planted_split(20, 0).seqs
    found = related.find_related(seqs, np.repeat("train", 20), None, OwnData())
    assert found.groups.tolist() == list(range(20))
