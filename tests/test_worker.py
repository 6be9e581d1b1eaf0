"""`dnabench run --queue`, `worker` and `status`, as real processes over one folder."""

import json
import os
import pty
import re
import signal
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import conftest
import numpy as np
import pytest
import typer
from conftest import command, completed, dnabench, popen

from dnabench.cli.worker import _requeue, _told
from dnabench.results.claims import STALE
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.state import state_of
from dnabench.sweep.stored import is_open, stored_grid, written_grid
from dnabench.sweep.sweep import Summary
from dnabench.sweep.trial import task_of
from dnabench.sweep.worker import Left, Worker
from dnabench.types import OwnData, Record, Resources

STARTED = []


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def start(*words, **how):
    process = conftest.start(*words, **how)
    STARTED.append(process)
    return process


def wait_for(condition, seconds=180):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def queue(out, csv, models, seeds, plugin=None):
    words = ["-m", models, "--data", csv, "--seeds", seeds, "--epochs", 2, "--out", out]
    done = dnabench("run", "--queue", *words, plugin=plugin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def starts(out):
    """How often each trial was started, and ended, in all journals."""
    lines = [x for p in out.glob("journal-*.jsonl") for x in p.read_text().splitlines()]
    return Counter((e["event"], e["trial"]) for e in map(json.loads, lines))


@pytest.mark.slow
def test_three_workers_give_what_one_run_gives(csv, tmp_path):
    """The same ids, scores and predictions, and every trial runs once."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    done = dnabench("run", "-m", "kmer,cnn", "--data", csv, "--seeds", 4, "--epochs", 2,
                    "--out", alone, "--executor", "inline")  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = queue(shared, csv, "kmer,cnn", 4)
    assert "8 trials stored" in said and f"dnabench worker --out {shared}" in said
    words = ["worker", "--out", shared, "--executor", "inline"]
    workers = [start(*words, cold=n == 0) for n in range(3)]  # one with another seed for hashes
    texts = [w.communicate(timeout=200) for w in workers]
    assert [w.returncode for w in workers] == [0, 0, 0], texts
    assert sum(int(out.split(" ran")[0].split()[-1]) for out, _ in texts) == 8
    a, b = Store(alone), Store(shared)
    assert a.done() == b.done() and len(a.done()) == 8
    for trial_id in a.done():
        ours, theirs = a.read(trial_id), b.read(trial_id)
        assert ours.scores == theirs.scores and ours.best_epoch == theirs.best_epoch
        mine, other = a.predictions(trial_id), b.predictions(trial_id)
        assert mine.keys() == other.keys()
        assert all(np.array_equal(mine[k], other[k]) for k in mine)
    assert set(starts(shared).values()) == {1} and len(starts(shared)) == 16
    assert "8 trials: 8 done, 0 running, 0 failed, 0 waiting" in dnabench(
        "status", "--out", shared
    ).stdout  # fmt: skip
    done = dnabench("worker", "--out", shared)
    assert done.returncode == 0 and "0 ran, 0 failed; 0 run elsewhere, 0 are left" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "SIGQUIT", "--for"])
def test_a_worker_that_is_ended_frees_its_trials_at_once(csv, plugin, tmp_path, how):
    out = tmp_path / "runs"
    queue(out, csv, "hangs", 2, plugin)
    limit = ["--for", "20s"] if how == "--for" else []
    worker = start("worker", "--out", out, "--jobs", 2, "--device", "cpu", *limit, plugin=plugin)
    if how != "--for":  # within which a busy machine may begin none
        wait_for(lambda: len(Store(out).holders()) == 2)
        shown = dnabench("status", "--out", out, "--json", plugin=plugin)
        running = json.loads(shown.stdout)["running"]
        assert len(running) == 2 and {r["gone"] for r in running} == {False}
        assert all(r["beat"] < 60 and time.time() - r["since"] < 120 for r in running)
        os.killpg(worker.pid, signal.Signals[how])  # as batch systems do, to the children as well
    stdout, stderr = worker.communicate(timeout=60)
    assert worker.returncode == 0 and "Traceback" not in stderr
    assert f"ended by {how}: 0 ran, 0 failed; 0 run elsewhere, 2 are left" in stdout
    assert Store(out).holders() == {} and not list((out / "records").iterdir())


@pytest.mark.slow
def test_a_worker_told_to_stop_ends_the_trial_that_runs_and_begins_no_other(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    queue(out, csv, "sleeps", 300, plugin)
    words = ("worker", "--out", out, "--jobs", 1, "--device", "cpu")
    worker = start(*words, plugin=plugin)
    wait_for(lambda: len(list((out / "records").glob("[!.]*"))) > 2)
    worker.send_signal(signal.SIGUSR1)
    stdout, stderr = worker.communicate(timeout=60)
    assert worker.returncode == 0, stderr
    n = len(Store(out).done())
    assert f"ended by SIGUSR1: {n} ran, 0 failed; 0 run elsewhere, {300 - n} are left" in stdout
    assert Store(out).holders() == {} and set(starts(out).values()) == {1}


@pytest.mark.parametrize(
    ("seconds", "grace", "left"), [(10, 45, 10), (3600, 45, 45), (0, 45, 45), (10, 0, 10)]
)
def test_the_time_of_a_worker_ends_no_later_when_it_is_told_to_stop(seconds, grace, left):
    told = []
    with _told(lambda: told.append(1), seconds, grace):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)
        found, _ = signal.getitimer(signal.ITIMER_REAL)
    assert told == [1, 1] and left - 8 < found <= left - 0.3


def test_a_task_of_slurm_told_at_its_start_says_that_its_time_is_too_short(csv, plugin, tmp_path):
    """SIGUSR1 waits while modules are imported, and does not kill the worker without a word."""
    out = tmp_path / "runs"
    queue(out, csv, "kmer", 1, plugin)
    words = ("worker", "--out", out, "--device", "cpu", "--requeue")
    worker = start(*words, plugin=plugin, cold=True)  # so that the imports take long
    usr1 = 1 << (signal.SIGUSR1 - 1)
    status = Path(f"/proc/{worker.pid}/status")
    wait_for(lambda: int(re.search(r"SigBlk:\s*(\w+)", status.read_text())[1], 16) & usr1)
    worker.send_signal(signal.SIGUSR1)
    stdout, stderr = worker.communicate(timeout=60)
    assert "ended by SIGUSR1: 0 ran, 0 failed; 0 run elsewhere, 1 are left" in stdout
    assert worker.returncode == 2 and "--set-resource time=" in stderr


@pytest.mark.slow
def test_a_failed_trial_is_open_again_when_it_is_asked_for_again(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ("worker", "--out", out, "--executor", "inline", "--device", "cpu")
    queue(out, csv, "raises,kmer", 1, plugin)
    for ran in ("1 ran, 1 failed", "0 ran, 0 failed"):
        done = dnabench(*words, plugin=plugin)
        assert f"{ran}; 0 run elsewhere, 0 are left" in done.stdout, done.stderr
        assert done.returncode == ("1 failed" in ran)
    shown = dnabench("status", "--out", out, plugin=plugin).stdout
    assert "2 trials: 1 done, 0 running, 1 failed, 0 waiting" in shown
    assert "RuntimeError: this model always raises" in shown
    assert "1 of them to run" in queue(out, csv, "raises,kmer", 1, plugin)
    assert "0 ran, 1 failed" in dnabench(*words, plugin=plugin).stdout


def test_a_worker_takes_only_the_trials_that_it_is_given(csv, tmp_path):
    out, listed = tmp_path / "runs", tmp_path / "some.json"
    queue(out, csv, "kmer", 3)
    chosen = sorted(stored_grid(Store(out)).jobs)[:2]
    listed.write_text(json.dumps(chosen))
    words = ("worker", "--out", out, "--executor", "inline", "--trials", listed)
    done = dnabench(*words)
    assert "2 ran, 0 failed; 0 run elsewhere, 0 are left" in done.stdout, done.stderr
    assert Store(out).done() == set(chosen)
    listed.write_text('{"a": 1}')
    done = dnabench(*words)
    assert done.returncode == 2 and "write a JSON list of trial ids" in done.stderr


def test_flags_that_a_queue_does_not_hold_are_named(csv, tmp_path):
    words = ["run", "--queue", "-m", "kmer", "--data", csv, "--seeds", 1, "--out", tmp_path / "r"]
    assert "--queue" not in dnabench(*words).stderr
    done = dnabench(*words, "--micro-batch", 4, "--trial-timeout", "1h")
    said = "note: --micro-batch, --trial-timeout: not kept by --queue; write this after `dnab"
    assert done.returncode == 0 and said in done.stderr


def test_a_worker_leaves_what_its_device_cannot_train_to_others(csv, tmp_path):
    """A task of Slurm, which has a list of its own, fails, and its log ends with the reason."""
    out, listed = tmp_path / "runs", tmp_path / "some.json"
    words = ["-m", "cnn", "--data", csv, "--seeds", 1, "--precision", "fp16", "--out", out]
    assert dnabench("run", "--queue", *words).returncode == 0
    words = ("worker", "--out", out, "--executor", "inline", "--device", "cpu")
    done = dnabench(*words)
    assert done.returncode == 0 and "left to other workers: precision=fp16 on cpu" in done.stderr
    assert "0 ran, 0 failed" in done.stdout and "next: dnabench status" in done.stdout
    listed.write_text(json.dumps(list(stored_grid(Store(out)).jobs)))
    done = dnabench(*words, "--trials", listed)
    assert done.returncode == 2 and "precision=fp16 on cpu" in done.stderr.splitlines()[-1]
    assert not Store(out).holders() and not list(Store(out))


def test_a_worker_without_a_grid_says_how_to_store_one(tmp_path):
    for name in ("worker", "status"):
        done = dnabench(name, "--out", tmp_path)
        assert done.returncode == 2 and "`dnabench run --queue`" in done.stderr


@pytest.mark.parametrize("own", [OwnData(), OwnData(label=("label",), split="none", split_seed=3)])
def test_jobs_are_the_same_after_json_and_paths_are_absolute(csv, tmp_path, monkeypatch, own):
    monkeypatch.chdir(csv.parent)
    request = Request(models=["cnn", "kmer"], data=csv.name, seeds="2", own=own,
                      sweeps=["lr=0.001,0.01"])  # fmt: skip
    jobs = [job._replace(keep="best") for job in grid(request)]
    store = Store(tmp_path / "runs")
    store.save_config(written_grid(jobs, store.rows()))
    (tmp_path / "runs/configs/older.json").write_text('{"trials": {}}')
    found = stored_grid(store)
    assert list(found.jobs.values()) == [job._replace(path=str(csv)) for job in jobs]
    assert "KeyError: 'jobs'" in found.ignored[tmp_path / "runs/configs/older.json"]


@pytest.mark.parametrize("name", ["labels.txt", "negatives.txt", "genome.fa"])
def test_files_beside_the_data_are_found_from_any_folder(name, tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    letters = ["".join(rng.choice(list("ACGT"), 40)) for _ in range(80)]
    places = [("chr1", 300 * i, 300 * i + 200, f"r{i}") for i in range(40)]
    here = tmp_path / "here"
    here.mkdir()
    (here / "data.txt").write_text("\n".join(letters[:40]) + "\n")
    (here / "labels.txt").write_text("0\n1\n" * 20)
    (here / "negatives.txt").write_text("\n".join(letters[40:]) + "\n")
    (here / "genome.fa").write_text(">chr1\n" + "".join(rng.choice(list("ACGT"), 40_000)) + "\n")
    (here / "data.bed").write_text("".join("\t".join(map(str, p)) + "\n" for p in places))
    monkeypatch.chdir(here)
    flag, data = name.partition(".")[0], "data.bed" if name == "genome.fa" else "data.txt"
    jobs = grid(Request(models=["kmer"], data=data, seeds="1", own=OwnData(**{flag: name})))
    store = Store(tmp_path / "runs")
    store.save_config(written_grid(jobs, store.rows()))
    monkeypatch.chdir(tmp_path)
    found = stored_grid(store).jobs
    assert list(found) == [job.trial.id for job in jobs]
    (job,) = found.values()
    assert getattr(job.own, flag) == str(here / name)
    assert task_of(job).data == jobs[0].trial.data


def test_a_worker_tries_a_record_that_it_may_not_open_once(csv, tmp_path):
    """A folder in the place of the record, as the tests may run as root."""
    jobs = grid(Request(models=["kmer"], data=str(csv), seeds="2"))
    closed, other = (job.trial.id for job in jobs)
    store, rounds = Store(tmp_path), []
    store.check_writable()
    store.record_path(closed).mkdir()
    store.save_config(written_grid(jobs, store.rows()))

    @contextmanager
    def show(jobs):
        rounds.append([job.trial.id for job in jobs])
        assert len(rounds) < 4, rounds
        yield lambda *seen: None

    alone, summary = Worker(store, Resources(executor="inline"), only={closed}), Summary()
    alone.take(show, summary)
    assert [r.trial.id for r in summary.failed] == [closed] and "Is a direc" in summary.failed[
        0
    ].error
    assert alone.left() == Left(0, 0) and not alone.moved
    with pytest.raises(typer.Exit):  # it is no reason to go on in Slurm
        _requeue(alone)
    both, summary = Worker(store, Resources(executor="inline")), Summary()
    both.take(show, summary)
    assert [r.trial.id for r in summary.finished] == [other] and len(summary.failed) == 1
    assert both.moved and rounds == [[closed], [closed, other]]
    state = state_of(store, stored_grid(store))  # so that `status --watch` ends
    assert [r.trial.id for r in state.failed] == [closed] and not state.waiting


def test_a_record_that_cannot_be_read_is_not_waited_for(csv, tmp_path):
    jobs = grid(Request(models=["kmer"], data=str(csv), seeds="2"))
    store = Store(tmp_path)
    store.check_writable()
    store.save_config(written_grid(jobs, store.rows()))
    store.record_path(jobs[0].trial.id).write_text("{")
    state = state_of(store, stored_grid(store))
    assert [r.trial.id for r in state.failed] == [jobs[0].trial.id] and len(state.waiting) == 1
    assert "its record cannot be read: " in state.failed[0].reason
    store.save_config(written_grid(jobs, store.rows()))  # asked for again
    assert len(state_of(store, stored_grid(store)).waiting) == 2


def test_the_state_of_a_folder(csv, tmp_path):
    """By its files: records, and claims of another host, one of them not touched for long."""
    jobs = grid(Request(models=["cnn"], data=str(csv), seeds="6"))
    store, now = Store(tmp_path), time.time()
    store.check_writable()
    store.save_config(written_grid(jobs, store.rows()))
    ids = [job.trial.id for job in jobs]
    store.append(Record(trial=jobs[0].trial, seconds=100))
    store.append(Record(trial=jobs[1].trial, error="ValueError: no"))
    for trial_id, beat in ((ids[2], 3), (ids[3], STALE + 60)):
        owner = {"host": "node7-12345678", "pid": 1, "token": "x", "since": now - 40,
                 "batch_job": "slurm 12_3"}  # fmt: skip
        path = tmp_path / ".locks" / f"{trial_id}.1"
        path.write_text(json.dumps(owner))
        os.utime(path, (now - beat,) * 2)
    state = state_of(store, stored_grid(store), now)
    assert [r.trial.id for r in state.done] == ids[:1]
    assert [r.trial.id for r in state.failed] == ids[1:2]
    assert [one.job.trial.id for one in state.running] == ids[2:3]
    assert [one.job.trial.id for one in state.silent] == ids[3:4]
    assert [job.trial.id for job in state.waiting] == ids[4:]
    assert state.seconds == pytest.approx(60 + 3 * 100)  # one runs, 3 come after it
    argv, env = command("status", "--out", tmp_path)
    shown = completed(argv, {**env, "COLUMNS": "72"})
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 72 and "left" in "".join(lines[:2])
    assert any("node7, slurm" in line and ids[2] in line for line in lines)


@pytest.mark.slow
def test_status_watches_until_all_have_ended(csv, tmp_path):
    """On a terminal, on which it says at each look how far the trials are."""
    jobs = grid(Request(models=["cnn"], data=str(csv), seeds="2"))
    store = Store(tmp_path)
    store.check_writable()
    store.save_config(written_grid(jobs, store.rows()))
    argv, env = command("status", "--watch", "--out", tmp_path)
    terminal, theirs = pty.openpty()
    env = {**env, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with popen(argv, env, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        shown, todo = "", list(jobs)
        with suppress(OSError):  # the terminal is closed at its end
            while text := os.read(terminal, 4096).decode(errors="replace"):
                shown += text
                if todo and f"{2 - len(todo)} done, 0 running, 0 failed, {len(todo)} wait" in shown:
                    store.append(Record(trial=todo.pop().trial))
        assert watching.wait(30) == 0 and not todo
    os.close(terminal)
    assert "2 trials: 2 done, 0 running, 0 failed, 0 waiting" in shown


def test_only_what_has_no_record_is_open(csv, tmp_path):
    jobs = grid(Request(models=["cnn"], data=str(csv), seeds="2"))
    store = Store(tmp_path)
    store.append(Record(trial=jobs[0].trial, error="ValueError: no"))
    store.save_config(written_grid(jobs, store.rows()))
    asked = stored_grid(store)
    assert all(is_open(job.trial.id, store, asked) for job in jobs)
    time.sleep(0.01)
    for job in jobs:
        store.append(Record(trial=job.trial, error="ValueError: again"))
    assert not any(is_open(job.trial.id, store, asked) for job in jobs)
