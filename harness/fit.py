"""The training loop, all of it.

`fit` drives any learner epoch by epoch and keeps the checkpoint that the protocol names.
`NetLearner` is the learner made of a torch module. B batch, N examples, L tokens, K outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnabench.metrics import score
from dnabench.splits import Streams
from dnabench.tokenizers import TOKENIZERS, Encoded, longest_of
from dnabench.types import Array, Learner, Model, Protocol, Recipe, Sequences, Split, Task

Progress = Callable[[int, int], None]  # epochs done, epochs in all
BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
EVAL_TOKENS = 2**17  # tokens of an evaluation batch


@dataclass
class Fitted:
    """What training left behind. The learner itself holds the chosen checkpoint."""

    curve: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0  # from 1


def fit(
    learner: Learner,
    task: Task,
    protocol: Protocol,
    watch: Mapping[str, Split],
    patience: int = 0,
    progress: Progress = lambda done, total: None,
) -> Fitted:
    """Train `learner` in place and leave it at the checkpoint that the protocol names.

    Args:
        learner: see `types.Learner`.
        task: its primary metric chooses.
        protocol: names the criterion.
        watch: the splits that may be looked at after every epoch: "val", and "test" only when the
            protocol looks at test. What is not in here cannot be reached.
        patience: stop after that many epochs without a better criterion; 0 = never.
        progress: called after every epoch.

    Returns:
        The curve (loss and all metrics of the watched splits, per epoch) and the chosen epoch; the
        earliest of equals.

    Raises:
        ValueError: when the protocol chooses on a split that is not watched.
        FloatingPointError: when the training loss is not finite.
    """
    chooser = {"best-val": "val", "best-test": "test", "last": ""}[protocol.checkpoint]
    if chooser and chooser not in watch:
        raise ValueError(f"protocol {protocol.name} chooses on {chooser}, and there is none")
    predictors = {name: learner.predictor(split) for name, split in watch.items()}
    out, best, kept = Fitted(), -math.inf, None
    for epoch in range(1, learner.epochs + 1):
        row: dict[str, Any] = {"epoch": epoch, "loss": learner.train_epoch()}
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(
                f"the training loss is {row['loss']} after epoch {epoch}; lower the learning rate "
                "(--set lr=...) or look for extreme values in the model"
            )
        for name, predict in predictors.items():
            row[name] = score(watch[name].y, predict(), task_metrics(task))
        out.curve.append(row)
        progress(epoch, learner.epochs)
        if chooser and task.metric not in row[chooser]:
            raise ValueError(
                f"{task.metric} is undefined on {chooser}, so no epoch can be chosen by it: a "
                "class is missing there; choose another metric or add examples"
            )
        criterion = row[chooser][task.metric] if chooser else epoch
        if criterion > best:
            best, out.best_epoch, kept = criterion, epoch, learner.state() if chooser else None
        elif patience and epoch - out.best_epoch >= patience:
            break
    if kept is not None:
        learner.restore(kept)
    return out


def task_metrics(task: Task) -> tuple[str, ...]:
    """All metrics of a task, the primary one first."""
    from dnabench.metrics import metrics_for

    return (task.metric, *(m for m in metrics_for(task.kind) if m != task.metric))


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The learning rate of a step.

    Args:
        step: from 0.
        total: steps of the whole training.
        recipe: lr, schedule, warmup W (share of all steps), lr_floor.

    Returns:
        During warm-up 1e-6 + (lr - 1e-6) step / W. After it lr ("constant"), lr (total - step) /
        (total - W) ("linear"), or floor + (lr - floor) (1 + cos(pi step / total)) / 2 ("cosine",
        where the warm-up is not subtracted from the step).

    Source:
        MODELS.md 0.5: the schedule of the HyenaDNA, Caduceus and ConvNova configurations.
    """
    warm = recipe.warmup * total
    if step < warm:
        return 1e-6 + step * (recipe.lr - 1e-6) / warm
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "linear":
        return recipe.lr * (total - step) / (total - warm)
    floor = recipe.lr * recipe.lr_floor
    return floor + (recipe.lr - floor) * (1 + math.cos(math.pi * step / total)) / 2


class NetLearner:
    """A torch module, its data on the device, its optimiser.

    Args:
        net: `forward(ids (B, L), mask (B, L) or None) -> logits (B, K)`. It may have
            `param_groups(recipe)`, the optimiser's groups with a weight decay of their own.
        model: names the tokenizer.
        task: gives the length.
        train: the examples to learn from.
        recipe: every training number.
        seeds: `order` decides batches, dropout and strand flips.
        device: "cpu", "cuda", "cuda:1", ...
        micro_batch: examples that are in memory at once; 0 = the whole batch. Gradients add up to
            those of the whole batch. It is halved when memory runs out.

    Raises:
        ValueError: a micro-batch for a network with batch norm, whose numbers it would change.

    Accuracy:
        Another micro-batch rounds differently, and dropout zeroes other values.
    """

    def __init__(
        self, net: Any, model: Model, task: Task, train: Split, recipe: Recipe,
        seeds: Streams, device: str = "cpu", micro_batch: int = 0,
    ) -> None:  # fmt: skip
        self.net, self.recipe, self.device = net.to(device), recipe, device
        self.epochs, self.micro_batch = recipe.epochs, micro_batch or recipe.batch
        self.n_params = sum(p.numel() for p in net.parameters())
        self._whole_batches = any(isinstance(m, BATCH_NORMS) for m in net.modules())
        if self._whole_batches and self.micro_batch < recipe.batch:
            raise ValueError(
                f"{model.name} has batch norm, which must see all {recipe.batch} examples of a "
                f"batch at once; leave out --micro-batch {micro_batch} or make the batch as small"
            )
        self._tokenizer, self._length = TOKENIZERS[model.tokenizer], task.length
        strands = [train.seqs] if recipe.rc == "none" else _both_strands(train)
        self._data = [self._resident(s) for s in strands]
        self._y = torch.tensor(train.y, device=device)
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        groups = getattr(net, "param_groups", lambda recipe: net.parameters())(recipe)
        self._optimizer: torch.optim.Optimizer = kinds[recipe.optimizer](
            groups, lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self._order = np.random.default_rng(seeds.order)
        self._torch_seed, self._step = seeds.order, 0
        self._total = math.ceil(len(train.y) / recipe.batch) * recipe.epochs

    def train_epoch(self) -> float:
        """One pass over the training examples in a new random order; mean loss per example."""
        if not self._step:
            torch.manual_seed(self._torch_seed)
        self.net.train()
        order = self._order.permutation(len(self._y))
        flips = self._order.integers(0, len(self._data), len(order))
        loss = torch.zeros((), device=self.device)
        for start in range(0, len(order), self.recipe.batch):
            rows = order[start : start + self.recipe.batch]
            loss += self._train_step(rows, flips[rows]) * len(rows)
        return float(loss) / len(order)

    def predictor(self, split: Split) -> Callable[[], Array]:
        """Encode the split once; the function returned gives logits float32 (N, K) in its order."""
        strands = _both_strands(split) if self.recipe.rc == "conjoin" else [split.seqs]
        data = [self._resident(s) for s in strands]

        def predict() -> Array:
            self.net.eval()
            logits = np.stack([self._predict(d) for d in data])
            return np.asarray(logits.mean(0), np.float32)

        return predict

    def state(self) -> Any:
        """A copy of weights and buffers."""
        return copy.deepcopy(self.net.state_dict())

    def restore(self, state: Any) -> None:
        """Load such a copy."""
        self.net.load_state_dict(state)

    def _resident(self, seqs: Sequences) -> _Resident:
        encoded = self._tokenizer(seqs, self._length, self.recipe.padding)
        return _Resident(encoded, self.device)

    def _train_step(self, rows: Array, flips: Array) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, self._total, self.recipe)
        loss = self._gradients(rows, flips)
        if self.recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self._optimizer.step()
        self._step += 1
        return loss

    def _gradients(self, rows: Array, flips: Array) -> Tensor:
        """Fill .grad for the batch; halve the micro-batch when memory runs out."""
        while True:
            try:
                self._optimizer.zero_grad()
                loss = torch.zeros((), device=self.device)
                for start in range(0, len(rows), self.micro_batch):
                    part = slice(start, start + self.micro_batch)
                    share = len(rows[part]) / len(rows)
                    one = self._loss(rows[part], flips[part]) * share
                    one.backward()  # type: ignore[no-untyped-call]
                    loss += one.detach()
                return loss
            except torch.OutOfMemoryError:
                if self.micro_batch == 1 or self._whole_batches:
                    raise
                self.micro_batch = math.ceil(min(self.micro_batch, len(rows)) / 2)

    def _loss(self, rows: Array, flips: Array) -> Tensor:
        ids, mask = self._data[0].batch(rows)
        if len(self._data) > 1:
            other, _ = self._data[1].batch(rows)
            flip = torch.from_numpy(flips).to(self.device).bool()
            ids = torch.where(flip[:, None], other, ids)
        target = self._y[torch.from_numpy(rows).to(self.device)]
        return F.cross_entropy(self._forward(ids, mask), target)

    def _forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=bf16):
            return self.net(ids, mask).float()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _predict(self, data: _Resident) -> Array:
        out: Tensor | None = None
        for rows in data.eval_batches():
            logits = self._forward(*data.batch(rows))
            if out is None:
                out = torch.empty(len(data), logits.shape[1], device=self.device)
            out[torch.from_numpy(rows).to(self.device)] = logits
        assert out is not None  # a split is never empty
        return out.cpu().numpy()


class _Resident:
    """Encoded sequences on the device; a batch is an index look-up."""

    def __init__(self, encoded: Encoded, device: str) -> None:
        self._ids = torch.from_numpy(encoded.ids).to(device)
        self._lengths = encoded.lengths
        self._device_lengths = (
            None if encoded.lengths is None else torch.from_numpy(encoded.lengths).to(device)
        )

    def __len__(self) -> int:
        return len(self._ids)

    def batch(self, rows: Array) -> tuple[Tensor, Tensor | None]:
        """(ids (B, L), mask float32 (B, L) or None), cut to the longest of these rows."""
        index = torch.from_numpy(rows).to(self._ids.device)
        width = longest_of(self._lengths, rows, self._ids.shape[1])
        ids = self._ids[index, :width]
        if self._device_lengths is None:
            return ids, None
        columns = torch.arange(width, device=ids.device)
        return ids, (columns < self._device_lengths[index][:, None]).float()

    def eval_batches(self) -> Iterator[Array]:
        """All rows, those of like length together, about EVAL_TOKENS tokens at a time."""
        n, width = self._ids.shape
        order = np.arange(n)
        if self._lengths is not None:
            order = np.argsort(self._lengths, kind="stable")
        size = max(1, EVAL_TOKENS // max(width, 1))
        yield from (order[i : i + size] for i in range(0, n, size))


def _both_strands(split: Split) -> list[Sequences]:
    return [split.seqs, split.seqs.reverse_complement()]
