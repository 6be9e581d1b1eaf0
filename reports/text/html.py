"""A report as one HTML file that needs no other: no network, no font, no script from elsewhere.

The text is from captions.py, findings.py and summary.py; page.html, page.css and page.js give
structure, looks and behaviour. The figures are SVG in the page's own colours.
"""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from dnabench.reports.across import on_one_scale
from dnabench.reports.calibration import FLIPS
from dnabench.reports.evidence import Evidence, Report, SuiteEvidence
from dnabench.reports.figures import cd, curves, families, heatmap, lines, pareto, strips, style
from dnabench.reports.grid import Grid, count, listed, signed
from dnabench.reports.grouping import grouped
from dnabench.reports.table import Row, Table
from dnabench.reports.text import audit, captions, findings
from dnabench.reports.text.summary import summary
from dnabench.reports.text.template import HERE, dense, rendered
from dnabench.reports.trends import Trend

MOST_TESTS = 2000  # lines of the table of all tests; beyond, only those with the best of a task
COSTS = {"size": "Score against size", "time": "Score against time"}


class Suite(NamedTuple):
    """What a page shows of one suite of tasks; what is empty is left out."""

    name: str
    evidence: SuiteEvidence | None
    order: list[int]  # columns by average rank
    ranks: str  # SVG
    costs: list[tuple[str, str]]  # title, SVG
    over: str  # what the scores of `costs` are means of
    leads: str  # SVG, of the first of `order` over each other
    lead_grid: Grid


class View(NamedTuple):
    """What a page shows of one table."""

    evidence: Evidence
    table: Table
    key: str  # of the ids
    sentences: list[tuple[str, list[str]]]
    suites: list[Suite]
    overall: str  # SVG of all tasks; empty where metrics differ or there is no score
    strips: list[tuple[Row, str]]
    curves: list[tuple[Row, str]]
    heats: list[tuple[heatmap.Heat, str]]
    trends: list[tuple[Trend, str]]
    tests: list[tuple[Grid, list[tuple[str, int, int]]]]  # grid, (row, i, j) by line
    flags: list[str]
    remarks: list[str]


def page(report: Report) -> str:
    """Write the report as HTML; the same report gives the same bytes.

    All text from records is escaped, and the page forbids any script but its own.
    """
    from markupsafe import Markup

    script = dense((HERE / "page.js").read_text(encoding="utf-8"))
    several = len(report.evidence) > 1
    sections = [
        s._replace(title=f"{s.title}: {captions.title(e.table)}") if several else s
        for e in report.evidence
        for s in e.sections
    ]
    return rendered(
        "page.html", captions=captions, findings=findings, count=count, svg=Markup,
        swatch=style.swatch, views=[_view(e, f"t{i + 1}") for i, e in enumerate(report.evidence)],
        sections=sections, commands=report.commands, date=report.date, notes=report.notes,
        script=Markup(script),
        audits=Markup(audit.html(report.audits)) if report.audits else "",
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
    )  # fmt: skip


def _view(evidence: Evidence, key: str) -> View:
    table = evidence.table
    heats = []
    for i, heat in enumerate(heatmap.swept(table)):
        text = f"Mean score of {heat.y} by {heat.x} over {count(len(heat.tasks), 'task')}"
        heats.append((heat, _svg(partial(heatmap.figure, heat), text, f"{key}h{i}")))
    remarks = [f"{x} ({n} times)" if n > 1 else x for x, n in Counter(evidence.remarks).items()]
    return View(
        evidence=evidence, table=table, key=key, sentences=summary(evidence),
        suites=_suites(evidence, key), overall=_overall(table, key),
        strips=strips.strips(table, f"{key}s"),
        curves=curves.curves(table, f"{key}c"), heats=heats, trends=_trends(evidence, key),
        tests=_tests(evidence), flags=flags(table), remarks=remarks,
    )  # fmt: skip


def _trends(evidence: Evidence, key: str) -> list[tuple[Trend, str]]:
    out = []
    for i, found in enumerate(evidence.trends):
        draw = partial(lines.figure, found, legend=False)
        out.append((found, _svg(draw, lines.describe(found), f"{key}l{i}")))
    return out


def _overall(table: Table, key: str) -> str:
    scored = [row for row in table.rows if any(c.scores for c in row.cells)]
    if len({row.metric for row in scored}) != 1:
        return ""
    what = "the runs" if len(scored) == 1 else f"the means of {len(scored)} tasks"
    text = f"{scored[0].heading} of each model: {what}"
    return _svg(partial(strips.overall, table), text, f"{key}o")


def _suites(evidence: Evidence, key: str) -> list[Suite]:
    known = {one.suite: one for one in evidence.suites}
    costly = pareto.suites(evidence.table)
    return [
        _suite(evidence.table, name, known.get(name), costly.get(name, []), f"{key}{i}")
        for i, name in enumerate(dict.fromkeys([*known, *costly]))
    ]


def _suite(
    table: Table, name: str, over: SuiteEvidence | None, rows: Sequence[Row], key: str
) -> Suite:
    names = style.labels(table.columns)
    costs, label = _costs(table, on_one_scale(over.rows) if over else rows, key)
    if over is None:
        return Suite(name, None, [], "", costs, label, "", Grid("", [], []))
    ranked = sorted(zip(over.ranks, over.columns, strict=True), key=lambda pair: pair[0])
    order = [k for _, k in ranked]
    leads, ranks, picture = families.leads(over, order[0]), "", ""
    if len(order) > 2 and math.isfinite(over.critical_difference):
        listing = ", ".join(f"{names[k]} {rank:.2f}" for rank, k in ranked)
        labels = [names[k] for k in over.columns]
        draw = partial(cd.figure, labels, over.ranks, over.critical_difference)
        ranks = _svg(draw, f"Average ranks over {len(over.rows)} tasks: {listing}", f"{key}r")
    if leads:
        text = f"Mean lead of {names[order[0]]} over each other model, by family of tasks"
        picture = _svg(partial(families.figure, leads), text, f"{key}f")
    return Suite(name, over, order, ranks, costs, label, picture, _lead_grid(table, leads))


def _costs(table: Table, rows: Sequence[Row], key: str) -> tuple[list[tuple[str, str]], str]:
    found, out = pareto.points(table, rows), []
    label = pareto.label(rows)
    for cost, heading in COSTS.items():
        if sum(getattr(p, cost) > 0 for p in found) > 1:
            points = "; ".join(f"{p.name} {p.score:.3f} at {getattr(p, cost):,.4g}" for p in found)
            text = f"{label} against {pareto.COSTS[cost]}: {points}"
            draw = partial(pareto.figure, found, cost, label)
            out.append((heading, _svg(draw, text, key + cost)))
    return out, label


def _lead_grid(table: Table, leads: Mapping[int, Mapping[str, float]]) -> Grid:
    signs = {i: [signed(x, table.digits) for x in each.values()] for i, each in leads.items()}
    rows = [[table.columns[i].name, *texts] for i, texts in signs.items()]
    return Grid("Lead by family", ["over", *next(iter(leads.values()), {})], rows)


def _tests(evidence: Evidence) -> list[tuple[Grid, list[tuple[str, int, int]]]]:
    best, every = evidence.against_best(), evidence.comparisons
    shown = [
        (findings.top_grid(evidence), [(b.row.name, b.column, b.column) for b in evidence.best]),
        (findings.best_grid(evidence), [(d.row.name, d.i, d.j) for d in best]),
    ]
    if len(best) < len(every) <= MOST_TESTS:
        pairs = [(d.row.name, d.i, d.j) for d in every]
        shown.append((findings.comparison_grid(evidence), pairs))
    return [one for one in shown if one[1]]


def flags(table: Table) -> list[str]:
    """The flags of runs whose scores are in the table, equal ones together.

    Without strand flips, which stand beside calibration.
    """
    names = {id(run): i for row in table.rows for i, c in enumerate(row.cells) for run in c.runs}
    runs = [run for run in table.records if id(run) in names]
    raised = [
        (flag, run) for run in runs for flag, value in run.flags.items()
        if flag != FLIPS and _is_set(value)
    ]  # fmt: skip
    out = []
    for flag, several in grouped(raised, lambda item: item[0]).items():
        who = ", ".join(dict.fromkeys(table.columns[names[id(run)]].name for _, run in several))
        where = listed(dict.fromkeys(run.trial.task for _, run in several))
        values = [run.flags[flag] for _, run in several]
        numbers = [v for v in values if isinstance(v, (int, float)) and v is not True]
        size = f" {min(numbers):g} to {max(numbers):g}" if numbers else ""
        out.append(
            f"{flag.replace('_', ' ')}{size}: {count(len(several), 'run')} of {who} on {where}"
        )
    return out


def _is_set(value: Any) -> bool:
    return any(map(_is_set, value.values())) if isinstance(value, Mapping) else bool(value)


def _svg(draw: Callable[..., Any], text: str, prefix: str) -> str:
    return style.inline(lambda: draw(theme=style.PAGE), text, prefix)
