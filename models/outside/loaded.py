"""Weights that a network's own code loads: found by building it twice.

Import nothing of it for models of dnabench, whose code draws all weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dnabench.types import Model, Task

LENGTH = 512  # bp; a power of 2, which suits pooling
_CACHE: dict[tuple[object, ...], float | None] = {}


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

    The networks are those for two outputs and LENGTH bp, so that a model has one share, which is
    part of its trials' ids, on all tasks of a kind; where there is no such network, those for the
    task.

    Returns:
        0 for a model of dnabench, one that is not a network, and one that cannot be built: its
        trials say why.
    """
    if of_dnabench(model.build) or model.custom_trainer:
        return 0.0
    usual = replace(task, classes=("0", "1"), length=LENGTH)
    shares = (_share(model, of, options) for of in (usual, task))
    return next((share for share in shares if share is not None), 0.0)


def _share(model: Model, task: Task, options: Mapping[str, Any]) -> float | None:
    """None for a network that cannot be built; looked at once in a process."""
    of = task.kind, task.n_outputs, task.length
    key = model.name, json.dumps(options, sort_keys=True, default=str), *of
    if key not in _CACHE:
        _CACHE[key] = _looked_at(model, task, options)
    return _CACHE[key]


def _looked_at(model: Model, task: Task, options: Mapping[str, Any]) -> float | None:
    import torch

    drawn = []
    try:
        with torch.random.fork_rng(devices=[]):
            for seed in (0, 1):
                torch.manual_seed(seed)
                drawn.append(dict(model.build(task, options).named_parameters()))
    except Exception:  # a plugin may raise anything
        return None
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
