"""Options and recipes as text."""

from typing import Any

from dnabench.registry import MODELS
from dnabench.types import Recipe

QUIET = ("no_decay", "norm_batch", "max_steps", "horizon", "warmup_from", "max_length",
         "class_weight", "head")  # fmt: skip


def option_text(value: Any) -> str:
    """A value as it is written after `--set name=`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def recipe_text(model: str, recipe: Recipe) -> str:
    """Every number that the model reads, then the source and what is not as in it.

    Fields of LoRA, and those of QUIET at the house's values, are left out where they do nothing.
    """
    house, lora = Recipe().numbers, recipe.finetune == "lora"
    numbers = [
        f"{k}={option_text(v)}"
        for k, v in recipe.numbers.items()
        if (model not in MODELS or MODELS[model].reads(k))
        and (lora or not k.startswith("lora_"))
        and not (k in QUIET and v == house[k])
    ]
    return " ".join([*numbers, f"(source: {recipe.source}{differs(recipe)})"])


def differs(recipe: Recipe) -> str:
    """What a recipe does not do as its source, after a semicolon; "" where there is nothing."""
    return f"; differs: {recipe.differs}" if recipe.differs else ""
