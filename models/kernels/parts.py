"""Long sequences part by part, exactly, through a network that sees a limited distance.

B batch, L sequence length (bp), D width, K task outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

POSITIONS = 2**13  # of a part, without its surroundings


def in_parts(net: Any, reach: int, per_base: bool, pooling: str) -> Any:
    """Let a network read long sequences in parts when no gradients are needed.

    A part is computed with `reach` bp of its surroundings, so memory does not grow with L: the
    backbone's output is pooled, or given to the head, part by part.

    Args:
        net: from `heads.network`; its backbone is changed by nothing but the bases within reach.
        reach: bp to either side that an output position depends on.
        per_base: whether every position has an output, which is then not pooled.
        pooling: of the network; only "mean" and "max" are computed in parts.

    Returns:
        The same network. In evaluation without gradients, `forward` and `features` use parts for
        sequences longer than a part and its surroundings; everything else is unchanged.

    Accuracy:
        Equal in exact arithmetic: only the ends of the whole sequence are padded with zeros. The
        mean is summed in float64.

    Source:
        Ours; docs/speed.md#long-sequences.
    """
    whole: Any = type(net)

    class InParts(whole):  # type: ignore[misc]
        answers_by_head = vars(whole).get("answers_by_head", False)

        def features(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            if self.training or (n := part_of(ids, reach)) >= ids.shape[1]:
                return whole.features(self, ids, mask)  # type: ignore[no-any-return]
            parts = hidden(self.backbone, ids, mask, n, reach)
            if per_base:
                return torch.cat([h for h, _ in parts], 1)
            if pooling == "max":
                return _largest(parts)
            return _mean(parts)

        def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
            if not per_base or self.training or (n := part_of(ids, reach)) >= ids.shape[1]:
                return whole.forward(self, ids, mask)  # type: ignore[no-any-return]
            parts = hidden(self.backbone, ids, mask, n, reach)
            return torch.cat([self.head(h) for h, _ in parts], 1)

    if per_base or pooling in ("mean", "max"):
        net.__class__ = InParts
    return net


def part_of(ids: Tensor, reach: int) -> int:
    """Positions of a part; L if one pass is better, and when operations are counted.

    Args:
        ids: (B, L).
        reach: bp of surroundings on either side, computed again with each part; at least a third
            of what is computed is new.
    """
    length, n = ids.shape[1], max(POSITIONS, reach)
    if torch.is_grad_enabled() or ids.is_meta or length <= n + 2 * reach:
        return length
    return math.ceil(length / math.ceil(length / n))


def hidden(
    backbone: Any, ids: Tensor, mask: Tensor | None, n: int, reach: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The backbone's output in parts of n positions, (B, n, D), and their mask (B, n) or None."""
    for start in range(0, ids.shape[1], n):
        first, last = max(0, start - reach), min(ids.shape[1], start + n + reach)
        near = None if mask is None else mask[:, first:last]
        part = slice(start - first, min(start + n, ids.shape[1]) - first)
        yield backbone(ids[:, first:last], near)[:, part], None if near is None else near[:, part]


def by_position(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`layer(x)`; without gradients one part at a time, to limit memory inside the layer.

    Args:
        layer: treats each position by itself: float (B, L, C) to (B, L, O).
        x: float (B, L, C).
    """
    if has_torch_function_unary(x):  # a subclass of Tensor that follows operations
        return handle_torch_function(by_position, (x,), layer, x)
    if torch.is_grad_enabled() or x.shape[1] <= POSITIONS:
        return layer(x)
    out: Tensor | None = None
    for start in range(0, x.shape[1], POSITIONS):
        y = layer(x[:, start : start + POSITIONS])
        if out is None:
            out = y.new_empty(*x.shape[:2], y.shape[2])
        out[:, start : start + POSITIONS] = y
    assert out is not None  # there is at least one part
    return out


def _mean(parts: Iterator[tuple[Tensor, Tensor | None]]) -> Tensor:
    """(B, D), over the positions without padding."""
    total, count, kind = torch.zeros(()), torch.zeros(()), torch.float32
    for h, mask in parts:
        kind = h.dtype
        if mask is None:
            total, count = total + h.sum(1, dtype=torch.float64), count + h.shape[1]
        else:
            kind = torch.promote_types(h.dtype, mask.dtype)
            total = total + (h * mask[..., None]).sum(1, dtype=torch.float64)
            count = count + mask.sum(1, dtype=torch.float64)[:, None]
    return (total / count).to(kind)


def _largest(parts: Iterator[tuple[Tensor, Tensor | None]]) -> Tensor:
    """(B, D), over the positions without padding."""
    best: Tensor | None = None
    for h, mask in parts:
        h = (h if mask is None else h.where(mask[..., None] > 0, -torch.inf)).amax(1)
        best = h if best is None else torch.maximum(best, h)
    assert best is not None  # a sequence has at least one part
    return best
