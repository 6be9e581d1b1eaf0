"""Columns and files that may say the split, and the values of a column to split by."""

import re
import shlex

import numpy as np
import pytest

from dnabench.tasks.io.doubtful import file_may_be_split
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(80)]


def column(folder, name, values):
    """80 unrelated sequences of two classes, and a column of these values in turn."""
    rows = [f"{t},{i // 20 % 2},{values[i % len(values)]}" for i, t in enumerate(TEXTS)]
    path = folder / "my.csv"
    path.write_text("\n".join([f"sequence,label,{name}", *rows]) + "\n")
    return path


def folder_of(path, *names):
    path.mkdir()
    for k, name in enumerate(names):
        rows = [f"{TEXTS[20 * k + i]},{i % 2}" for i in range(20)]
        (path / name).write_text("\n".join(["sequence,label", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "values", "way", "test"),
    [
        ("usage", ("train", "train", "test", "exclude"), "--split-by usage --test-groups", "test"),
        ("dataset", ("train_set", "test_set"), "--split-column dataset", "test_set"),
        ("train", (False, True, True, True), "--split-column train", "False"),
        ("isTrain", ("y", "n"), "--split-column isTrain", "n"),
        ("test", (1, 0, 0, 0), "--split-column test", "1"),
        ("test", ("x", "", "", ""), "--split-column test", "x"),
        ("is_test", (False, True), "--split-column is_test", "True"),
        ("independent", ("no", "no", "yes", "no"), "--split-column independent", "yes"),
        ("Fold_ID", range(5), "--split-by Fold_ID --test-groups", "4"),
        ("partition", "ABC", "--split-by partition --test-groups", "C"),
        ("kFold", ("fold 1", "fold 2"), "--split-by kFold --test-groups", "fold 2"),
    ],
)
def test_a_column_that_may_be_a_split_is_refused_and_its_advice_works(
    name, values, way, test, tmp_path
):
    path = column(tmp_path, name, values)
    with pytest.raises(ValueError, match=re.escape(f"{path}: column {name!r} (")) as e:
        task_from_path(path)
    by = "--split-by" in way
    assert f": {way}{f' {shlex.quote(test)}' * by};" in str(e.value)
    assert "--split-column none" in str(e.value)
    own = OwnData(split_by=name, test_groups=(test,)) if by else OwnData(split=name)
    task = task_from_path(path, own=own)
    held = [i for i in range(80) if str(values[i % len(values)]) == test]
    assert task.counts == {"train": 80 - len(held), "test": len(held)}
    assert [task.load("test").seqs[i] for i in range(len(held))] == [TEXTS[i] for i in held]
    aside = task_from_path(path, own=OwnData(split="none"))
    assert "set aside by dnabench" in aside.source


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fold_change", range(4)), ("foldChange", range(4)), ("tested_at", ("lab1", "lab2")),
        ("test_date", ("2020-01", "2020-02")), ("test", ("PCR", "ELISA")), ("test", range(40)),
        ("test_passed", (0, 1)), ("is_valid", (0, 1)), ("valid", (True, False)),
        ("stage", ("dev", "adult")), ("arm", ("test", "control")), ("aa", ("val", "ala", "leu")),
        ("notes", ("used for training of the first model", "see the test of 2019")),
        ("protein_fold", ("TIM", "Rossmann")), ("train_time", (0, 1)), ("test_group", (0, 1)),
        ("score", [i / 7 for i in range(80)]),
    ],
)  # fmt: skip
def test_columns_that_only_sound_like_a_split_are_read_as_before(name, values, tmp_path):
    task = task_from_path(column(tmp_path, name, list(values)))
    assert f"ignored columns: {name}" in task.notes and task.counts == {"train": 64, "test": 16}


def test_a_column_is_no_split_where_files_are(tmp_path):
    path = folder_of(tmp_path / "my", "train.csv", "test.csv")
    for file in path.iterdir():
        rows = [f"{row},{i % 2}" for i, row in enumerate(file.read_text().splitlines()[1:])]
        file.write_text("\n".join(["sequence,label,test", *rows]))
    assert task_from_path(path).counts == {"train": 20, "test": 20}


@pytest.mark.parametrize(
    "name", ["test2", "testset", "TestSet", "test set", "independent", "Fold3", "hold-out"]
)
def test_a_file_that_may_be_a_split_is_refused(name, tmp_path):
    path = folder_of(tmp_path / "my", "train.csv", f"{name}.csv")
    with pytest.raises(ValueError, match=f"{name}.csv: the name looks like a split, .*rename it"):
        task_from_path(path)
    task = task_from_path(path, own=OwnData(split_by="file", test_groups=(name,)))
    assert task.counts == {"train": 20, "test": 20}


@pytest.mark.parametrize(
    "name", ["contest", "constrained", "latest", "dataSet", "tested", "~$test"]
)
def test_a_file_that_only_sounds_like_a_split_is_named_as_ignored(name, tmp_path):
    assert not file_may_be_split(name)
    task = task_from_path(folder_of(tmp_path / "my", "train.csv", f"{name}.csv"))
    assert f"ignored files: {name}.csv" in task.notes


def test_a_split_column_of_other_words_is_still_refused(tmp_path):
    path = column(tmp_path, "part", ("train", "holdout"))
    with pytest.raises(ValueError, match=r"my.csv:3: split 'holdout'; it must be train, dev"):
        task_from_path(path, own=OwnData(split="part"))


def headers(path, *fields):
    lines = [f">s{i}|{fields[i % len(fields)]}\n{t}\n" for i, t in enumerate(TEXTS)]
    path.write_text("".join(lines))
    return path


def test_headers_of_a_name_and_a_split_have_no_label(tmp_path):
    path = headers(tmp_path / "my.fa", "train", "train from lab 1", "Test")
    with pytest.raises(ValueError, match=r"my.fa:1: header '>s0\|train': .* --header 'id\|label'"):
        task_from_path(path)
    assert task_from_path(path, own=OwnData(header="id|label")).classes == ("Test", "train")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{'ab'[i // 20 % 2]}\n" for i in range(80)))
    task = task_from_path(path, own=OwnData(labels=str(labels)))
    assert task.classes == ("a", "b") and task.counts == {"train": 54, "test": 26}


@pytest.mark.parametrize(
    ("fields", "classes"),
    [
        (("test", "control"), ("control", "test")), (("val", "leu"), ("leu", "val")),
        (("0|train", "1|train", "0|test", "1|test"), ("0", "1")),
    ],
)  # fmt: skip
def test_headers_with_a_class_of_the_name_of_a_split_are_read(fields, classes, tmp_path):
    assert task_from_path(headers(tmp_path / "my.fa", *fields)).classes == classes
