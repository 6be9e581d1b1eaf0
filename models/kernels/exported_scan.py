"""The selective scan as one operation of an exported program, of any length.

B batch, L sequence length (bp), G directions, E channels of a direction, S states of a channel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan


def exported_scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`scan.selective_scan`, bp by bp: a loop in ONNX and in programs of torch.export.

    Args:
        x: (B, L, G, E).
        delta: the same, > 0: step sizes.
        a: (G, E, S), < 0.
        b: (B, L, G, S).
        c: (B, L, G, S).

    Returns:
        (B, L, G, E).

    Accuracy:
        The recurrence itself, without chunks; its speed is that of the program that runs the file.
    """

    def step(h: Tensor, row: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        x, delta, b, c = row
        h = torch.exp(delta[..., None] * a) * h + (delta * x)[..., None] * b[:, :, None]
        return h.clone(), (h * c[:, :, None]).sum(-1)

    rows = tuple(t.transpose(0, 1) for t in (x, delta, b, c))
    y: Tensor = scan(step, a.new_zeros(x.shape[0], *a.shape), rows)[1]
    return y.transpose(0, 1)
