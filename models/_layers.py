"""Torch pieces that several models share. Imported only inside `build`: it needs torch.

B batch, L sequence length (bp), C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnabench.types import PAD


def one_hot_table(columns: list[int]) -> Tensor:
    """Rows to look letters up in: float32 (6, 5), row i is one at `columns[i]`, PAD is zero."""
    table = torch.zeros(PAD + 1, len(columns))
    table[torch.arange(len(columns)), torch.tensor(columns)] = 1.0
    return table


def channels_last_conv1d(conv: nn.Conv1d, x: Tensor, dilation: int = 1) -> Tensor:
    """`conv` with "same" zero padding on channels-last input, without transposing copies.

    Args:
        conv: an odd kernel; its own padding and dilation are not used.
        x: float (B, L, C).
        dilation: bp between taps.

    Returns:
        float (B, L, out channels).

    Accuracy:
        Equal to F.conv1d to float32 rounding. A two-dimensional convolution of height 1 lets
        oneDNN and cuDNN keep the channels-last layout.
    """
    image = x.transpose(1, 2).unsqueeze(2)  # (B, C, 1, L), channels-last strides
    reach = (conv.kernel_size[0] - 1) // 2 * dilation
    weight = conv.weight.unsqueeze(2)
    y = F.conv2d(image, weight, conv.bias, padding=(0, reach), dilation=(1, dilation))
    return y.squeeze(2).transpose(1, 2)
