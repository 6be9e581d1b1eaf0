"""Layers of the Nucleotide Transformers. Import it only inside `build`, because it needs torch.

B batch, T length in tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnabench.models._layers import initialise

EPSILON = 1e-12  # of every layer norm
POSITIONS = 1002  # rows of the learned position table; those of tokens begin at FIRST
FIRST = 2
NO_MASK_SCALE = 0.88  # 1 - 0.15 x 0.8: the share of tokens that masked training leaves


def rotary_frequencies(head_width: int, base: float = 10_000.0) -> Tensor:
    """Radians per token: float32 (head_width / 2,), base^(-2 i / head_width)."""
    return base ** (-torch.arange(0, head_width, 2, dtype=torch.float32) / head_width)


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate components i and i + half by the angles whose cosine and sine are given.

    Args:
        x: (B, heads, T, head_width).
        turn: float32 (..., T, head_width / 2) each; `...` is one, or the heads.

    Returns:
        The shape and dtype of x.
    """
    a, b = x.chunk(2, -1)
    cosine, sine = turn
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1).to(x.dtype)


class Dense(nn.Module):
    """A linear layer under the authors' name, and a function after it."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True, then: Any = None) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, n_out, bias)
        self._then = then

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) to (..., n_out), or the result of `then`."""
        y = self.dense(x)
        return y if self._then is None else self._then(y)  # type: ignore[no-any-return]


def silu_gate(x: Tensor) -> Tensor:
    """SiLU of the first half, times the second half."""
    a, b = x.chunk(2, -1)
    return F.silu(a) * b


class SelfAttention(nn.Module):
    """Multi-head softmax attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self._heads = heads

    def queries_and_keys(self, x: Tensor, turn: tuple[Tensor, Tensor] | None) -> tuple[Tensor, ...]:
        """Both as (B, heads, T, head width), rotated when there are angles."""
        q, k = self._split(self.query(x)), self._split(self.key(x))
        return (q, k) if turn is None else (rotate(q, turn), rotate(k, turn))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None, keep: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D); keys where `keep` (B, 1, 1, T) is false are ignored."""
        q, k = self.queries_and_keys(x, turn)
        v = self._split(self.value(x))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)


class Attention(nn.Module):
    """Layer norm, attention, linear layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self = SelfAttention(width, heads)
        self.output = Dense(width, width)
        self.LayerNorm = nn.LayerNorm(width, EPSILON)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, keep: Tensor | None) -> Tensor:
        """What the layer adds to h."""
        return self.output(self.self(self.LayerNorm(h), turn, keep))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One pre-norm transformer layer: gated without biases (version 2) or GELU (version 1)."""

    def __init__(self, width: int, heads: int, inner: int, gated: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.LayerNorm = nn.LayerNorm(width, EPSILON)
        if gated:
            self.intermediate = Dense(width, 2 * inner, bias=False, then=silu_gate)
        else:
            self.intermediate = Dense(width, inner, then=F.gelu)
        self.output = Dense(inner, width, bias=not gated)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, keep: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        h = h + self.attention(h, turn, keep)
        return h + self.output(self.intermediate(self.LayerNorm(h)))  # type: ignore[no-any-return]


class Embeddings(nn.Module):
    """Token embeddings, with learned positions (version 1) or without."""

    def __init__(self, vocabulary: int, width: int, learned_positions: bool) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self._learned, self.hides = learned_positions, -1  # id of tokens read as zeros; -1 = none
        if learned_positions:
            self.position_embeddings = nn.Embedding(POSITIONS, width)

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T) to (B, T, D), zero where mask is 0."""
        h = self.word_embeddings(ids.long())
        if self._learned:
            length = ids.shape[1]
            if length > POSITIONS - FIRST:
                raise ValueError(
                    f"a sequence has {length} tokens, and the model has learned positions for "
                    f"{POSITIONS - FIRST}: take shorter sequences or a model of the ntv2 family"
                )
            h = self.scaled(h, ids, mask) + self.position_embeddings.weight[FIRST : FIRST + length]
        return h if mask is None else h * mask[..., None]  # type: ignore[no-any-return]

    def scaled(self, h: Tensor, ids: Tensor, mask: Tensor | None) -> Tensor:
        """What masked training gives on average, whatever share of a sequence is hidden."""
        if self.hides < 0:
            return NO_MASK_SCALE * h
        hidden = (ids == self.hides).float()
        tokens = float(ids.shape[1]) if mask is None else mask.sum(1, keepdim=True)
        shown = 1 - hidden.sum(1, keepdim=True) / tokens
        return h * ((1 - hidden) * NO_MASK_SCALE / shown)[..., None]


class Encoder(nn.Module):
    """The layers and the last layer norm."""

    def __init__(self, layers: list[Layer], width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)
        self.emb_layer_norm_after = nn.LayerNorm(width, EPSILON)

    def forward(self, h: Tensor, turn: tuple[Tensor, Tensor] | None, keep: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        for layer in self.layer:
            h = layer(h, turn, keep)
        return self.emb_layer_norm_after(h)  # type: ignore[no-any-return]


class Esm(nn.Module):
    """`(ids (B, T), mask (B, T) or None) -> (B, T, D)`, under the authors' tensor names.

    Args:
        options: width D, layers, heads, inner.
        vocabulary: number of token ids.
        frequencies: of the rotary positions, (head width / 2,) or (heads, 1, head width / 2); the
            layers are then gated (version 2). None = learned positions, GELU layers (version 1).
    """

    frequencies: Tensor | None

    def __init__(
        self, options: Mapping[str, Any], vocabulary: int, frequencies: Tensor | None
    ) -> None:
        super().__init__()
        d, heads, inner = options["width"], options["heads"], options["inner"]
        gated = frequencies is not None
        self.embeddings = Embeddings(vocabulary, d, learned_positions=not gated)
        self.encoder = Encoder([Layer(d, heads, inner, gated) for _ in range(options["layers"])], d)
        self.register_buffer("frequencies", frequencies, persistent=False)
        initialise(self)

    def turn(self, length: int) -> tuple[Tensor, Tensor] | None:
        """Cosine and sine of the rotary angles of the first `length` tokens."""
        if self.frequencies is None:
            return None
        at = torch.arange(length, device=self.frequencies.device, dtype=self.frequencies.dtype)
        angles = at[:, None] * self.frequencies
        return angles.cos(), angles.sin()

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """See the class."""
        keep = None if mask is None else (mask > 0)[:, None, None]
        return self.encoder(self.embeddings(ids, mask), self.turn(ids.shape[1]), keep)  # type: ignore[no-any-return]


class ClassificationHead(nn.Module):
    """(..., D) to (..., K): a linear layer of width D, tanh, a linear layer."""

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, n_outputs)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.out_proj(torch.tanh(self.dense(x)))  # type: ignore[no-any-return]


class LanguageHead(nn.Module):
    """(B, T, D) to (B, T, V): linear, GELU, layer norm, a linear layer and its bias."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense, self.layer_norm = nn.Linear(width, width), nn.LayerNorm(width, EPSILON)
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        initialise(self)

    def forward(self, h: Tensor) -> Tensor:
        """Logits."""
        return self.decoder(self.layer_norm(F.gelu(self.dense(h)))) + self.bias  # type: ignore[no-any-return]
