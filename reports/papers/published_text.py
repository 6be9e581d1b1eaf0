"""Published tables as text: Markdown, CSV, LaTeX."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import NamedTuple

from dnabench.reports.papers.grid import Cell, Grid, Heads, fill, plain
from dnabench.reports.papers.layouts import LAYOUTS, PAPER
from dnabench.reports.papers.notes import under
from dnabench.reports.papers.published import About, facts, named, values
from dnabench.reports.text import latex_letters, markdown_grid
from dnabench.spreadsheets import as_text

_CSV = (
    "source", "table", "group", "row", "column", "suite", "task", "metric", "model", "params",
    "regime", "variant", "seed", "value", "spread", "spread_is", "n", "selection", "unit",
    "printed_mark", "mark", "note",
)  # fmt: skip
TALL = 35  # lines; longer tables need a smaller size to fit on a page


class Style(NamedTuple):
    """How a text format writes a cell."""

    escaped: Callable[[str], str]
    group: str
    marks: Mapping[str, str]
    plus_minus: str


# corner, heads, formatted rows; a table has several when its columns do not fit side by side
Part = tuple[str, Sequence[Heads], list[list[str]]]
MARKDOWN = Style(
    markdown_grid.escaped, "*{}*", {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}, " ± "
)
LATEX = Style(
    latex_letters.escaped,
    r"\textit{{{}}}",
    {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"},
    r" $\pm$ ",
)


def show(name: str, fmt: str = "md") -> str:
    """Write a published table as text.

    Args:
        name: "convnova/table1".
        fmt: a key of FORMATS. Markdown and LaTeX have the layout of the paper where it is known,
            else tasks x models; CSV has a line a value. LaTeX needs booktabs and graphicx.

    Raises:
        KeyError: no such table; the message has the nearest names.
        ValueError: no such format.
    """
    if fmt not in FORMATS:
        raise ValueError(
            f"no format {fmt!r} for a published table; choose from {', '.join(FORMATS)}"
        )
    about = named(name)
    return FORMATS[fmt](about, grid_of(about))


def grid_of(about: About) -> Grid | None:
    """The table in its layout, tasks x models where none is known; None for one without scores."""
    if about.paper == PAPER and about.table in LAYOUTS:
        return fill(about.paper, LAYOUTS[about.table])
    found = values(about.paper, about.table)
    return fill(about.paper, plain(found)) if found else None


def _facts(about: About) -> list[list[str]]:
    """Heads and rows of a table without scores."""
    rows = facts(about.paper, about.table)
    heads = [h for h in rows[0] if h not in ("source", "table")]
    return [heads, *([row[h] for h in heads] for row in rows)]


def _parts(about: About, grid: Grid | None, style: Style) -> list[Part]:
    if grid is None:
        (corner, *heads), *rows = _facts(about)
        return [(corner, [(h,) for h in heads], [list(map(style.escaped, r)) for r in rows])]
    out: list[Part] = []
    start = 0
    for block in grid.layout.blocks:
        rows = []
        for group, members in groupby(grid.rows, key=lambda row: row[0].group):
            if group:
                rows.append([style.group.format(style.escaped(group)), *[""] * len(block)])
            for row in members:
                cells = (_cell(c, style) for c in row[start : start + len(block)])
                rows.append([style.escaped(row[0].row), *cells])
        out.append((grid.layout.corner, block, rows))
        start += len(block)
    return out


def _cell(cell: Cell, style: Style) -> str:
    mean, spread = cell.printed
    mean = style.marks[cell.mark].format(mean)
    return f"{mean}{style.plus_minus}{spread}" if spread else mean


def _markdown(about: About, grid: Grid | None) -> str:
    out = [f"## {markdown_grid.escaped(f'{about.name}: {about.title}')}"]
    for corner, columns, rows in _parts(about, grid, MARKDOWN):
        heads = [corner, *(" ".join(filter(None, c)) for c in columns)]
        out.append(markdown_grid.pipes(map(markdown_grid.escaped, heads), rows))
    return "\n\n".join([*out, markdown_grid.escaped(under(about, grid))]) + "\n"


def _csv_text(about: About, grid: Grid | None) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = _facts(about) if grid is None else [_CSV, *map(_csv_row, grid.cells)]
    writer.writerows([*map(as_text, line)] for line in lines)
    return out.getvalue()


def _csv_row(cell: Cell) -> list[str]:
    mean, spread = cell.printed
    known = asdict(cell.value) | {
        "group": cell.group, "row": cell.row, "column": cell.column, "value": mean,
        "spread": spread, "printed_mark": cell.value.mark, "mark": cell.mark,
    }  # fmt: skip
    return ["" if known[name] is None else str(known[name]) for name in _CSV]


def _latex(about: About, grid: Grid | None) -> str:
    height = len(grid.rows) * len(grid.layout.blocks) if grid else 0
    size = r"\scriptsize" if height > TALL else r"\small"
    caption = latex_letters.escaped(f"{about.title}. {under(about, grid)}")
    out = [r"% \usepackage{booktabs,graphicx}", r"\begin{table}[htbp]", rf"\centering{size}"]
    out += [rf"\caption{{{caption}}}"]
    for corner, columns, rows in _parts(about, grid, LATEX):
        shape = "l" + ("c" if grid else "l") * len(columns)
        out += [r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
        out += [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", *_tex_heads(corner, columns)]
        out += [r"\midrule", *map(_tex_row, rows)]
        out += [r"\bottomrule", r"\end{tabular}}\par"]
    return "\n".join([*out, r"\end{table}"]) + "\n"


def _tex_heads(corner: str, columns: Sequence[Heads]) -> list[str]:
    """A line a level; heads that are equal on this level and all above it span their columns."""
    depth, out = len(columns[0]), []
    for level in range(depth):
        cells = [latex_letters.escaped(corner) if level == depth - 1 else ""]
        for heads, same in groupby(columns, key=lambda c: c[: level + 1]):
            head, n = latex_letters.escaped(heads[-1]), len(list(same))
            cells.append(rf"\multicolumn{{{n}}}{{c}}{{{head}}}" if n > 1 else head)
        out.append(_tex_row(cells))
    return out


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


FORMATS: Mapping[str, Callable[[About, Grid | None], str]] = {
    "md": _markdown,
    "csv": _csv_text,
    "latex": _latex,
}
