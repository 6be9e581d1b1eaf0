"""Numbers of rows, known to the host and to a device; and values of rows, on either of the two.

B rows of a batch, N rows in all, T columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dnabench.host.machine import free_memory
from dnabench.types import Array

SMALL = 2**26  # bytes that any device has room for
SHARE = 0.5  # of the memory that is free: the rest is for the training itself


@dataclass(frozen=True, slots=True)
class Rows:
    """Numbers of rows. A part of them costs no copy, so an epoch copies its whole order once."""

    host: Array  # int64 (B,)
    index: Tensor  # the same, on the device

    def __len__(self) -> int:
        return len(self.host)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.host[part], self.index[part])

    def map(self, function: Callable[[Any], Any]) -> Rows:
        """A function of both; it gets an array, and then a tensor."""
        return Rows(function(self.host), function(self.index))


def numbered(rows: Array, device: torch.device) -> Rows:
    """These numbers on both."""
    return Rows(rows, sent(torch.from_numpy(rows), device))


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The values on a device; up to `SMALL` bytes without waiting for what a GPU has yet to do."""
    if device.type != "cuda" or values.nbytes > SMALL:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


class Values:
    """Values of rows: on the device where they fit, else on the host, which sends those of a batch.

    Args:
        values: (N, ...).
        device: where batches are wanted.

    Accuracy:
        The same values wherever they lie.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self._device, self.here = device, fits(values.nbytes, device)
        self._values = sent(values, device) if self.here else values

    def take(self, rows: Rows, width: int | None = None) -> Tensor:
        """(B, ...), the first `width` columns, on the device."""
        values = self._values if width is None else self._values[:, :width]
        if self.here:
            return values[rows.index]
        return sent(values[torch.from_numpy(rows.host)], self._device)


def fits(size: int, device: torch.device) -> bool:
    """Whether a device has room for so many bytes beside a training."""
    if device.type == "cpu" or size <= SMALL:
        return True
    return size <= SHARE * free_memory(str(device))
