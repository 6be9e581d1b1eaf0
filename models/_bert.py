"""Layers of the BERT-like models. Import it only inside `build`, because it needs torch.

B batch, T length in tokens, D width, H attention heads, K task outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnabench.models._layers import initialise
from dnabench.models.heads import network
from dnabench.types import Task


def classifier(task: Task, backbone: Any, o: Mapping[str, Any]) -> Any:
    """`network` with BERT's head.

    Args:
        task: gives K.
        backbone: as for `network`.
        o: all options: width D, pooling, dropout. With pooling "cls" the head has BERT's pooler,
            tanh of a linear layer, randomly initialised; otherwise, and for per-base tasks, it
            has none.
    """
    pooler = Pooler(o["width"]) if o["pooling"] == "cls" and task.kind != "per_base" else None
    head = Head(pooler, nn.Linear(o["width"], task.n_outputs), o["dropout"])
    initialise(head)
    return network(task, backbone, o["width"], o["pooling"], head)


def padding_bias(mask: Tensor | None) -> Tensor | None:
    """The bias of the attention scores: (B, 1, 1, T), 0 on tokens, -10000 on padding."""
    return None if mask is None else (mask[:, None, None, :] - 1) * 10_000


def attend(
    q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: queries, float (B, T, D).
        k: keys, float (B, T, D).
        v: values, float (B, T, D).
        heads: H, a divisor of D.
        bias: float, broadcast to (B, H, T, T) and added to the scaled scores; None = nothing.
        dropout: share of the attention weights set to zero.

    Returns:
        (B, T, D).
    """
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    bias = None if bias is None else bias.to(q.dtype)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
    return y.transpose(1, 2).flatten(2)


class Embeddings(nn.Module):
    """Word + token type 0 (+ position), normed: ids (B, T) to float (B, T, D)."""

    def __init__(self, o: Mapping[str, Any], positions: int = 0) -> None:
        super().__init__()
        d = o["width"]
        self.word_embeddings = nn.Embedding(o["vocabulary"], d)
        self.position_embeddings = nn.Embedding(positions, d) if positions else None
        self.token_type_embeddings = nn.Embedding(2, d)
        self.LayerNorm, self.dropout = nn.LayerNorm(d, eps=o["norm_eps"]), nn.Dropout(o["dropout"])

    def forward(self, ids: Tensor) -> Tensor:
        h = self.word_embeddings(ids.long()) + self.token_type_embeddings.weight[0]
        if self.position_embeddings is not None:
            if ids.shape[1] > self.position_embeddings.num_embeddings:
                raise ValueError(
                    f"a sequence has {ids.shape[1]} tokens, and the model reads at most "
                    f"{self.position_embeddings.num_embeddings}: take shorter sequences"
                )
            h = h + self.position_embeddings.weight[: ids.shape[1]]
        return self.dropout(self.LayerNorm(h))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Attention with linear layers for query, key and value: (B, T, D) to (B, T, D)."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)
        self.heads, self.dropout = heads, dropout

    def forward(self, h: Tensor, bias: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return attend(self.query(h), self.key(h), self.value(h), self.heads, bias, dropout)


class Output(nn.Module):
    """The end of a branch: linear layer, dropout, residual sum and, with `eps`, layer norm."""

    def __init__(self, inner: int, d: int, dropout: float, eps: float | None) -> None:
        super().__init__()
        self.dense, self.dropout = nn.Linear(inner, d), nn.Dropout(dropout)
        self.LayerNorm = None if eps is None else nn.LayerNorm(d, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        h = residual + self.dropout(self.dense(x))
        return h if self.LayerNorm is None else self.LayerNorm(h)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """`SelfAttention` of x, added to the residual."""

    def __init__(self, d: int, heads: int, dropout: float, eps: float | None) -> None:
        super().__init__()
        self.self = SelfAttention(d, heads, dropout)
        self.output = Output(d, d, dropout, eps)

    def forward(self, x: Tensor, residual: Tensor, bias: Tensor | None) -> Tensor:
        return self.output(self.self(x, bias), residual)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """BERT's layer, (B, T, D) to (B, T, D).

    Args:
        o: options width D, heads H, inner (width of the feed-forward part), dropout (of attention
            weights and of both branches), norm_eps.
        norm_first: layer norm before each branch, as in GENA-LM; otherwise after its sum with
            the residual, as in BERT.
    """

    def __init__(self, o: Mapping[str, Any], norm_first: bool) -> None:
        super().__init__()
        d, inner, dropout, eps = o["width"], o["inner"], o["dropout"], o["norm_eps"]
        self.pre_attention_ln = nn.LayerNorm(d, eps=eps) if norm_first else None
        self.post_attention_ln = nn.LayerNorm(d, eps=eps) if norm_first else None
        after = None if norm_first else eps
        self.attention = Attention(d, o["heads"], dropout, after)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(d, inner)})
        self.output = Output(inner, d, dropout, after)

    def forward(self, h: Tensor, bias: Tensor | None) -> Tensor:
        x = h if self.pre_attention_ln is None else self.pre_attention_ln(h)
        h = self.attention(x, h, bias)
        x = h if self.post_attention_ln is None else self.post_attention_ln(h)
        return self.output(F.gelu(self.intermediate["dense"](x)), h)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Layers in order, each (h, bias) to h; then a norm, if there is one."""

    def __init__(self, layers: Iterable[nn.Module], last: nn.Module | None = None) -> None:
        super().__init__()
        self.layer, self.last_layer_ln = nn.ModuleList(layers), last

    def forward(self, h: Tensor, bias: Tensor | None) -> Tensor:
        for layer in self.layer:
            h = layer(h, bias)
        return h if self.last_layer_ln is None else self.last_layer_ln(h)


class Bert(nn.Module):
    """ids (B, T), mask (B, T) or None to float (B, T, D); rows of padding are arbitrary."""

    def __init__(self, embeddings: Embeddings, encoder: Encoder) -> None:
        super().__init__()
        self.embeddings, self.encoder = embeddings, encoder
        initialise(self)

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.encoder(self.embeddings(ids), padding_bias(mask))  # type: ignore[no-any-return]


class Pooler(nn.Module):
    """tanh of a linear layer: (B, D) to (B, D)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.dense = nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x))


class Head(nn.Module):
    """The pooler, if there is one, dropout, a linear layer: (..., D) to (..., K)."""

    def __init__(self, pooler: Pooler | None, classifier: nn.Linear, dropout: float) -> None:
        super().__init__()
        self.pooler, self.classifier = pooler, classifier
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.pooler is None else self.pooler(x)
        return self.classifier(self.dropout(x))  # type: ignore[no-any-return]


class LanguageHead(nn.Module):
    """(B, T, D) to (B, T, V): linear, GELU, layer norm, then the word embeddings and a bias.

    The table of the embeddings is the backbone's own, and no parameter of the head.
    """

    def __init__(self, backbone: Any, d: int, eps: float) -> None:
        super().__init__()
        self._tied = [backbone.embeddings.word_embeddings]  # a list, so that it stays outside
        norm = nn.LayerNorm(d, eps=eps)
        self.transform = nn.ModuleDict({"dense": nn.Linear(d, d), "LayerNorm": norm})
        self.bias = nn.Parameter(torch.zeros(self._tied[0].num_embeddings))
        initialise(self)

    def forward(self, h: Tensor) -> Tensor:
        h = self.transform["LayerNorm"](F.gelu(self.transform["dense"](h)))
        return F.linear(h, self._tied[0].weight, self.bias)
