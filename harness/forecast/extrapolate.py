"""From the measurements of a probe to the seconds, memory and disk of a trial."""

import math
from collections.abc import Sequence

from dnabench.forecast.timing import Measured
from dnabench.metrics import recorded
from dnabench.protocols import protocol_named
from dnabench.registry import MODELS
from dnabench.splits import Sizes, expected_sizes
from dnabench.sweep.trial import task_of
from dnabench.train.build import stores_features
from dnabench.types import Job, Recipe

RECORD = 3000, 70  # bytes of a record; of each metric, split and epoch of its curve
EXPONENTS = 0.5, 1.5  # a fit without gradients grows with its examples within these


def sizes_of(job: Job) -> Sizes:
    """As `expected_sizes`, of the task of a job."""
    return expected_sizes(task_of(job), job.trial)


def trial_seconds(job: Job, m: Measured) -> tuple[float, float]:
    """Seconds of every trial, and more of each worker's first, from a probe of one as costly.

    The first makes features that the others read from disk.
    """
    trial, sizes = job.trial, sizes_of(job)
    recipe, custom = trial.recipe, MODELS[trial.model].custom_trainer
    epochs = m.epochs or recipe.epochs_over(sizes.train)
    watched = sizes.val + (sizes.test if protocol_named(trial.protocol).looks_at_test else 0)
    if custom:
        training, encoded = power_law(m.points, sizes.train), 0.0
    else:
        training = _steps_seconds(recipe, sizes.train, m)
        encoded = float(sizes.train * (1 if recipe.rc == "none" else 2))
    last = sizes.val if trial.tuning else sizes.test  # what is predicted in the end
    known = last if trial.tuning and recipe.finetune == "probe" else 0  # it has those features
    both, anew = 2 if recipe.rc == "conjoin" and not custom else 1, _anew(_pool(job), m)
    encoded += (watched + last - known) * both
    if anew:
        encoded = float(epochs * (sizes.train + watched * both) + last * both)
    loading = m.data * (sizes.train / trial.train_share / max(1, m.n_train))
    evaluation = m.predict * (epochs * watched + last) + m.keep * epochs
    shared = stores_features(trial) and not anew
    if shared:  # of the whole split, for all shares
        encoded += sizes.train / trial.train_share - sizes.train
    seconds = m.fixed + loading + m.storing * sizes.test + training + evaluation
    prepared = m.prepare * encoded
    return (seconds, prepared) if shared else (seconds + prepared, 0.0)


def _pool(job: Job) -> int:
    """Sequences of which a probe has the features in training."""
    trial, sizes = job.trial, sizes_of(job)
    whole = trial.train_share if stores_features(trial) else 1.0
    strands = 1 if trial.recipe.rc == "none" else 2
    return round(strands * (sizes.train / whole + sizes.val))


def _anew(n: int, m: Measured) -> bool:
    """Whether the features of n sequences have no room, so that each batch computes its own."""
    return 0 < m.room < n * m.features


def _steps_seconds(recipe: Recipe, n: int, m: Measured) -> float:
    """Seconds of all training steps over n examples; the last pass ends at `max_steps`."""
    full, rest = divmod(n, recipe.batch)
    epochs, more = divmod(recipe.steps_over(n), max(1, full + (rest > 0)))
    last = linear(m.points, rest) if rest else 0.0
    return (epochs * full + more) * linear(m.points, recipe.batch) + epochs * last


def trial_peak(job: Job, m: Measured) -> int:
    """Bytes of training or evaluation, plus two for each base of all encoded sequences.

    And those of features of all bases, where there is room for them.
    """
    sizes, recipe = sizes_of(job), job.trial.recipe
    custom = MODELS[job.trial.model].custom_trainer
    at = sizes.train if custom else min(recipe.batch, sizes.train)
    training = linear(m.memory, at) if len(m.memory) > 1 else float(m.memory[-1][1])
    evaluation = m.floor + m.each * min(m.full, max(sizes.val, sizes.test))
    strands = 1 if recipe.rc == "none" else 2
    pools = _pool(job), strands * sizes.test
    held = sum(n * m.features for n in pools if not _anew(n, m))
    return round(max(training, evaluation) + held + 2 * strands * sum(sizes) * task_of(job).length)


def trial_disk(job: Job, m: Measured) -> int:
    """Bytes of a record and its predictions."""
    sizes, trial = sizes_of(job), job.trial
    watched = (sizes.val > 0) + protocol_named(trial.protocol).looks_at_test
    epochs = m.epochs or trial.recipe.epochs_over(sizes.train)
    task = task_of(job)
    numbers = len(recorded(task.kind, trial.metric or task.metric)) * watched * epochs
    return round(RECORD[0] + RECORD[1] * numbers + m.stored * sizes.test)


def linear(points: Sequence[tuple[int, float]], at: int) -> float:
    """On the line through the last two points, or through 0 and the only one; never below 0."""
    (n, value), before = points[-1], points[:-1]
    if at == n or not n:
        return value
    slope = value / n
    if before and n > before[-1][0]:
        slope = max(0.0, (value - before[-1][1]) / (n - before[-1][0]))
    return max(0.0, value + slope * (at - n))


def power_law(points: Sequence[tuple[int, float]], at: int) -> float:
    """On the power law through the last two points, its exponent within EXPONENTS."""
    (n, value), before = points[-1], points[:-1]
    exponent = 1.0
    if before and min(value, before[-1][1]) > 0 and n > before[-1][0]:
        exponent = math.log(value / before[-1][1]) / math.log(n / before[-1][0])
    low, high = EXPONENTS
    return float(value * (at / max(1, n)) ** min(high, max(low, exponent)))
