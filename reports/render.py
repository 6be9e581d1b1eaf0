"""Evidence to a text or a file, in the format that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product

from dnabench.reports.analysis import KEEP_NOTHING, analyze
from dnabench.reports.evidence import Report
from dnabench.reports.memo import Memo
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import Column, Table, tables
from dnabench.reports.text.captions import title
from dnabench.reports.text.html import page
from dnabench.reports.text.latex import latex
from dnabench.reports.text.markdown import comparisons, escaped, markdown
from dnabench.reports.tidy import csv_text, parquet
from dnabench.types import Record

FORMATS: dict[str, Callable[[Report], str]] = {
    "md": lambda report: markdown(report.evidence),
    "csv": lambda report: csv_text(report.evidence),
    "latex": lambda report: latex(report.evidence),
    "html": lambda report: _page(report),
}
FILES: dict[str, Callable[[Report], bytes]] = {"parquet": lambda report: parquet(report.evidence)}


def render(report: Report, fmt: str) -> str | bytes:
    """Write a report down.

    Args:
        report: of any number of tables; none is fine.
        fmt: a key of FORMATS, which give text, or of FILES, which give bytes. CSV and Parquet have
            a line a cell and full precision; LaTeX needs array, booktabs, graphicx and longtable;
            HTML needs no other file.

    Raises:
        ValueError: no such format.
    """
    if fmt in FILES:
        return FILES[fmt](report)
    if fmt not in FORMATS:
        raise ValueError(f"no format {fmt!r}; there are {', '.join([*FORMATS, *FILES])}")
    return FORMATS[fmt](report)


def _page(report: Report) -> str:
    several = len(report.evidence) > 1
    sections = [
        s._replace(title=f"{s.title}: {title(e.table)}") if several else s
        for e in report.evidence
        for s in e.sections
    ]
    return page(report.evidence, sections=sections, audits=report.audits, commands=report.commands)


def compare_text(
    records: Iterable[Record],
    a: str,
    b: str,
    resampler: Resampler | None = None,
    memo: Memo = KEEP_NOTHING,
) -> str:
    """Compare two models over all tasks they share, in Markdown.

    Args:
        records: of any protocols and limits; each gets its own section and its own Holm family.
        a: a model, meaning all its configurations, or a column as tables name it.
        b: likewise.
        resampler: as `weigh` takes it.
        memo: as `weigh` takes it.

    Raises:
        KeyError: when no record is of `a` or `b`; the message has the names there are.
    """
    sections = tables(records)
    for name in (a, b):
        if not any(_named(t, name) for t in sections):
            known = {n: None for t in sections for c in t.columns for n in (c.model, c.name)}
            raise KeyError(f"no records of {name!r}; there are {', '.join(known) or 'none at all'}")
    out = [f"# {escaped(a)} against {escaped(b)}"]
    for table in sections:
        at = table.columns.index
        both = _named(table, a), _named(table, b)
        chosen = combinations(both[0], 2) if both[0] == both[1] else product(*both)
        pairs = [(at(x), at(y)) for x, y in chosen if x != y]
        found = analyze(table, resampler, pairs, memo)
        out += [comparisons(found)] if found.comparisons else []
    if len(out) == 1:
        out += ["They share no task with scores under one protocol, limit and state of the data."]
    return "\n\n".join(out) + "\n"


def _named(table: Table, name: str) -> list[Column]:
    exact = [c for c in table.columns if c.name == name]
    return exact or [c for c in table.columns if name in (c.model, c.label)]
