"""Objectives of a language model: hidden tokens and next tokens. Seeded, on the device.

B batch, T tokens, V entries of the vocabulary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dnabench.pretraining.hiding import Hiding
from dnabench.train.batches import Batch, Data
from dnabench.train.objectives import Objective, Target, Targets
from dnabench.train.rows import Rows
from dnabench.types import IGNORED, Array, Split

LEAST = 1e-6  # of the weights of a batch
TOGETHER = 256  # held-out windows
LOSS, TOKENS, RIGHT, BASES = range(4)  # columns of predictions: sums over a window


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Which ids are letters or words, and what logits stand for them.

    Args:
        mask: id of a hidden token; -1 = there is none.
        known: ids that can be hidden and predicted.
        random: ids that a random token is drawn from.
        entries: int64, of each id its entry among the logits; IGNORED = none.
        words: whether tokens are words of several bases, which do not overlap.
    """

    mask: int
    known: Tensor
    random: Tensor
    entries: Tensor
    words: bool = False


class Language(Objective):
    """What both objectives share: a loss per token, weighted, and its sums over held-out windows.

    Args:
        vocabulary: of the tokenizer.
        n_outputs: V.
        small_weight: weight of the loss of soft-masked bases in training; in evaluation all count.
        seed: of all that is drawn; the same step of the same epoch draws the same.

    Targets are (B, T, 4): the entry that is asked for or IGNORED, whether the base is soft-masked,
    how many bases the token has, and the id that the network reads.
    """

    metric, sign = "loss", -1

    def __init__(
        self, vocabulary: Vocabulary, n_outputs: int, small_weight: float = 1.0, seed: int = 0
    ) -> None:
        self.vocabulary, self.n_outputs = vocabulary, n_outputs
        self.small_weight, self._seed = small_weight, seed
        self._drawn = torch.Generator()

    def begin(self, epoch: int, device: torch.device) -> None:
        """Draw anew, as this epoch does."""
        self._drawn = torch.Generator(device).manual_seed((self._seed << 20) + epoch)

    @abstractmethod
    def asked(self, ids: Tensor, seen: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """The ids to predict, IGNORED where none is, and the ids that the network reads.

        Args:
            ids: int64 (B, T).
            seen: bool (B, T), False on padding.
            drawn: what random numbers come from.
        """

    def shifted(self, values: Tensor) -> Tensor:
        """What is said of tokens (B, T), at the positions that are asked for them."""
        return values

    def targets(self, split: Split, data: Data, rng: np.random.Generator) -> Targets:
        """Ask for tokens of the rows; `Data.small` says which are soft-masked."""

        def asked(rows: Rows) -> Target:
            values = self._values(data, rows, self._drawn)
            total = self._weights(values, self.small_weight).sum()
            return Target(values, total.clamp(min=LEAST))  # a batch may ask for nothing

        return asked

    def _values(self, data: Data, rows: Rows, drawn: torch.Generator) -> Tensor:
        batch = data.batch(rows)
        ids = batch.ids.long()
        seen = torch.ones_like(ids, dtype=torch.bool) if batch.mask is None else batch.mask > 0
        wanted, read = self.asked(ids, seen, drawn)
        said = (data.small(rows), data.bases(rows))  # type: ignore[attr-defined]
        small, bases = (self.shifted(one[:, : ids.shape[1]].long()) for one in said)
        entry = self.vocabulary.entries[wanted.clamp(min=0)].where(wanted >= 0, IGNORED)
        return torch.stack([entry, small, bases, read], -1)

    def inputs(self, batch: Batch, target: Tensor) -> Batch:
        """The ids that the network reads, and what is asked for, as wide as the batch.

        Targets may be those of a wider one, of which these rows are a part.
        """
        target = target[:, : batch.ids.shape[1]]
        return batch._replace(ids=target[..., 3], target=target[..., :3])

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The weighted sum of the cross-entropies in nats."""
        assert batch.target is not None  # `inputs` put it there
        weights = self._weights(batch.target, self.small_weight)
        return (self._each(logits, batch.target) * weights).sum()

    def _each(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.transpose(1, 2), target[..., 0], ignore_index=IGNORED, reduction="none"
        )

    def _weights(self, target: Tensor, small: float) -> Tensor:
        asked = (target[..., 0] != IGNORED).float()
        return asked if small == 1 else asked * (1 - (1 - small) * target[..., 1])

    def questions(self, split: Split, data: Data) -> Callable[[Rows], Batch]:
        """Held-out rows, with the same tokens hidden each time, however they are batched."""
        drawn, parts = torch.Generator(data.device).manual_seed(self._seed), list[Tensor]()
        rows = data.rows(np.arange(data.n))
        for start in range(0, data.n, TOGETHER):
            values = self._values(data, rows[start : start + TOGETHER], drawn)
            width = values.shape[1]
            parts.append(F.pad(values, (0, 0, 0, data.size - width)))
            parts[-1][:, width:, 0] = IGNORED  # a batch with rows of other parts may be wider
        every = torch.cat(parts)

        def asked(rows: Rows) -> Batch:
            batch = data.batch(rows)
            values = every[rows.index][:, : batch.ids.shape[1]]
            return self.inputs(batch, values)

        return asked

    def answers(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B, 4): of the tokens asked for in a window: loss, number, right predictions, bases."""
        assert batch.target is not None
        each = self._each(logits, batch.target)
        asked = self._weights(batch.target, 1.0)
        right = (logits.argmax(-1) == batch.target[..., 0]).float()
        bases = (batch.target[..., 2] * asked).sum(1)
        return torch.stack([each.sum(1), asked.sum(1), right.sum(1), bases], 1)

    def scores(self, split: Split, predictions: Array) -> dict[str, float]:
        """Of the tokens asked for: mean loss in nats, bits, perplexity, accuracy, bits a base."""
        total = predictions.astype(np.float64).sum(0)
        loss = total[LOSS] / max(total[TOKENS], 1)
        return {
            "loss": float(loss), "bits": float(loss / np.log(2)),
            "perplexity": float(np.exp(loss)),
            "accuracy": float(total[RIGHT] / max(total[TOKENS], 1)),
            **self._per_base(total),
        }  # fmt: skip

    def _per_base(self, total: Array) -> dict[str, float]:
        """Bits a base of words that are apart; of letters these are the bits."""
        if not self.vocabulary.words:
            return {}
        return {"bits_per_base": float(total[LOSS] / max(total[BASES], 1) / np.log(2))}

    def mean_loss(self, split: Split, predictions: Array) -> float:
        """In nats."""
        return self.scores(split, predictions)["loss"]


class Masked(Language):
    """Predict hidden tokens; see `Hiding`."""

    hiding = Hiding()

    def asked(self, ids: Tensor, seen: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `Language.asked`."""
        known, read = self.vocabulary.known[ids] & seen, ids
        chosen = torch.zeros_like(known)
        for _ in range(self.hiding.passes):
            chosen, read = self._hidden(read, known, drawn)
        return ids.where(chosen, IGNORED), read

    def _hidden(self, ids: Tensor, known: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """The tokens chosen, and all tokens with those of them that are hidden."""
        how, device = self.hiding, ids.device
        first = 1 - (1 - how.share) ** (1 / how.span)  # so that a share of all is hidden
        chosen = torch.rand(ids.shape, generator=drawn, device=device) < first
        if how.span > 1:
            wide = F.max_pool1d(
                F.pad(chosen.float(), ((how.span - 1) // 2, how.span // 2)), how.span, stride=1
            )
            chosen = wide > 0
        chosen &= known
        kind = torch.rand(ids.shape, generator=drawn, device=device)
        n = len(self.vocabulary.random)
        other = torch.randint(n, ids.shape, generator=drawn, device=device)
        read = ids.where(~(chosen & (kind < how.as_mask)), self.vocabulary.mask)
        random = chosen & (kind >= how.as_mask) & (kind < how.as_mask + how.as_random)
        return chosen, self.vocabulary.random[other].where(random, read)


class Causal(Language):
    """Predict each token from those before it."""

    def asked(self, ids: Tensor, seen: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """See `Language.asked`: position t is asked for token t + 1, the last for none."""
        following = self.shifted(ids)
        known = self.vocabulary.known[following] & self.shifted(seen)
        known[:, -1] = False
        return following.where(known & seen, IGNORED), ids

    def shifted(self, values: Tensor) -> Tensor:
        """One to the left; of the last position nothing is asked."""
        return torch.roll(values, -1, 1)
