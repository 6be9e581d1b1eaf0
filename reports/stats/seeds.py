"""Is the difference between two models on a task more than noise of the seeds?

n scores of one model on one task, one a seed. Scores are fractions, higher is better. A seed number
does not pair two different models, so nothing here is a paired test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from scipy.special import stdtr, stdtrit  # Student's t; scipy.stats takes a second to import

Verdict = Literal["win", "loss", "not separable", "descriptive"]
ALPHA = 0.05
MIN_SEEDS = 5  # of both models; below, a test at 0.05 sees only differences above 2 sd
TIE = 1e-12  # scores nearer than this are equal, so that rounding decides nothing


class Summary(NamedTuple):
    """n scores in short. `low` and `high` bound the mean; NaN, like `sd`, when n is below 2."""

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
    degenerate: bool  # neither model varies over its seeds: there is no noise to test against


def summary(scores: Sequence[float], level: float = 0.95) -> Summary:
    """Describe the scores of one cell.

    Args:
        scores: one a seed, (n,).
        level: coverage of [low, high].

    Returns:
        n, mean, sd, min, max and mean -+ t sd / sqrt(n). All but n are NaN when n is 0; sd and the
        interval also when n is 1. sd is exactly 0 when all scores are equal to 1e-12.

    Raises:
        ValueError: when a score is not finite.

    Source:
        Student 1908, Biometrika 6:1.
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

    Seeds are the only randomness it knows of: the result is conditional on this one test split.

    Args:
        a: scores of one model, (n_a,), in any order.
        b: of the other, (n_b,).
        level: coverage of [low, high].

    Returns:
        Everything but the difference is NaN when either n is below 2, or when neither model varies
        (`degenerate`): p is never 0 for want of noise.

    Raises:
        ValueError: when either is empty or a score is not finite.

    Source:
        Welch 1947, Biometrika 34:28; degrees of freedom as in Satterthwaite 1946.
    """
    if not len(a) or not len(b):
        raise ValueError(f"need scores of both models; got {len(a)} and {len(b)}")
    x, y = summary(a), summary(b)
    d = x.mean - y.mean
    if min(x.n, y.n) < 2:
        return _untestable(d, degenerate=False)
    v, w = x.sd**2 / x.n, y.sd**2 / y.n
    if v + w == 0:
        return _untestable(d, degenerate=True)
    se, share = math.sqrt(v + w), v / (v + w)
    df = 1 / (share**2 / (x.n - 1) + (1 - share) ** 2 / (y.n - 1))
    half = float(stdtrit(df, (1 + level) / 2)) * se
    p = 2 * float(stdtr(df, -abs(d / se)))
    return Welch(d, d / se, df, p, d - half, d + half, False)


def _untestable(difference: float, degenerate: bool) -> Welch:
    nan = math.nan
    return Welch(difference, nan, nan, nan, nan, nan, degenerate)


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false rejection among them stays below alpha.

    Args:
        p: m p-values of one family. NaN is no test: it stays NaN and is not counted in m.

    Returns:
        Adjusted p-values in the same order, each >= its own p and <= 1.

    Source:
        Holm 1979, Scand. J. Stat. 6:65.
    """
    adjusted, floor = [math.nan] * len(p), 0.0
    order = sorted((i for i, x in enumerate(p) if not math.isnan(x)), key=p.__getitem__)
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = floor
    return adjusted


def hedges_g(a: Sequence[float], b: Sequence[float]) -> float:
    """Difference of the means in standard deviations, corrected for small n.

    g = (mean a - mean b) / sqrt((sd_a^2 + sd_b^2) / 2) x (1 - 3 / (4 (n_a + n_b - 2) - 1)).

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        Positive when a is better. NaN when either n is below 2 or neither model varies.

    Source:
        Hedges 1981, J. Educ. Stat. 6:107. Ours: the plain mean of the two variances, since they
        are not assumed equal.
    """
    x, y = summary(a), summary(b)
    spread = math.sqrt((x.sd**2 + y.sd**2) / 2) if min(x.n, y.n) > 1 else 0.0
    if not spread:
        return math.nan
    return (x.mean - y.mean) / spread * (1 - 3 / (4 * (x.n + y.n - 2) - 1))


def a12(a: Sequence[float], b: Sequence[float]) -> float:
    """Chance that a random run of a scores above a random run of b, ties counting half.

    Args:
        a: scores of one model, (n_a,).
        b: of the other, (n_b,).

    Returns:
        A value in [0, 1]; 0.5 when neither is better. NaN when either is empty.

    Accuracy:
        Scores that agree to 1e-12 are ties.

    Source:
        Vargha and Delaney 2000, J. Educ. Behav. Stat. 25:101.
    """
    if not len(a) or not len(b):
        return math.nan
    halves = sum(1 if abs(x - y) <= TIE else 2 * (x > y) for x in a for y in b)
    return halves / (2 * len(a) * len(b))


def verdict(test: Welch, p_holm: float, rope: float, n: int) -> tuple[Verdict, str]:
    """Say in a word what may be claimed of a against b, and why nothing more.

    Args:
        test: of a against b.
        p_holm: its p after `holm`.
        rope: the smallest difference worth calling one, in score units.
        n: seeds of the model that has fewer.

    Returns:
        "win" or "loss" when p_holm < 0.05 and the difference is at least `rope`, else
        "not separable"; "descriptive" when n is below 5 or neither model varies. Then the reason,
        empty where the word says all.

    Source:
        Ours.
    """
    if n < MIN_SEEDS:
        return "descriptive", f"only (n<{MIN_SEEDS})"
    if test.degenerate:
        return "descriptive", "only (degenerate: no spread over seeds)"
    if not p_holm < ALPHA:
        return "not separable", ""
    if abs(test.difference) < rope - TIE:
        return "not separable", f"(difference below {rope:g})"
    return ("win" if test.difference > 0 else "loss"), ""
