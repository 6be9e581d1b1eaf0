"""A network as transformers itself has it: its configuration, and its name of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Native(NamedTuple):
    """An architecture of transformers that computes what a network here does.

    Args:
        config: what its config.json says, with `model_type`, without classes.
        names: beginning of a tensor's name here -> there; a head's may be left out if it is one
            linear layer.
        rows: name here of a table -> rows that transformers has before those of the table.
        unused: beginnings of the names of tensors there on which no logit depends.
    """

    config: Mapping[str, Any]
    names: Mapping[str, str]
    rows: Mapping[str, int] = {}
    unused: tuple[str, ...] = ()

    def name(self, ours: str) -> str:
        """What transformers calls a tensor."""
        for here, there in self.names.items():
            if ours.startswith(here):
                return there + ours.removeprefix(here)
        return ours


def bert_like(kind: str, o: Mapping[str, Any], vocabulary: int, **more: Any) -> dict[str, Any]:
    """A configuration of BERT's kind from options width, layers, heads, inner."""
    return {
        "model_type": kind, "vocab_size": vocabulary, "hidden_size": o["width"],
        "num_hidden_layers": o["layers"], "num_attention_heads": o["heads"],
        "intermediate_size": o["inner"], **more,
    }  # fmt: skip
