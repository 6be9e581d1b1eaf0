"""Checks of a trial's settings before anything runs."""

import importlib.util
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dnabench.shares import check_share, part_of_train
from dnabench.splits import cut, size_under
from dnabench.tokens.tokenizers import check_vocabulary
from dnabench.types import Model, Protocol, Recipe, Task

_CHOICES = {
    "optimizer": ("adamw", "adam"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("fp32", "tf32", "bf16", "fp16"),
    "rc": ("none", "augment", "conjoin"),
    "padding": ("mask", "left-n", "left-pad"),
    "no_decay": ("model", "biases-norms"),
    "horizon": ("own", "train", "train+test"),
    "finetune": ("full", "lora", "probe"),
    "head": ("own", "conv"),
    "class_weight": ("none", "balanced"),
}
_POSITIVE = ("lr", "batch", "epochs", "lora_r", "lora_alpha")
_SHARES = ("lr_floor", "lora_dropout")


def check_recipe(recipe: Recipe) -> None:
    """ValueError for a value that no training could use."""
    for name, value in asdict(recipe).items():
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(f"{name}={value!r}: must be one of {', '.join(_CHOICES[name])}")
        if isinstance(value, str):
            continue
        if not math.isfinite(value):
            raise ValueError(f"{name}={value}: must be finite")
        if name in _POSITIVE and value <= 0:
            raise ValueError(f"{name}={value}: must be above 0")
        if name in _SHARES and value >= 1:
            raise ValueError(f"{name}={value}: is a share, below 1")
        if value < 0:
            raise ValueError(f"{name}={value}: must not be negative")
    if recipe.warmup >= 1 and recipe.warmup % 1:
        raise ValueError(f"warmup={recipe.warmup}: give a share below 1 or a number of steps")
    if recipe.max_steps and recipe.horizon != "own":
        raise ValueError(
            f"horizon={recipe.horizon} counts epochs, and max_steps={recipe.max_steps} replaces "
            "them: leave out one of the two"
        )


def check_fine_tuning(model: Model, task: Task, recipe: Recipe, options: Mapping[str, Any]) -> None:
    """ValueError for fine-tuning that the model or task cannot do, or a setting without effect."""
    house, lora = Recipe(), recipe.finetune == "lora"
    for name in ("lora_r", "lora_alpha", "lora_dropout"):
        if not lora and getattr(recipe, name) != getattr(house, name):
            raise ValueError(f"{name}={getattr(recipe, name)} does nothing without finetune=lora")
    if lora and not model.lora_targets:
        raise ValueError(
            f"{model.name} names no layers for LoRA; set it for models that do, as in "
            "--set ntv2-50m.finetune=lora"
        )
    if lora and importlib.util.find_spec("peft") is None:
        raise ValueError("finetune=lora needs peft: pip install 'dnabench[lora]'")
    if task.kind == "regression" and recipe.class_weight != "none":
        raise ValueError(
            f"class_weight={recipe.class_weight}: {task.name} is a regression, which has no "
            "classes; leave it out"
        )
    if task.kind == "per_base" and recipe.rc != "none" and not task.opposite:
        raise ValueError(
            f"rc={recipe.rc}: {task.name} does not declare the classes of the other strand "
            "(Task.opposite); write --rc none"
        )
    if task.kind == "per_base" and recipe.max_length:
        raise ValueError(
            f"max_length={recipe.max_length}: {task.name} has a label for every base, so nothing "
            "may be cut off; leave it out"
        )
    letters = model.tokenizer_name(options) == "char"
    if letters and 0 < recipe.max_length < model.least:
        raise ValueError(
            f"max_length={recipe.max_length}: {model.name} needs {model.least} bp, so it cannot be "
            f"built for {task.name}; write {model.least} or more, or leave it out"
        )
    if recipe.padding != "mask" and not letters and model.reads("padding"):
        raise ValueError(
            f"padding={recipe.padding} is defined for single letters, and the tokens of "
            f"{model.name} are {model.tokenizer_name(options)}; write --set padding=mask"
        )
    if recipe.head == "conv":
        _check_convolutions(model, task, recipe)
    check_vocabulary(model, options)


def _check_convolutions(model: Model, task: Task, recipe: Recipe) -> None:
    """ValueError where the features of neighbouring bases are not there for a head to read."""
    if task.kind != "per_base":
        raise ValueError(
            f"head=conv reads the features of neighbouring bases, for a label of each; {task.name} "
            f"is a {task.kind} task, with one for each sequence: write --set head=own, or leave "
            "conv out of --space"
        )
    if model.custom_trainer:
        raise ValueError(f"head=conv: {model.name} is no network of PyTorch; leave one of them out")
    if recipe.padding != "mask":
        raise ValueError(
            f"head=conv: padding={recipe.padding} would be read as bases beside the first one; "
            "write --set padding=mask"
        )


def check_shares(
    shares: Iterable[float], task: Task, protocol: Protocol, seed: int, limit: float, own: bool
) -> None:  # fmt: skip
    """ValueError for a share of train that leaves too little of a task.

    Data of the user's own, which are read by then, are cut as the first seed will cut them; of
    others the numbers of examples are checked.
    """
    small = [share for share in shares if share < 1]
    whole = cut(task, protocol, seed, limit)[0] if own and small else None
    for share in small:
        check_share(share, size_under(limit, task.counts["train"]), task)
        if whole is not None:
            part_of_train(whole, share, task, seed)


def check_cut(
    seeds: Iterable[int], task: Task, protocol: Protocol, limit: float, tuning: bool
) -> None:  # fmt: skip
    """ValueError where no seed has a validation that a trial could use; reads the user's data.

    `seeds` are those of the cut, from `splits.streams`. A seed that has none beside one that has
    is refused in its own trial.
    """
    problem: ValueError | None = None
    for seed in seeds:
        try:
            cut(task, protocol, seed, limit, tuning)
        except ValueError as e:
            problem = problem or e
        else:
            return
    if problem is not None:
        raise problem


def check_official_tokenizer(model: Model, regime: str) -> None:
    """ValueError for BPE tokens with official weights that were trained on other tokens."""
    weights = model.weights
    if regime.startswith("pretrained:") and not (weights and weights.tokenizer):
        raise ValueError(
            f"the official weights of {model.name} have no BPE tokenizer; leave out tokenizer=bpe"
        )
