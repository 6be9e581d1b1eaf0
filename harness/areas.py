"""Areas under curves: of hits against false alarms (ROC), and of precision against recall.

N examples, K classes or labels. For classes, y is int64 (N,), 0..K-1, and logits float (N, K); for
labels, y is 0/1 or bool (N, K) and scores float (N, K).
"""

from collections.abc import Callable

import numpy as np

from dnabench.correlation import aligned, classes, defined_mean, defined_median
from dnabench.types import Array

COLUMNS = 32  # outputs that are copied at once, each of them in one piece, to be sorted


def auroc(y: Array, logits: Array) -> float:
    """Area under the ROC curve; for K > 2 the mean over classes, each against the rest.

    Returns: a value in [0, 1], chance 0.5; a class that is no label or every label is left out, NaN
    when that leaves none. Pairs are counted in integers; what is equal in float64 is a tie.
    Source: Hanley and McNeil 1982, Radiology 143:29; scikit-learn roc_auc_score, "ovr" and "macro".
    """
    return _of_classes(auroc_per_label, y, logits)


def auprc(y: Array, logits: Array) -> float:
    """Average precision, sum over thresholds of (rise in recall) x precision; classes as `auroc`.

    Returns: a value in (0, 1], not interpolated; chance is the share of positives; NaN as `auroc`.
    Source: scikit-learn average_precision_score.
    """
    return _of_classes(auprc_per_label, y, logits)


def auroc_per_label(y: Array, scores: Array) -> Array:
    """Area under the ROC curve of every label of a multilabel task.

    Returns: float64 (K,) in [0, 1], a tie counting half; NaN where no or every example has it.
    Source: Hanley and McNeil 1982, Radiology 143:29 (area = Mann-Whitney U).
    """
    return _per_label(_roc_area, y, scores)


def auprc_per_label(y: Array, scores: Array) -> Array:
    """Average precision of every label of a multilabel task.

    Returns: float64 (K,) in (0, 1], a tie being one threshold; NaN as `auroc_per_label`.
    Source: scikit-learn average_precision_score. Ours: NaN, where it always gives 0 or 1.
    """
    return _per_label(_average_precision, y, scores)


def auroc_mean(y: Array, scores: Array) -> float:
    """Area under the ROC curve of each label, mean over the labels that have both values.

    Returns: a value in [0, 1], 0.5 by chance; NaN when no label has both values.
    Source: scikit-learn roc_auc_score(average="macro"), which refuses a constant label.
    """
    return defined_mean(auroc_per_label(y, scores))


def auroc_median(y: Array, scores: Array) -> float:
    """Area under the ROC curve of each label, median over the labels that have both values.

    Returns: a value in [0, 1], 0.5 by chance; NaN when no label has both values.
    Source: Zhou and Troyanskaya 2015, Nature Methods 12:931 (DeepSEA), whose results are medians.
    """
    return defined_median(auroc_per_label(y, scores))


def auprc_mean(y: Array, scores: Array) -> float:
    """Average precision of each label, mean over the labels that have both values.

    Returns: a value in (0, 1]; chance is the mean share of ones. NaN when no label has both values.
    Source: scikit-learn average_precision_score(average="macro").
    """
    return defined_mean(auprc_per_label(y, scores))


def one_versus_rest(y: Array, logits: Array) -> tuple[Array, Array]:
    """Which class each example is of, and the score by which each class ranks it.

    Returns: bool and float64 (N, K), the latter softmax; of two classes the second alone, (N, 1),
    by the difference of the logits.
    """
    if logits.shape[1] == 2:
        return y[:, None] == 1, logits[:, 1:] - logits[:, :1]
    weights = np.exp(logits - logits.max(1, keepdims=True))
    # summed by size, so that the order of the other classes neither makes nor breaks a tie
    softmax = weights / np.sort(weights, axis=1).sum(1, keepdims=True)
    return y[:, None] == np.arange(logits.shape[1]), softmax


def _of_classes(per_label: Callable[[Array, Array], Array], y: Array, logits: Array) -> float:
    return defined_mean(per_label(*one_versus_rest(*classes(y, logits))))


def _per_label(area: Callable[[Array, Array], float], y: Array, scores: Array) -> Array:
    y, scores = aligned(y, scores, y_dimensions=2)
    if (wrong := (y != 0) & (y != 1)).any():
        i, k = np.argwhere(wrong)[0]
        raise ValueError(f"label {k} of example {i} (from 0) is {y[i, k]}, neither 0 nor 1")
    values = np.full(y.shape[1], np.nan)
    defined = np.asarray(y.any(0) & ~y.all(0))
    for start in range(0, len(values), COLUMNS):  # all at once would take a copy of all
        some = slice(start, start + COLUMNS)
        labels, by_column = (np.ascontiguousarray(a[:, some].T) for a in (y, scores))
        for k in np.flatnonzero(defined[some]):
            values[start + k] = area(*_counts_by_score(labels[k] == 1, by_column[k]))
    return values


def _counts_by_score(positive: Array, scores: Array) -> tuple[Array, Array]:
    """Positives and negatives at each distinct score, highest first."""
    order = np.argsort(scores)[::-1]
    ranked = scores[order]
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    hits = np.add.reduceat(positive[order], first, dtype=np.int64)
    return hits, np.diff(first, append=len(ranked)) - hits


def _roc_area(hits: Array, misses: Array) -> float:
    below = misses.sum() - np.cumsum(misses)
    return int((hits * (2 * below + misses)).sum()) / int(2 * hits.sum() * misses.sum())


def _average_precision(hits: Array, misses: Array) -> float:
    found, called = np.cumsum(hits), np.cumsum(hits + misses)
    return float((hits * (found / called)).sum() / found[-1])
