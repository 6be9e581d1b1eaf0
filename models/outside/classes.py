"""Classification models of transformers: their pooling, heads and names of tensors. Needs torch.

D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from dnabench.models.outside.native import Native
from dnabench.models.outside.transformer import quiet
from dnabench.types import Task

AUTO: Any = transformers
POOLER = "pooler"


def classifier_of(per_base: bool) -> Any:
    """The automatic class for a label a token, or a label a sequence."""
    return AUTO.AutoModelForTokenClassification if per_base else (
        AUTO.AutoModelForSequenceClassification
    )  # fmt: skip


class OwnHead(nn.Module):
    """What such a model has behind its base model: (..., D) to (..., K).

    Args:
        parts: its modules by name, in the order in which they are applied.
        of_rows: those that take (B, T, D) and read the first token.
    """

    def __init__(self, parts: Mapping[str, nn.Module], of_rows: tuple[str, ...]) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._order, self._of_rows = tuple(parts), of_rows

    def forward(self, x: Tensor) -> Tensor:
        """Logits of pooled features, or of each token's."""
        for name in self._order:
            x = getattr(self, name)(x[:, None] if name in self._of_rows else x)
        return x


def own_head(kind: str, config: Any, task: Task) -> tuple[str, OwnHead]:
    """Pooling and head of the classification model for a task; weights are drawn as it draws them.

    Args:
        kind: `model_type`, for messages.
        config: of transformers; not changed.
        task: gives K, and whether there is a label for each token.

    Raises:
        ValueError: transformers has no such model, or how it pools is not known here.
    """
    per_base, config = task.kind == "per_base", type(config).from_dict(config.to_dict())
    config.num_labels = task.n_outputs
    auto = classifier_of(per_base)
    if type(config) not in auto._model_mapping:
        raise ValueError(f"pooling=transformers: transformers has no {auto.__name__} of {kind}")
    with torch.device("meta"):
        net = auto.from_config(config)
    parts = dict(net.named_children())
    del parts[net.base_model_prefix]
    if not per_base and (pooler := _pooler_in(net)):
        parts = {**parts, POOLER: net.get_submodule(pooler)}
    parts = _in_order(parts)
    whole = not isinstance(parts.get("classifier"), nn.Linear | None)
    if per_base or POOLER in parts or whole:
        pooling = "cls"
    elif "score" in parts:
        pooling = "last"
    else:
        pooling = str(getattr(config, "classifier_pooling", ""))
    if not pooling or isinstance(parts.get(POOLER), nn.Linear):  # of ALBERT, followed by a function
        raise ValueError(
            f"pooling=transformers: how {type(net).__name__} pools is not known here; "
            "choose another, such as --set pooling=cls"
        )
    for part in parts.values():
        part.to_empty(device="cpu")
        for module in part.modules():
            net._init_weights(module)
    of_rows = () if per_base else (POOLER, "classifier") if whole else (POOLER,)
    return pooling, OwnHead(parts, of_rows)


def _pooler_in(net: nn.Module) -> str:
    """The name of a model's pooler, in its base model or beside it; "" = it has none."""
    places = (f"{net.base_model_prefix}.{POOLER}", POOLER)
    modules = dict(net.named_modules())
    return next((place for place in places if place in modules), "")


def _in_order(parts: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """As they are applied: a pooler first, dropout before the last linear layer."""
    order = sorted(parts, key=lambda name: name != POOLER)
    linear = [name for name in order if isinstance(parts[name], nn.Linear)]
    dropped = [name for name in order if isinstance(parts[name], nn.Dropout)] if linear else []
    order = [name for name in order if name not in dropped]
    if linear:
        place = order.index(linear[-1])
        order[place:place] = dropped
    return {name: parts[name] for name in order}


def load_pooler(head: OwnHead, folder: str) -> list[str]:
    """Put a folder's pooler into a head, as transformers' own classification model does.

    Returns:
        The names of its tensors there; none if the folder has no pooler, or the head.

    Raises:
        ValueError: a pooler that lacks a tensor, or has one with values that are not finite.
    """
    if not hasattr(head, POOLER):
        return []
    with quiet(), torch.random.fork_rng(devices=[]):
        net, info = classifier_of(False).from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32
        )
    place = _pooler_in(net)
    tensors = net.get_submodule(place).state_dict()
    names = [f"{place}.{name}" for name in tensors]
    lacks = sorted({*names} & {*info["missing_keys"]})
    if len(lacks) == len(names):
        return []
    if lacks or not all(bool(value.isfinite().all()) for value in tensors.values()):
        what = f"lacks {lacks[0]}" if lacks else "has values that are not finite"
        raise ValueError(f"{folder}: its pooler {what}; choose another, such as --set pooling=cls")
    head.get_submodule(POOLER).load_state_dict(tensors)
    return names


def native(config: Mapping[str, Any], pad: int) -> Native:
    """How transformers itself has a network of one of its models."""
    kind = str(config["model_type"])
    theirs = AUTO.CONFIG_MAPPING[kind]
    base, pooler = AUTO.MODEL_MAPPING[theirs].base_model_prefix, ""
    if theirs in classifier_of(False)._model_mapping:
        with torch.device("meta"):
            pooler = _pooler_in(classifier_of(False).from_config(theirs.from_dict(dict(config))))
    names = {"backbone.model.": f"{base}.", f"head.{POOLER}.": f"{pooler}.", "head.": ""}
    padding = {} if config.get("pad_token_id") is not None else {"pad_token_id": pad}
    return Native({**config, **padding}, names)
