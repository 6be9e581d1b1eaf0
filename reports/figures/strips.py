"""A picture a task: every run as a dot, the mean of each model and its interval.

k models, a line each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnabench.reports.figures.style import LETTER, PAGE, PRINT, Theme, inline, labels, shortened
from dnabench.reports.table import Cell, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, PLOT, TOP, BOTTOM, RIGHT, SIDE = 0.24, 2.3, 0.34, 0.26, 0.16, 0.14  # inches
ACROSS = 3  # panels of a printed figure
RAIN = 0.5  # of a line, over which its runs are spread so that none hides another


def strips(table: Table, prefix: str = "strip") -> list[tuple[Row, str]]:
    """Draw each task for a web page.

    Args:
        table: rows without any score are left out.
        prefix: of the ids in the pictures.

    Returns:
        (row, SVG), each with its own scale; the best of a task in the accent, its name bold. An
        interval that is much wider than the spread of the runs is cut at the edge.
    """
    names = labels(table.columns)
    return [
        (row, inline(lambda r=row: _figure([r], names, PAGE), _says(row, table), f"{prefix}{i}"))  # type: ignore[misc]
        for i, row in enumerate(_scored(table))
    ]


def figure(table: Table, theme: Theme = PRINT) -> Figure:
    """All tasks in one figure.

    Raises:
        ValueError: when no row has a score.
    """
    rows = _scored(table)
    if not rows:
        raise ValueError(f"no run under {table.protocol} has a score: there is nothing to draw")
    return _figure(rows, labels(table.columns), theme)


def _scored(table: Table) -> list[Row]:
    return [row for row in table.rows if any(c.scores for c in row.cells)]


def _says(row: Row, table: Table) -> str:
    said = [
        f"{column.name} {cell.summary.mean:.3f} ({len(cell.scores)} runs)"
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.scores
    ]
    return f"{row.name}, {row.label}: every run, mean and 95 % interval. {'; '.join(said)}"


def _figure(rows: Sequence[Row], names: Sequence[str], theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    across = min(len(rows), ACROSS)
    down = -(-len(rows) // across)
    left = SIDE + LETTER * 1.08 * max(map(len, names))
    body = LINE * len(names)
    wide, high = left + across * (PLOT + RIGHT), down * (TOP + body + BOTTOM)
    figure = Figure(figsize=(wide, high), facecolor=theme.paper)
    for k, row in enumerate(rows):
        y, x = divmod(k, across)
        bottom = high - y * (TOP + body + BOTTOM) - TOP - body
        box = (left + x * (PLOT + RIGHT)) / wide, bottom / high, PLOT / wide, body / high
        ax = figure.add_axes(box, facecolor="none")
        _panel(ax, row, theme)
        shown = names if x == 0 else [""] * len(names)
        ax.set_yticks(range(len(names)), shown)
        for i, text in enumerate(ax.get_yticklabels()):
            text.set_gid(f"column-{i}")
            text.set_color(theme.accent if i in row.best else theme.ink)
            text.set_fontweight("bold" if i in row.best else "normal")
        room = int((PLOT + (left if len(rows) == 1 else 0)) / LETTER / 1.15) - len(row.label)
        figure.text(
            0 if len(rows) == 1 else box[0], (bottom + body + 0.13) / high,
            shortened(row.name, room), color=theme.ink, fontweight="bold", fontsize=9,
        )  # fmt: skip
        figure.text(
            box[0] + box[2], (bottom + body + 0.13) / high, row.label,
            color=theme.quiet, ha="right", fontsize=8,
        )  # fmt: skip
    return figure


def _panel(ax: Axes, row: Row, theme: Theme) -> None:
    for i, cell in enumerate(row.cells):
        if cell.scores:
            _line(ax, i, cell, i in row.best, theme)
    ax.set_xlim(*_limits(row))
    ax.set_ylim(len(row.cells) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(length=0, labelcolor=theme.ink, labelsize=8.5)
    ax.tick_params(axis="x", labelsize=8, labelcolor=theme.quiet, pad=2)
    ax.grid(axis="x", color=theme.rule, lw=0.7)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def _line(ax: Axes, i: int, cell: Cell, best: bool, theme: Theme) -> None:
    s, ink, gid = cell.summary, theme.accent if best else theme.ink, f"column-{i}"
    spread = [i + RAIN * ((k + 0.5) / s.n - 0.5) for k in range(s.n)] if s.n > 2 else [i] * s.n
    ax.plot(
        cell.values, spread, "o", ms=3.6, mfc=ink, mec=theme.paper, mew=0.6, alpha=0.65, zorder=4,
        gid=gid,
    )  # fmt: skip
    if s.n > 1:
        ax.plot([s.low, s.high], [i, i], color=ink, lw=1.5, solid_capstyle="butt", gid=gid)
        ax.plot([s.mean], [i], "|", color=ink, ms=14, mew=2.4 if best else 1.6, gid=gid)


def _limits(row: Row) -> tuple[float, float]:
    values = [x for c in row.cells for x in c.values]
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    for s in (c.summary for c in row.cells if len(c.scores) > 1):
        low = min(low, max(s.low, low - span / 2))
        high = max(high, min(s.high, high + span / 2))
    return low - span / 20, high + span / 20
