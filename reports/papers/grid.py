"""A published table in its layout: values put into rows and columns, best and second found.

A layout holds no numbers: a cell is the one value of the table that has all fields that its line
and its column name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Literal

from dnabench.reports.papers.published import SeedValue, Value, seeds, values

Fields = Mapping[str, str]
Rule = Literal["best and second", "best", "none"]
Along = Literal["row", "group"]
Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Column:
    """A column."""

    heads: tuple[str, ...]  # outermost first; equal neighbours span
    fields: Fields  # of the values in it

    @property
    def label(self) -> str:
        """All heads on one line."""
        return " ".join(filter(None, self.heads))


@dataclass(frozen=True)
class Line:
    """A row."""

    label: str
    fields: Fields
    group: str = ""  # heading above the first row of a group


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table as printed."""

    table: str  # its number
    corner: str  # above the labels of rows
    blocks: tuple[tuple[Column, ...], ...]  # each with all lines, one below the other
    lines: tuple[Line, ...]
    rule: Rule  # what the caption says is marked
    along: Along = "row"  # what competes: a row, or all rows of a group
    remarks: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of all blocks."""
        return tuple(chain.from_iterable(self.blocks))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number at its place."""

    line: Line
    column: Column
    value: Value | SeedValue
    mean: str  # as printed
    spread: str  # as printed, empty without
    mark: Mark  # ours


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of numbers."""

    layout: Layout
    rows: tuple[tuple[Cell, ...], ...]  # a row a line, in it a cell a column of all blocks

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Row by row."""
        return tuple(chain.from_iterable(self.rows))


def fill(paper: str, layout: Layout) -> Grid:
    """Put the published values of a table into its layout.

    Args:
        paper: short name.
        layout: of a table of that paper.

    Returns:
        As many cells as the table has values. Bold and underline are found from the printed
        means, higher being better; equal means share their place.

    Raises:
        ValueError: a cell with no value or with more than one, or a value without a cell.
    """
    everything: list[Value | SeedValue] = [
        *values(paper, layout.table),
        *seeds(paper, layout.table),
    ]
    pool = [(v, _fields(v)) for v in everything]
    found: list[list[Value | SeedValue]] = []
    for line in layout.lines:
        mine = [(v, has) for v, has in pool if line.fields.items() <= has.items()]
        row = [[v for v, has in mine if c.fields.items() <= has.items()] for c in layout.columns]
        for column, candidates in zip(layout.columns, row, strict=True):
            if len(candidates) != 1:
                raise ValueError(
                    f"{paper} table {layout.table}, row {line.label!r}, column {column.label!r}: "
                    f"{len(candidates)} values fit it; the layout must name exactly one"
                )
        found.append([candidates[0] for candidates in row])
    if len({id(v) for row in found for v in row}) != len(everything):
        raise ValueError(f"{paper} table {layout.table}: values without a cell in the layout")
    marks = _marks(layout, found)
    rows = [
        tuple(
            _cell(layout.lines[i], column, v, marks.get((i, j), ""))
            for j, (column, v) in enumerate(zip(layout.columns, row, strict=True))
        )
        for i, row in enumerate(found)
    ]
    return Grid(layout=layout, rows=tuple(rows))


def plain(values: Sequence[Value]) -> Layout:
    """The layout of a table that nobody described: tasks are rows, models columns, no marks."""
    tasks = dict.fromkeys((v.task, v.metric) for v in values)
    models = dict.fromkeys((v.model, v.params, v.regime) for v in values)
    alike = len({task for task, _ in tasks}) < len(tasks)
    return Layout(
        table=values[0].table,
        corner="metric" if alike else "task",
        blocks=(
            tuple(
                Column((model,), {"model": model, "params": params, "regime": regime})
                for model, params, regime in models
            ),
        ),
        lines=tuple(
            Line(metric if alike else task, {"task": task, "metric": metric})
            for task, metric in tasks
        ),
        rule="none",
        remarks=(f"Regime: {', '.join(dict.fromkeys(v.regime for v in values))}.",),
    )


def _fields(value: Value | SeedValue) -> dict[str, str]:
    """Fields as text; those in `variant` also by their own names."""
    parts = [item.partition("=") for item in value.variant.split(",")]
    inside = {name: x for name, _, x in parts if x}
    return {k: str(v) for k, v in asdict(value).items()} | inside


def _number(value: Value | SeedValue) -> float:
    return value.mean if isinstance(value, Value) else value.value


def _cell(line: Line, column: Column, value: Value | SeedValue, mark: Mark) -> Cell:
    mean, _, spread = value.printed.partition(" ± ")
    return Cell(line=line, column=column, value=value, mean=mean, spread=spread, mark=mark)


def _marks(
    layout: Layout, found: Sequence[Sequence[Value | SeedValue]]
) -> dict[tuple[int, int], Mark]:
    """(row, column) -> mark."""
    if layout.rule == "none":
        return {}
    arenas: dict[object, dict[tuple[int, int], float]] = {}
    for i, row in enumerate(found):
        arena = arenas.setdefault(layout.lines[i].group if layout.along == "group" else i, {})
        arena.update({(i, j): _number(v) for j, v in enumerate(row)})
    places: tuple[Mark, ...] = ("best", "second") if layout.rule != "best" else ("best",)
    out: dict[tuple[int, int], Mark] = {}
    for arena in arenas.values():
        ranking = sorted(set(arena.values()), reverse=True)
        for mark, top in zip(places, ranking, strict=False):
            out.update({place: mark for place, x in arena.items() if x == top})
    return out
