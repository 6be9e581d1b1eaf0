"""Training curves, a panel for each task: mean over seeds by epoch, and their range."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.reports.figures import style
from dnabench.reports.figures.style import PAGE, PRINT, Theme
from dnabench.reports.table import Row, Table
from dnabench.types import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (3.3, 1.85)  # inches, a panel
INSET = (0.5, 0.38, 0.12, 0.3)  # inches: left, bottom, right, top
MOST = 40  # epochs of a drawn line
WATCHED = {"val": "validation {}", "test": "test {}", "loss": "training loss"}


def curves(table: Table, prefix: str = "curve") -> list[tuple[Row, str]]:
    """Draw each task for a web page: (row, SVG) of those where a model has two epochs or more."""
    return [
        (row, style.inline(partial(_figure, [row], PAGE), _describe(row), f"{prefix}{i}"))
        for i, row in enumerate(_drawable(table))
    ]


def figure(table: Table, theme: Theme = PRINT) -> Figure:
    """All tasks with curves of two epochs or more in one figure, with the models' names."""
    rows = _drawable(table)
    if not rows:
        raise ValueError(f"no run under {table.protocol} has two epochs: there is no curve to draw")
    out = _figure(rows, theme)
    style.legend(out, style.labels(table.columns), theme)
    return out


def watched(row: Row) -> str:
    """What the curves of a row show: val, test or loss; the first that all its runs have.

    An epoch may lack the metric, as a correlation of equal predictions.
    """
    lines = [run.curve for cell in row.cells for run in cell.runs if run.curve]
    for split in ("val", "test"):
        if lines and all(any(row.metric in e.get(split, {}) for e in line) for line in lines):
            return split
    return "loss"


def label(row: Row) -> str:
    """Of the vertical axis."""
    return WATCHED[watched(row)].format(row.heading)


def _drawable(table: Table) -> list[Row]:
    return [row for row in table.rows if any(len(r.curve) > 1 for c in row.cells for r in c.runs)]


def _describe(row: Row) -> str:
    return f"{row.name}: {label(row)} by epoch, mean over seeds of each model and their range"


def _figure(rows: Sequence[Row], theme: Theme) -> Figure:
    out, axes = style.panels(len(rows), SIZE, INSET, theme)
    for row, ax in zip(rows, axes, strict=True):
        _panel(ax, row, theme)
        style.heading(ax, row.name, label(row), theme, left=0.36)
    return out


def _panel(ax: Axes, row: Row, theme: Theme) -> None:
    split = watched(row)
    for i, cell in enumerate(row.cells):
        values = _values(cell.runs, split, row.metric)
        if not values.size:
            continue
        shown = np.unique(np.linspace(0, values.shape[1] - 1, MOST).round().astype(int))
        mean, epochs = values.mean(0).filled(np.nan), shown + 1
        look: dict[str, Any] = {"color": style.colour(i, theme), "gid": f"column-{i}"}
        if len(values) > 1 and len(epochs) > 1:
            low, high = values.min(0)[shown], values.max(0)[shown]
            ax.fill_between(epochs, low, high, alpha=0.15, lw=0, **look)
        ax.plot(epochs, mean[shown], ls=style.dashes(i), lw=1.4, **look)
        ax.plot(epochs[-1:], mean[-1:], style.marker(i), ms=5, mec="none", **look)
    ax.locator_params(axis="y", nbins=4)
    ax.locator_params(axis="x", nbins=5, integer=True)
    ax.set_xlabel("epoch", fontsize=8, color=theme.quiet, labelpad=1)
    style.bare(ax, theme, "y")


def _values(runs: Sequence[Record], split: str, metric: str) -> np.ma.MaskedArray[Any, Any]:
    """Seeds x epochs, as many epochs as all have; masked where an epoch lacks the metric."""
    lines = [
        [e["loss"] if split == "loss" else e[split].get(metric, np.nan) for e in run.curve]
        for run in runs
        if run.curve
    ]
    shortest = min(map(len, lines), default=0)
    found = np.array([line[:shortest] for line in lines], float).reshape(len(lines), shortest)
    return np.ma.masked_invalid(found)
