"""Calibration beside the score: ECE and Brier by hand, against scikit-learn, and in a report."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss
from test_pooling import stored

from dnabench.reports.calibration import calibration
from dnabench.reports.memo import Memo
from dnabench.reports.render import render
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.validity import checked


def logits_of(p):
    return np.log(np.stack([1 - np.asarray(p), np.asarray(p)], 1))


def test_worked_by_hand():
    # confidences .9, .9, .6, .6; right 1, 0, 1, 1: gaps of the bins |1.8 - 1| and |1.2 - 2|, over 4
    found = calibration(np.array([1, 0, 1, 0]), logits_of([0.9, 0.9, 0.6, 0.4]))
    assert found["ece"] == pytest.approx((0.8 + 0.8) / 4)
    assert found["brier"] == pytest.approx(2 * np.mean([0.01, 0.81, 0.16, 0.16]))


def test_brier_is_scikit_learns():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 300), rng.random(300)
    ours = calibration(y, logits_of(p))["brier"]
    assert ours == pytest.approx(2 * brier_score_loss(y, p))  # theirs is of class 1 alone
    y, x = rng.integers(0, 4, 300), rng.normal(size=(300, 4))
    theirs = brier_score_loss(y, np.exp(x) / np.exp(x).sum(1, keepdims=True), labels=range(4))
    assert calibration(y, x)["brier"] == pytest.approx(theirs)


def test_true_probabilities_are_calibrated_and_sharper_ones_are_not():
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    y = (rng.random(200_000) < p).astype(int)
    assert calibration(y, logits_of(p))["ece"] < 0.005
    assert calibration(y, 3 * logits_of(p))["ece"] > 0.1
    assert calibration(np.array([1]), np.array([[0.0, 800.0]]))["ece"] == 0  # the last bin


def test_the_report_has_a_line_a_task(tmp_path):
    store = stored(tmp_path, kind="binary")
    found = report(list(store), store, Resampler(store, replicates=20))
    assert [s.title for s in found.evidence[0].sections][:1] == ["Calibration"]
    one = next(r for r in checked(store, store, Memo(None)) if r.trial.model == "a")
    predictions = store.predictions(one.trial.id)
    own = calibration(predictions["labels"], predictions["logits"])
    assert {k: one.scores["test"][k] for k in own} == own
    for fmt in ("md", "html"):
        assert "Calibration" in render(found, fmt)
    assert "Calibration" not in render(report([], store, Resampler(store)), "md")
