"""Notes under a published table: source, unit, ±, n, how runs were chosen, what is marked."""

from collections.abc import Iterable, Sequence

from dnabench.reports.papers.grid import Cell, Grid
from dnabench.reports.papers.published import About

MARKS = {
    "best and second": "Best of each {where} in bold, second underlined",
    "best": "Best of each {where} in bold",
}
FOUND = "found here from the printed means, equal means sharing their place"
MOST = 6  # labels that are worth listing


def under(about: About, grid: Grid | None) -> str:
    """Sentences under a table; without scores only its source."""
    at = f"Table {about.table}" if about.table.isdigit() else about.table.replace(":", " ")
    source = f"Source: {about.source}, {at}"
    if grid is None:
        return f"{source}."
    cells, layout = grid.cells, grid.layout
    unit = "fractions of 1" if about.unit == "fraction" else about.unit
    where = "group of rows" if layout.along == "group" else "row"
    marks = MARKS.get(layout.rule, "").format(where=where)
    selection = ((c.column, part) for c in cells for part in c.value.selection.split("; "))
    sentences = [
        f"{source}: {len(cells)} values, in {unit}. Metric: {_metrics(grid)}.",
        *_spread_and_n(cells, about),
        f"Selection: {_merged(selection)}.",
        f"{marks}: {FOUND}." if marks else "Nothing is marked.",
        *layout.remarks,
    ]
    return " ".join(sentences)


def _spread_and_n(cells: Sequence[Cell], about: About) -> list[str]:
    if cells[0].value.seed is not None:
        return ["Every value is one run, so there is no ±."]
    kinds = [(c.column, c.value.spread_is) for c in cells if c.value.spread_is]
    n = _merged((c.column, str(c.value.n or "unknown")) for c in cells)
    spread = f"± is {_merged(kinds)}: {about.spread_from}." if kinds else "No ± is printed."
    return [spread, f"n (seeds): {n} ({about.n_from})."]


def _metrics(grid: Grid) -> str:
    """By column where a row has several; rows that are models go by their group, the task."""
    models = "model" in grid.layout.row_by
    by_row = [(c.group if models else c.row, c) for c in grid.cells]
    several = len({(label, c.value.metric) for label, c in by_row}) > len(dict(by_row))
    return _merged((c.column if several else label, c.value.metric) for label, c in by_row)


def _merged(pairs: Iterable[tuple[str, str]]) -> str:
    """Join statements, from (label, statement).

    Each has its labels in brackets unless it holds for all; the one with most labels comes last.
    """
    labels: dict[str, list[str]] = {}
    for label, statement in dict.fromkeys(pairs):
        labels.setdefault(statement, []).append(label)
    everyone = {label for some in labels.values() for label in some}
    partial = {s: some for s, some in labels.items() if len(some) < len(everyone)}
    out = [s for s in labels if s not in partial]
    if not out and len(labels) == 1:
        return next(iter(labels))
    most = max(partial, key=lambda s: len(partial[s])) if len(partial) > 1 else ""
    for statement in sorted(partial, key=lambda s: s == most):
        mine = partial[statement]
        names = "all others" if statement == most and len(mine) > MOST else ", ".join(mine)
        out.append(statement if mine == [statement] else f"{statement} ({names})")
    return "; ".join(out)
