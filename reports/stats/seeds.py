"""Does the difference between two models on a task exceed the variation between seeds?

n scores of one model on one task, one a seed. Scores are fractions, higher is better. A seed number
does not pair two different models, so nothing here is a paired test. ValueError: a score is not
finite; of `welch` and `permutation` also when a or b is empty.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes a second to import

from dnabench.types import Array

TIE = 1e-12  # scores nearer than this are equal, so that rounding decides nothing
MAX_SPLITS = 200_000  # 10 v 10 seeds have 184,756


class Summary(NamedTuple):
    """Summary of n scores. `low` and `high` bound the mean; NaN, like `sd`, when n is below 2."""

    n: int
    mean: float
    sd: float  # sample standard deviation, ddof = 1
    min: float
    max: float
    low: float
    high: float


class Welch(NamedTuple):
    """Mean of a - b, its test and its interval; NaN where they are undefined."""

    difference: float
    t: float
    df: float
    p: float  # two-sided
    low: float
    high: float
    degenerate: bool  # neither model varies between seeds, so nothing can be tested
    se: float = math.nan  # 0 when degenerate


def summary(scores: Sequence[float], level: float = 0.95) -> Summary:
    """Describe the scores of one cell.

    Args:
        scores: one a seed, (n,).
        level: coverage of [low, high].

    Returns:
        n, mean, sd, min, max and mean -+ t sd / sqrt(n). All but n are NaN when n is 0; sd and the
        interval also when n is 1. sd is exactly 0 when all scores are equal to 1e-12.

    Source: Student 1908, Biometrika 6:1.
    """
    n = len(scores)
    for i, x in enumerate(scores):
        if not math.isfinite(x):
            raise ValueError(f"score at position {i} (from 0) is {x}; it must be finite")
    if not n:
        return Summary(0, *[math.nan] * 6)
    smallest, largest = min(scores), max(scores)
    mean = math.fsum(scores) / n
    if n == 1:
        return Summary(1, mean, math.nan, smallest, largest, math.nan, math.nan)
    equal = largest - smallest <= TIE
    sd = 0.0 if equal else math.sqrt(math.fsum((x - mean) ** 2 for x in scores) / (n - 1))
    half = float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, smallest, largest, mean - half, mean + half)


def welch(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Welch:
    """Test that two models have the same mean over seeds, without assuming equal variances.

    Covers variation between seeds only: the result is conditional on this test split.

    Args:
        a: scores of one model, (n_a,), in any order.
        b: of the other, (n_b,).
        level: coverage of [low, high].

    Returns:
        Everything but the difference is NaN when either n is below 2, or when neither model varies
        (`degenerate`): p is never 0 for lack of variation.

    Source: Welch 1947, Biometrika 34:28; degrees of freedom as in Satterthwaite 1946.
    """
    x, y = _both(a, b)
    d = x.mean - y.mean
    single, nan = min(x.n, y.n) < 2, math.nan
    v, w = x.sd**2 / x.n, y.sd**2 / y.n
    if single or v + w == 0:
        se = nan if single else 0.0
        return Welch(d, nan, nan, nan, nan, nan, degenerate=not single, se=se)
    se, share = math.sqrt(v + w), v / (v + w)
    df = 1 / (share**2 / (x.n - 1) + (1 - share) ** 2 / (y.n - 1))
    half = float(stdtrit(df, (1 + level) / 2)) * se
    p = 2 * float(stdtr(df, -abs(d / se)))
    return Welch(d, d / se, df, p, d - half, d + half, False, se)


def _both(a: Sequence[float], b: Sequence[float]) -> tuple[Summary, Summary]:
    if not len(a) or not len(b):
        raise ValueError(f"need scores of both models; got {len(a)} and {len(b)}")
    return summary(a), summary(b)


def best_p(scores_by_model: Sequence[Sequence[float]], i: int) -> float:
    """Test that model i is better than every other on a task: intersection-union.

    Each other model that has scores is tested on its own at the full level; the weakest of the
    tests is the answer.

    Args:
        scores_by_model: of k models, each (n_m,); models without scores are left out.
        i: the model that is claimed to be the best.

    Returns:
        The largest one-sided Welch p of i against another. NaN when one of these cannot be tested
        (fewer than two scores, or no spread), when i has no scores, or when there is no other.

    Source: Berger 1982, Technometrics 24:295; one-sided p of Welch 1947.
    """
    mine = scores_by_model[i]
    others = [s for j, s in enumerate(scores_by_model) if j != i and len(s)]
    if not len(mine) or not others:
        return math.nan
    tests = [welch(mine, other) for other in others]
    return float(np.max([stdtr(t.df, -t.t) for t in tests]))


def permutation(a: Sequence[float], b: Sequence[float]) -> float:
    """Test that two models have the same distribution of scores, from the data alone.

    Args:
        a: scores of one model, (n_a,), in any order.
        b: of the other, (n_b,).

    Returns:
        Of all ways to split the n_a + n_b scores into n_a and n_b, the share whose means differ by
        at least as much as those of a and b do, in either direction. NaN when there are more than
        200,000 ways, or when neither model varies.

    Accuracy:
        Exact: every split is counted. Differences that agree to 1e-12 are equal. About 0.3 ms for
        10 v 10: the sums of the two halves of the pool are sorted and matched, not enumerated.

    Source:
        Fisher 1935, The Design of Experiments; halves as in Horowitz and Sahni 1974, J. ACM 21:277.
    """
    x, y = _both(a, b)
    n, total = x.n, math.comb(x.n + y.n, x.n)
    if total > MAX_SPLITS or (x.max - x.min <= TIE and y.max - y.min <= TIE):
        return math.nan
    pool = np.concatenate([a, b])
    offset = pool.sum() * n / (x.n + y.n)  # what n of the pool sum to on average
    slack = TIE * n * y.n / (x.n + y.n) * max(1.0, abs(x.mean), abs(y.mean))
    reach = abs(pool[:n].sum() - offset) - slack
    half = len(pool) // 2
    left, right = _sums_by_size(pool[:half]), _sums_by_size(pool[half:])
    inside = 0
    for size in range(max(0, n - len(pool) + half), min(half, n) + 1):
        need, have = offset - left[size], right[n - size]
        low = np.searchsorted(have, need - reach, "right")
        high = np.searchsorted(have, need + reach)
        inside += int(np.maximum(high - low, 0).sum())
    return (total - inside) / total


def _sums_by_size(values: Array) -> list[Array]:
    """Sums of all subsets of (h,) values, sorted, by the size of the subset, 0..h."""
    member, by_size = _subsets(len(values))
    sums = member @ values
    return [np.sort(sums[index]) for index in by_size]


@functools.cache
def _subsets(h: int) -> tuple[Array, list[Array]]:
    """Float (2^h, h): whether a subset has an element; and which subsets have each size 0..h."""
    member = (np.arange(2**h)[:, None] >> np.arange(h)) & 1
    size = member.sum(1)
    return member.astype(float), [np.flatnonzero(size == k) for k in range(h + 1)]


def d_cohen(a: Sequence[float], b: Sequence[float]) -> float:
    """Difference of the means in standard deviations: d / sqrt((sd_a^2 + sd_b^2) / 2).

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        Positive when a is better. NaN when either n is below 2 or neither model varies.

    Source:
        Cohen 1988, Statistical Power Analysis, 2nd ed. Ours: the plain mean of the two variances,
        since they are not assumed equal.
    """
    x, y = summary(a), summary(b)
    spread = math.sqrt((x.sd**2 + y.sd**2) / 2)  # NaN when n is below 2
    return (x.mean - y.mean) / spread if spread else math.nan


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float:
    """`d_cohen`, corrected for small n: d x (1 - 3 / (4 (n_a + n_b - 2) - 1)).

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        NaN where `d_cohen` is.

    Source: Hedges 1981, J. Educ. Stat. 6:107.
    """
    return d_cohen(a, b) * (1 - 3 / (4 * (len(a) + len(b) - 2) - 1))


def a12(a: Sequence[float], b: Sequence[float]) -> float:
    """Chance that a random run of a scores above a random run of b, ties (to 1e-12) counting half.

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        A value in [0, 1]; 0.5 when neither is better. NaN when either is empty.

    Source: Vargha and Delaney 2000, J. Educ. Behav. Stat. 25:101.
    """
    return float(above(a, b).mean()) if len(a) and len(b) else math.nan


def above(a: Sequence[float] | Array, b: Sequence[float] | Array) -> Array:
    """Float (n_a, n_b): 1 where a run of a scores above one of b, 0.5 where they tie."""
    gap = np.subtract.outer(np.asarray(a, float), np.asarray(b, float))
    return np.asarray((gap > TIE) + 0.5 * (np.abs(gap) <= TIE))


def delta(a: Sequence[float], b: Sequence[float]) -> float:
    """Cliff's delta: chance that a run of a scores above one of b, less that it scores below.

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        2 `a12` - 1, in [-1, 1]. NaN when either is empty.

    Source: Cliff 1993, Psychol. Bull. 114:494.
    """
    return 2 * a12(a, b) - 1
