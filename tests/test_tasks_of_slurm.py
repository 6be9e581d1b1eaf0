"""What `--executor slurm` decides before Slurm is asked; tests/engines has the daemons."""

import os
import signal
import subprocess

import pytest
from conftest import dnabench
from test_sweep import wait_for

from dnabench.cli.execution import ExecutionOptions
from dnabench.executors import slurm
from dnabench.results.store import Store
from dnabench.sweep.numbers import parse_duration
from dnabench.sweep.slurm import Chosen, Costs, Slurm, chunks
from dnabench.types import Resources


@pytest.mark.parametrize(
    ("seconds", "most", "at_least", "parts"),
    [
        ([10] * 6, 30, 0, [[0, 1, 2], [3, 4, 5]]),
        ([10] * 6, 3600, 0, [[0, 1, 2, 3, 4, 5]]),
        ([10] * 6, 3600, 2, [[0, 1, 2], [3, 4, 5]]),
        ([100, 1, 1], 30, 0, [[0], [1, 2]]),  # a long one has its own
        ([0, 5, 0, 0], 30, 0, [[0], [1], [2], [3]]),  # how long is not known
        ([0.1] * 7, 0.7, 7, [[n] for n in range(7)]),
        ([], 30, 4, []),
    ],
)
def test_jobs_are_divided_by_the_time_that_they_take(seconds, most, at_least, parts):
    assert chunks(seconds, most, at_least) == parts


@pytest.mark.parametrize("seconds", [1234567.0, 0.1, 5400.0, 1e16, 100000.5])
def test_a_task_has_the_very_timeout_of_the_command(seconds, tmp_path):
    chosen = Chosen({}, 0, 3600, lambda jobs: Costs({}, 0), print)
    words = Slurm(Store(tmp_path), Resources(timeout=seconds), chosen)._command()
    said = words[words.index("--trial-timeout") + 1]
    assert parse_duration(said) == seconds
    assert said == "1234567" or seconds != 1234567


def test_options_of_sbatch():
    found = slurm.check_options(["partition=gpu", "--gres=gpu:1", "exclusive", "constraint=a=b"])
    assert found == {
        "partition": "gpu", "gres": "gpu:1", "exclusive": "", "constraint": "a=b"
    }  # fmt: skip
    with pytest.raises(ValueError, match="dnabench sets array itself"):
        slurm.check_options(["array=0-3"])
    for text, name in (
        ("expor=ALL", "export"),
        ("--outp=x", "output"),
        ("sig=USR2", "signal"),
        ("no-requeue", "no-requeue"),
        ("--export-file=x", "export-file"),
    ):
        with pytest.raises(ValueError, match=f"dnabench sets {name} itself"):  # sbatch takes them
            slurm.check_options([text])
    assert slurm.check_options(["wait-all-nodes=1"]) == {"wait-all-nodes": "1"}
    with pytest.raises(ValueError, match="write name=value"):
        slurm.check_options(["="])


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands of sh in the place of Slurm's, which takes four tasks an array."""

    def put(**texts):
        for name, text in {"scontrol": "echo 'MaxArraySize            = 5'", **texts}.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    slurm._most.cache_clear()
    yield put
    slurm._most.cache_clear()


@pytest.mark.parametrize(
    ("at_once", "options", "waits"),
    [
        (0, {}, [None, None, None]),
        (2, {}, [None, "afterany:7", "afterany:8"]),
        (2, {"dependency": "afterok:1"},
         ["afterok:1", "afterok:1,afterany:7", "afterok:1,afterany:8"]),
    ],
)  # fmt: skip
def test_a_limit_of_tasks_is_one_of_all_arrays(at_once, options, waits, tmp_path, commands):
    said = tmp_path / "said"
    commands(sbatch=f'echo "$@" >> {said}; echo $((6 + $(wc -l < {said})))')
    asked = slurm.Asked(options, at_once)
    assert slurm.submit("x", tmp_path, ["true"], 10, asked) == ["7", "8", "9"]
    lines = [
        dict(w[2:].partition("=")[::2] for w in line.split())
        for line in said.read_text().splitlines()
    ]
    assert [line.get("dependency") for line in lines] == waits
    limit = f"%{at_once}" if at_once else ""
    assert [line["array"] for line in lines] == [f"0-{k}{limit}" for k in (3, 3, 1)]


def interrupted(code, begun):
    """Run code of Python, and send Ctrl-C to it and its programs once a file is there."""
    words = [*slurm.python()[:1], "-c", f"from dnabench.executors import slurm; {code}"]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        wait_for(begun.exists)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) in (1, -signal.SIGINT)


@pytest.mark.parametrize("how", ["Ctrl-C", "refused"])
def test_whatever_ends_submitting_cancels_what_slurm_took(how, tmp_path, commands):
    """Also the array whose id was not read any more, by its name."""
    said, cancelled, begun = (tmp_path / name for name in ("said", "cancelled", "begun"))
    then = f"echo > {begun}; exec sleep 20" if how == "Ctrl-C" else "echo no >&2; exit 1"
    commands(
        sbatch=f'echo "$@" >> {said}; [ $(wc -l < {said}) = 1 ] && echo 7 && exit 0; {then}',
        scancel=f'echo "$@" >> {cancelled}',
    )
    if how == "Ctrl-C":
        interrupted(
            f"from pathlib import Path; slurm.submit('x', Path({str(tmp_path)!r}), ['true'], 10, "
            "slurm.Asked({}, 0))", begun,
        )  # fmt: skip
    else:
        with pytest.raises(ValueError, match="did not take the trials: sbatch: no;"):
            slurm.submit("x", tmp_path, ["true"], 10, slurm.Asked({}, 0))
    assert cancelled.read_text().splitlines() == ["7", f"--user={os.getuid()} --name=x-4"]


def test_what_slurm_does_not_cancel_is_said(commands):
    commands(
        scancel="echo 'scancel: error: Kill job error on job id 7: Invalid job id' >&2; exit 1"
    )
    assert slurm.cancel(["7"]) == slurm.cancel([]) == ""
    commands(scancel="echo 'scancel: error: Unable to contact slurm controller' >&2; exit 1")
    assert slurm.cancel(["7"]).endswith("Unable to contact slurm controller")


def test_a_second_ctrl_c_does_not_end_cancelling(tmp_path, commands):
    done, begun = tmp_path / "done", tmp_path / "begun"
    commands(scancel=f"echo > {begun}; sleep 1; echo > {done}")
    interrupted("slurm.cancel(['7'])", begun)
    wait_for(done.exists)


def test_memory_and_time_leave_room():
    assert slurm.memory(2**30) == "2560M"
    assert slurm.time_limit(1800) == "1:40:00" and slurm.time_limit(1) == "0:11:00"


def test_the_device_is_left_to_the_nodes():
    found = ExecutionOptions(executor="slurm", device="cuda").resources()
    assert found.device == "cuda" and found.workers == 0
    assert ExecutionOptions(executor="slurm", jobs="8").resources().workers == 8


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["run", "--set-resource", "partition=gpu"],
            "is for --executor slurm or ray; leave it out",
        ),
        (["run", "--detach"], "--detach is for --executor slurm"),
        (["worker", "--executor", "slurm"], "a worker runs trials on its own machine"),
    ],
)
def test_flags_that_mean_nothing_here_are_refused(words, says, csv, tmp_path):
    more = ["-m", "kmer", "--data", csv, "--seeds", 1] if words[0] == "run" else []
    done = dnabench(*words, *more, "--out", tmp_path / "runs")
    assert done.returncode == 2 and says in done.stderr
    assert not list((tmp_path / "runs").glob("records/*"))
