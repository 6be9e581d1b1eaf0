"""A network that predicts: from sequences to the objective's answers, both strands if asked for.

B batch, N examples, T tokens, K outputs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.tokens.tokenizers import TOKENIZERS, Encoded, Tokenizer
from dnabench.train.batches import Batch, Data, Pairs, Resident, for_all, places
from dnabench.train.objectives import Objective
from dnabench.train.precision import Arithmetic, check_precision
from dnabench.train.rows import Rows
from dnabench.types import Array, Model, Recipe, Sequences, Split, Task


class Reading(NamedTuple):
    """How sequences become what a network reads."""

    model: Model
    task: Task  # gives the name, and the length to encode for
    tokenizer: Tokenizer | None = None  # None = the model's own


def strands_of(split: Split, both: bool) -> list[Sequences]:
    """The sequences, and with `both` their reverse complements; of pairs first and second each."""
    one = [split.seqs] if split.other is None else [split.seqs, split.other]
    return [*one, *(seqs.reverse_complement() for seqs in one if both)]


class Predictor:
    """A torch module and all that turns sequences into its predictions.

    Args:
        net: `forward(ids (B, T), mask (B, T) or None) -> logits (B, K)`, or (B, T, K).
        reading: how sequences are encoded.
        objective: what the network answers.
        recipe: gives precision, padding, length; with `rc="conjoin"` both strands are averaged.
        device: where it runs.
        kernels: of the trial; None = its own.

    Raises:
        ValueError: a precision that the device lacks.
    """

    def __init__(
        self, net: Any, reading: Reading, objective: Objective, recipe: Recipe,
        device: str = "cpu", kernels: Kernels | None = None,
    ) -> None:  # fmt: skip
        check_precision(recipe.precision, device)
        self.net, self.recipe, self.device = net.to(device), recipe, device
        self.eval_batch = 0  # examples; 0 = as many as `Resident.eval_batches` gives
        self.kernels = kernels or Kernels()
        self._arithmetic = Arithmetic(recipe.precision, device, self.kernels.deterministic)
        self._arithmetic.guard(self.net)
        self._reading, self._objective = reading, objective
        self._n_cut = self._n_read = 0
        self._tokenizer = reading.tokenizer or TOKENIZERS[reading.model.tokenizer]

    def predictor(self, split: Split) -> Callable[[], Array]:
        """Encode the split once; the function gives the objective's predictions, in its order.

        Raises:
            ValueError: sequences of more tokens than the model can read, or longer than the task's.
        """
        data = self._read(split, both=self.recipe.rc == "conjoin")
        questions = self._objective.questions(split, data)

        def predict() -> Array:
            self.net.eval()
            with self.kernels, self._arithmetic.products():
                strands = [self._answers(data, questions, s) for s in range(data.strands)]
            return self._objective.predictions(split, strands)

        return predict

    def in_float32(self) -> AbstractContextManager[None]:
        """Inside, the network runs in float32, whatever its precision: for comparisons."""
        return self._arithmetic.in_float32()

    def pads(self, split: Split) -> bool:
        """Whether the rows of a split differ in length, so that batches of them are padded."""
        rows = [self._shortened(seqs).tokens for seqs in strands_of(split, both=False)]
        return len(np.unique(np.concatenate(rows))) > 1

    @property
    def truncated(self) -> float:
        """The share of the sequences read so far that lost their end to `max_length`."""
        return self._n_cut / max(1, self._n_read)

    def _read(self, split: Split, both: bool) -> Data:
        data = self._on_device(self._encoded(strands_of(split, both)))
        return data if split.other is None else Pairs(data)

    def _encoded(self, strands: list[Sequences]) -> list[Encoded]:
        """The tokens of each strand; counts the sequences that are cut."""
        found = [self._shortened(s) for s in strands]
        self._n_cut += sum(e.n_cut for e in found)
        self._n_read += sum(len(e.ids) for e in found)
        return found

    def _shortened(self, seqs: Sequences) -> Encoded:
        recipe, length = self.recipe, self._reading.task.length
        return self._tokenizer.shortened(seqs, length, recipe.padding, recipe.max_length)

    def _resident(self, seqs: Sequences) -> Resident:
        return self._on_device([self._shortened(seqs)])

    def _on_device(self, encoded: list[Encoded]) -> Resident:
        model, task = self._reading.model, self._reading.task
        n = max(e.ids.shape[1] for e in encoded)
        if model.max_tokens and n > model.max_tokens:
            raise ValueError(
                f"{model.name} reads at most {model.max_tokens} tokens; a sequence of {task.name} "
                f"has {n}: leave out one of the two"
            )
        return Resident(encoded, self.device, self._tokenizer.pad, self._objective.per_base)

    def _forward(self, batch: Batch) -> Tensor:
        with self._arithmetic.forward():
            answer = self.net(*self._given(batch))
            return batch.answered(logits_in(answer, len(batch.ids), self._reading.model.name))

    def _given(self, batch: Batch) -> tuple[Any, ...]:
        """What the network reads; where its head reads bases, which of them words stand for."""
        if self.recipe.head == "own" or batch.widths is None:
            return batch.ids, batch.mask
        return batch.ids, batch.mask, places(batch.widths, self._reading.task.length)

    @torch.no_grad()  # not inference_mode: tables that a network keeps must serve training
    def _answers(self, data: Data, questions: Callable[[Rows], Batch], strand: int) -> Array:
        def answers(rows: Rows) -> Tensor:
            batch = questions(rows)
            return self._objective.answers(self._forward(batch), batch)

        out, self.eval_batch = for_all(data, strand, self.eval_batch, answers)
        return out.cpu().numpy()


def logits_in(answer: Any, n: int, name: str) -> Tensor:
    """What a network's `forward` gave for n sequences, in float32.

    Raises:
        ValueError: it is no tensor, or has no row for each sequence.
    """
    given, of = f"a {type(answer).__name__}, not a tensor", ""
    if isinstance(answer, Tensor):
        if answer.ndim > 1 and len(answer) == n:
            return answer.float()
        given, of = f"a tensor of shape {tuple(answer.shape)}", f" for {n} sequence{'s' * (n != 1)}"
    raise ValueError(
        f"{name}: forward gives {given}{of}; return the logits alone, (sequences, n_outputs), per "
        "base (sequences, length, n_outputs)"
    )
