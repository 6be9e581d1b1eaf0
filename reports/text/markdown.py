"""Evidence to Markdown: what stands in a README, an issue or a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dnabench.reports.evidence import Evidence
from dnabench.reports.table import Cell, Table
from dnabench.reports.text.captions import (
    about_column,
    caption,
    failures,
    protocol_words,
    recipes,
    title,
    words,
)
from dnabench.reports.text.findings import (
    TOP_WORDS,
    Grid,
    best_grid,
    comparison_grid,
    comparison_words,
    matrix_grid,
    pair_grid,
    suite_words,
    top_grid,
)
from dnabench.reports.text.summary import summary_sentences

NOTHING = "No records: nothing has been run yet."
_SPECIAL = re.compile(  # where Markdown would not read the letter as itself
    r"[\\|*`]|<(?=[\w/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)|\[(?=[^\]]*\]\()"
)


def markdown(evidence: Sequence[Evidence]) -> str:
    """A section a table: scores, then what was tested, then how the models were trained."""
    out = []
    for e in evidence:
        table = e.table
        out += [f"## {escaped(title(table))}", *watermark(table), _scores(table)]
        out += [escaped(" ".join(caption(table)))]
        out += _tests(e)
        for title_, heads, rows, says in e.sections:
            out += [f"### {escaped(title_)}", grid((heads, rows)), escaped(says)]
        lines = [f"- {escaped(f'{who}, {of}: {numbers}')}" for who, of, numbers in recipes(table)]
        out += ["### Recipes", "\n".join(lines)]
        if e.remarks:
            out += ["### Look at these", "\n".join(f"- {escaped(text)}" for text in e.remarks)]
        if table.failures:
            out += ["### Failed", "\n".join(f"- {escaped(line)}" for line in failures(table))]
    return "\n\n".join(out or [NOTHING]) + "\n"


def comparisons(evidence: Evidence) -> str:
    """The tests of chosen pairs under one protocol, for `dnabench compare`."""
    table = evidence.table
    out = [f"## {escaped(title(table))}", *watermark(table), grid(comparison_grid(evidence))]
    said = [protocol_words(table), *comparison_words(table, evidence.comparisons)]
    out += [escaped(" ".join(said))]
    for suite in evidence.suites:
        if suite.pairs:
            out += [f"### Over the tasks of {escaped(suite.suite)}"]
            out += [grid(pair_grid(table, suite)), escaped(suite_words(suite))]
    return "\n\n".join(out)


def _scores(table: Table) -> str:
    heads = ["task", "metric", *(escaped(f"{c.name} ({about_column(c)})") for c in table.columns)]
    rows = []
    for family, members in table.families.items():
        headed = [[f"*{escaped(family or 'other')}*", *[""] * (len(heads) - 1)]]
        rows += headed * any(table.families)
        for row in members:
            cells = [
                _cell(cell, table, i in row.best, i in row.second)
                for i, cell in enumerate(row.cells)
            ]
            rows.append([escaped(row.name), escaped(row.label), *cells])
    return _pipes(heads, rows)


def _tests(e: Evidence) -> list[str]:
    if not e.comparisons:
        return []
    out = ["### In words", "\n".join(f"- {escaped(text)}" for text in summary_sentences(e))]
    out += ["### Against the best of each task", grid(best_grid(e))]
    out += [escaped(" ".join(comparison_words(e.table, e.comparisons)))]
    if len(e.table.columns) > 2:
        out += ["### Best on each task", grid(top_grid(e)), escaped(TOP_WORDS)]
    for suite in e.suites:
        out += [f"### Over the tasks of {escaped(suite.suite)}"]
        out += [grid(matrix_grid(e.table, suite)), grid(pair_grid(e.table, suite))]
        out += [escaped(suite_words(suite))]
    return out


def _cell(cell: Cell, table: Table, best: bool, second: bool) -> str:
    mean, sd, remarks = words(cell, table)
    number = f"{mean} {sd}".strip()
    if best or second:
        number = f"**{number}**" if best else f"<u>{number}</u>"
    return f"{number} ({remarks})" if number and remarks else number or remarks


def watermark(table: Table) -> list[str]:
    """The warning over a table, if there is one."""
    return [f"> **{escaped(table.watermark)}**"] if table.watermark else []


def grid(grid: Grid) -> str:
    """A table of text."""
    heads, rows = grid
    return _pipes([escaped(h) for h in heads], [[escaped(x) for x in row] for row in rows])


def _pipes(heads: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    return tabulate(rows, heads, tablefmt="pipe", disable_numparse=True)


def escaped(text: str) -> str:
    """Any text as itself, on one line of a table."""
    return " ".join(_SPECIAL.sub(r"\\\g<0>", text).split())
