"""Mean score by two settings that were swept, as a grid of numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnabench.reports.across import on_one_scale
from dnabench.reports.columns import UNSET, Column
from dnabench.reports.figures.style import LETTER, PRINT, Theme, panels
from dnabench.reports.grouping import grouped
from dnabench.reports.settings import option_text
from dnabench.reports.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = (0.72, 0.42)  # inches


class Heat(NamedTuple):
    """Mean over tasks of the mean over seeds, by two settings."""

    x: str
    y: str
    xs: list[str]
    ys: list[str]
    means: list[list[float]]  # by y, then x; NaN where nothing was run
    tasks: tuple[str, ...]  # the rows of one metric that all of these columns have
    sign: int = 1  # -1 where lower is better


def heat(table: Table, x: str, y: str, model: str = "") -> Heat:
    """Gather the grid of two settings, options of a model or fields of a recipe: x across, y down.

    Only columns of `model` count; it may be left out where only one model has both.

    Raises:
        ValueError: no column has both, or several columns share a place.
    """
    found = [
        (c, _place(c, x), _place(c, y), i)
        for i, c in enumerate(table.columns)
        if model in ("", c.model) and UNSET not in (c.setting(x), c.setting(y))
        and any(row.cells[i].scores for row in table.rows)
    ]  # fmt: skip
    if not found:
        known = sorted({k for c in table.columns for k in c.options})
        who = f"column of {model}" if model else "column"
        raise ValueError(f"no {who} has {x} and {y}; options here: {', '.join(known) or 'none'}")
    for (across, down), same in grouped(found, lambda f: (f[1], f[2])).items():
        if len(same) > 1:
            names = ", ".join(c.name for c, *_ in same)
            raise ValueError(
                f"{x}={option_text(across)} and {y}={option_text(down)} are shared by {len(same)} "
                f"columns, and a heat map has one place for them: {names}; choose with --models"
            )
    rows = on_one_scale(
        row for row in table.rows if all(row.cells[i].scores for *_, i in found)
    )  # fmt: skip
    if not rows:
        raise ValueError(
            "no tasks of one metric have scores of all these columns: there is nothing to average"
        )
    xs, ys = (_ordered([f[k] for f in found]) for k in (1, 2))
    at = {(across, down): _mean(rows, i) for _, across, down, i in found}
    return Heat(
        x, y, [option_text(v) for v in xs], [option_text(v) for v in ys],
        [[at.get((across, down), math.nan) for across in xs] for down in ys],
        tuple(row.name for row in rows), rows[0].sign,
    )  # fmt: skip


def swept(table: Table) -> list[Heat]:
    """A grid for each model of which exactly two settings were swept."""
    out = []
    for model, columns in grouped(table.columns, lambda c: c.model).items():
        settings = {n: {_place(c, n) for c in columns} for c in columns for n in c.options}
        vary = sorted(n for n, of in settings.items() if len(of) > 1 and UNSET not in of)
        if len(vary) == 2 and len(columns) > 3:
            with suppress(ValueError):  # tasks are missing, or a third setting differs
                out.append(heat(table, vary[0], vary[1], model))
    return out


def figure(found: Heat, theme: Theme = PRINT) -> Figure:
    """Draw it; the best mean is framed."""
    from matplotlib.patches import Rectangle

    left = 0.5 + LETTER * max(map(len, found.ys))
    size = left + CELL[0] * len(found.xs) + 0.1, 0.65 + CELL[1] * len(found.ys)
    out, (ax,) = panels(1, size, (left, 0.55, 0.1, 0.1), theme)
    means = np.ma.masked_invalid(found.means)
    low, top = float(means.min()), float(means.max())
    ax.pcolormesh(means if top > low else 0 * means + 1, cmap="cividis")
    for (j, i), v in np.ndenumerate(np.array(found.means)):
        best = v == (top if found.sign > 0 else low)
        dark = top > low and v < low + 0.55 * (top - low)
        colour = theme.quiet if math.isnan(v) else "#ffffff" if dark else "#111111"
        ax.text(i + 0.5, j + 0.5, "–" if math.isnan(v) else f"{v:.3f}", ha="center", va="center",
                color=colour, fontweight="bold" if best else "normal")  # fmt: skip
        if best:
            frame = Rectangle((i + 0.04, j + 0.07), 0.92, 0.86, fill=False, ec="#111111", lw=1.6)
            ax.add_patch(frame)
    ax.invert_yaxis()
    ax.set_xticks(np.arange(len(found.xs)) + 0.5, found.xs)
    ax.set_yticks(np.arange(len(found.ys)) + 0.5, found.ys)
    ax.set_xlabel(found.x, color=theme.quiet)
    ax.set_ylabel(found.y, color=theme.quiet)
    ax.tick_params(length=0, labelcolor=theme.ink)
    ax.spines[:].set_visible(False)
    return out


def _place(column: Column, name: str) -> Any:
    """A setting as a value of an axis: a list or a mapping by its JSON."""
    value = column.setting(name)
    nested = isinstance(value, list | Mapping)
    return json.dumps(value, sort_keys=True, default=dict) if nested else value


def _mean(rows: Sequence[Row], i: int) -> float:
    return math.fsum(row.cells[i].summary.mean for row in rows) / len(rows)


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Each once; numbers by size, the rest by name."""
    once = dict.fromkeys(values)
    numeric = all(isinstance(v, (int, float)) for v in once)
    return sorted(once, key=None if numeric else str)
