"""Recipes: every number of a training, and how a model's published ones are written down.

This file imports nothing from dnabench.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Literal

SAID = ("source", "differs")  # fields of a recipe that decide nothing


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every training number. The defaults are the house recipe; a Model carries its own."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.1
    # parameters without weight decay: those that the network names in `param_groups`, or all biases
    # and layer norms
    no_decay: Literal["model", "biases-norms"] = "model"
    batch: int = 64  # examples an optimiser step, whatever the device
    norm_batch: int = 0  # examples that a batch norm sees at once, as on one GPU of several
    epochs: int = 20
    max_steps: int = 0  # optimiser steps instead of epochs; 0 = epochs
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    # what the schedule spans: the steps of this training, or those that the whole train split, or
    # train and test together, would take; then training ends before the schedule does
    horizon: Literal["own", "train", "train+test"] = "own"
    warmup: float = 0.01  # share of the schedule; from 1 on, a number of steps
    warmup_from: float = 1e-6  # learning rate of the first step
    lr_floor: float = 0.1  # share of lr where cosine ends
    clip: float = 1.0  # norm of the gradient; 0 = off
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    rc: Literal["none", "augment", "conjoin"] = "none"
    padding: Literal["mask", "left-n", "left-pad"] = "mask"
    max_length: int = 0  # tokens; longer sequences lose their end; 0 = the task's longest
    patience: int = 0  # epochs without a better validation score; 0 = never stop early
    # classes weighed in the loss by one over their frequency in train, so that each counts alike
    class_weight: Literal["none", "balanced"] = "none"
    finetune: Literal["full", "lora", "probe"] = "full"  # probe: a head on frozen features
    # the model's own, of a probe a linear layer; or two convolutions and a linear layer, per base
    head: Literal["own", "conv"] = "own"
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    source: str = "house"
    differs: str = ""  # what is not as in the source, and why; "" = nothing

    @property
    def numbers(self) -> dict[str, Any]:
        """All that decides a result: every field but `source` and `differs`."""
        return {f.name: getattr(self, f.name) for f in fields(Recipe) if f.name not in SAID}

    def epochs_over(self, n: int) -> int:
        """Passes over n examples; where `max_steps` is set, the last one may end early."""
        return -(-self.max_steps // self._steps(n)) if self.max_steps else self.epochs

    def steps_over(self, n: int) -> int:
        """Optimiser steps of a training on n examples that is not stopped early."""
        return self.max_steps or self.epochs * self._steps(n)

    def examples_in(self, n: int, epochs: int) -> int:
        """Examples that are read in so many passes over n, of which `max_steps` may end the last.

        Copies count each time that they are read; the passes need not be all of the training.
        """
        whole, more = divmod(self.max_steps, self._steps(n))
        if not self.max_steps or epochs <= whole:
            return epochs * n
        return whole * n + more * self.batch

    def _steps(self, n: int) -> int:
        """Of a pass over n examples."""
        return max(1, -(-n // self.batch))

    def for_task(self, task: str) -> tuple[Recipe, Mapping[str, Any]]:
        """The recipe of a trial of that task, suite/task, and the options of the model with it."""
        return self, {}


@dataclass(frozen=True, kw_only=True)
class Published(Recipe):
    """A recipe of a model that repeats a source; `for_task` gives that of a trial."""

    options: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of the model
    # pattern of task names, without the suite -> recipe field -> value
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    # recipe field or option -> where its value is from, when that is not `source`
    why: Mapping[str, str] = field(default_factory=dict, hash=False)

    def for_task(self, task: str) -> tuple[Recipe, Mapping[str, Any]]:
        """See `Recipe.for_task`; of several patterns that fit, the last one counts."""
        name = task.partition("/")[2] or task
        said = {name: getattr(self, name) for name in SAID}
        own = [values for pattern, values in self.tasks.items() if fnmatchcase(name, pattern)]
        return Recipe(**ChainMap(*reversed(own), self.numbers, said)), self.options

    def house(self, name: str) -> Recipe:
        """Rates, batch and epochs of this one, named `name`; masks and whole sequences."""
        source = (
            f"house: rates, batch and epochs of {name}; padding is masked, sequences are whole, "
            "the schedule ends with training, batch norm sees the whole batch, options are the "
            "model's"
        )
        changed = {"padding": "mask", "horizon": "own", "max_length": 0, "norm_batch": 0}
        return Recipe(**{**self.numbers, **changed, "source": source})
