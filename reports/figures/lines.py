"""Score by a number that was varied, a panel for each task: means, runs and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dnabench.reports.cells import Cell
from dnabench.reports.figures import style
from dnabench.reports.figures.strips import limits
from dnabench.reports.figures.style import PRINT, Theme
from dnabench.reports.trends import Panel, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (3.3, 2.3)  # inches, a panel
INSET = (0.5, 0.42, 0.14, 0.34)  # inches: left, bottom, right, top
APART = 0.014  # of the axis, between the marks of lines at one value
LOG_FROM = 8.0  # largest over smallest value, from which on the axis is logarithmic


def figure(found: Trend, theme: Theme = PRINT, legend: bool = True) -> Figure:
    """All panels; an interval that is much wider than the spread of the runs is cut at the edge."""
    out, axes = style.panels(len(found.panels), SIZE, INSET, theme)
    for panel, ax in zip(found.panels, axes, strict=True):
        _panel(ax, found, panel, theme)
        style.heading(ax, panel.row.name, panel.row.heading, theme, left=0.36)
    if legend:
        style.legend(out, list(map(style.shortened, found.names)), theme)
    return out


def describe(found: Trend) -> str:
    """The means, for screen readers."""
    parts = []
    for panel in found.panels:
        for curve in panel.curves:
            pairs = zip(found.values, curve.cells, strict=True)
            means = [f"{c.summary.mean:.3f} at {found.text(x)}" for x, c in pairs if c and c.scores]
            parts.append(f"{panel.row.name}, {found.names[curve.line]}: {', '.join(means)}")
    return f"Score by {found.label}. {'; '.join(parts)}"


def _panel(ax: Axes, found: Trend, panel: Panel, theme: Theme) -> None:
    low, high = found.values[0], found.values[-1]
    log = low > 0 and high / low >= LOG_FROM
    if log:
        ax.set_xscale("log")
    for curve in panel.curves:
        step = APART * (curve.line - (len(found.names) - 1) / 2)
        known = [(x, c) for x, c in zip(found.values, curve.cells, strict=True) if c and c.scores]
        at = [x * (high / low) ** step if log else x + step * (high - low) for x, _ in known]
        _line(ax, curve.line, at, [c for _, c in known], theme)
    shown = [cell for curve in panel.curves for cell in curve.cells if cell and cell.scores]
    ax.set_ylim(*limits(shown))
    ax.set_xticks(found.values, list(map(found.text, found.values)))
    ax.minorticks_off()
    ax.locator_params(axis="y", nbins=6)
    ax.set_xlabel(found.label, fontsize=8, color=theme.quiet, labelpad=2)
    style.bare(ax, theme, "y")


def _line(ax: Axes, i: int, at: Sequence[float], cells: Sequence[Cell], theme: Theme) -> None:
    look: dict[str, Any] = {"color": style.colour(i, theme)}
    means = [cell.summary.mean for cell in cells]
    for x, cell in zip(at, cells, strict=True):
        s = cell.summary
        ax.plot([x] * s.n, cell.values, "o", ms=2.6, mec="none", alpha=0.45, **look)
        if s.n > 1:
            ax.plot([x, x], [s.low, s.high], lw=1, alpha=0.8, **look)
    ax.plot(at, means, style.marker(i), ls=style.dashes(i), lw=1.4, ms=5, mec=theme.paper, **look)
