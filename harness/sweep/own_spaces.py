"""The search space of a model: what it declares, what the user changed, what the user fixed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dnabench.spaces import DROPOUT, HOUSE, STRANDS
from dnabench.sweep.settings import check_once
from dnabench.types import Model, Recipe

if TYPE_CHECKING:
    from dnabench.sweep.search import TuneRequest


def space_of(model: Model) -> dict[str, str]:
    """The space that a model declares, else the usual one of what it reads; {} = nothing to tune.

    A model with a trainer of its own has none unless it declares one.
    """
    if model.space or model.custom_trainer:
        return dict(model.space)
    usual = {name: text for name, text in HOUSE.items() if model.reads(name)}
    return usual | ({"dropout": DROPOUT} if "dropout" in model.options else {})


def more_of(model: Model) -> dict[str, str]:
    """What a model declares beyond `space_of`, searched only where `--space NAME` says so.

    How tokens become one vector, what is done with the other strand, and, where there can be
    weights of a pretraining, what of them is trained.
    """
    if model.custom_trainer:
        return {}
    found, usual = dict[str, str](), model.options.get("pooling")
    if known := model.choices.get("pooling"):
        tried = dict.fromkeys(x for x in (usual, "mean", "max") if x in known)
        found["pooling"] = f"one:{','.join(map(str, tried))}"
    if model.reads("rc"):
        found["rc"] = STRANDS
    if model.reads("finetune") and (model.weights or model.language or model.load_official):
        found["finetune"] = "one:full," + "lora," * bool(model.lora_targets) + "probe"
    return {name: text for name, text in found.items() if name not in space_of(model)}


def check_named(models: Sequence[Model], request: TuneRequest) -> None:
    """ValueError for a space given by its name alone that none of these models declares.

    Also for a setting with two spaces, or one that is fixed as well.
    """
    fixed = [*request.grid.settings, *(f"{k}={v}" for k, v in request.grid.overrides.items())]
    check_once([*fixed, *(text for text in request.spaces if "=" in text)])
    every = dict.fromkeys(name for model in models for name in more_of(model))
    for text in request.spaces:
        owner, name, space = _parts(text)
        if not space and not any(
            name in more_of(m) for m in models if owner in ("", m.name, *m.aliases)
        ):
            known = f"by name alone go {', '.join(every)}" if every else "none goes by name alone"
            raise ValueError(
                f"--space {text!r}: write its values, e.g. lr=log:1e-4..3e-3; of these models "
                f"{known}, see `dnabench list spaces`"
            )


def check_trained(
    models: Sequence[Model], groups: Iterable[tuple[str, str]], request: TuneRequest
) -> None:
    """ValueError for `--space finetune` of a group, (model, regime), with random weights."""
    asked = [_parts(text) for text in request.spaces]
    owners = {owner for owner, name, space in asked if name == "finetune" and not space}
    named = {m.name for m in models if owners & {"", m.name, *m.aliases}
             and "finetune" in asked_space(m, request)}  # fmt: skip
    for model, regime in groups:
        if regime == "scratch" and model in named:
            raise ValueError(
                f"--space finetune: {model} begins with random weights, of which all are trained; "
                "give --regime pretrained or checkpoint:FOLDER, or name the models it is for, "
                "MODEL.finetune"
            )


def asked_space(model: Model, request: TuneRequest) -> dict[str, str]:
    """The space of a model with what the user changed, without settings that the user fixed.

    A space for this model alone goes before one for all.
    """
    found, more = space_of(model), more_of(model)
    for owner, name, text in sorted(map(_parts, request.spaces), key=lambda part: bool(part[0])):
        if owner in ("", model.name, *model.aliases) and _takes(model, name):
            found |= {name: text} if text else {k: v for k, v in more.items() if k == name}
    fixed = {*request.grid.overrides}
    for setting in request.grid.settings:
        owner, _, name = setting.partition("=")[0].rpartition(".")
        if owner in ("", model.name, *model.aliases):
            fixed.add(name)
    return {name: text for name, text in found.items() if name not in fixed}


def _parts(text: str) -> tuple[str, str, str]:
    key, equals, space = text.partition("=")
    owner, _, name = key.rpartition(".")
    if not name or (equals and not space):
        raise ValueError(f"--space {text!r}: write name=space, e.g. lr=log:1e-4..3e-3")
    return owner, name, space


def _takes(model: Model, name: str) -> bool:
    return name in model.options or (name in Recipe().numbers and model.reads(name))
