"""p-values of many tests at once: Holm for claims, Benjamini-Hochberg for exploring."""

import math
from collections.abc import Callable, Hashable, Sequence


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false rejection among them stays below alpha.

    Args:
        p: m p-values of one family. NaN is no test: it stays NaN and is not counted in m.

    Returns:
        Adjusted p-values in the same order, each >= its own p and <= 1.

    Source: Holm 1979, Scand. J. Stat. 6:65.
    """
    adjusted, order, floor = [math.nan] * len(p), _ascending(p), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = floor
    return adjusted


def once(
    adjust: Callable[[Sequence[float]], list[float]], p: Sequence[float], keys: Sequence[Hashable]
) -> list[float]:
    """Adjust p-values of which some are of one and the same test, which counts once in m.

    Args:
        adjust: `holm` or `bh`.
        p: p-values, (n,); equal where keys are.
        keys: what each p is the test of, (n,).

    Returns:
        n adjusted p-values in the same order.

    Source: none; m counts hypotheses, and copies of a test have one.
    """
    first = dict(reversed([*zip(keys, p, strict=True)]))
    adjusted = dict(zip(first, adjust([*first.values()]), strict=True))
    return [adjusted[key] for key in keys]


def bh(p: Sequence[float]) -> list[float]:
    """Adjust p-values so that the expected share of false ones among the rejected is below alpha.

    Args:
        p: m p-values of one family. NaN is no test: it stays NaN and is not counted in m.

    Returns:
        Adjusted p-values in the same order, each >= its own p, and <= its `holm` value.

    Source: Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    adjusted, order, ceiling = [math.nan] * len(p), _ascending(p), 1.0
    for rank in range(len(order), 0, -1):
        i = order[rank - 1]
        ceiling = min(ceiling, p[i] * len(order) / rank)
        adjusted[i] = ceiling
    return adjusted


def _ascending(p: Sequence[float]) -> list[int]:
    """Places of the p-values that are not NaN, smallest first."""
    return sorted((i for i, x in enumerate(p) if not math.isnan(x)), key=p.__getitem__)
