"""`dnabench list ...`: what there is, as text. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS, VALIDATION
from dnabench.registry import MODELS, TASKS
from dnabench.sweep.grid import suites
from dnabench.types import Recipe
from dnabench.weights import describe


def models() -> str:
    """Every model with its size and options."""
    rows = [
        (m.name, size(m.n_params), _options(m.options), m.license, describe(m.weights), m.source)
        for m in (MODELS[name] for name in MODELS)
    ]
    header = ("model", "parameters", "options", "licence", "official weights", "source")
    return _table(rows, header)


def tasks() -> str:
    """Every task with its counts."""
    rows = [
        (
            t.name, t.kind, len(t.classes), t.length, t.metric,
            "/".join(str(t.counts.get(s, "-")) for s in ("train", "dev", "test")),
            t.license, t.source,
        )
        for t in (TASKS[name] for name in TASKS)
    ]  # fmt: skip
    header = ("task", "kind", "classes", "bp", "metric", "train/dev/test", "licence", "source")
    return _table(rows, header)


def suite_list() -> str:
    """Every suite with its tasks."""
    return _table([(s, ", ".join(names)) for s, names in suites().items()], ("suite", "tasks"))


def protocols() -> str:
    """Every protocol and why it exists."""
    rows = [
        (p.name, VALIDATION[p.validation], p.checkpoint,
         "every epoch" if p.looks_at_test else "once, after training", p.why)
        for p in PROTOCOLS.values()
    ]  # fmt: skip
    return _table(rows, ("protocol", "validation", "checkpoint", "test is read", "why"))


def recipes() -> str:
    """Every recipe of every model: what differs from the house recipe."""
    house = asdict(Recipe())
    rows = []
    for name in MODELS:
        for key, recipe in MODELS[name].recipes.items():
            fields = {k: v for k, v in asdict(recipe).items() if k != "source"}
            own = {k: v if MODELS[name].reads(k) else "" for k, v in fields.items()}
            main = {k: own.pop(k) for k in ("lr", "weight_decay", "batch", "epochs", "schedule")}
            rest = {k: v for k, v in own.items() if v not in (house[k], "")}
            rows.append((name, key, *main.values(), _options(rest), recipe.source))
    header = ("model", "recipe", "lr", "weight decay", "batch", "epochs", "schedule", "other")
    return _table(rows, (*header, "source"))


def metrics() -> str:
    """Every metric and what it is."""
    rows = [(m.name, m.label, ", ".join(m.kinds), m.description) for m in METRICS.values()]
    return _table(rows, ("metric", "label", "task kinds", "what"))


def size(n: int) -> str:
    """A number of parameters in three digits: 386K, 1.69M, 27.3M; a dash for 0."""
    for unit, name in ((1_000_000, "M"), (1_000, "K")):
        if n >= unit:
            x = n / unit
            return (
                f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f}{name}"
                if name == "M"
                else f"{x:.0f}K"
            )
    return str(n) if n else "-"


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(
        f"{k}={str(v).lower() if v is True or v is False else v}" for k, v in options.items()
    )


def _table(rows: list[tuple[Any, ...]], header: tuple[str, ...]) -> str:
    return tabulate(rows, header, disable_numparse=True)


LISTINGS: dict[str, Callable[[], str]] = {
    "models": models, "tasks": tasks, "suites": suite_list,
    "protocols": protocols, "recipes": recipes, "metrics": metrics,
}  # fmt: skip
