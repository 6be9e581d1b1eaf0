"""Intervals from stretches of a genome that are drawn again. P positions, B draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dnabench.pretraining.blocks import BLOCK, FEWEST
from dnabench.reports.stats.examples import draws
from dnabench.types import Array

DRAWS = 1_000
LEVEL = 0.95

Interval = tuple[float, float] | None


def blocks_of(chroms: Sequence[str] | Array, at: Array, bp: int = BLOCK) -> Array:
    """int64 (P,), the number of the stretch of so many bp that each position lies in, from 0."""
    _, names = np.unique(np.asarray(chroms), return_inverse=True)
    key = names.astype(np.int64) * (int(at.max(initial=0)) // bp + 1) + at // bp
    return np.unique(key, return_inverse=True)[1].reshape(-1)


def interval(
    block: Array, statistic: Callable[[Array], Array], n: int = DRAWS, seed: int = 0
) -> Interval:
    """The interval of LEVEL of a statistic when whole blocks are drawn again.

    Args:
        block: int64 (P,), of `blocks_of`.
        statistic: from how often each position counts, int (P, B), to (B,); NaN is left out,
            infinity is not.
        n: draws.
        seed: of the draws.

    Returns:
        None from fewer than FEWEST blocks, or where no draw has a value.
    """
    kinds, block = np.unique(block, return_inverse=True)
    if len(kinds) < FEWEST:
        return None
    found = np.concatenate([statistic(drawn[block]) for drawn in draws(len(kinds), n, seed)])
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, high = quantiles(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def quantiles(values: Array, q: Sequence[float]) -> Array:
    """Quantiles of values (P,); infinite between a number and infinity."""
    beyond = np.isposinf(np.quantile(values, q, method="higher"))
    finite = np.where(np.isposinf(values), 0, values).max()
    return np.where(beyond, np.inf, np.quantile(np.where(np.isposinf(values), finite, values), q))


def medians(values: Array, weights: Array) -> Array:
    """The median of values (P,), each counted as often as its weights (P, B) say: (B,)."""
    order = np.argsort(values, kind="stable")
    held = np.cumsum(weights[order], axis=0, dtype=np.int64)
    first, second = (  # the middle one, or the two middle ones
        values[order][(held >= -(-total // 2)).argmax(0)]
        for total in (held[-1], held[-1] + 1 - held[-1] % 2)
    )
    return np.where(held[-1] > 0, (first + second) / 2, np.nan)


def ratio_intervals(block: Array, top: Array, bottom: Array, seed: int = 0) -> Array:
    """Intervals of sums divided by sums when whole blocks are drawn again.

    Args:
        block: int64 (P,), of `blocks_of`.
        top: float (P, K).
        bottom: float (P, K).
        seed: of the draws.

    Returns:
        float64 (K, 2), low and high; NaN from fewer than FEWEST blocks, or where nothing counts.
    """
    kinds, block = np.unique(block, return_inverse=True)
    k = top.shape[1]
    if len(kinds) < FEWEST:
        return np.full((k, 2), np.nan)
    sums = np.zeros((len(kinds), 2 * k))
    np.add.at(sums, block, np.concatenate([top, bottom], 1))
    drawn = np.concatenate([sums.T @ w for w in draws(len(kinds), DRAWS, seed)], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = drawn[:k] / drawn[k:]
    out, some = np.full((k, 2), np.nan), np.isfinite(found).any(1)
    out[some] = np.nanquantile(found[some], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1).T
    return out
