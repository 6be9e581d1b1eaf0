"""Checkpoints of trials in a folder of results: kept, gone on from, removed, named."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import typer
from conftest import dnabench, start
from test_sweep import wait_for

from dnabench.cli.worker import _requeue
from dnabench.results.checkpoints import checkpoint_path, checkpoints, damage, remove_stale
from dnabench.results.merging import faults
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import run
from dnabench.sweep.worker import Worker
from dnabench.types import Record, Resources

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, task, fails_at=0):
        super().__init__()
        self.fails_at, self.steps = fails_at, 0
        self.embedding = nn.Embedding(8, 16)
        self.head = nn.Linear(16, task.n_outputs)
        self.dropout = nn.Dropout(0.3)

    def forward(self, ids, mask):
        self.steps += self.training
        x = self.dropout(self.embedding(ids.long())).mean(1)
        return self.head(x) * (float("nan") if self.fails_at and self.steps > self.fails_at else 1)
"""


def workers_of(pid):
    """Process ids of the spawned workers of a command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def kept(out):
    return list(checkpoints(out))


@pytest.mark.slow
@pytest.mark.parametrize("who", ["command", "worker"])
def test_a_sweep_that_is_killed_goes_on_in_the_epoch_after_the_last_checkpoint(tmp_path, who):
    words = ["run", "-m", "cnn", "-t", "demo/splice_junctions", "--limit", "600", "--epochs", "8",
             "--seeds", "1", "--rc", "augment", "--checkpoint-every", "epoch"]  # fmt: skip
    whole, out = tmp_path / "whole", tmp_path / "runs"
    assert dnabench(*words, "--out", whole).returncode == 0
    assert not kept(whole)
    sweep = start(*words, "--out", out, plugin=None)
    wait_for(lambda: kept(out))
    if who == "command":
        os.killpg(sweep.pid, signal.SIGKILL)
    else:
        os.kill(*workers_of(sweep.pid), signal.SIGKILL)
    _, stderr = sweep.communicate(timeout=60)
    (trial_id,) = kept(out)
    if who == "worker":
        assert "worker process died (SIGKILL" in stderr and Store(out).read(trial_id).error
    status = dnabench("status", "--out", out)
    assert "(1 with a checkpoint)" in status.stdout, status.stdout
    again = dnabench(*words, "--out", out)
    assert again.returncode == 0 and "1 ran, 0 already done" in again.stdout, again.stderr
    assert "note: checkpoint: going on after epoch " in again.stderr
    (a,), (b,) = Store(whole), Store(out)
    assert (a.trial.id, a.scores, a.curve, a.best_epoch) == (
        b.trial.id, b.scores, b.curve, b.best_epoch)  # fmt: skip
    ours, theirs = (Store(s).predictions(a.trial.id) for s in (whole, out))
    assert all(ours[k].tobytes() == theirs[k].tobytes() for k in ours)
    assert 1 <= b.where["resumed"][0]["epoch"] < 8 and "resumed" not in a.where
    assert not kept(out)


@pytest.mark.slow
def test_a_worker_goes_on_from_what_another_left(csv, tmp_path):
    """SIGTERM, as when a batch system takes a node back: no record, and the checkpoint stays."""
    out = tmp_path / "runs"
    words = ["-m", "cnn", "-t", "demo/splice_junctions", "--limit", "600", "--epochs", "8",
             "--seeds", "1"]  # fmt: skip
    assert dnabench("run", *words, "--out", out, "--queue").returncode == 0
    first = start("worker", "--out", out, "--checkpoint-every", "epoch", plugin=None)
    wait_for(lambda: kept(out))
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    (trial_id,) = kept(out)
    assert Store(out).read(trial_id) is None
    second = dnabench("worker", "--out", out)
    assert second.returncode == 0 and "1 ran, 0 failed" in second.stdout, second.stderr
    assert Store(out).read(trial_id).where["resumed"] and not kept(out)


@pytest.mark.slow
def test_a_worker_that_is_warned_saves_its_trial_in_the_middle_of_an_epoch(tmp_path):
    words = ["-m", "cnn", "-t", "demo/splice_junctions", "--limit", "1200", "--epochs", "4",
             "--batch-size", "2", "--seeds", "1"]  # fmt: skip
    whole, out = tmp_path / "whole", tmp_path / "runs"
    assert dnabench("run", *words, "--out", whole).returncode == 0
    assert dnabench("run", *words, "--out", out, "--queue").returncode == 0
    first = start("worker", "--out", out, plugin=None)  # one is due after ten minutes
    wait_for(lambda: Store(out).holders())

    def saved():
        first.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return kept(out)

    wait_for(saved, 180)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    assert not Store(out).done()
    wait_for(lambda: all(holder.gone for holder in Store(out).holders().values()))
    second = dnabench("worker", "--out", out)
    assert second.returncode == 0 and "going on after epoch" in second.stderr, second.stderr
    (a,), (b,) = Store(whole), Store(out)
    assert (a.scores, a.curve, a.best_epoch) == (b.scores, b.curve, b.best_epoch)
    ours, theirs = (Store(s).predictions(a.trial.id) for s in (whole, out))
    assert all(ours[k].tobytes() == theirs[k].tobytes() for k in ours)
    assert b.where["resumed"][0].keys() == {"epoch", "step", "host"} and not kept(out)


def test_a_failure_of_the_trial_itself_removes_it(csv, tmp_path):
    (tmp_path / "net.py").write_text(NET)
    model = f"{tmp_path}/net.py:Net"
    words = {"models": [model], "data": str(csv), "seeds": "1", "overrides": {"batch": 16}}
    (job,) = grid(Request(**words, settings=["fails_at=6"]))
    store = Store(tmp_path / "runs")
    seen = []
    found = run([job], store, Resources(executor="inline", checkpoint=0.0),
                on_event=lambda *_: seen.append(kept(store.folder)))  # fmt: skip
    assert "loss is nan" in found.failed[0].error and not kept(store.folder)
    checkpoint_path(store.folder, job.trial.id).parent.rmdir()  # one was written meanwhile


@pytest.fixture
def job(csv):
    return grid(Request(models=["kmer"], data=str(csv), seeds="1"))[0]


@pytest.fixture
def left(tmp_path, job):
    """A folder with a checkpoint and the record of its trial, as after a kill between the two."""
    store = Store(tmp_path / "runs")
    assert run([job], store, Resources(executor="inline")).finished
    path = checkpoint_path(store.folder, job.trial.id)
    path.parent.mkdir()
    path.write_bytes(b"PK\x05\x06" + b"\0" * 18)
    return store


def test_one_of_a_finished_trial_is_named_and_removed(left, job):
    path = checkpoint_path(left.folder, job.trial.id)
    (fault,) = faults(left)
    assert fault == (path, "the checkpoint of a trial that has ended",
                     "harmless; `dnabench store compact` removes it")  # fmt: skip
    with left.claim(job.trial.id):
        assert remove_stale(left) == 0 and path.exists()
    done = dnabench("store", "compact", "--out", left.folder)
    assert "1 checkpoint of trials that have ended removed" in done.stdout and not path.exists()
    assert not list(faults(left)) and remove_stale(left) == 0


def test_one_of_a_finished_trial_is_not_used_when_it_runs_anew(left, job):
    draft = left.folder / "checkpoints" / f".{job.trial.id}.pt.12345678.tmp"
    draft.touch()
    left.set_aside(job.trial.id)
    assert not list((left.folder / "checkpoints").iterdir())


def test_one_of_a_finished_trial_goes_when_the_trial_is_asked_for(left, job):
    left.record_path(job.trial.id).rename(left.folder / "aside")
    stale = checkpoint_path(left.folder, job.trial.id)
    assert stale not in {fault.path for fault in faults(left)} and not damage(stale)
    (left.folder / "aside").rename(left.record_path(job.trial.id))
    assert not run([job], left, Resources(executor="inline")).failed and stale.exists()


def test_those_of_open_and_failed_trials_stay_unless_damaged(tmp_path, job):
    store = Store(tmp_path / "runs")
    store.check_writable()
    path = checkpoint_path(store.folder, job.trial.id)
    path.parent.mkdir()
    path.write_bytes(b"PK\x05\x06" + b"\0" * 18)
    assert not list(faults(store))
    store.append(Record(trial=job.trial, error="RuntimeError: the worker process died"))
    assert not list(faults(store)) and remove_stale(store) == 0 and path.exists()
    path.write_bytes(b"half")
    (fault,) = faults(store)
    assert fault.path == path and fault.why == "it is damaged or cut off (BadZipFile)"


def test_a_worker_knows_that_a_checkpoint_came_further(tmp_path, csv, monkeypatch, capsys):
    """So that a trial that takes longer than a task of Slurm is put back into the queue."""
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/said\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    words = ["-m", "kmer", "--data", csv, "--seeds", "1", "--out", tmp_path / "runs"]
    assert dnabench("run", *words, "--queue").returncode == 0
    store = Store(tmp_path / "runs")
    worker = Worker(store, Resources(executor="inline"), can_run=lambda job: False)
    with pytest.raises(typer.Exit):
        _requeue(worker)
    said = " ".join(capsys.readouterr().err.split())
    assert "no trial ended within the time limit of this task, and no" in said
    assert "time=8:00:00" in said
    worker._saved = {"x": 0}
    path = checkpoint_path(store.folder, "x")
    path.parent.mkdir()
    torch.save({"learner": {"step": 2}}, path)
    _requeue(worker)
    assert (tmp_path / "said").read_text() == "requeue 7\n"
    worker._saved = {"x": 2}
    torch.save({"learner": {"step": 2}}, path)  # another node's, which began anew
    assert not worker.went_on()
    for cut_off in (b"", b"PK", path.read_bytes()[:200]):
        path.write_bytes(cut_off)
        assert not worker.went_on()


def test_status_counts_them(tmp_path, csv):
    words = ["-m", "kmer", "--data", csv, "--seeds", "2", "--out", tmp_path / "runs"]
    assert dnabench("run", *words, "--queue").returncode == 0
    (one, _) = grid(Request(models=["kmer"], data=str(csv), seeds="2"))
    for trial_id in (one.trial.id, "0" * 16):  # the second is no trial of the grid
        path = checkpoint_path(tmp_path / "runs", trial_id)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    text = dnabench("status", "--out", tmp_path / "runs").stdout
    assert "2 trials: 0 done, 0 running, 0 failed, 2 waiting (1 with a checkpoint)" in text
    found = json.loads(dnabench("status", "--out", tmp_path / "runs", "--json").stdout)
    assert found["checkpoints"] == [one.trial.id]
