"""Seconds and memory against length: a line for each model, training solid, forward pass dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabench.reports.figures.style import PRINT, bare, colour, log_ticks, marker, panels, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (3.8, 3.1)  # inches, a panel
INSET = (0.62, 0.5, 0.16, 0.14)  # inches: left, bottom, right, top
MODES = {"train": ("training step", "-"), "forward": ("forward pass", "--")}
PANELS = (("seconds", 1.0, "seconds"), ("bytes", 1e6, "peak memory (MB)"))


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Two panels with logarithmic axes: seconds and megabytes (10^6 bytes) against bp.

    Args:
        rows: each a `Cost` as a dict, with `model`, `length` (bp), and, as far as they were
            measured (else None), `forward_seconds`, `train_seconds`, `forward_bytes`,
            `train_bytes`.
        path: as for `save`.

    Raises:
        ValueError: no row has a number; or as `save` does.
    """
    if not any(_line(rows, mode, kind) for mode in MODES for kind, _, _ in PANELS):
        raise ValueError(f"{path}: no row has a number to draw; their errors say why")
    save(lambda: _figure(rows), path)


def _figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.lines import Line2D

    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = panels(2, SIZE, INSET, PRINT)
    for ax, (kind, unit, label) in zip(axes, PANELS, strict=True):
        for i, model in enumerate(models):
            mine = [row for row in rows if row["model"] == model]
            for mode, (_, style) in MODES.items():
                line, fill = _line(mine, mode, kind), colour(i) if mode == "train" else "white"
                ax.plot(
                    [length for length, _ in line], [value / unit for _, value in line], style,
                    color=colour(i), marker=marker(i), ms=4, lw=1.3, mfc=fill,
                )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        log_ticks(ax.xaxis, *ax.get_xlim())
        log_ticks(ax.yaxis, *ax.get_ylim())
        ax.set_xlabel("length (bp)", color=PRINT.quiet)
        ax.set_ylabel(label, color=PRINT.quiet)
        bare(ax, PRINT, "both")
    handles = [Line2D([], [], color=colour(i), marker=marker(i), ms=4, label=name)
               for i, name in enumerate(models)]  # fmt: skip
    handles += [Line2D([], [], color="#555555", ls=ls, label=name) for name, ls in MODES.values()]
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False,
        ncols=min(len(handles), 5),
    )  # fmt: skip
    return figure


def _line(rows: Sequence[Mapping[str, Any]], mode: str, kind: str) -> list[tuple[int, float]]:
    """(bp, value) of the rows that have one, by length; a logarithmic axis has no zero."""
    points = ((row["length"], row.get(f"{mode}_{kind}")) for row in rows)
    return sorted((length, value) for length, value in points if value)
