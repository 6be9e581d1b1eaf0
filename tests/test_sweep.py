"""Sweeps as real processes: killed, run twice at once, interrupted, with trials that fail."""

import collections
import json
import os
import random
import signal
import time

import numpy as np
import pytest
from conftest import dnabench, start

from dnabench.executors.base import Event
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.outcome import Outcome
from dnabench.sweep.sweep import _outcome, run
from dnabench.sweep.work import _worked
from dnabench.types import Record, Resources


def states(out):
    """trial id -> error text of its record."""
    return {r.trial.id: r.error for r in Store(out)}


def journal(out):
    return [line for path in out.glob("journal-*.jsonl") for line in path.read_text().splitlines()]


def completions(out):
    """How often each trial was run to its end."""
    lines = journal(out)
    return collections.Counter(e["trial"] for e in map(json.loads, lines) if e["event"] == "ended")


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_ten_kills_lose_and_repeat_nothing(csv, plugin, tmp_path):
    out, rng = tmp_path / "runs", random.Random(4)
    words = ["run", "-m", "sleeps,kmer", "--data", csv, "--seeds", "25", "--out", out]
    for _ in range(10):
        before = len(states(out))
        sweep = start(*words, plugin=plugin)
        # at a random moment, three of four times after two records of this round
        if rng.random() < 0.75 and before < 45:
            wait_for(lambda n=before: len(states(out)) > n + 1)
        time.sleep(rng.random())
        sweep.send_signal(signal.SIGKILL)
        sweep.communicate()
    assert 10 < len(states(out)) < 50  # the kills came in the middle
    done = dnabench(*words, plugin=plugin)
    assert done.returncode == 0, done.stderr
    found = states(out)
    assert len(found) == 50 and not any(found.values())
    assert max(completions(out).values()) == 1


@pytest.mark.slow
def test_two_sweeps_of_one_grid_share_it(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "-m", "sleeps", "--data", csv, "--seeds", "16", "--out", out, "--jobs", "2"]
    both = [start(*words, plugin=plugin) for _ in range(2)]
    told = [p.communicate(timeout=120) for p in both]
    assert [p.returncode for p in both] == [0, 0], told
    assert len(states(out)) == 16 and set(completions(out).values()) == {1}
    ran = [int(stdout.split(" ran, ")[0].split()[-1]) for stdout, _ in told]
    assert sum(ran) == 16 and min(ran) > 0


@pytest.mark.slow
def test_a_trial_that_another_process_holds_is_waited_for_and_taken_over(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ["-m", "sleeps", "--data", csv, "--seeds", "3", "--out", out]
    plan = dnabench("run", *words, "--dry-run", plugin=plugin).stdout
    held = next(x.split()[2] for x in plan.splitlines() if x.split()[1:2] == ["0"])
    store = Store(out)
    store.check_writable()
    with store.claim(held) as mine:
        assert mine
        sweep = start("run", *words, plugin=plugin)
        wait_for(lambda: len(states(out)) == 2)
        time.sleep(2)
        assert sweep.poll() is None and held not in states(out)
    stdout, stderr = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, stderr
    assert "3 ran, 0 already done, 0 failed" in stdout and len(states(out)) == 3


@pytest.mark.slow
def test_a_trial_that_another_process_finishes_is_not_run_again(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "-m", "sleeps", "--data", csv, "--seeds", "2", "--out", out]
    assert dnabench(*words, plugin=plugin).returncode == 0
    store = Store(out)
    first = next(iter(store))
    path = store.record_path(first.trial.id)
    path.rename(tmp_path / "aside")
    with store.claim(first.trial.id):
        sweep = start(*words, plugin=plugin)
        time.sleep(6)  # long enough to find it busy
        assert sweep.poll() is None
        (tmp_path / "aside").rename(path)
        stdout, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 0 and "0 ran, 2 already done" in stdout


@pytest.mark.slow
def test_a_trial_that_fails_in_another_process_meanwhile_is_not_run_again(csv, tmp_path):
    """Before this sweep it failed too; that failure alone would be run again."""
    out = tmp_path / "runs"
    words = ["run", "-m", "kmer", "--data", csv, "--seeds", "2", "--out", out]
    store = Store(out)
    store.check_writable()
    first, _ = (job.trial for job in grid(Request(models=["kmer"], data=str(csv), seeds="2")))
    store.append(Record(trial=first, error="RuntimeError: yesterday"))
    with store.claim(first.id) as mine:
        assert mine
        sweep = start(*words, plugin=None)
        wait_for(lambda: len(states(out)) == 2)  # it runs the other one, so it has begun
        store.append(Record(trial=first, error="TimeoutError: today"))
    stdout, stderr = sweep.communicate(timeout=60)
    assert sweep.returncode == 1 and "1 ran, 0 already done, 1 failed" in stdout, stderr
    assert "TimeoutError: today" in stderr and states(out)[first.id] == "TimeoutError: today"
    lines = map(json.loads, journal(out))
    assert [e["event"] for e in lines if e["trial"] == first.id] == ["failed", "failed"]
    again = dnabench(*words)
    assert again.returncode == 0 and "1 ran, 1 already done, 0 failed" in again.stdout


def test_a_worker_that_dies_after_its_last_act_loses_nothing(csv, tmp_path):
    store = Store(tmp_path / "runs")
    store.check_writable()
    job = grid(Request(models=["kmer"], data=str(csv), seeds="1"))[0]
    assert run([job], store, Resources(executor="inline")).finished
    before = store.record_path(job.trial.id).read_bytes()
    died = Event("died", 0, "RuntimeError: the worker process died (signal 9)")
    outcome = _outcome(died, job, store, Resources())
    assert outcome.kind == "finished" and store.record_path(job.trial.id).read_bytes() == before
    with store.claim(job.trial.id):
        assert _outcome(died, job, store, Resources()).kind == "elsewhere"


@pytest.mark.parametrize(
    ("text", "kind"), [("", "finished"), ("ValueError: no", "failed"), ("{", "elsewhere")]
)
def test_a_record_that_another_host_wrote_meanwhile_says_how_it_came_out(csv, tmp_path, text, kind):
    (job,) = grid(Request(models=["kmer"], data=str(csv), seeds="1"))
    theirs = Record(trial=job.trial, error="" if text == "{" else text)

    class Late(Store):
        def read_before_writing(self, trial_id):
            found = super().read_before_writing(trial_id)
            Store(tmp_path).append(theirs)
            if text == "{":
                self.record_path(trial_id).write_text(text)
            return found

    Store(tmp_path).check_writable()
    died = Event("died", 0, "RuntimeError: the worker process died (signal 9)")
    outcome = _outcome(died, job, Late(tmp_path), Resources())
    assert outcome.kind == kind
    assert outcome.record == (None if kind == "elsewhere" else Store(tmp_path).read(job.trial.id))


@pytest.mark.parametrize("how", ["claimed", "stored"])
def test_an_orphan_whose_trial_was_taken_over_stores_nothing(csv, tmp_path, how):
    """It was silent for minutes, and another host has the trial now, or its record already."""
    (job,) = grid(Request(models=["kmer"], data=str(csv), seeds="1"))
    theirs, their_claim = Record(trial=job.trial), tmp_path / ".locks" / f"{job.trial.id}.2"

    class Orphan(Store):
        def read_before_writing(self, trial_id):
            if how == "claimed":
                their_claim.write_text('{"host": "elsewhere"}')
            else:
                Store(tmp_path).append(theirs, {"labels": np.arange(3)})
            return None

    orphan = Orphan(tmp_path)
    orphan.check_writable()
    outcome = _worked(job, lambda *step: None, orphan, Resources(), {})
    assert outcome == Outcome("elsewhere")
    store = Store(tmp_path)
    if how == "claimed":
        assert store.read(job.trial.id) is None and their_claim.exists()
    else:
        assert store.read(job.trial.id) == theirs and completions(tmp_path) == {job.trial.id: 1}
        assert list(store.predictions(job.trial.id)) == ["labels"]


@pytest.mark.slow
def test_failures_are_records_and_the_sweep_goes_on(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = [
        "run",
        "-m",
        "raises,diverges,dies,sleeps",
        "--data",
        csv,
        "--seeds",
        "2",
        "--out",
        out,
    ]
    done = dnabench(*words, plugin=plugin)
    assert done.returncode == 1
    errors = {(r.trial.model, r.trial.seed): r.error for r in Store(out)}
    assert len(errors) == 8
    for seed in (0, 1):
        assert "Traceback" in errors["raises", seed]
        assert errors["raises", seed].endswith("RuntimeError: this model always raises\n")
        assert "FloatingPointError: the training loss is nan" in errors["diverges", seed]
        assert "worker process died (SIGKILL, often out of memory)" in errors["dies", seed]
        assert errors["sleeps", seed] == ""
    assert "2 ran, 0 already done, 6 failed" in done.stdout
    assert "this model always raises" in done.stderr
    again = dnabench(*words, plugin=plugin)
    assert again.returncode == 1 and "0 ran, 2 already done, 6 failed" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_an_interrupt_ends_cleanly_and_keeps_what_is_done(csv, plugin, tmp_path, how):
    out = tmp_path / "runs"
    words = ["run", "-m", "sleeps", "--data", csv, "--seeds", "200", "--out", out]
    sweep = start(*words, plugin=plugin)
    wait_for(lambda: len(states(out)) > 2)
    os.killpg(sweep.pid, how)  # a terminal's Ctrl-C reaches the workers too
    stdout, stderr = sweep.communicate(timeout=30)
    assert sweep.returncode == 130 and "Traceback" not in stderr
    assert "interrupted; finished trials are kept" in stderr
    kept = states(out)
    assert 2 < len(kept) < 200 and not any(kept.values())
    assert (
        f"{len(kept)} ran" in stdout
        or f"{len(kept) - 1} ran" in stdout
        or f"{len(kept) - 2} ran" in stdout
    )
    time.sleep(1)
    assert states(out) == kept  # no worker lives on


@pytest.mark.slow
def test_a_second_run_does_only_what_is_missing(csv, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "-m", "kmer", "--data", csv, "--out", out]
    assert "2 ran, 0 already done" in dnabench(*words, "--seeds", "2").stdout
    dry = dnabench(*words, "--seeds", "3", "--dry-run").stdout
    assert "3 trials: 2 done, 1 to run" in dry
    assert "1 ran, 2 already done" in dnabench(*words, "--seeds", "3").stdout


@pytest.mark.slow
def test_a_truncated_record_is_named_and_its_trial_runs_again(csv, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "-m", "kmer", "--data", csv, "--out", out, "--seeds", "2"]
    dnabench(*words)
    path = sorted((out / "records").iterdir())[0]
    path.write_text(path.read_text()[:100])
    report = dnabench("report", "--out", out)
    assert report.returncode == 0 and f"skipped {path}: not a record" in report.stderr
    again = dnabench(*words)
    assert "1 ran, 1 already done" in again.stdout and f"skipped {path}" in again.stderr
    assert len(states(out)) == 2


@pytest.mark.slow
def test_the_same_trial_gives_the_same_bytes_in_another_process(csv, tmp_path):
    words = ["run", "-m", "convnova-386k,cnn", "--data", csv, "--seeds", "1", "--epochs", "2"]
    a, b = tmp_path / "a", tmp_path / "b"
    for out, cold in ((a, True), (b, False)):  # with another seed for hashes of strings
        assert dnabench(*words, "--out", out, cold=cold).returncode == 0
    for record in Store(a):
        twin = Store(b).read(record.trial.id)
        assert (record.scores, record.curve, record.streams) == (
            twin.scores,
            twin.curve,
            twin.streams,
        )
        ours, theirs = (Store(s).predictions(record.trial.id) for s in (a, b))
        assert ours["logits"].tobytes() == theirs["logits"].tobytes()
