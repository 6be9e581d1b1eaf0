"""Numbers and several labels in a user's file, from the file to the report; what is asked about."""

import numpy as np
import pytest
from conftest import command, completed

from dnabench.metrics import METRICS
from dnabench.results.store import Store
from dnabench.tasks.io.describing import describe, standard_error
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("ACGT"), 80, p=[(1 - g) / 2, g / 2, g / 2, (1 - g) / 2]))
         for g in RNG.uniform(0.2, 0.8, 240)]  # fmt: skip
GC = [(t.count("G") + t.count("C")) / 80 for t in TEXTS]


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


def run(tmp_path, path, *more):
    argv, env = command("run", "-m", "cnn", "--data", path, "--seeds", "2", "--epochs", "3",
                        "--device", "cpu", "--out", tmp_path / "runs", *more)  # fmt: skip
    done = completed(argv, env)
    assert done.returncode == 0, done.stderr
    argv, env = command("report", "--out", tmp_path / "runs", "--format", "md")
    report = completed(argv, env)
    assert report.returncode == 0, report.stderr
    return done.stdout, list(Store(tmp_path / "runs")), report.stdout


@pytest.mark.slow
def test_fractions_are_regression_from_file_to_report(tmp_path):
    rows = [(t, round(100 + 7 * g, 4)) for t, g in zip(TEXTS, GC, strict=True)]
    said, records, report = run(tmp_path, write(tmp_path / "gc.csv", "sequence,label", rows))
    assert "data/gc: regression, 1 output, metric pearson" in said
    assert "labels are standardised; mean and standard deviation in train: label 103" in said
    assert {"pearson", "spearman", "r2"} <= records[0].scores["test"].keys()
    assert records[0].scores["test"]["pearson"] > 0.3 and "Pearson r" in report


@pytest.mark.slow
def test_several_columns_are_multilabel_from_file_to_report(tmp_path):
    rows = [
        (t, int(g > 0.5), int("CG" in t), int("TTT" in t)) for t, g in zip(TEXTS, GC, strict=True)
    ]
    path = write(tmp_path / "many.csv", "dna,high,cpg,ttt", rows)
    flags = ("--label-column", "high,cpg,ttt", "--sequence-column", "dna")
    said, records, report = run(tmp_path, path, *flags)
    assert "data/many: multilabel, 3 outputs, metric auroc_mean" in said
    assert records[0].task["classes"] == ["high", "cpg", "ttt"]
    assert records[0].scores["test"]["auroc_mean"] > 0.5 and "AUROC" in report


def test_labels_are_standardised_on_train_alone(tmp_path):
    rows = [(t, 100 + 7 * g + (1000 if i % 5 == 0 else 0), "test" if i % 5 == 0 else "train")
            for i, (t, g) in enumerate(zip(TEXTS, GC, strict=True))]  # fmt: skip
    task = task_from_path(write(tmp_path / "x.csv", "sequence,label,split", rows))
    y = task.load("train").y
    assert y.dtype == np.float32 and y.shape == (192, 1)
    assert abs(float(y.mean())) < 1e-5 and abs(float(y.std()) - 1) < 1e-5
    assert task.load("test").y.mean() > 100
    [(mean, sd)] = task.scale
    ids = task.load("train").ids
    written = [rows[int(one.partition(":")[2]) - 1][1] for one in ids]
    np.testing.assert_allclose(mean + sd * y[:, 0].astype(float), written, rtol=1e-6)


def test_several_columns_of_numbers_are_regression_with_as_many_outputs(tmp_path):
    rows = [(t, g, 2 * g + i) for i, (t, g) in enumerate(zip(TEXTS, GC, strict=True))]
    own = OwnData(label=("a", "b"))
    task = task_from_path(write(tmp_path / "x.csv", "sequence,a,b", rows), own=own)
    assert (task.kind, task.classes, task.metric) == ("regression", ("a", "b"), "pearson")


def test_a_number_of_several_columns_in_another_notation_is_told_how_to_write_it(tmp_path):
    path = tmp_path / "x.csv"
    for word, says in (("1,5", "write the point as ."), ("n.d.", "write a number or remove")):
        text = "sequence;a;b\n" + "".join(f"{t};{word};{i}\n" for i, t in enumerate(TEXTS))
        path.write_text(text)
        with pytest.raises(ValueError, match=f"x.csv:2: label '{word}' is not a finite .*{says}"):
            task_from_path(path, own=OwnData(label=("a", "b")))


ASKED = {
    "counts": (list(range(25)), "25 different whole numbers .* may be counts; give --kind"),
    "few fractions": ([0, 0.5, 1], "'0.5' is not a whole number, .*--kind regression .*--kind"),
    "lists": (["CTCF;GATA1", "CTCF", "GATA1"], "'CTCF;GATA1' looks like several; .*--label-column"),
    "zero width": (["pos", "pos\u200b", "neg"], "labels .* look alike; .* --kind multiclass"),
    "cyrillic": (["pos", "\u0440os", "neg"], "labels .* look alike"),
    "case": (["Pos", "pos", "neg"], "labels 'Pos' and 'pos' look alike"),
    "missing": (["<NA>", "a", "b"], "label '<NA>' looks like a missing value"),
    "gap": ([0, 1, 3], "labels are 0, 1, 3: not numbered from 0 or 1 .*--kind multiclass"),
}  # fmt: skip


_TENTHS = [f"{i}.5" for i in range(20)]
ODD = {
    "decimal comma": ([f"{i // 10},{i % 10}" for i in range(15)], "0,0", "write the point as ."),
    "thousands": ([f"{i % 3},{i:03}" for i in range(240)], "0,000", "no other comma"),
    "percent": ([f"{i}%" for i in range(101)], "0%", "write it without %"),
    "plus or minus": ([f"{i}.5±0.1" for i in range(20)], "0.5±0.1", "write the number alone"),
    "dash": ([f"\u2013{i}.5" for i in range(20)], "\u20130.5", "write the minus as -"),
    "infinite": ([*_TENTHS, "-inf"], "-inf", "20 of 21 different labels are; write a number or"),
    "bound": ([*_TENTHS, "<0.01", ">99"], "<0.01", "as 20 of 22 different labels are; write"),
    "failed": ([*_TENTHS, "failed"], "failed", "as 20 of 21 different labels are; write"),
    **{word: (["0", "1", word], word, "as 2 of 3 different labels are; write a number or remove")
       for word in ("n.d.", "n.a.", "NAN", "Na", "none", "-", ".", "+Inf")},
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_numbers_in_odd_notation_are_no_classes_unless_that_is_said(name, tmp_path):
    values, label, says = ODD[name]
    rows = [f"{t};{values[i % len(values)]}" for i, t in enumerate(TEXTS)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(["sequence;label", *rows]), encoding="utf-8")
    line = 2 + values.index(label)
    with pytest.raises(ValueError, match="is not a finite number") as e:
        task_from_path(path)
    assert f"{path}:{line}: label {label!r} is" in str(e.value) and says in str(e.value)
    assert "or give --kind multiclass to take each label as a class" in str(e.value)
    own = OwnData(kind="multiclass", split_seed=1, leak_check=False)
    if len(TEXTS) > 2 * len(values):
        assert task_from_path(path, own=own).n_outputs == len(values)
    with pytest.raises(ValueError, match=f"x.csv:{line}: label .* is not a finite number"):
        task_from_path(path, own=OwnData(kind="regression"))


@pytest.mark.parametrize(
    "values",
    [
        [*range(1, 23), "X", "Y"], ["0", "1", ">1"], [*range(10), ">=10"], ["<5", ">=5"],
        ["10%", "50%"], [f"GENE{i}" for i in range(110)], ["1.1.1", "1.1.2"], ["TRUE", "FALSE"],
        ["none", "enhancer"], ["-", "enhancer", "promoter"], ["test", "control"], ["+", "-"],
        ["1", "-"], ["0-1", "1-2", ">2"], [*range(30), "unassigned"], ["1h", "2h"],
    ],
    ids=lambda values: f"{values[0]} to {values[-1]}",
)  # fmt: skip
def test_classes_that_look_like_numbers_stay_classes(values, tmp_path):
    rows = [f"{t};{values[i % len(values)]}" for i, t in enumerate(TEXTS)]
    (tmp_path / "x.csv").write_text("\n".join(["sequence;label", *rows]))
    task = task_from_path(tmp_path / "x.csv", own=OwnData(leak_check=False))
    assert set(task.classes) == {str(value) for value in values}
    assert not any("are these labels?" in note for note in task.notes)


def test_true_and_one_are_not_two_classes(tmp_path):
    rows = [(t, ("TRUE", "FALSE", 1, 0)[i % 4]) for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", "sequence,label", rows)
    with pytest.raises(ValueError, match=r"x.csv:2: label 'TRUE', but .*x.csv:4 has '1' for the"):
        task_from_path(path)
    assert task_from_path(path, own=OwnData(kind="multiclass")).n_outputs == 4
    (tmp_path / "my").mkdir()
    write(tmp_path / "my" / "train.csv", "sequence,label", rows[:2] * 9)
    write(tmp_path / "my" / "test.csv", "sequence,label", rows[2:4] * 9)
    with pytest.raises(ValueError, match=r"train.csv:2: label 'TRUE', but .*test.csv:2 has '1'"):
        task_from_path(tmp_path / "my")


def test_whole_numbers_beyond_those_of_float64_stay_apart(tmp_path):
    rows = [(t, 10**16 + i % 2) for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", "sequence,label", rows)
    task = task_from_path(path, own=OwnData(kind="multiclass"))
    assert task.classes == (str(10**16), str(10**16 + 1))


def test_labels_that_may_be_names_are_told(tmp_path):
    path = write(tmp_path / "x.csv", "sequence,label", [(t, f"s{i}") for i, t in enumerate(TEXTS)])
    with pytest.raises(ValueError, match=r"none can be set aside; is 's0' a label. there are 240"):
        task_from_path(path)
    rows = [(t, f"s{i if i < 200 else 0}") for i, t in enumerate(TEXTS)]
    text = describe(task_from_path(write(path, "sequence,label", rows)))
    assert f"warning: 199 of 200 classes have one example, as 's1' in {path}:3; are these" in text


def test_one_value_in_train_is_named_with_the_file(tmp_path):
    rows = [(t, 1.5 if i < 200 else i, "train" if i < 200 else "test")
            for i, t in enumerate(TEXTS)]  # fmt: skip
    path = write(tmp_path / "x.csv", "sequence,label,split", rows)
    with pytest.raises(ValueError, match=r"x.csv: every training example has the same label: 1.5"):
        task_from_path(path, own=OwnData(kind="regression"))


@pytest.mark.parametrize("name", ASKED)
def test_labels_that_may_be_several_things_are_asked_about(name, tmp_path):
    values, says = ASKED[name]
    rows = [(t, values[i % len(values)]) for i, t in enumerate(TEXTS)]
    with pytest.raises(ValueError, match=says):
        task_from_path(write(tmp_path / "x.csv", "sequence,label", rows))


@pytest.mark.parametrize(
    ("name", "kind", "outputs"),
    [("counts", "regression", 1), ("counts", "multiclass", 25), ("few fractions", "multiclass", 3),
     ("lists", "multiclass", 3), ("case", "multiclass", 3), ("gap", "multiclass", 3)],
)  # fmt: skip
def test_the_flag_in_the_question_answers_it(name, kind, outputs, tmp_path):
    values = ASKED[name][0]
    rows = [(t, values[i % len(values)]) for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", "sequence,label", rows)
    task = task_from_path(path, own=OwnData(kind=kind))
    assert (task.kind, task.n_outputs) == (kind, outputs)


@pytest.mark.parametrize(
    ("values", "classes"),
    [([-1, 1], ("-1", "1")), ([1, 2], ("1", "2")), ([1, 2, 3], ("1", "2", "3"))],
)
def test_labels_from_minus_one_or_one_are_renumbered_and_said(values, classes, tmp_path):
    rows = [(t, values[i % len(values)]) for i, t in enumerate(TEXTS)]
    task = task_from_path(write(tmp_path / "x.csv", "sequence,label", rows))
    assert task.classes == classes and set(task.load("train").y) == set(range(len(values)))
    assert f"are read as classes 0 to {len(values) - 1}" in describe(task)


def test_small_and_unbalanced_tests_are_said_before_training(tmp_path):
    rows = [(t, int(i < 12), "test" if i % 6 == 0 else "train") for i, t in enumerate(TEXTS)]
    text = describe(task_from_path(write(tmp_path / "x.csv", "sequence,label,split", rows)))
    assert "warning: only 40 test examples" in text
    assert "warning: test has few examples of '1': 2 of 40" in text
    assert "these 40 test examples alone give MCC a standard error of about 0.16" in text


def test_few_training_examples_of_a_class_are_said(tmp_path):
    rows = [(t, int(i < 9), "test" if i % 3 == 0 else "train") for i, t in enumerate(TEXTS)]
    text = describe(task_from_path(write(tmp_path / "x.csv", "sequence,label,split", rows)))
    assert "warning: train has few examples of '1': 6 of 160" in text
    assert "warning: test has few examples of '1': 3 of 80" in text


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [("active", "inactive", True), ("enhancer", "non-enhancer", True), ("bound", "unbound", True),
     ("X", "not_X", True), ("a", "no a", True), ("case", "control", True),
     ("Active site", "control", True), ("no", "yes", False), ("false", "true", False),
     ("negative", "positive", False),
     ("control", "treated", False), ("control", "negative", False), ("exon", "intron", False),
     ("-1", "1", False)],
)  # fmt: skip
def test_a_positive_class_that_denies_the_other_is_said(one, two, said, tmp_path):
    rows = [(t, (one, two)[i % 2]) for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", "sequence,label", rows)
    text, sorts = describe(task_from_path(path)), "because it sorts last"
    assert f"positive class: {two}{', because' if said else ' (--positive chooses)'}" in text
    assert (sorts in text) == said and f"warning: {two!r} is" not in text
    if said:
        quoted = f"'{one}'" if " " in one else one
        assert f"are of {two!r}: write --positive {quoted} for those of {one!r}" in text
    chosen = describe(task_from_path(path, own=OwnData(positive=two)))
    assert f"positive class: {two} (--positive chooses)" in chosen


def test_f1_and_auprc_alone_depend_on_which_class_is_positive():
    rng = np.random.default_rng(0)
    y, logits = rng.integers(2, size=200), rng.normal(size=(200, 2))
    found = {
        name: (metric.function(y, logits), metric.function(1 - y, logits[:, ::-1]))
        for name, metric in METRICS.items()
        if "binary" in metric.kinds
    }
    depend = {name for name, (one, other) in found.items() if one != pytest.approx(other)}
    assert depend == {"f1_binary", "auprc"}


@pytest.mark.parametrize("n", [50, 400])
def test_the_standard_error_is_that_of_a_simulation(n, tmp_path):
    rows = [(t, i % 2) for i, t in enumerate(TEXTS)]
    task = task_from_path(write(tmp_path / "x.csv", "sequence,label", rows))
    rng, y = np.random.default_rng(0), np.arange(n) % 2
    scores = [METRICS["mcc"].function(y, rng.normal(size=(n, 2))) for _ in range(2000)]
    assert standard_error(task, y) == pytest.approx(np.std(scores), rel=0.06)


def test_columns_that_are_not_used_are_named(tmp_path):
    rows = [(t, i % 2, "x", 3) for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", "sequence,label,source,score", rows)
    assert "ignored columns: source, score" in describe(task_from_path(path))
