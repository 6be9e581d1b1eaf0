"""A network that learns: its data, its objective, and the training step.

B batch, N examples, T tokens, K outputs.
"""

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.splits import Streams
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.train.adapt import adapted, linear_head
from dnabench.train.batches import Batch, Data, Features, Resident, ran_out
from dnabench.train.compiled import Runner, keep_artefacts, why_not
from dnabench.train.frozen import Frozen, built_by
from dnabench.train.objectives import Objective
from dnabench.train.pool import Pool
from dnabench.train.predictor import Predictor, Reading
from dnabench.train.schedule import learning_rate
from dnabench.types import ONE_CPU, Array, Model, Recipe, Resources, Split, Task

BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


class Examples(NamedTuple):
    """What a network learns from, and how sequences are encoded for it.

    pool: sequences that include those of `train`. The features of a probe are computed for all of
        them, so that they do not depend on the cut; None = those of `train`.
    features_key: identifies a probe's features, beside weights and sequences; they are then stored
        on disk, see `Frozen`. "" = they are not.
    """

    model: Model
    task: Task  # gives the name, and the length to encode for
    train: Split
    tokenizer: Tokenizer | None = None  # None = the model's own
    pool: Pool | None = None
    features_key: str = ""


class NetLearner(Predictor):
    """A torch module that learns an objective; a `types.Learner`.

    Args:
        net: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, or (B, T, K). It may have
            `param_groups(recipe)`, the optimiser's groups with their own weight decay.
        examples: what it learns from.
        objective: what it learns.
        seeds: `order` decides batches, strand flips, dropout and what the objective draws.
        resources: device, micro-batch and `compile`: with "auto", training steps run compiled
            unless `compiled.why_not` objects. The gradients of micro-batches add up to those of the
            whole batch; when memory runs out, the micro-batch is halved.
        kernels: of the trial; None = its own.

    Raises:
        ValueError: a micro-batch for a network with batch norm, whose numbers it would change;
            sequences of more tokens than the model can read; a precision that the device lacks.

    Accuracy:
        With another micro-batch sums round differently, and dropout zeroes other values.
    """

    def __init__(
        self, net: Any, examples: Examples, objective: Objective, recipe: Recipe, seeds: Streams,
        resources: Resources = ONE_CPU, kernels: Kernels | None = None,
    ) -> None:  # fmt: skip
        reading = Reading(examples.model, examples.task, examples.tokenizer)
        net, device = adapted(net, examples.model, recipe), resources.device
        super().__init__(net, reading, objective, recipe, device, kernels)
        self.epochs, self.micro_batch = recipe.epochs, resources.micro_batch or recipe.batch
        self._examples = examples
        self._whole_batches = any(isinstance(m, BATCH_NORMS) for m in net.modules())
        if self._whole_batches and self.micro_batch < recipe.batch:
            raise ValueError(
                f"{examples.model.name} has batch norm, which must see all {recipe.batch} examples "
                f"of a batch at once; omit --micro-batch {resources.micro_batch} or set a smaller "
                "batch"
            )
        self.frozen = self._new_frozen() if recipe.finetune == "probe" else None
        self._data = self._read(examples.train, both=recipe.rc != "none")
        if isinstance(self._data, Features):
            head = linear_head(self.net.head, self._data.width, objective.n_outputs)
            self.net.head = head.to(device)
        self.n_params = sum(p.numel() for p in self.net.parameters())
        self.n_learned = sum(p.numel() for p in self.net.parameters() if p.requires_grad)
        draws = np.random.default_rng([seeds.order, 1])
        self._targets = objective.targets(examples.train, self._data, draws)
        self._optimizer = self._new_optimizer()
        self._order = np.random.default_rng(seeds.order)
        self._torch_seed, self._step = seeds.order, 0
        self._total = math.ceil(self._data.n / recipe.batch) * recipe.epochs
        self._runner, self._compiling = Runner(self.net, recipe.precision), resources.compile
        if self._compiling == "auto" and device != "cpu":
            keep_artefacts()

    @property
    def notes(self) -> dict[str, Any]:
        """What a record must say about how the numbers came about."""
        notes = {
            "skipped_steps": self._arithmetic.skipped, "compile": self._runner.said,
            "float32_layers": self._arithmetic.float32_layers,
            "eval_batch": self.eval_batch or (self.frozen.eval_batch if self.frozen else 0),
        }  # fmt: skip
        return {name: value for name, value in notes.items() if value}

    def train_epoch(self) -> float:
        """One pass over the training examples in a new random order; mean loss per example."""
        if not self._step:
            torch.manual_seed(self._torch_seed)
        self.net.train()
        order = self._order.permutation(self._data.n)
        flips = self._order.integers(0, self._data.strands, len(order))
        loss = torch.zeros((), device=self.device)
        with self.kernels, self._arithmetic.products():
            for start in range(0, len(order), self.recipe.batch):
                rows = order[start : start + self.recipe.batch]
                loss += self._train_step(rows + flips[rows] * self._data.n) * len(rows)
        return float(loss) / len(order)

    def state(self) -> Any:
        """A copy of what learns, and of the buffers."""
        frozen = {k for k, p in self.net.named_parameters() if not p.requires_grad}
        return copy.deepcopy({k: v for k, v in self.net.state_dict().items() if k not in frozen})

    def restore(self, state: Any) -> None:
        """Load such a copy."""
        self.net.load_state_dict(state, strict=self.recipe.finetune == "full")

    def _new_optimizer(self) -> torch.optim.Optimizer:
        recipe, groups = self.recipe, [p for p in self.net.parameters() if p.requires_grad]
        if recipe.finetune == "full" and hasattr(self.net, "param_groups"):
            groups = self.net.param_groups(recipe)
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
        made: torch.optim.Optimizer = kind(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
        return made

    def _new_frozen(self) -> Frozen:
        examples, recipe, length = self._examples, self.recipe, self._examples.task.length
        built, key = built_by(examples.model.build), examples.features_key
        key = f"{key} {built} {recipe.padding} {length}" if key and built else ""
        return Frozen(
            self.net, self._arithmetic, lambda seqs: self._resident([seqs]),
            examples.pool or Pool([examples.train.seqs], recipe.rc != "none"), key, self.kernels,
            length if self._objective.per_base else 0,
        )  # fmt: skip

    def _read(self, split: Split, both: bool) -> Data:
        if self.frozen is None:
            return super()._read(split, both)
        return self.frozen([split.seqs, split.seqs.reverse_complement()][: 1 + both])

    def _train_step(self, rows: Array) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, self._total, self.recipe)
        targets, weight = self._targets(rows)
        loss = self._gradients(rows, targets, weight)
        self._arithmetic.step(self._optimizer, self.net, self.recipe.clip)
        self._step += 1
        if self._step == 1 and self._compiling == "auto":
            self._compile(rows, targets, weight)
        return loss

    def _gradients(self, rows: Array, targets: Tensor, weight: float) -> Tensor:
        """Fill .grad for the batch; halve the micro-batch when memory runs out."""
        while True:
            try:
                self._optimizer.zero_grad(set_to_none=not self._runner.on)
                loss = torch.zeros((), device=self.device)
                for start in range(0, len(rows), self.micro_batch):
                    part = slice(start, start + self.micro_batch)
                    one = self._loss(rows[part], targets[part]) / weight
                    self._arithmetic.backward(one)
                    loss += one.detach()
                return loss
            except RuntimeError as e:
                if self.micro_batch == 1 or self._whole_batches or not ran_out(e):
                    raise
                self.micro_batch = math.ceil(min(self.micro_batch, len(rows)) / 2)
                if self._runner.on:
                    self._runner.stop("memory ran out, the micro-batch was halved")

    def _compile(self, rows: Array, targets: Tensor, weight: float) -> None:
        """Run the steps to come compiled, if that pays and changes nothing."""
        if self.device == "cpu" or not isinstance(self._data, Resident):
            return
        if why := why_not(self.device, self._total, self._data.fullness):
            self._runner.stop(why)
            return
        part = slice(0, self.micro_batch)

        def step() -> Tensor:
            one = self._loss(rows[part], targets[part]) / weight
            one.backward()  # type: ignore[no-untyped-call]
            return one

        self._data.whole = True
        self._runner.compile(step)
        self._data.whole = self._runner.on

    def _loss(self, rows: Array, targets: Tensor) -> Tensor:
        batch = self._objective.inputs(self._data.batch(rows), targets)
        return self._objective.loss(self._forward(batch), batch)

    def _forward(self, batch: Batch) -> Tensor:
        with self._arithmetic.forward():
            if self.frozen:
                return self.net.head(batch.ids).float()  # type: ignore[no-any-return]
            return self._runner(batch.ids, batch.mask).float()
