"""What stands under a published table: source, unit, ±, n, how runs were chosen, whose marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dnabench.reports.papers.grid import Cell, Grid
from dnabench.reports.papers.published import About, SeedValue, Value

MARKS = {
    "best and second": "Best of each {where} in bold, second underlined",
    "best": "Best of each {where} in bold",
}
OURS = "found here from the printed means, equal means sharing their place"
UNMARKED = "Nothing is marked."
MOST = 6  # labels that are worth listing
Pairs = Iterable[tuple[str, str]]  # label, statement


def of_grid(about: About, grid: Grid) -> list[str]:
    """Sentences under a table in paper layout."""
    cells, layout = grid.cells, grid.layout
    where = {"row": "row", "group": "group of rows"}[layout.along]
    marks = MARKS.get(layout.rule, "").format(where=where)

    def columns(said: Callable[[Value | SeedValue], str]) -> Pairs:
        return ((c.column.label, said(c.value)) for c in cells)

    metrics = _metrics(cells)
    return [
        _first(about, len(cells), metrics),
        *_how([c.value for c in cells], about, columns),
        f"{marks}: {OURS}." if marks else UNMARKED,
        *layout.remarks,
    ]


def of_facts(about: About) -> list[str]:
    """Sentences under a table without scores."""
    return [f"Source: {_place(about)}."]


def _place(about: About) -> str:
    at = f"Table {about.table}" if about.table.isdigit() else about.table.replace(":", " ")
    return f"{about.source}, {at}"


def _first(about: About, count: int, metrics: str) -> str:
    unit = {"fraction": "fractions of 1"}.get(about.unit, about.unit)
    return f"Source: {_place(about)}: {count} values, in {unit}. Metric: {metrics}."


def _how(
    values: Sequence[Value | SeedValue],
    about: About,
    pairs: Callable[[Callable[[Value | SeedValue], str]], Pairs],
) -> list[str]:
    if isinstance(values[0], SeedValue):
        said = ["Every value is one run, so there is no ±."]
    else:
        said = [_spread(about, pairs), f"n (seeds): {_shared(pairs(_n))} ({about.n_from})."]
    parts = [(where, one) for where, text in pairs(_selection) for one in text.split("; ")]
    return [*said, f"Selection: {_shared(parts)}."]


def _spread(about: About, pairs: Callable[[Callable[[Value | SeedValue], str]], Pairs]) -> str:
    kinds = [(where, kind) for where, kind in pairs(_spread_is) if kind]
    return f"± is {_shared(kinds)}: {about.spread_from}." if kinds else "No ± is printed."


def _spread_is(value: Value | SeedValue) -> str:
    return value.spread_is if isinstance(value, Value) else ""


def _n(value: Value | SeedValue) -> str:
    return str(value.n or "unknown") if isinstance(value, Value) else "1"


def _selection(value: Value | SeedValue) -> str:
    return value.selection


def _metrics(cells: Sequence[Cell]) -> str:
    """By column where a row has several; lines that are models stand for their group, the task."""
    by_row = [(c.line.group if "model" in c.line.fields else c.line.label, c) for c in cells]
    several = len({(label, c.value.metric) for label, c in by_row}) > len(dict(by_row))
    return _shared((c.column.label if several else label, c.value.metric) for label, c in by_row)


def _shared(pairs: Pairs) -> str:
    """Statements, each with its labels unless it holds for all; that of most labels is last."""
    labels: dict[str, None] = {}
    by_statement: dict[str, dict[str, None]] = {}
    for label, statement in pairs:
        labels[label] = None
        by_statement.setdefault(statement, {})[label] = None
    if len(by_statement) == 1:
        return next(iter(by_statement))
    out = [s for s, mine in by_statement.items() if len(mine) == len(labels)]
    some = {s: mine for s, mine in by_statement.items() if len(mine) < len(labels)}
    most = max(some, key=lambda s: len(some[s])) if len(some) > 1 else ""
    for statement in sorted(some, key=lambda s: s == most):
        mine = list(some[statement])
        who = "all others" if statement == most and len(mine) > MOST else ", ".join(mine)
        out.append(statement if mine == [statement] else f"{statement} ({who})")
    return "; ".join(out)
