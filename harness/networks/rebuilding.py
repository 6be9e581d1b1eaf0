"""Whether the files of a network make the network that was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.networks.network import Network, assembled
from dnabench.registry import MODELS
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Learner, Split

if TYPE_CHECKING:
    from torch import Tensor

    from dnabench.networks.card import Card

ROUNDING = 1e-3  # of the largest logit
SEED = 20_011  # other random numbers than those of the trial, as a later process will have


def check_rebuilt(
    card: Card,
    tensors: Mapping[str, Tensor],
    learner: Learner,
    tokenizer: Tokenizer | None,
    few: Split,
) -> None:
    """Raise ValueError unless the tensors, in a network built anew, give the learner's logits.

    Args:
        card: what the network is.
        tensors: that would be stored.
        learner: that was trained.
        tokenizer: None = the model needs none.
        few: examples to compare the logits of.
    """
    import torch

    model, recipe = MODELS[card.record.trial.model], card.record.trial.recipe
    recipe, device = replace(recipe, precision="fp32"), getattr(learner, "device", "cpu")
    seqs, other = few.seqs.head(card.task["length"]), few.other
    other = other and other.head(card.task["length"])

    def logits(net: Any) -> Any:
        return Network(card, model, net, tokenizer, recipe, device).prepared(seqs, other)()

    trained = logits(learner if model.custom_trainer else getattr(learner, "net", None))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            rebuilt = logits(assembled(card, model, tensors, "what would be stored"))
    except Exception as e:  # the user's code may raise anything
        raise ValueError(
            f"{model.name} cannot be kept: building it again failed: {type(e).__name__}: {e}"
        ) from e
    largest = float(np.abs(np.nan_to_num(trained)).max(initial=0))
    if not np.allclose(rebuilt, trained, rtol=0, atol=ROUNDING * largest, equal_nan=True):
        raise ValueError(
            f"{model.name} cannot be kept: built again with its stored weights, it gives other "
            f"logits (by up to {float(np.abs(rebuilt - trained).max()):.2g}). Something that it "
            "draws or changes is not in its state_dict: make that a parameter, or a buffer with "
            "persistent=True"
        )
