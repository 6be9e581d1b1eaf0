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
CHANNELS, TAPS = 64, 3  # of the convolutions in `with_convolutions`
NO_PLACES = (
    "its head is two convolutions over bases (head=conv), and its tokens are words, which only "
    "`dnabench predict` and `embed` turn into bases"
)
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
        answers_by_head = True  # `forward` is the head on the features, and no more

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


def with_convolutions(net: Any, width: int, task: Task, words: bool) -> Any:
    """Give a network for a label of each base a head that sees the features of five bases.

    Two convolutions of 64 channels over three bases, each followed by GELU, and a linear layer.
    Tensors keep their names: only the network's class changes, as in `kernels.parts`.

    Args:
        net: changed in place; `features(ids (B, T), mask (B, T) or None)` gives float (B, T, D).
        width: D.
        task: per base; gives K.
        words: whether a token may stand for another number of bases than one.

    Returns:
        The network. `head(x (B, L, D), mask (B, L) or None)` gives logits (B, L, K) that do not
        depend on padding, where mask is 0: it is zeros to both convolutions, as what lies beyond
        the ends. `forward(ids, mask)` gives (B, T, K). With words it is `forward(ids, mask,
        places)`, gives (B, L, K), and raises ValueError without `places`: the token of each base,
        int64 (B, L), and whether there is such a base, bool (B, L); see `train.batches.places`.

    Source:
        Marin et al. 2024, arXiv 2311.12570; frederikkemarin/BEND@ac6e80c bend/models/downstream.py,
        class CNN, and conf/supervised_tasks/gene_finding.yaml. Ours: the mask between the two
        convolutions; theirs reads what the first one makes of padding.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    from dnabench.models._layers import channels_last_conv1d

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = (nn.Conv1d(n, CHANNELS, TAPS) for n in (width, CHANNELS))
            self.linear = nn.Linear(CHANNELS, task.n_outputs)

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            for conv in (self.conv1, self.conv2):
                x = x if mask is None else x * mask[..., None]
                x = F.gelu(channels_last_conv1d(conv, x))
            return self.linear(x)  # type: ignore[no-any-return]

    own: Any = type(net)

    class LooksAround(own):  # type: ignore[misc]
        words: bool

        def forward(
            self, ids: Tensor, mask: Tensor | None, places: tuple[Tensor, Tensor] | None = None
        ) -> Tensor:
            x = self.features(ids, mask)
            if places is not None:
                token, mask = places
                x = x.gather(1, token[..., None].expand(-1, -1, x.shape[2]))
            elif words:
                raise ValueError(NO_PLACES)
            logits: Tensor = self.head(x, mask)
            return logits if places is None else logits * places[1][..., None]

        def evenly(self, tokens: int) -> tuple[Any, ...]:
            """`places` of the task's longest sequence in equal words; () for letters."""
            bases = torch.arange(task.length)[None]
            return ((bases * tokens // task.length, bases >= 0),) if words else ()

    LooksAround.__module__ = own.__module__  # whose code the features are
    net.__class__, net.head, net.words = LooksAround, Convolutions(), words
    return net


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
