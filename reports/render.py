"""A report as text or a file, in the requested format."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product

from dnabench.reports.analysis import KEEP_NOTHING, analyze
from dnabench.reports.evidence import Report
from dnabench.reports.families import Families, declared_pairs
from dnabench.reports.memo import Memo
from dnabench.reports.resampling import Resampler
from dnabench.reports.shown import check_shown
from dnabench.reports.table import Table, tables
from dnabench.reports.text.html import page
from dnabench.reports.text.latex import latex
from dnabench.reports.text.markdown import comparisons, markdown
from dnabench.reports.text.markdown_grid import escaped
from dnabench.reports.tidy import csv_text, json_text, parquet
from dnabench.types import Record

FORMATS: dict[str, Callable[[Report, bool], str]] = {
    "md": lambda report, _: markdown(report.evidence, report.notes),
    "csv": lambda report, every: csv_text(report.evidence, every),
    "json": lambda report, every: json_text(report.evidence, every),
    "latex": lambda report, _: latex(report.evidence),
    "html": lambda report, _: page(report),
}
FILES: dict[str, Callable[[Report, bool], bytes]] = {
    "parquet": lambda report, every: parquet(report.evidence, every)
}
DATA = ("csv", "json", "parquet")  # those that may hold every metric


def render(report: Report, fmt: str, every: bool = False) -> str | bytes:
    """Write a report down in one of FORMATS, which give text, or of FILES, which give bytes.

    CSV and Parquet have a line a cell and full precision, JSON every test besides; LaTeX needs
    array, booktabs, graphicx and longtable; HTML needs no other file. With `every`, DATA have a
    line for each metric that a cell's records have. ValueError: no such format.
    """
    formats: dict[str, Callable[[Report, bool], str | bytes]] = {**FORMATS, **FILES}
    if fmt not in formats:
        raise ValueError(f"no format {fmt!r}; there are {', '.join(formats)}")
    return formats[fmt](report, every)


def compare_text(
    records: Iterable[Record], a: str, b: str, resampler: Resampler | None = None,
    memo: Memo = KEEP_NOTHING, declared: Sequence[tuple[str, str]] = (), metric: str = "",
) -> str:  # fmt: skip
    """Compare two models over all tasks they share, in Markdown.

    a and b are models, meaning all their configurations, or columns as tables name them. Each
    protocol and limit gets its own section. p is adjusted for every pair of its table, unless the
    pair is one of `declared`. KeyError: no record is of `a` or `b`; the message lists the names.
    ValueError: a `metric` that `check_shown` refuses.
    """
    records = list(records)
    sections = tables(records)
    for name in (a, b):
        if not any(t.matching(name) for t in sections):
            known = dict.fromkeys(n for t in sections for c in t.columns for n in (c.model, c.name))
            raise KeyError(f"no records of {name!r}; there are {', '.join(known) or 'none at all'}")
    if metric:
        check_shown(_of_columns(sections, (a, b)), metric)
        sections = tables(records, metric=metric)
    out = [f"# {escaped(a)} vs {escaped(b)}"]
    for table in sections:
        both = table.matching(a), table.matching(b)
        chosen = combinations(both[0], 2) if both[0] == both[1] else product(*both)
        asked = tuple((x, y) for x, y in chosen if x != y)
        families = Families(asked, declared_pairs(table, declared))
        found = analyze(table, resampler, None, memo, families)
        out += [comparisons(found)] if found.comparisons else []
    if len(out) == 1:
        out += ["They share no task with scores under the same protocol, limit and data version."]
    return "\n\n".join(out) + "\n"


def compared(records: Iterable[Record], a: str, b: str) -> list[Record]:
    """The runs of `a` and `b`, invalid ones too, on the tasks of a table that both have run."""
    found = dict[str, Record]()
    for table in tables(records):
        one, other = table.matching(a), table.matching(b)
        for row in table.rows:
            if all(any(not row.cells[k].missing for k in own) for own in (one, other)):
                cells = [row.cells[k] for k in (*one, *other)]
                found |= {r.trial.id: r for c in cells for r in (*c.runs, *c.invalid)}
    return list(found.values())


def _of_columns(sections: Iterable[Table], names: Iterable[str]) -> list[Record]:
    """The runs of the columns that go by these names, a record each."""
    found = [
        run for name in names for table in sections for k in table.matching(name)
        for row in table.rows for run in row.cells[k].runs
    ]  # fmt: skip
    return list({run.trial.id: run for run in found}.values())
