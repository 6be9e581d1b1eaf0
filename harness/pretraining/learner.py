"""A network that learns from windows of genomes, drawn anew for each step.

B batch, T tokens, L bp of a window.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.pretraining.objectives import Language
from dnabench.pretraining.ranks import ALONE, Ranks
from dnabench.pretraining.windows import Drawn, Source, draw, in_turn
from dnabench.splits import Streams
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.train.batches import Batch, Data, Resident
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.rows import Rows, sent
from dnabench.types import (
    ONE_CPU,
    Array,
    Model,
    Progress,
    Recipe,
    Resources,
    Sequences,
    Split,
    Task,
)


class WindowData(Data):
    """Windows as a network reads them.

    Args:
        tokenizer: of the model.
        length: L.
        device: where they lie.
    """

    strands = 1

    def __init__(self, tokenizer: Tokenizer, length: int, device: str) -> None:
        self._tokenizer, self._length, self.device = tokenizer, length, torch.device(device)
        self.n = self.size = 0

    def put(self, drawn: Drawn, flipped: Array | None = None) -> None:
        """Hold these windows, those that are flipped as their reverse complements."""
        codes, small = drawn
        if flipped is not None and flipped.any():
            codes, small = codes.copy(), small.copy()
            codes[flipped], small[flipped] = opposite(codes[flipped]), small[flipped, ::-1]
        self.n = len(codes)
        encoded = self._tokenizer(as_sequences(codes), self._length, "mask")
        self._held = Resident([encoded], str(self.device), self._tokenizer.pad)
        self.size, self._lengths = self._held.size, encoded.lengths
        widths = np.ones(codes.shape, np.int32) if encoded.widths is None else encoded.widths
        tokens = torch.from_numpy(of_tokens(small, encoded.widths))
        self._small = sent(tokens.contiguous(), self.device)
        self._bases = sent(torch.from_numpy(np.ascontiguousarray(widths)), self.device)

    def batch(self, rows: Rows) -> Batch:
        """These windows."""
        return self._held.batch(rows)

    def small(self, rows: Rows) -> Tensor:
        """Bool (B, T), whether most bases of a token are soft-masked."""
        return self._small[rows.index]

    def bases(self, rows: Rows) -> Tensor:
        """Int32 (B, T), how many bases a token stands for."""
        return self._bases[rows.index]


def opposite(codes: Array) -> Array:
    """The reverse complements of windows (B, L)."""
    return np.array([3, 2, 1, 0, 4], np.uint8)[codes[:, ::-1]]


def as_sequences(codes: Array) -> Sequences:
    """Windows (B, L) as B sequences."""
    n, length = codes.shape
    return Sequences(codes.ravel(), np.arange(n + 1, dtype=np.int64) * length)


def of_tokens(small: Array, widths: Array | None) -> Array:
    """Bool (B, T) from bool (B, L): whether at least half of a token's bases are soft-masked."""
    if widths is None:
        return small
    sums = np.pad(np.cumsum(small, 1, dtype=np.int32), ((0, 0), (1, 0)))
    ends = np.cumsum(widths, 1)
    rows = np.arange(len(small))[:, None]
    many = sums[rows, ends] - sums[rows, ends - widths]
    return np.asarray((many * 2 >= widths) & (widths > 0))


class WindowLearner(NetLearner):
    """A language model that learns from genomes; an epoch is what lies between two evaluations.

    Args:
        net: from `models.language.language_model`.
        model: of it.
        tokenizer: of it.
        sources: genomes, with windows of one length.
        objective: masked or causal.
        recipe: its `max_steps` is the length of training.
        every: steps of an epoch.
        seeds: `order` decides windows, strands, what is hidden, and dropout.
        ranks: the processes that share every batch. Windows and what is hidden are those of the
            whole batch, and so is the weight of its loss; dropout is drawn by each process.
    """

    def __init__(
        self, net: Any, model: Model, tokenizer: Tokenizer, sources: Sequence[Source],
        objective: Language, recipe: Recipe, every: int, seeds: Streams, *,
        resources: Resources = ONE_CPU, kernels: Kernels | None = None, ranks: Ranks = ALONE,
    ) -> None:  # fmt: skip
        self._sources, self.every, self._seed = sources, every, seeds.order
        self._ranks, self._part = ranks, ranks.part(recipe.batch)
        own = self._part.stop - self._part.start
        resources = resources._replace(micro_batch=min(resources.micro_batch or own, own))
        self.objective = objective
        self.step_ended: Progress = lambda done, total: None
        self.trained = 0.0  # when the last `train_epoch` ended, by time.monotonic
        self._both = model.language is not None and model.language.strands == "random"
        task = _named(sources)
        examples = Examples(model, task, task.load("train"), tokenizer)
        super().__init__(net, examples, objective, recipe, seeds, resources, kernels)
        self.epochs = math.ceil(recipe.max_steps / every)

    def _read(self, split: Split, both: bool) -> Data:
        data = WindowData(self._tokenizer, self._sources[0].length, self.device)
        data.n = self.recipe.batch
        return data

    def train_epoch(self) -> float:
        """The steps until the next evaluation; the mean loss in nats of the tokens asked for."""
        if not self._step:
            torch.manual_seed(self._torch_seed)
        if self._ranks.size > 1:  # of which a checkpoint has no state
            words = [self._seed, self._step, self._ranks.rank]
            torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
        self.net.train()
        self.objective.begin(self._step // self.every, torch.device(self.device))
        steps = min(self.every, self._total - self._step)
        loss = torch.zeros((), device=self.device)
        rows = self._data.rows(np.arange(self.recipe.batch))
        with self.kernels, self._arithmetic.products():
            for _ in range(steps):
                self._draw()
                loss += self._train_step(rows)
                self.step_ended(self._step, self._total)
        mean = float(loss) / steps  # when the device has done all that it was sent
        self.trained = time.monotonic()
        return mean

    def _gradients(self, rows: Rows, targets: Tensor, weight: float | Tensor) -> Tensor:
        loss = super()._gradients(rows[self._part], targets[self._part], weight)
        return self._ranks.add_up(self.net.parameters(), loss)

    def _draw(self) -> None:
        """The windows of a step; they depend on the seed and the step alone."""
        rng, n = np.random.default_rng([self._seed, self._step]), self.recipe.batch
        if self._sources[0].stride:
            drawn = in_turn(self._sources, self._step * n, n, self._seed)
        else:
            drawn = draw(self._sources, n, rng)
        flipped = rng.random(n) < 0.5 if self._both else None
        self._data.put(drawn, flipped)  # type: ignore[attr-defined]

    def held_out(self, drawn: Drawn) -> Callable[[], Array]:
        """The function scores these windows; see `Language.answers`."""
        data = WindowData(self._tokenizer, self._sources[0].length, self.device)
        data.put(drawn)
        empty = self._examples.train
        questions = self._objective.questions(empty, data)

        def predict() -> Array:
            self.net.eval()
            with self.kernels, self._arithmetic.products():
                return self._answers(data, questions, 0)

        return predict

    def predictor(self, split: Split) -> Callable[[], Array]:
        """`held_out` of the windows in a split."""
        codes = split.seqs.codes.reshape(len(split.seqs), -1)
        return self.held_out(Drawn(codes, split.y.astype(bool)))


def windows_split(drawn: Drawn) -> Split:
    """Windows as a split; its labels say which bases are soft-masked."""
    ids = np.arange(len(drawn.codes)).astype(str)
    return Split(as_sequences(drawn.codes), drawn.small.astype(np.int8), ids)


def _named(sources: Sequence[Source]) -> Task:
    """What messages call the data."""
    names = ", ".join(one.genome.name for one in sources)
    empty = windows_split(Drawn(np.zeros((0, 1), np.uint8), np.zeros((0, 1), bool)))
    return Task(
        name=f"windows of {names}", kind="per_base", classes=("",), metric="accuracy",
        length=sources[0].length, counts={}, data="", load=lambda name: empty, source="",
        license="",
    )  # fmt: skip
