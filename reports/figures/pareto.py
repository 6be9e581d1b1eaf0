"""Mean score of a suite against parameters and against the time of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from dnabench.reports.across import on_one_scale
from dnabench.reports.figures import style
from dnabench.reports.figures.style import LETTER, PRINT, Theme
from dnabench.reports.grouping import grouped, suite_of
from dnabench.reports.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (4.3, 3.0)  # inches, a panel
INSET = (0.62, 0.5, 0.16, 0.14)  # inches: left, bottom, right, top
COSTS = {"size": "parameters, including the head", "time": "seconds per run"}
SPOTS = ((0.09, 0.0, "left"), (-0.09, 0.0, "right"), (0.0, 0.14, "center"), (0.0, -0.14, "center"),
         (0.09, 0.14, "left"), (0.09, -0.14, "left"), (-0.09, 0.14, "right"),
         (-0.09, -0.14, "right"))  # fmt: skip  # inches from a mark to its name


class Point(NamedTuple):
    """One model over the rows of a suite. Costs are NaN where no record has them."""

    column: int
    name: str
    score: float  # mean over rows of the mean over seeds
    error: float  # its standard error from the seeds alone; NaN with one seed in a cell
    size: float
    time: float  # mean over the runs of a row, then over rows
    sign: int = 1  # -1 where lower scores are better


def points(table: Table, rows: Sequence[Row]) -> list[Point]:
    """Every column that has scores on all of these rows, which have one metric."""
    names, out = style.labels(table.columns), []
    for i, column in enumerate(table.columns):
        cells = [row.cells[i] for row in rows]
        if not cells or not all(c.scores for c in cells):
            continue
        summaries = [c.summary for c in cells]
        spent = [[r.seconds for r in c.runs if r.seconds > 0] for c in cells]
        seconds = [fmean(x) if x else math.nan for x in spent]
        point = Point(
            column=i,
            name=names[i],
            score=fmean(s.mean for s in summaries),
            error=math.sqrt(math.fsum(s.sd**2 / s.n for s in summaries)) / len(rows),
            size=float(max(column.n_params)) or math.nan,
            time=fmean(seconds),
            sign=rows[0].sign,
        )
        out.append(point)
    return out


def suites(table: Table) -> dict[str, list[Row]]:
    """Rows of one metric that two columns share, by suite; those that cover most rows decide."""
    out = {}
    for suite, every in grouped(table.rows, suite_of).items():
        rows = on_one_scale(every)
        cover = [sum(bool(row.cells[i].scores) for row in rows) for i in range(len(table.columns))]
        full = [i for i, n in enumerate(cover) if n == max(cover) and n]
        shared = [row for row in rows if full and all(row.cells[i].scores for i in full)]
        if shared and len(points(table, shared)) > 1:
            out[suite] = shared
    return out


def label(rows: Sequence[Row]) -> str:
    """Of the score: what it is the mean of."""
    metrics = " and ".join(dict.fromkeys(row.heading for row in rows))
    return f"mean {metrics} of {len(rows)} tasks" if len(rows) > 1 else metrics


def both(table: Table, rows: Sequence[Row], theme: Theme = PRINT) -> Figure:
    """Size and time beside each other, as far as the records have them, on rows of one suite.

    Only columns that have all of these rows are drawn; a ValueError where no two have either.
    """
    found = points(table, rows)
    known = [cost for cost in COSTS if sum(getattr(p, cost) > 0 for p in found) > 1]
    if not known:
        raise ValueError("no two models have all these tasks and a size or a time")
    figure, axes = style.panels(len(known), SIZE, INSET, theme)
    named = [draw(ax, found, c, label(rows), theme) for ax, c in zip(axes, known, strict=True)]
    if not all(named):
        style.legend(figure, style.labels(table.columns), theme, lines=False)
    return figure


def figure(found: Sequence[Point], cost: str, scored: str, theme: Theme = PRINT) -> Figure:
    """One panel: two or more points of a suite by a key of COSTS; `scored` labels the score."""
    figure, (ax,) = style.panels(1, SIZE, INSET, theme)
    draw(ax, found, cost, scored, theme)
    return figure


def draw(ax: Axes, found: Sequence[Point], cost: str, scored: str, theme: Theme) -> bool:
    """The same in given axes; False when there was no room for some of the names."""
    shown = [p for p in found if getattr(p, cost) > 0]
    if len(shown) < 2:
        raise ValueError(f"{len(shown)} models have a {cost}: nothing to compare")
    ax.set_xscale("log")
    front = frontier([(getattr(p, cost), p.score) for p in shown], shown[0].sign)
    ax.plot(
        *zip(*front, strict=True), color=theme.quiet, lw=1, ls=(0, (4, 3)), drawstyle="steps-post"
    )
    for p in shown:
        x, colour, gid = getattr(p, cost), style.colour(p.column, theme), f"column-{p.column}"
        if p.error > 0:
            reach = [p.score - 1.96 * p.error, p.score + 1.96 * p.error]
            ax.plot([x, x], reach, color=colour, lw=1.3, gid=gid)
        ax.plot(
            [x], [p.score], style.marker(p.column), color=colour, ms=7, mec=theme.paper, gid=gid
        )
    low, high = (f(getattr(p, cost) for p in shown) for f in (min, max))
    pad = max((high / low) ** 0.12, 1.35, math.sqrt(8 * low / high))
    ax.set_xlim(low / pad, high * pad)
    ax.margins(y=0.12)
    style.log_ticks(ax.xaxis, *ax.get_xlim())
    ax.set_xlabel(COSTS[cost], color=theme.quiet)
    ax.set_ylabel(scored, color=theme.quiet)
    style.bare(ax, theme, "both")
    return _names(ax, shown, cost, theme)


def frontier(pairs: Sequence[tuple[float, float]], sign: int = 1) -> list[tuple[float, float]]:
    """Those (cost, score) that no other beats in both, by cost; lower is better with sign -1."""
    out: list[tuple[float, float]] = []
    for cost, score in sorted(pairs, key=lambda pair: (pair[0], -sign * pair[1])):
        if not out or sign * score > sign * out[-1][1]:
            out.append((cost, score))
    return out


def _names(ax: Axes, shown: Sequence[Point], cost: str, theme: Theme) -> bool:
    """A name at each mark where it hides nothing; none and False when not all have such a spot."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    box, size = ax.get_position(), ax.figure.get_size_inches()  # type: ignore[union-attr]
    wide, high = box.width * size[0], box.height * size[1]
    scale = wide / math.log(x1 / x0), high / (y1 - y0)
    at = [(scale[0] * math.log(getattr(p, cost) / x0), scale[1] * (p.score - y0)) for p in shown]
    taken = [(x - 0.06, y - 0.06, x + 0.06, y + 0.06) for x, y in at]
    for (xa, ya), (xb, yb) in pairwise(frontier(at, shown[0].sign)):  # the dashed steps
        taken += [(xa, ya - 0.01, xb, ya + 0.01), (xb - 0.01, ya, xb + 0.01, yb)]
    for p, (x, y) in zip(shown, at, strict=True):  # the intervals
        reach = scale[1] * 1.96 * p.error if p.error > 0 else 0.0
        taken.append((x - 0.01, y - reach, x + 0.01, y + reach))
    places = []
    for p, (x, y) in zip(shown, at, strict=True):
        for dx, dy, ha in SPOTS:
            place = _box(x + dx, y + dy, LETTER * len(p.name), ha)
            if place[0] >= 0 and place[2] <= wide and not _hits(place, taken):
                taken.append(place)
                places.append((p, dx, dy, ha))
                break
        else:
            return False
    for p, dx, dy, ha in places:
        ax.annotate(
            p.name, (getattr(p, cost), p.score), (dx * 72, dy * 72), textcoords="offset points",
            ha=ha, va="center", fontsize=8.5, color=theme.ink, gid=f"column-{p.column}",
        )  # fmt: skip
    return True


Box = tuple[float, float, float, float]


def _box(x: float, y: float, length: float, ha: str) -> Box:
    left = x - length * {"left": 0.0, "center": 0.5, "right": 1.0}[ha]
    return left, y - 0.07, left + length, y + 0.07


def _hits(box: Box, taken: Sequence[Box]) -> bool:
    return any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
