"""The lead of one model over each other model, by family of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dnabench.reports.evidence import SuiteEvidence
from dnabench.reports.figures.style import LETTER, PRINT, Theme, bare, colour, marker, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT, LINE = 3.6, 0.42  # inches: the axis, a family
EQUAL = "families weighted equally"
ALL = "all tasks"


def leads(suite: SuiteEvidence, of: int) -> dict[int, dict[str, float]]:
    """Mean lead of the column with index `of` over each other, in score units.

    Returns:
        Index of the other column -> family -> lead; after the families ALL tasks, then EQUAL.
    """
    out = {}
    for pair in suite.pairs:
        if of in (pair.i, pair.j):
            sign = 1 if pair.i == of else -1
            every = {**pair.leads, ALL: pair.lead.value, EQUAL: pair.lead_of_families.value}
            out[pair.j if pair.i == of else pair.i] = {k: sign * x for k, x in every.items()}
    return out


def figure(found: Mapping[int, Mapping[str, float]], theme: Theme = PRINT) -> Figure:
    """Draw `leads`: a line a family, a marker for each other model; right of 0 the model leads."""
    if not found:
        raise ValueError("no other model: there is no lead to draw")
    lines = list(next(iter(found.values())))
    left, high = 0.3 + LETTER * max(map(len, lines)), 0.45 + LINE * len(lines)
    out, (ax,) = panels(1, (left + PLOT + 0.15, high), (left, 0.4, 0.15, 0.05), theme)
    ax.axvline(0, color=theme.ink, lw=1)
    for place, (i, by_family) in enumerate(found.items()):
        shift = 0.6 * ((place + 0.5) / len(found) - 0.5)
        ax.plot(
            [by_family[name] for name in lines], [y + shift for y in range(len(lines))], marker(i),
            color=colour(i, theme), ms=5.5, mec=theme.paper, mew=0.6, gid=f"column-{i}",
        )  # fmt: skip
    ax.axhline(len(lines) - 2.5, color=theme.quiet, lw=0.9, ls=(0, (4, 3)))
    ax.set_yticks(range(len(lines)), lines)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=6)
    bare(ax, theme, "x", names=True)
    return out
