"""What a trial cannot be, or would do nothing, said before anything runs."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dnabench.types import Model, Recipe, Task

_CHOICES = {
    "optimizer": ("adamw", "adam"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("fp32", "tf32", "bf16", "fp16"),
    "rc": ("none", "augment", "conjoin"),
    "padding": ("mask", "left-n"),
    "finetune": ("full", "lora", "probe"),
}


def check_recipe(recipe: Recipe) -> None:
    """ValueError for a number or word that no training could use."""
    for f in fields(recipe):
        value = getattr(recipe, f.name)
        if f.name in _CHOICES and value not in _CHOICES[f.name]:
            raise ValueError(f"{f.name}={value!r}: must be one of {', '.join(_CHOICES[f.name])}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{f.name}={value}: must be finite")
        if f.name in ("lr", "batch", "epochs", "lora_r", "lora_alpha") and value <= 0:
            raise ValueError(f"{f.name}={value}: must be above 0")
        if f.name in ("warmup", "lr_floor", "lora_dropout") and value >= 1:
            raise ValueError(f"{f.name}={value}: is a share, below 1")
        if (
            f.name in ("weight_decay", "warmup", "lr_floor", "clip", "patience", "lora_dropout")
            and value < 0
        ):
            raise ValueError(f"{f.name}={value}: must not be negative")


def check_fine_tuning(model: Model, task: Task, recipe: Recipe, options: Mapping[str, Any]) -> None:
    """What cannot be, or would do nothing, before anything runs."""
    house, lora = Recipe(), recipe.finetune == "lora"
    for name in ("lora_r", "lora_alpha", "lora_dropout"):
        if not lora and getattr(recipe, name) != getattr(house, name):
            raise ValueError(f"{name}={getattr(recipe, name)} does nothing without finetune=lora")
    if lora and not model.lora_targets:
        raise ValueError(
            f"{model.name} names no layers for LoRA; name the models that do, as in "
            "--set ntv2-50m.finetune=lora"
        )
    if lora and importlib.util.find_spec("peft") is None:
        raise ValueError("finetune=lora needs peft: pip install 'dnabench[lora]'")
    if task.kind == "per_base" and recipe.rc != "none" and not task.opposite:
        raise ValueError(
            f"rc={recipe.rc}: {task.name} does not say which class is which on the other strand "
            "(Task.opposite); write --rc none"
        )
    words = str(options.get("tokenizer", model.tokenizer)).startswith("bpe")
    usual = model.options.get("vocabulary")
    if usual is not None and options["vocabulary"] != usual and not words:
        raise ValueError(f"vocabulary={options['vocabulary']} does nothing without tokenizer=bpe")


def check_official_tokenizer(model: Model, regime: str) -> None:
    """ValueError for BPE tokens with official weights that were trained on others."""
    weights = model.weights
    if regime.startswith("pretrained:") and not (weights and weights.tokenizer):
        raise ValueError(
            f"the official weights of {model.name} have no BPE tokenizer; leave out tokenizer=bpe"
        )
