"""The long filters of HyenaDNA: their positional inputs and window, and the convolution.

B batch, L sequence length (bp), D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

BANDS = 2  # cosines, and as many sines; with the position itself 5 features
SLOW, FAST = 1.5, 0.3  # share of l_max at which the slowest, fastest channel has decayed to 0.01


def causal_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """y[t] = sum over s <= t of kernel[s] x[t - s], through the Fourier transform.

    Args:
        x: float32 or float64 (..., D, L).
        kernel: the same dtype, (D, L).

    Returns:
        (..., D, L).

    Accuracy:
        float32 or float64 rounding, relative to the largest values of the channel.
    """
    import torch

    length = x.shape[-1]
    n = fast_length(2 * length - 1)  # enough zeros to prevent wrap-around
    product = torch.fft.rfft(x, n=n) * torch.fft.rfft(kernel, n=n)
    y: Tensor = torch.fft.irfft(product, n=n)
    return y[..., :length]


def fast_length(least: int) -> int:
    """The smallest product of twos, threes and fives that is not less: its transform is fast.

    Source:
        As scipy.fft.next_fast_len(least, real=True), which torch.compile cannot follow.
    """
    best, fives = 1 << (least - 1).bit_length(), 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << (-(-least // odd) - 1).bit_length())
            odd *= 3
        fives *= 5
    return best


def positions(length: int, like: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The inputs of the filters, and their window, for the first `length` taps.

    Args:
        length: L.
        like: gives dtype and device.
        options: width D; l_max, the unit of time; shift.

    Returns:
        Of `places` and `window_over`: (L, 5) and (L, D).
    """
    features = places(length, like, options)
    return features, window_over(features[:, :1], options)


def places(length: int, like: Tensor, options: Mapping[str, Any]) -> Tensor:
    """(L, 5): t = n / (l_max - 1), cos(f w), -sin(f w), where w = 2 pi n / l_max, f = 1e-4 and 1.

    Source:
        docs/models.md#hyenadna. Ours: made from the formula each time; theirs stores l_max rows.
    """
    import torch

    n = torch.arange(length, device=like.device, dtype=like.dtype)[:, None]
    frequency = torch.linspace(1e-4, 1, BANDS, device=like.device, dtype=like.dtype)
    t, angle = n / (options["l_max"] - 1), frequency * (2 * math.pi * n / options["l_max"])
    return torch.cat([t, torch.cos(angle), -torch.sin(angle)], 1)


def window_over(t: Tensor, options: Mapping[str, Any], part: slice = slice(None)) -> Tensor:
    """(L, channels): exp(-t |decay|) + shift, decay ln(0.01) / 1.5 to ln(0.01) / 0.3.

    Args:
        t: (L, 1), the first of `places`.
        options: width, shift.
        part: which channels.

    Source:
        docs/models.md#hyenadna.
    """
    import torch

    slow, fast = -math.log(0.01) / SLOW, -math.log(0.01) / FAST
    decay = torch.linspace(slow, fast, options["width"], device=t.device, dtype=t.dtype)
    window: Tensor = torch.exp(-t * decay[part]) + options["shift"]
    return window
