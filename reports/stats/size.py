"""How large a lead is over a suite: normalised IQM and probability of improvement.

Each with two intervals, since they answer two questions. Seeds: had the same models been trained
again on these tasks. Tasks: had the suite been made of other tasks like these. ValueError: the
models differ in their number of tasks, or a task has no scores.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.reports.stats.seeds import TIE, above
from dnabench.types import Array

Runs = Sequence[Sequence[float] | Array]  # of one model: T tasks, each (n_t,) scores
CACHED = 100_000  # counts or weights that passes go over at once, so that they stay in the cache
REPLICATES = 5_000  # 95 % ends are then good to a twentieth of their distance from the middle


class Size(NamedTuple):
    """A value and its two 95 % intervals; NaN where undefined."""

    value: float
    low: float  # seeds resampled within each task
    high: float
    low_tasks: float  # tasks resampled, their seeds unchanged
    high_tasks: float


def min_max(scores: Sequence[Runs]) -> list[list[Array]]:
    """Scale the scores of each task so that the worst model's mean is 0 and the best's is 1.

    Args:
        scores: of k models, each T tasks of (n,) scores; n may differ.

    Returns:
        The same shape. A task on which all means agree to 1e-12 scales to 0.5 for all. Single
        runs may fall outside 0..1.

    Source: docs/statistics.md#size-of-the-lead.
    """
    _checked(scores)
    means = np.array([[np.mean(task) for task in model] for model in scores])
    low, high = means.min(0), means.max(0)
    width = high - low

    def scaled(runs: Sequence[float] | Array, t: int) -> Array:
        flat = width[t] <= TIE
        return np.full(len(runs), 0.5) if flat else (np.asarray(runs, float) - low[t]) / width[t]

    return [[scaled(runs, t) for t, runs in enumerate(model)] for model in scores]


def iqm(scores: Sequence[Runs], replicates: int = REPLICATES, seed: int = 0) -> list[Size]:
    """Interquartile mean over the runs of all tasks, for each model.

    Args:
        scores: of k models, each T tasks of (n,) scores, on one scale: see `min_max`. Raw scores
            would mostly leave out the easiest and the hardest tasks.
        replicates: of each bootstrap.
        seed: of the bootstraps; the same seed gives the same answer.

    Returns:
        One a model: the mean of the middle half of the runs, a task counting the same whatever its
        number of seeds. The scale stays as it is in all replicates.

    Accuracy:
        The value is exact, and scipy's trim_mean(runs, 0.25) where 4 divides the number of runs.

    Source: Agarwal et al. 2021, NeurIPS (arXiv:2108.13264).
    """
    _checked(scores)
    return [_iqm(model, replicates, seed) for model in scores]


def probability_of_improvement(
    a: Runs, b: Runs, replicates: int = REPLICATES, seed: int = 0
) -> Size:
    """Chance that a run of a scores above one of b on a random task, ties counting half.

    Args:
        a: scores of one model: T tasks, each (n_a,).
        b: of the other, on the same tasks in the same order.
        replicates: of each bootstrap.
        seed: of the bootstraps; the same seed gives the same answer.

    Returns:
        The mean over tasks of `a12`. Swapping a and b gives 1 - value.

    Source: Agarwal et al. 2021, NeurIPS (arXiv:2108.13264).
    """
    _checked([a, b])
    n_tasks = len(a)
    values, drawn = np.empty(n_tasks), np.zeros(replicates)
    for t, (x, y) in enumerate(zip(a, b, strict=True)):
        values[t] = above(x, y).mean()
        left = _counts(len(x), replicates, (seed, t + 1, 1))
        right = _counts(len(y), replicates, (seed, t + 1, 2))
        drawn += _wins(np.asarray(x), np.asarray(y), left, right) / n_tasks
    tasks = _weights(n_tasks, replicates, (seed,)) @ values
    return Size(float(values.mean()), *_ends(drawn), *_ends(tasks))


def _wins(x: Array, y: Array, left: Array, right: Array) -> Array:
    """Float (R,): chance that a run of x is above one of y, by how often each was drawn.

    Counted along the sorted y, as the matrix of all pairs grows with the square of the seeds.
    """
    order = np.argsort(y)
    lower = np.searchsorted(y[order], x, "left")
    upper = np.searchsorted(y[order], x, "right")
    tied = bool((lower != upper).any())  # ties count half
    whole = (1 + tied) * len(x) * len(y)
    below = np.zeros((len(y) + 1, max(1, CACHED // len(y))), np.int32)
    found = np.empty(right.shape[1])
    for start in range(0, len(found), below.shape[1]):
        some = slice(start, start + below.shape[1])
        drawn = right[order, some]
        counts = below[:, : drawn.shape[1]]
        np.cumsum(drawn, axis=0, out=counts[1:])
        above = counts[lower] + counts[upper] if tied else counts[lower]
        found[some] = np.einsum("ir,ir->r", left[:, some], above, dtype=np.int32) / whole
    return found


def _iqm(model: Runs, replicates: int, seed: int) -> Size:
    values = np.concatenate([np.asarray(s, float) for s in model])
    task = np.repeat(np.arange(len(model)), [len(s) for s in model])
    order = np.argsort(values, kind="stable")
    ranked, share = values[order], 1 / np.array([len(s) for s in model])
    seeds = [_weights(len(s), replicates, (seed, t + 1, 1)) for t, s in enumerate(model)]
    tasks = _weights(len(model), replicates, (seed,)) * share
    drawn: tuple[list[Array], list[Array]] = ([], [])
    at_once = max(1, CACHED // len(values))
    for start in range(0, replicates, at_once):
        some = slice(start, start + at_once)
        of_seeds = np.concatenate([weights[some] for weights in seeds], axis=1)
        drawn[0].append(_middle(ranked, of_seeds[:, order]))
        drawn[1].append(_middle(ranked, tasks[some][:, task[order]]))
    value = float(_middle(ranked, share[task][None, order])[0])
    ends = [_ends(np.concatenate(parts)) for parts in drawn]
    return Size(value, *ends[0], *ends[1])


def _middle(ranked: Array, weights: Array) -> Array:
    """Float (R,): mean of the middle half of ascending values (M,), by weights (R, M)."""
    edges = np.cumsum(weights, axis=1)
    whole = edges[:, -1:].copy()
    np.clip(edges, 0.25 * whole, 0.75 * whole, out=edges)
    # values by steps of the edges, summed by parts: edges by steps of the values
    inner = edges[:, :-1] @ np.diff(ranked) / whole[:, 0]
    return np.asarray(2 * (0.75 * ranked[-1] - 0.25 * ranked[0] - inner))


def _weights(n: int, replicates: int, key: tuple[int, ...]) -> Array:
    """Float (replicates, n): how often each of n is drawn, in n draws with replacement, over n."""
    return np.ascontiguousarray(_counts(n, replicates, key).T) / n


@functools.lru_cache(maxsize=256)  # the same for all pairs of a suite
def _counts(n: int, replicates: int, key: tuple[int, ...]) -> Array:
    """(n, replicates): how often each is drawn."""
    drawn = np.random.default_rng(key).multinomial(n, np.full(n, 1 / n), replicates)
    return np.ascontiguousarray(drawn.T.astype(np.uint16))


def _ends(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _checked(scores: Sequence[Runs]) -> None:
    counts = {len(model) for model in scores}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"models have {sorted(counts)} tasks; each needs the same tasks, at least one: leave "
            "out tasks on which a model has no score"
        )
    for m, model in enumerate(scores):
        for t, runs in enumerate(model):
            if not len(runs) or not np.isfinite(runs).all():
                raise ValueError(
                    f"scores of model {m} on task {t} (from 0) are {list(runs)}; need at least "
                    "one, all finite"
                )
