"""Where the attention of a transformer goes: by distance, and along a region.

A layers with attention, H heads, T tokens, L bp of the region.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from dnabench.models.kernels.context import Kernels
from dnabench.networks.embedding import Source
from dnabench.pretraining.learner import as_sequences
from dnabench.train.batches import Resident
from dnabench.train.precision import Arithmetic
from dnabench.types import Array

LARGEST = 1 << 28  # numbers of all layers and heads together


class Attention(NamedTuple):
    """The attention of a network on one region.

    Args:
        weights: float32 (A, H, T, T), from the token of the row to that of the column; rows sum to
            1.
        start: int64 (T,), first base of each token, from 0 in the region; -1 = a special token.
        end: int64 (T,), exclusive.
    """

    weights: Array
    start: Array
    end: Array

    @property
    def own(self) -> Array:
        """The tokens that stand for bases."""
        return np.flatnonzero(self.start >= 0)

    @property
    def to_special(self) -> Array:
        """Float64 (A, H), the share that tokens of bases give to special ones."""
        weights = self.weights[:, :, self.own].astype(np.float64)
        return np.asarray(1 - weights[..., self.own].sum(-1).mean(-1))


class _Recorder(TorchFunctionMode):
    """The weights of every attention of a sequence to itself, as PyTorch is asked for it."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self._tokens, self.found = tokens, list[Tensor]()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        given = dict(kwargs or {})
        if func is scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            said = {**dict(zip(names, args, strict=False)), **given}
            q, k = said["query"], said["key"]
            if q.dim() == 4 and q.shape[2] == k.shape[2] == self._tokens:
                held = sum(one.numel() for one in self.found) + q.shape[1] * self._tokens**2
                if held > LARGEST:
                    raise ValueError(
                        f"the attention of {len(self.found) + 1} layers, {q.shape[1]} heads and "
                        f"{self._tokens:,} tokens has {held:,} weights, more than fits; name a "
                        "shorter region"
                    )
                self.found.append(_weights(q, k, said)[0].float().cpu())
        return func(*args, **given)


def _weights(q: Tensor, k: Tensor, said: Mapping[str, Any]) -> Tensor:
    """Softmax of the scores, (B, H, T, T), as the documentation of PyTorch's attention has them."""
    if k.shape[1] != q.shape[1]:
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    scale = said.get("scale") or 1 / math.sqrt(q.shape[-1])
    scores = (q @ k.transpose(-2, -1)) * scale
    mask = said.get("attn_mask")
    if said.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


@torch.no_grad()
def attention(source: Source, codes: Array, device: str = "cpu") -> Attention:
    """Run a region once and keep what every layer and head attends to.

    Args:
        source: the network.
        codes: uint8 (L,), letters A0 C1 G2 T3 N4.
        device: where it runs.

    Raises:
        ValueError: a network without attention between tokens, a region that it cannot read, or
            more weights than LARGEST.
    """
    name, length = source.model.name, len(codes)
    if length > source.length:
        raise ValueError(
            f"the region has {length:,} bp; {name} reads {source.length:,} here: name a part of it"
        )
    encoded = source.tokenizer.shortened(as_sequences(codes[None]), length, "mask", 0)
    data = Resident([encoded], device, source.tokenizer.pad, widths=True)
    batch = data.batch(data.rows(np.zeros(1, np.int64)))
    tokens = batch.ids.shape[1]
    net = source.net.to(device).eval()
    products = Arithmetic("fp32", str(device)).products()
    with products, Kernels("direct"), _Recorder(tokens) as recorder:
        (net.features if getattr(net, "words", False) else net)(batch.ids, batch.mask)
    found = recorder.found
    if not found:
        raise ValueError(
            f"{name} has no attention between tokens (no layer asks PyTorch for it): maps of "
            "attention are for transformers; `dnabench probe dependency` and `field` are for all"
        )
    start, end = np.arange(tokens), np.arange(1, tokens + 1)
    if batch.widths is not None:
        widths = batch.widths[0].cpu().numpy().astype(np.int64)
        end = np.cumsum(widths)
        start = np.where(widths > 0, end - widths, -1)
    return Attention(torch.stack(found).numpy(), start, end)


class Profile(NamedTuple):
    """Attention by distance.

    Args:
        low: int64 (K,), smallest distance of a bin in bp, between the middles of tokens.
        high: int64 (K,), exclusive.
        share: float64 (A, H, K), of the attention to tokens of bases; sums to 1.
        even: float64 (K,), the same if every token were attended to alike.
        mean: float64 (A, H), mean distance in bp.
    """

    low: Array
    high: Array
    share: Array
    even: Array
    mean: Array


def profile(found: Attention) -> Profile:
    """The share of attention by distance, in bins that double: 0, 1, 2 to 3, 4 to 7 ... bp.

    Every token of bases counts alike as the one that attends.
    """
    own = found.own
    middle = (found.start[own] + found.end[own]) / 2
    distance = np.abs(middle[:, None] - middle)
    doubling = 2.0 ** np.arange(math.floor(math.log2(max(1.0, distance.max()))) + 1)
    edges = np.concatenate([[0], doubling])
    which = np.digitize(distance, edges) - 1
    k, n = len(edges), len(own)
    shape = found.weights.shape[:2]
    share, mean = np.zeros((*shape, k)), np.zeros(shape)
    for a in range(shape[0]):
        for h in range(shape[1]):
            w = found.weights[a, h][np.ix_(own, own)].astype(np.float64)
            w /= np.maximum(w.sum(1, keepdims=True), 1e-300)
            share[a, h] = np.bincount(which.ravel(), w.ravel(), k) / n
            mean[a, h] = (w * distance).sum() / n
    even = np.bincount(which.ravel(), minlength=k) / n**2
    high = np.append(edges[1:], edges[-1] * 2)
    return Profile(edges.astype(np.int64), high.astype(np.int64), share, even, mean)


def rollout(found: Attention) -> Array:
    """How much each token's input weighs in each output, float64 (T, T), rows sum to 1.

    Layers are multiplied, each the mean of its heads' attention and half a residual connection.

    Source:
        Abnar and Zuidema 2020, ACL, section 3 (attention rollout).
    """
    out = np.eye(found.weights.shape[-1])
    for layer in found.weights.astype(np.float64).mean(1):
        out = (layer / 2 + np.eye(len(out)) / 2) @ out
    return out


def of_bases(found: Attention, values: Array, length: int) -> Array:
    """From tokens (T, T) to bases float64 (L, L): a token's share is that of its bases, alike.

    Special tokens are left out.
    """
    own = found.own
    width = found.end[own] - found.start[own]
    inner = values[np.ix_(own, own)] / width
    out = np.repeat(np.repeat(inner, width, 0), width, 1)
    full = np.full((length, length), np.nan)
    full[: len(out), : len(out)] = out
    return full
