"""How well numbers are predicted: correlations, errors, and what metrics share.

N examples, K task outputs; y and scores are float (N, K).
"""

import math

import numpy as np

from dnabench.types import Array


def pearson(y: Array, scores: Array) -> float:
    """Pearson's correlation of each output, mean over the outputs.

    Returns: a value in [-1, 1]; NaN when every output or its prediction is constant.
    Source: scipy.stats.pearsonr, per column.
    """
    return defined_mean(pearson_per_output(y, scores))


def pearson_per_output(y: Array, scores: Array) -> Array:
    """Pearson's correlation of each output.

    Returns: float64 (K,) in [-1, 1]; NaN where an output or its prediction is constant.
    Source: scipy.stats.pearsonr.
    """
    y, scores = aligned(np.asarray(y, np.float64), scores, y_dimensions=2)
    return _correlations(y, scores)


def spearman(y: Array, scores: Array) -> float:
    """Spearman's rank correlation of each output, mean over the outputs; ties share their rank.

    Returns: a value in [-1, 1]; NaN when every output or its prediction is constant.
    Source: scipy.stats.spearmanr, per column.
    """
    return defined_mean(spearman_per_output(y, scores))


def spearman_per_output(y: Array, scores: Array) -> Array:
    """Spearman's rank correlation of each output; ties share their rank.

    Returns: float64 (K,) in [-1, 1]; NaN where an output or its prediction is constant.
    Source: scipy.stats.spearmanr.
    """
    y, scores = aligned(np.asarray(y, np.float64), scores, y_dimensions=2)
    return _correlations(_ranks(y), _ranks(scores))


def r2(y: Array, scores: Array) -> float:
    """Share of the variance explained, of each output, mean over the outputs.

    Returns: at most 1; 0 for predicting the mean. NaN when every output is constant.
    Source: scikit-learn r2_score(multioutput="uniform_average").
    """
    return defined_mean(r2_per_output(y, scores))


def r2_per_output(y: Array, scores: Array) -> Array:
    """Share of the variance explained, of each output.

    Returns: float64 (K,), at most 1; 0 for predicting the mean. NaN where an output is constant.
    Source: scikit-learn r2_score(multioutput="raw_values").
    """
    y, scores = aligned(np.asarray(y, np.float64), scores, y_dimensions=2)
    total = ((y - y.mean(0)) ** 2).sum(0)
    left = ((y - scores) ** 2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - left / total, np.nan)


def rmse(y: Array, scores: Array) -> float:
    """Root mean squared error of each output, mean over the outputs; lower is better.

    Returns: at least 0, in units of y: standard deviations of train, for your own data.
    Source: scikit-learn root_mean_squared_error(multioutput="uniform_average").
    """
    return defined_mean(rmse_per_output(y, scores))


def rmse_per_output(y: Array, scores: Array) -> Array:
    """Root mean squared error of each output.

    Returns: float64 (K,), at least 0.
    Source: scikit-learn root_mean_squared_error(multioutput="raw_values").
    """
    return np.asarray(np.sqrt(mse_per_output(y, scores)))


def mse(y: Array, scores: Array) -> float:
    """Mean squared error of each output, mean over the outputs; lower is better.

    Returns: at least 0, in squared units of y.
    Source: scikit-learn mean_squared_error(multioutput="uniform_average").
    """
    return defined_mean(mse_per_output(y, scores))


def mse_per_output(y: Array, scores: Array) -> Array:
    """Mean squared error of each output.

    Returns: float64 (K,), at least 0.
    Source: scikit-learn mean_squared_error(multioutput="raw_values").
    """
    y, scores = aligned(np.asarray(y, np.float64), scores, y_dimensions=2)
    return np.asarray(((y - scores) ** 2).mean(0))


def aligned(y: Array, scores: Array, y_dimensions: int) -> tuple[Array, Array]:
    """The two as arrays of one N and K.

    Raises:
        ValueError: for other shapes, nothing to score, or a score that is not finite; its place.
    """
    y, scores = np.asarray(y), np.asarray(scores, np.float64)
    if scores.ndim != 2 or y.shape != scores.shape[:y_dimensions]:
        raise ValueError(f"y is {y.shape}, scores {scores.shape}: N or K differs or is missing")
    if not y.size:
        raise ValueError(f"y is {y.shape}: nothing to score")
    if not (finite := np.isfinite(scores)).all():
        i, k = np.argwhere(~finite)[0]
        raise ValueError(f"score {k} of example {i} (from 0) is {scores[i, k]}; it must be finite")
    return y, scores


def classes(y: Array, logits: Array) -> tuple[Array, Array]:
    """As `aligned`, of classes: y int64 (N,). ValueError also for labels outside 0..K-1."""
    y, logits = aligned(y, logits, y_dimensions=1)
    k = logits.shape[1]
    if k < 2:
        raise ValueError(f"logits have K = {k}; every class needs one, so a binary task has K = 2")
    if y.dtype.kind not in "iu":
        raise ValueError(f"y is {y.dtype}; labels are integers, the indices of classes")
    if (outside := (y < 0) | (y >= k)).any():
        i = outside.argmax()
        raise ValueError(f"label {y[i]} of example {i} (from 0) is outside 0..{k - 1}")
    return y.astype(np.int64, copy=False), logits


def defined_mean(values: Array) -> float:
    """Mean of the values that are no NaN; NaN when none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def defined_median(values: Array) -> float:
    """Median of the values that are no NaN; NaN when none is."""
    values = values[~np.isnan(values)]
    return float(np.median(values)) if values.size else math.nan


def _correlations(a: Array, b: Array) -> Array:
    constant = (a == a[0]).all(0) | (b == b[0]).all(0)  # their deviations may round to 1e-17
    a, b = a - a.mean(0), b - b.mean(0)
    norm = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((norm > 0) & ~constant, np.clip((a * b).sum(0) / norm, -1, 1), np.nan)


def _ranks(values: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=0))
