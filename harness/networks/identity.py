"""What identifies a network in the files that say how something was computed with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dnabench.cache import read_json
from dnabench.models.outside.references import model_named
from dnabench.networks.card import CARD
from dnabench.weights import resolve, trained_as


def identity(
    name: str, regime: str = "pretrained", options: Mapping[str, Any] = MappingProxyType({}),
    trust: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """The network that a name means, so that it can be told from others of that name.

    Args:
        name: folder of a kept or a pretrained network, or a model.
        regime: of a model, as the user writes it.
        options: of a model, those that are not its defaults.
        trust: whether code that an hf: model brings may be run.

    Returns:
        "network", the name; "model"; "options", all of them; "weights": the SHA-256 of the file in
        a folder, else the regime as a trial names it, with revision or hash; where a folder holds
        a head alone, "backbone", the weights below it.

    Raises:
        KeyError: no such model.
        ValueError: as `resolve`.
    """
    folder = Path(name).parent if Path(name).name == CARD else Path(name)
    card = read_json(folder / CARD)
    if isinstance(card, dict):
        model, own = trained_as(card)
        below = {"backbone": card["backbone"]} if card.get("backbone") else {}
        weights = f"sha256:{card['weights']}"
        return {"network": name, "model": model, "options": dict(own), "weights": weights, **below}
    found = model_named(name, trust=trust)
    named, _ = resolve(found, regime)
    whole = {**found.options, **options}
    return {"network": name, "model": found.name, "options": whole, "weights": named}
