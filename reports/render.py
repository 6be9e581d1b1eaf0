"""Tables to text: Markdown, CSV, LaTeX, HTML. What it says is in words.py; here is the ink."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from typing import Any

from dnabench.reports.table import Cell, Column, Table, compared, grouped, tables
from dnabench.reports.words import (
    Grid,
    about_column,
    best_grid,
    caption,
    duel_grid,
    failures,
    protocol_words,
    provenance,
    recipes,
    title,
    welch_words,
    words,
)
from dnabench.types import Record

NOTHING = "No records: nothing has been run yet."
_MD_SPECIAL = re.compile(  # where Markdown would not read the letter as itself
    r"[\\|*`]|<(?=[\w/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\]\()"
)
_TEX = {c: "\\" + c for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # would be an argument of the \\ before them
    "±": r"$\pm$", "†": r"$\dagger$", "–": "--",
}  # fmt: skip
_CSV = (
    "protocol", "limit", "task", "data", "family", "metric", "model", "options", "regime", "recipe",
    "n_params", "n", "mean", "sd", "min", "max", "failed", "undefined", "collapsed", "scores",
    "watermark",
)  # fmt: skip


def render(tables: Sequence[Table], fmt: str) -> str:
    """Write tables as text.

    Args:
        tables: as `dnabench.reports.table.tables` gives them; none is fine.
        fmt: a key of FORMATS. CSV has a line a cell and full precision; LaTeX needs array,
            booktabs, graphicx and longtable; HTML needs no other file.

    Raises:
        ValueError: no such format.
    """
    if fmt not in FORMATS:
        raise ValueError(f"no format {fmt!r}; there are {', '.join(FORMATS)}")
    return FORMATS[fmt](tables)


def compare_text(records: Iterable[Record], a: str, b: str) -> str:
    """Compare two models over all tasks they share, in Markdown.

    Args:
        records: of any protocols and limits; each gets its own section and its own Holm family.
        a: a model, meaning all its configurations, or a column as tables name it.
        b: likewise.

    Raises:
        KeyError: when no record is of `a` or `b`; the message has the names there are.
    """
    sections = tables(records)
    for name in (a, b):
        if not any(_named(t, name) for t in sections):
            known = {n: None for t in sections for c in t.columns for n in (c.model, c.name)}
            raise KeyError(f"no records of {name!r}; there are {', '.join(known) or 'none at all'}")
    out = [f"# {_md(a)} against {_md(b)}"]
    for table in sections:
        at = table.columns.index
        both = _named(table, a), _named(table, b)
        duels = combinations(both[0], 2) if both[0] == both[1] else product(*both)
        pairs = [(at(x), at(y)) for x, y in duels if x != y]
        triples = [
            (row, i, j)
            for i, j in pairs
            for row in table.rows
            if row.cells[i].scores and row.cells[j].scores
        ]
        if results := compared(triples, table.columns):
            out += [f"## {_md(title(table))}", *_md_watermark(table), _md_grid(duel_grid(results))]
            out += [_md(" ".join([protocol_words(table), welch_words(table, results)]))]
    if len(out) == 1:
        out += ["They share no task with scores under one protocol, limit and state of the data."]
    return "\n\n".join(out) + "\n"


def _named(table: Table, name: str) -> list[Column]:
    exact = [c for c in table.columns if c.name == name]
    return exact or [c for c in table.columns if name in (c.model, c.label)]


def _markdown(tables: Sequence[Table]) -> str:
    out = []
    for t in tables:
        heads = ["task", "metric", *(_md(f"{c.name} ({about_column(c)})") for c in t.columns)]
        rows = []
        for family, members in t.families.items():
            rows += [[f"*{_md(family or 'other')}*", *[""] * (len(heads) - 1)]] * _titled(t)
            for row in members:
                cells = [_md_cell(cell, t, i in row.best, i in row.second)
                         for i, cell in enumerate(row.cells)]  # fmt: skip
                rows.append([_md(row.name), _md(row.label), *cells])
        out += [f"## {_md(title(t))}", *_md_watermark(t), _pipes(heads, rows)]
        out += [_md(" ".join(caption(t)))]
        if t.against_best:
            out += ["### Against the best of each task", _md_grid(best_grid(t))]
        lines = [f"- {_md(f'{who}, {suites}: {numbers}')}" for who, suites, numbers in recipes(t)]
        out += ["### Recipes", "\n".join(lines)]
        if t.failures:
            out += ["### Failed", "\n".join(f"- {_md(line)}" for line in failures(t))]
    return "\n\n".join(out or [NOTHING]) + "\n"


def _titled(table: Table) -> bool:
    return any(table.families)


def _md_cell(cell: Cell, table: Table, best: bool, second: bool) -> str:
    mean, sd, remarks = words(cell, table)
    number = f"{mean} {sd}".strip()
    if best or second:
        number = f"**{number}**" if best else f"<u>{number}</u>"
    return f"{number} ({remarks})" if number and remarks else number or remarks


def _md_watermark(table: Table) -> list[str]:
    return [f"> **{_md(table.watermark)}**"] if table.watermark else []


def _md_grid(grid: Grid) -> str:
    heads, rows = grid
    return _pipes([_md(h) for h in heads], [[_md(x) for x in row] for row in rows])


def _pipes(heads: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


def _md(text: str) -> str:
    """Any text as itself, on one line of a table."""
    return " ".join(_MD_SPECIAL.sub(r"\\\g<0>", text).split())


def _csv_text(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV)
    for t in tables:
        for row, (i, column) in product(t.rows, enumerate(t.columns)):
            cell = row.cells[i]
            recipe = column.recipes.get(row.task.partition("/")[0])
            where = [t.protocol, f"{t.limit:g}", row.task, row.data, row.family, row.metric]
            options, params = _json(column.options), dict.fromkeys(column.n_params)
            who = [column.model, options, column.regime, _json(asdict(recipe)) if recipe else ""]
            size = "-".join(str(n) for n in params if n)
            numbers = ["" if math.isnan(x) else repr(x) for x in cell.summary[1:5]]
            lost = [cell.failed, cell.undefined, cell.collapsed]
            scores = " ".join(f"{seed}:{x!r}" for seed, x in cell.scores.items())
            row_out = [*where, *who, size, len(cell.scores), *numbers, *lost, scores, t.watermark]
            writer.writerow(row_out)
    return out.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _latex(tables: Sequence[Table]) -> str:
    out = [r"% \usepackage{array,booktabs,graphicx,longtable}"]
    for t in tables:
        marked = [rf"\textbf{{{_tex(t.watermark)}}}\par\medskip"] if t.watermark else []
        out += [r"\begin{table}[htbp]", r"\centering\small", *marked]
        out += [rf"\caption{{{_tex(title(t) + '. ' + ' '.join(caption(t)))}}}"]
        # as wide as the text at most
        out += [r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
        out += [rf"\begin{{tabular}}{{ll{'c' * len(t.columns)}}}", r"\toprule"]
        out += [_tex_row(["task", "metric", *(_tex(c.name) for c in t.columns)])]
        out += [_tex_row(["", "", *(_tex(about_column(c)) for c in t.columns)]), r"\midrule"]
        out += _tex_body(t)
        out += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
        out += _tex_tests(t) if t.against_best else []
    return "\n".join(out if tables else [f"% {NOTHING}"]) + "\n"


def _tex_body(table: Table) -> list[str]:
    out = []
    for k, (family, members) in enumerate(table.families.items()):
        if _titled(table):
            heading = rf"\textit{{{_tex(family or 'other')}}}"
            out += [r"\addlinespace"] * (k > 0)
            out += [_tex_row([heading, *[""] * (len(table.columns) + 1)])]
        for row in members:
            cells = []
            for i, cell in enumerate(row.cells):
                mean, sd, remarks = words(cell, table)
                number = _tex(f"{mean} {sd}".strip())
                if i in row.best:
                    number = rf"\textbf{{{number}}}"
                elif i in row.second:
                    number = rf"\underline{{{number}}}"
                note = f"({remarks})" if mean and remarks else remarks
                cells.append(f"{number} {_tex(note)}".strip())
            out += [_tex_row([_tex(row.name), _tex(row.label), *cells])]
    return out


def _tex_tests(table: Table) -> list[str]:
    """A page-breaking table; task and best, which repeat, are a line over their models."""
    heads, rows = best_grid(table)
    what = f"{title(table)}. Each model against the best of each task. {table.watermark} "
    out = [r"{\scriptsize\setlength{\tabcolsep}{2pt}"]
    out += [r"\begin{longtable}{lrrrrrrr>{\raggedright\arraybackslash}p{1.9cm}}"]
    out += [rf"\caption{{{_tex(what + welch_words(table, table.against_best))}}}\\", r"\toprule"]
    top = [_tex_row([_tex(heads[1]), *map(_tex, heads[3:])]), r"\midrule"]
    out += [*top, r"\endfirsthead", r"\toprule", *top, r"\endhead"]
    for (task, best), lines in grouped(rows, lambda row: (row[0], row[2])).items():
        out += [rf"\multicolumn{{9}}{{l}}{{\textit{{{_tex(task)}}}, best {_tex(best)}}} \\*"]
        out += [_tex_row([_tex(line[1]), *map(_tex, line[3:])]) for line in lines]
    return [*out, r"\bottomrule", r"\end{longtable}}"]


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in " ".join(text.split()))


def _tex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _html(tables: Sequence[Table]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from dnabench.reports.figures.strips import strips

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tools = [title, caption, words, about_column, failures, provenance, recipes, best_grid, _titled]
    environment.globals.update({f.__name__.lstrip("_"): f for f in tools})
    page = environment.get_template("page.html")
    figures = [Markup(strips(t)) for t in tables]  # ours, its text is escaped
    return page.render(tables=tables, figures=figures, nothing=NOTHING)


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "md": _markdown,
    "csv": _csv_text,
    "latex": _latex,
    "html": _html,
}
