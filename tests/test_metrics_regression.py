"""Metrics of regression and several labels, and Brier's score, against scikit-learn and scipy."""

import numpy as np
import pytest
import scipy.stats
from scipy.special import softmax
from sklearn import metrics as reference
from test_metrics import AREAS, split

from dnabench.areas import auprc, auprc_mean, auprc_per_label, auroc, auroc_mean, auroc_per_label
from dnabench.correlation import mse, pearson, r2, rmse, spearman
from dnabench.metrics import METRICS, brier


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "theirs"), [(auroc_per_label, AREAS[auroc]), (auprc_per_label, AREAS[auprc])]
)
def test_multilabel_agrees_with_scikit_learn(ours, theirs, seed):
    rng = np.random.default_rng(seed)
    y = rng.random((200, 12)) < np.linspace(0.05, 0.9, 12)
    y[:2] = [[True], [False]]
    scores = np.round(rng.normal(size=y.shape) + y, 1)
    expected = theirs(y.astype(int), scores, average=None)
    for labels in (y, y.astype(int), y.astype(float)):
        np.testing.assert_allclose(ours(labels, scores), expected, rtol=1e-12)
    y[:, 3], y[:, 7] = False, True
    assert np.flatnonzero(np.isnan(ours(y, scores))).tolist() == [3, 7]
    keep = np.delete(np.arange(12), [3, 7])
    np.testing.assert_allclose(ours(y, scores)[keep], expected[keep], rtol=1e-12)


def values(seed, n=200, k=3, tied=False):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, k))
    scores = y + rng.normal(size=(n, k))
    return (np.round(y, 1), np.round(scores, 1)) if tied else (y, scores)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tied", [False, True])
def test_correlations_are_scipys_and_r2_is_sklearns(seed, tied):
    y, scores = values(seed, tied=tied)
    columns = range(y.shape[1])
    assert pearson(y, scores) == pytest.approx(
        np.mean([scipy.stats.pearsonr(y[:, i], scores[:, i])[0] for i in columns]), abs=1e-12
    )
    assert spearman(y, scores) == pytest.approx(
        np.mean([scipy.stats.spearmanr(y[:, i], scores[:, i])[0] for i in columns]), abs=1e-12
    )
    assert r2(y, scores) == pytest.approx(reference.r2_score(y, scores), abs=1e-12)
    for metric in (pearson, spearman, r2):  # no unit is too small: squares sum to 2e-8
        assert metric(y / 1e5, scores / 1e5) == pytest.approx(metric(y, scores), abs=1e-12)
    assert pearson(y, 3 * y) <= 1 and pearson(y, -3 * y) >= -1  # not 1 + 2e-16


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_sklearns_and_lower_is_better(seed):
    y, scores = values(seed)
    assert rmse(y, scores) == pytest.approx(reference.root_mean_squared_error(y, scores), rel=1e-12)
    assert mse(y, scores) == pytest.approx(reference.mean_squared_error(y, scores), rel=1e-12)
    y, logits = split(seed, 2)
    p = softmax(logits, axis=1)
    assert brier(y, logits) == pytest.approx(2 * reference.brier_score_loss(y, p[:, 1]), rel=1e-12)
    y, logits = split(seed, 9)
    p = softmax(logits, axis=1)
    assert brier(y, logits) == pytest.approx(((p - np.eye(9)[y]) ** 2).sum(1).mean(), rel=1e-12)
    assert {name for name, m in METRICS.items() if m.sign < 0} == {"rmse", "mse", "brier"}
    assert [METRICS[name].heading for name in ("rmse", "mcc")] == ["RMSE ↓", "MCC"]


@pytest.mark.parametrize("seed", range(5))
def test_label_means_are_sklearns(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (200, 5))
    scores = rng.normal(size=(200, 5)) + y
    assert auroc_mean(y, scores) == pytest.approx(reference.roc_auc_score(y, scores), abs=1e-12)
    assert auprc_mean(y, scores) == pytest.approx(
        reference.average_precision_score(y, scores), abs=1e-12
    )


def test_a_constant_output_or_label_is_left_out_of_the_mean():
    y, scores = values(0)
    y[:, 1] = 2.0
    for metric in (pearson, spearman, r2):
        assert metric(y, scores) == pytest.approx(metric(y[:, [0, 2]], scores[:, [0, 2]]))
        assert np.isnan(metric(y[:, [1]], scores[:, [1]]))
    y[:, 1] = 0.3  # whose mean is not 0.3 in float64
    assert y[:, 1].mean() != 0.3 and np.isnan(pearson(y[:, [1]], scores[:, [1]]))
    assert np.isnan(pearson(scores[:, [1]], y[:, [1]]))  # nor is a constant prediction right
    assert np.isnan(r2(y[:, [1]] * 0, y[:, [1]] * 0))
    labels = np.array([[0, 1], [1, 1], [0, 1]])
    assert auroc_mean(labels, np.array([[0.1, 5], [0.9, 5], [0.2, 5]])) == 1.0
