"""Layers that several models share. Import it only inside `build`, because it needs torch.

B batch, L sequence length (bp), C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dnabench.models.heads import n_words
from dnabench.models.kernels.convolve import convolve
from dnabench.types import CLS, MASK, SEP, N

LONG = 2**23  # values of a sequence in a layer, e.g. 32,768 bp at width 256


def one_hot_table(columns: list[int]) -> Tensor:
    """One-hot rows of the letters: float32 (9, 5); row i is 1 at `columns[i]`, PAD is all zeros.

    The last three rows are those of [CLS], [SEP] and a hidden letter, which read as N:
    docs/models.md#letters-and-ids.
    """
    table = torch.zeros(MASK + 1, len(columns))
    rows = [*range(len(columns)), CLS, SEP, MASK]
    table[rows, [*columns, columns[N], columns[N], columns[N]]] = 1.0
    return table


class OneHot(nn.Module):
    """Letters as one-hot channels: ids (B, L) to float32 (B, L, 5)."""

    table: Tensor
    channels = 5

    def __init__(self, columns: list[int]) -> None:
        super().__init__()
        self.register_buffer("table", one_hot_table(columns), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the rows of the ids."""
        return F.embedding(ids.long(), self.table)


class Words(nn.Embedding):
    """Tokens of several letters as learned embeddings: ids (B, T) to float32 (B, T, C)."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__(vocabulary, width)
        self.channels = width

    def forward(self, ids: Tensor) -> Tensor:
        """Look up the rows of the ids."""
        return super().forward(ids.long())


def input_layer(options: Mapping[str, Any], width: int) -> OneHot | Words:
    """The input of a convolutional network: one-hot letters, or embedded words.

    Args:
        options: `tokenizer`; `vocabulary`, the number of words.
        width: channels of a word.

    Source:
        Ours: in the papers these networks read letters. An embedding as wide as the network is
        what a first convolution of width 1 on one-hot words would be.
    """
    if str(options["tokenizer"]).startswith("char"):
        return OneHot([0, 1, 2, 3, 4])
    return Words(n_words(options), width)


def lean(layer: Any, x: Tensor, *rest: Any, long: int | None = None) -> Any:
    """`layer(x, *rest)`; in training, long sequences are recomputed in the backward pass.

    Args:
        layer: a part of a network.
        x: float (B, L, C), its input; beyond `long` values a sequence only this is kept in memory.
        rest: further arguments.
        long: None = LONG; less for a layer that would keep many times its input.

    Accuracy:
        The same value and gradients, dropout included.
    """
    long = LONG if long is None else long
    if torch.is_grad_enabled() and x.requires_grad and x[0].numel() > long:
        return checkpoint(layer, x, *rest, use_reentrant=False)
    return layer(x, *rest)


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which operations on x's device keep their inputs' dtype: autocast is off.

    The meta device, on which parameters are counted, has no autocast to switch off.
    """
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def channels_last_conv1d(conv: nn.Conv1d, x: Tensor, dilation: int = 1) -> Tensor:
    """`conv` with "same" zero padding on channels-last input, without a transposed copy.

    Args:
        conv: an odd kernel; its own padding and dilation are not used.
        x: float (B, L, C).
        dilation: bp between taps.

    Returns:
        float (B, L, out channels).

    Accuracy:
        Equal to F.conv1d to float32 rounding, whichever form `convolve` chooses.
    """
    return convolve(x, conv.weight, conv.bias, dilation)


class Linear(nn.Linear):
    """nn.Linear in whichever form `convolve` chooses: float (B, L, C) to (B, L, O)."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return convolve(x, self.weight, self.bias)


def initialise(net: nn.Module) -> None:
    """Linear layers and embeddings from N(0, 0.02), biases zero, as in BERT."""
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
