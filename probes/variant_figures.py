"""Figures of scored variants: their scores, by label where there is one. M variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dnabench.probes.labelled import DIRECTIONS, Areas, codes_of
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.reports.grid import count
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS, BEYOND = 25, 0.001  # of a panel; share of scores beyond either end, which are drawn there
SIZE = (2.75, 1.9)  # inches, a panel


def scores_figure(name: str, unit: str, scores: Array) -> Figure:
    """How many variants have which score.

    Args:
        name: of the network.
        unit: of the scores.
        scores: float64 (M,); NaN = none.
    """
    from matplotlib.figure import Figure

    x = scores[np.isfinite(scores)]
    wide, high = SIZE[0] + 0.9, SIZE[1] + 0.85
    out = Figure(figsize=(wide, high), facecolor=PRINT.paper)
    box = (0.75 / wide, 0.45 / high, SIZE[0] / wide, SIZE[1] / high)
    ax, edges = out.add_axes(box, facecolor="none"), _edges(x)
    counts = np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0]
    ax.stairs(counts, edges, color=style.colour(0, PRINT), fill=True)
    ax.set_xlabel(f"score ({unit})", fontsize=8, color=PRINT.quiet, labelpad=2)
    ax.yaxis.set_major_formatter("{x:,g}")
    style.bare(ax, PRINT, "y")
    style.heading(ax, name, count(len(x), "variant"), PRINT, left=0.55)
    return out


def _edges(scores: Array) -> Array:
    """Of the bins of finite scores."""
    low, high = np.quantile(scores, [BEYOND, 1 - BEYOND])
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def labelled_figure(
    name: str, unit: str, scores: Array, labels: Sequence[str], areas: Areas
) -> Figure:
    """Scores of both classes as shares of each, and precision by recall with its chance.

    Args:
        name: of the network.
        unit: of the scores.
        scores: float64 (M,); NaN = none.
        labels: of `labelled.codes_of`.
        areas: of these variants.
    """
    from matplotlib.figure import Figure

    codes = codes_of(labels)
    used = np.isfinite(scores) & (codes >= 0)
    x, y = scores[used], codes[used] == 1
    wide, high = 2 * SIZE[0] + 1.6, SIZE[1] + 1.05
    out = Figure(figsize=(wide, high), facecolor=PRINT.paper)
    left, right = (
        out.add_axes((at / wide, 0.45 / high, SIZE[0] / wide, SIZE[1] / high), facecolor="none")
        for at in (0.6, SIZE[0] + 1.35)
    )
    edges = _edges(x)
    for k, (own, words) in enumerate(((~y, "class 0"), (y, "class 1"))):
        shares = np.histogram(np.clip(x[own], edges[0], edges[-1]), edges)[0] / own.sum()
        left.stairs(shares, edges, color=style.colour(k, PRINT), lw=1.1, fill=False,
                    label=f"{words} ({int(own.sum()):,})")  # fmt: skip
    left.set_xlabel(f"score ({unit})", fontsize=8, color=PRINT.quiet, labelpad=2)
    left.set_ylim(bottom=0)
    style.bare(left, PRINT, "y")
    style.heading(left, name, "share of each class", PRINT, left=0.4)
    recall, precision = curve(x, y, areas.direction)
    right.plot(recall, precision, color=style.colour(1, PRINT), lw=1.1)
    right.axhline(areas.prevalence, color=PRINT.ink, lw=0.8, ls="--")
    right.set_xlim(0, 1)
    right.set_ylim(0, 1.02)
    right.set_xlabel("recall of class 1", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(right, PRINT, "both")
    said = f"AUPRC {areas.auprc:.3f}, chance {areas.prevalence:.3f}"
    style.heading(right, "precision", said, PRINT, left=0.4)
    out.legend(*left.get_legend_handles_labels(), loc="lower center", frameon=False, ncols=2,
               bbox_to_anchor=((0.6 + SIZE[0] / 2) / wide, 1 - 0.32 / high))  # fmt: skip
    return out


def curve(scores: Array, y: Array, direction: str) -> tuple[Array, Array]:
    """Recall and precision where the variants with the highest k different scores are called.

    Args:
        scores: float64 (M,).
        y: bool (M,), class 1.
        direction: a key of `labelled.DIRECTIONS`.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction {direction!r}: write {', '.join(DIRECTIONS)}")
    values = {"minus": -scores, "plus": scores, "abs": np.abs(scores)}[direction]
    _, rank, called = np.unique(-values, return_inverse=True, return_counts=True)
    found = np.cumsum(np.bincount(rank, y, len(called)))
    return found / y.sum(), found / np.cumsum(called)
