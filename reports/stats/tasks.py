"""Does the difference between models across the tasks of a suite exceed chance?

The unit is the task: one score a model and task, the mean over its seeds, higher is better. Runs of
different tasks are never pooled. These tests assume independent tasks; tasks that share data are
not. Scores and differences that agree to 1e-12 are equal and share their mean rank. What takes
scores raises ValueError when there is no task, a score is not finite or the shapes of x and y
differ.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, fdtrc, ndtr

from dnabench.reports.stats.seeds import TIE
from dnabench.types import Array

Scores = Sequence[float] | Array  # of one model on n tasks
MIN_TASKS = 6  # below, Wilcoxon's smallest two-sided p is above 0.05
PRIOR = 0.5  # strength of the pseudo-observation at 0


class Friedman(NamedTuple):
    """Whether k models differ at all over N tasks; NaN where undefined."""

    ranks: tuple[float, ...]  # average rank of each model, 1 = best
    chi2: float  # corrected for ties
    p: float
    f: float  # Iman-Davenport, from chi2
    p_f: float
    kendall_w: float  # 0 = tasks rank at random, 1 = all rank alike


class Wilcoxon(NamedTuple):
    """Model x against model y over tasks."""

    w: float  # the smaller of the two rank sums
    p: float  # two-sided, exact
    wins: int  # tasks on which x is higher
    losses: int
    p_sign: float  # two-sided, of wins and losses alone


def ranks(scores: Array) -> Array:
    """Rank of each model on each task.

    Args:
        scores: (T, k), higher is better.

    Returns:
        float (T, k): mid-ranks, 1 = highest.

    Source: Demsar 2006, JMLR 7:1, section 3.2.2.
    """
    return _ranks(_checked(scores))


def average_ranks(scores: Array) -> Array:
    """Mean rank of each model over the tasks.

    Args:
        scores: (T, k), higher is better.

    Returns:
        float (k,), 1 = best on every task.

    Source: Demsar 2006, JMLR 7:1, section 3.2.2.
    """
    return np.asarray(ranks(scores).mean(0))


def friedman(scores: Array) -> Friedman:
    """Test that k models are equal over N tasks, before pairs are compared.

    Args:
        scores: (N, k) with k >= 3, higher is better.

    Returns:
        All but `ranks` are NaN when the scores of every task are tied. When all tasks rank the
        models alike, f is infinite and p_f is the exact chance of that.

    Accuracy:
        chi2 and p are scipy's. p of few tasks is rough; p_f is the better of the two.

    Source: Friedman 1937, JASA 32:675; Iman and Davenport 1980, Commun. Stat. A9:571.
    """
    scores = _checked(scores)
    n, k = scores.shape
    if k < 3:
        raise ValueError(f"Friedman needs 3 models or more, got {k}; for two use `wilcoxon`")
    ranks = _ranks(scores)
    means = ranks.mean(0)
    plain = friedman_of_ranks(means, n)
    squares = float((ranks**2).sum())  # k (k+1) (2k+1) / 6 a task, less where scores are tied
    spread = squares - n * k * (k + 1) ** 2 / 4
    each = tuple(float(r) for r in means)
    if spread <= 0:
        nan = math.nan
        return Friedman(each, nan, nan, nan, nan, nan)
    chi2 = plain * n * k * (k + 1) / 12 * (k - 1) / spread
    f, p_f = iman_davenport(chi2, n, k)
    p = float(chdtrc(k - 1, chi2))
    return Friedman(each, chi2, p, f, p_f, chi2 / (n * (k - 1)))


def friedman_of_ranks(ranks: Sequence[float] | Array, n: int) -> float:
    """Friedman's chi2 from average ranks alone, as papers print them; not corrected for ties.

    Args:
        ranks: average rank of each model, (k,).
        n: tasks.

    Returns:
        12 n / (k (k+1)) [sum R^2 - k (k+1)^2 / 4].

    Source: Demsar 2006, JMLR 7:1, section 3.2.2.
    """
    r = np.asarray(ranks, float)
    k = len(r)
    return float(12 * n / (k * (k + 1)) * (((r - (k + 1) / 2) ** 2).sum()))


def iman_davenport(chi2: float, n: int, k: int) -> tuple[float, float]:
    """Friedman's chi2 as an F statistic, which is less conservative.

    Args:
        chi2: of n tasks and k models.
        n: tasks.
        k: models.

    Returns:
        F = (n-1) chi2 / (n (k-1) - chi2) and its p at k-1 and (k-1)(n-1) degrees of freedom. At the
        largest chi2, where F is infinite, p = (1 / k!)^(n-1). NaN for one task.

    Source:
        Iman and Davenport 1980, Commun. Stat. A9:571; the limit: Conover 1999, Practical
        Nonparametric Statistics, 3rd ed.
    """
    if n < 2:
        return math.nan, math.nan
    rest = n * (k - 1) - chi2
    if rest <= TIE * n * k:
        return math.inf, math.exp((1 - n) * math.lgamma(k + 1))
    f = (n - 1) * chi2 / rest
    return f, float(fdtrc(k - 1, (k - 1) * (n - 1), f))


def critical_difference(k: int, n: int, alpha: float = 0.05) -> float:
    """Smallest significant difference of average ranks in Nemenyi's test. For a figure only.

    Args:
        k: models, 2 or more.
        n: tasks.
        alpha: level.

    Returns:
        `nemenyi_q` x sqrt(k (k+1) / (6 n)).

    Source: Demsar 2006, JMLR 7:1, section 3.2.2.
    """
    return nemenyi_q(k, alpha) * math.sqrt(k * (k + 1) / (6 * n))


@functools.cache
def nemenyi_q(k: int, alpha: float = 0.05) -> float:
    """Quantile of the range of k standard normals, over sqrt 2.

    Args:
        k: models, 2 or more.
        alpha: level, between 0 and 1.

    Returns:
        1.960 for two models at 0.05, as in Demsar's Table 5a.

    Raises:
        ValueError: when k is below 2 or alpha is not between 0 and 1.

    Accuracy:
        1e-12, against scipy's studentized_range.

    Source: Nemenyi 1963.
    """
    if k < 2 or not 0 < alpha < 1:
        raise ValueError(f"need 2 models or more and 0 < alpha < 1; got {k} and {alpha}")
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        above = _range_sf(np.array([middle]), k)[0] > alpha
        low, high = (middle, high) if above else (low, middle)
    return (low + high) / 2 / math.sqrt(2)


def nemenyi(scores: Array) -> Array:
    """Test every pair of models by the difference of their average ranks.

    The result for a pair depends on which other models are included; for claims use `wilcoxon`.

    Args:
        scores: (N, k) with k >= 2, higher is better.

    Returns:
        float (k, k): p-values, symmetric, 1 on the diagonal; adjusted for the number of pairs.

    Accuracy:
        1e-13 absolute; p below that are 0.

    Source: Nemenyi 1963; Demsar 2006, JMLR 7:1.
    """
    means = average_ranks(scores)
    n, k = np.shape(scores)
    gaps = np.abs(np.subtract.outer(means, means))
    return _range_sf(gaps.ravel() / math.sqrt(k * (k + 1) / (12 * n)), k).reshape(k, k)


def wilcoxon(x: Scores, y: Scores) -> Wilcoxon:
    """Test that x and y differ over tasks by chance: signed-rank test, and sign test.

    Args:
        x: score of one model on each task, (T,).
        y: of the other.

    Returns:
        Tasks on which both are equal are dropped. p is 1 when no task is left.

    Accuracy:
        Exact, with ties, for any T: the distribution is counted. 1 ms for 50 tasks, 0.2 s for 500.

    Source: Wilcoxon 1945, Biometrics Bull. 1:80; Demsar 2006, JMLR 7:1, section 3.1.
    """
    d = _differences(x, y)
    d = d[np.abs(d) > TIE]
    wins, losses = int((d > 0).sum()), int((d < 0).sum())
    if not len(d):
        return Wilcoxon(0.0, 1.0, 0, 0, 1.0)
    doubled = np.rint(2 * _ranks(-np.abs(d)[None])[0]).astype(np.int64)  # mid-ranks are halves
    w = int(min(doubled[d > 0].sum(), doubled[d < 0].sum()))
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for r in doubled:
        chance[r:] = (chance[r:] + chance[:-r]) / 2
        chance[:r] /= 2
    few = sum(math.comb(len(d), i) for i in range(min(wins, losses) + 1))
    p_sign = min(1.0, 2 * few / 2 ** len(d))
    return Wilcoxon(w / 2, min(1.0, 2 * float(chance[: w + 1].sum())), wins, losses, p_sign)


def posterior(
    x: Scores, y: Scores, rope: float, samples: int = 50_000, seed: int = 0
) -> tuple[float, float, float]:
    """Bayesian signed-rank test: how likely each model is the better one over tasks like these.

    Args:
        x: score of one model on each task, (T,).
        y: of the other.
        rope: smallest relevant difference (region of practical equivalence); 0 means that no
            difference counts as "the same".
        samples: draws of the posterior.
        seed: of the draws; the same seed gives the same answer.

    Returns:
        P(y better), P(the same), P(x better), which sum to 1: the share of draws in which the mean
        of two random tasks most often falls there. Draws without a winner are shared.

    Raises:
        ValueError: also when rope is negative.

    Accuracy:
        Standard error of the draws 0.5 / sqrt(samples) at most: 0.0022.

    Source:
        Benavoli et al. 2014, ICML; Benavoli et al. 2017, JMLR 18(77), with its prior: strength 0.5
        at a difference of 0.
    """
    if not rope >= 0:
        raise ValueError(f"rope is {rope}; it must be 0 or more")
    z = np.concatenate([[0.0], _differences(x, y)])
    pair = np.add.outer(z, z) / 2
    weights = _dirichlet(len(z), samples, seed)
    regions = np.stack([pair < -rope - TIE, pair > rope + TIE])
    below, above = (np.einsum("st,st->s", weights @ r, weights) for r in regions.astype(float))
    mass = np.stack([below, 1 - below - above, above])
    if not rope:
        mass[1] = -1.0  # never the most
    top = mass >= mass.max(0) - TIE
    shares = (top / top.sum(0)).mean(1)
    return float(shares[0]), float(shares[1]), float(shares[2])


@functools.lru_cache(maxsize=2)
def _dirichlet(size: int, samples: int, seed: int) -> Array:
    """Float (samples, size): weights of the pseudo-observation and of the tasks."""
    alpha = [PRIOR, *[1.0] * (size - 1)]
    return np.random.default_rng(seed).dirichlet(alpha, samples)


def _range_sf(q: Array, k: int) -> Array:
    """Chance that the range of k standard normals is above q, (m,)."""
    z = np.arange(-9.0, 9.0, 0.05)  # smooth and 0 at both ends: the plain sum is exact to 1e-14
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * 0.05
    below = k * ((ndtr(z + q[:, None]) - ndtr(z)) ** (k - 1) @ density)
    return np.asarray(np.clip(1 - below, 0.0, 1.0))


def _ranks(scores: Array) -> Array:
    """`ranks` of scores that were checked."""
    order = np.argsort(-scores, axis=1, kind="stable")
    step = -np.diff(np.take_along_axis(scores, order, 1), axis=1) > TIE
    group = np.concatenate([np.zeros((len(scores), 1), int), np.cumsum(step, 1)], 1)
    out = np.empty(scores.shape)
    for row, (places, g) in enumerate(zip(order, group, strict=True)):
        size = np.bincount(g)
        out[row, places] = (np.cumsum(size) - (size - 1) / 2)[g]
    return out


def _checked(scores: Array) -> Array:
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"scores have shape {scores.shape}; need at least 1 task and 1 model")
    if not np.isfinite(scores).all():
        t, m = np.argwhere(~np.isfinite(scores))[0]
        where = f"score of task {t}, model {m} (from 0) is {scores[t, m]}"
        raise ValueError(f"{where}; leave out tasks on which a model has no score")
    return scores


def _differences(x: Scores, y: Scores) -> Array:
    if np.shape(x) != np.shape(y):
        raise ValueError(f"x has shape {np.shape(x)}, y {np.shape(y)}; need one score a task")
    both = _checked(np.stack([x, y], -1))
    return np.asarray(both[:, 0] - both[:, 1])
