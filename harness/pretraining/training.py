"""A training of a language model: what is trained, on what, for how long."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from dnabench.models.language import language_of
from dnabench.pretraining.hiding import Hiding
from dnabench.pretraining.recipes import Pretraining
from dnabench.pretraining.windows import MOST_N, Drawn, Source, held_out
from dnabench.tokens.tokenizers import Tokenizer, named_tokenizer
from dnabench.types import Model

if TYPE_CHECKING:
    from dnabench.pretraining.starting import Start


EVALUATED = 512  # held-out windows
LOOKS = 20  # evaluations of a training


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, on what, for how long.

    Args:
        model: with a language-model head.
        options: of the model, all of them.
        tokenizer: of the model.
        how: the recipe.
        sources: genomes, with windows of its length.
        steps: optimiser steps.
        looks: evaluations on held-out windows.
        seed: of weights, windows and what is hidden.
        command: what the user typed.
        budget: what bought the steps, as it is said; "" = they were given.
        recompute: whether activations are computed again in the backward pass, which takes less
            memory and more time, and changes no number.
        licences: of the genomes, one for each, as their source says; () = not stated.
        keep_looks: whether the network of each evaluation is kept.
        start: weights that it begins with; None = random ones.
    """

    model: Model
    options: Mapping[str, Any]
    tokenizer: Tokenizer
    how: Pretraining
    sources: Sequence[Source]
    steps: int
    looks: int = LOOKS
    seed: int = 0
    command: str = ""
    budget: str = ""
    recompute: bool = False
    licences: Sequence[str] = ()
    keep_looks: bool = False
    start: Start | None = None

    @property
    def hiding(self) -> Hiding:
        """The recipe's; of overlapping k-mers k neighbours together, all as masks, as DNABERT.

        A token whose neighbours are read shows all its bases but one.
        """
        k = self.tokenizer.spaced
        if not k:
            return self.how.hiding
        return replace(self.how.hiding, span=k, as_mask=1.0, as_random=0.0)

    @property
    def unused_rows(self) -> int:
        """Of the embedding: those beyond the ids of a tokenizer by name."""
        if self.model.tokenizer != "bpe" or named_tokenizer(self.model, self.options) is None:
            return 0
        return int(self.options["vocabulary"]) - self.tokenizer.rows

    @property
    def every(self) -> int:
        """Steps between evaluations."""
        return math.ceil(self.steps / self.looks)

    @property
    def evaluations(self) -> int:
        """How many there are: with weights to begin with, one more before the first step."""
        return self.looks + bool(self.start)

    @property
    def licence(self) -> dict[str, Any]:
        """Of the model's code, and of each genome where the user said it."""
        said = self.licences or ["not stated"] * len(self.sources)
        genomes = [
            {"name": one.genome.name, "license": text}
            for one, text in zip(self.sources, said, strict=True)
        ]
        return {"model": self.model.license, "genomes": genomes}

    def watched(self) -> Drawn:
        """The held-out windows that are evaluated; ValueError if there are none."""
        return held_out(self.sources, EVALUATED)

    def said(self) -> dict[str, Any]:
        """All that decides the weights, as the card has it."""
        recipe = replace(self.how.recipe, max_steps=self.steps)
        how = asdict(self.how) | {"hiding": asdict(self.hiding)}
        del how["recipe"]
        language = language_of(self.model)
        return {
            "model": self.model.name, "options": dict(self.options), "seed": self.seed,
            "recipe": recipe.numbers, "objective": "causal" if language.causal else "masked",
            "how": how, "length": self.how.length, "steps": self.steps, "every": self.every,
            "bp": self.steps * recipe.batch * self.how.length, "strands": language.strands,
            "vocabulary": self.tokenizer.name, "vocabulary_sha256": _digest(self.tokenizer),
            "genomes": [_said(one) for one in self.sources],
            **({"start": {"sha256": self.start.sha256}} if self.start else {}),
        }  # fmt: skip


def _digest(tokenizer: Tokenizer) -> str:
    """Of what was learned or read; "" where the name says all."""
    text = tokenizer.text() if tokenizer.text is not None else ""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _said(one: Source) -> dict[str, Any]:
    places = [one.free, one.regions, one.held]
    digest = hashlib.sha256()
    for part in places:
        digest.update(b"" if part is None else part.tobytes())
    return {
        "name": one.genome.name, "sha256": one.genome.sha256, "bp": one.genome.bp,
        "held_out": list(one.holdout), "places": one.places, "weight": one.weight,
        "windows": digest.hexdigest()[:16], "regions": one.regions is not None,
        "free": one.free.tolist(),
        **({"stride": one.stride} if one.stride else {}),
        **({"most_n": one.most_n} if one.most_n != MOST_N else {}),
    }  # fmt: skip


def steps_for(bp: float, how: Pretraining) -> int:
    """Steps in which at least so many bp are seen."""
    return max(1, math.ceil(bp / (how.recipe.batch * how.length)))
