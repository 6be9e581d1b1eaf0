"""The smallest difference that n seeds detect, and the seeds that a difference needs.

ValueError: an sd is negative, or alpha and power are not 0 < alpha < power < 1.
"""

import math

from scipy.special import nctdtr, stdtrit

from dnabench.reports.stats.verdict import ALPHA

POWER = 0.8


def detectable(
    sd_a: float, sd_b: float, n: int, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Smallest true difference of means that a two-sided Welch test finds with this power.

    Args:
        sd_a: standard deviation of one model over seeds, in score units.
        sd_b: of the other.
        n: seeds of each.
        alpha: level; of one of m tests, 0.05 / m is the cautious choice.
        power: chance of finding it.

    Returns:
        In the units of the sd. NaN when n is below 2, an sd is NaN or neither model varies.

    Accuracy:
        1e-6, against statsmodels at equal sd; scores are taken as normal and the sd as known.

    Source: Noncentral t, Welch 1947, Biometrika 34:28, degrees of freedom as in Satterthwaite 1946.
    """
    _check(sd_a, sd_b, alpha, power)
    if n < 2 or not sd_a + sd_b > 0:
        return math.nan
    se = math.hypot(sd_a, sd_b) / math.sqrt(n)
    low, high = 0.0, se
    while _power(high, sd_a, sd_b, n, alpha) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        found = _power(middle, sd_a, sd_b, n, alpha) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def seeds_needed(
    sd_a: float, sd_b: float, difference: float, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Seeds of each model that a two-sided Welch test needs to find a difference.

    Args:
        sd_a: standard deviation of one model over seeds, in score units.
        sd_b: of the other.
        difference: of the means, in the same units; its sign does not count.
        alpha: level; of one of m tests, 0.05 / m is the cautious choice.
        power: chance of finding it.

    Returns:
        The fewest, at least 2. 0 = unknown: an sd is NaN, neither model varies, or the difference
        is below a thousandth of the sd.

    Source: As `detectable`.
    """
    _check(sd_a, sd_b, alpha, power)
    difference = abs(difference)
    if not sd_a + sd_b > 0 or not difference >= max(sd_a, sd_b) / 1000:
        return 0
    low, high = 1, 2
    while _power(difference, sd_a, sd_b, high, alpha) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        found = _power(difference, sd_a, sd_b, middle, alpha) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def _power(difference: float, sd_a: float, sd_b: float, n: int, alpha: float) -> float:
    share = sd_a**2 / (sd_a**2 + sd_b**2)
    df = (n - 1) / (share**2 + (1 - share) ** 2)
    shift = difference * math.sqrt(n) / math.hypot(sd_a, sd_b)
    limit = float(stdtrit(df, 1 - alpha / 2))
    below, above = float(nctdtr(df, shift, -limit)), 1 - float(nctdtr(df, shift, limit))
    return above + (0.0 if math.isnan(below) else below)


def _check(sd_a: float, sd_b: float, alpha: float, power: float) -> None:
    if min(sd_a, sd_b) < 0:
        raise ValueError(f"sd are {sd_a} and {sd_b}; they cannot be negative")
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha is {alpha}, power {power}; need 0 < alpha < power < 1")
