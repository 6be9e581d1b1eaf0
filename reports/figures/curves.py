"""Learning curves, a panel a task: mean over seeds by epoch, and their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.reports.figures.style import (
    PAGE,
    PRINT,
    Theme,
    colour,
    dashes,
    inline,
    legend,
    marker,
    shortened,
)
from dnabench.reports.table import Row, Table
from dnabench.types import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HIGH = 3.3, 1.85  # inches, a panel
INSET = (0.5, 0.38, 0.12, 0.3)  # inches: left, bottom, right, top
ACROSS, MOST = 3, 40  # panels of a printed figure; epochs of a drawn line
WATCHED = {"val": "validation {}", "test": "test {}", "loss": "training loss"}


def curves(table: Table, prefix: str = "curve") -> list[tuple[Row, str]]:
    """Draw each task for a web page: (row, SVG) of those on which a model learned twice or more."""
    return [
        (row, inline(lambda r=row: _figure([r], PAGE), _says(row), f"{prefix}{i}"))  # type: ignore[misc]
        for i, row in enumerate(_drawable(table))
    ]


def figure(table: Table, theme: Theme = PRINT) -> Figure:
    """All tasks in one figure, with the models' names.

    Raises:
        ValueError: when no run has two epochs.
    """
    rows = _drawable(table)
    if not rows:
        raise ValueError(f"no run under {table.protocol} has two epochs: there is no curve to draw")
    out = _figure(rows, theme)
    legend(out, table.columns, theme)
    return out


def watched(row: Row) -> str:
    """What all runs of a row were watched by: val, test or loss; the first that they have."""
    steps = [epoch for cell in row.cells for run in cell.runs for epoch in run.curve]
    for split in ("val", "test"):
        if steps and all(row.metric in epoch.get(split, {}) for epoch in steps):
            return split
    return "loss"


def label(row: Row) -> str:
    """Of the vertical axis."""
    return WATCHED[watched(row)].format(row.label)


def _drawable(table: Table) -> list[Row]:
    return [
        row
        for row in table.rows
        if any(len(run.curve) > 1 for cell in row.cells for run in cell.runs)
    ]


def _says(row: Row) -> str:
    return f"{row.name}: {label(row)} by epoch, mean over seeds of each model and their range"


def _figure(rows: Sequence[Row], theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    across = min(len(rows), ACROSS)
    down = -(-len(rows) // across)
    extra = 0.5 if len(rows) > 1 else 0.0  # for the names, above
    wide, high = across * WIDE, down * HIGH + extra
    left, bottom, right, top = INSET
    out = Figure(figsize=(wide, high), facecolor=theme.paper)
    for k, row in enumerate(rows):
        y, x = divmod(k, across)
        base = (down - 1 - y) * HIGH
        box = (
            (x * WIDE + left) / wide, (base + bottom) / high,
            (WIDE - left - right) / wide, (HIGH - bottom - top) / high,
        )  # fmt: skip
        _panel(out.add_axes(box, facecolor="none"), row, theme)
        top_line, said = (base + HIGH - 0.17) / high, label(row)
        out.text(
            (x * WIDE + (0.14 if across > 1 else 0)) / wide, top_line,
            shortened(row.name, 40 - len(said)), color=theme.ink, fontweight="bold", fontsize=9,
        )  # fmt: skip
        out.text(
            ((x + 1) * WIDE - right) / wide, top_line, said, ha="right", color=theme.quiet,
            fontsize=8,
        )  # fmt: skip
    return out


def _panel(ax: Axes, row: Row, theme: Theme) -> None:
    split = watched(row)
    for i, cell in enumerate(row.cells):
        values = _values(cell.runs, split, row.metric)
        if not values.size:
            continue
        shown = np.unique(np.linspace(0, values.shape[1] - 1, MOST).round().astype(int))
        mean, epochs = values.mean(0), shown + 1
        style: dict[str, Any] = {"color": colour(i, theme), "gid": f"column-{i}"}
        if len(values) > 1 and len(epochs) > 1:
            low, high = values.min(0)[shown], values.max(0)[shown]
            ax.fill_between(epochs, low, high, alpha=0.15, lw=0, **style)
        ax.plot(epochs, mean[shown], ls=dashes(i), lw=1.4, **style)
        ax.plot(epochs[-1:], mean[-1:], marker(i), ms=5, mec="none", **style)
    ax.locator_params(axis="y", nbins=4)
    ax.locator_params(axis="x", nbins=5, integer=True)
    ax.tick_params(length=0, labelsize=8, labelcolor=theme.quiet, pad=2)
    ax.set_xlabel("epoch", fontsize=8, color=theme.quiet, labelpad=1)
    ax.grid(axis="y", color=theme.rule, lw=0.7)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def _values(runs: Sequence[Record], split: str, metric: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Seeds x epochs; as many epochs as all have."""
    lines = [
        [epoch["loss"] if split == "loss" else epoch[split][metric] for epoch in run.curve]
        for run in runs
        if run.curve
    ]
    shortest = min(map(len, lines), default=0)
    return np.array([line[:shortest] for line in lines], float).reshape(len(lines), shortest)
