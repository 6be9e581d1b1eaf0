"""`--trial-timeout`: what a job may take, in every executor that can stop one, and in a sweep."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import dnabench
from test_executors import ALL, ISOLATED, _no_test_hangs, alive, ended, pids, work  # noqa: F401

from dnabench.results.store import Store
from dnabench.sweep.numbers import parse_duration

STOPPED = """
import sys, time
from test_executors import EXECUTORS, work
for event in EXECUTORS["local"](work, timeout=5).run([("burn", 0.3)]):
    print(event.kind, event.value, flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("handling", [0, 0.5], ids=["while it waits", "while it handles an event"])
def test_time_spent_stopped_does_not_count_towards_the_timeout(handling):
    """As Ctrl-Z and a batch system's suspension stop a whole process group."""
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
    client = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(handling)], env=env, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    with client, client.stdout as lines:
        assert lines.readline() == "started None\n"
        time.sleep(0 if handling else 0.5)  # until it waits
        os.killpg(client.pid, signal.SIGSTOP)
        time.sleep(7)
        os.killpg(client.pid, signal.SIGCONT)
        assert "returned burnt" in lines.read()


@ISOLATED
def test_a_job_that_hangs_is_stopped_at_the_timeout(kind, tmp_path):
    jobs = [("hang",), ("double", 1), ("hang",), ("double", 3)]
    begin = time.monotonic()
    found = ended(kind(partial(work, folder=tmp_path), 2, timeout=1.5).run(jobs))
    assert time.monotonic() - begin < 60
    error = "TimeoutError: still running after 1.5 s (--trial-timeout); its worker was stopped"
    hung = dict.fromkeys((0, 2), ("died", error))
    assert found == {1: ("returned", 2), 3: ("returned", 6)} | hung
    assert not any(map(alive, pids(tmp_path)))


@ISOLATED
def test_starting_a_worker_does_not_count_towards_the_timeout(kind, cold_workers):
    """Imports take longer than this."""
    assert ended(kind(work, timeout=0.3).run([("double", 1)])) == {0: ("returned", 2)}


@ALL
def test_an_executor_that_cannot_stop_a_job_refuses_a_timeout(kind):
    if kind.isolated:
        assert kind(work, timeout=1).timeout == 1
        return
    with pytest.raises(ValueError, match=r"cannot stop a trial.*--executor local"):
        kind(work, timeout=1)
    assert "What it cannot do" in kind.__doc__


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_trial_that_hangs(csv, plugin, tmp_path):
    out = tmp_path / "runs"
    words = ["run", "-m", "hangs,kmer", "--data", csv, "--seeds", "1", "--out", out]
    done = dnabench(*words, "--trial-timeout", "8", "--jobs", "1", plugin=plugin)
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stderr
    errors = {r.trial.model: r.error for r in Store(out)}
    assert errors["kmer"] == "" and errors["hangs"] == (
        "TimeoutError: still running after 8 s (--trial-timeout); its worker was stopped"
    )
    assert errors["hangs"] in done.stderr


def test_a_timeout_that_cannot_be_kept_is_refused_before_anything_runs(csv, tmp_path):
    words = ["run", "-m", "kmer", "--data", csv, "--seeds", "1", "--out", tmp_path / "runs"]
    done = dnabench(*words, "--trial-timeout", "2h", "--executor", "inline")
    assert done.returncode == 2 and "cannot stop a trial that is running" in done.stderr
    done = dnabench(*words, "--trial-timeout", "soon")
    assert done.returncode == 2 and "--trial-timeout 'soon': give seconds (3600)" in done.stderr
    assert not list((tmp_path / "runs").glob("records/*"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("3600", 3600), ("1.5", 1.5), ("90s", 90), ("30m", 1800), ("2h", 7200)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "-1", "h", "2d", "2 hours", "nan", "inf", "inf h"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match=r"give seconds \(3600\), minutes \(30m\) or hours \(2h\)"):
        parse_duration(text)
