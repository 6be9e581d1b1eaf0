"""The learning rate of each step."""

import math

from dnabench.types import Recipe


def learning_rate(step: int, total: int, recipe: Recipe) -> float:
    """The learning rate of a step, counted from 0, of `total` in the whole training.

    During a warm-up of W steps 1e-6 + (lr - 1e-6) step / W. After it lr ("constant"),
    lr (total - step) / (total - W) ("linear"), or floor + (lr - floor) (1 + cos(pi step / total)) /
    2 ("cosine", where the warm-up is not subtracted from the step).

    Source:
        docs/models.md#learning-rate: as HyenaDNA, Caduceus and ConvNova are configured.
    """
    warm = recipe.warmup * total
    if step < warm:
        return 1e-6 + step * (recipe.lr - 1e-6) / warm
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "linear":
        return recipe.lr * (total - step) / (total - warm)
    floor = recipe.lr * recipe.lr_floor
    return floor + (recipe.lr - floor) * (1 + math.cos(math.pi * step / total)) / 2
