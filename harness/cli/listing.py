"""The tables of `dnabench list`. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dnabench.cli.table import Row, Rows
from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS, VALIDATION
from dnabench.registry import MODELS, TASKS
from dnabench.sweep.own_spaces import more_of, space_of
from dnabench.sweep.tasks import suites
from dnabench.types import Published, Recipe
from dnabench.weights import describe

Table = tuple[Row, Rows]  # header and rows


def models() -> Table:
    """Every model with its size and options."""
    rows: Rows = [
        (m.name, size(m.n_params), _options(m.options), m.license, describe(m.weights), m.source)
        for m in (MODELS[name] for name in MODELS)
    ]
    header = ("model", "parameters", "options", "licence", "official weights", "source")
    return header, rows


def tasks() -> Table:
    """Every task with its counts."""
    rows: Rows = [
        (
            t.name, t.kind, len(t.classes), t.length, t.metric,
            "/".join(str(t.counts.get(s, "-")) for s in ("train", "dev", "test")),
            t.license, t.source,
        )
        for t in (TASKS[name] for name in TASKS)
    ]  # fmt: skip
    header = ("task", "kind", "classes", "bp", "metric", "train/dev/test", "licence", "source")
    return header, rows


def suite_list() -> Table:
    """Every suite with its tasks."""
    return ("suite", "tasks"), [(s, ", ".join(names)) for s, names in suites().items()]


def protocols() -> Table:
    """Every protocol and why it exists."""
    rows: Rows = [
        (p.name, VALIDATION[p.validation], p.checkpoint,
         "every epoch" if p.looks_at_test else "once, after training", p.why)
        for p in PROTOCOLS.values()
    ]  # fmt: skip
    return ("protocol", "validation", "checkpoint", "test is read", "why"), rows


def recipes() -> Table:
    """Every recipe of every model: what differs from the house recipe."""
    house = Recipe().numbers
    rows: Rows = []
    for name in MODELS:
        for key, recipe in MODELS[name].recipes.items():
            own = {k: v if MODELS[name].reads(k) else "" for k, v in recipe.numbers.items()}
            main = {k: own.pop(k) for k in ("lr", "weight_decay", "batch", "epochs", "schedule")}
            rest = {k: v for k, v in own.items() if v not in (house[k], "")}
            if isinstance(recipe, Published):
                rest |= recipe.options
            rows.append((name, key, *main.values(), _options(rest), recipe.differs, recipe.source))
    header = ("model", "recipe", "lr", "weight decay", "batch", "epochs", "schedule", "other")
    return (*header, "differs", "source"), rows


def metrics() -> Table:
    """Every metric and what it is."""
    rows: Rows = [
        (m.name, m.label, "higher" if m.sign > 0 else "lower", ", ".join(m.kinds), m.description)
        for m in METRICS.values()
    ]
    return ("metric", "label", "better", "task kinds", "description"), rows


def spaces() -> Table:
    """Every model with what `dnabench tune` searches."""
    rows: Rows = [
        (m.name, _options(space_of(m)) or "nothing", _options(more_of(m)))
        for m in (MODELS[name] for name in MODELS)
    ]
    return ("model", "space", "searched too with --space NAME"), rows


def size(n: int) -> str:
    """A number of parameters in three digits: 386K, 1.69M, 27.3M; a dash for 0."""
    if n >= 1_000_000:
        x = n / 1_000_000
        return f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f}M"
    return f"{n / 1000:.0f}K" if n >= 1000 else str(n or "-")


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(
        f"{k}={str(v).lower() if v is True or v is False else v}" for k, v in options.items()
    )


LISTINGS: dict[str, Callable[[], Table]] = {
    "models": models, "tasks": tasks, "suites": suite_list,
    "protocols": protocols, "recipes": recipes, "metrics": metrics, "spaces": spaces,
}  # fmt: skip
