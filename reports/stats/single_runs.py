"""Tests of two single runs on the same test examples: do these two trained networks differ?

They do not test whether the two models differ; that needs seeds. y are the labels, a and b what the
two runs say, all (N,).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from dnabench.reports.stats.seeds import TIE
from dnabench.types import Array


class DeLong(NamedTuple):
    """Two AUROCs of one test split; z, p and the interval are NaN when their variance is 0."""

    a: float
    b: float
    difference: float
    covariance: Array  # float64 (2, 2), of a and b
    z: float
    p: float  # two-sided
    low: float
    high: float


class McNemar(NamedTuple):
    """Examples on which only one of two runs is right, and how likely so uneven a split is."""

    only_a: int
    only_b: int
    exact: float  # two-sided p
    mid: float  # two-sided mid-p: less conservative, and rarely above its level


def delong(y: Array, a: Array, b: Array, level: float = 0.95) -> DeLong:
    """Test that two runs have the same area under the ROC curve.

    y is 0 or 1; a and b are scores, such as logit 1 minus logit 0.

    Returns:
        Areas, difference a - b, covariance, z, p and the interval that covers `level`.

    Raises:
        ValueError: shapes that differ, labels other than 0 and 1, scores that are not finite, fewer
            than two examples of either label.

    Accuracy:
        Ties count half; O(N log N), equal to the sum over all pairs to rounding.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; by ranks as in Sun and Xu 2014,
        IEEE Signal Process. Lett. 21:1389.
    """
    y, scores = _checked(y, a, b)
    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        raise ValueError(f"{m} positives and {n} negatives; the variance needs two of each")
    overall = _midranks(scores)
    wins = (overall[:, positive] - _midranks(scores[:, positive])) / n  # of each positive
    losses = (overall[:, ~positive] - _midranks(scores[:, ~positive])) / m  # of each negative
    area_a, area_b = map(float, wins.mean(1))
    covariance = np.cov(wins) / m + np.cov(losses) / n
    d = area_a - area_b
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= TIE**2:
        return DeLong(area_a, area_b, d, covariance, *[math.nan] * 4)
    se = math.sqrt(variance)
    half = float(ndtri((1 + level) / 2)) * se
    p = 2 * float(ndtr(-abs(d) / se))
    return DeLong(area_a, area_b, d, covariance, d / se, p, d - half, d + half)


def mcnemar(y: Array, a: Array, b: Array) -> McNemar:
    """Test that two runs are right equally often; y, a and b are classes.

    Returns:
        Both counts and both p-values, which are 1 when the counts are equal.

    Raises:
        ValueError: shapes that differ.

    Accuracy:
        Binomial, no approximation.

    Source:
        McNemar 1947, Psychometrika 12:153; mid-p as in Fagerland et al. 2013, BMC Med. Res.
        Methodol. 13:91.
    """
    y, a, b = np.asarray(y), np.asarray(a), np.asarray(b)
    if not y.shape == a.shape == b.shape or y.ndim != 1:
        raise ValueError(f"y is {y.shape}, a {a.shape}, b {b.shape}; all need the same (N,)")
    only_a, only_b = int(((a == y) & (b != y)).sum()), int(((a != y) & (b == y)).sum())
    fewer, n = min(only_a, only_b), only_a + only_b
    tail = float(bdtr(fewer, n, 0.5))
    point = tail - float(bdtr(fewer - 1, n, 0.5)) if fewer else tail
    return McNemar(only_a, only_b, min(1.0, 2 * tail), min(1.0, 2 * tail - point))


def _checked(y: Array, *runs: Array) -> tuple[Array, Array]:
    y = np.asarray(y)
    if y.ndim != 1 or any(np.shape(run) != y.shape for run in runs):
        shapes = " and ".join(str(np.shape(run)) for run in runs)
        raise ValueError(f"y is {y.shape}, scores are {shapes}; all need the same (N,)")
    scores = np.asarray(runs, np.float64)
    if (wrong := (y != 0) & (y != 1)).any():
        raise ValueError(f"label of example {wrong.argmax()} (from 0) is {y[wrong.argmax()]}")
    if not np.isfinite(scores).all():
        run, i = np.argwhere(~np.isfinite(scores))[0]
        raise ValueError(f"score of example {i} (from 0) of run {'ab'[run]} is {scores[run, i]}")
    return y, scores


def _midranks(scores: Array) -> Array:
    """Ranks from 1 along the last axis, ties sharing theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(scores, axis=-1))
