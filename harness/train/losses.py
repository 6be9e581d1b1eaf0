"""From the logits of each kind of task to its loss, and to the rows that are scored.

Logits are float (N, K) of N examples and K task outputs, per base (N, L, K) with L in bp; labels y
as in `Split.y`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnabench.types import IGNORED, Array, Kind


def loss(kind: Kind, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sum over the examples, to be divided by `weight`.

    Cross-entropy of classes and of bases that are not IGNORED, binary cross-entropy of labels (mean
    over the K labels), squared error of regression (mean over the K outputs). `weights` are those
    of `balanced`; they average to 1 over the training examples.
    """
    if weights is not None:
        weights = weights.to(logits.dtype)
    if kind == "multilabel":
        target = target.to(logits.dtype)
        of_each = None if weights is None else torch.where(target > 0, weights[1], weights[0])
        each = F.binary_cross_entropy_with_logits(logits, target, of_each, reduction="none")
        return each.mean(1).sum()
    if kind == "regression":
        return F.mse_loss(logits, target, reduction="none").mean(1).sum()
    if kind == "per_base":
        logits, target = logits.flatten(0, 1), target.flatten().long()
    return F.cross_entropy(logits, target, weights, reduction="sum", ignore_index=IGNORED)


def balanced(kind: Kind, y: Array, k: int) -> Array:
    """Weights under which every class counts alike: N over (classes x examples of the class).

    Args:
        kind: of the task, not a regression.
        y: labels of train, as in `Split.y`.
        k: outputs.

    Returns:
        float32 (K,); of labels (2, K), of those that an example lacks and of those that it has. 1
        for a class without examples, which does not count among the classes.

    Source: scikit-learn compute_class_weight("balanced").
    """
    if kind == "multilabel":
        counts = np.stack([(y == value).sum(0) for value in (0, 1)])
    else:
        counts = np.bincount(y[y != IGNORED], minlength=k)
    there = counts > 0
    weights = counts.sum(0) / (there.sum(0) * np.maximum(counts, 1))
    return np.asarray(np.where(there, weights, 1), np.float32)


def target(kind: Kind, y: Array) -> Tensor:
    """Labels as kept on the device: int64 (N,), uint8 or float32 (N, K), int8 (N, L)."""
    return torch.tensor(y, dtype=torch.float32 if kind == "regression" else None)


def weight(kind: Kind, target: Array) -> int:
    """What a batch counts: its examples, or its bases that are not ignored (at least 1)."""
    return max(1, int((target != IGNORED).sum())) if kind == "per_base" else len(target)


def flat(kind: Kind, y: Array, logits: Array) -> tuple[Array, Array]:
    """Labels and logits (rows, K) for the metrics; per base, every base that counts is one row."""
    if kind != "per_base":
        return y, logits
    counts = y != IGNORED
    return np.asarray(y[counts], np.int64), logits[:, : y.shape[1]][counts]
