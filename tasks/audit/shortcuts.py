"""Scores of models that see only the length, the GC content, the share of N or short words.

Each is fitted on train and scored on test with the task's metric. N examples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dnabench.metrics import METRICS
from dnabench.tasks.audit.kmers import chunks, words
from dnabench.types import Array, C, G, Sequences, Split, Task
from dnabench.types import N as UNKNOWN

BINS = 32  # of a scalar feature, fewer if it has fewer values
FIT_ROWS = 100_000  # of train, evenly spaced, for the words
WORDS = (1, 2, 3)  # bp


def shortcuts(task: Task, train: Split, test: Split) -> dict[str, float | None]:
    """Score trivial predictors.

    Args:
        task: binary or multiclass; nothing is scored for other kinds.
        train: to fit on.
        test: to score on.

    Returns:
        majority: always the most frequent class of train. length, gc, n: the class shares of train
        in up to 32 bins of that number, with equally many training sequences each. words: logistic
        regression on the shares of the 84 words of 1, 2 and 3 bp. None where the metric is
        undefined. Empty for other kinds of task, and where train has a single class.

    Accuracy:
        Lower bounds: another model of the same feature may score higher.

    Source: scikit-learn LogisticRegression for the words; the rest ours.
    """
    if task.kind not in ("binary", "multiclass") or len(np.unique(train.y)) < 2:
        return {}
    k = task.n_outputs
    counts = np.bincount(train.y, minlength=k)
    logits = {"majority": np.tile(counts.astype(np.float64), (len(test.y), 1))}
    features = numbers(test.seqs)
    for name, values in numbers(train.seqs).items():
        logits[name] = binned(values, train.y, features[name], k)
    logits["words"] = _words(train, test, k)
    measure = METRICS[task.metric].function
    scores = {name: float(measure(test.y, z)) for name, z in logits.items()}
    return {name: None if math.isnan(score) else score for name, score in scores.items()}


def numbers(seqs: Sequences) -> Mapping[str, Array]:
    """Length in bp, share of G and C among the known bases, share of N: float64 (N,) each."""
    lengths = seqs.lengths.astype(np.float64)
    gc, unknown = (_share(seqs, letters) for letters in ((C, G), (UNKNOWN,)))
    return {
        "length": lengths,
        "gc": gc / np.maximum(lengths - unknown, 1),
        "n": unknown / np.maximum(lengths, 1),
    }


def _share(seqs: Sequences, letters: tuple[int, ...]) -> Array:
    wanted = np.zeros(256, bool)
    wanted[list(letters)] = True
    out = np.zeros(len(seqs))
    for start, end in chunks(seqs):
        offsets = seqs.offsets[start : end + 1] - seqs.offsets[start]
        codes = seqs.codes[seqs.offsets[start] : seqs.offsets[end]]
        seen = np.concatenate([[0], np.cumsum(wanted[codes])])
        out[start:end] = np.diff(seen[offsets])
    return out


def binned(train: Array, y: Array, test: Array, k: int) -> Array:
    """Class shares of train in the bin of each test value, smoothed by one example in all.

    Args:
        train: float (N,).
        y: int64 (N,), classes 0..k-1.
        test: float (M,).
        k: number of classes.

    Returns:
        float64 (M, k), their logarithms.
    """
    values = np.unique(train)
    if len(values) > BINS:
        edges = np.unique(np.quantile(train, np.arange(1, BINS) / BINS))
    else:
        edges = (values[1:] + values[:-1]) / 2
    at = np.searchsorted(edges, train, side="right")
    table = np.bincount(at * k + y, minlength=(len(edges) + 1) * k).reshape(-1, k)
    prior = np.bincount(y, minlength=k) / len(y)
    return np.log(table + prior + 1e-9)[np.searchsorted(edges, test, side="right")]


def word_shares(seqs: Sequences) -> Array:
    """Frequencies of the words of each length: float32 (N, 84), in base 4 with A=0 to T=3."""
    parts = []
    for k in WORDS:
        table = np.zeros((len(seqs), 4**k), np.float32)
        for found in words(seqs, k):
            first, last = int(found.row[0]), int(found.row[-1]) + 1
            cell = (found.row - first) * 4**k + found.forward.astype(np.int64)
            size = (last - first) * 4**k
            table[first:last] += np.bincount(cell, minlength=size).reshape(-1, 4**k)
        parts.append(table / np.maximum(table.sum(1, keepdims=True), 1))
    return np.concatenate(parts, axis=1)


def _words(train: Split, test: Split, k: int) -> Array:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    # the first example of each class is taken too, so that none is left out
    rows = np.unique(np.linspace(0, len(train.y) - 1, min(len(train.y), FIT_ROWS)).astype(np.int64))
    rows = np.union1d(rows, np.unique(train.y, return_index=True)[1])
    x = word_shares(train.seqs.take(rows))
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    fit = LogisticRegression(max_iter=1000, tol=1e-3).fit((x - mean) / spread, train.y[rows])
    found = np.asarray(fit.predict_log_proba((word_shares(test.seqs) - mean) / spread))
    out = np.full((len(test.y), k), np.log(1e-12))
    out[:, fit.classes_] = np.maximum(found, np.log(1e-12))
    return out
