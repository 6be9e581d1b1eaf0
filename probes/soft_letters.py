"""A network's answer as a function of mixtures of letters, which has derivatives.

B batch, T tokens, K bases that are not N, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.models.language import reads_letters
from dnabench.networks.network import Network
from dnabench.pretraining.learner import as_sequences, opposite
from dnabench.probes.mutagenesis import Answer
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.types import Array, N

LETTERS = 5  # A C G T N
OTHER = [3, 2, 1, 0, 4]  # of the other strand
OF_IDS = {"__getitem__", "embedding", "long", "scatter_"}
ABOUT = {"__get__", "dim", "size"}


class SoftAnswer:
    """One answer to a sequence in which each base is a mixture of letters.

    Args:
        network: a kept one, that reads letters; strands are read as in its training.
        codes: uint8 (L,), the sequence.
        answer: of `mutagenesis.answer_of`; its mean and scale are not applied.

    Raises:
        ValueError: a model that trains itself, one of words, or a sequence that it cuts.
    """

    def __init__(self, network: Network, codes: Array, answer: Answer) -> None:
        model = network.model
        if model.custom_trainer:
            raise ValueError(f"{model.name} has no gradients; use `dnabench probe mutagenesis`")
        if not reads_letters(network.card.record.trial.options, model):
            raise ValueError(
                f"{model.name} reads words of several bases, which have no gradient by base; use "
                "`dnabench probe mutagenesis`"
            )
        self._network, self._answer, self.known = network, answer, np.flatnonzero(codes < N)
        both = network.recipe.rc == "conjoin"
        strands = [codes, opposite(codes[None])[0]][: 1 + both]
        self._strands = [self._read(one) for one in strands]

    def _read(self, codes: Array) -> tuple[Tensor, Tensor]:
        """Ids (1, T) of a strand, and which tokens are its bases, (K,)."""
        changed = np.where(codes < N, (codes + 1) % N, codes)
        ids, other = (self._encode(one[None]) for one in (codes, changed))
        places = np.flatnonzero(ids != other) if ids.shape == other.shape else np.zeros(0)
        if len(places) != len(self.known):
            raise ValueError(
                f"{self._network.model.name} cuts sequences of {len(codes)} bp; give shorter ones"
            )
        device = self._network.device
        return torch.from_numpy(ids[None].astype(np.int64)).to(device), torch.from_numpy(places)

    def _encode(self, codes: Array) -> Array:
        network = self._network
        tokenizer = network.tokenizer or TOKENIZERS[network.model.tokenizer]
        seqs, recipe = as_sequences(codes), network.recipe
        encoded = tokenizer.shortened(seqs, network.task.length, recipe.padding, recipe.max_length)
        return np.asarray(encoded.ids[0])

    def shares(self, codes: Array) -> Tensor:
        """One-hot letters, float32 (K, 5), of a sequence with N at the same places."""
        one_hot = np.eye(LETTERS, dtype=np.float32)[codes[self.known]]
        return torch.from_numpy(one_hot).to(self._network.device)

    def __call__(self, shares: Tensor) -> Tensor:
        """The answer (B,), of shares of letters (B, K, 5), in float32."""
        logits = []
        for strand, (ids, places) in enumerate(self._strands):
            own = shares.flip(1)[..., OTHER] if strand else shares
            letters = ids.expand(len(shares), -1).as_subclass(Letters)
            letters.follow(places.to(ids.device), own, torch.arange(LETTERS, device=ids.device))
            with Kernels("direct"):
                logits.append(self._network.net(letters, None).float())
        mean = torch.stack(logits).mean(0)
        if self._answer.output < 0:
            return mean[:, 1] - mean[:, 0]
        own = mean[:, self._answer.output]
        if self._network.task.kind in ("regression", "multilabel"):
            return own
        rest = [k for k in range(mean.shape[1]) if k != self._answer.output]
        return own - mean[:, rest].logsumexp(1)


class Letters(Tensor):
    """Ids (B, T); those of bases stand for mixtures of letters once they are looked up."""

    places: Tensor
    shares: Tensor
    alphabet: Tensor

    def follow(self, places: Tensor, shares: Tensor, alphabet: Tensor) -> Letters:
        """Remember which tokens are mixtures, of what, and what has become of A C G T N."""
        self.places, self.shares, self.alphabet = places, shares, alphabet
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow ids to where they are looked up; from there on values are ordinary."""
        name, kwargs = func.__name__, kwargs or {}
        (ids,) = (x for x in args if isinstance(x, Letters))
        with torch._C.DisableTorchFunctionSubclass():
            if name in ABOUT or name == "follow":
                return func(*args, **kwargs)
            out = func(*args, **kwargs)
            if out.dtype == torch.bool:
                return out  # a comparison, such as for padding
            if name not in OF_IDS:
                raise ValueError(
                    f"this network does {name} with letters, which is not followed; use "
                    "`dnabench probe mutagenesis`"
                )
            first = args[0]
            if name == "scatter_":  # one-hot letters
                first = first.new_zeros(LETTERS, first.shape[-1])
            alphabet = func(
                *(ids.alphabet if x is ids else first if x is args[0] else x for x in args),
                **kwargs,
            )
            if not out.is_floating_point():
                return out.as_subclass(cls).follow(ids.places, ids.shares, alphabet)
            mixed = ids.shares.to(out.dtype) @ alphabet
            return out.index_copy(1, ids.places, mixed)
