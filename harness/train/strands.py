"""A per-base task on the other strand: labels and logits reversed, classes exchanged.

N examples, L bp, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnabench.types import IGNORED, Array


def opposite_labels(y: Array, lengths: Array, opposite: Sequence[int]) -> Array:
    """Labels of the reverse complements.

    Args:
        y: int8 (N, L), IGNORED where unknown and beyond a sequence's end.
        lengths: (N,), bp.
        opposite: class k on one strand is class opposite[k] on the other.

    Returns:
        int8 (N, L). Twice gives y again.
    """
    turned = np.take_along_axis(y, _mirror(lengths, y.shape[1]), axis=1)
    return np.where(turned == IGNORED, turned, np.array(opposite, y.dtype)[np.maximum(turned, 0)])


def opposite_logits(logits: Array, lengths: Array, opposite: Sequence[int]) -> Array:
    """Logits of the reverse complements as logits of the sequences.

    Args:
        logits: float (N, L, K).
        lengths: (N,), bp.
        opposite: as for `opposite_labels`.

    Returns:
        float (N, L, K). Twice gives the logits again.
    """
    mirror = _mirror(lengths, logits.shape[1])[..., None]
    out: Array = np.take_along_axis(logits, mirror, axis=1)[..., list(opposite)]
    return out


def _mirror(lengths: Array, width: int) -> Array:
    """int64 (N, width): the place of each position on the other strand; padding stays."""
    place = np.arange(width)
    return np.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
