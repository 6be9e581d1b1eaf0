"""Average ranks on one axis; a bar joins models that the Nemenyi test does not separate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnabench.reports.figures.style import LETTER, PRINT, Theme, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXIS, LINE, MARGIN, BAR = 3.4, 0.25, 0.15, 0.11  # inches: axis, a label, the rim, a joining bar


def joined(ranks: Sequence[float], critical_difference: float) -> list[tuple[float, float]]:
    """The widest groups of models whose average ranks differ by less than the critical difference.

    Returns:
        Lowest and highest rank of each group of two or more; none lies within another.

    Source:
        Demsar 2006, JMLR 7:1, figure 1.
    """
    order, groups, reached = sorted(ranks), [], -1
    for i, low in enumerate(order):
        last = max(j for j, high in enumerate(order) if high - low < critical_difference or j == i)
        if last > max(i, reached):
            groups.append((low, order[last]))
        reached = max(reached, last)
    return groups


def figure(
    names: Sequence[str], ranks: Sequence[float], critical_difference: float, theme: Theme = PRINT
) -> Figure:
    """Draw models by average rank, 1 = best on the left; a NaN critical difference has no bars."""
    k = len(names)
    if k < 2:
        raise ValueError(f"a rank diagram needs at least two models, not {k}")
    groups = joined(ranks, critical_difference)
    side = MARGIN + LETTER * 1.05 * max(map(len, names)) + 0.5
    beyond = AXIS * (critical_difference / (k - 1) - 1) if critical_difference > 0 else 0.0
    room = max(0.0, beyond + MARGIN - side)  # right of the names, for a bar longer than the axis
    below = 0.2 + BAR * len(groups)
    high = 0.8 + below + LINE * -(-k // 2)
    figure, (ax,) = panels(1, (2 * side + AXIS + room, high), (0, 0, 0, 0), theme)
    ax.set_axis_off()
    ax.set_xlim(0, 2 * side + AXIS + room)
    ax.set_ylim(high, 0)  # inches, downwards
    _axis(ax, k, side, critical_difference, theme)

    def at(rank: float) -> float:
        return side + AXIS * (rank - 1) / (k - 1)

    for g, (first, last) in enumerate(groups):
        y = 0.8 + 0.1 + BAR * g
        ax.plot([at(first) - 0.04, at(last) + 0.04], [y, y], color=theme.ink, lw=3.2,
                solid_capstyle="round")  # fmt: skip
    order = sorted(range(k), key=lambda i: (ranks[i], i))
    for place, i in enumerate(order):
        left, best = place < (k + 1) // 2, ranks[i] == min(ranks)
        y = 0.8 + below + LINE * (place if left else k - 1 - place) + 0.08
        side_of, out = ("right", -1) if left else ("left", 1)
        edge = side - 0.42 if left else side + AXIS + 0.42
        colour = theme.accent if best else theme.ink
        ax.plot([at(ranks[i]), at(ranks[i]), edge], [0.8, y, y], color=theme.quiet, lw=0.9)
        ax.plot([at(ranks[i])], [0.8], "o", color=colour, ms=4.5)
        ax.text(edge + 0.06 * out, y, names[i], va="center", ha=side_of, color=colour,
                fontweight="bold" if best else "normal")  # fmt: skip
        ax.text(edge - 0.02 * out, y - 0.03, f"{ranks[i]:.2f}", va="bottom", fontsize=7,
                ha="left" if left else "right", color=theme.quiet)  # fmt: skip
    return figure


def _axis(ax: Axes, k: int, side: float, critical_difference: float, theme: Theme) -> None:
    ax.plot([side, side + AXIS], [0.8, 0.8], color=theme.ink, lw=1.1)
    for rank in range(1, k + 1) if k <= 12 else range(1, k + 1, -(-k // 10)):
        x = side + AXIS * (rank - 1) / (k - 1)
        ax.plot([x, x], [0.8, 0.74], color=theme.ink, lw=1.1)
        ax.text(x, 0.7, str(rank), ha="center", va="bottom", color=theme.ink, fontsize=8.5)
    if critical_difference > 0:
        wide = AXIS * critical_difference / (k - 1)  # its true length, beyond the axis if need be
        ax.plot([side, side + wide], [0.36, 0.36], color=theme.quiet, lw=1.4)
        for x in (side, side + wide):
            ax.plot([x, x], [0.31, 0.41], color=theme.quiet, lw=1.4)
        text = f"critical difference {critical_difference:.2f}"
        ax.text(side, 0.26, text, color=theme.quiet, fontsize=8, va="bottom")
