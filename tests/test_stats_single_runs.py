"""Tests of two single runs against pairs counted one by one, scikit-learn and statsmodels."""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from dnabench.reports.stats.examples import replicates
from dnabench.reports.stats.single_runs import delong, mcnemar


def brute_delong(y, a, b):
    """By the definition of 1988: the structural components, from all pairs."""
    components = []
    for scores in (a, b):
        x, z = scores[y == 1][:, None], scores[y == 0][None]
        kernel = (x > z) + 0.5 * (x == z)
        components.append((kernel.mean(1), kernel.mean(0), kernel.mean()))
    (a10, a01, area_a), (b10, b01, area_b) = components
    m, n = len(a10), len(a01)
    return area_a, area_b, np.cov(a10, b10) / m + np.cov(a01, b01) / n


@pytest.mark.parametrize("digits", [1, 8], ids=["ties", "no ties"])
def test_delong_is_the_sum_over_all_pairs(digits):
    rng = np.random.default_rng(digits)
    y = rng.integers(0, 2, 120)
    shared = y + rng.normal(size=120)
    a, b = (np.round(shared + rng.normal(size=120), digits) for _ in range(2))
    found = delong(y, a, b)
    area_a, area_b, covariance = brute_delong(y, a, b)
    assert (found.a, found.b) == pytest.approx((area_a, area_b), abs=1e-14)
    assert (found.a, found.b) == pytest.approx((roc_auc_score(y, a), roc_auc_score(y, b)))
    assert found.covariance == pytest.approx(covariance, rel=1e-10)
    se = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    z = (area_a - area_b) / se
    assert (found.z, found.p) == pytest.approx((z, math.erfc(abs(z) / math.sqrt(2))))
    half = 1.959963984540054 * se
    assert (found.low, found.high) == pytest.approx(
        (found.difference - half, area_a - area_b + half)
    )


def test_delong_agrees_with_the_bootstrap():
    rng = np.random.default_rng(4)
    y = rng.integers(0, 2, 1500)
    a, b = (y + rng.normal(size=1500) for _ in range(2))
    runs = replicates(y, [np.stack([0 * s, s], 1) for s in (a, b)], "auroc", n=3000)
    found = delong(y, a, b)
    se = (found.high - found.low) / 2 / 1.96
    assert (runs[0] - runs[1]).std() == pytest.approx(se, rel=0.05)


def test_delong_of_the_same_scores_and_of_wrong_input():
    y, a = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.8])
    same = delong(y, a, a)
    assert same.difference == 0 and math.isnan(same.p) and math.isnan(same.low)
    for args, words in [
        ((y, a, a[1:]), r"y is \(4,\), scores are \(4,\) and \(3,\)"),
        ((y[1:], a, a), r"y is \(3,\)"), ((y[None], a[None], a[None]), r"y is \(1, 4\)"),
        ((y + 1, a, a), "label of example 2"), ((y, a, a * np.inf), "score of example 0"),
        ((y, a, a * np.nan), "score of example 0 .* of run b is nan"),
        ((np.array([0, 0, 0, 1]), a, a), "1 positives and 3 negatives"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=words):
            delong(*args)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 9), (9, 3), (7, 7), (40, 71)])
def test_mcnemar(only_a, only_b):
    y = np.ones(only_a + only_b + 30, int)
    a, b = y.copy(), y.copy()
    a[only_a : only_a + only_b] = 0
    b[:only_a] = 2
    a[-10:], b[-10:] = 0, 2  # both wrong
    found = mcnemar(y, a, b)
    assert found[:2] == (only_a, only_b)
    table = [[20, only_a], [only_b, 10]]
    assert found.exact == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, rel=1e-10)
    n, k = only_a + only_b, min(only_a, only_b)
    tail = sum(Fraction(math.comb(n, i), 2**n) for i in range(k + 1))
    mid = 2 * tail - Fraction(math.comb(n, k), 2**n)
    assert found.mid == pytest.approx(float(mid), rel=1e-10)


def test_mcnemar_of_unequal_lengths():
    with pytest.raises(ValueError, match=r"b \(2,\)"):
        mcnemar(np.zeros(3), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"y is \(3, 2\)"):
        mcnemar(*np.zeros((3, 3, 2)))
