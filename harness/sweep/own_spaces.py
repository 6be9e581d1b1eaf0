"""The search space of a model: what it declares, what the user changed, what the user fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnabench.spaces import DROPOUT, HOUSE
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


def asked_space(model: Model, request: TuneRequest) -> dict[str, str]:
    """The space of a model with what the user changed, without settings that the user fixed."""
    found = space_of(model)
    for owner, name, text in map(_parts, request.spaces):
        if owner in ("", model.name, *model.aliases) and _takes(model, name):
            found[name] = text
    fixed = {*request.grid.overrides}
    for setting in request.grid.settings:
        owner, _, name = setting.partition("=")[0].rpartition(".")
        if owner in ("", model.name, *model.aliases):
            fixed.add(name)
    return {name: text for name, text in found.items() if name not in fixed}


def _parts(text: str) -> tuple[str, str, str]:
    key, equals, space = text.partition("=")
    owner, _, name = key.rpartition(".")
    if not (equals and name and space):
        raise ValueError(f"--space {text!r}: write name=space, e.g. lr=log:1e-4..3e-3")
    return owner, name, space


def _takes(model: Model, name: str) -> bool:
    return name in model.options or (name in Recipe().numbers and model.reads(name))
