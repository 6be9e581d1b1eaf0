"""What the language models of transformers have behind their base model. Needs torch.

B batch, T length in tokens, D width, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from torch import Tensor, nn

AUTO: Any = transformers

WAY_OUT = "pretrain another architecture, such as bert, esm or llama"


def language_class(causal: bool) -> Any:
    """The automatic class for next tokens, or for hidden ones."""
    return AUTO.AutoModelForCausalLM if causal else AUTO.AutoModelForMaskedLM


class LanguageHead(nn.Module):
    """Modules in the order in which they are applied: (B, T, D) to (B, T, V)."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._order = tuple(parts)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, h: Tensor) -> Tensor:
        """Logits."""
        for name in self._order:
            h = getattr(self, name)(h)
        return h


def language_head(backbone: Any, causal: bool) -> LanguageHead:
    """The head of the language model that has this base model; weights as that draws them.

    Where the architecture ties its output table to that of the embeddings, the head does too.

    Args:
        backbone: a `transformer.Transformer`.
        causal: whether next tokens are predicted.

    Raises:
        ValueError: transformers has no such model, or does more with the last hidden state than
            apply its modules in order.
    """
    config, auto = backbone.model.config, language_class(causal)
    if type(config) not in auto._model_mapping:
        raise ValueError(f"transformers has no {auto.__name__} of {config.model_type}; {WAY_OUT}")
    whole = auto.from_config(config).float().eval()
    parts = dict(whole.named_children())
    base = parts.pop(whole.base_model_prefix)
    head = LanguageHead(parts)
    ids = torch.arange(8)[None] % int(config.vocab_size)
    with torch.no_grad():
        wanted, given = whole(input_ids=ids).logits, base(input_ids=ids)[0]
        try:
            torch.testing.assert_close(head.eval()(given), wanted, atol=1e-5, rtol=1e-5)
        # AssertionError: other numbers; the others: its modules do not fit one after the other
        except (AssertionError, RuntimeError, TypeError, NotImplementedError) as e:
            raise ValueError(
                f"{type(whole).__name__} does more with its last hidden state than apply its "
                f"{', '.join(parts)} in order; {WAY_OUT}"
            ) from e
    inner, outer = whole.get_input_embeddings(), whole.get_output_embeddings()
    if outer is not None and outer.weight is inner.weight:
        outer.weight = backbone.model.get_input_embeddings().weight
    return head.train()
