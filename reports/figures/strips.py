"""One picture a table: every run as a dot, the mean of each model and its interval.

T tasks (panels), M models (lines of a panel).
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from typing import TYPE_CHECKING, Any

from dnabench.reports.table import Column, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# what matplotlib draws in these colours the page colours by its own variables, light or dark
COLOURS = {"#010203": "var(--ink)", "#010204": "var(--rule)", "#010205": "var(--accent)"}
INK, RULE, ACCENT = COLOURS
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "dnabench",  # the same table gives the same bytes
    "font.size": 8,
    "text.parse_math": False,  # a name may hold dollars
    "font.sans-serif": ["DejaVu Sans"],
}
PANEL, GAP, LINE, HEAD = (
    3.0,
    0.35,
    0.21,
    0.62,
)  # inches: a panel, its right margin, a line, the rest
LONGEST = 34  # letters of a label


def strips(table: Table) -> str:
    """Draw a panel a task, each with its own scale, and a line a model.

    Args:
        table: rows without any score are left out.

    Returns:
        An SVG element for inlining in HTML, coloured by the CSS variables --ink, --rule and
        --accent (the best of a task); empty when there is nothing to draw. An interval that is
        much wider than the spread of the runs is cut at the edge of its panel.
    """
    rows = [row for row in table.rows if any(c.scores for c in row.cells)]
    if not rows:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    labels = [_shortened(c) for c in table.columns]
    across = min(len(rows), 3)
    down = -(-len(rows) // across)
    left = 0.25 + 0.068 * max(map(len, labels))
    height = HEAD + LINE * len(labels)
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has its own
        figure = Figure(figsize=(left + across * PANEL, down * height))
        for k, row in enumerate(rows):
            y, x = divmod(k, across)
            box = (
                (left + x * PANEL) / figure.get_figwidth(),
                1 - (y * height + 0.3 + LINE * len(labels)) / figure.get_figheight(),
                (PANEL - GAP) / figure.get_figwidth(),
                LINE * len(labels) / figure.get_figheight(),
            )
            _panel(figure.add_axes(box), row, labels if x == 0 else [])
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), f"Runs, means and 95 % intervals under {table.protocol}")


def _panel(ax: Axes, row: Row, labels: list[str]) -> None:
    for i, cell in enumerate(row.cells):
        s, colour = cell.summary, ACCENT if i in row.best else INK
        ax.plot(cell.values, [i] * s.n, "o", ms=3.2, mec="none", mfc=colour, alpha=0.45)
        if s.n > 1:
            ax.plot([s.low, s.high], [i, i], color=colour, lw=1.4, solid_capstyle="butt")
        if s.n:
            ax.plot([s.mean], [i], "|", color=colour, ms=10, mew=2)
    ax.set_xlim(*_limits(row))
    ax.set_ylim(len(row.cells) - 0.5, -0.5)
    ax.set_title(row.name, loc="left", fontsize=8.5, color=INK, pad=4, fontweight="bold")
    ax.set_title(row.label, loc="right", fontsize=7, color=INK, pad=4)
    ax.set_yticks(range(len(row.cells)), labels or [""] * len(row.cells))
    ax.locator_params(axis="x", nbins=4)
    ax.tick_params(length=0, labelcolor=INK, labelsize=8)
    ax.tick_params(axis="x", labelsize=7, pad=2)
    ax.grid(color=RULE, lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def _limits(row: Row) -> tuple[float, float]:
    values = [x for c in row.cells for x in c.values]
    low, high = min(values), max(values)
    span = max(high - low, 0.01)
    for s in (c.summary for c in row.cells if len(c.scores) > 1):
        low = min(low, max(s.low, low - span / 2))
        high = max(high, min(s.high, high + span / 2))
    return low - span / 20, high + span / 20


def _shortened(column: Column) -> str:
    name = " ".join(column.name.split())
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _inline(svg: str, says: str) -> str:
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for colour, variable in COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(says)}" ', 1)
