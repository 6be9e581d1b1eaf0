"""How well matched controls resemble the variants that they are matched to, as numbers and figure.

M variants with a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnabench.probes.labelled import codes_of
from dnabench.probes.matching import Matched, near_values
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, INSET = (2.9, 2.1), (0.5, 0.45, 0.15, 0.34)  # inches, a panel
NAMES, LETTERS = 0.75, 16  # inches more for names of kinds, letters of one
KINDS = 8  # of a column that are shown; the others together
BEYOND = 0.001  # share of numbers at either end that is not shown
TAIL = 20  # times the median from which on the largest percent makes the axis logarithmic


class Compared(NamedTuple):
    """A column of matching.

    Args:
        name: of the column.
        groups: values of class 1 as far as it is taken, of all controls, and of those taken:
            float64 of a column of numbers, else str.
        apart: of class 1 from both: the largest difference of cumulative shares of numbers (that
            of Kolmogorov and Smirnov), else half the sum of differences of shares; 0 = alike, 1.
    """

    name: str
    groups: tuple[Array, Array, Array]
    apart: tuple[float, float]

    @property
    def numbers(self) -> bool:
        """Whether it is a column of numbers."""
        return bool(self.groups[0].dtype.kind == "f")


def compared(
    table: Any, label: str, exact: Sequence[str], near: Sequence[str], found: Matched
) -> list[Compared]:
    """Compare each column of a match, numbers first.

    Args:
        table: that was given to `matching.matched_table`, as are label, exact and near.
        label: column of 0 and 1.
        exact: columns in which controls are equal.
        near: columns of numbers in which they are near.
        found: what it gave.
    """
    codes = codes_of(["" if v is None else str(v) for v in table[label].to_pylist()])
    rows = np.flatnonzero(codes >= 0)
    positive, taken = codes[rows] == 1, found.group >= 0
    split = positive & taken, ~positive, ~positive & taken
    values = [(name, x[rows]) for name, x in zip(near, near_values(table, near), strict=True)]
    values += [(n, np.array([str(v) for v in table[n].take(rows).to_pylist()])) for n in exact]
    out = []
    for name, column in values:
        own, before, after = (column[which] for which in split)
        far = largest_gap if column.dtype.kind == "f" else shares_apart
        out.append(Compared(name, (own, before, after), (far(own, before), far(own, after))))
    return out


def largest_gap(x: Array, y: Array) -> float:
    """The largest difference of the cumulative shares of two samples of numbers."""
    at = np.concatenate([x, y])
    one, other = (np.searchsorted(np.sort(z), at, side="right") / len(z) for z in (x, y))
    return float(np.abs(one - other).max())


def shares_apart(x: Array, y: Array) -> float:
    """Half the sum over kinds of the differences of their shares: total variation."""
    kinds = np.unique(np.concatenate([x, y]))
    return float(np.abs(_shares(x, kinds) - _shares(y, kinds)).sum() / 2)


def _shares(x: Array, kinds: Array) -> Array:
    there = dict(zip(*(one.tolist() for one in np.unique(x, return_counts=True)), strict=True))
    return np.array([there.get(kind, 0) for kind in kinds.tolist()]) / len(x)


def resemblance_figure(columns: Sequence[Compared], dropped: int) -> Figure:
    """A panel for each column: cumulative shares of numbers, shares of kinds.

    Args:
        columns: of `compared`, one at least.
        dropped: variants of class 1 without controls.
    """
    from matplotlib.lines import Line2D

    out, axes = style.panels(len(columns), SIZE, INSET, PRINT)
    for ax, one in zip(axes, columns, strict=True):
        _cumulative(ax, one) if one.numbers else _kinds(ax, one)
    own, before, after = (len(x) for x in columns[0].groups)
    of = f" of {own + dropped:,}" if dropped else ""
    names = (
        f"class 1 ({own:,}{of})",
        f"all controls ({before:,})",
        f"matched controls ({after:,})",
    )
    handles = [
        Line2D([], [], lw=look["lw"], ls=look["ls"], color=look["color"], marker=style.marker(i),
               ms=4)
        for i, look in enumerate(_looks())
    ]  # fmt: skip
    across = 3 if len(columns) > 1 else 1
    out.legend(handles=handles, labels=names, loc="lower center", bbox_to_anchor=(0.5, 1),
               frameon=False, ncols=across, handlelength=2.6)  # fmt: skip
    return out


def _looks() -> list[dict[str, Any]]:
    """Of class 1, all controls, and those taken: matched ones lie on class 1 and are dashed."""
    return [
        {"color": style.colour(1, PRINT), "lw": 2.2, "ls": "-"},
        {"color": PRINT.quiet, "lw": 1.1, "ls": "-"},
        {"color": style.colour(0, PRINT), "lw": 1.2, "ls": (0, (3, 1.5))},
    ]


def _cumulative(ax: Axes, one: Compared) -> None:
    every = np.concatenate(one.groups[:2])
    low, middle, far, high = np.quantile(every, [BEYOND, 0.5, 0.99, 1 - BEYOND])
    positive = every[every > 0]
    if every.min() >= 0 and far > TAIL * middle > 0:
        ax.set_xscale("log")
        low = max(low, float(np.quantile(positive, 0.01)))
        style.log_ticks(ax.xaxis, low, high)
    else:
        ax.xaxis.set_major_locator(_few_ticks())
        ax.xaxis.set_major_formatter("{x:,g}")
    for values, look in zip(one.groups, _looks(), strict=True):
        x = np.sort(values)
        ax.step(x, np.arange(1, len(x) + 1) / len(x), where="post", **look)
    ax.set_xlim(low, high if high > low else low + 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("value; lines: share up to it", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(ax, PRINT, "both")
    _title(ax, one, 0.4)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _kinds(ax: Axes, one: Compared) -> None:
    """The share of each kind: as a dot of each group on a line of its own."""
    names, counts = np.unique(np.concatenate(one.groups[:2]), return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:KINDS]
    box = ax.get_position()
    wide = float(ax.figure.get_size_inches()[0])  # type: ignore[union-attr]
    left = NAMES / wide
    ax.set_position((box.x0 + left, box.y0, box.width - left, box.height))
    others = len({*one.groups[0], *one.groups[1]}) - len(names)
    for i, (values, look) in enumerate(zip(one.groups, _looks(), strict=True)):
        shares = _shares(values, names)
        if others:
            shares = np.append(shares, 1 - shares.sum())
        full = {"mfc": look["color"] if i < 2 else "none", "mec": look["color"]}
        size = (5, 4, 7)[i]  # matched ones are a ring around class 1
        ax.plot(shares, np.arange(len(shares)), ls="", marker=style.marker(i), ms=size, **full)
    said = [style.shortened(name, LETTERS) for name in names.tolist()]
    said += [f"{others:,} others"] if others else []
    ax.set_yticks(range(len(said)), said)
    ax.set_ylim(len(said) - 0.5, -0.5)
    ax.set_xlim(0, 1.08 * ax.dataLim.x1)
    ax.xaxis.set_major_locator(_few_ticks())
    ax.set_xlabel("share", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(ax, PRINT, "both", names=True)
    _title(ax, one, 0.4 + NAMES)


def _title(ax: Axes, one: Compared, left: float) -> None:
    style.heading(ax, one.name, "apart {:.2f}, then {:.2f}".format(*one.apart), PRINT, left=left)
