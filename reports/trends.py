"""Scores by a number that was varied: the share of train (learning curves), or a swept setting."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from dnabench.reports.cells import Cell
from dnabench.reports.columns import UNSET, Column
from dnabench.reports.grid import Grid, count, fixed, listed
from dnabench.reports.grouping import grouped
from dnabench.reports.settings import option_text
from dnabench.reports.table import Row, Table

SHARE = "train_share"
TITLE = "Score by share of the training examples"


class Curve(NamedTuple):
    """One configuration of a model on one row, everything but the number being equal.

    Or its tuned one, which was chosen anew at each share.
    """

    line: int  # index into Trend.names
    cells: tuple[Cell | None, ...]  # by Trend.values; None where there is no such column


class Panel(NamedTuple):
    """The curves of a row."""

    row: Row
    curves: tuple[Curve, ...]


class Trend(NamedTuple):
    """The curves of a table."""

    by: str  # SHARE, or the name of an option or of a recipe's field
    values: tuple[float, ...]  # ascending
    names: tuple[str, ...]  # of the lines, each of which has a curve on a row
    panels: tuple[Panel, ...]  # a row each, where a line has scores at two values

    @property
    def label(self) -> str:
        """What is varied, in words."""
        return "share of train" if self.by == SHARE else self.by

    def text(self, value: float) -> str:
        """A value as it is shown."""
        return f"{100 * value:g} %" if self.by == SHARE else option_text(value)


def trend(table: Table, by: str) -> Trend | None:
    """The curves by a setting; None where no two columns differ in this number alone."""
    known = [(i, c, _number(c, by)) for i, c in enumerate(table.columns)]
    groups = grouped([k for k in known if k[2] is not None], lambda k: _all_else(k[1], by))
    lines = [
        group for group in groups.values()
        if any(len({x for i, _, x in group if row.cells[i].scores}) > 1 for row in table.rows)
    ]  # fmt: skip
    values = sorted({x for group in lines for *_, x in group if x is not None})
    panels = []
    for row in table.rows:
        at = [{x: row.cells[i] for i, _, x in group} for group in lines]
        curves = [Curve(k, tuple(cells.get(x) for x in values)) for k, cells in enumerate(at)]
        shown = [c for c in curves if sum(bool(cell and cell.scores) for cell in c.cells) > 1]
        panels += [Panel(row, tuple(shown))] if shown else []
    if not panels:
        return None
    return Trend(by, tuple(values), tuple(_names([g[0][1] for g in lines], by)), tuple(panels))


def swept(table: Table) -> list[Trend]:
    """The curves by each number that was swept, in the order of the names."""
    names = {n for c in table.columns for n in c.options}
    names |= {n for c in table.columns for recipe in c.recipes.values() for n in recipe.numbers}
    return [found for name in sorted(names) if (found := trend(table, name)) is not None]


def _number(column: Column, by: str) -> float | None:
    value = column.train_share if by == SHARE else column.setting(by)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value is not UNSET
    return value if fits else None


def _all_else(column: Column, by: str) -> str:
    """The same for columns that differ in that number alone.

    Not by whole recipes: these have a part for each suite that the column was run on.
    """
    others = {k: v for k, v in column.apart.items() if k != by}
    parts = [column.model, column.regime, column.named, others]
    return json.dumps(parts, sort_keys=True, default=str)


def _names(columns: Sequence[Column], by: str) -> list[str]:
    """Names of the columns without the number that is varied."""
    words = [[w for w in c.name.split(" ") if not w.startswith(f"{by}=")] for c in columns]
    return [" ".join(w) for w in words]


def share_section(found: Trend, digits: int) -> Grid:
    """Learning curves as a table: mean and 95 % t interval over seeds, a line a model."""
    heads = ["task", "metric", "model", *map(found.text, found.values)]
    rows, every = [], [cell for p in found.panels for c in p.curves for cell in c.cells if cell]
    most = max((len(cell.values) for cell in every), default=0)
    for panel in found.panels:
        sizes = [_examples(panel, k) for k in range(len(found.values))]
        rows.append([panel.row.name, "", "training examples", *sizes])
        for curve in panel.curves:
            cells = [_cell_text(cell, most, digits) for cell in curve.cells]
            rows.append([panel.row.name, panel.row.heading, found.names[curve.line], *cells])
    note = f"Mean over {count(most, 'seed')}{' and its 95 % t interval' * (most > 1)}. {NOTE}"
    return Grid(TITLE, heads, rows, [note, *_absent(found)])


NOTE = (
    "Each seed draws its own training examples, the same for every model; a smaller share is part "
    "of a larger one; validation and test are whole. Where recipes count epochs, a smaller share "
    "also takes fewer optimiser steps (--set max_steps=N takes as many)."
)


def _examples(panel: Panel, k: int) -> str:
    """How many training examples the runs at a value had."""
    cells = [curve.cells[k] for curve in panel.curves]
    sizes = {r.n_examples.get("train", 0) for cell in cells if cell for r in cell.runs}
    return "–".join(f"{n:,}" for n in dict.fromkeys((min(sizes), max(sizes)))) if sizes else ""


def _cell_text(cell: Cell | None, most: int, digits: int) -> str:
    if cell is None or cell.missing:
        return "missing"
    s = cell.summary
    said = [f"n={s.n}"] * (0 < s.n < most) + [f"{cell.failed} failed"] * (cell.failed > 0)
    if not s.n:
        return ", ".join(said) or "undefined"
    known = math.isfinite(s.low)
    interval = f" [{fixed(s.low, digits)}, {fixed(s.high, digits)}]" if known else ""
    return f"{fixed(s.mean, digits)}{interval}" + (f" ({', '.join(said)})" if said else "")


def _absent(found: Trend) -> list[str]:
    """Which classes have no training example at which share."""
    lost = [
        (panel.row.name, found.text(x), name, run.trial.seed)
        for panel in found.panels for curve in panel.curves
        for x, cell in zip(found.values, curve.cells, strict=True) if cell
        for run in cell.runs for name in run.flags.get("absent_classes", ())
    ]  # fmt: skip
    return [
        f"On {row} at {share}, {count(len({seed for *_, seed in of}), 'seed')} had no training "
        f"example of {listed(dict.fromkeys(name for _, _, name, _ in of))}."
        for (row, share), of in grouped(lost, lambda item: item[:2]).items()
    ]
