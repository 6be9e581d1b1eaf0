"""What a language model makes of bases: log probabilities at hidden bases, and of whole windows.

S sites, B windows, W bp of a window, T tokens, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.models.language import entries, language_of
from dnabench.pretraining.language_nets import LanguageNet, beyond, tokens_of
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.vocabulary import vocabulary_of
from dnabench.probes.reuse import Reuse
from dnabench.tokens.tokenizers import Encoded
from dnabench.train.batches import EVAL_TOKENS, Resident
from dnabench.train.precision import Arithmetic
from dnabench.types import Array

BASES = 4
CPU_TOKENS = 1 << 14  # of a batch on a CPU, whose caches larger ones leave
Told = Callable[[float], object]  # called with the windows, or parts of them, since the last call
LOGITS = 1 << 25  # numbers of a batch's output


def nobody(windows: float) -> None:
    """Is told nothing."""


class Likelihood:
    """Log probabilities in nats by a language model, on one strand: the one that is given.

    Of a network that reads letters they are those of A, C, G and T alone.

    Args:
        source: the language model.
        device: where it runs.

    Raises:
        ValueError: hidden tokens are learned, and the tokenizer has no mask.
    """

    def __init__(self, source: LanguageNet, device: str = "cpu") -> None:
        self.source, self.passes = source, 0  # windows that were run
        self.causal = language_of(source.model).causal
        self.by_site = not self.causal and not source.tokenizer.by_letters
        self.letters = list(entries(source.model, source.options)[:BASES])
        self._net = source.net.to(device).eval()
        self._words = vocabulary_of(source.model, source.options, source.tokenizer, "cpu")
        self._known = self._words.known.numpy()
        self._entry = self._words.entries.to(device)
        first = source.tokenizer(as_sequences(np.zeros((1, 1), np.uint8)), 1, "mask").ids[0, 0]
        self.lead = int(first in source.tokenizer.specials)  # special tokens before the first base
        self._arithmetic, self._kernels = Arithmetic("fp32", device), Kernels()
        self._device = device

    what = "log p(ALT) - log p(REF) in nats, mean of both strands"
    unit, tag = "nats", "DNABENCH_LLR"

    @property
    def indels(self) -> bool:
        """Whether whole windows are compared, so that alleles may have any length."""
        return self.causal

    @property
    def how(self) -> str:
        """What is compared, in words, and whether windows are longer than in training."""
        longer = beyond(self.source.length, self.source.trained)
        return self.asks + (f" ({longer})" if longer else "")

    @property
    def asks(self) -> str:
        """What is compared, in words."""
        if self.causal:
            return "log-likelihood of the window"
        if not self.by_site:
            return "pseudo-likelihood of the window, each token hidden in turn"
        if self.letters:
            return "the base, hidden"
        return f"the {self.source.tokenizer.name} tokens that cover the base, hidden"

    def sites(self, codes: Array, index: int, progress: Told = nobody) -> Array:
        """Log p of A, C, G and T at a hidden base, up to a constant of each row.

        All tokens that cover the base are hidden; where they are several, the mean of them. Tokens
        with an N say nothing.

        Args:
            codes: uint8 (S, W), letters A0 C1 G2 T3 N4; that at `index` is not looked at.
            index: of the base.
            progress: called with the rows done since the last call.

        Returns:
            float64 (S, 4); NaN where all tokens that cover the base have an N.

        Raises:
            ValueError: a network without a token for each place.
        """
        if not self.by_site:
            raise ValueError(f"{self.source.name} has no hidden token for a base")
        versions = []
        for base in range(BASES):
            codes = codes.copy()
            codes[:, index] = base
            versions.append(tokens_of(self.source, codes))
        each = np.stack([one.ids for one in versions])  # (4, S, T)
        covers = (each[0] != each[1]) & self._known[each].all(0)
        ids = np.where(covers, self.source.tokenizer.mask, each[0])
        out = np.zeros((len(codes), BASES))

        def read_off(rows: Array, logits: Tensor) -> None:
            row, token = np.nonzero(covers[rows, : logits.shape[1]])
            asked = torch.from_numpy(each[:, rows[row], token].astype(np.int64)).to(self._device)
            found = logits[row, token].double()  # (n, V)
            values = found.gather(1, self._entry[asked].T).cpu().numpy()
            np.add.at(out, rows[row], values)

        self._run(Encoded(ids, versions[0].lengths), read_off, progress)
        with np.errstate(invalid="ignore"):
            return np.asarray(out / np.where(covers.sum(1), covers.sum(1), np.nan)[:, None])

    def windows(self, codes: Array, progress: Told = nobody) -> Array:
        """Log-likelihood of windows, causal; else the pseudo-likelihood: each token hidden in turn.

        The first token of a causal model has no probability; unknown ones and N count for nothing.

        Args:
            codes: uint8 (B, W).
            progress: called with the windows done since the last call, which may be parts of one.

        Returns:
            float64 (B,).
        """
        run = self._causal if self.causal else self._hidden_in_turn
        return run(tokens_of(self.source, codes), progress)

    def _causal(self, encoded: Encoded, progress: Told) -> Array:
        ids, out = encoded.ids.astype(np.int64), np.zeros(len(encoded.ids))
        asked = self._known[ids] & (np.arange(ids.shape[1]) < encoded.tokens[:, None])

        def read_off(rows: Array, logits: Tensor) -> None:
            following, counts = ids[rows, 1 : logits.shape[1]], asked[rows, 1 : logits.shape[1]]
            wanted = torch.from_numpy(np.where(counts, following, 0)).to(self._device)
            logs = self.log_probabilities(logits[:, :-1])
            each = logs.gather(2, wanted[..., None])[..., 0].cpu().numpy()
            out[rows] = np.where(counts, each, 0.0).sum(1)

        self._run(encoded, read_off, progress)
        return out

    def _hidden_in_turn(self, encoded: Encoded, progress: Told) -> Array:
        ids, lengths = encoded.ids, encoded.tokens
        row, token = np.nonzero(self._known[ids] & (np.arange(ids.shape[1]) < lengths[:, None]))
        out, at_once = np.zeros(len(ids)), max(1, EVAL_TOKENS // ids.shape[1])
        for a in range(0, len(row), at_once):
            own, place = row[a : a + at_once], token[a : a + at_once]
            here = np.arange(len(own))
            hidden = ids[own]
            wanted = hidden[here, place].astype(np.int64)
            hidden[here, place] = self.source.tokenizer.mask
            self._run(
                Encoded(hidden, lengths[own]), self._adder(out, own, place, wanted),
                lambda n: progress(n / len(row) * len(ids)),
            )  # fmt: skip
        return out

    def _adder(
        self, out: Array, own: Array, place: Array, wanted: Array
    ) -> Callable[[Array, Tensor], None]:
        def read_off(rows: Array, logits: Tensor) -> None:
            logs = logits[np.arange(len(rows)), place[rows]].double().log_softmax(-1)
            asked = torch.from_numpy(wanted[rows]).to(self._device)
            np.add.at(out, own[rows], logs.gather(1, asked[:, None])[:, 0].cpu().numpy())

        return read_off

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Float64, in nats; of letters (..., 4), else (..., V)."""
        picked = logits[..., self.letters] if self.letters else logits
        return picked.double().log_softmax(-1)

    def all_bases(
        self, codes: Array, ask: Callable[[Array, Tensor], None], progress: Told = nobody
    ) -> None:
        """Run windows with nothing hidden; `ask` takes rows and logits (rows, T, V)."""
        self._run(tokens_of(self.source, codes), ask, progress)

    def reuse(self, codes: Array) -> Reuse:
        """One window (W,), of which parts are run again by `changed`; NotLocalError as `Reuse`."""
        ids = self._ids(codes[None])
        with self._running():
            found = Reuse(self._net, ids)
        self.passes += 1
        return found

    def changed(self, reuse: Reuse, codes: Array, first: int, end: int) -> tuple[int, Tensor]:
        """What `Reuse.again` gives for windows that differ from its own in bases first to end.

        Args:
            reuse: of `reuse`.
            codes: uint8 (B, W), whole windows.
            first: base from 0.
            end: base behind the last.
        """
        ids = self._ids(codes)[:, self.lead + first : self.lead + end]
        self.passes += len(codes)
        with self._running():
            at, logits = reuse.again(ids, self.lead + first)
        return at, logits.float()

    def _ids(self, codes: Array) -> Tensor:
        ids = tokens_of(self.source, codes).ids
        return torch.from_numpy(ids.astype(np.int64)).to(self._device)

    def at_once(self, tokens: float) -> int:
        """Rows of so many tokens that are run together."""
        most = CPU_TOKENS if torch.device(self._device).type == "cpu" else EVAL_TOKENS
        return max(1, int(min(most, LOGITS // self.source.tokenizer.size) // tokens))

    @contextmanager
    def _running(self) -> Iterator[None]:
        with torch.inference_mode(), self._kernels, self._arithmetic.products():
            yield

    def _run(
        self, encoded: Encoded, read_off: Callable[[Array, Tensor], None], progress: Told = nobody
    ) -> None:
        """All rows, length-sorted, in batches."""
        if not len(encoded.ids):
            return
        data = Resident([encoded], self._device, self.source.tokenizer.pad)
        most = self.at_once(data.size)
        with self._running():
            for together in data.eval_batches():
                for a in range(0, len(together), most):
                    rows = together[a : a + most]
                    batch = data.batch(rows)
                    read_off(rows.host, self._net(batch.ids.long(), batch.mask).float())
                    self.passes += len(rows)
                    progress(len(rows))
