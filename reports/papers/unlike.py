"""What of a run is not as it was for a published value, and so forbids to compare the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dnabench.protocols import PROTOCOLS
from dnabench.registry import MODELS, TASKS
from dnabench.reports.papers import counterparts
from dnabench.reports.papers.published import Value
from dnabench.reports.table import option_text
from dnabench.types import Record, Trial

_LOOKS_AT = {"best-test": "test", "last": "no split"}  # of Protocol.checkpoint; else validation


def unlike(value: Value, record: Record) -> list[str]:
    """Reasons, in words; empty when the run repeats what is known of the value.

    Args:
        value: published.
        record: of a run that ended.
    """
    trial = record.trial
    reasons = [*_data(value, record), *_selection(value, trial), *_first_weights(value, trial)]
    regime = trial.regime.partition(":")[0]
    preset = counterparts.counterpart(value).preset
    if trial.model != preset:
        return [*reasons, f"ours is {trial.model}, {preset or 'nothing here'} stands for the model"]
    options, recipe = counterparts.as_published(value, preset, regime)
    free = {name: trial.options.get(name) for name in counterparts.FREE if name in options}
    reasons += _changed({**options, **free}, trial.options)
    usual, used = asdict(recipe), asdict(trial.recipe)
    read = [k for k in usual if k != "source" and MODELS[preset].reads(k)]
    return reasons + _changed({k: usual[k] for k in read}, {k: used[k] for k in read})


def _data(value: Value, record: Record) -> list[str]:
    task, limit, n = record.trial.task, record.trial.limit, record.n_examples
    other = [] if task in counterparts.tasks_of(value) else [f"the data are {task}"]
    if limit:
        much = f"{100 * limit:g} %" if limit < 1 else f"at most {limit:g} examples"
        return [*other, f"only {much} of each split"]
    if other:
        return other
    official = TASKS[task].official if task in TASKS else {}
    cut = n.get("val", 0) if "dev" not in official else 0  # validation came out of train
    here = {"train": n.get("train", 0) + cut, "test": n.get("test", 0)}
    wrong = [k for k in here if official.get(k, here[k]) != here[k]]  # type: ignore[call-overload]
    return [f"{here[k]:,} {k} examples, published {official[k]:,}" for k in wrong]  # type: ignore[index]


def _selection(value: Value, trial: Trial) -> list[str]:
    theirs = counterparts.chosen_on(value)
    if trial.protocol not in PROTOCOLS:
        return [f"the protocol {trial.protocol} is not known here"]
    ours = _LOOKS_AT.get(PROTOCOLS[trial.protocol].checkpoint, "validation")
    if theirs in ("not stated", ours):
        return []
    return [f"the epoch was chosen on {theirs}, by {trial.protocol} on {ours}"]


def own_weights(value: Value, trial: Trial) -> str:
    """The user's file that stands for official weights; "" where none does."""
    kind, _, what = trial.regime.partition(":")
    stands = kind == "checkpoint" and value.regime == counterparts.regime_of(value) == "pretrained"
    return what.partition("@")[0] if stands else ""


def _first_weights(value: Value, trial: Trial) -> list[str]:
    kind, _, what = trial.regime.partition(":")
    if value.regime == "pretrained":
        if kind == "checkpoint" and not own_weights(value, trial):
            return [f"ours starts from the file {what.partition('@')[0]}"]
        return ["published: pretrained; ours: from scratch"] if kind == "scratch" else []
    start = {"scratch": "", "checkpoint": f"the file {what.partition('@')[0]}"}
    found = start.get(kind, "official weights")
    return [f"ours starts from {found}, published: {value.regime}"] if found else []


def _changed(usual: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
    return [
        f"{k}={option_text(used[k])} instead of {option_text(usual[k])}"
        for k in usual
        if k in used and used[k] != usual[k]
    ]
