"""The groups of --split-by: the column that is meant, and the values that are named."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dnabench.sweep.grid import Request, grid
from dnabench.tasks.audit.audit import audit, scores_without_leaks
from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

RNG = np.random.default_rng(1)
TEXTS = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(80)]


def columns(path, header, *values):
    """80 unrelated sequences of two classes, and columns of these values in turn."""
    rows = [
        ",".join([t, str(i // 20 % 2), *(str(v[i % len(v)]) for v in values)])
        for i, t in enumerate(TEXTS)
    ]
    path.write_text("\n".join([f"sequence,label,{header}", *rows]) + "\n")
    return path


def test_groups_that_are_blank_or_missing_are_warned_of_with_the_line(tmp_path):
    path = columns(tmp_path / "my.csv", "patient", ("p1", "p2", "p3", "", "NA"))
    text = describe(task_from_path(path, own=OwnData(split_by="patient")))
    says = "32 rows have no patient (nothing, 'NA'), the first is"
    assert f"warning: {says} {path}:5; those of a word count as one group" in text
    whole = columns(tmp_path / "whole.csv", "patient", ("p1", "p2", "p3", "p4", "p5"))
    assert "no patient" not in describe(task_from_path(whole, own=OwnData(split_by="patient")))
    own = OwnData(split_by="patient", test_groups=("NA",))  # a name then, as of North America
    assert "16 rows have no patient (nothing)" in describe(task_from_path(path, own=own))


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("batch,batch", OwnData(split_by="batch")),
        ("chrom,Chrom", OwnData(split_by="chrom")),
        ("chrom,Chrom", OwnData(test_groups=("b1",))),
    ],
)
def test_two_columns_of_the_name_to_split_by_are_refused(header, own, tmp_path):
    path = columns(tmp_path / "my.csv", header, [f"b{i}" for i in range(5)], ("x", "y"))
    one, other = header.split(",")
    says = f"my.csv: --split-by {one}: two columns are named so ({one} and {other}); rename one"
    with pytest.raises(ValueError, match=re.escape(says)):
        task_from_path(path, own=own)
    assert task_from_path(path).counts == {"train": 64, "test": 16}  # where neither is used


def test_a_column_named_file_is_the_groups_of_a_file_and_not_of_a_folder(tmp_path):
    path = columns(tmp_path / "my.csv", "file", ("a", "b", "c", "d"))
    own = OwnData(split_by="file", test_groups=("a",))
    assert task_from_path(path, own=own).counts == {"train": 60, "test": 20}
    (tmp_path / "my").mkdir()
    for name in ("a", "b", "c"):
        columns(tmp_path / "my" / f"{name}.csv", "file", ("x", "y"))
    task = task_from_path(tmp_path / "my", own=own)
    assert task.counts == {"train": 160, "test": 80}
    assert "column file is not used: the groups are the files of the folder" in task.notes


def test_whole_numbers_of_parquet_are_named_as_they_are_or_without_a_point(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    donors = [float(i % 4) for i in range(80)]
    labels = [i // 20 % 2 for i in range(80)]
    path = tmp_path / "my.parquet"
    pq.write_table(pa.table({"sequence": TEXTS, "label": labels, "donor": donors}), path)
    one, other = (
        task_from_path(path, own=OwnData(split_by="donor", test_groups=(name,)))
        for name in ("1", "1.0")
    )
    assert one.load("test").ids.tolist() == other.load("test").ids.tolist()
    assert one.counts == {"train": 60, "test": 20}
    assert one.source.endswith("test split: donor 1.0")
    with pytest.raises(ValueError, match=r"--test-groups 9: donor has 0.0, 1.0, 2.0, 3.0"):
        task_from_path(path, own=OwnData(split_by="donor", test_groups=("9",)))
    with pytest.raises(ValueError, match=r"1.0 is in --test-groups and in --dev-groups"):
        own = OwnData(split_by="donor", test_groups=("1",), dev_groups=("1.0",))
        task_from_path(path, own=own)


def test_one_group_is_named_in_the_message(tmp_path):
    path = columns(tmp_path / "my.csv", "chrom", ("chr1",))
    with pytest.raises(ValueError, match="--split-by chrom: every row has 'chr1' there"):
        task_from_path(path, own=OwnData(split_by="chrom"))


@pytest.mark.parametrize("other", ["b/seqs.fa", "b/negative.fa"])
def test_ids_of_positives_and_negatives_are_unique_in_a_split(other, tmp_path):
    texts = {name: TEXTS[k * 40 : k * 40 + 40] for k, name in enumerate(("a/seqs.fa", other))}
    texts["a/seqs.fa"][::4] = texts["a/seqs.fa"][1::4]  # 10 test positives are copies from train
    for name, some in texts.items():
        (tmp_path / name).parent.mkdir()
        lines = [f">p{i}|{'train' if i % 4 else 'test'}\n{t}\n" for i, t in enumerate(some)]
        (tmp_path / name).write_text("".join(lines))
    own = OwnData(negatives=str(tmp_path / other))
    task = task_from_path(tmp_path / "a" / "seqs.fa", own=own)
    test = task.load("test")
    assert task.counts == {"train": 60, "test": 20}
    assert task.source.startswith(f"{tmp_path / 'a' / 'seqs.fa'} and {tmp_path / other}; test ")
    assert len(set(test.ids.tolist())) == 20
    prefixes = ("", "") if "negative" in other else ("1/", "0/")
    assert (test.ids[0], test.ids[10]) == (
        f"{prefixes[0]}seqs.fa:p0",
        f"{prefixes[1]}{other[2:]}:p0",
    )
    found = audit(task)
    scores = scores_without_leaks(found, test.y, np.zeros((20, 2)), ["accuracy"], test.ids)
    assert len(found.leaked_ids) == 10 and scores["without"]["examples"] == 10


def test_a_dev_group_of_one_class_is_refused_before_anything_runs(tmp_path):
    chroms = [f"chr{i // 10 + 1}" for i in range(80)]  # chr1: class 0 alone
    path = columns(tmp_path / "my.csv", "chrom", chroms)
    own = OwnData(split_by="chrom", test_groups=("chr2", "chr3"), dev_groups=("chr1",))
    request = Request(models=["kmer"], data=str(path), own=own, seeds="1")
    says = "one class alone, '0' (10 examples), so no epoch can be chosen on it; bring another dev"
    with pytest.raises(ValueError, match=re.escape(says)):
        grid(request)
    assert len(grid(replace(request, protocol="last-epoch"))) == 1
    with pytest.raises(ValueError, match="so no setting can be chosen on it"):
        grid(replace(request, protocol="last-epoch", scored="val"))


def test_a_group_that_says_exclude_is_warned_of_unless_it_is_named(tmp_path):
    usage = ["train"] * 40 + ["test"] * 24 + ["Exclude"] * 16
    path = columns(tmp_path / "my.csv", "usage", usage)
    own, says = OwnData(split_by="usage", test_groups=("test",)), "16 rows have usage 'Exclude' and"
    assert says in describe(task_from_path(path, own=own))
    one = columns(tmp_path / "one.csv", "usage", [*["train"] * 40, *["test"] * 39, "Exclude"])
    assert "1 row has usage 'Exclude' and is used" in describe(task_from_path(one, own=own))
    named = replace(own, test_groups=("test", "Exclude"))
    assert "are used as every other" not in describe(task_from_path(path, own=named))
