"""`--jobs` and what a sweep says of compiling, precision and memory (harness/cli)."""

import json
import os
from dataclasses import replace

import pytest
from conftest import dnabench

from dnabench import Record
from dnabench.cli.allowed import most_in_memory
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.sweep_said import remarks
from dnabench.host.machine import usable_cores
from dnabench.results.rows import row_of
from dnabench.sweep.grid import Request, grid

GB = 2**30


def jobs_of(tasks, **words):
    words = {"models": ["cnn"], "seeds": "4", **words}
    return grid(Request(tasks=tasks, **words))


def record_of(job, peak, length, device="cpu"):
    task, where = {"length": length}, {"device": device}
    record = Record(trial=job.trial, peak_memory=peak, task=task, where=where)
    return row_of(record, (job.trial.id, 0, 0, 0))


@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_auto_is_the_usable_cores_over_the_threads_of_each(threads):
    one = ExecutionOptions(device="cpu", threads=threads).resources()
    assert one.workers == max(1, usable_cores() // threads) and one.compile == "auto"
    assert ExecutionOptions(device="cpu", threads=threads, jobs="3").resources().workers == 3


def test_auto_obeys_the_cores_that_this_process_was_given():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs Linux: sched_setaffinity")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert ExecutionOptions(device="cpu").resources().workers == 1
    finally:
        os.sched_setaffinity(0, before)


def test_memory_bounds_the_trials_by_what_like_ones_took():
    jobs = jobs_of(["demo/splice_junctions"])
    length = 60
    known = [record_of(jobs[0], 2 * GB, length), record_of(jobs[1], 3 * GB, length)]
    assert most_in_memory(jobs, known, 10 * GB) == 3  # of 3 GB
    assert most_in_memory(jobs, known, 1 * GB) == 1 and most_in_memory(jobs, known, 0) == 4
    assert most_in_memory(jobs, [], 1 * GB) == 4  # nothing is known
    assert most_in_memory(jobs, [record_of(jobs[0], 3 * GB, 500)], GB) == 4  # of another length
    assert most_in_memory(jobs, [record_of(jobs[0], 3 * GB, length, "cuda (H)")], GB) == 4
    other = jobs_of(["demo/splice_junctions"], models=["kmer"])
    assert most_in_memory(other, known, GB) == 4  # another model
    assert most_in_memory([*other, *jobs], known, 10 * GB) == 3  # the greatest counts for all


def test_memory_of_the_users_own_data_is_known_by_its_name(csv):
    jobs = jobs_of([], data=str(csv))
    assert jobs[0].path
    assert most_in_memory(jobs, [record_of(jobs[0], 3 * GB, 60)], 7 * GB) == 2


def test_what_came_otherwise_is_said_once_a_reason():
    (job, *_) = jobs_of(["demo/splice_junctions"])
    one = Record(trial=job.trial)
    flags = [
        {"compile": "on"}, {"compile": "off: no kernel"}, {"compile": "off: no kernel"},
        {"skipped_steps": 3}, {"eval_batch": 8}, {}, {"float32_layers": ["conv.0", "conv.3"]},
    ]  # fmt: skip
    assert remarks(replace(one, flags=f) for f in flags) == [
        "cnn: --compile is off: no kernel (2 trials)",
        "cnn: 3 steps overflowed in fp16 and were skipped (1 trial)",
        "cnn: out of memory, so evaluation continued with 8 examples at once (1 trial)",
        "cnn: bf16 gives wrong results here for conv.0, conv.3; they ran in float32 (1 trial)",
    ]


def test_no_jobs_at_all_means_auto():
    """Configuration files from before `auto` may say 0."""
    every = ExecutionOptions(device="cpu").resources()
    assert ExecutionOptions(jobs="0", device="cpu").resources() == every


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--jobs", "-1"), "--jobs '-1': give auto or the number of trials"),
        (("--jobs", "many"), "--jobs 'many': give auto"),
        (("--compile", "on"), "--compile 'on': give auto or off"),
    ],
)
def test_words_that_mean_nothing_are_explained(words, says):
    with pytest.raises(ValueError, match=says):
        ExecutionOptions(**{words[0].removeprefix("--"): words[1]}).resources()


@pytest.mark.slow
def test_the_command_takes_jobs_and_compile_from_flags_and_files(csv, tmp_path):
    out, toml = tmp_path / "runs", tmp_path / "sweep.toml"
    toml.write_text('jobs = 1\ncompile = "off"\n')
    words = ["run", "-m", "cnn", "--data", csv, "--seeds", "1", "--epochs", "1", "--out", out]
    done = dnabench("plan", *words[1:], "--config", toml)  # the same file
    assert done.returncode == 0, done.stderr
    done = dnabench(*words, "--config", toml)
    assert done.returncode == 0, done.stderr
    (kept,) = (out / "configs").glob("*.json")
    resources = json.loads(kept.read_text())["resources"]
    assert resources["workers"] == 1 and resources["compile"] == "off"
    again = dnabench(*words, "--seeds", "2", "--jobs", "auto", "--device", "cpu")
    assert again.returncode == 0 and "1 ran, 1 already done" in again.stdout
    for path in (out / "records").rglob("*.json"):
        assert "compile" not in json.loads(path.read_text())["flags"]
