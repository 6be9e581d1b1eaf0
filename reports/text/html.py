"""Evidence to one HTML file that needs no other: no network, no font, no script from elsewhere.

What it says is in words.py, findings.py and summary_words.py, how it looks in page.html, page.css
and page.js. The figures are SVG in the page's own colours.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.reports.evidence import Evidence, Section, SuiteEvidence
from dnabench.reports.figures import cd, curves, families, heatmap, pareto, strips, style
from dnabench.reports.table import Row, Table, fixed, grouped
from dnabench.reports.text import audit as audit_text
from dnabench.reports.text.captions import (
    about_column,
    caption,
    failures,
    provenance,
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
    pair_grid,
    suite_words,
    top_grid,
)
from dnabench.reports.text.summary import summary

HERE = Path(__file__).parent
NOTHING = "No records: nothing has been run yet."
MOST_DUELS = 2000  # lines of the table of all tests; beyond, only those with the best of a task
COSTS = (("size", "Size"), ("time", "Time"))


class Tally(NamedTuple):
    """Tasks that the model of the line won, lost or left open against that of the column."""

    rival: int  # column
    won: int
    lost: int
    open: int


class Suite(NamedTuple):
    """What a page shows of one suite of tasks; what is empty is left out."""

    name: str
    evidence: SuiteEvidence | None
    order: list[int]  # columns by average rank
    tallies: list[list[Tally | None]]  # by `order`, twice; None on the diagonal
    ranks: str  # SVG
    costs: list[tuple[str, str]]  # title, SVG
    over: str  # what the scores of `costs` are means of
    leader: int  # column with the best rank
    leads: str  # SVG
    lead_grid: Grid


class View(NamedTuple):
    """What a page shows of one table."""

    evidence: Evidence
    table: Table
    key: str  # of the ids
    sentences: list[tuple[str, list[str]]]
    suites: list[Suite]
    strips: list[tuple[Row, str]]
    curves: list[tuple[Row, str]]
    heats: list[tuple[heatmap.Heat, str]]
    tests: list[tuple[str, Grid, list[tuple[str, int, int]]]]  # title, grid, (row, i, j) by line
    flags: list[str]
    remarks: list[str]


def page(
    evidence: Sequence[Evidence],
    *,
    sections: Sequence[Section] = (),
    audits: Sequence[Mapping[str, Any]] = (),
    commands: Sequence[str] = (),
) -> str:
    """Write the report.

    Args:
        evidence: of each table; none is fine.
        sections: further tables, in their order: inflation, leak-free scores, costs.
        audits: documents of `dnabench audit data`.
        commands: that made the records, as typed.

    Returns:
        HTML. All text from records is escaped, and the page forbids any script but its own. The
        same arguments give the same bytes.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    tools = [title, caption, words, about_column, failures, provenance, recipes, pair_grid,
             suite_words, comparison_words, style.swatch, fixed]  # fmt: skip
    environment.globals.update({f.__name__: f for f in tools})
    environment.filters["svg"] = Markup  # ours; the text in it is escaped
    script = _dense((HERE / "page.js").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = environment.get_template("page.html").render(
        views=[_view(one, f"t{i + 1}") for i, one in enumerate(evidence)],
        sections=sections,
        audits=Markup(audit_text.html(audits)) if audits else "",
        commands=commands, nothing=NOTHING, top_words=TOP_WORDS, script=Markup(script),
        digest=digest, style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
    )  # fmt: skip
    return _dense(text) + "\n"


def _dense(text: str) -> str:
    """Without empty lines."""
    return "\n".join(line for line in text.split("\n") if line.strip())


def _view(evidence: Evidence, key: str) -> View:
    table = evidence.table
    return View(
        evidence=evidence,
        table=table,
        key=key,
        sentences=summary(evidence),
        suites=_suites(evidence, key),
        strips=strips.strips(table, f"{key}s"),
        curves=curves.curves(table, f"{key}c"),
        heats=[
            (found, _inline(partial(heatmap.figure, found), _heat_words(found), f"{key}h{i}"))
            for i, found in enumerate(heatmap.swept(table))
        ],
        tests=_tests(evidence),
        flags=flag_words(table),
        remarks=[
            f"{text} ({n} times)" if n > 1 else text
            for text, n in Counter(evidence.remarks).items()
        ],
    )


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
    costs, label = _costs(table, list(over.rows) if over else rows, key)
    if over is None:
        return Suite(name, None, [], [], "", costs, label, 0, "", ([], []))
    places = sorted(range(len(over.columns)), key=lambda place: over.ranks[place])
    order = [over.columns[place] for place in places]
    leads, ranks = families.leads(over, order[0]), ""
    if len(order) > 2 and math.isfinite(over.critical_difference):
        said = ", ".join(f"{names[over.columns[p]]} {over.ranks[p]:.2f}" for p in places)
        drawn = partial(
            cd.figure, [names[i] for i in over.columns], over.ranks, over.critical_difference
        )
        ranks = _inline(drawn, f"Average ranks over {len(over.rows)} tasks: {said}", f"{key}r")
    picture = ""
    if leads:
        said = f"Mean lead of {names[order[0]]} over each other model, by family of tasks"
        picture = _inline(partial(families.figure, leads), said, f"{key}f")
    return Suite(name, over, order, _tallies(over, order), ranks, costs, label, order[0], picture,
                 _lead_grid(table, leads))  # fmt: skip


def _costs(table: Table, rows: Sequence[Row], key: str) -> tuple[list[tuple[str, str]], str]:
    found, out = pareto.points(table, rows), []
    label = pareto.label(rows)
    for cost, heading in COSTS:
        if sum(getattr(p, cost) > 0 for p in found) > 1:
            said = "; ".join(f"{p.name} {p.score:.3f} at {getattr(p, cost):,.4g}" for p in found)
            drawn = partial(pareto.figure, found, cost, label)
            picture = _inline(drawn, f"{label} against {pareto.COSTS[cost]}: {said}", key + cost)
            out.append((f"{heading} against score", picture))
    return out, label


def _tallies(over: SuiteEvidence, order: Sequence[int]) -> list[list[Tally | None]]:
    met: dict[tuple[int, int], Tally] = {}
    for p in over.pairs:
        met[p.i, p.j] = Tally(p.j, p.wins, p.losses, p.open)
        met[p.j, p.i] = Tally(p.i, p.losses, p.wins, p.open)
    return [[met.get((a, b)) for b in order] for a in order]


def _lead_grid(table: Table, leads: Mapping[int, Mapping[str, float]]) -> Grid:
    lines = list(next(iter(leads.values()), {}))
    rows = [
        [table.columns[i].name, *(f"{x:+.{table.digits}f}" for x in by_family.values())]
        for i, by_family in leads.items()
    ]
    return ["over", *lines], rows


def _tests(evidence: Evidence) -> list[tuple[str, Grid, list[tuple[str, int, int]]]]:
    top = [(b.row.name, b.column, b.column) for b in evidence.best]
    near, every = evidence.against_best(), evidence.comparisons
    out = [
        ("Best on each task", top_grid(evidence), top),
        (
            "Against the best of each task",
            best_grid(evidence),
            [(d.row.name, d.i, d.j) for d in near],
        ),
    ]
    if len(near) < len(every) <= MOST_DUELS:
        refs = [(d.row.name, d.i, d.j) for d in every]
        out.append(("Every pair on every task", comparison_grid(evidence), refs))
    return [one for one in out if one[1][1]]


def flag_words(table: Table) -> list[str]:
    """What runs say of themselves and a reader of scores should know, alike ones together."""
    names = {id(run): i for row in table.rows for i, c in enumerate(row.cells) for run in c.runs}
    raised = [
        (flag, table.columns[names[id(run)]].name, run.trial.task, value)
        for run in table.records
        if id(run) in names
        for flag, value in run.flags.items()
        if _says_something(value)
    ]
    out = []
    for flag, several in grouped(raised, lambda item: item[0]).items():
        who = ", ".join(dict.fromkeys(name for _, name, _, _ in several))
        tasks = list(dict.fromkeys(task for _, _, task, _ in several))
        where = ", ".join(tasks) if len(tasks) < 5 else f"{len(tasks)} tasks"
        numbers = [v for *_, v in several if isinstance(v, (int, float)) and v is not True]
        size = f" {min(numbers):g} to {max(numbers):g}" if numbers else ""
        s = "s" if len(several) != 1 else ""
        out.append(f"{flag.replace('_', ' ')}{size}: {len(several)} run{s} of {who} on {where}")
    return out


def _says_something(value: Any) -> bool:
    return any(map(_says_something, value.values())) if isinstance(value, Mapping) else bool(value)


def _heat_words(found: heatmap.Heat) -> str:
    return f"Mean score of {found.y} by {found.x} over {len(found.tasks)} tasks"


def _inline(draw: Any, says: str, prefix: str) -> str:
    return style.inline(lambda: draw(theme=style.PAGE), says, prefix)
