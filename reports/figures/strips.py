"""A panel for each task: every run as a dot, the mean of each model and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dnabench.reports.cells import Cell
from dnabench.reports.figures import style
from dnabench.reports.figures.style import LETTER, PAGE, PRINT, Theme
from dnabench.reports.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, PLOT, TOP, BOTTOM, RIGHT, SIDE = 0.24, 2.3, 0.34, 0.26, 0.16, 0.14  # inches
JITTER = 0.5  # of a line, over which its runs are spread so that none hides another
LEAST = 0.01  # of a score, the smallest range of an axis


def strips(table: Table, prefix: str = "strip") -> list[tuple[Row, str]]:
    """Draw each task that has a score for a web page: (row, SVG), each with its own scale.

    The best of a task is in the accent, its name bold. An interval that is much wider than the
    spread of the runs is cut at the edge.
    """
    names, out = style.labels(table.columns), []
    for i, row in enumerate(_scored(table)):
        draw = partial(_figure, [row], names, PAGE)
        out.append((row, style.inline(draw, _describe(row, table), f"{prefix}{i}")))
    return out


def overall(table: Table, theme: Theme = PAGE) -> Figure:
    """A line a model: the mean of each task as a dot and their mean as a tick; runs of one task.

    A model that lacks a task has dots alone: its mean is of other tasks. The best of two or more
    that have all tasks is in the accent.
    """
    rows, names = _scored(table), style.labels(table.columns)
    left = SIDE + LETTER * 1.08 * max(map(len, names))
    size = left + 3.0 + RIGHT, 0.1 + LINE * len(names) + BOTTOM
    out, (ax,) = style.panels(1, size, (left, BOTTOM, RIGHT, 0.1), theme)
    dots = [_dots(rows, i) for i in range(len(names))]
    whole = [all(row.cells[i].scores for row in rows) for i in range(len(names))]
    means = [sum(x) / len(x) if own else math.nan for x, own in zip(dots, whole, strict=True)]
    choose = max if all(row.sign > 0 for row in rows) else min
    known = [m for m in means if not math.isnan(m)]
    best = choose(known) if len(known) > 1 else math.nan
    for i, (values, mean) in enumerate(zip(dots, means, strict=True)):
        colour, gid = theme.accent if mean == best else theme.ink, f"column-{i}"
        ax.plot(values, [i] * len(values), "o", ms=4.2, mfc=colour, mec=theme.paper, mew=0.6,
                alpha=0.5, gid=gid)  # fmt: skip
        if not math.isnan(mean):
            ax.plot([mean], [i], "|", color=colour, ms=15, mew=2.4, gid=gid)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=5)
    style.bare(ax, theme, "x", names=True)
    ax.set_yticks(range(len(names)), names)
    for i, text in enumerate(ax.get_yticklabels()):
        text.set_gid(f"column-{i}")
        text.set_color(theme.accent if means[i] == best else theme.ink)
    return out


def _dots(rows: Sequence[Row], i: int) -> list[float]:
    cells = [row.cells[i] for row in rows if row.cells[i].scores]
    return list(cells[0].values) if len(rows) == 1 and cells else [c.summary.mean for c in cells]


def figure(table: Table, theme: Theme = PRINT) -> Figure:
    """All tasks that have a score in one figure."""
    rows = _scored(table)
    if not rows:
        raise ValueError(f"no run under {table.protocol} has a score: there is nothing to draw")
    return _figure(rows, style.labels(table.columns), theme)


def _scored(table: Table) -> list[Row]:
    return [row for row in table.rows if any(c.scores for c in row.cells)]


def _describe(row: Row, table: Table) -> str:
    scores = [
        f"{column.name} {cell.summary.mean:.3f} ({len(cell.scores)} runs)"
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.scores
    ]
    return f"{row.name}, {row.label}: every run, mean and 95 % interval. {'; '.join(scores)}"


def _figure(rows: Sequence[Row], names: Sequence[str], theme: Theme) -> Figure:
    left = SIDE + LETTER * 1.08 * max(map(len, names))
    size = PLOT + RIGHT, TOP + LINE * len(names) + BOTTOM
    figure, axes = style.panels(len(rows), size, (0, BOTTOM, RIGHT, TOP), theme, left=left)
    for k, (row, ax) in enumerate(zip(rows, axes, strict=True)):
        _panel(ax, row, theme)
        ax.set_yticks(range(len(names)), names if k % style.ACROSS == 0 else [""] * len(names))
        for i, text in enumerate(ax.get_yticklabels()):
            text.set_gid(f"column-{i}")
            text.set_color(theme.accent if i in row.best else theme.ink)
            text.set_fontweight("bold" if i in row.best else "normal")
        style.heading(ax, row.name, row.heading, theme, left=left if len(rows) == 1 else 0)
    return figure


def _panel(ax: Axes, row: Row, theme: Theme) -> None:
    for i, cell in enumerate(row.cells):
        if cell.scores:
            _line(ax, i, cell, i in row.best, theme)
    ax.set_xlim(*limits(row.cells))
    ax.set_ylim(len(row.cells) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=4)
    style.bare(ax, theme, "x", names=True)


def _line(ax: Axes, i: int, cell: Cell, best: bool, theme: Theme) -> None:
    s, colour, gid = cell.summary, theme.accent if best else theme.ink, f"column-{i}"
    spread = [i + JITTER * ((k + 0.5) / s.n - 0.5) for k in range(s.n)] if s.n > 2 else [i] * s.n
    ax.plot(cell.values, spread, "o", ms=3.6, mfc=colour, mec=theme.paper, mew=0.6, alpha=0.65,
            zorder=4, gid=gid)  # fmt: skip
    if s.n > 1:
        ax.plot([s.low, s.high], [i, i], color=colour, lw=1.5, solid_capstyle="butt", gid=gid)
        ax.plot([s.mean], [i], "|", color=colour, ms=14, mew=2.4 if best else 1.6, gid=gid)


def limits(cells: Sequence[Cell]) -> tuple[float, float]:
    """Of an axis of scores: around all runs, and what of the intervals is not far beyond them."""
    values = [x for c in cells for x in c.values]
    low, high = min(values), max(values)
    missing = max(LEAST - (high - low), 0) / 2
    low, high = low - missing, high + missing
    span = high - low
    for s in (c.summary for c in cells if len(c.values) > 1):
        low = min(low, max(s.low, low - span / 2))
        high = max(high, min(s.high, high + span / 2))
    return low - span / 20, high + span / 20
