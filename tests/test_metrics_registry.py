"""METRICS: names, kinds of tasks, JSON, and what bad input is told; fast, and light to import."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from test_metrics import CLASS_METRICS, split

from dnabench.areas import auprc_per_label, auroc_per_label
from dnabench.metrics import METRICS, Metric, f1_binary, metrics_for, recorded, score

GOOD = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("y", "logits", "says"),
    [
        ([0, 1], GOOD, r"y is \(2,\), scores \(3, 2\): N or K differs"),
        ([[0], [1], [1]], GOOD, r"y is \(3, 1\)"),
        ([0, 1, 1], np.zeros(3), r"scores \(3,\)"),
        (0, GOOD, r"y is \(\)"),
        (np.zeros(0, int), np.zeros((0, 2)), r"y is \(0,\): nothing to score"),
        ([0, 0, 0], np.zeros((3, 1)), "K = 1; .* a binary task has K = 2"),
        ([0, 2, 3], GOOD, r"label 2 of example 1 \(from 0\) is outside 0\.\.1"),
        ([0, 1, -1], GOOD, r"label -1 of example 2 \(from 0\) is outside 0\.\.1"),
        ([0.0, 1.0, 1.0], GOOD, "y is float64; labels are integers"),
        ([0, 1, 1], [[0, 0], [0, np.nan], [0, 0]], r"score 1 of example 1 \(from 0\) is nan"),
        ([0, 1, 1], [[0, 0], [0, 0], [-np.inf, 0]], r"score 0 of example 2 \(from 0\) is -inf"),
    ],
)
@pytest.mark.parametrize("name", sorted(CLASS_METRICS))
def test_bad_input_says_what_is_wrong(name, y, logits, says):
    with pytest.raises(ValueError, match=says):
        METRICS[name].function(np.array(y), np.array(logits))


@pytest.mark.parametrize("metric", [auroc_per_label, auprc_per_label])
@pytest.mark.parametrize(
    ("y", "scores", "says"),
    [
        ([0, 1, 1], GOOD, r"y is \(3,\), scores \(3, 2\)"),
        (np.zeros((3, 3)), GOOD, r"y is \(3, 3\), scores \(3, 2\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "nothing to score"),
        ([[0, 1], [0, 2], [1, 0]], GOOD, r"label 1 of example 1 \(from 0\) is 2, neither 0 nor 1"),
        ([[0, 1], [0, np.nan], [1, 0]], GOOD, "is nan, neither 0 nor 1"),
        (GOOD, [[0, 0], [np.inf, 0], [0, 0]], r"score 0 of example 1 \(from 0\) is inf"),
    ],
)
def test_bad_multilabel_input_says_what_is_wrong(metric, y, scores, says):
    with pytest.raises(ValueError, match=says):
        metric(np.array(y), np.array(scores))


def test_names_and_kinds():
    of_classes = [m for m in METRICS if m in CLASS_METRICS]
    assert metrics_for("multiclass") == (*(m for m in of_classes if m != "f1_binary"), "brier")
    assert metrics_for("binary") == (*of_classes, "brier")
    assert recorded("binary", "auroc") == ("auroc", *(m for m in of_classes if m != "auroc"))
    assert recorded("binary", "brier") == ("brier", *of_classes)
    with pytest.raises(ValueError, match="no metric is for kind 'ranking', only for binary"):
        metrics_for("ranking")
    with pytest.raises(ValueError, match="f1_binary is for 2 classes, logits have 3"):
        f1_binary(*split(0, 3))
    with pytest.raises(KeyError, match="no metric named 'mcx'; there are mcc, f1_macro"):
        score(*split(0, 2), ["mcc", "mcx"])


def test_the_registry_describes_its_functions():
    assert {"mcc", "f1_macro", "accuracy", "auroc", "auprc"} < METRICS.keys()
    for name, m in METRICS.items():
        assert isinstance(m, Metric) and m.name == name == m.function.__name__
        assert m.label and m.description and m.kinds
        assert m.rope == (0.005 if "f1" in name or "accuracy" in name else 0.01)
    for kind in ("binary", "multiclass", "multilabel", "regression", "per_base"):
        labels = [METRICS[name].label for name in metrics_for(kind)]
        assert len(set(labels)) == len(labels)


def test_scores_are_json_in_the_order_asked_for():
    names = ["auroc", "accuracy", "mcc"]
    got = score(*split(0, 2), names)
    assert list(got) == names and {type(v) for v in got.values()} == {float}
    text = json.dumps(score(np.zeros(3, int), GOOD, sorted(CLASS_METRICS)), allow_nan=False)
    assert set(json.loads(text)) == CLASS_METRICS - {"auroc", "auprc"}


def test_a_million_examples_take_under_two_seconds():
    y, logits = split(0, 2, n=1_000_000)
    start = time.process_time()
    score(y, logits.astype(np.float32), sorted(CLASS_METRICS))
    assert time.process_time() - start < 2


def test_import_needs_numpy_only():
    code = "import sys, dnabench.metrics; print({'torch', 'sklearn', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_kind_of_task_has_metrics_and_they_are_its_own():
    assert metrics_for("multilabel") == ("auroc_mean", "auroc_median", "auprc_mean")
    assert metrics_for("regression") == ("pearson", "spearman", "r2", "rmse", "mse")
    assert recorded("regression", "r2") == ("r2", "pearson", "spearman", "rmse")
    assert "mcc" in metrics_for("per_base") and "auroc" not in metrics_for("per_base")
