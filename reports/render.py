"""A report as text or a file, in the requested format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product

from dnabench.reports.analysis import KEEP_NOTHING, analyze
from dnabench.reports.evidence import Report
from dnabench.reports.memo import Memo
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import tables
from dnabench.reports.text.html import page
from dnabench.reports.text.latex import latex
from dnabench.reports.text.markdown import comparisons, markdown
from dnabench.reports.text.markdown_grid import escaped
from dnabench.reports.tidy import csv_text, parquet
from dnabench.types import Record

FORMATS: dict[str, Callable[[Report], str]] = {
    "md": lambda report: markdown(report.evidence),
    "csv": lambda report: csv_text(report.evidence),
    "latex": lambda report: latex(report.evidence),
    "html": page,
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
        resampler: as `analyze` takes it.
        memo: as `analyze` takes it.

    Raises:
        KeyError: when no record is of `a` or `b`; the message lists the names.
    """
    sections = tables(records)
    for name in (a, b):
        if not any(t.matching(name) for t in sections):
            known = dict.fromkeys(n for t in sections for c in t.columns for n in (c.model, c.name))
            raise KeyError(f"no records of {name!r}; there are {', '.join(known) or 'none at all'}")
    out = [f"# {escaped(a)} vs {escaped(b)}"]
    for table in sections:
        both = table.matching(a), table.matching(b)
        chosen = combinations(both[0], 2) if both[0] == both[1] else product(*both)
        found = analyze(table, resampler, [(x, y) for x, y in chosen if x != y], memo)
        out += [comparisons(found)] if found.comparisons else []
    if len(out) == 1:
        out += ["They share no task with scores under the same protocol, limit and data version."]
    return "\n\n".join(out) + "\n"
