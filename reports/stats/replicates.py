"""Every metric under weights: the score if each test example had been drawn w times.

R runs, K classes or outputs, G units that are drawn whole (examples, or groups of rows), B
replicates at once. Weights are int32 (G, B); a scorer gives float64 (R, B), NaN where a replicate
has no value. Classes and ranks are counted in integers, as in `dnabench.metrics`.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from dnabench.areas import one_versus_rest
from dnabench.metrics import METRICS, brier_of_each
from dnabench.types import Array

Scorer = Callable[[Array], Array]
MOST_STEPS = 1e11  # some two minutes of one core
_EXACT32 = 2**24  # integers that float32 holds
_RANKED = ("auroc", "auprc", "auroc_mean", "auroc_median", "auprc_mean", "spearman")


def check_cost(metric: str, rows: int, outputs: int, runs: int, n: int) -> None:
    """Refuse what would take too long: rank metrics pass over every score in each replicate.

    N rows, K outputs (two classes are ranked once), n replicates of each run.

    Raises:
        ValueError: above MOST_STEPS, and for a metric that is not resampled; says what to do.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric named {metric!r}; there are {', '.join(METRICS)}")
    known = (*_COUNTED, *_RANKED, *_MOMENTS, *_ERRORS)
    if metric not in known:
        raise ValueError(f"{metric} is not resampled; {', '.join(known)} are")
    ranked = 1 if outputs == 2 and metric in ("auroc", "auprc") else outputs
    steps = float(rows) * ranked * runs * n
    if metric in _RANKED and steps > MOST_STEPS:
        raise ValueError(
            f"{n:,} replicates of {metric} for {runs} runs of {rows:,} examples x {ranked} outputs "
            f"are {steps:.0e} steps, more than {MOST_STEPS:.0e}: ask for fewer replicates"
        )


def scorer(metric: str, y: Array, logits: Iterable[Array], unit: Array) -> Scorer:
    """Prepare the runs of one test split for scoring under any weights.

    Labels y as the metric takes them; logits (N, K) of each run, read once, one after the other;
    `unit`, int (N,), the unit of each row, 0..G-1. Call `check_cost` and the metric itself, which
    checks labels and logits, first.

    Raises:
        ValueError: K differs between runs.

    Accuracy:
        With weights of one, mcc, f1_binary, accuracy and AUROC of two classes are bit for bit what
        METRICS gives, the rest within 1e-12. Sources are those of each metric.
    """
    checked = _checked(logits)
    if metric in _COUNTED:
        first = next(checked)
        checked = chain([first], checked)
        two = metric == "mcc" and first.shape[1] == 2
        return _mcc_of_two(y, checked, unit) if two else _counted(metric, y, checked, unit)
    if metric in _ERRORS:
        return _mean_errors(metric, y, checked, unit)
    if metric in _MOMENTS:
        return _moments(metric, np.asarray(y, np.float64), checked, unit)
    runs = list(checked)
    if metric == "spearman":
        return _rank_correlation(np.asarray(y, np.float64), runs, unit)
    prepare = _roc_area if metric.startswith("auroc") else _average_precision
    sum_up = _defined_median if metric == "auroc_median" else _defined_mean
    areas = []
    for x in runs:
        positive, scores = one_versus_rest(y, x) if metric in ("auroc", "auprc") else (y == 1, x)
        areas.append([prepare(positive[:, k], scores[:, k], unit) for k in range(scores.shape[1])])
    return lambda weights: np.stack(
        [sum_up(np.stack([area(weights) for area in run]), axis=0) for run in areas]
    )


def _checked(logits: Iterable[Array]) -> Iterator[Array]:
    outputs = None
    for i, x in enumerate(logits):
        outputs = outputs or x.shape[1]
        if x.shape[1] != outputs:
            raise ValueError(f"run {i} (from 0) has K = {x.shape[1]} outputs, run 0 has {outputs}")
        yield np.asarray(x, np.float64)


def _counted(metric: str, y: Array, logits: Iterable[Array], unit: Array) -> Scorer:
    """By matrix product: drawn counts of each class, right, predicted and true.

    Only rows that the metric needs: right answers together where it sums them, and predictions of
    all classes but the last, which is what remains.
    """
    formula, by_class, with_predicted = _COUNTED[metric]
    of_runs, k, size = [], 0, int(unit.max()) + 1
    for x in logits:
        k, predicted = x.shape[1], x.argmax(1)
        right = predicted == y
        found = _by_unit(unit[right], y[right], size, k)
        found = found if by_class else found.sum(0, keepdims=True)
        others = _by_unit(unit, predicted, size, k)[:-1] if with_predicted else found[:0]
        of_runs.append(np.concatenate([found, others]))
    dtype = _count_type(unit)
    matrix = np.concatenate([*of_runs, _by_unit(unit, y, size, k)]).astype(dtype)
    answers = k if by_class else 1

    def score(weights: Array) -> Array:
        counts = (matrix @ weights.astype(dtype)).astype(np.float64)
        true, each = counts[-k:], counts[:-k].reshape(len(of_runs), -1, weights.shape[1])
        right, predicted = each[:, :answers], each[:, answers:]
        if with_predicted:
            last = true.sum(0) - predicted.sum(1)
            predicted = np.concatenate([predicted, last[:, None]], axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return formula(right, predicted, true)

    return score


def _mcc_of_two(y: Array, logits: Iterable[Array], unit: Array) -> Scorer:
    """As `_counted`, with half the products: rows of each true class apart, by who calls them 1."""
    size = int(unit.max()) + 1
    members = [np.unique(unit[y == c]) for c in (0, 1)]
    found: list[list[Array]] = [[], []]
    for x in logits:
        one = x[:, 1] > x[:, 0]
        for c, of_runs in enumerate(found):
            of_runs.append(_by_unit(unit[one & (y == c)], 0, size, 1)[0, members[c]])
    dtype = _count_type(unit)
    for c, of_runs in enumerate(found):
        of_runs.append(_by_unit(unit[y == c], 0, size, 1)[0, members[c]])
    matrices = [np.stack(of_runs).astype(dtype) for of_runs in found]

    def score(weights: Array) -> Array:
        drawn = weights.astype(dtype)
        counts = [
            (m @ drawn[own]).astype(np.float64) for m, own in zip(matrices, members, strict=True)
        ]
        (false, negative), (right, positive) = ((x[:-1], x[-1]) for x in counts)
        called = false + right
        norm = positive + negative - called
        norm *= called
        norm *= positive * negative
        norm += norm == 0  # 0 / 0 is 0
        right *= negative
        false *= positive
        right -= false
        right /= np.sqrt(norm, out=norm)
        return np.asarray(right)

    return score


def _count_type(unit: Array) -> type[np.floating[Any]]:
    """Float32 where it holds every count."""
    most = (int(unit.max()) + 1) * int(np.bincount(unit).max())
    return np.float32 if most < _EXACT32 else np.float64


def _by_unit(unit: Array, classes: Array | int, size: int, k: int) -> Array:
    """int64 (K, G): rows of each class in each unit."""
    return np.bincount(classes * size + unit, minlength=k * size).reshape(k, size)


def _mcc(right: Array, predicted: Array, true: Array) -> Array:
    n = true.sum(0)
    covariance = n * right.sum(1) - np.einsum("rkb,kb->rb", predicted, true)
    norm = n * n - np.einsum("rkb,rkb->rb", predicted, predicted)
    norm *= n * n - (true * true).sum(0)
    return np.asarray(np.divide(covariance, np.sqrt(norm), out=np.zeros_like(norm), where=norm > 0))


def _f1_macro(right: Array, predicted: Array, true: Array) -> Array:
    size = predicted + true
    return _defined_mean(2 * right / size, axis=1)  # 0 / 0 is NaN


def _f1_binary(right: Array, predicted: Array, true: Array) -> Array:
    size = predicted[:, 1] + true[1]
    return np.where(size > 0, 2 * right[:, 1] / size, 0.0)


def _accuracy(right: Array, predicted: Array, true: Array) -> Array:
    return np.asarray(right.sum(1) / true.sum(0))


def _balanced_accuracy(right: Array, predicted: Array, true: Array) -> Array:
    return _defined_mean(right / true, axis=1)  # 0 / 0 is NaN


def _roc_area(positive: Array, scores: Array, unit: Array) -> Scorer:
    """Of one label: drawn negatives below each drawn positive, equals counting half."""
    order = np.argsort(scores, kind="stable")
    hits, misses = order[positive[order]], order[~positive[order]]
    below = np.searchsorted(scores[misses], scores[hits], "left")
    upto = np.searchsorted(scores[misses], scores[hits], "right")
    ties, dtype = bool((below != upto).any()), _sum_type(unit)
    hits, misses = unit[hits], unit[misses]

    def area(weights: Array) -> Array:
        found = _running(weights[misses], dtype)
        drawn = weights[hits].astype(dtype, copy=False)
        pairs = np.einsum("ib,ib->b", found[below], drawn).astype(np.float64)
        pairs += np.einsum("ib,ib->b", found[upto], drawn) if ties else pairs
        total = 2.0 * found[-1] * drawn.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total > 0, pairs / total, np.nan)

    return area


def _average_precision(positive: Array, scores: Array, unit: Array) -> Scorer:
    """Of one label: precision at each score that a positive has, by the positives there."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = -scores[order], positive[order]
    steps, first = np.unique(ranked[hit], return_index=True)
    ends = np.searchsorted(ranked, steps, "right")
    hits, order, dtype = unit[order[hit]], unit[order], _sum_type(unit)

    def area(weights: Array) -> Array:
        if not len(hits):
            return np.full(weights.shape[1], np.nan)
        passed = _running(weights[order], dtype)
        found = _running(weights[hits], dtype)[np.append(first, len(hits))]
        rise, found = np.diff(found, axis=0), found[1:]
        some = (found[-1] > 0) & (passed[-1] > found[-1])
        precision = found / np.maximum(passed[ends], 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(some, np.einsum("ib,ib->b", rise, precision) / found[-1], np.nan)

    return area


def _sum_type(unit: Array) -> type[np.signedinteger]:
    """int32, twice as fast, where no number of pairs overflows it."""
    most = (int(unit.max()) + 1) * int(np.bincount(unit).max())
    return np.int32 if most**2 // 4 < 2**31 else np.int64


def _running(weights: Array, dtype: type[np.signedinteger]) -> Array:
    """Sums of the first 0, 1, ... rows, (rows + 1, B)."""
    out = np.zeros((len(weights) + 1, weights.shape[1]), dtype)
    np.cumsum(weights, axis=0, out=out[1:])
    return out


def _moments(metric: str, y: Array, logits: Iterable[Array], unit: Array) -> Scorer:
    """By matrix product: sums of the centred values, their squares and products."""
    size, k = int(unit.max()) + 1, y.shape[1]
    a = y - y.mean(0)

    def sums(values: Array) -> Array:
        return np.stack([np.bincount(unit, values[:, j], size) for j in range(k)])

    columns = []
    for x in logits:
        b = x - x.mean(0)
        b[:, x.min(0) == x.max(0)] = 0  # a constant prediction, whose mean may have rounded
        columns += [sums((y - x) ** 2)] if metric == "r2" else [sums(b), sums(b * b), sums(a * b)]
    matrix = np.concatenate([*columns, sums(a), sums(a * a), sums(np.ones_like(a))])
    each = 1 if metric == "r2" else 3

    def score(weights: Array) -> Array:
        out = (matrix @ weights.astype(np.float64)).reshape(-1, k, weights.shape[1])
        sum_a, square_a, n = out[-3:]
        runs = np.moveaxis(out[:-3].reshape(-1, each, k, weights.shape[1]), 1, 0)
        spread = square_a - sum_a**2 / n
        with np.errstate(divide="ignore", invalid="ignore"):
            if metric == "r2":
                values = np.where(_positive(spread, square_a), 1 - runs[0] / spread, np.nan)
            else:
                sum_b, square_b, product = runs
                rest = square_b - sum_b**2 / n
                defined = _positive(spread, square_a) & _positive(rest, square_b)
                r = (product - sum_a * sum_b / n) / np.sqrt(spread * rest)
                values = np.where(defined, np.clip(r, -1, 1), np.nan)
        return _defined_mean(values, axis=1)

    return score


def _mean_errors(metric: str, y: Array, logits: Iterable[Array], unit: Array) -> Scorer:
    """By matrix product: the errors of each unit, of each output where there are several."""
    size = int(unit.max()) + 1
    each = [_errors(metric, y, x) for x in logits]
    columns = [np.bincount(unit, error, size) for errors in each for error in errors.T]
    matrix = np.stack([*columns, np.bincount(unit, minlength=size)])

    def score(weights: Array) -> Array:
        sums = matrix @ weights.astype(np.float64)
        means = (sums[:-1] / sums[-1]).reshape(len(each), -1, weights.shape[1])
        return np.asarray((np.sqrt(means) if metric == "rmse" else means).mean(1))

    return score


def _errors(metric: str, y: Array, logits: Array) -> Array:
    """Float64 (N, K), squared errors of the outputs; of classes (N, 1)."""
    return brier_of_each(y, logits)[:, None] if metric == "brier" else (y - logits) ** 2


def _positive(spread: Array, square: Array) -> Array:
    """Whether a sum of squares about the mean is more than the rounding of its terms."""
    return np.asarray(spread > 1e-12 * square)


def _rank_correlation(y: Array, runs: list[Array], unit: Array) -> Scorer:
    """Pearson's correlation of the ranks that the rows have in a replicate, ties sharing theirs."""
    truth = [_ranks(column, unit) for column in y.T]
    scores = [[_ranks(column, unit) for column in x.T] for x in runs]

    def score(weights: Array) -> Array:
        w = weights[unit].astype(np.float64)
        a = [ranks(weights) for ranks in truth]
        spread = [np.einsum("ib,ib->b", w * x, x) for x in a]
        out = np.full((len(runs), len(truth), weights.shape[1]), np.nan)
        for i, run in enumerate(scores):
            for j, ranks in enumerate(run):
                b = ranks(weights)
                drawn = w * b
                norm = np.sqrt(spread[j] * np.einsum("ib,ib->b", drawn, b))
                np.divide(np.einsum("ib,ib->b", drawn, a[j]), norm, out=out[i, j], where=norm > 0)
        return _defined_mean(np.clip(out, -1, 1), axis=1)

    return score


def _ranks(values: Array, unit: Array) -> Scorer:
    """Twice the mid-rank of each row among the rows drawn, less their number plus one: mean 0."""
    order = np.argsort(values, kind="stable")
    below = np.searchsorted(values[order], values, "left")
    upto = np.searchsorted(values[order], values, "right")
    order = unit[order]

    def ranks(weights: Array) -> Array:
        passed = _running(weights[order], np.int64)
        return np.asarray(passed[below] + passed[upto] - passed[-1], np.float64)

    return ranks


def _defined_mean(values: Array, axis: int) -> Array:
    """Mean of the values that are no NaN, NaN where none is."""
    there = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(axis) / there.sum(axis))


def _defined_median(values: Array, axis: int) -> Array:
    """Median of the values that are no NaN, NaN where none is."""
    n, ranked = (~np.isnan(values)).sum(axis, keepdims=True), np.sort(values, axis)  # NaN last
    middle = [np.take_along_axis(ranked, at // 2, axis) for at in (n - 1, n)]
    return np.asarray(np.mean(middle, axis=0).squeeze(axis))


# formula, whether it needs right answers by class, and predictions of each class
_COUNTED: dict[str, tuple[Callable[[Array, Array, Array], Array], bool, bool]] = {
    "mcc": (_mcc, False, True), "f1_macro": (_f1_macro, True, True),
    "f1_binary": (_f1_binary, True, True), "accuracy": (_accuracy, False, False),
    "balanced_accuracy": (_balanced_accuracy, True, False),
}  # fmt: skip
_MOMENTS = ("pearson", "r2")
_ERRORS = ("rmse", "mse", "brier")
