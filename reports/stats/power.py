"""The smallest difference that n seeds detect, and the seeds that a difference needs.

ValueError: an sd is negative, or alpha and power are not 0 < alpha < power < 1.
"""

import math

from scipy.special import nctdtr, ndtri, stdtrit

from dnabench.reports.stats.verdict import ALPHA

POWER = 0.8
MOST = 10_000  # seeds, beyond which nobody goes


def detectable(
    sd_a: float, sd_b: float, n: int, alpha: float = ALPHA, power: float = POWER,
    error: float = 0.0,
) -> float:  # fmt: skip
    """Smallest true difference of means that a two-sided test finds with this power.

    Args:
        sd_a: standard deviation of one model over seeds, in score units.
        sd_b: of the other.
        n: seeds of each.
        alpha: level; of one of m tests, 0.05 / m is what Holm asks of the first.
        power: chance of finding it.
        error: standard error that the test examples give the difference, whatever n is.

    Returns:
        In the units of the sd. NaN when n is below 2, a number is NaN or nothing varies.

    Accuracy:
        1e-6, against statsmodels at equal sd without `error`; scores are taken as normal and the
        sd as known. Beside simulated verdicts: docs/benchmarks/verdicts.md.

    Source: Noncentral t, Welch 1947, Biometrika 34:28, degrees of freedom as in Satterthwaite 1946.
    """
    _check(sd_a, sd_b, alpha, power)
    if n < 2 or not sd_a + sd_b + error > 0:
        return math.nan
    low, high = 0.0, math.hypot(math.hypot(sd_a, sd_b) / math.sqrt(n), error)
    while _power(high, sd_a, sd_b, n, alpha, error) < power:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        found = _power(middle, sd_a, sd_b, n, alpha, error) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def seeds_needed(
    sd_a: float, sd_b: float, difference: float, alpha: float = ALPHA, power: float = POWER,
    error: float = 0.0,
) -> int:  # fmt: skip
    """Seeds of each model that a two-sided test needs to find a difference.

    Args:
        sd_a: standard deviation of one model over seeds, in score units.
        sd_b: of the other.
        difference: of the means, in the same units; its sign does not count.
        alpha: level; of one of m tests, 0.05 / m is what Holm asks of the first.
        power: chance of finding it.
        error: standard error that the test examples give the difference, whatever n is.

    Returns:
        The fewest, at least 2. 0 = unknown or none: a number is NaN, neither model varies, or
        10,000 are too few, as where the difference is 0 or `out_of_reach`.

    Source: As `detectable`.
    """
    _check(sd_a, sd_b, alpha, power)
    difference = abs(difference)
    if not (sd_a + sd_b > 0 and difference > 0):
        return 0
    low, high = 1, 2
    while _power(difference, sd_a, sd_b, high, alpha, error) < power:  # up to near the answer:
        if high == MOST:  # far beyond it, the noncentral t of scipy loses all digits
            return 0
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        found = _power(difference, sd_a, sd_b, middle, alpha, error) >= power
        low, high = (low, middle) if found else (middle, high)
    return high


def out_of_reach(
    difference: float, error: float, alpha: float = ALPHA, power: float = POWER
) -> bool:
    """Whether no number of seeds finds a difference, for the error of the test examples alone.

    Args:
        difference: of the means; its sign does not count.
        error: standard error that the test examples give the difference.
        alpha: level.
        power: chance of finding it.

    Returns:
        True when a normal test with that error has less power.

    Source: Neyman and Pearson 1933 (power of a test); the normal distribution.
    """
    return error > 0 and abs(difference) < error * _normal_multiple(alpha, power)


def examples_needed(
    difference: float, error: float, n: int, alpha: float = ALPHA, power: float = POWER
) -> int:
    """Test examples beyond which some number of seeds finds a difference.

    Args:
        difference: of the means, not 0; its sign does not count.
        error: standard error that n test examples give the difference.
        n: these examples.
        alpha: level.
        power: chance of finding it.

    Returns:
        At least 1: the error falls with the square root of the examples.

    Source: As `out_of_reach`.
    """
    return math.ceil(n * (error * _normal_multiple(alpha, power) / abs(difference)) ** 2)


def _normal_multiple(alpha: float, power: float) -> float:
    """How many standard errors a difference needs."""
    return float(ndtri(1 - alpha / 2) + ndtri(power))


def _power(
    difference: float, sd_a: float, sd_b: float, n: int, alpha: float, error: float
) -> float:
    """Chance that both p of a verdict are below alpha: Welch's, and that with the examples."""
    a, b = sd_a**2 / n, sd_b**2 / n
    variance = a + b + error**2
    shift = difference / math.sqrt(variance)  # the examples drawn move the difference in both
    chances = []
    for tested in {a + b, variance} - {0.0}:
        df = min(tested**2 * (n - 1) / (a**2 + b**2), 1e6) if a + b else 1e6
        limit = float(stdtrit(df, 1 - alpha / 2)) * math.sqrt(tested / variance)
        below, above = float(nctdtr(df, shift, -limit)), 1 - float(nctdtr(df, shift, limit))
        chances.append(above + (0.0 if math.isnan(below) else below))
    return min(chances)


def _check(sd_a: float, sd_b: float, alpha: float, power: float) -> None:
    if min(sd_a, sd_b) < 0:
        raise ValueError(f"sd are {sd_a} and {sd_b}; they cannot be negative")
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha is {alpha}, power {power}; need 0 < alpha < power < 1")
