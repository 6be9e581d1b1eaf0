"""How a run differs from a published value; any difference rules out a comparison."""

from collections.abc import Mapping
from typing import Any

from dnabench.protocols import PROTOCOLS
from dnabench.registry import MODELS, TASKS
from dnabench.reports.papers import matching
from dnabench.reports.papers.published import Value
from dnabench.reports.settings import option_text
from dnabench.types import Record, Trial

_CHOOSES_ON = {"best-test": "test", "last": "no split"}  # Protocol.checkpoint; else validation


def differences(value: Value, record: Record) -> list[str]:
    """Of a run that ended, in words; empty when it repeats the value as far as that is known."""
    trial, preset = record.trial, matching.our_model(value).preset
    out = [*_data(value, record), *_selection(value, trial), *_initial_weights(value, trial)]
    if trial.model != preset:
        other = f"{preset} corresponds to" if preset else "nothing here corresponds to"
        return [*out, f"ours is {trial.model}, {other} the published model"]
    options, recipe = matching.as_published(value, preset, trial.regime.partition(":")[0])
    free = {name: trial.options.get(name) for name in matching.FREE if name in options}
    read = {k: v for k, v in recipe.numbers.items() if MODELS[preset].reads(k)}
    changed = _changed(read, trial.recipe.numbers)
    return out + _changed({**options, **free}, trial.options) + changed


def _data(value: Value, record: Record) -> list[str]:
    task, limit, n = record.trial.task, record.trial.limit, record.n_examples
    other = [] if task in matching.tasks_of(value) else [f"our data are {task}"]
    if limit:
        share = f"only {100 * limit:g} %" if limit < 1 else f"at most {limit:g} examples"
        return [*other, f"ours used {share} of each split"]
    if other:
        return other
    official = {str(k): n for k, n in TASKS[task].official.items()} if task in TASKS else {}
    cut = n.get("val", 0) if "dev" not in official else 0  # validation came out of train
    here = {"train": n.get("train", 0) + cut, "test": n.get("test", 0)}
    return [
        f"{k} has {count:,} examples, published {official[k]:,}"
        for k, count in here.items()
        if official.get(k, count) != count
    ]


def _selection(value: Value, trial: Trial) -> list[str]:
    published = matching.chosen_on(value)
    if trial.protocol not in PROTOCOLS:
        return [f"the protocol {trial.protocol} is not known here"]
    ours = _CHOOSES_ON.get(PROTOCOLS[trial.protocol].checkpoint, "validation")
    if published in ("not stated", ours):
        return []
    return [f"published epoch chosen on {published}, ours ({trial.protocol}) on {ours}"]


def file_for_official(value: Value, trial: Trial) -> str:
    """The user's file that is used in place of official weights; "" without one."""
    kind, _, what = trial.regime.partition(":")
    official = value.regime == matching.regime_of(value) == "pretrained"
    return what.partition("@")[0] if kind == "checkpoint" and official else ""


def _initial_weights(value: Value, trial: Trial) -> list[str]:
    kind, _, what = trial.regime.partition(":")
    file = f"the file {what.partition('@')[0]}"
    if value.regime == "pretrained":
        if kind == "checkpoint" and not file_for_official(value, trial):
            return [f"ours starts from {file}"]
        return ["published: pretrained; ours: from scratch"] if kind == "scratch" else []
    if kind == "scratch":
        return []
    start = file if kind == "checkpoint" else "official weights"
    return [f"ours starts from {start}, published: {value.regime}"]


def _changed(usual: Mapping[str, Any], used: Mapping[str, Any]) -> list[str]:
    return [
        f"{k}={option_text(used[k])} instead of {option_text(v)}"
        for k, v in usual.items()
        if k in used and used[k] != v
    ]
