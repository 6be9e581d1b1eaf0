"""How language models are trained: the house's way, and what sources say of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from dnabench.pretraining.hiding import Hiding
from dnabench.registry import explain_miss
from dnabench.train.schedule import learning_rate
from dnabench.types import Recipe

USUAL = Hiding()
HIDDEN, SOFT_MASKED = "hidden_", "soft_masked_weight"


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """All numbers of a pretraining but its budget.

    Args:
        recipe: optimiser, batch, schedule, precision; its epochs are not used.
        hiding: of masked models.
        length: bp of a window.
        small_weight: weight of the loss of soft-masked bases.
        random: what a random token is drawn from, see `vocabulary.vocabulary_of`.
        source: where the numbers are from.
        differs: what is not as there.
    """

    recipe: Recipe
    hiding: Hiding = USUAL
    length: int = 512
    small_weight: float = 1.0
    random: Literal["known", "all"] = "known"
    source: str = "house"
    differs: str = ""

    def __post_init__(self) -> None:
        """ValueError for a weight that is none."""
        if not 0 <= self.small_weight < math.inf:
            raise ValueError(
                f"{SOFT_MASKED}={self.small_weight:g}: a weight is a number from 0 on; 1 counts "
                "soft-masked bases as all others"
            )

    @property
    def numbers(self) -> dict[str, float]:
        """What `--set` may change beside the fields of `recipe`."""
        return {**{f"{HIDDEN}{f}": v for f, v in asdict(self.hiding).items()},
                SOFT_MASKED: self.small_weight}  # fmt: skip

    def changed(self, numbers: Mapping[str, Any]) -> Pretraining:
        """With some of `numbers` replaced; ValueError for values that cannot be."""
        hiding = {f.removeprefix(HIDDEN): v for f, v in numbers.items() if f != SOFT_MASKED}
        return replace(
            self, hiding=replace(self.hiding, **hiding),
            small_weight=numbers.get(SOFT_MASKED, self.small_weight),
        )  # fmt: skip


CONVNOVA = "aim-uofa/ConvNova@c606027"
RECIPES = {
    "house": Pretraining(
        recipe=Recipe(batch=64, warmup=0.02), small_weight=0.1,
        source="house: the usual 15 % with 80/10/10, and repeats at a tenth as GPN does",
    ),
    "convnova": Pretraining(
        recipe=Recipe(lr=1e-3, weight_decay=0.0, batch=768),
        hiding=Hiding(passes=2), length=1024,
        source=f"{CONVNOVA} configs/experiment/hg38-pretrain/convnova.yaml and hg38_dataset.py: "
        "15 %, 80/10/10, hidden twice with the loss on the second time, lr 1e-3, 6 devices x 128",
        differs="their 2,000 epochs are one crop an interval each; here the budget is in bp. Their "
        "sequences end with an N",
    ),
    "convnova-paper": Pretraining(
        recipe=Recipe(lr=1e-3, weight_decay=0.1, batch=512),
        hiding=Hiding(share=0.1, as_mask=1.0, as_random=0.0), length=1024,
        source="arXiv 2502.18538 A.1: 10 % of the bases, all replaced by N; batch 512, 400 epochs",
        differs="weight decay from its table 7; length and rate from the code; the budget is in bp",
    ),
    "convnova-table7": Pretraining(
        recipe=Recipe(lr=1e-3, weight_decay=0.1, batch=256),
        hiding=Hiding(share=0.1, as_mask=1.0, as_random=0.0), length=1024,
        source="arXiv 2502.18538 table 7: batch 256, 200 epochs, weight decay 0.1",
        differs="length and rate from the code; the budget is in bp",
    ),
    "gpn": Pretraining(
        recipe=Recipe(
            lr=1e-3, weight_decay=0.01, batch=2048, schedule="constant", warmup=1000,
            warmup_from=0.0, clip=1.0,
        ),
        small_weight=0.1, random="all",
        source="songlab-cal/gpn README, gpn.ss.run_mlm: lr 1e-3, 1,000 warm-up steps, batch 2,048, "
        "soft-masked bases at 0.1, 15 % with 80/10/10, windows of 512 bp",
        differs="theirs is bf16, and cuts windows every 256 bp, as --stride 256 of whole genomes, "
        "but of exons and promoters (--regions) windows are drawn at random here",
    ),
    "gpn-thesis": Pretraining(
        recipe=Recipe(
            lr=1e-3, weight_decay=0.01, batch=1024, schedule="constant", warmup=1000,
            warmup_from=0.0,
        ),
        small_weight=0.1, random="all",
        source="Büdenbender 2025, thesis, University of Cologne, 4.3: its code accumulates 4 x 256 "
        "windows, its text says 256",
        differs="its last 30,000 of 270,000 steps follow a cosine; theirs is bf16, and windows are "
        "drawn as for gpn",
    ),
    "hyenadna": Pretraining(
        recipe=Recipe(lr=6e-4, weight_decay=0.1, batch=256), length=1024,
        source="HazyResearch/hyena-dna configs/experiment/hg38/hg38_hyena.yaml: lr 6e-4, weight "
        "decay 0.1, 1,024 bp, batch 256, cosine",
        differs="theirs is fp16; its 100 epochs are one crop an interval each",
    ),
    "caduceus": Pretraining(
        recipe=Recipe(lr=8e-3, weight_decay=0.1, batch=1024), length=1024,
        source="kuleshov-group/caduceus configs/experiment/hg38/hg38.yaml and "
        "slurm_scripts/run_pretrain_caduceus.sh: lr 8e-3, 2^20 tokens a batch, 15 % with 80/10/10",
        differs="theirs has beta2 0.95 and fp16, and draws random tokens from its vocabulary",
        random="all",
    ),
    "bert": Pretraining(
        recipe=Recipe(
            lr=5e-4, weight_decay=1e-5, batch=4096, schedule="linear", warmup=0.06,
            warmup_from=0.0,
        ),
        random="all",
        source="DNABERT-2, arXiv 2306.15006 section 4: batch 4,096, 15 %, 30,000 of 500,000 steps "
        "of warm-up to 5e-4, then linear",
        differs="windows of 512 bp, theirs of 128 tokens; beta2 and epsilon are PyTorch's",
    ),
}  # fmt: skip


def pretraining_named(name: str) -> Pretraining:
    """A recipe by name; KeyError for an unknown one, with a suggestion."""
    if name not in RECIPES:
        listed = ", ".join(RECIPES)
        raise KeyError(explain_miss("recipe", name, [*RECIPES], f"there are {listed}"))
    return RECIPES[name]


def check_warmup(how: Pretraining, steps: int, settings: str = "--set") -> None:
    """ValueError unless the learning rate reaches `lr` within the steps of a training.

    Args:
        how: whose warm-up may be a number of steps.
        steps: of the training.
        settings: the flag that sets a field of the recipe.
    """
    recipe = how.recipe
    if recipe.warmup < max(1, steps):
        return
    highest, bp = learning_rate(steps - 1, steps, recipe), recipe.batch * how.length
    raise ValueError(
        f"warmup={recipe.warmup:g} is a number of steps, and the budget is {steps:,} steps of "
        f"{bp:,} bp: the learning rate would end at {highest:.3g} and never reach "
        f"lr={recipe.lr:g}; write {settings} warmup=0.02, a share of the steps, or --budget "
        f"{math.floor(recipe.warmup + 1) * bp} or more"
    )


def named_of(how: Pretraining) -> tuple[str, dict[str, Any]] | None:
    """The recipe that a pretraining differs least from, and its own numbers; None = from none.

    The length of windows is not among the numbers.
    """
    numbers = {**how.recipe.numbers, **how.numbers}
    found = {
        name: {
            k: v for k, v in numbers.items() if v != {**known.recipe.numbers, **known.numbers}[k]
        }
        for name, known in RECIPES.items()
        if replace(known.changed(how.numbers), recipe=how.recipe, length=how.length) == how
    }
    name = min(found, key=lambda name: len(found[name]), default=None)
    return None if name is None else (name, found[name])
