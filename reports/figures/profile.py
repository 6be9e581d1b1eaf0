"""Seconds and memory against length: one line a model, training solid, a forward pass dashed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabench.reports.figures.style import PALETTE, SETTINGS, UNDATED, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

MODES = {"train": ("training step", "-"), "forward": ("forward pass", "--")}
PANELS = (("seconds", 1.0, "seconds"), ("bytes", 1e6, "peak memory (MB)"))


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Two panels with logarithmic axes: seconds and megabytes (10^6 bytes) against bp.

    Args:
        rows: each with `model`, `length` (bp), and, as far as they were measured (else None),
            `forward_seconds`, `train_seconds`, `forward_bytes`, `train_bytes`: those of `Cost`
            as dicts.
        path: of the file to write; .png, .pdf or .svg decides the format.

    Raises:
        ValueError: for another ending, or rows without a number.
        OSError: when the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in UNDATED:
        raise ValueError(f"{path}: a figure is a {', '.join(UNDATED)} file")
    if not any(_line(rows, mode, kind) for mode in MODES for kind, _, _ in PANELS):
        raise ValueError(f"{path}: no row has a number to draw; their errors say why")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "font.size": 8}):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        for ax, (kind, unit, label) in zip(figure.subplots(1, 2), PANELS, strict=True):
            _panel(ax, rows, kind, unit)
            ax.set_ylabel(label)
        _legend(figure, list(dict.fromkeys(row["model"] for row in rows)))
        figure.savefig(path, dpi=200, metadata=UNDATED[path.suffix.lower()])


def _panel(ax: Axes, rows: Sequence[Mapping[str, Any]], kind: str, unit: float) -> None:
    for i, model in enumerate(dict.fromkeys(row["model"] for row in rows)):
        mine = [row for row in rows if row["model"] == model]
        for mode, (_, style) in MODES.items():
            line = _line(mine, mode, kind)
            ax.plot(
                [length for length, _ in line], [value / unit for _, value in line], style,
                color=_colour(i), marker=marker(i), ms=3.5, lw=1.3,
                mfc=_colour(i) if mode == "train" else "white",
            )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks(ax.xaxis, *ax.get_xlim())
    ticks(ax.yaxis, *ax.get_ylim())
    ax.set_xlabel("length (bp)")
    ax.grid(color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers at powers of ten, and in between where these would be few.

    Args:
        axis: logarithmic.
        low: where it begins.
        high: where it ends.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(x: float, _: object) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M")):
        if x >= unit:
            return f"{x / unit:g}{letter}"
    return f"{x:,.0f}" if x >= 1 else f"{x:g}"


def _line(rows: Sequence[Mapping[str, Any]], mode: str, kind: str) -> list[tuple[int, float]]:
    """(bp, value) of the rows that have one, by length; a logarithmic axis has no zero."""
    points = ((row["length"], row.get(f"{mode}_{kind}")) for row in rows)
    return sorted((length, value) for length, value in points if value)


def _legend(figure: Any, models: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_colour(i), marker=marker(i), ms=3.5, label=name)
               for i, name in enumerate(models)]  # fmt: skip
    handles += [Line2D([], [], color="#555555", ls=ls, label=name) for name, ls in MODES.values()]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False
    )


def _colour(i: int) -> str:
    return PALETTE[i % len(PALETTE)]
