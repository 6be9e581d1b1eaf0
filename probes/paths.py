"""Paths through a stack of convolutions: how often each input base reaches one output.

R bp of the receptive field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.types import Array

LONGEST = 2**24  # bp of a receptive field whose paths are counted


class Convolution(NamedTuple):
    """A convolution, or pooling, over positions."""

    kernel: int  # taps
    dilation: int = 1  # positions between taps
    stride: int = 1  # positions from one output to the next


class Paths(NamedTuple):
    """From each input base to one output, along the taps; residual connections are ignored.

    counts: (R,), int64, or Python integers where their sum does not fit in 63 bits.
    first: offset of the first base from the middle of the field; -(R // 2).
    """

    counts: Array
    first: int

    @property
    def field(self) -> int:
        """R."""
        return len(self.counts)

    @property
    def total(self) -> int:
        """All paths: the product of the kernels."""
        return int(self.counts.sum())

    @property
    def covered(self) -> int:
        """Bases of the field that at least one path reaches."""
        return int((self.counts > 0).sum())

    @property
    def widest_gap(self) -> int:
        """The longest run of bases, inside the field, that no path reaches."""
        reached = np.flatnonzero(self.counts > 0)
        return int(np.diff(reached).max(initial=1)) - 1

    @property
    def largest(self) -> tuple[int, tuple[int, ...]]:
        """The largest count, and the distances from the middle at which it is found."""
        most = self.counts.max()
        where = np.flatnonzero(self.counts == most) + self.first
        return int(most), tuple(np.unique(np.abs(where)).tolist())

    def at(self, offset: int) -> int:
        """Paths from the base so many bp from the middle; 0 outside the field."""
        i = offset - self.first
        return int(self.counts[i]) if 0 <= i < len(self.counts) else 0


def receptive_field(stack: Sequence[Convolution]) -> int:
    """R: 1 + the sum of (kernel - 1) x dilation x the strides of all earlier layers."""
    field, jump = 1, 1
    for layer in stack:
        field += (layer.kernel - 1) * layer.dilation * jump
        jump *= layer.stride
    return field


def count_paths(stack: Sequence[Convolution]) -> Paths:
    """Count the paths from every base of the receptive field to one output of the last layer.

    The counts are the convolution of all kernels with weights of 1.

    Args:
        stack: the layers, from the input on.

    Raises:
        ValueError: a receptive field of more than LONGEST bp.

    Source:
        Büdenbender 2025, thesis, University of Cologne, equation 3. Ours: strides.
    """
    if receptive_field(stack) > LONGEST:
        raise ValueError(
            f"the receptive field has {receptive_field(stack):,} bp, paths are counted in "
            f"{LONGEST:,} at most; choose a smaller dilation or fewer layers"
        )
    exact = math.prod(layer.kernel for layer in stack) < 2**63
    counts, jump = np.ones(1, np.int64 if exact else object), 1
    for layer in stack:
        step = layer.dilation * jump
        longer = np.zeros(len(counts) + (layer.kernel - 1) * step, counts.dtype)
        for tap in range(layer.kernel):
            longer[tap * step : tap * step + len(counts)] += counts
        counts, jump = longer, jump * layer.stride
    return Paths(counts, -(len(counts) // 2))
