"""Windows that a network has read before, so that equal ones run once. W bp of a window."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np

from dnabench.probes.likelihood import Told
from dnabench.types import Array

MOST = 1 << 17  # windows that are remembered, about 20 MB with four numbers each
NUMBERS = 1 << 22  # in all of them together: 32 MB


class Known:
    """What a network said about the windows that it read last.

    Args:
        most: windows that are remembered; the oldest are forgotten.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._values = most, dict[bytes, Array]()

    def of(
        self, codes: Array, what: str, run: Callable[[Array, Told], Array],
        progress: Callable[[float], object] = lambda share: None,
    ) -> Array:  # fmt: skip
        """The values of windows, of which each kind that is not remembered runs once.

        Args:
            codes: uint8 (M, W).
            what: is asked; equal windows that are asked something else are others.
            run: from windows (B, W) to values (B, ...), telling somebody how many are done.
            progress: called with the share of the windows to run that is done, in the end 1.

        Returns:
            float64 (M, ...).
        """
        first, inverse = distinct(codes)
        keys = [blake2b(row.tobytes(), digest_size=16, key=what.encode()).digest()
                for row in codes[first]]  # fmt: skip
        new = [i for i, key in enumerate(keys) if key not in self._values]
        values = [self._values.get(key) for key in keys]
        if new:
            done = 0.0

            def told(windows: float) -> None:
                nonlocal done
                done += windows
                progress(min(1.0, done / len(new)))

            for i, value in zip(new, run(codes[first[new]], told), strict=True):
                values[i] = value
            self._remember([(keys[i], np.asarray(values[i])) for i in new])
        progress(1.0)
        out = np.empty((len(codes), *np.asarray(values[0]).shape))
        for i, kind in enumerate(inverse):
            out[i] = values[kind]
        return out

    def _remember(self, found: list[tuple[bytes, Array]]) -> None:
        most = min(self._most, max(1, NUMBERS // max(1, found[0][1].size)))
        self._values |= {key: value.copy() for key, value in found[-most:]}
        for key in [*self._values][:-most]:
            del self._values[key]


def distinct(codes: Array) -> tuple[Array, Array]:
    """Of rows, the first of each kind, and the kind of each."""
    rows = np.ascontiguousarray(codes)
    _, first, inverse = np.unique(
        rows.view(f"V{rows.shape[1]}").ravel(), return_index=True, return_inverse=True
    )
    return first, inverse
