"""What `--executor slurm` decides before Slurm is asked; tests/engines has the daemons."""

import pytest
from conftest import dnabench

from dnabench.cli.options import ExecutionOptions
from dnabench.executors import slurm
from dnabench.sweep.slurm import chunks


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


@pytest.mark.parametrize(
    ("at_once", "options", "waits"),
    [
        (0, {}, [None, None, None]),
        (2, {}, [None, "afterany:7", "afterany:8"]),
        (2, {"dependency": "afterok:1"},
         ["afterok:1", "afterok:1,afterany:7", "afterok:1,afterany:8"]),
    ],
)  # fmt: skip
def test_a_limit_of_tasks_is_one_of_all_arrays(at_once, options, waits, tmp_path, monkeypatch):
    """By commands that note their words in the place of Slurm's."""
    said = tmp_path / "said"
    for name, text in (
        ("scontrol", "echo 'MaxArraySize            = 5'"),
        ("sbatch", f'echo "$@" >> {said}; echo $((6 + $(wc -l < {said})))'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    slurm._most.cache_clear()
    try:
        asked = slurm.Asked(options, at_once)
        assert slurm.submit("x", tmp_path, ["true"], 10, asked) == ["7", "8", "9"]
    finally:
        slurm._most.cache_clear()
    lines = [
        dict(w[2:].partition("=")[::2] for w in line.split())
        for line in said.read_text().splitlines()
    ]
    assert [line.get("dependency") for line in lines] == waits
    limit = f"%{at_once}" if at_once else ""
    assert [line["array"] for line in lines] == [f"0-{k}{limit}" for k in (3, 3, 1)]


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
