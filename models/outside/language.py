"""What the language models of transformers have behind their base model. Needs torch.

B batch, T length in tokens, D width, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from dnabench.loading import SHOWN, Loaded
from dnabench.models.outside.transformer import quiet

AUTO: Any = transformers

WAY_OUT = "take another architecture, such as bert, esm or llama"


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


def language_head(backbone: Any, causal: bool, trust: bool = False) -> LanguageHead:
    """The head of the language model that has this base model; weights as that draws them.

    Where the architecture ties its output table to that of the embeddings, the head does too.

    Args:
        backbone: a `transformer.Transformer`.
        causal: whether next tokens are predicted.
        trust: whether code in the folder is run.

    Raises:
        ValueError: transformers has no such model, or does more with the last hidden state than
            apply its modules in order.
    """
    config, auto = backbone.model.config, language_class(causal)
    own = trust and auto.__name__ in (getattr(config, "auto_map", None) or {})
    if not own and type(config) not in auto._model_mapping:
        raise ValueError(f"transformers has no {auto.__name__} of {config.model_type}; {WAY_OUT}")
    with quiet():
        whole = auto.from_config(config, trust_remote_code=trust).float().eval()
    base = getattr(whole, whole.base_model_prefix)
    head = _head_of(whole, backbone)
    ids = torch.arange(8)[None] % int(config.vocab_size)
    with torch.no_grad():
        wanted, given = whole(input_ids=ids).logits, base(input_ids=ids)[0]
        try:
            torch.testing.assert_close(head.eval()(given), wanted, atol=1e-5, rtol=1e-5)
        # AssertionError: other numbers; the others: its modules do not fit one after the other
        except (AssertionError, RuntimeError, TypeError, NotImplementedError) as e:
            raise ValueError(
                f"{type(whole).__name__} does more with its last hidden state than apply its "
                f"{', '.join(dict(head.named_children()))} in order; {WAY_OUT}"
            ) from e
    return head.train()


def _head_of(whole: Any, backbone: Any) -> LanguageHead:
    """What a language model of transformers has behind its base model.

    A table that is tied to that of its embeddings is replaced by that of the backbone.
    """
    parts = dict(whole.named_children())
    parts.pop(whole.base_model_prefix, None)
    inner, outer = whole.get_input_embeddings(), whole.get_output_embeddings()
    if outer is not None and outer.weight is inner.weight:
        outer.weight = backbone.model.get_input_embeddings().weight
    return LanguageHead(parts)


def load(net: Any, folder: Path, weights: Path, causal: bool, trust: bool) -> Loaded:
    """Read the weights of a folder into a `language_model` on the CPU, backbone and head.

    Returns:
        Names as the network has them; unused are those of the file that it has no use for.

    Raises:
        ValueError: as `Transformer.load`; a file without the head, or with another one.
    """
    net.backbone.load(weights)
    with quiet(), torch.random.fork_rng(devices=[]):
        whole, info = language_class(causal).from_pretrained(
            folder, output_loading_info=True, dtype=torch.float32, trust_remote_code=trust
        )  # fmt: skip
    wrong = [f"{name} is not in the file" for name in info["missing_keys"]]
    wrong += [f"{name[0]} has another shape" for name in info["mismatched_keys"]]
    head = _head_of(whole, net.backbone)
    wrong += [
        f"{name} has values that are not finite" for name, value in head.named_parameters()
        if not bool(value.isfinite().all())
    ]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ValueError(
            f"{weights}: has no whole {type(whole).__name__}: {'; '.join(wrong[:SHOWN])}{more}; "
            "a network without its language-model head predicts no bases"
        )
    net.head = head
    return Loaded(list(net.state_dict()), sorted(info["unexpected_keys"]))
