"""Figures of probes: paths and effective fields, what substitutions do, and maps of bases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dnabench.probes.effective import Effect
from dnabench.probes.paths import Paths
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (6.6, 2.2)  # inches, a panel
INSET = (0.8, 0.45, 0.15, 0.34)  # inches: left, bottom, right, top
BASE, WIDEST = 0.03, 20.0  # inches, of a base and of a figure
POINTS = 4096  # of a line
ACROSS = 4  # names of a legend side by side
LOWEST = 1e-8  # of the largest share that is shown


def paths_figure(named: Sequence[tuple[str, Paths]]) -> Figure:
    """Path counts by offset, as shares of the largest of each stack."""
    out, (ax,) = style.panels(1, SIZE, INSET, PRINT)
    for i, (_, paths) in enumerate(named):
        counts = paths.counts.astype(np.float64)
        x, y = _thinned(np.arange(paths.field) + paths.first, counts / counts.max())
        near = 2 + 1 / paths.field  # narrow ones in front of wide ones
        ax.plot(x, y, color=style.colour(i, PRINT), lw=0.9, zorder=near)
    _finish(ax, "paths", "share of the largest count")
    out.legend(
        handles=list(ax.lines), labels=[name for name, _ in named], loc="lower center",
        bbox_to_anchor=(0.5, 1), frameon=False, ncols=min(len(named), ACROSS),
    )  # fmt: skip
    return out


def field_figure(paths: Paths | None, effect: Effect) -> Figure:
    """Path counts, if there are any, and the effective field by both measures."""
    from matplotlib.figure import Figure

    wide, rows = SIZE[0], 1 + (paths is not None)
    out = Figure(figsize=(wide, rows * SIZE[1]), facecolor=PRINT.paper)
    axes = []
    for k in range(rows):
        bottom = ((rows - 1 - k) * SIZE[1] + INSET[1]) / (rows * SIZE[1])
        height = (SIZE[1] - INSET[1] - INSET[3]) / (rows * SIZE[1])
        width = (wide - INSET[0] - INSET[2]) / wide
        axes.append(out.add_axes((INSET[0] / wide, bottom, width, height), facecolor="none"))
    if paths is not None:
        counts = paths.counts.astype(np.float64)
        x, y = _thinned(np.arange(paths.field) + paths.first, counts)
        axes[0].plot(x, y, color=style.colour(0, PRINT), lw=1.1)
        _finish(axes[0], "paths", f"{paths.field:,} bp, taps alone")
    ax = axes[-1]
    ax.set_yscale("log")
    x, y = _thinned(effect.offsets, effect.gradient)
    ax.plot(x, np.maximum(y, LOWEST * y.max()), color=style.colour(1, PRINT), lw=1.1)
    changed = np.maximum(effect.substitution, LOWEST * effect.substitution.max())
    at = np.isin(effect.offsets, effect.substituted)
    ax.plot(effect.offsets[at], changed[at], "o", color=style.colour(2, PRINT), ms=2.5)
    style.log_ticks(ax.yaxis, LOWEST * float(y.max()), float(y.max()))
    _finish(ax, "effect of a base", "share; line: gradients, dots: substitution")
    return out


def mutagenesis_figure(name: str, answer: str, codes: Array, changes: Array) -> Figure:
    """The importance of each base above a heat map of the change for A, C, G and T.

    Args:
        name: of the sequence.
        answer: what changes, in words.
        codes: uint8 (L,), its letters; a dot marks each in the heat map.
        changes: float64 (L, 4).
    """
    from matplotlib.figure import Figure

    length = len(codes)
    wide = min(WIDEST, max(SIZE[0], 1.2 + BASE * length))
    out = Figure(figsize=(wide, 2.9), facecolor=PRINT.paper)
    left, across = INSET[0] / wide, (wide - INSET[0] - 0.75) / wide
    top = out.add_axes((left, 0.52, across, 0.36), facecolor="none")
    grid = out.add_axes((left, 0.17, across, 0.27), facecolor="none")
    beside = out.add_axes((left + across + 0.1 / wide, 0.17, 0.1 / wide, 0.27))
    values = np.nan_to_num(-changes.sum(1) / 3)
    top.bar(np.arange(length), values, width=1.0, color=style.colour(0, PRINT))
    top.set_xlim(-0.5, length - 0.5)
    style.bare(top, PRINT, "y")
    style.heading(top, name, f"importance for {answer}", PRINT, left=0.5)
    most = float(np.nan_to_num(np.abs(changes)).max()) or 1.0
    shown = grid.imshow(
        changes.T, aspect="auto", cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest"
    )
    known = np.flatnonzero(codes < 4)
    grid.plot(known, codes[known], ".", ms=1.6, color=PRINT.ink)
    grid.set_yticks(range(4), list("ACGT"))
    grid.set_xlabel("base, from 0; dots: the sequence", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(grid, PRINT, "both")
    grid.grid(visible=False)
    out.colorbar(shown, cax=beside)
    style.bare(beside, PRINT, "both")
    return out


class Along(NamedTuple):
    """The bases of a map: position of the first, and the step to the next, -1 on strand -.

    track: kind of each base, () = none is drawn.
    """

    first: int
    step: int
    track: Sequence[str] = ()


def map_figure(
    name: str, unit: str, bases: Along, values: Array, axes: tuple[str, str],
    beyond: float = 0.0,
) -> Figure:  # fmt: skip
    """A heat map of all pairs of bases.

    Args:
        name: of the region.
        unit: of the values.
        bases: L, with their kinds above the map.
        values: float64 (L, L), from the base of the row to that of the column; NaN is left empty.
        axes: what the columns and the rows are, in words.
        beyond: the share of pairs, those of the largest values, that have the last colour alike.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    first, step, track = bases
    side, wide, high = 3.6, 5.4, 4.4
    out = Figure(figsize=(wide, high), facecolor=PRINT.paper)
    ax = out.add_axes((0.85 / wide, 0.5 / high, side / wide, side / high), facecolor="none")
    beside = out.add_axes((4.55 / wide, 0.5 / high, 0.12 / wide, side / high))
    ends = first - step / 2, first + step * (len(values) - 0.5)
    shown = ax.imshow(
        values, cmap="viridis", vmin=0, extent=(*ends, *ends[::-1]), interpolation="nearest",
        vmax=float(np.nanquantile(values, 1 - beyond)) or None,
    )  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(f"{axes[0]}, from 0", fontsize=8, color=PRINT.quiet, labelpad=2)
    ax.set_ylabel(f"{axes[1]}, from 0", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(ax, PRINT, "both")
    ax.grid(visible=False)
    style.heading(ax, name, unit, PRINT, left=0.5)
    out.colorbar(shown, cax=beside, extend="max" if beyond else "neither")
    style.bare(beside, PRINT, "both")
    beside.grid(visible=False)
    if len(track):
        _kinds(out, (0.85 / wide, 4.42 / high, side / wide, 0.1 / high), track)
    return out


def _kinds(out: Figure, box: tuple[float, float, float, float], track: Sequence[str]) -> None:
    """The kind of each base as colours of a strip."""
    from matplotlib.patches import Patch

    ax = out.add_axes(box, facecolor="none")
    kinds, codes = np.unique(np.asarray(track), return_inverse=True)
    changes = np.flatnonzero(np.diff(codes)) + 1
    for a, b in zip([0, *changes], [*changes, len(codes)], strict=True):
        ax.axvspan(a, b, color=style.colour(int(codes[a]), PRINT), lw=0)
    ax.set_xlim(0, len(codes))
    ax.set_axis_off()
    out.legend(
        handles=[Patch(color=style.colour(i, PRINT)) for i in range(len(kinds))],
        labels=kinds.tolist(), loc="lower center", bbox_to_anchor=(0.5, 1.04), frameon=False,
        ncols=4,
    )  # fmt: skip


def _finish(ax: Axes, name: str, label: str) -> None:
    ax.set_xlabel("offset (bp)", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(ax, PRINT, "both")
    style.heading(ax, name, label, PRINT, left=0.5)


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most about POINTS points: the lowest and the highest of each stretch."""
    step = -(-2 * len(x) // POINTS)
    if step < 2:
        return x, y
    starts = np.arange(0, len(x), step)
    low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    return np.repeat(x[starts], 2), np.stack([low, high], 1).ravel()
