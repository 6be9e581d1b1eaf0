"""Which of our models, options, recipe, metric and protocol correspond to a published value.

Also known differences of ours, and why some values can never be reproduced.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from dnabench.registry import MODELS, TASKS
from dnabench.reports.papers.published import Value
from dnabench.types import Recipe

Split = Literal["test", "validation", "not stated"]
PAPER = "convnova"
TABLES = ("1", "2", "3", "4", "5", "6", "10", "11", "12", "13", "14", "15")
AVERAGE = "AVERAGE18"  # in place of a task: the mean over the suite
METRICS = {  # F1 is macro-F1 in the authors' code; the colon names a group of labels
    "mcc": "mcc", "f1": "f1_macro", "top1_accuracy": "accuracy", "auroc_tf": "auroc_mean:tf",
    "auroc_hm": "auroc_mean:hm", "auroc_dhs": "auroc_mean:dhs", "auroc_avg": "auroc_mean:groups",
}  # fmt: skip
OPTION_OF = {"kernel": "kernel_size", "dilation": "dilation"}  # in Value.variant -> of our models
FREE = ("dilation_schedule",)  # options that the paper leaves open: text and code differ
# options that the authors' configurations set otherwise than their paper, whose numbers these are
AS_PRINTED = ("dilation_schedule", "final_conv")
UNPUBLISHED = "pretrained weights were not published"
FROM_BEND = ("nt_h", "dnabert2", "gena_lm", "hyenadna")  # in Table 3
SAME_NAME = (
    "convnova_no_gate", "convnova_single_branch", "convnova_unet", "dnabert2", "ntv2_star",
    "basenji", "legnet", "deepatt", "cnn",
)  # fmt: skip
PRESETS = {name: {"": name} for name in SAME_NAME} | {
    # model as printed -> its parameters as printed, "" = any other -> our model
    "convnova": {"386K": "convnova-386k", "6.8M": "convnova-6.8m", "7.4M": "convnova-7.4m",
                 "27.4M": "convnova-27m", "": "convnova"},
    "hyenadna": {"0.4M": "hyenadna-tiny-1k", "436K": "hyenadna-tiny-1k", "1.6M": "hyenadna",
                 "3.3M": "hyenadna-small-32k", "6.5M": "hyenadna-large-1m"},
    "caduceus_ph": {"470K": "caduceus_ph-470k", "1.9M": "caduceus_ph"},
    "ntv2": {"50M": "ntv2-50m", "100M": "ntv2-100m", "250M": "ntv2-250m", "500M": "ntv2-500m",
             "": "ntv2-50m"},
}  # fmt: skip
REMARKS = {  # our model -> a known difference that does not rule out a comparison
    "convnova_single_branch": "its width, 172, is our choice: the paper states only the size",
    "hyenadna-large-1m": "three official checkpoints have this size; ours is the one for 1 Mbp",
}
# suite -> what the paper leaves open, so that no run can be known to repeat it; the recipes here
# say what they take instead
LEFT_OPEN = {
    "deepsea": "arXiv 2502.18538 A.2.2 states no batch",
    "bend": "arXiv 2502.18538 A.2.3 states no batch and no precision",
}
# table, task, variant -> why its printed number is doubted: table 11 is the mean of 18 tasks, table
# 12 has 16 of them, so H4 and H4ac follow
MISPRINTS = {
    ("11", "nt/AVERAGE18", "kernel=5,dilation=1"): "63.939 is probably a misprint of 66.939: with "
    "table 12 it leaves H4 and H4ac a mean of 42.0, 66.939 one of 69.0; all other rows leave 62.7 "
    "to 72.2, but for another misprint",
    ("12", "nt/splice_sites_donors", "kernel=11,dilation=4"): "86.46 is probably a misprint of "
    "96.46: with table 11 it leaves H4 and H4ac a mean of 76.5, 96.46 one of 71.5; all other rows "
    "leave 62.7 to 72.2, but for another misprint",
}
RULED_OUT = {  # model, parameters as in PRESETS -> why it can never be compared
    ("convnova_unet", ""): "the paper names a U-Net style but gives no architecture; ours is our "
    "choice",
    ("ntv2", ""): "the paper states neither its size nor its recipe; ours are our choice",
    ("ntv2_star", ""): "the paper sketches the model and states neither size nor recipe; ours are "
    "our choice",
}


class OurModel(NamedTuple):
    """Our model for a published one, or why there is none."""

    preset: str = ""  # of MODELS; "" = nothing that could be run
    options: Mapping[str, Any] = {}  # that the value states, whatever the recipe sets
    remark: str = ""  # a known difference that does not rule out a comparison
    ruled_out: str = ""  # why its values can never be compared


def our_model(value: Value) -> OurModel:
    """Our model for that of a published value, whose `variant` is among the options."""
    if value.table == "3" and value.model in FROM_BEND:
        reason = "the paper took this value from BEND, which trains a small network on frozen "
        return OurModel(ruled_out=reason + "embeddings")
    presets = PRESETS.get(value.model, {})
    size = value.params if value.params in presets else ""
    preset = presets.get(size, "")
    if not preset:
        what = " ".join(filter(None, [value.model, value.params]))
        return OurModel(ruled_out=f"no model here corresponds to {what}")
    ruled_out = RULED_OUT.get((value.model, size), "")
    model = MODELS[preset]
    printed = {k: v for k, v in model.options.items() if k in AS_PRINTED}
    options = {**printed, **_variant(value, preset)}
    return OurModel(preset, options, REMARKS.get(preset, ""), ruled_out)


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


def chosen_on(value: Value) -> Split:
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
    preset = our_model(value).preset
    weights = MODELS[preset].weights if preset else None
    return "pretrained" if weights is not None and weights.repo else ""


def obstacles(value: Value) -> list[str]:
    """Why a value can never be compared, whatever is run; empty when it can."""
    ours = our_model(value)
    out = [ours.ruled_out] if ours.ruled_out else []
    if ours.preset and not regime_of(value):
        out.append(UNPUBLISHED)
    if value.regime not in ("pretrained", "scratch"):
        out.append("the paper does not say whether it was pretrained; ours is from scratch")
    if ours.preset and not ours.ruled_out and (recipe := own_recipe(value)):
        out.append(recipe)
    return out


def own_recipe(value: Value) -> str:
    """That a run would follow a recipe of the house, or what the paper leaves open; "" if theirs.

    Of a suite without a recipe of its own it is the model's default.
    """
    preset, suite = our_model(value).preset, value.suite
    kind = (regime_of(value) or "scratch").partition(":")[0]
    if as_published(value, preset, kind)[1].source.startswith("house"):
        return "the recipe is ours, not the paper's: none is published for this model"
    left = LEFT_OPEN.get(suite)
    return f"the recipe is partly ours: {left}" if left else ""


def as_published(value: Value, preset: str, regime: str) -> tuple[dict[str, Any], Recipe]:
    """All options and the recipe of a run that repeats the value, unchanged by the user.

    The recipe is that of the value's suite; from scratch, one that trains only a part is replaced
    by the default.
    """
    model, task = MODELS[preset], tasks_of(value)[0]
    recipe, own = model.recipe_for(value.suite).for_task(task)
    if regime == "scratch" and recipe.finetune != "full":
        recipe, own = model.recipes["default"].for_task(task)
    return {**model.options, **own, **our_model(value).options}, recipe


def tasks_of(value: Value) -> tuple[str, ...]:
    """The task of a value; all tasks of the suite where it is their mean."""
    if value.task.partition("/")[2] != AVERAGE:
        return (value.task,)
    return tuple(name for name in TASKS if name.partition("/")[0] == value.suite)


def metric_of(value: Value, task: str) -> str:
    """Our name of its metric on that task, as in a record's scores; "" without one."""
    if value.task.partition("/")[2] == AVERAGE:
        return TASKS[task].metric if task in TASKS else ""
    return METRICS.get(value.metric, "")


def doubts(value: Value) -> list[str]:
    """What a reader should know about the published value."""
    out = []
    moved = value.table in ("1", "13") and "splice" in value.task and value.model != "ntv2"
    if moved and value.regime == "pretrained":
        out.append(
            "the splice rows of tables 1 and 13 do not match the seeds of table 16 under the same "
            "labels"
        )
    if misprint := MISPRINTS.get((value.table, value.task, value.variant)):
        out.append(misprint)
    if chosen_on(value) == "not stated":
        out.append("published: how the epoch was chosen is not stated")
    return out
