"""A per-base task on the other strand: labels and logits reversed, classes exchanged.

N examples of `lengths` (N,) bp, L the longest, K classes; class k on one strand is `opposite[k]` on
the other. What lies beyond a sequence's end stays there. Twice gives the same again.
"""

from collections.abc import Sequence

import numpy as np

from dnabench.types import IGNORED, Array


def opposite_labels(y: Array, lengths: Array, opposite: Sequence[int]) -> Array:
    """Labels y, int8 (N, L), of the reverse complements; IGNORED stays."""
    turned = np.take_along_axis(y, _mirror(lengths, y.shape[1]), axis=1)
    return np.where(turned == IGNORED, turned, np.array(opposite, y.dtype)[np.maximum(turned, 0)])


def opposite_logits(logits: Array, lengths: Array, opposite: Sequence[int]) -> Array:
    """Logits, float (N, L, K), of the reverse complements as logits of the sequences."""
    mirror = _mirror(lengths, logits.shape[1])[..., None]
    out: Array = np.take_along_axis(logits, mirror, axis=1)[..., list(opposite)]
    return out


def _mirror(lengths: Array, width: int) -> Array:
    """int64 (N, width): the place of each position on the other strand; padding stays."""
    place = np.arange(width)
    return np.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)
