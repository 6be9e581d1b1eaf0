"""By how much one model leads another over the tasks of a suite.

Two questions, two intervals. For these tasks as they are: had the models been trained again and
tested on other examples. For tasks like these: had the suite been made of other tasks. In both the
tasks of a family are one piece of evidence: they may share sequences, so their errors are added up
and not averaged out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from dnabench.reports.stats.seeds import TIE


class Lead(NamedTuple):
    """Mean difference over tasks, these tasks taken as fixed; NaN where undefined."""

    value: float
    low: float  # 95 %
    high: float
    se: float
    df: float
    p: float  # two-sided

    def flipped(self) -> "Lead":
        """The lead of the other model."""
        value, low, high, *rest = self
        return Lead(-value, -high, -low, *rest)


class LikeThese(NamedTuple):
    """Mean difference over families, the families drawn again; NaN where undefined."""

    value: float
    low: float  # 95 %
    high: float
    families: int

    def flipped(self) -> "LikeThese":
        """The lead of the other model."""
        return LikeThese(-self.value, -self.high, -self.low, self.families)


def lead(
    differences: Sequence[float], errors: Sequence[float], df: Sequence[float],
    families: Sequence[str], equal: bool = False, level: float = 0.95,
) -> Lead:  # fmt: skip
    """Test the mean difference over T tasks, which stay the same.

    The errors of different families are independent; those of one family are taken as perfectly
    correlated, the most careful choice. Tasks that are known to be independent are families of one.

    Args:
        differences: a - b on each task, in one unit.
        errors: standard error of each, over seeds and test examples.
        df: degrees of freedom of each error; infinite when it is known.
        families: family of each task.
        equal: give every family the same weight, else every task.
        level: coverage of [low, high].

    Returns:
        Everything but the value is NaN when an error is, or when all of them are 0.

    Raises:
        ValueError: when there is no task or the lengths differ.

    Accuracy: docs/benchmarks/verdicts.md: false in 5 % of suites of equal models.

    Source: Satterthwaite 1946, Biometrics Bull. 2:110 (degrees of freedom of a sum).
    """
    if not len(differences) or len({*map(len, (differences, errors, df, families))}) > 1:
        raise ValueError(
            f"{len(differences)} differences, {len(errors)} errors, {len(df)} df and "
            f"{len(families)} families; need as many of each, at least one"
        )
    names, of = np.unique(np.asarray(families), return_inverse=True)
    counts = np.bincount(of)
    weights = 1 / (len(names) * counts[of]) if equal else np.full(len(of), 1 / len(of))
    value = float(weights @ np.asarray(differences, float))
    parts = weights * np.asarray(errors, float)
    each = np.bincount(of, parts)  # standard error that a family gives the mean
    variance = float(each @ each)
    if not variance > TIE**2:
        return Lead(value, *[math.nan] * 5)
    rates = np.bincount(of, parts / np.sqrt(df))  # errors that are one have the same df
    noise = float((each**2) @ (rates**2))
    se, freedom = math.sqrt(variance), variance**2 / noise if noise else math.inf
    half = float(stdtrit(freedom, (1 + level) / 2)) * se  # of infinitely many: the normal
    p = 2 * float(stdtr(freedom, -abs(value) / se))
    return Lead(value, value - half, value + half, se, freedom, p)


def like_these(
    differences: Sequence[float], families: Sequence[str], level: float = 0.95
) -> LikeThese:
    """The mean difference over families of tasks, families being a sample of others like them.

    Args:
        differences: a - b on each task, (T,), in one unit.
        families: family of each task.
        level: coverage of [low, high].

    Returns:
        Student's t interval of the means of families. No ends with fewer than two families.

    Source: Student 1908, Biometrika 6:1.
    """
    _, of = np.unique(np.asarray(families), return_inverse=True)
    means = np.bincount(of, np.asarray(differences, float)) / np.bincount(of)
    k, value = len(means), float(means.mean())
    if k < 2:
        return LikeThese(value, math.nan, math.nan, k)
    half = float(stdtrit(k - 1, (1 + level) / 2)) * float(means.std(ddof=1)) / math.sqrt(k)
    return LikeThese(value, value - half, value + half, k)
