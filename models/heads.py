"""From a backbone to a prediction: pooling and a head, the same for every task kind.

B batch, T length in tokens, D width, K task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any

from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.types import Recipe, Task

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("mean", "cls", "last", "max")
# Options and choices of a model that reads letters and can read words instead
READS_LETTERS: dict[str, Any] = {"pooling": "mean", "tokenizer": "char", "vocabulary": 4096}
LETTER_CHOICES = {
    "pooling": POOLINGS, "tokenizer": ("char", "char-sep", "char-cls-sep", "6mer", "bpe"),
}  # fmt: skip


def n_words(options: Mapping[str, Any]) -> int:
    """Rows of an embedding: the size of the tokenizer, for a BPE the option `vocabulary`."""
    name = str(options["tokenizer"])
    return TOKENIZERS[name].size if name in TOKENIZERS else int(options["vocabulary"])


def network(task: Task, backbone: Any, width: int, pooling: str = "mean", head: Any = None) -> Any:
    """Put pooling and a head on a backbone.

    Args:
        task: gives K; a per-base task is not pooled.
        backbone: torch module, `(ids (B, T), mask float32 (B, T) or None) -> float (B, T, D)`.
        width: D.
        pooling: what represents a sequence: the "mean" or "max" over its tokens, or its first
            ("cls") or "last" token.
        head: torch module from (..., D) to (..., K); None = one linear layer with bias.

    Returns:
        A torch module with submodules `backbone` and `head`. `features(ids, mask)` gives what the
        head sees: float (B, D), per base (B, T, D). `forward(ids, mask)` gives logits float
        (B, K), per base (B, T, K). Padding, where mask is 0, enters no pooling.

    Raises:
        ValueError: for an unknown pooling.
    """
    from torch import nn

    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; it must be one of {', '.join(POOLINGS)}")

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone
            self.head = nn.Linear(width, task.n_outputs) if head is None else head

        def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            hidden = self.backbone(ids, mask)
            return hidden if task.kind == "per_base" else pooled(hidden, mask, pooling)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            return self.head(self.features(ids, mask))  # type: ignore[no-any-return]

    return Network()


def spare_weight_decay(net: Any, spared: Callable[[str], bool]) -> Any:
    """Give a network `param_groups(recipe)`: no weight decay on the parameters so named.

    Args:
        net: changed in place and returned.
        spared: whether a parameter of that name goes without.
    """

    def param_groups(net: Any, recipe: Recipe) -> list[dict[str, Any]]:
        groups: dict[bool, list[Any]] = {False: [], True: []}
        for name, p in net.named_parameters():
            groups[spared(name)].append(p)
        return [{"params": groups[False]}, {"params": groups[True], "weight_decay": 0.0}]

    net.param_groups = MethodType(param_groups, net)
    return net


def pooled(hidden: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """One vector per sequence.

    Args:
        hidden: (B, T, D).
        mask: (B, T), ones then zeros; None = no padding.
        pooling: one of POOLINGS.

    Returns:
        (B, D).
    """
    import torch

    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        if mask is None:
            return hidden[:, -1]
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1).long() - 1]
    if pooling == "max":
        return (hidden if mask is None else hidden.where(mask[..., None] > 0, -torch.inf)).amax(1)
    if mask is None:
        return hidden.mean(1)
    weight = mask[..., None]
    return (hidden * weight).sum(1) / weight.sum(1)
