"""A published table in its layout: values put into rows and columns, best and second found.

A layout holds no numbers. It names the fields of a value that tell rows and columns apart, and
labels both in the order in which the values are printed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, groupby
from typing import Literal, NamedTuple

from dnabench.reports.papers.published import Value, seeds, values

Rule = Literal["best and second", "best", "none"]
Along = Literal["row", "group"]
Mark = Literal["", "best", "second"]
Heads = tuple[str, ...]  # of a column, outermost first; equal neighbours span
Key = tuple[str, ...]
MODEL = ("model", "params", "regime")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table as printed."""

    table: str  # its number
    corner: str = "Task"  # above the labels of rows
    rows: Mapping[str, Sequence[str]]  # heading of a group of rows, or "" -> labels
    blocks: Sequence[Sequence[Heads]]  # columns; one block below the other, each with all rows
    row_by: tuple[str, ...] = ("task",)  # fields of a value, or names in its variant
    column_by: tuple[str, ...] = MODEL
    rule: Rule = "none"  # what the caption says is marked
    along: Along = "row"  # the best of what: of a row, or of all rows of a group
    remarks: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Heads]:
        """Those of all blocks."""
        return list(chain.from_iterable(self.blocks))


class Cell(NamedTuple):
    """A number in its place."""

    group: str
    row: str
    heads: Heads
    value: Value
    mark: Mark  # ours

    @property
    def column(self) -> str:
        """All heads on one line."""
        return " ".join(filter(None, self.heads))

    @property
    def printed(self) -> tuple[str, str]:
        """Mean and spread as printed; the spread is empty without one."""
        mean, _, spread = self.value.printed.partition(" ± ")
        return mean, spread


class Grid(NamedTuple):
    """A table of numbers."""

    layout: Layout
    rows: list[list[Cell]]  # a cell for each column of all blocks

    @property
    def cells(self) -> list[Cell]:
        """Row by row."""
        return list(chain.from_iterable(self.rows))


def fill(paper: str, layout: Layout) -> Grid:
    """Put the published values of a table of a paper into its layout.

    Bold and underline are found from the printed means, higher being better; equal means share
    their place.

    Raises:
        ValueError: other numbers of rows or columns than labels, or a cell that does not have
            exactly one value.
    """
    found = [(v, _fields(v)) for v in (*values(paper, layout.table), *seeds(paper, layout.table))]
    places: dict[tuple[Key, Key], list[Value]] = defaultdict(list)
    for value, fields in found:
        places[_key(fields, layout.row_by), _key(fields, layout.column_by)].append(value)
    row_keys, column_keys = (list(dict.fromkeys(keys)) for keys in zip(*places, strict=True))
    labels = [(group, label) for group, some in layout.rows.items() for label in some]
    counts = (("row", row_keys, labels), ("column", column_keys, layout.columns))
    for what, keys, named in counts:
        if len(keys) != len(named):
            raise ValueError(
                f"{paper} table {layout.table}: the layout labels {len(named)} {what}s, the values "
                f"have {len(keys)}"
            )
    rows = []
    for (group, label), row in zip(labels, row_keys, strict=True):
        cells = []
        for heads, column in zip(layout.columns, column_keys, strict=True):
            fit = places.get((row, column), [])
            if len(fit) != 1:
                raise ValueError(
                    f"{paper} table {layout.table}, row {label!r}, column {' '.join(heads)!r}: "
                    f"{len(fit)} values fit; there must be exactly one"
                )
            cells.append(Cell(group, label, heads, fit[0], ""))
        rows.append(cells)
    return Grid(layout, _marked(layout, rows))


def plain(values: Sequence[Value]) -> Layout:
    """The layout of a table that nobody described: tasks are rows, models columns, no marks."""
    tasks = list(dict.fromkeys((v.task, v.metric) for v in values))
    models = dict.fromkeys((v.model, v.params, v.regime) for v in values)
    by_metric = len(dict(tasks)) < len(tasks)
    return Layout(
        table=values[0].table,
        corner="metric" if by_metric else "task",
        rows={"": [metric if by_metric else task for task, metric in tasks]},
        blocks=[[(model,) for model, *_ in models]],
        row_by=("task", "metric"),
        remarks=(f"Regime: {', '.join(dict.fromkeys(v.regime for v in values))}.",),
    )


def _fields(value: Value) -> dict[str, str]:
    """Fields as text; those in `variant` also by their own names."""
    parts = (item.partition("=") for item in value.variant.split(","))
    return {k: str(v) for k, v in asdict(value).items()} | {name: x for name, _, x in parts if x}


def _key(fields: Mapping[str, str], names: Sequence[str]) -> Key:
    return tuple(fields[name] for name in names)


def _marked(layout: Layout, rows: Sequence[list[Cell]]) -> list[list[Cell]]:
    """The same rows with their best, or best and second, marked as the layout says."""
    by_rule: dict[Rule, tuple[Mark, ...]] = {
        "none": (), "best": ("best",), "best and second": ("best", "second"),
    }  # fmt: skip
    marks, out = by_rule[layout.rule], []
    by_group = layout.along == "group"
    for _, together in groupby(enumerate(rows), lambda r: r[1][0].group if by_group else r[0]):
        members = [row for _, row in together]
        means = {cell.value.mean for row in members for cell in row}
        mark_of = dict(zip(sorted(means, reverse=True), marks, strict=False))
        out += [[c._replace(mark=mark_of.get(c.value.mean, "")) for c in row] for row in members]
    return out
