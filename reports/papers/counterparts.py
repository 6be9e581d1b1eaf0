"""Which of our models, options, recipe, metric and protocol a published value is to be set beside.

The table says what ours is known to differ in, and why some values can never be reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dnabench.registry import MODELS, TASKS
from dnabench.reports.papers.published import Value
from dnabench.types import Recipe

Chosen = Literal["test", "validation", "not stated"]
PAPER = "convnova"
TABLES = ("1", "2", "3", "4", "5", "6", "10", "11", "12", "13", "14", "15")
AVERAGE = "AVERAGE18"  # in the place of a task: the mean over the suite
METRICS = {  # F1 is macro-F1 in the authors' code; the colon names a group of labels
    "mcc": "mcc", "f1": "f1_macro", "top1_accuracy": "accuracy", "auroc_tf": "auroc_mean:tf",
    "auroc_hm": "auroc_mean:hm", "auroc_dhs": "auroc_mean:dhs", "auroc_avg": "auroc_mean:groups",
}  # fmt: skip
EPOCHS = {"deepsea": 10, "bend": 10}  # arXiv 2502.18538, A.2.2 and A.2.3; the rest has recipes
OPTION_OF = {"kernel": "kernel_size", "dilation": "dilation"}  # in Value.variant -> of our models
FREE = ("dilation_schedule",)  # options that the paper leaves open: text and code differ
UNPUBLISHED = "pretrained weights were not published"


@dataclass(frozen=True, kw_only=True)
class Counterpart:
    """What stands for a model of the paper."""

    model: str  # as in Value.model
    params: str = ""  # as in Value.params; "" = any
    tables: tuple[str, ...] = ()  # only there; () = anywhere
    preset: str = ""  # of MODELS; "" = nothing that could be run
    options: Mapping[str, Any] = field(default_factory=dict)  # other than the preset's
    remark: str = ""  # what is known to differ, and does not forbid a comparison
    forbids: str = ""  # why it can never be compared


_BEND = "the paper took this value from BEND, which trains a small network on frozen embeddings"
_ALL = (
    Counterpart(model="convnova", params="386K", preset="convnova-386k"),
    Counterpart(model="convnova", params="6.8M", preset="convnova-6.8m"),
    Counterpart(model="convnova", params="7.4M", preset="convnova-7.4m"),
    Counterpart(model="convnova", params="27.4M", preset="convnova-27m"),
    Counterpart(model="convnova", preset="convnova"),
    Counterpart(model="convnova_no_gate", preset="convnova_no_gate"),
    Counterpart(
        model="convnova_single_branch",
        preset="convnova_single_branch",
        remark="its width, 172, is our choice: the paper states the size only",
    ),
    Counterpart(
        model="convnova_unet",
        preset="convnova_unet",
        forbids="the paper names a U-Net style and gives no architecture; ours is our choice",
    ),
    Counterpart(model="nt_h", tables=("3",), forbids=_BEND),
    Counterpart(model="dnabert2", tables=("3",), forbids=_BEND),
    Counterpart(model="gena_lm", tables=("3",), forbids=_BEND),
    Counterpart(model="hyenadna", tables=("3",), forbids=_BEND),
    Counterpart(model="hyenadna", params="0.4M", preset="hyenadna-tiny-1k"),
    Counterpart(model="hyenadna", params="436K", preset="hyenadna-tiny-1k"),
    Counterpart(model="hyenadna", params="1.6M", preset="hyenadna"),
    Counterpart(model="hyenadna", params="3.3M", preset="hyenadna-small-32k"),
    Counterpart(
        model="hyenadna",
        params="6.5M",
        preset="hyenadna-large-1m",
        remark="three official checkpoints have this size; ours is the one for 1 Mbp",
    ),
    Counterpart(model="caduceus_ph", params="470K", preset="caduceus_ph-470k"),
    Counterpart(model="caduceus_ph", params="1.9M", preset="caduceus_ph"),
    Counterpart(model="dnabert2", preset="dnabert2"),
    Counterpart(model="ntv2", params="50M", preset="ntv2-50m"),
    Counterpart(model="ntv2", params="100M", preset="ntv2-100m"),
    Counterpart(model="ntv2", params="250M", preset="ntv2-250m"),
    Counterpart(model="ntv2", params="500M", preset="ntv2-500m"),
    Counterpart(
        model="ntv2",
        tables=("15",),
        preset="ntv2-50m",
        forbids="the paper states neither size nor recipe of it; ours are our choice",
    ),
    Counterpart(
        model="ntv2_star",
        preset="ntv2_star",
        forbids="the paper sketches the model and states neither size nor recipe; ours are our "
        "choice",
    ),
    Counterpart(model="basenji", preset="basenji"),
    Counterpart(model="legnet", preset="legnet"),
    Counterpart(model="deepatt", preset="deepatt"),
    Counterpart(model="cnn", preset="cnn"),
)


def counterpart(value: Value) -> Counterpart:
    """What of ours stands for a published model; its `variant` is among the options.

    Where several rows of the table fit, the one that says most of the value counts. A model that
    has none gets a counterpart without a preset, which says so.
    """
    fits = [
        c
        for c in _ALL
        if c.model == value.model
        and c.params in ("", value.params)
        and (not c.tables or value.table in c.tables)
    ]
    if not fits:
        what = " ".join(filter(None, [value.model, value.params]))
        return Counterpart(model=value.model, forbids=f"no model here stands for {what}")
    best = max(fits, key=lambda c: (bool(c.tables), bool(c.params)))
    if not best.preset:
        return best
    return replace(best, options={**best.options, **_variant(value, best.preset)})


def _variant(value: Value, preset: str) -> dict[str, Any]:
    """`kernel=3,dilation=1` as options; what is no option of the preset is an error of the data."""
    out: dict[str, Any] = {}
    for part in filter(None, value.variant.split(",")):
        name, _, text = part.partition("=")
        option = OPTION_OF.get(name.strip(), name.strip())
        if option not in MODELS[preset].options:
            raise ValueError(
                f"table {value.table}, {value.task}: variant {value.variant!r} of {value.model}: "
                f"{preset} has no option {option!r}"
            )
        out[option] = type(MODELS[preset].options[option])(text)
    return out


def chosen_on(value: Value) -> Chosen:
    """Which split the epoch of a published value was chosen on, as far as known."""
    if "test file" in value.selection:
        return "test"
    return "validation" if "validation" in value.selection else "not stated"


def protocol_of(value: Value) -> str:
    """The protocol that repeats how the value came about; honest/1 where that is not stated."""
    return "test-selected/1" if chosen_on(value) == "test" else "honest/1"


def regime_of(value: Value) -> str:
    """Ours: scratch, or pretrained, or "" where the paper's weights were never published."""
    if value.regime != "pretrained":
        return "scratch"
    preset = counterpart(value).preset
    weights = MODELS[preset].weights if preset else None
    return "pretrained" if weights is not None and weights.repo else ""


def obstacles(value: Value) -> list[str]:
    """Why a value can never be compared, whatever is run; empty when it can."""
    mate = counterpart(value)
    out = [mate.forbids] if mate.forbids else []
    if mate.preset and not regime_of(value):
        out.append(UNPUBLISHED)
    if value.regime not in ("pretrained", "scratch"):
        out.append("the paper does not say whether it was pretrained; ours is from scratch")
    return out


def as_published(value: Value, preset: str, regime: str) -> tuple[dict[str, Any], Recipe]:
    """Options and recipe of a run that repeats the value, with nothing changed by the user.

    Args:
        value: published.
        preset: our model.
        regime: of the run. A recipe that trains a part only is none for drawn weights.

    Returns:
        All options, and the recipe of the value's suite with the epochs that the paper states.
    """
    model = MODELS[preset]
    recipe = model.recipe_for(value.suite)
    if regime == "scratch" and recipe.finetune != "full":
        recipe = model.recipes["default"]
    epochs = EPOCHS.get(value.suite, 0)
    if epochs and model.reads("epochs"):
        recipe = replace(recipe, epochs=epochs)
    return {**model.options, **counterpart(value).options}, recipe


def tasks_of(value: Value) -> tuple[str, ...]:
    """The task of a value; all tasks of the suite where it is their mean."""
    if value.task.partition("/")[2] != AVERAGE:
        return (value.task,)
    return tuple(name for name in TASKS if name.partition("/")[0] == value.suite)


def metric_of(value: Value, task: str) -> str:
    """Ours on that task, as a record's scores call it; "" when we have none like it."""
    if value.task.partition("/")[2] == AVERAGE:
        return TASKS[task].metric if task in TASKS else ""
    return METRICS.get(value.metric, "")


def doubts(value: Value) -> list[str]:
    """What is known of the published value that a reader should know beside it."""
    out = []
    moved = value.table in ("1", "13") and "splice" in value.task and value.model != "ntv2"
    if moved and value.regime == "pretrained":
        out.append(
            "the splice rows of tables 1 and 13 do not match the seeds of table 16 under the same "
            "labels"
        )
    if chosen_on(value) == "not stated":
        out.append("published: how the epoch was chosen is not stated")
    return out
