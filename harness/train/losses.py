"""From the logits of each kind of task to its loss, and to the rows that are scored.

Logits are float (N, K) of N examples and K task outputs, per base (N, L, K) with L in bp; labels y
as in `Split.y`.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnabench.types import IGNORED, Array, Kind


def loss(kind: Kind, logits: Tensor, target: Tensor) -> Tensor:
    """Sum over the examples, to be divided by `weight`.

    Cross-entropy of classes and of bases that are not IGNORED, binary cross-entropy of labels (mean
    over the K labels), squared error of regression (mean over the K outputs).
    """
    if kind == "multilabel":
        target = target.to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return each.mean(1).sum()
    if kind == "regression":
        return F.mse_loss(logits, target, reduction="none").mean(1).sum()
    if kind == "per_base":
        logits, target = logits.flatten(0, 1), target.flatten().long()
    return F.cross_entropy(logits, target, reduction="sum", ignore_index=IGNORED)


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
