"""The training loop, all of it.

`fit` drives any learner epoch by epoch and keeps the checkpoint that the protocol names.
`NetLearner` is the learner made of a torch module. B batch, N examples, L tokens, K outputs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnabench.metrics import score
from dnabench.models.kernels.context import Kernels
from dnabench.splits import Streams
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.train import losses
from dnabench.train.adapt import adapted, linear_head
from dnabench.train.batches import Batch, Features, Resident, for_all, on_device, per_base, ran_out
from dnabench.train.compiled import Runner, keep_artefacts, why_not
from dnabench.train.frozen import Frozen
from dnabench.train.pool import Pool
from dnabench.train.precision import Arithmetic, check_precision
from dnabench.train.schedule import learning_rate
from dnabench.train.strands import opposite_labels, opposite_logits
from dnabench.types import Array, Learner, Model, Progress, Protocol, Recipe, Sequences, Split, Task

CHOOSES_ON = {"best-val": "val", "least-val-loss": "val", "best-test": "test", "last": ""}
BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


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
        The curve (loss and all metrics of the watched splits, per epoch; `val_loss` too, where
        the protocol chooses by it) and the chosen epoch; the earliest of equals.

    Raises:
        ValueError: when the protocol chooses on a split that is not watched.
        FloatingPointError: when the training loss is not finite.
    """
    by_loss = protocol.checkpoint == "least-val-loss"
    chooser = CHOOSES_ON[protocol.checkpoint]
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
            logits = predict()
            row[name] = scores_of(task, watch[name].y, logits)
            if by_loss and name == chooser:
                row["val_loss"] = loss_of(task, watch[name].y, logits)
        out.curve.append(row)
        progress(epoch, learner.epochs)
        if chooser and not by_loss and task.metric not in row[chooser]:
            raise ValueError(
                f"{task.metric} is undefined on {chooser}, so no epoch can be chosen by it: a "
                "class is missing there; choose another metric or add examples"
            )
        criterion = -row["val_loss"] if by_loss else row[chooser][task.metric] if chooser else epoch
        if criterion > best:
            best, out.best_epoch, kept = criterion, epoch, learner.state() if chooser else None
        elif patience and epoch - out.best_epoch >= patience:
            break
    if kept is not None:
        learner.restore(kept)
    return out


def scores_of(task: Task, y: Array, logits: Array) -> dict[str, float]:
    """Every metric of the task, over all examples, or all bases, at once."""
    return score(*losses.flat(task.kind, y, logits), task_metrics(task))


def loss_of(task: Task, y: Array, logits: Array) -> float:
    """Mean loss of the task, over all examples, or all bases, at once; in float64."""
    y, logits = losses.flat(task.kind, y, logits)
    kind = "multiclass" if task.kind == "per_base" else task.kind  # one row a base by now
    target = losses.target(kind, y)
    target = target.double() if target.is_floating_point() else target
    total = losses.loss(kind, torch.tensor(logits, dtype=torch.float64), target)
    return float(total) / losses.weight(kind, y)


def task_metrics(task: Task) -> tuple[str, ...]:
    """All metrics of a task, the primary one first."""
    from dnabench.metrics import metrics_for

    return (task.metric, *(m for m in metrics_for(task.kind) if m != task.metric))


class NetLearner:
    """A torch module, its data on the device, its optimiser.

    Args:
        net: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, per base (B, T, K). It may
            have `param_groups(recipe)`, the optimiser's groups with a weight decay of their own.
        model: what it is called, and what LoRA may change.
        task: gives the length and the kind.
        train: the examples to learn from.
        recipe: every training number.
        seeds: `order` decides batches, dropout and strand flips.
        device: "cpu", "cuda", "cuda:1", ...
        micro_batch: examples that are in memory at once; 0 = the whole batch. Gradients add up to
            those of the whole batch. It is halved when memory runs out.
        tokenizer: turns sequences into ids; None = the model's own.
        compiling: "auto" = training steps run compiled where `compiled.why_not` has no objection.
        pool: the sequences of which train's are some; a probe's features are computed for all of
            them, and so do not depend on the cut. None = those of train.
        keep: what decides a probe's features beside weights and sequences; they are then kept on
            disk, see `Frozen`. "" = they are not.
        kernels: the trial's; None = one of its own.

    Raises:
        ValueError: a micro-batch for a network with batch norm, whose numbers it would change;
            sequences of more tokens than the model can read; a precision that the device lacks.

    Accuracy:
        Another micro-batch rounds differently, and dropout zeroes other values.
    """

    def __init__(
        self, net: Any, model: Model, task: Task, train: Split, recipe: Recipe,
        seeds: Streams, device: str = "cpu", micro_batch: int = 0,
        tokenizer: Tokenizer | None = None, compiling: str = "off", pool: Pool | None = None,
        keep: str = "", kernels: Kernels | None = None,
    ) -> None:  # fmt: skip
        check_precision(recipe.precision, device)
        self.net, self.recipe, self.device = adapted(net, model, recipe).to(device), recipe, device
        self.epochs, self.micro_batch = recipe.epochs, micro_batch or recipe.batch
        self.eval_batch = 0  # examples; 0 = as many as `Resident.eval_batches` gives
        self._arithmetic, self.kernels = Arithmetic(recipe.precision, device), kernels or Kernels()
        self._arithmetic.guard(self.net)
        self._model, self._task = model, task
        self._tokenizer = tokenizer or TOKENIZERS[model.tokenizer]
        self._whole_batches = any(isinstance(m, BATCH_NORMS) for m in net.modules())
        if self._whole_batches and self.micro_batch < recipe.batch:
            raise ValueError(
                f"{model.name} has batch norm, which must see all {recipe.batch} examples of a "
                f"batch at once; leave out --micro-batch {micro_batch} or make the batch as small"
            )
        self.frozen = self._new_frozen(train, pool, keep) if recipe.finetune == "probe" else None
        self._data = self._read(train, both=recipe.rc != "none")
        if isinstance(self._data, Features):
            self.net.head = linear_head(self.net.head, self._data.width, task).to(device)
        self.n_params = sum(p.numel() for p in self.net.parameters())
        self.n_learned = sum(p.numel() for p in self.net.parameters() if p.requires_grad)
        self._labels, both = train.y, self._both_strands(train)
        self._y = losses.target(task.kind, both).to(device)
        self._optimizer = self._new_optimizer()
        self._order = np.random.default_rng(seeds.order)
        self._torch_seed, self._step = seeds.order, 0
        self._total = math.ceil(len(train.y) / recipe.batch) * recipe.epochs
        self._runner, self._compiling = Runner(self.net, recipe.precision), compiling
        if compiling == "auto" and device != "cpu":
            keep_artefacts()

    @property
    def notes(self) -> dict[str, Any]:
        """What a record must say of how the numbers came about, beside its own fields."""
        notes = {
            "skipped_steps": self._arithmetic.skipped, "compile": self._runner.said,
            "float32_layers": self._arithmetic.float32_layers,
            "eval_batch": self.eval_batch or (self.frozen.eval_batch if self.frozen else 0),
        }  # fmt: skip
        return {name: value for name, value in notes.items() if value}

    def _both_strands(self, train: Split) -> Array:
        """Labels of all rows of the data: per base, the other strand has its own."""
        if self._task.kind != "per_base" or self._data.strands == 1:
            return train.y
        turned = opposite_labels(train.y, train.seqs.lengths, self._task.opposite)
        return np.concatenate([train.y, turned])

    def train_epoch(self) -> float:
        """One pass over the training examples in a new random order; mean loss per example."""
        if not self._step:
            torch.manual_seed(self._torch_seed)
        self.net.train()
        order = self._order.permutation(len(self._labels))
        flips = self._order.integers(0, self._data.strands, len(order))
        loss = torch.zeros((), device=self.device)
        with self.kernels, self._arithmetic.products():
            for start in range(0, len(order), self.recipe.batch):
                rows = order[start : start + self.recipe.batch]
                loss += self._train_step(rows, flips[rows]) * len(rows)
        return float(loss) / len(order)

    def predictor(self, split: Split) -> Callable[[], Array]:
        """Encode the split once; the function returned gives logits float32 (N, K) in its order.

        Per base (N, L, K), zeros beyond a sequence's end.
        """
        data = self._read(split, both=self.recipe.rc == "conjoin")
        length = split.y.shape[-1]

        def predict() -> Array:
            self.net.eval()
            with self.kernels, self._arithmetic.products():
                logits = [self._predict(data, strand, length) for strand in range(data.strands)]
            if self._task.kind == "per_base" and data.strands == 2:
                lengths = split.seqs.lengths
                logits[1] = opposite_logits(logits[1], lengths, self._task.opposite)
            return np.asarray(np.stack(logits).mean(0), np.float32)

        return predict

    def state(self) -> Any:
        """A copy of what learns, and of the buffers."""
        frozen = {k for k, p in self.net.named_parameters() if not p.requires_grad}
        return copy.deepcopy({k: v for k, v in self.net.state_dict().items() if k not in frozen})

    def restore(self, state: Any) -> None:
        """Load such a copy."""
        self.net.load_state_dict(state, strict=self.recipe.finetune == "full")

    def _new_optimizer(self) -> torch.optim.Optimizer:
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        groups = [p for p in self.net.parameters() if p.requires_grad]
        if self.recipe.finetune == "full" and hasattr(self.net, "param_groups"):
            groups = self.net.param_groups(self.recipe)
        optimizer: torch.optim.Optimizer = kinds[self.recipe.optimizer](
            groups, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay
        )
        return optimizer

    def _read(self, split: Split, both: bool) -> Resident | Features:
        strands = self._strands(split, both)
        return self.frozen(strands) if self.frozen else self._resident(strands)

    def _new_frozen(self, train: Split, pool: Pool | None, keep: str) -> Frozen:
        return Frozen(
            self.net, self._task, self._arithmetic, lambda seqs: self._resident([seqs]),
            pool or Pool([train.seqs], both=self.recipe.rc != "none"),
            f"{keep} {self.recipe.padding}" if keep else "", self.kernels,
        )  # fmt: skip

    @staticmethod
    def _strands(split: Split, both: bool) -> list[Sequences]:
        return [split.seqs, split.seqs.reverse_complement()] if both else [split.seqs]

    def _resident(self, strands: list[Sequences]) -> Resident:
        encoded = [self._tokenizer(s, self._task.length, self.recipe.padding) for s in strands]
        self._check_tokens(max(e.ids.shape[1] for e in encoded))
        return Resident(
            encoded, self.device, self._tokenizer.pad, widths=self._task.kind == "per_base"
        )

    def _check_tokens(self, n: int) -> None:
        if self._model.max_tokens and n > self._model.max_tokens:
            raise ValueError(
                f"{self._model.name} reads {self._model.max_tokens} tokens at most; a sequence of "
                f"{self._task.name} has {n}: leave out one of the two"
            )

    def _train_step(self, rows: Array, flips: Array) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, self._total, self.recipe)
        loss = self._gradients(rows, flips)
        self._arithmetic.step(self._optimizer, self.net, self.recipe.clip)
        self._step += 1
        if self._step == 1 and self._compiling == "auto":
            self._compile(rows, flips)
        return loss

    def _gradients(self, rows: Array, flips: Array) -> Tensor:
        """Fill .grad for the batch; halve the micro-batch when memory runs out."""
        whole = losses.weight(self._task.kind, self._labels[rows])
        while True:
            try:
                self._optimizer.zero_grad(set_to_none=not self._runner.on)
                loss = torch.zeros((), device=self.device)
                for start in range(0, len(rows), self.micro_batch):
                    part = slice(start, start + self.micro_batch)
                    one = self._loss(rows[part], flips[part]) / whole
                    self._arithmetic.backward(one)
                    loss += one.detach()
                return loss
            except RuntimeError as e:
                if self.micro_batch == 1 or self._whole_batches or not ran_out(e):
                    raise
                self.micro_batch = math.ceil(min(self.micro_batch, len(rows)) / 2)
                if self._runner.on:
                    self._runner.stop("memory ran out, the micro-batch was halved")

    def _compile(self, rows: Array, flips: Array) -> None:
        """Run the steps to come compiled, if that pays and changes nothing."""
        if self.device == "cpu" or not isinstance(self._data, Resident):
            return
        if why := why_not(self.device, self._total, self._data.fullness):
            self._runner.stop(why)
            return
        part = slice(0, self.micro_batch)
        whole = losses.weight(self._task.kind, self._labels[rows])

        def step() -> Tensor:
            one = self._loss(rows[part], flips[part]) / whole
            one.backward()  # type: ignore[no-untyped-call]
            return one

        self._data.whole = True
        self._runner.compile(step)
        self._data.whole = self._runner.on

    def _loss(self, rows: Array, flips: Array) -> Tensor:
        batch = self._data.batch(rows + flips * self._data.n)
        own = rows + flips * self._data.n if len(self._y) > len(self._labels) else rows
        labels = self._y[on_device(own, self._y.device)]
        logits = self._forward(batch)
        if self._task.kind == "per_base":
            logits = per_base(logits, batch, labels.shape[1])
        return losses.loss(self._task.kind, logits, labels)

    def _forward(self, batch: Batch) -> Tensor:
        with self._arithmetic.forward():
            if self.recipe.finetune == "probe":
                return self.net.head(batch.ids).float()  # type: ignore[no-any-return]
            return self._runner(batch.ids, batch.mask).float()

    @torch.inference_mode()
    def _predict(self, data: Resident | Features, strand: int, length: int) -> Array:
        out: Tensor | None = None

        def call(rows: Array) -> None:
            nonlocal out
            batch = data.batch(rows)
            logits = self._forward(batch)
            if self._task.kind == "per_base":
                logits = per_base(logits, batch, length)
            if out is None:
                out = torch.empty(data.n, *logits.shape[1:], device=self.device)
            out[on_device(rows - strand * data.n, out.device)] = logits

        self.eval_batch = for_all(data.eval_batches(strand), self.eval_batch, call)
        assert out is not None  # a split is never empty
        return out.cpu().numpy()
