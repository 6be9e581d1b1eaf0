"""How well scores tell labelled variants apart, with intervals from chromosomes drawn again.

M variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.types import Array

DIRECTIONS = {"minus": "-score", "plus": "score", "abs": "|score|"}
DRAWS = 1_000
LEVEL = 0.95
LABELS = {"0": 0, "1": 1, "false": 0, "true": 1}


class Areas(NamedTuple):
    """Areas under the curves of M variants, `positive` of them of class 1.

    Intervals are None where the variants are of one chromosome. `draws` is how many of DRAWS had
    both classes.
    """

    variants: int
    positive: int
    unscored: int  # labelled variants without a score, which are left out
    unlabelled: int
    chromosomes: int
    direction: str
    auprc: float
    auprc_interval: tuple[float, float] | None
    auroc: float
    auroc_interval: tuple[float, float] | None
    draws: int

    @property
    def prevalence(self) -> float:
        """The AUPRC of chance."""
        return self.positive / self.variants


def areas(
    scores: Array, labels: Sequence[str], chroms: Sequence[str], direction: str = "minus",
    seed: int = 0,
) -> Areas:  # fmt: skip
    """AUPRC (average precision) and AUROC of scores.

    Args:
        scores: float64 (M,), log ratios; NaN = none.
        labels: 0 or 1, or false or true; "" or . = none.
        chroms: of each variant.
        direction: a key of DIRECTIONS: what is high in class 1.
        seed: of the draws.

    Raises:
        ValueError: another label, or labels of one class.
    """
    codes = np.array([-1 if v in ("", ".") else LABELS.get(v.lower(), 2) for v in labels], np.int64)
    if (codes == 2).any():
        raise ValueError(f"--labels: {labels[int(np.argmax(codes == 2))]!r} is neither 0 nor 1")
    used = (codes >= 0) & np.isfinite(scores)
    y, names = codes[used] == 1, np.array(chroms)[used]
    if not y.any() or y.all():
        raise ValueError(
            f"--labels: {int(y.sum()):,} of {len(y):,} scored variants are of class 1; both "
            "classes are needed"
        )
    values = {"minus": -scores, "plus": scores, "abs": np.abs(scores)}[direction][used]
    _, rank = np.unique(-values, return_inverse=True)
    kinds, chrom = np.unique(names, return_inverse=True)
    precision, roc = _areas(rank, y, np.ones(len(y)))
    drawn, rng = list[tuple[float, float]](), np.random.default_rng(seed)
    for _ in range(DRAWS if len(kinds) > 1 else 0):
        weight = rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)))[chrom]
        if weight[y].any() and weight[~y].any():
            drawn.append(_areas(rank, y, weight))
    between: list[tuple[float, float] | None] = [None, None]
    if drawn:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        between = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Areas(
        len(y), int(y.sum()), int(((codes >= 0) & ~used).sum()), int((codes < 0).sum()),
        len(kinds), direction, precision, between[0], roc, between[1], len(drawn),
    )  # fmt: skip


def _areas(rank: Array, y: Array, weight: Array) -> tuple[float, float]:
    """AUPRC and AUROC of weighted variants; rank 0 has the highest score, equal ones share it."""
    hits = np.bincount(rank, weight * y)
    misses = np.bincount(rank, weight * ~y, len(hits))
    found, called = np.cumsum(hits), np.cumsum(hits + misses)
    below = misses.sum() - np.cumsum(misses)
    with np.errstate(invalid="ignore"):
        precision = np.where(called > 0, found / called, 0.0)
    auprc = float((hits * precision).sum() / found[-1])
    auroc = float((hits * (below + misses / 2)).sum() / (hits.sum() * misses.sum()))
    return auprc, auroc
