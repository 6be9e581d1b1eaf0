"""The learning rate of each step, and how many steps the schedule spans."""

import math

from dnabench.splits import size_under
from dnabench.types import Recipe, Task


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The learning rate of a step, counted from 0, where the schedule spans `total` steps.

    During a warm-up of W steps s + (lr - s) step / W, with s = `warmup_from`. After it lr
    ("constant"), lr (total - step) / (total - W) ("linear"), or
    floor + (lr - floor) (1 + cos(pi step / total)) / 2 ("cosine", where the warm-up is not
    subtracted from the step). Beyond `total` the last two stay at 0 and at the floor.

    Source:
        docs/models.md#learning-rate: as HyenaDNA, Caduceus and ConvNova are configured; linear as
        in transformers' get_linear_schedule_with_warmup, with `warmup_from` 0.
    """
    warm = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * total
    if step < warm:
        return recipe.warmup_from + step * (recipe.lr - recipe.warmup_from) / warm
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "linear":
        return recipe.lr * max(0, total - step) / max(1, total - warm)
    floor = recipe.lr * recipe.lr_floor
    share = min(step / total, 1)
    return floor + (recipe.lr - floor) * (1 + math.cos(math.pi * share)) / 2


def horizon(recipe: Recipe, task: Task, limit: float, share: float = 1.0) -> int:
    """Examples that an epoch of the schedule has; 0 = those that are trained on.

    Args:
        recipe: its `horizon` says whose steps the schedule spans.
        task: gives the size of its splits, before anything is held out for validation.
        limit: of the trial; it shortens the schedule too.
        share: of train that is trained on; it shortens the schedule as well.
    """
    splits = recipe.horizon.split("+")
    n = sum(size_under(limit, n) for split, n in task.counts.items() if split in splits)
    return round(share * n)
