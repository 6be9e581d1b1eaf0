"""What a training will take, from a few of its own steps; and the steps that a budget buys."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.host import memory
from dnabench.models.language import language_model
from dnabench.pretraining.folder import begun_in
from dnabench.pretraining.pretrain import learner_of
from dnabench.pretraining.ranks import ALONE, Ranks, device_here
from dnabench.pretraining.recipes import check_warmup
from dnabench.pretraining.training import Training, steps_for
from dnabench.pretraining.windows import draw
from dnabench.train.flops import flops_of
from dnabench.types import ONE_CPU, Resources

UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
BUDGET = re.compile(r"([\d.]+(?:e[+-]?\d+)?)\s*([kMGTP]?)\s*(bp|steps?|FLOP|h)?")
SECONDS = 4.0  # of measuring, about
BACKWARD = 3  # a training step takes so many times the operations of a forward pass


class Budget(NamedTuple):
    """How long is trained: so many bp, steps, FLOP or hours."""

    amount: float
    unit: str  # bp, steps, FLOP, h

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


class Cost(NamedTuple):
    """What was measured. `peak` is the memory of the process, or on a GPU that of its tensors."""

    step: float  # seconds
    evaluation: float  # seconds
    peak: int  # bytes
    params: int

    def seconds(self, steps: int, evaluations: int) -> float:
        """Of a whole training."""
        return steps * self.step + evaluations * self.evaluation


def budget_named(text: str) -> Budget:
    """20M, 1.5Gbp, 10k steps, 1e18 FLOP or 2.5h; ValueError for anything else."""
    found = BUDGET.fullmatch(text.strip())
    try:
        amount = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or not 0 < amount < 1e30:
        raise ValueError(
            f"--budget {text!r}: write the bp to see as 20M, 1.5G or 300000, or 10k steps, 1e18 "
            "FLOP, 2.5h"
        )
    unit = found[3] or "bp"
    return Budget(amount, "steps" if unit == "step" else unit)


def bought(
    budget: Budget, training: Training, folder: Path, measure: Callable[[], Cost]
) -> Training:
    """The training with the steps that a budget buys.

    Args:
        budget: FLOP are those of three forward passes a step, as `dnabench list models` counts
            them; hours are measured, unless the folder has a training that was begun.
        training: its steps are replaced.
        folder: of the training.
        measure: called for hours; see `measured`.

    Raises:
        ValueError: FLOP of a network whose operations cannot be counted; hours too few for a step,
            or others than those of the unfinished training in the folder; a warm-up that lasts as
            long as the training, or longer.
    """
    steps = _steps_of(budget, training, folder, measure)
    check_warmup(training.how, steps)
    return replace(training, steps=steps, budget=str(budget))


def _steps_of(budget: Budget, training: Training, folder: Path, measure: Callable[[], Cost]) -> int:
    if budget.unit == "bp":
        return steps_for(budget.amount, training.how)
    if budget.unit == "steps":
        return max(1, round(budget.amount))
    if budget.unit == "FLOP":
        return max(1, round(budget.amount / flops_of_step(training)))
    steps, before = begun_in(folder)
    if steps and before != str(budget):
        raise ValueError(
            f"{folder} has an unfinished training with --budget {before or f'{steps} steps'!r}, "
            f"not {str(budget)!r}; give the command that began it, or another folder with --to"
        )
    return steps or _steps_in(budget, training.evaluations, measure())


def _steps_in(hours: Budget, evaluations: int, cost: Cost) -> int:
    """How many there is time for beside the evaluations; ValueError if there is none for one."""
    steps = int((3600 * hours.amount - evaluations * cost.evaluation) / cost.step)
    if steps < 1:
        raise ValueError(
            f"--budget {str(hours)!r}: here {evaluations} evaluations take "
            f"{evaluations * cost.evaluation:.3g} s and a step {cost.step:.3g} s, so there is "
            "no time to train; give more hours, or fewer evaluations with --looks"
        )
    return steps


def flops_of_step(training: Training) -> int:
    """FLOP of an optimiser step; ValueError if they cannot be counted."""
    from dnabench.pretraining.learner import as_sequences

    length = training.how.length
    codes, _ = draw(training.sources, 64, np.random.default_rng(0))
    tokens = training.tokenizer(as_sequences(codes), length, "mask").tokens
    each = flops_of(
        lambda: language_model(training.model, training.options, length), round(tokens.mean())
    )
    if not each:
        raise ValueError(
            f"--budget in FLOP: those of {training.model.name} cannot be counted; give bp, steps "
            "or hours"
        )
    return BACKWARD * each * training.how.recipe.batch


def measured(
    training: Training, resources: Resources = ONE_CPU, ranks: Ranks = ALONE,
    seconds: float = SECONDS,
) -> Cost:  # fmt: skip
    """Take some steps of a training and an evaluation; nothing is kept.

    Accuracy:
        The median of at least three steps after the first one, by the clock: what other programs
        take meanwhile counts.
    """
    resources = resources._replace(device=device_here(resources.device))
    alone = replace(training, steps=10**9, looks=10**9)  # an evaluation after each step
    memory.reset_peak(resources.device)
    learner = learner_of(alone, resources, ranks)
    predict = learner.held_out(training.watched())
    learner.train_epoch()
    times, begun = list[float](), time.monotonic()
    while ranks.largest(len(times) < 3 or time.monotonic() - begun < seconds, resources.device):
        start = time.monotonic()
        learner.train_epoch()
        times.append(time.monotonic() - start)
    start = time.monotonic()
    predict()
    evaluation = time.monotonic() - start
    step, evaluation = (
        ranks.largest(n, resources.device) for n in (statistics.median(times), evaluation)
    )
    return Cost(step, evaluation, memory.peak(resources.device), learner.n_params)
