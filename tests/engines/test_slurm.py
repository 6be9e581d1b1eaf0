"""`--executor slurm` with real daemons: two nodes of this machine."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import slurm_cluster
from runs import LONG, ended, once, records, same, start, words
from runs import events_of as events

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


SLURM = ("--executor", "slurm")
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
    assert "submitted 4 trials in" in err and re.search(r"mem=\d+M time=0:\d+:00\);", err), err
    jobs = {r.where["batch_job"] for r in same(there, here).values()}
    assert all(job.startswith("slurm ") for job in jobs) and len(jobs) > 1
    assert set(events(there).values()) == {1}
    said = [out, err, *(p.read_text(errors="replace") for p in there.rglob("*") if p.is_file())]
    assert list(there.glob("slurm/*/*.log")) and not any("hf_secret" in text for text in said)
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
def test_a_controller_that_does_not_answer_for_a_while_costs_nothing(slurm, csv, tmp_path):
    """What squeue does not say is no end of a task."""
    out = tmp_path / "runs"
    far = start(slurm, words(out, csv, "cnn", 2, *SLURM, "--jobs", "2", *LONG))
    slurm.wait(lambda: len(Store(out).holders()) == 2)
    pid = slurm.pid("slurmctld")
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(20)
        assert far.poll() is None
    finally:
        os.kill(pid, signal.SIGCONT)
    code, text, err = ended(far)
    assert code == 0 and "2 ran, 0 already done, 0 failed" in text, err
    once(out, 2)


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
    slurm.wait(lambda: slurm("squeue", "-h", "-o", "%F") == stranger, 60)  # what ended has left it
    slurm("scancel", stranger)
    assert not any(r.error for r in records(mine).values())


@EVERY
def test_a_task_at_its_time_limit_is_run_again_for_what_is_left(slurm, csv, tmp_path):
    """SIGUSR1 comes 90 to 150 s before the end: 3 minutes are the shortest limit above that."""
    out = tmp_path / "runs"
    argv = words(out, csv, "cnn", 24, *SLURM, "--set-resource", "time=3", *LONG)
    code, text, err = ended(start(slurm, argv), 900)
    assert code == 0 and "24 ran, 0 already done, 0 failed" in text, err
    assert any("attempt 2" in r.where["batch_job"] for r in records(out).values())
    once(out, 24)


@EVERY
def test_what_slurm_refuses_is_said_and_nothing_is_left(slurm, csv, tmp_path):
    argv = words(tmp_path / "runs", csv, "kmer", 1, *SLURM, "--set-resource", "partition=none")
    code, _, err = ended(start(slurm, argv))
    assert code == 2 and "Slurm did not take the trials" in err and "partition" in err
    assert not slurm("squeue", "-h", "--name=dnabench")


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
