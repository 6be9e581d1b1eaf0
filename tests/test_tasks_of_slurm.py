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
    with pytest.raises(ValueError, match="write name=value"):
        slurm.check_options(["="])


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
        (["run", "--set-resource", "partition=gpu"], "is for --executor slurm; leave it out"),
        (["run", "--detach"], "--detach is for --executor slurm"),
        (["worker", "--executor", "slurm"], "a worker runs trials on its own machine"),
    ],
)
def test_flags_that_mean_nothing_here_are_refused(words, says, csv, tmp_path):
    more = ["-m", "kmer", "--data", csv, "--seeds", 1] if words[0] == "run" else []
    done = dnabench(*words, *more, "--out", tmp_path / "runs")
    assert done.returncode == 2 and says in done.stderr
    assert not list((tmp_path / "runs").glob("records/*"))
