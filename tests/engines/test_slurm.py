"""`--executor slurm` with real daemons: two nodes of this machine."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import slurm_cluster

from dnabench.results.store import Store

pytestmark = [
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing()),
    pytest.mark.slow,
]
EVERY = pytest.mark.engines


@pytest.fixture(scope="module")
def slurm():
    with slurm_cluster.cluster() as one:
        yield one


STARTED = []


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def words(out, csv, models, seeds, *more):
    return [
        "run", "-m", models, "--data", str(csv), "--seeds", str(seeds), "--epochs", "2", "--out",
        str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def start(slurm, argv, plugin=None, cwd=None):
    env = {**slurm.env, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_TOKEN": "hf_secret"}
    if plugin is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(plugin), env.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "dnabench", *argv], env=env, stdout=subprocess.PIPE, cwd=cwd,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


def ended(process, seconds=280):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def events(out):
    lines = [x for p in out.glob("journal-*.jsonl") for x in p.read_text().splitlines()]
    return Counter((e["event"], e["trial"]) for e in map(json.loads, lines))


def records(out):
    return {r.trial.id: r for r in Store(out)}


def same(a, b):
    """The same trials, scores and predictions in two folders."""
    ours, theirs = records(a), records(b)
    assert ours.keys() == theirs.keys() and len(ours) > 1
    for trial_id, record in ours.items():
        assert not record.error and record.scores == theirs[trial_id].scores
        mine, other = Store(a).predictions(trial_id), Store(b).predictions(trial_id)
        assert mine.keys() == other.keys()
        assert all(np.array_equal(mine[k], other[k]) for k in mine)
    return ours


SLURM = ("--executor", "slurm")
LONG = ("--epochs", "300")  # some seconds a trial
BRIEF = ("--epochs", "80")


def test_a_sweep_gives_what_it_gives_here(slurm, csv, tmp_path):
    """Two tasks on two nodes; the paths are relative and no secret travels."""
    here, there = tmp_path / "here", tmp_path / "there"
    argv = words("there", csv.name, "cnn,kmer", 2, *SLURM, "--jobs", "2")
    far = start(slurm, argv, cwd=tmp_path)
    code, out, err = ended(start(slurm, words(here, csv, "cnn,kmer", 2, "--executor", "inline")))
    assert code == 0, err
    code, out, err = ended(far)
    assert code == 0 and "4 ran, 0 already done, 0 failed" in out, err
    assert "submitted 4 trials in" in err
    jobs = {r.where["batch_job"] for r in same(there, here).values()}
    assert all(job.startswith("slurm ") for job in jobs) and len(jobs) > 1
    assert set(events(there).values()) == {1}
    (folder,) = (there / "slurm").iterdir()
    assert all("hf_secret" not in p.read_text() for p in folder.iterdir())
    assert not slurm("squeue", "-h")


def test_a_task_that_is_killed_fails_the_trial_that_ran_and_no_other(slurm, csv, tmp_path):
    """One task has all trials; those that it had not begun run in another."""
    out = tmp_path / "runs"
    far = start(slurm, words(out, csv, "cnn", 3, *SLURM, "--task-time", "1h", *BRIEF))
    slurm.wait(lambda: len(Store(out).holders()) == 1)
    os.killpg(worker_over(out), signal.SIGKILL)
    code, text, err = ended(far)
    assert code == 1 and "2 ran, 0 already done, 1 failed" in text, err
    (failed,) = (r for r in records(out).values() if r.error)
    assert failed.reason.startswith("RuntimeError: Slurm task ") and "(FAILED)" in failed.reason
    assert str(out / "slurm") in failed.error and ".log" in failed.error
    again = start(slurm, words(out, csv, "cnn", 3, *SLURM, *BRIEF))
    code, text, err = ended(again)
    assert code == 0 and "1 ran, 2 already done, 0 failed" in text, err


# --- make engines ---------------------------------------------------------------------------------


@EVERY
def test_a_preempted_task_is_put_back_and_goes_on(slurm, csv, tmp_path):
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 4, *SLURM, "--jobs", "2", *LONG)
    far = start(slurm, argv)
    slurm.wait(lambda: len(Store(out).holders()) == 2)
    slurm("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 5",
          "--output=/dev/null")  # fmt: skip
    slurm.wait(lambda: "REQUEUE" in slurm("squeue", "-h", "-t", "all", "-o", "%T %r")
               or not Store(out).holders())  # fmt: skip
    code, text, err = ended(far)
    assert code == 0 and "4 ran, 0 already done, 0 failed" in text, err
    assert any("attempt 2" in r.where["batch_job"] for r in records(out).values())
    once(out, 4)


@EVERY
def test_a_node_that_dies_costs_no_trial(slurm, csv, tmp_path):
    """Its daemon is killed; Slurm runs the task again while the orphan may live on."""
    out = tmp_path / "runs"
    far = start(slurm, words(out, csv, "cnn", 4, *SLURM, "--jobs", "2", *LONG))
    slurm.wait(lambda: len(Store(out).holders()) == 2)
    os.kill(slurm.pid("slurmd-n1"), signal.SIGKILL)
    slurm.wait(lambda: "down" in slurm("sinfo", "-h", "-N", "-o", "%N %T"))
    slurm.start_node(1)
    code, text, err = ended(far)
    assert code == 0 and "4 ran, 0 already done, 0 failed" in text, err
    once(out, 4)


@EVERY
@pytest.mark.parametrize("how", ["kill -9", "--detach"])
def test_tasks_outlive_the_command_and_the_same_command_follows_them(slurm, csv, tmp_path, how):
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 4, *SLURM, "--jobs", "2", *LONG)
    first = start(slurm, [*argv, "--detach"] if how == "--detach" else argv)
    if how == "--detach":
        code, text, err = ended(first)
        assert code == 0 and "go on without this command" in text, err
    slurm.wait(lambda: len(Store(out).holders()) == 2)
    if how == "kill -9":
        first.kill()
        ended(first)
    jobs = set(slurm("squeue", "-h", "-o", "%F").split())
    code, text, err = ended(start(slurm, argv))
    assert code == 0 and "0 failed" in text and "that are in the queue already" in err, err
    assert "submitted" not in err and len(jobs) == 1
    assert {r.where["batch_job"].split()[1].split("_")[0] for r in records(out).values()} == jobs
    once(out, 4)


@EVERY
def test_ctrl_c_cancels_what_this_command_submitted_and_nothing_else(slurm, csv, tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    stranger = slurm("sbatch", "--parsable", "--wrap=sleep 300", "--output=/dev/null", "--hold")
    code, _, err = ended(start(slurm, [*words(other, csv, "cnn", 1, *SLURM, *LONG), "--detach"]))
    assert code == 0, err
    far = start(slurm, words(mine, csv, "cnn", 2, *SLURM, "--jobs", "2", *LONG))
    slurm.wait(lambda: Store(mine).holders())
    far.send_signal(signal.SIGINT)
    code, _, err = ended(far)
    assert code == 130 and "interrupted" in err, err
    slurm.wait(lambda: not Store(mine).holders() and len(Store(other).done()) == 1)
    assert slurm("squeue", "-h", "-o", "%F") == stranger
    slurm("scancel", stranger)
    assert not any(r.error for r in records(mine).values())


@EVERY
def test_a_task_at_its_time_limit_is_run_again_for_what_is_left(slurm, csv, tmp_path):
    """SIGUSR1 comes 90 s before the end, and 2 minutes are the shortest limit above that."""
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 12, *SLURM, "--set-resource", "time=2", *LONG)
    code, text, err = ended(start(slurm, argv), 900)
    assert code == 0 and "12 ran, 0 already done, 0 failed" in text, err
    assert any("attempt 2" in r.where["batch_job"] for r in records(out).values())
    once(out, 12)


@EVERY
def test_what_slurm_refuses_is_said_and_nothing_is_left(slurm, csv, tmp_path):
    argv = words(tmp_path / "runs", csv, "kmer", 1, *SLURM, "--set-resource", "partition=none")
    code, _, err = ended(start(slurm, argv))
    assert code == 2 and "Slurm did not take the trials" in err and "partition" in err
    assert not slurm("squeue", "-h", "--name=dnabench")


def once(out, n):
    """Every trial ended once."""
    done = Counter({k: v for k, v in events(out).items() if k[0] == "ended"})
    assert len(done) == n and set(done.values()) == {1}, done


def worker_over(out):
    """The process group of a task over that folder."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker" in argv and str(out).encode() in argv and b"--requeue" in argv:
            return os.getpgid(int(path.parent.name))
    raise AssertionError("no task runs")
