"""A folder of records to its evidence, ready for any format."""

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from dnabench.reports.analysis import analyze
from dnabench.reports.costs import cost_section
from dnabench.reports.evidence import Report
from dnabench.reports.inflation import inflation, inflation_section
from dnabench.reports.leaks import leak_section
from dnabench.reports.memo import Memo
from dnabench.reports.outputs import group_section
from dnabench.reports.resampling import Resampler
from dnabench.reports.table import Table, tables
from dnabench.results.store import Store
from dnabench.tasks.audit.audit import kept
from dnabench.types import Record


def report(
    records: Sequence[Record], store: Store, resampler: Resampler, against: str = ""
) -> Report:
    """Analyze every table of the folder `store`, which also caches slow results.

    With a model or a column `against`, only pairs with it are compared, so that Holm adjusts for
    fewer tests. KeyError: no column is of it; the message lists the names.
    """
    memo, found = Memo(store.folder / ".cache" / "report"), tables(records)
    if against and not any(t.matching(against) for t in found):
        known = dict.fromkeys(c.name for t in found for c in t.columns)
        raise KeyError(f"no records of {against!r}; there are {', '.join(known)}")
    raised = inflation(records) if any(t.watermark for t in found) else []
    out = []
    for table in found:
        pairs = _pairs(table, against) if against else None
        evidence = analyze(table, resampler, pairs, memo)
        sections = [leak_section(table, store, memo), group_section(table), cost_section(table)]
        if table.protocol == "test-selected/1":
            own = [one for one in raised if one.limit == table.limit]
            sections.append(inflation_section(own, table.digits))
        out.append(replace(evidence, sections=tuple(s for s in sections if s.rows)))
    rows = [row for table in found for row in table.rows]
    audits = {row.name: a for row in rows if (a := kept(row.task, row.data))}
    documents = tuple(json.loads(a.to_json()) for a in audits.values())
    return Report(evidence=tuple(out), audits=documents, commands=_commands(store))


def _commands(store: Store) -> tuple[str, ...]:
    """The commands that made the records, each once."""
    typed = []
    for path in sorted((store.folder / "configs").glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            typed.append(shlex.join(["dnabench", *json.loads(path.read_text("utf-8"))["argv"]]))
    return tuple(dict.fromkeys(typed))


def _pairs(table: Table, against: str) -> list[tuple[int, int]]:
    chosen = table.matching(against)
    others = [k for k in range(len(table.columns)) if k not in chosen]
    return [(k, other) for k in chosen for other in others]
