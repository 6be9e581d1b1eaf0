"""A network that learns: its data, its objective, and the training step.

B batch, N examples, T tokens, K outputs.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from dnabench.host.machine import total_memory
from dnabench.models.kernels.context import Kernels
from dnabench.splits import Streams
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.train.adapt import adapted, probed, without_biases_and_norms
from dnabench.train.batches import Batch, Data, Features, Pairs, Resident, ran_out
from dnabench.train.compiled import FULL, UNEVEN, Runner, keep_artefacts, why_not
from dnabench.train.frozen import Frozen, built_by
from dnabench.train.ghost import Ghost
from dnabench.train.graphs import Graph
from dnabench.train.objectives import Objective
from dnabench.train.pool import Pool
from dnabench.train.predictor import Predictor, Reading, logits_in, strands_of
from dnabench.train.rows import Rows
from dnabench.train.schedule import learning_rate
from dnabench.types import ONE_CPU, Model, Recipe, Resources, Split, Task

PART = 4  # one of so many parts of a device's memory, shared by its workers, may hold such features


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
    scheduled: int = 0  # examples in an epoch of the schedule; 0 = those of train


class _Epoch(TypedDict):
    """Where an epoch is that has begun."""

    order: Any  # what drew its batches, as it was when the epoch began
    seen: int  # examples
    loss: Tensor  # their sum


class NetLearner(Predictor):
    """A torch module that learns an objective; a `types.Learner`.

    Args:
        net: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, or (B, T, K). It may have
            `param_groups(recipe)`, the optimiser's groups with their own weight decay.
        examples: what it learns from.
        objective: what it learns.
        seeds: `order` decides batches, strand flips, dropout and what the objective draws.
        resources: device, micro-batch and `compile`: with "auto", training steps run compiled
            unless `compiled.why_not` objects, else as one CUDA graph where `Graph.pays`. The
            gradients of micro-batches add up to those of the whole batch; when memory runs out, the
            micro-batch is halved.
        kernels: of the trial; None = its own.

    Raises:
        ValueError: a micro-batch for a network whose batch norms learn, as numbers would change;
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
        self.micro_batch = resources.micro_batch or recipe.batch
        self._examples = examples
        self._ghost = Ghost(net, recipe, examples.model.name, resources.micro_batch)
        self.frozen = self._new_frozen(resources.workers) if recipe.finetune == "probe" else None
        self._data = self._read(examples.train, both=recipe.rc != "none")
        data = self._data.both if isinstance(self._data, Pairs) else self._data
        if isinstance(data, Features) and recipe.head == "own":
            probed(self.net, data.width, objective.n_outputs).head.to(device)
        self.n_params = sum(p.numel() for p in self.net.parameters())
        self.n_learned = sum(p.numel() for p in self.net.parameters() if p.requires_grad)
        self._draws = np.random.default_rng([seeds.order, 1])
        self._targets = objective.targets(examples.train, self._data, self._draws)
        self._rate = torch.zeros((), device=device) if device.startswith("cuda") else None
        self._optimizer = self._new_optimizer()
        self._order = np.random.default_rng(seeds.order)
        self._torch_seed, self._step = seeds.order, 0
        self.epochs = recipe.epochs_over(self._data.n)
        steps = math.ceil((examples.scheduled or self._data.n) / recipe.batch)
        self._total = recipe.max_steps or steps * recipe.epochs
        self._runner, self._compiling = Runner(self.net, recipe.precision), resources.compile
        if resources.deterministic:
            self._compiling = "off"  # a clock decides what is compiled
        if self._compiling == "auto" and device != "cpu":
            keep_artefacts()
        self._undecided = self._compiling == "auto"  # until the first step has ended
        self._graph = Graph(self._whole_step, self.net, self._optimizer, recipe.precision)
        self._epoch: _Epoch | None = None  # that has begun and has not ended
        self.after_step: Callable[[], object] = lambda: None

    @property
    def notes(self) -> dict[str, Any]:
        """What a record must say about how the numbers came about."""
        notes = {
            "skipped_steps": self._arithmetic.skipped, "compile": self._runner.said,
            "graph": self._graph.said,
            "float32_layers": self._arithmetic.float32_layers,
            "eval_batch": self.eval_batch or (self.frozen.eval_batch if self.frozen else 0),
            "truncated": self.truncated, "host_data": not self._data.here,
            "features_anew": self.frozen is not None and self.frozen.anew,
        }  # fmt: skip
        return {k: v for k, v in {**notes, **self._objective.notes}.items() if v}

    def train_epoch(self) -> float:
        """One pass over the training examples in a new random order; mean loss per example.

        The last pass ends at `max_steps`. After `go_on` in the middle of a pass, the rest of it.
        """
        if not self._step:
            torch.manual_seed(self._torch_seed)
        self.net.train()
        drawn, batch = self._order.bit_generator, self.recipe.batch
        epoch: _Epoch = {
            "order": drawn.state, "seen": 0, "loss": torch.zeros((), device=self.device)
        }  # fmt: skip
        epoch = self._epoch = self._epoch or epoch
        drawn.state = epoch["order"]
        order = self._order.permutation(self._data.n)
        flips = self._order.integers(0, self._data.strands, len(order))
        rows = self._data.rows(order + flips[order] * self._data.n)
        most = len(rows)
        if self.recipe.max_steps:
            most = min(most, (self.recipe.max_steps - self._step) * batch + epoch["seen"])
        with self.kernels, self._arithmetic.products():
            for start in range(epoch["seen"], most, batch):
                part = rows[start : start + batch]
                epoch["loss"] += self._train_step(part) * len(part)
                epoch["seen"] = start + len(part)
                self.after_step()
        self._epoch = None
        return float(epoch["loss"]) / most

    def state(self) -> Any:
        """A copy of what learns, and of the buffers."""
        return copy.deepcopy(self._learned())

    def _learned(self) -> dict[str, Any]:
        frozen = {k for k, p in self.net.named_parameters() if not p.requires_grad}
        return {k: v for k, v in self.net.state_dict().items() if k not in frozen}

    def restore(self, state: Any) -> None:
        """Load such a copy."""
        self.net.load_state_dict(state, strict=self.recipe.finetune == "full")

    def training_state(self) -> dict[str, Any]:
        """All that training has changed, for `go_on`: tensors, numbers and text, not copied."""
        cuda = self.device.startswith("cuda")
        return {
            "learned": self._learned(), "optimizer": self._optimizer.state_dict(),
            "arithmetic": self._arithmetic.state(), "step": self._step,
            "order": self._order.bit_generator.state, "draws": self._draws.bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if cuda else None,
            "micro_batch": self.micro_batch, "eval_batch": self.eval_batch,
            "compiled": self._runner.said, "graph": self._graph.said,
            "forms": dict(self.kernels.used), "epoch": self._epoch,
        }  # fmt: skip

    def go_on(self, state: dict[str, Any]) -> None:
        """Train on from a state that a learner of the same trial was in after a step.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: when it is of another network.
        """
        self.restore(state["learned"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._arithmetic.restore(state["arithmetic"])
        self._order.bit_generator.state = state["order"]
        self._draws.bit_generator.state = state["draws"]
        self._step, self.micro_batch = state["step"], state["micro_batch"]
        self.eval_batch, self._epoch = state["eval_batch"], state["epoch"]
        if self._epoch is not None:
            self._epoch["loss"] = self._epoch["loss"].to(self.device)
        self.kernels.used |= state["forms"]
        if state["compiled"].startswith("off: "):
            self._runner.stop(state["compiled"].removeprefix("off: "))
            self._undecided = False
        self._graph.go_on(state["graph"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"], self.device)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        recipe, groups = self.recipe, [p for p in self.net.parameters() if p.requires_grad]
        if recipe.no_decay == "biases-norms":
            groups = without_biases_and_norms(self.net)
        elif recipe.finetune == "full" and hasattr(self.net, "param_groups"):
            groups = self.net.param_groups(recipe)
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
        # on CUDA 5 launches a step, not 12, and a rate that a graph can read
        fused, rate = (None, recipe.lr) if self._rate is None else (True, self._rate)
        made: torch.optim.Optimizer = kind(
            groups, lr=rate, weight_decay=recipe.weight_decay, fused=fused
        )
        return made

    def _new_frozen(self, workers: int) -> Frozen:
        examples, recipe, length = self._examples, self.recipe, self._examples.task.length
        built, key = built_by(examples.model.build), examples.features_key
        cut = f" {recipe.max_length}" * (recipe.max_length > 0)
        key = f"{key} {built} {recipe.padding} {length}{cut}" if key and built else ""
        return Frozen(
            self.net, self._arithmetic, self._resident,
            examples.pool or Pool([examples.train.seqs], recipe.rc != "none"), key, self.kernels,
            length if self._objective.per_base else 0, total_memory(self.device) // PART // workers,
        )  # fmt: skip

    def _read(self, split: Split, both: bool) -> Data:
        if self.frozen is None:
            return super()._read(split, both)
        strands = strands_of(split, both)
        if self.recipe.max_length:
            self._encoded(strands)  # which counts those that are cut, whatever is stored
        features = self.frozen(strands)
        return features if split.other is None else Pairs(features)

    def _train_step(self, rows: Rows) -> Tensor:
        rate = learning_rate(self._step, self._total, self.recipe)
        for group in self._optimizer.param_groups:
            group["lr"] = rate if self._rate is None else self._rate.fill_(rate)
        targets, weight = self._targets(rows)
        loss = self._replayed(rows, targets, weight) if self._graph.on else None
        if loss is None:
            loss = self._eager(rows, targets, weight)
        self._step += 1
        return loss

    def _eager(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> Tensor:
        """A step as it is written; those to come are made faster, if that changes nothing."""

        def step() -> Tensor:
            loss = self._gradients(rows, targets, weight)
            self._arithmetic.step(self._optimizer, self.net, self.recipe.clip)
            return loss

        if self._undecided:
            loss, self._undecided = step(), False
            self._compile(rows, targets, weight)
            return loss
        if self._settled or len(rows) < self.recipe.batch:
            return step()
        loss = self._graph.timed(step)
        if self._graph.pays(self._total - self._step):
            self._record(rows, targets, weight)
        return loss

    @property
    def _settled(self) -> bool:
        """Whether no graph will be recorded, or one was."""
        never = self._compiling != "auto" or self._rate is None or self._runner.on
        return never or bool(self._graph.said)

    def _replayed(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> Tensor | None:
        loss = self._graph(self._inputs(rows, targets), weight)
        self._data.widen(self._graph.on)
        return loss

    def _record(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> None:
        """Run the steps to come as one CUDA graph, where that is possible and changes nothing."""
        why = UNEVEN if self._data.fullness < FULL else ""
        if self.recipe.precision == "fp16":
            why = "the host must see whether a step in fp16 is skipped"
        elif self._ghost.parts > 1 or self.micro_batch < self.recipe.batch:
            why = "gradients are summed over parts of a batch"
        if why:
            self._graph.stop(why)
            return
        self._data.widen(True)
        self._graph.record(self._inputs(rows, targets), weight)
        self._data.widen(self._graph.on)

    def _whole_step(self, batch: Batch, weight: Tensor) -> Tensor:
        """What a graph holds: forward, backward and update."""
        self._optimizer.zero_grad()
        loss = self._objective.loss(self._forward(batch), batch) / weight
        self._arithmetic.backward(loss)
        self._arithmetic.step(self._optimizer, self.net, self.recipe.clip)
        return loss.detach()

    def _gradients(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> Tensor:
        """Fill .grad for the batch; halve the micro-batch when memory runs out."""
        while True:
            try:
                self._optimizer.zero_grad(set_to_none=not self._runner.on)
                loss = torch.zeros((), device=self.device)
                for part in self._parts(rows):
                    loss += self._of_part(rows[part], targets[part], weight)
                return loss
            except RuntimeError as e:
                if self.micro_batch == 1 or self._ghost.whole or not ran_out(e):
                    raise
                self.micro_batch = math.ceil(min(self.micro_batch, len(rows)) / 2)
                for quick in (self._runner, self._graph):
                    if quick.on:
                        quick.stop("memory ran out, the micro-batch was halved")

    def _of_part(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> Tensor:
        """Add a part's gradients. Apart, so that a part that failed holds no memory afterwards."""
        one = self._loss(rows, targets) / weight
        self._arithmetic.backward(one)
        return one.detach()

    def _parts(self, rows: Rows) -> Iterator[slice]:
        if self._ghost.parts > 1:
            return self._ghost.divided(rows)
        starts = range(0, len(rows), self.micro_batch)
        return (slice(start, start + self.micro_batch) for start in starts)

    def _compile(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> None:
        """Run the steps to come compiled, if that pays and changes nothing."""
        if self.device == "cpu" or not isinstance(self._data, Resident):
            return
        if self._ghost.parts > 1:
            self._runner.stop("norm_batch divides the batch")
            return
        if why := why_not(self.device, self._total, self._data.fullness):
            self._runner.stop(why)
            return
        part = slice(0, self.micro_batch)

        def step() -> Tensor:
            one = self._loss(rows[part], targets[part]) / weight
            one.backward()  # type: ignore[no-untyped-call]
            return one

        self._data.widen(True)
        self._runner.compile(step)
        self._data.widen(self._runner.on)

    def _loss(self, rows: Rows, targets: Tensor) -> Tensor:
        batch = self._inputs(rows, targets)
        return self._objective.loss(self._forward(batch), batch)

    def _inputs(self, rows: Rows, targets: Tensor) -> Batch:
        return self._objective.inputs(self._data.batch(rows), targets)

    def _forward(self, batch: Batch) -> Tensor:
        with self._arithmetic.forward():
            if self.frozen:
                around = (batch.mask,) if self.recipe.head == "conv" else ()
                return batch.answered(self.net.head(batch.ids, *around).float())
            answer = self._runner(*self._given(batch))
            return batch.answered(logits_in(answer, len(batch.ids), self._reading.model.name))
