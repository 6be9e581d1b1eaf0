"""From what a probe measured to what a trial takes: seconds, memory and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dnabench.forecast.timing import Measured
from dnabench.metrics import metrics_for
from dnabench.protocols import protocol_named
from dnabench.registry import MODELS
from dnabench.splits import VALIDATION_SHARE
from dnabench.sweep.trial import task_of
from dnabench.train.build import stores_features
from dnabench.types import Job

RECORD = 3000, 70  # bytes of a record, and of a metric of a watched split of an epoch
MODEST, STEEP = 0.5, 1.5  # exponents between which a fit without gradients grows with its examples


class Sizes(NamedTuple):
    """Examples of a trial, by what they are for."""

    train: int
    val: int
    test: int


def sizes_of(job: Job) -> Sizes:
    """How many examples a trial trains on, watches and is tested on; to the rounding of a cut."""
    task, trial = task_of(job), job.trial
    counts = {split: _limited(n, trial.limit) for split, n in task.counts.items()}
    validation = protocol_named(trial.protocol).validation
    train, test = counts["train"], counts["test"]
    if "dev" in counts and validation.startswith("dev"):
        return Sizes(train, counts["dev"], test)
    if validation == "dev-or-none":
        return Sizes(train, 0, test)
    held = round(train * VALIDATION_SHARE)
    return Sizes(train - held, held, test)


def _limited(n: int, limit: float) -> int:
    return round(n * limit) if 0 < limit < 1 else min(n, int(limit) or n)


def trial_seconds(job: Job, m: Measured) -> tuple[float, float]:
    """Seconds of a trial, by what was measured of one alike.

    Returns:
        Those of every trial, and those of the first ones only, which make features for the others;
        if they are not too many to be kept.
    """
    trial, sizes = job.trial, sizes_of(job)
    recipe, own = trial.recipe, MODELS[trial.model].custom_trainer
    epochs = m.epochs or recipe.epochs
    watched = sizes.val + (sizes.test if protocol_named(trial.protocol).looks_at_test else 0)
    if own:
        training, encoded = power(m.points, sizes.train), 0.0
    else:
        steps, rest = divmod(sizes.train, recipe.batch)
        epoch = steps * straight(m.points, recipe.batch)
        training = epochs * (epoch + (straight(m.points, rest) if rest else 0.0))
        encoded = float(sizes.train * (1 if recipe.rc == "none" else 2))
    encoded += (watched + sizes.test) * (2 if recipe.rc == "conjoin" and not own else 1)
    loading = m.data * (sizes.train / max(1, m.n_train))
    evaluation = m.predict * (epochs * watched + sizes.test) + m.keep * epochs
    own_seconds = m.fixed + loading + m.storing * sizes.test + training + evaluation
    prepared = m.prepare * encoded
    return (own_seconds, prepared) if stores_features(trial) else (own_seconds + prepared, 0.0)


def trial_peak(job: Job, m: Measured) -> int:
    """Bytes: of training or of evaluation, and two for each base of all encoded sequences."""
    sizes, recipe = sizes_of(job), job.trial.recipe
    at = sizes.train if MODELS[job.trial.model].custom_trainer else min(recipe.batch, sizes.train)
    training = float(m.memory[-1][1])
    if len(m.memory) > 1:
        training = straight([(n, float(size)) for n, size in m.memory], at)
    evaluation = m.floor + m.each * min(m.full, max(sizes.val, sizes.test))
    strands = 1 if recipe.rc == "none" else 2
    return round(max(training, evaluation) + 2 * strands * sum(sizes) * task_of(job).length)


def trial_disk(job: Job, m: Measured) -> int:
    """Bytes of a record and the predictions beside it."""
    sizes, trial = sizes_of(job), job.trial
    watched = (sizes.val > 0) + protocol_named(trial.protocol).looks_at_test
    numbers = len(metrics_for(task_of(job).kind)) * watched * (m.epochs or trial.recipe.epochs)
    return round(RECORD[0] + RECORD[1] * numbers + m.stored * sizes.test)


def straight(points: Sequence[tuple[int, float]], at: int) -> float:
    """On the line through the last two points, or through 0 and the only one; never below 0."""
    (n, value), before = points[-1], points[:-1]
    if at == n or not n:
        return value
    slope = value / n
    if before and n > before[-1][0]:
        slope = max(0.0, (value - before[-1][1]) / (n - before[-1][0]))
    return max(0.0, value + slope * (at - n))


def power(points: Sequence[tuple[int, float]], at: int) -> float:
    """On the power law through the last two points, its exponent between MODEST and STEEP."""
    (n, value), before = points[-1], points[:-1]
    exponent = 1.0
    if before and min(value, before[-1][1]) > 0 and n > before[-1][0]:
        exponent = math.log(value / before[-1][1]) / math.log(n / before[-1][0])
    return float(value * (at / max(1, n)) ** min(STEEP, max(MODEST, exponent)))
