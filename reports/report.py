"""A folder of records to its evidence, ready for any format."""

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from dnabench.metrics import METRICS
from dnabench.reports.analysis import analyze
from dnabench.reports.calibration import calibration_section
from dnabench.reports.costs import cost_section
from dnabench.reports.evidence import Report
from dnabench.reports.families import Families, declared_pairs
from dnabench.reports.grid import count, listed
from dnabench.reports.homology import homology_section
from dnabench.reports.inflation import inflation, inflation_section
from dnabench.reports.leaks import leak_section
from dnabench.reports.memo import Memo
from dnabench.reports.outputs import group_section
from dnabench.reports.pooling import code_remarks
from dnabench.reports.regimes import regime_section, with_regimes
from dnabench.reports.resampling import Resampler
from dnabench.reports.shown import check_shown
from dnabench.reports.table import Table, across_shares, tables
from dnabench.reports.trends import SHARE, share_section, swept, trend
from dnabench.reports.tuning import tuning_sections, with_tuned
from dnabench.reports.tuning_all import tuned_line, tuning_remarks
from dnabench.reports.validity import checked, unread
from dnabench.reports.variants import variants_section
from dnabench.results.regimes import regimes
from dnabench.results.searches import searches
from dnabench.results.store import COPY, Store
from dnabench.tasks.audit.audit import kept
from dnabench.types import Record


def report(
    records: Sequence[Record], store: Store, resampler: Resampler, against: str = "",
    same_code: bool = False, metric: str = "", all_metrics: bool = False,
) -> Report:  # fmt: skip
    """Analyze every table of the folder `store`, which also caches slow results.

    With a model or a column `against`, only pairs with it are shown. Their p is adjusted for every
    pair of the table unless they were declared before results existed. KeyError: no column is of
    it; the message lists the names. ValueError: `same_code` is asked for, and runs that would be
    averaged or compared were made by different code; a `metric` that `check_shown` refuses. Trials
    of tuning among the records are in no table; those that no search counts are told. Scores are
    checked by the predictions: those of the metric that is shown, or `all_metrics`.
    """
    memo = Memo(store.folder / ".cache" / "report")
    tried = [r for r in records if r.trial.tuning]
    records, tuning = [r for r in records if not r.trial.tuning], searches(store)
    records = checked(records, store, memo, METRICS if all_metrics else [metric])
    compared = regimes(store)
    written = {row.id for row in store.rows()} if tuning else set[str]()
    records = with_regimes(with_tuned(records, tuning), compared)
    check_shown(records, metric)
    found = tables(records, metric=metric)
    if same_code and (mixed := [x for table in found for x in code_remarks(table)]):
        raise ValueError(f"the runs are not of the same code: {'; '.join(mixed)}")
    if against and not any(t.matching(against) for t in found):
        known = dict.fromkeys(c.name for t in found for c in t.columns)
        raise KeyError(f"no records of {against!r}; there are {', '.join(known)}")
    raised = inflation(records, metric) if any(t.watermark for t in found) else []
    every = across_shares(records, metric=metric)
    by_share = {(t.protocol, t.limit): trend(t, SHARE) for t in every}
    out = []
    for table in found:
        families = Families(
            asked=tuple(_pairs(table, against)) if against else None,
            declared=declared_pairs(table, store.declared()),
        )
        evidence = analyze(table, resampler, None, memo, families)
        # with the largest share of train, which comes first
        curves = by_share.pop((table.protocol, table.limit), None)
        sections = [share_section(curves, table.digits)] if curves else []
        sections += [leak_section(table, store, memo), homology_section(table)]
        sections += [*tuning_sections(evidence, tuning), regime_section(evidence, compared)]
        sections += [group_section(table)]
        sections += [variants_section(table)]
        sections += [calibration_section(table), cost_section(table)]
        if table.protocol == "test-selected/1":
            own = [one for one in raised if one.table == (table.limit, table.train_share)]
            sections.append(inflation_section(own, table.digits))
        trends = ([curves] if curves else []) + swept(table)
        shown = tuple(s for s in sections if s.rows)
        said = (*tuning_remarks(table, tuning, tried, written), *evidence.remarks)
        out.append(
            replace(evidence, remarks=said, sections=shown, trends=tuple(trends),
                    tuned=tuned_line(table, tuning))
        )  # fmt: skip
    rows = [row for table in found for row in table.rows]
    audits = {row.name: a for row in rows if (a := kept(row.task, row.data))}
    documents = tuple(json.loads(a.to_json()) for a in audits.values())
    return Report(
        evidence=tuple(out), audits=documents, commands=_commands(store),
        notes=copies(store) + unread(records), date=_newest(records, store),
    )  # fmt: skip


def _newest(records: Sequence[Record], store: Store) -> str:
    at = max((store.written(r.trial.id) for r in records), default=0)
    return time.strftime("%Y-%m-%d", time.gmtime(at / 1e9)) if at else ""


def copies(store: Store) -> tuple[str, ...]:
    """A sentence that names the files that are copies of other records, which were not counted."""
    found = [(path.name, why) for path, why in store.unreadable.items() if why.startswith(COPY)]
    if not found:
        return ()
    names = listed(name for name, _ in sorted(found))
    return (f"{count(len(found), 'file')} of records not counted, since each is a copy of a trial "
            f"that has its own file: {names}.",)  # fmt: skip


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
