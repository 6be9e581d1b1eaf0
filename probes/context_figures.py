"""Figures of `probe context`: how much context is used, and single positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dnabench.probes.context import FLANKS, NEAR, STILL, distances, variances
from dnabench.probes.context_files import ALL, Found
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST, ROW = 10, 0.42  # kinds that are drawn; inches of one
RULES = {"still": "first still context", "last": "last change over .02"}


def context_figure(found: Found, trained: int) -> Figure:
    """Quartiles and 5 to 95 % of the contexts by annotation, by both rules and both flanks.

    Args:
        found: of `probe_context`.
        trained: bp of the training's windows, a line; 0 = none.
    """
    from matplotlib.figure import Figure

    kinds = np.array(found.kinds or [ALL] * len(found.places.at))
    names, counts = np.unique(kinds, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:MOST]
    wide, high = 7.2, 0.85 + ROW * len(names)
    out = Figure(figsize=(wide, high), facecolor=PRINT.paper)
    for k, (rule, label) in enumerate(RULES.items()):
        box = (1.75 + k * 2.75) / wide, 0.45 / high, 2.5 / wide, ROW * len(names) / high
        ax = out.add_axes(box, facecolor="none")
        for i, name in enumerate(names):
            for j, flanks in enumerate(FLANKS):
                values = getattr(found, rule)[flanks][kinds == name]
                _box(ax, values[np.isfinite(values)], i + 0.32 * (j - 0.5), style.colour(j, PRINT))
        if trained:
            ax.axvline(trained, color=PRINT.ink, lw=0.8, ls="--")
        ax.set_ylim(len(names) - 0.5, -0.5)
        own = [f"{name} ({(kinds == name).sum():,})" for name in names]
        ax.set_yticks(range(len(names)), [style.shortened(x, 24) for x in own] if not k else [])
        ax.set_xlabel("context (bp)", fontsize=8, color=PRINT.quiet, labelpad=2)
        style.bare(ax, PRINT, "x", names=True)
        style.heading(ax, label, "", PRINT, left=0.0)
    end = max(ax.dataLim.x1 for ax in out.axes)
    for ax in out.axes:
        ax.set_xlim(-0.02 * end, 1.02 * end)
        ax.xaxis.set_major_formatter("{x:,.0f}")
    _legend(out, [f"flanks: {name}" for name in FLANKS], bool(trained))
    return out


def _box(ax: Axes, values: Array, y: float, colour: str) -> None:
    if not len(values):
        return
    low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.plot([low, high], [y, y], color=colour, lw=0.9)
    ax.plot([first, third], [y, y], color=colour, lw=5, solid_capstyle="butt")
    ax.plot([middle], [y], "|", color="white", ms=5, mew=1.6)


def position_figure(found: Found, i: int, classes: tuple[str, ...]) -> Figure:
    """One position: its probabilities by context, and what both rules look at.

    Args:
        found: of `probe_context`.
        i: number of the position, from 0.
        classes: names of the K probabilities.
    """
    from matplotlib.ticker import MaxNLocator

    place = found.places
    out, axes = style.panels(2, (3.8, 2.5), (0.75, 0.45, 0.15, 0.34), PRINT)
    p = found.first["none"][i]
    for k, _ in enumerate(classes):
        axes[0].plot(found.contexts, p[:, k], color=style.colour(k, PRINT), lw=1.1)
    axes[0].set_ylim(-0.02, 1.02)
    where = f"{place.chrom[i]}:{place.at[i]:,}"
    style.heading(axes[0], where, "probability", PRINT, left=0.3)
    ax, moved = axes[1], variances(p[None])[0]
    floor = STILL / 100
    shown = {"variance ahead": (found.contexts[: len(moved)], moved), "total variation": (
        found.contexts, distances(p[None])[0])}  # fmt: skip
    for k, (x, y) in enumerate(shown.values()):
        if len(x):
            ax.plot(x, np.maximum(y, floor), color=style.colour(len(classes) + k, PRINT), lw=1.1)
        ax.axhline((STILL, NEAR)[k], color=style.colour(len(classes) + k, PRINT), lw=0.7, ls=":")
    ax.set_yscale("log")
    style.log_ticks(ax.yaxis, floor, 1.0)
    style.heading(ax, "change", "dotted: limits of the rules", PRINT, left=0.3)
    for each in axes:
        each.set_xlim(0, found.longest)
        each.xaxis.set_major_locator(MaxNLocator(5))
        each.xaxis.set_major_formatter("{x:,.0f}")
        said = "context (bp); position from 0" if each is axes[0] else "context (bp)"
        each.set_xlabel(said, fontsize=8, color=PRINT.quiet, labelpad=2)
        style.bare(each, PRINT, "both")
    handles = [*axes[0].lines, *ax.lines[:1], *ax.lines[2:3]]
    names = [*classes, *shown][: len(handles)]
    out.legend(
        handles=handles, labels=names, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False,
        ncols=6,
    )  # fmt: skip
    return out


def _legend(out: Figure, names: list[str], line: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=style.colour(i, PRINT), lw=5) for i in range(len(names))]
    if line:
        names = [*names, "training windows"]
        handles.append(Line2D([], [], color=PRINT.ink, lw=0.8, ls="--"))
    out.legend(
        handles=handles, labels=names, loc="lower center",
        bbox_to_anchor=(0.5, 1), frameon=False, ncols=3,
    )  # fmt: skip
