"""How good the best of k configurations is expected to be, from those that were tried."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.types import Array

REPLICATES = 2000


class Expected(NamedTuple):
    """The expected best of k configurations, with its 95 % interval."""

    k: int
    value: float
    low: float
    high: float


def expected_best(
    values: Sequence[float], k: int, replicates: int = REPLICATES, seed: int = 0
) -> Expected:
    """The expected best validation score of the default and k - 1 configurations drawn at random.

    Args:
        values: of the n configurations that were tried, that of the default first; more is better.
        k: how many are tried, the default always among them.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The exact expectation over all draws of k - 1 of the n - 1 others without replacement, and
        the 2.5 % and 97.5 % quantiles of it over samples of n - 1 others with replacement, the
        default in all of them. Near k = n the interval is too narrow above: no sample has a better
        value than the best that was tried. k = 1 is the default, where both ends are its value.

    Raises:
        ValueError: k is not in 1..n.

    Source:
        The largest order statistic of a sample without replacement; the use of it follows Dodge et
        al. 2019, Show Your Work (doi 10.18653/v1/D19-1224), who draw with replacement, and all k.
    """
    if not 1 <= k <= len(values):
        raise ValueError(f"k = {k} of n = {len(values)}: draw between 1 and n")
    default, others = float(values[0]), np.sort(np.asarray(values[1:], float))
    if k == 1:
        return Expected(k, default, default, default)
    chance, rng = _largest(len(others), k - 1), np.random.default_rng(seed)
    drawn = np.sort(others[rng.integers(0, len(others), (replicates, len(others)))], axis=1)
    low, high = np.quantile(np.maximum(drawn, default) @ chance, [0.025, 0.975])
    value = float(np.maximum(others, default) @ chance)
    return Expected(k, value, float(low), float(high))


def _largest(n: int, k: int) -> Array:
    """Chance that each of n values, in ascending order, is the largest of k drawn: float64 (n,).

    C(i - 1, k - 1) / C(n, k) for i = 1..n, without replacement; their sum is 1.
    """
    total = math.comb(n, k)
    return np.array([math.comb(i, k - 1) / total for i in range(n)])
