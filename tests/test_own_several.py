"""--data given several times, beside a suite, and to `audit data`; files that are the groups."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import dnabench

from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.tasks import own_tasks
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData


def table(path, seed, n=60, copies=0):
    """n random sequences with labels; the first `copies` of test are also in train."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("ACGT"), 50)) for _ in range(n)]
    rows = [f"{t},{i % 2},{'test' if i % 4 > 1 else 'train'}" for i, t in enumerate(texts)]
    rows += [f"{texts[4 * i + 2]},{i % 2},train" for i in range(copies)]
    path.write_text("\n".join(["sequence,label,split", *rows]) + "\n")
    return path


@pytest.mark.slow
def test_several_files_and_a_suite_are_one_run_and_one_report(tmp_path):
    one, two = table(tmp_path / "one.csv", 0), table(tmp_path / "two.csv", 1)
    done = dnabench("run", "-m", "kmer", "--data", one, "--data", two, "--suite", "demo", "--tasks",
                    "splice_junctions", "--limit", "60", "--seeds", "1", "--out", tmp_path / "runs",
                    "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "data/one: binary" in done.stdout and "data/two: binary" in done.stdout
    found = {r.trial.task: r.where["path"] for r in Store(tmp_path / "runs")}
    assert found == {"data/one": str(one), "data/two": str(two), "demo/splice_junctions": ""}
    shown = dnabench("report", "--out", tmp_path / "runs")
    assert shown.returncode == 0, shown.stderr
    for task in found:
        assert task in shown.stdout


def test_two_files_of_one_name_are_told_apart_before_anything_runs(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one, other = (table(tmp_path / f / "x.csv", i) for i, f in enumerate("ab"))
    with pytest.raises(ValueError, match=r"--data .*b/x.csv: .*a/x.csv has the same name, data/x; "
                       "rename one"):  # fmt: skip
        grid(Request(models=["kmer"], data=(str(one), str(other))))
    jobs = grid(Request(models=["kmer"], data=(str(one), str(one)), seeds="1"))
    assert len(jobs) == 1  # the same file twice


def test_the_audit_takes_a_users_file(tmp_path):
    path = table(tmp_path / "mine.csv", 0, copies=5)
    done = dnabench("audit", "data", "--data", path, "--to", tmp_path / "audit",
                    cache=tmp_path / "cache")  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    (found,) = (tmp_path / "audit").rglob("*.json")
    document = json.loads(found.read_text())
    (one,) = document if isinstance(document, list) else [document]
    assert one["task"] == "data/mine" and one["data"] == task_from_path(path).data
    words = ("--data", path, "-m", "kmer", "--seeds", "1", "--device", "cpu", "--out")
    done = dnabench("run", *words, tmp_path / "runs", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    shown = dnabench("report", "--out", tmp_path / "runs", "--full", cache=tmp_path / "cache")
    assert "Without the copied examples" in shown.stdout and "| 5 of 30 " in shown.stdout


def shards(folder, names):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        rng = np.random.default_rng(i)
        rows = ["".join(rng.choice(list("ACGT"), 50)) + f",{k % 2}" for k in range(20)]
        (folder / name).write_text("\n".join(["sequence,label", *rows]) + "\n")
    return folder


def test_shards_of_a_file_that_is_a_group_are_one_group_and_whole(tmp_path):
    names = ["liver-00000-of-00002.csv", "liver-00001-of-00002.csv", "brain.csv", "heart.csv"]
    own = OwnData(split_by="file", test_groups=("liver",))
    task = task_from_path(shards(tmp_path / "whole", names), own=own)
    assert task.counts == {"train": 40, "test": 40}
    assert "split by file: 3 groups" in task.notes
    part = shards(tmp_path / "part", [*names[1:]])
    with pytest.raises(ValueError, match="the liver split lacks shard liver-00000-of-00002"):
        task_from_path(part, own=own)


@pytest.mark.parametrize(
    ("names", "flag", "value", "used_by"),
    [
        (("split.csv", "two.fa"), "--header", "id|label", "two"),
        (("two.fa", "split.csv"), "--sequence-column", "sequence", "split"),
        (("split.csv", "number.csv"), "--split-seed", "2", "number"),
        (("split.csv", "number.csv"), "--positive", "0", "split"),
    ],
)
def test_a_flag_that_one_of_several_files_needs_is_left_out_at_the_others(
    names, flag, value, used_by, tmp_path
):
    table(tmp_path / "split.csv", 0)
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("ACGT"), 50)) for _ in range(60)]
    (tmp_path / "two.fa").write_text("".join(f">n{i}|{i % 2}\n{t}\n" for i, t in enumerate(texts)))
    rows = [f"{t},{i / 7:.3f}" for i, t in enumerate(texts)]
    (tmp_path / "number.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    field = {"--sequence-column": "sequence"}.get(flag, flag[2:].replace("-", "_"))
    given = OwnData(**{field: int(value) if value == "2" else value})
    paths = tuple(str(tmp_path / name) for name in names)
    request = Request(models=["kmer"], data=paths, own=given, seeds="1")
    for job in grid(request):
        alone = given if job.trial.task == f"data/{used_by}" else OwnData()
        assert job.own == alone
        assert job.trial.data == task_from_path(Path(job.path), own=alone).data
    said = {task.name: task.notes[-1] for task in own_tasks(request)}
    for name, note in said.items():
        assert (note == f"not used here: {flag}") == (name != f"data/{used_by}")
    unneeded = next(path for path in paths if used_by not in path)
    other = str(shutil.copy(unneeded, f"{unneeded[:-4]}2{Path(unneeded).suffix}"))
    with pytest.raises(ValueError, match=f"{unneeded}: {flag} {re.escape(value)}"):
        grid(replace(request, data=(unneeded, other)))


def test_the_audit_of_several_files_takes_a_flag_of_one(tmp_path):
    one = table(tmp_path / "one.csv", 0)
    two = tmp_path / "two.fa"
    rows = table(tmp_path / "not_read.csv", 1).read_text().splitlines()[1:]
    fields = (row.split(",") for row in rows)
    two.write_text("".join(f">n{i}|{y}\n{text}\n" for i, (text, y, _) in enumerate(fields)))
    done = dnabench("audit", "data", "--data", one, "--data", two, "--header", "id|label",
                    cache=tmp_path / "cache")  # fmt: skip
    assert done.returncode in (0, 1) and "data/two" in done.stdout, done.stderr
