"""Metrics: (y, logits) -> float, over a whole split at once, by name.

N examples, K task outputs. For classes, y is int64 (N,), 0..K-1, and logits float (N, K). For
labels, y is 0/1 or bool (N, K) and scores float (N, K), any increasing function of the logits.

Scores are fractions, never per cent; higher is better, but for errors (`Metric.sign`). They are
pooled: a mean of per-batch values is another number, which depends on the batches. The predicted
class is the largest logit, in a tie the lowest class. Unequal shapes, N = 0, a label outside 0..K-1
and a logit that is not finite are a ValueError with the value and its place.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from dnabench.areas import (
    auprc,
    auprc_mean,
    auprc_per_label,
    auroc,
    auroc_mean,
    auroc_median,
    auroc_per_label,
)
from dnabench.correlation import (
    classes,
    defined_mean,
    defined_median,
    mse,
    mse_per_output,
    pearson,
    pearson_per_output,
    r2,
    r2_per_output,
    rmse,
    rmse_per_output,
    spearman,
    spearman_per_output,
)
from dnabench.types import Array, Kind


@dataclass(frozen=True)
class Metric:
    """A metric and what a table needs to know of it."""

    name: str
    function: Callable[[Array, Array], float]  # (y, logits) -> score, NaN where it is undefined
    label: str  # heads a column
    kinds: tuple[Kind, ...]  # of task
    description: str
    rope: float  # smallest difference worth calling one
    # (y, scores) -> (K,), a value of each output, and how the metric sums up those that are defined
    of_output: Callable[[Array, Array], Array] | None = None
    summed_up: Callable[[Array], float] = defined_mean
    sign: int = 1  # -1 where lower is better
    usual: bool = True  # in every record of a task that it fits; else only where it is asked for

    @property
    def heading(self) -> str:
        """The label, with an arrow where lower is better."""
        return self.label + " ↓" * (self.sign < 0)


def mcc(y: Array, logits: Array) -> float:
    """Matthews correlation of labels and predictions, for K >= 2 classes.

    Returns: a value in [-1, 1]; 0 when labels or predictions are constant. Counts are integers.
    Source: Gorodkin 2004, Comput. Biol. Chem. 28:367 (R_K); K = 2 is Matthews 1975.
    """
    c = _confusion(y, logits)
    n, right, true, predicted = int(c.sum()), int(c.trace()), c.sum(1), c.sum(0)
    covariance = n * right - int(true @ predicted)
    norm = (n * n - int(true @ true)) * (n * n - int(predicted @ predicted))
    return covariance / math.sqrt(norm) if norm else 0.0


def f1_macro(y: Array, logits: Array) -> float:
    """Mean over classes of F1, the harmonic mean of precision and recall.

    Returns: a value in [0, 1], without classes that are neither a label nor predicted.
    Source: scikit-learn f1_score(average="macro"); not the F1 of averages (arXiv:1911.03347).
    """
    c = _confusion(y, logits)
    size = c.sum(0) + c.sum(1)
    return float(np.mean(2 * c.diagonal()[size > 0] / size[size > 0]))


def f1_binary(y: Array, logits: Array) -> float:
    """F1 of class 1, the positive one, of two.

    Returns: a value in [0, 1]; 0 where it is undefined: class 1 neither a label nor predicted.
    Source: scikit-learn f1_score(pos_label=1, zero_division=0).
    """
    c = _confusion(y, logits)
    if len(c) != 2:
        raise ValueError(f"f1_binary is for 2 classes, logits have {len(c)}; f1_macro takes any")
    size = int(c[1].sum() + c[:, 1].sum())
    return 2 * int(c[1, 1]) / size if size else 0.0


def accuracy(y: Array, logits: Array) -> float:
    """Fraction of examples whose largest logit is the label.

    Returns: a value in [0, 1].
    Source: Definition.
    """
    return int(_confusion(y, logits).trace()) / len(y)


def balanced_accuracy(y: Array, logits: Array) -> float:
    """Mean recall over the classes in y: accuracy, were they equally frequent.

    Returns: a value in [0, 1]; chance is one over the number of classes in y.
    Source: scikit-learn balanced_accuracy_score(adjusted=False).
    """
    c = _confusion(y, logits)
    size = c.sum(1)
    return float(np.mean(c.diagonal()[size > 0] / size[size > 0]))


def brier(y: Array, logits: Array) -> float:
    """Squared distance of the class probabilities (softmax) from the outcome; lower is better.

    Returns: mean over the examples of the sum over the K classes, a value in [0, 2].
    Source: Brier 1950, Mon. Weather Rev. 78:1; scikit-learn brier_score_loss, halved for K = 2.
    """
    return float(brier_of_each(y, logits).mean())


def brier_of_each(y: Array, logits: Array) -> Array:
    """The Brier score of each example.

    Returns: float64 (N,), values in [0, 2].
    Source: Brier 1950, Mon. Weather Rev. 78:1.
    """
    y, logits = classes(y, logits)
    return squared_distance(y, probabilities(logits))


def probabilities(logits: Array) -> Array:
    """Class probabilities, the softmax of each row of logits (N, K).

    Returns: float64 (N, K) of float64, rows that sum to 1.
    Source: Bridle 1990, NIPS 2.
    """
    p = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))


def squared_distance(y: Array, p: Array) -> Array:
    """Of class probabilities (N, K) from the outcome, summed over the classes.

    Returns: float64 (N,), values in [0, 2].
    Source: Brier 1950, Mon. Weather Rev. 78:1.
    """
    off = p.copy()
    off[np.arange(len(y)), y] -= 1
    return np.asarray((off * off).sum(1))


def score(
    y: Array,
    logits: Array,
    names: Sequence[str],
    groups: Mapping[str, slice] = MappingProxyType({}),
) -> dict[str, float]:
    """Several metrics of one split; `names` are keys of METRICS, `groups` are slices of outputs.

    Returns: name -> score, in the order of `names`; an undefined one, NaN, is left out (for JSON).
    With groups also "name:group", and "name:groups", the mean of the groups, of every metric that
    sums up a value of each output.
    Source: DeepSEA's and ConvNova's tables (arXiv 2502.18538, Table 10: 96.62, 92.93 and 85.74 of
    three groups give the "Avg." 91.76); DeepSTARR's, which has no mean of the two outputs.
    """
    if unknown := [name for name in names if name not in METRICS]:
        raise KeyError(f"no metric named {unknown[0]!r}; there are {', '.join(METRICS)}")
    of_output = cache(lambda f: f(y, logits))  # shared by mean and median
    values: dict[str, float] = {}
    for metric in map(METRICS.__getitem__, names):
        if metric.of_output is None:
            values[metric.name] = metric.function(y, logits)
            continue
        outputs = of_output(metric.of_output)
        values[metric.name] = metric.summed_up(outputs)
        each = {g: metric.summed_up(outputs[s]) for g, s in groups.items()}
        if each:
            each["groups"] = sum(each.values()) / len(each)
        values |= {f"{metric.name}:{g}": value for g, value in each.items()}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def recorded(kind: Kind, primary: str) -> tuple[str, ...]:
    """Which metrics a trial on a task of that kind records.

    Returns: the primary one first, then the others of `metrics_for` that are usual.
    """
    others = (m for m in metrics_for(kind) if m != primary and METRICS[m].usual)
    return (primary, *others)


def metrics_for(kind: Kind) -> tuple[str, ...]:
    """Which metrics fit a kind of task.

    Returns: keys of METRICS, in its order.
    """
    names = tuple(m.name for m in METRICS.values() if kind in m.kinds)
    if not names:
        known = dict.fromkeys(kind for m in METRICS.values() for kind in m.kinds)
        raise ValueError(f"no metric is for kind {kind!r}, only for {', '.join(known)}")
    return names


def _confusion(y: Array, logits: Array) -> Array:
    """int64 (K, K): how many examples of class i were predicted as j."""
    y, logits = classes(y, logits)
    k = logits.shape[1]
    return np.bincount(y * k + logits.argmax(1), minlength=k * k).reshape(k, k)


_BOTH: tuple[Kind, ...] = ("binary", "multiclass")
_BASES: tuple[Kind, ...] = (*_BOTH, "per_base")
_LABELS: tuple[Kind, ...] = ("multilabel",)
_VALUES: tuple[Kind, ...] = ("regression",)
_ALL = [
    Metric("mcc", mcc, "MCC", _BASES, "Matthews correlation of labels and predictions", 0.01),
    Metric("f1_macro", f1_macro, "F1 (macro)", _BASES, "F1, mean over the classes", 0.005),
    Metric("f1_binary", f1_binary, "F1", ("binary",), "F1 of class 1, the positive one", 0.005),
    Metric("accuracy", accuracy, "Accuracy", _BASES, "fraction predicted correctly", 0.005),
    Metric("balanced_accuracy", balanced_accuracy, "Bal. acc.", _BASES, "mean recall", 0.005),
    Metric("auroc", auroc, "AUROC", _BOTH, "area under the ROC curve, class v. rest", 0.01),
    Metric("auprc", auprc, "AUPRC", _BOTH, "average precision, class v. rest", 0.01),
    Metric(
        "brier", brier, "Brier", _BOTH, "squared distance of probabilities from the outcome", 0.01,
        sign=-1, usual=False,
    ),
    Metric(
        "auroc_mean", auroc_mean, "AUROC", _LABELS, "area under the ROC curve, mean of labels",
        0.01, auroc_per_label,
    ),
    Metric(
        "auroc_median", auroc_median, "AUROC (median)", _LABELS,
        "area under the ROC curve, median of labels", 0.01, auroc_per_label, defined_median,
    ),
    Metric(
        "auprc_mean", auprc_mean, "AUPRC", _LABELS, "average precision, labels' mean", 0.01,
        auprc_per_label,
    ),
    Metric(
        "pearson", pearson, "Pearson r", _VALUES, "correlation, outputs' mean", 0.01,
        pearson_per_output,
    ),
    Metric(
        "spearman", spearman, "Spearman r", _VALUES, "rank correlation, outputs' mean", 0.01,
        spearman_per_output,
    ),
    Metric("r2", r2, "R2", _VALUES, "variance explained, outputs' mean", 0.01, r2_per_output),
    Metric(
        "rmse", rmse, "RMSE", _VALUES, "root mean squared error, outputs' mean", 0.01,
        rmse_per_output, sign=-1,
    ),
    Metric(
        "mse", mse, "MSE", _VALUES, "mean squared error, outputs' mean", 0.01, mse_per_output,
        sign=-1, usual=False,
    ),
]  # fmt: skip
METRICS: dict[str, Metric] = {m.name: m for m in _ALL}
