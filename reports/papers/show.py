"""Published tables as text: Markdown, CSV, LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from dnabench.reports.papers import notes
from dnabench.reports.papers.grid import Cell, Column, Grid, fill, plain
from dnabench.reports.papers.layouts import LAYOUTS, PAPER
from dnabench.reports.papers.published import About, facts, named, values
from dnabench.reports.text.latex_letters import escaped

_MD_SPECIAL = re.compile(r"[\\|*`<]|(?<!\w)_|_(?!\w)")
_CSV = (
    "source", "table", "group", "row", "column", "suite", "task", "metric", "model", "params",
    "regime", "variant", "seed", "value", "spread", "spread_is", "n", "selection", "unit",
    "printed_mark", "mark", "note",
)  # fmt: skip
TALL = 35  # lines; longer tables need a smaller size to fit on a page


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
        raise ValueError(f"no format {fmt!r} for a published table; there are {', '.join(FORMATS)}")
    about = named(name)
    return FORMATS[fmt](about, grid_of(about))


def grid_of(about: About) -> Grid | None:
    """The table in its layout, tasks x models where none is known; None for one without scores."""
    if about.paper == PAPER and about.table in LAYOUTS:
        return fill(about.paper, LAYOUTS[about.table])
    found = values(about.paper, about.table)
    return fill(about.paper, plain(found)) if found else None


def _facts(about: About) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table without scores."""
    rows = facts(about.paper, about.table)
    heads = [h for h in rows[0] if h not in ("source", "table")]
    return heads, [[row[h] for h in heads] for row in rows]


def _markdown(about: About, grid: Grid | None) -> str:
    if grid is None:
        heads, rows = _facts(about)
        body = [_pipes([_md(h) for h in heads], [[_md(x) for x in row] for row in rows])]
    else:
        body = [_pipes(*_md_block(grid, block)) for block in _blocks(grid)]
    title = f"## {_md(f'{about.name}: {about.title}')}"
    return "\n\n".join([title, *body, _md(" ".join(_notes(about, grid)))]) + "\n"


def _notes(about: About, grid: Grid | None) -> list[str]:
    return notes.of_grid(about, grid) if grid else notes.of_facts(about)


def _blocks(grid: Grid) -> list[range]:
    """Places of the columns of each block."""
    out, start = [], 0
    for block in grid.layout.blocks:
        out.append(range(start, start + len(block)))
        start += len(block)
    return out


def _md_block(grid: Grid, block: range) -> tuple[list[str], list[list[str]]]:
    heads = [_md(grid.layout.corner), *(_md(grid.layout.columns[j].label) for j in block)]
    rows = []
    for group, members in groupby(grid.rows, key=lambda row: row[0].line.group):
        rows += [[f"*{_md(group)}*", *[""] * len(block)]] * bool(group)
        rows += [[_md(row[0].line.label), *(_md_cell(row[j]) for j in block)] for row in members]
    return heads, rows


def _md_cell(cell: Cell) -> str:
    mean = {"best": f"**{cell.mean}**", "second": f"<u>{cell.mean}</u>"}.get(cell.mark, cell.mean)
    return f"{mean} ± {cell.spread}" if cell.spread else mean


def _pipes(heads: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


def _md(text: str) -> str:
    return _MD_SPECIAL.sub(r"\\\g<0>", text)


def _csv_text(about: About, grid: Grid | None) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if grid is None:
        heads, rows = _facts(about)
        writer.writerows([heads, *rows])
    else:
        writer.writerow(_CSV)
        writer.writerows([_csv_row(cell)[name] for name in _CSV] for cell in grid.cells)
    return out.getvalue()


def _csv_row(cell: Cell) -> dict[str, str]:
    one_run = dict.fromkeys(_CSV, "") | {"n": "1"}
    known = {k: "" if v is None else str(v) for k, v in asdict(cell.value).items()}
    return one_run | known | {
        "group": cell.line.group, "row": cell.line.label, "column": cell.column.label,
        "value": cell.mean, "spread": cell.spread, "printed_mark": cell.value.mark,
        "mark": cell.mark,
    }  # fmt: skip


def _latex(about: About, grid: Grid | None) -> str:
    height = len(grid.rows) * len(grid.layout.blocks) if grid else 0
    size = r"\scriptsize" if height > TALL else r"\small"
    out = [r"% \usepackage{booktabs,graphicx}", r"\begin{table}[htbp]", rf"\centering{size}"]
    out += [rf"\caption{{{escaped(' '.join([about.title + '.', *_notes(about, grid)]))}}}"]
    if grid is None:
        heads, rows = _facts(about)
        top, *body = [_tex_row([escaped(x) for x in row]) for row in (heads, *rows)]
        out += _tabular("l" * len(heads), [top, r"\midrule", *body])
    else:
        for block in _blocks(grid):
            out += _tabular("l" + "c" * len(block), _tex_block(grid, block))
    return "\n".join([*out, r"\end{table}"]) + "\n"


def _tabular(shape: str, body: list[str]) -> list[str]:
    fitted = r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    return [
        fitted, rf"\begin{{tabular}}{{{shape}}}", r"\toprule", *body, r"\bottomrule",
        r"\end{tabular}}\par",
    ]  # fmt: skip


def _tex_block(grid: Grid, block: range) -> list[str]:
    columns = [grid.layout.columns[j] for j in block]
    out = [*_tex_heads(grid.layout.corner, columns), r"\midrule"]
    for group, members in groupby(grid.rows, key=lambda row: row[0].line.group):
        out += [_tex_row([rf"\textit{{{escaped(group)}}}", *[""] * len(block)])] * bool(group)
        for row in members:
            out += [_tex_row([escaped(row[0].line.label), *(_tex_cell(row[j]) for j in block)])]
    return out


def _tex_heads(corner: str, columns: Sequence[Column]) -> list[str]:
    """A line a level; heads that are equal on this level and all above it span their columns."""
    depth, out = len(columns[0].heads), []
    for level in range(depth):
        spans = [(k[-1], len(list(same)))
                 for k, same in groupby(c.heads[: level + 1] for c in columns)]  # fmt: skip
        cells = [rf"\multicolumn{{{n}}}{{c}}{{{escaped(head)}}}" if n > 1 else escaped(head)
                 for head, n in spans]  # fmt: skip
        out.append(_tex_row([escaped(corner) if level == depth - 1 else "", *cells]))
    return out


def _tex_cell(cell: Cell) -> str:
    ink = {"best": r"\textbf", "second": r"\underline"}.get(cell.mark, "")
    mean = f"{ink}{{{cell.mean}}}" if ink else cell.mean
    return rf"{mean} $\pm$ {cell.spread}" if cell.spread else mean


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


FORMATS: Mapping[str, Callable[[About, Grid | None], str]] = {
    "md": _markdown,
    "csv": _csv_text,
    "latex": _latex,
}
