"""The nested bootstrap: sampling of the test examples together with variation between seeds.

S runs (seeds) of a model on one test split, n replicates of the split. All models are scored on the
same replicates, so what makes an example hard for both cancels in their difference.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from dnabench.metrics import METRICS
from dnabench.reports.stats.replicates import check_cost, scorer
from dnabench.reports.stats.seeds import TIE
from dnabench.types import Array

REPLICATES = 10_000
_DRAWN = 2**18  # examples drawn at once: 2 MB, so that passes over them stay in the cache
_KEPT = 2**23  # counts kept for the next test split: 32 MB


def replicates(
    y: Array, logits: Sequence[Array], metric: str, *, groups: Array | None = None,
    n: int = REPLICATES, seed: int = 0,
) -> Array:  # fmt: skip
    """Score every run on the same n resamples of the test examples.

    Args:
        y: labels as the metric takes them, N rows.
        logits: one array a run, (N, K), in the order of y.
        metric: a key of METRICS.
        groups: int (N,), rows of the same group are resampled together: bases of a sequence,
            sequences of a cluster or chromosome. None: every row on its own.
        n: replicates.
        seed: of the draws, which depend on it, n and the groups (or N) alone: models scored in
            different calls stay paired.

    Returns:
        float64 (runs, n); NaN where a replicate has no value, as AUROC of one class.

    Raises:
        ValueError: for what the metric refuses, groups that do not fit, no replicates, a metric of
            ranks over so many labels or examples that it would take minutes (`check_cost`).

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 8 (pairs, clusters).
    """
    rows = len(y)
    if n < 1:
        raise ValueError(f"n = {n} replicates; at least 1 is needed")
    if not rows or not len(logits):
        raise ValueError(f"{rows} examples and {len(logits)} runs: nothing to resample")
    check_cost(metric, rows, logits[0].shape[1], len(logits), n)
    for x in logits:
        METRICS[metric].function(y, x)  # its own checks of shapes, labels, finite logits
    return resampled(y, logits, metric, units(rows, groups), n, seed)


def resampled(
    y: Array, logits: Iterable[Array], metric: str, unit: Array, n: int, seed: int = 0
) -> Array:
    """`replicates` without its checks; logits are read once, one run after the other."""
    score = scorer(metric, y, logits, unit)
    size = int(unit.max()) + 1
    return np.concatenate([score(drawn) for drawn in draws(size, n, seed)], axis=1)


def units(rows: int, groups: Array | None) -> Array:
    """int64 (N,), the group of each row numbered from 0 in the order of `groups`' numbers."""
    if groups is None:
        return np.arange(rows)
    groups = np.asarray(groups)
    if groups.shape != (rows,) or groups.dtype.kind not in "iu":
        raise ValueError(
            f"groups are {groups.dtype} {groups.shape}; each of the {rows} rows needs an integer"
        )
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def draws(size: int, n: int, seed: int) -> Iterable[Array]:
    """How often each of `size` units is drawn, int32 (size, B) for B replicates at a time.

    A list where all fit in little memory.
    """
    return _kept_draws(size, n, seed) if size * n <= _KEPT else _draws(size, n, seed)


@lru_cache(maxsize=1)  # tasks of a suite often have test splits of one size
def _kept_draws(size: int, n: int, seed: int) -> list[Array]:
    return list(_draws(size, n, seed))


def _draws(size: int, n: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    block = max(16, min(1024, _DRAWN // size))
    for start in range(0, n, block):
        count = min(block, n - start)
        drawn = rng.integers(0, size, (count, size))
        drawn += np.arange(count)[:, None] * size
        weights = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        yield weights.T.astype(np.int32, order="C")


class Nested(NamedTuple):
    """Mean of a - b over seeds and test examples; NaN where undefined."""

    difference: float  # over the replicates
    low: float
    high: float
    se: float
    df: float  # of `se`: infinite when only the examples vary
    p: float  # two-sided, of difference / se: for Holm, which cannot adjust an interval

    def flipped(self) -> "Nested":
        """Of b - a."""
        return self._replace(difference=-self.difference, low=-self.high, high=-self.low)


def nested(a: Array, b: Array, *, seed: int = 0, level: float = 0.95) -> Nested:
    """Interval of the difference of two models over seeds and test examples.

    Each replicate of the examples also draws seeds with replacement, independently for the two
    models. Drawn plainly, that errs both ways (docs/benchmarks/coverage.md has the numbers), so:

    - S seeds drawn from S vary by (S - 1) / S too little, and a variance known from 3 seeds wants
      Student's t, not the normal. Deviations of seeds grow by sqrt(S / (S - 1)), the interval by
      t / z at the degrees of freedom of Satterthwaite.
    - the errors that are a run's own, on single examples, would count up to three times: in the
      examples drawn, between the seeds, and in both together. Here they count between the seeds,
      where a run's deviation is that on all replicates; what the examples drawn do to the mean of
      the runs is made smaller by the share of the runs' own errors in its variance.

    Without noise that the runs of a model share this is Welch's interval (its se and df); without
    noise of runs it is the percentile bootstrap over examples.

    Args:
        a: `replicates` of one model, (S_a, n).
        b: of the other on the same draws, (S_b, n).
        seed: of the draws of seeds.
        level: coverage of [low, high].

    Returns:
        Replicates without a value are left out. All but the difference are NaN when either model
        has a single run, or fewer than two replicates are left; p also when nothing varies.

    Raises:
        ValueError: when the numbers of replicates differ or a model has no run.

    Accuracy:
        Intervals of 95 % cover 93.8-95.4 % with 3 to 10 seeds each on 500 or 1,500 examples where
        the correction was chosen, 92.1-95.6 % elsewhere (least for 3 seeds against 10).

    Source:
        Bouthillier et al. 2021, MLSys (both sources count); Owen 2007, Ann. Appl. Stat. 1:386 (what
        drawing rows and columns counts three times); Satterthwaite 1946. The correction is ours.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(f"a is {a.shape}, b {b.shape}; both need (runs, n) with one n")
    defined = ~(np.isnan(a).any(0) | np.isnan(b).any(0))
    return _of_pair(_Runs(a[:, defined]), _Runs(b[:, defined]), seed, level)


def nested_pairs(
    runs: Mapping[int, Array], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Nested]:
    """`nested` of several pairs of models; what depends on one model is computed once."""
    # in memory as `nested` has them, so that sums round alike
    of = [k for k, x in runs.items() if not np.isnan(x).any()]
    whole = {k: _Runs(np.asfortranarray(runs[k])) for k in of}

    def found(pair: tuple[int, int]) -> Nested:
        i, j = pair
        if {i, j} <= whole.keys():
            return _of_pair(whole[i], whole[j])
        return nested(runs[i], runs[j])

    return {pair: found(pair) for pair in pairs}


class _Runs:
    """One model on all replicates, (S, n) without a missing value."""

    def __init__(self, runs: Array) -> None:
        self.size, self.n = runs.shape
        self.mean = runs.mean(0)
        if min(runs.shape) > 1:
            self.deviations, self.of_mean, self.own = _seed_noise(runs)
        self._drawn: dict[tuple[int, int, int, int], Array] = {}

    def drawn(self, place: int, first: int, second: int, seed: int) -> Array:
        """What the drawn seeds add to the mean, (n,), in a pair of `first` and `second` runs."""
        key = place, first, second, seed
        if key not in self._drawn:
            pick = _picks(first, second, self.n, seed)[place]
            self._drawn[key] = np.take(self.deviations, pick).mean(0)
        return self._drawn[key]


@lru_cache(maxsize=2)
def _picks(first: int, second: int, n: int, seed: int) -> tuple[Array, Array]:
    """The seeds of each replicate, (first, n) and (second, n)."""
    rng = np.random.default_rng([seed, 1])  # not the stream of the examples
    return rng.integers(0, first, (first, n)), rng.integers(0, second, (second, n))


def _of_pair(a: _Runs, b: _Runs, seed: int = 0, level: float = 0.95) -> Nested:
    if not a.n:
        return Nested(*[math.nan] * 6)
    centre = a.mean - b.mean
    d = float(centre.mean())
    if min(a.size, b.size, a.n) < 2:
        return Nested(d, *[math.nan] * 5)
    examples = float(centre.var(ddof=1))
    shared, between, noise, drawn = examples, 0.0, 0.0, np.zeros_like(centre)
    for place, sign, runs in ((0, 1, a), (1, -1, b)):
        drawn += sign * runs.drawn(place, a.size, b.size, seed)
        shared, between = shared - runs.own, between + runs.of_mean
        noise += runs.of_mean**2 / (runs.size - 1)
    shared = max(0.0, shared)
    total = shared + between
    if total <= TIE**2:
        return Nested(d, d, d, 0.0, math.nan, math.nan)
    if shared:
        drawn += math.sqrt(shared / examples) * (centre - d)
    df = total**2 / noise if noise else math.inf
    se, tail = math.sqrt(total), (1 - level) / 2
    wider = float(stdtrit(df, 1 - tail) / ndtri(1 - tail))  # 1 at infinite df
    low, high = np.quantile(d + drawn, [tail, 1 - tail])
    p = 2 * float(stdtr(df, -abs(d) / se))
    return Nested(d, d - wider * (d - float(low)), d + wider * (float(high) - d), se, df, p)


def _seed_noise(runs: Array) -> tuple[Array, float, float]:
    """What to draw seeds from, and two parts of the variance of the mean, of runs (S, n).

    Deviations of the runs (S,), grown by sqrt(S / (S - 1)); the variance that they give the mean;
    how much of it are errors on single examples, which the replicates show too.
    """
    size = len(runs)
    scores = runs.mean(1)
    deviations = scores - scores.mean() if np.ptp(scores) > TIE else np.zeros(size)
    between = float(deviations @ deviations) / (size - 1)
    own = runs - runs.mean(0) - deviations[:, None]
    within = float(own.var(1).sum()) / (size - 1)
    return deviations * math.sqrt(size / (size - 1)), between / size, within / size
