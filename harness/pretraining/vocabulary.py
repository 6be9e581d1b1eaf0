"""What of a vocabulary can be hidden and predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from dnabench.models.language import entries
from dnabench.pretraining.objectives import Vocabulary
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import IGNORED, MASK, PAD, Model, N, Sequences


def vocabulary_of(
    model: Model, options: Mapping[str, Any], tokenizer: Tokenizer, device: str,
    random: Literal["known", "all"] = "known",
) -> Vocabulary:  # fmt: skip
    """Which ids of a tokenizer can be hidden, and which logits answer for them.

    Tokens with an N, special ones and unknown ones are neither hidden nor predicted.

    Args:
        model: with a language-model head.
        options: of the model.
        tokenizer: of it.
        device: of the tensors.
        random: what a random token is drawn from: those that can be hidden, or the whole
            vocabulary, as transformers' collator does.

    Raises:
        ValueError: a tokenizer without a mask token, unless the model is causal.
    """
    causal = model.language is not None and model.language.causal
    if tokenizer.mask < 0 and not causal:
        raise ValueError(
            f"{tokenizer.name} has no mask token, and {model.name} learns hidden tokens; train a "
            "tokenizer with `dnabench tokenizer`, or take another one"
        )
    asked = torch.full((tokenizer.rows,), IGNORED)
    if letters := entries(model, options):
        asked[:N] = torch.tensor(letters[:N])
    else:
        asked[: tokenizer.size] = torch.arange(tokenizer.size)
    n = tokenizer(Sequences.parse(["N" * 64]), 64, "mask").ids.ravel()
    none = {*tokenizer.specials, *map(int, np.unique(n)), tokenizer.unknown, tokenizer.pad}
    asked[[i for i in none if i >= 0]] = IGNORED
    known = asked != IGNORED
    every = [*range(N + 1), PAD, MASK] if letters else range(tokenizer.size)
    drawn = torch.tensor(list(every)) if random == "all" else known.nonzero().ravel()
    return Vocabulary(
        mask=tokenizer.mask, known=known.to(device), random=drawn.to(device),
        entries=asked.to(device), words=_are_words(tokenizer),
    )  # fmt: skip


def _are_words(tokenizer: Tokenizer) -> bool:
    """Whether tokens stand for several bases and do not overlap."""
    codes = np.random.default_rng(0).integers(0, 4, 512).astype(np.uint8)
    widths = tokenizer(Sequences(codes, np.array([0, 512])), 512, "mask").widths
    return not tokenizer.spaced and widths is not None and int(widths.max()) > 1
