"""What a network learns from sequences. The learner and the loop know nothing else of a task.

N examples, B batch, T tokens, L bp, K outputs of the network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.metrics import METRICS, recorded, score
from dnabench.train import losses
from dnabench.train.batches import Batch, Data, per_base
from dnabench.train.rows import Rows, Values
from dnabench.train.strands import opposite_labels, opposite_logits
from dnabench.types import Array, Recipe, Split, Task


class Target(NamedTuple):
    """What a batch should be answered with, and what its summed loss is divided by."""

    values: Tensor  # (B, ...), on the device of the data
    weight: float | Tensor


Targets = Callable[[Rows], Target]  # from rows of the data


class Objective(ABC):
    """Targets, loss, predictions and metrics of one way to learn."""

    metric: str  # key of `scores` that chooses a checkpoint
    sign: int = 1  # -1 where a lower score is the better one
    n_outputs: int  # K
    notes: Mapping[str, Any] = MappingProxyType({})  # what a record must say of it
    per_base: bool = False  # whether batches say how many bp each token stands for

    @abstractmethod
    def targets(self, split: Split, data: Data, rng: np.random.Generator) -> Targets:
        """Prepare to learn from a split; `data` are its examples, encoded.

        The function gives the targets of some rows of the data, and is called once for each step.
        `rng` is for what is drawn, e.g. masks.
        """

    def inputs(self, batch: Batch, target: Tensor) -> Batch:
        """What the network is given in training: the batch, with its part of the targets."""
        return batch._replace(target=target)

    @abstractmethod
    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The summed loss of a batch; the learner divides it by the weight of the whole batch."""

    def questions(self, split: Split, data: Data) -> Callable[[Rows], Batch]:
        """What the network is given to predict rows of a split: their sequences as they are."""
        return data.batch

    def answers(self, logits: Tensor, batch: Batch) -> Tensor:
        """What is kept of the logits of such a batch: (B, ...), alike for every batch."""
        return logits

    def predictions(self, split: Split, strands: Sequence[Array]) -> Array:
        """The answers (N, ...) for each strand as one prediction: float32, their mean."""
        return np.asarray(np.stack(strands).mean(0), np.float32)

    @abstractmethod
    def scores(self, split: Split, predictions: Array) -> dict[str, float]:
        """Every metric, over all examples at once."""

    @abstractmethod
    def mean_loss(self, split: Split, predictions: Array) -> float:
        """The loss over all examples at once, in float64."""


class Supervised(Objective):
    """Learn the labels of a task. Predictions are logits (N, K), per base (N, L, K).

    Args:
        task: of any kind. Per base, predictions are zero beyond a sequence's end.
        weights: of classes or labels in the loss, as `losses.balanced` gives them; None = all 1.
        of_bases: whether the network answers each base where its tokens are words, too, as with
            `Recipe.head` "conv"; per base, others answer each token.
    """

    def __init__(self, task: Task, weights: Array | None = None, of_bases: bool = False) -> None:
        self._of_bases = of_bases
        self._weights = None if weights is None else torch.tensor(weights)
        self.notes = {} if weights is None else {"class_weights": weights.tolist()}
        self.task, self.metric, self.n_outputs = task, task.metric, task.n_outputs
        self.per_base = task.kind == "per_base"
        self.metrics, self.sign = recorded(task.kind, task.metric), METRICS[task.metric].sign

    def targets(self, split: Split, data: Data, rng: np.random.Generator) -> Targets:
        """The labels; per base, the other strand has its own."""
        kind, n, rows_of_y = self.task.kind, data.n, split.y
        both = self.per_base and data.strands == 2
        if both:
            other = opposite_labels(split.y, split.seqs.lengths, self.task.opposite)
            rows_of_y = np.concatenate([split.y, other])
        y = Values(losses.target(kind, rows_of_y), data.device)

        def labels(rows: Rows) -> Target:
            examples = rows if data.strands == 1 else rows.map(lambda r: r % n)
            values = y.take(rows if both else examples)
            return Target(values, losses.weight(kind, split.y[examples.host]))

        return labels

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """See `losses.loss`."""
        assert batch.target is not None  # `inputs` put it there
        if self.per_base:
            logits = self._each_base(logits, batch, batch.target.shape[1])
        return losses.loss(self.task.kind, logits, batch.target, self._weights_on(logits.device))

    def answers(self, logits: Tensor, batch: Batch) -> Tensor:
        """The logits, per base (B, L, K) with L of the task."""
        return self._each_base(logits, batch, self.task.length) if self.per_base else logits

    def _each_base(self, logits: Tensor, batch: Batch, length: int) -> Tensor:
        """Logits (B, length, K), zero beyond a sequence's end where the network answers tokens."""
        if self._of_bases and batch.widths is not None:
            return logits[:, :length]  # of `Predictor`, as long as the task's longest
        return per_base(logits, batch, length)

    def predictions(self, split: Split, strands: Sequence[Array]) -> Array:
        """The mean of both strands; per base, the second is read from its end."""
        strands = list(strands)
        if self.per_base:
            strands = [logits[:, : split.y.shape[1]] for logits in strands]
            for i, logits in enumerate(strands[1:], 1):
                strands[i] = opposite_logits(logits, split.seqs.lengths, self.task.opposite)
        return super().predictions(split, strands)

    def scores(self, split: Split, predictions: Array) -> dict[str, float]:
        """Every metric of the task, the primary one first."""
        return score(*losses.flat(self.task.kind, split.y, predictions), self.metrics)

    def mean_loss(self, split: Split, predictions: Array) -> float:
        """The mean over all examples, or all bases that count."""
        y, logits = losses.flat(self.task.kind, split.y, predictions)
        kind = "multiclass" if self.per_base else self.task.kind  # by now one row a base
        target = losses.target(kind, y)
        target = target.double() if target.is_floating_point() else target
        weights = self._weights_on(target.device)
        total = losses.loss(kind, torch.tensor(logits, dtype=torch.float64), target, weights)
        return float(total) / losses.weight(kind, y)

    def _weights_on(self, device: torch.device) -> Tensor | None:
        if self._weights is not None:
            self._weights = self._weights.to(device)
        return self._weights


def supervised(task: Task, recipe: Recipe, train: Split) -> Supervised:
    """The objective of a trial; classes are weighed by their frequency in `train` alone."""
    of_bases, weights = recipe.head == "conv", None
    if recipe.class_weight != "none":
        weights = losses.balanced(task.kind, train.y, task.n_outputs)
    return Supervised(task, weights, of_bases)
