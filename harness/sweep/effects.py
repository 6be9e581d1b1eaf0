"""Settings of a grid that do nothing, and warm-ups that do not end within their training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dnabench.splits import expected_sizes
from dnabench.sweep.settings import own_key
from dnabench.train.schedule import horizon, learning_rate
from dnabench.types import Model, Recipe, Task, Trial

FLAGS = {"batch": "batch-size", "class_weight": "class-weight"}  # recipe field -> flag
# recipe field -> the setting that switches it off, "" where it counts; and the way out
IDLE: dict[str, tuple[Callable[[Recipe], str], str]] = {
    "lr_floor": (
        lambda r: "" if r.schedule == "cosine" else f"schedule={r.schedule}", "schedule=cosine"
    ),
    "warmup_from": (lambda r: "" if r.warmup else "warmup=0", "warmup=0.01"),
}  # fmt: skip


class Late(NamedTuple):
    """A warm-up that does not end within the training."""

    task: str
    steps: int  # of the training
    reached: float  # share of lr
    instead: str  # a warm-up that ends


def effects(
    trials: Sequence[Trial], models: Iterable[Model], tasks: Iterable[Task],
    settings: Sequence[str], overrides: Mapping[str, Any], strict: bool = True,
) -> list[str]:  # fmt: skip
    """What to say before trials run: of flags that do nothing, and of warm-ups that do not end.

    Args:
        trials: of one seed.
        models: of these trials.
        tasks: of these trials.
        settings: as the user wrote them, name=value or model.name=value; sweeps too.
        overrides: recipe field -> value of a flag.
        strict: refuse a setting that does nothing; else say so, as other trials of a search may
            read it.

    Raises:
        ValueError: a setting that does nothing in any trial, if strict.
    """
    models = list(models)
    by_name = {model.name: model for model in models}
    if strict:
        check_effect(trials, models, settings)
    idle = [why for setting in settings if (why := _idle(setting, trials, by_name))]
    notes = [*_unread(by_name, overrides), *_epochs(trials, by_name, settings, overrides)]
    return [*idle, *notes, *_warmups(trials, by_name, {task.name: task for task in tasks})]


def check_effect(trials: Sequence[Trial], models: Iterable[Model], settings: Sequence[str]) -> None:
    """ValueError for a setting that does nothing in any of the trials; as `effects`, this alone."""
    by_name = {model.name: model for model in models}
    idle = [_idle(one, trials, by_name) or _beside(one, settings, by_name) for one in settings]
    if any(idle):
        raise ValueError("; ".join(filter(None, idle)))


def _beside(setting: str, settings: Sequence[str], models: Mapping[str, Model]) -> str:
    """Why a setting for all models does nothing: each has one of its own; "" = it does."""
    name, own = setting.partition("=")[0], set[str]()
    field = name in Recipe().numbers
    for model in models.values():
        if "." in name or not (name in model.options or (field and model.reads(name))):
            continue
        found = [s for s in settings if s.startswith(tuple(f"{n}.{name}=" for n in _names(model)))]
        if not found:
            return ""
        own.update(found)
    return f"{setting} does nothing beside {' '.join(sorted(own))}; leave it out" if own else ""


def _names(model: Model) -> tuple[str, ...]:
    return model.name, *model.aliases


def _idle(setting: str, trials: Iterable[Trial], models: Mapping[str, Model]) -> str:
    """Why a setting does nothing in any trial, "" if it does something or is not known here."""
    key = setting.partition("=")[0]
    name = key.rpartition(".")[2]
    if name not in IDLE:
        return ""
    (why, way_out), off = IDLE[name], set[str]()
    for trial in trials:
        model = models[trial.model]
        if not own_key(key, model) or not model.reads(name) or name in model.options:
            continue
        if not (found := why(trial.recipe)):
            return ""
        off.add(found)
    where = f"{setting} does nothing with {' or '.join(sorted(off))}"
    return f"{where}; leave it out, or write --set {key.removesuffix(name)}{way_out}" if off else ""


def _unread(models: Mapping[str, Model], overrides: Mapping[str, Any]) -> Iterator[str]:
    """Flags that no model reads."""
    unread = {k: v for k, v in overrides.items() if not any(m.reads(k) for m in models.values())}
    if unread:
        flags = " ".join(f"--{FLAGS.get(k, k)} {v}" for k, v in unread.items())
        do, them = ("do", "them") if len(unread) > 1 else ("does", "it")
        read = "does not read" if len(models) == 1 else "do not read"
        yield f"{flags} {do} nothing: {', '.join(models)} {read} {them}; leave {them} out"


def _epochs(
    trials: Sequence[Trial], models: Mapping[str, Model], settings: Sequence[str],
    overrides: Mapping[str, Any],
) -> Iterator[str]:  # fmt: skip
    """Epochs that the user asks for beside steps, which decide in all trials."""
    keys = [s for s in settings if s.partition("=")[0].rpartition(".")[2] == "epochs"]
    asked = [f"--epochs {overrides['epochs']}"] if "epochs" in overrides else keys
    steps = {t.recipe.max_steps for t in trials if models[t.model].reads("epochs")}
    if asked and steps and all(steps):
        counted = ", ".join(map(str, sorted(steps)))
        yield (
            f"{', '.join(asked)} does nothing beside max_steps={counted}, which counts steps in "
            "place of epochs; leave out one of the two"
        )


def _warmups(
    trials: Iterable[Trial], models: Mapping[str, Model], tasks: Mapping[str, Task]
) -> Iterator[str]:
    """A line for each model and warm-up that does not end on some tasks."""
    found: dict[tuple[str, float], list[Late]] = {}
    for trial in trials:
        if models[trial.model].reads("warmup") and (late := _late(trial, tasks[trial.task])):
            found.setdefault((trial.model, trial.recipe.warmup), []).append(late)
    for (model, warmup), some in found.items():
        names = list(dict.fromkeys(late.task for late in some))
        on = names[0] + f" and {len(names) - 1} more" * (len(names) > 1)
        counts = sorted({late.steps for late in some})
        steps = "1 step" if counts == [1] else f"{_range(counts)} steps"
        reached, last = max(late.reached for late in some), min(some, key=lambda late: late.steps)
        yield (
            f"{model}: the warm-up (warmup={warmup:g}) does not end within about {steps} of "
            f"training on {on}, so the learning rate stays at {100 * reached:.2g} % of lr or less; "
            f"train longer, or write --set {model}.warmup={last.instead}"
        )


def _range(counts: Sequence[int]) -> str:
    return f"{counts[0]:,}" + f" to {counts[-1]:,}" * (len(counts) > 1)


def _late(trial: Trial, task: Task) -> Late | None:
    """None where the warm-up ends, so that a step has the whole rate."""
    recipe, n = trial.recipe, expected_sizes(task, trial).train
    steps = recipe.steps_over(n)
    scheduled = horizon(recipe, task, trial.limit, trial.train_share) or n
    total = recipe.max_steps or recipe.epochs * math.ceil(scheduled / recipe.batch)
    warm = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * total
    if not n or steps - 1 >= warm:
        return None
    reached = learning_rate(steps - 1, total, recipe) / recipe.lr
    return Late(task.name, steps, reached, "0.1" if steps - 1 >= 0.1 * total else "0")
