"""Weights that a network's own code loads: found by building it twice.

Import nothing of it for models of dnabench, whose code draws all weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from dnabench.types import Model, Task

_CACHE: dict[tuple[str, str], float] = {}


def of_dnabench(build: Callable[..., Any]) -> bool:
    """Whether a `Model.build` is code of dnabench alone, nothing of a plugin or a file."""
    while isinstance(build, functools.partial):
        if any(map(callable, build.keywords.values())):
            return False
        build = build.func
    module: str = getattr(build, "__globals__", {"__name__": ""})["__name__"]
    return module.partition(".")[0] == "dnabench"


def own_weights(model: Model, task: Task, options: Mapping[str, Any]) -> float:
    """The share of a network's parameters that its own code loads, 0 to 1.

    Two networks are drawn with different seeds. A parameter of two or more dimensions that is equal
    in both was not drawn. It counts as loaded unless it is structure: the same in every row or
    column, or of two values at most, as an identity is.

    Returns:
        0 for a model of dnabench, one that is not a network, and one that cannot be built: its
        trials say why.
    """
    if of_dnabench(model.build) or model.custom_trainer:
        return 0.0
    key = model.name, json.dumps(options, sort_keys=True, default=str)
    if key not in _CACHE:
        _CACHE[key] = _share(model, task, options)
    return _CACHE[key]


def _share(model: Model, task: Task, options: Mapping[str, Any]) -> float:
    import torch

    drawn = []
    try:
        with torch.random.fork_rng(devices=[]):
            for seed in (0, 1):
                torch.manual_seed(seed)
                drawn.append(dict(model.build(task, options).named_parameters()))
    except Exception:  # a plugin may raise anything
        return 0.0
    a, b = drawn
    loaded = sum(p.numel() for name, p in a.items() if name in b and _equal(p, b[name]))
    return float(loaded / max(1, sum(p.numel() for p in a.values())))


def _equal(a: Any, b: Any) -> bool:
    import torch

    if a.ndim < 2 or a.shape != b.shape or not torch.equal(a, b):
        return False
    rows = a.detach().flatten(1)
    structure = bool((rows == rows[:1]).all()) or bool((rows == rows[:, :1]).all())
    return not structure and len(rows.unique()) > 2
