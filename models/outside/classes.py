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
    base = parts.pop(net.base_model_prefix)
    pooler = getattr(base, POOLER, None)
    if not per_base and isinstance(pooler, nn.Module):
        parts = {POOLER: pooler, **parts}
    whole = not isinstance(parts.get("classifier"), nn.Linear | None)
    if per_base or POOLER in parts or whole:
        pooling = "cls"
    elif "score" in parts:
        pooling = "last"
    else:
        pooling = str(getattr(config, "classifier_pooling", ""))
    if not pooling:
        raise ValueError(f"pooling=transformers: how {type(net).__name__} pools is not known here")
    for part in parts.values():
        part.to_empty(device="cpu")
        for module in part.modules():
            net._init_weights(module)
    of_rows = () if per_base else (POOLER, "classifier") if whole else (POOLER,)
    return pooling, OwnHead(parts, of_rows)


def native(config: Mapping[str, Any], pad: int) -> Native:
    """How transformers itself has a network of one of its models."""
    kind = str(config["model_type"])
    base = AUTO.MODEL_MAPPING[AUTO.CONFIG_MAPPING[kind]].base_model_prefix
    names = {"backbone.model.": f"{base}.", f"head.{POOLER}.": f"{base}.{POOLER}.", "head.": ""}
    padding = {} if config.get("pad_token_id") is not None else {"pad_token_id": pad}
    return Native({**config, **padding}, names)
