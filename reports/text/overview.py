"""The first screen: scores, verdict, assumptions, and how to see the rest. Plain text."""

import math
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Sequence, Set
from itertools import zip_longest
from pathlib import Path
from typing import Any

from dnabench.reports import outputs, stats, trends
from dnabench.reports.evidence import Evidence, Report
from dnabench.reports.figures import style
from dnabench.reports.grid import Grid, count
from dnabench.reports.table import Table
from dnabench.reports.text import captions, findings, methods
from dnabench.reports.text.captions import other_metric
from dnabench.reports.text.summary import summary_sentences

WIDTH = 100  # columns at most
LINES = 40  # of a table, where they are enough
# sentences and remarks that are written out: fewer until the lines are enough
ROOM = ((6, 3), (5, 3), (4, 3), (3, 3), (3, 2), (3, 1))
MOST_MODELS = 8  # more, and a line a model replaces the table of scores
FEW_ROWS = 8  # tasks that are shown under their families
DOCS = "docs/verdict.md"
WHOLE: Any = {"break_on_hyphens": False, "break_long_words": False}  # a path stays in one piece
MARKS = {
    captions.COLLAPSED: f"{captions.COLLAPSED} runs that predict one class or value",
    captions.VARIANT: f"{captions.VARIANT} best of several variants: chosen after seeing test",
}
SECTIONS = (outputs.TITLE, trends.TITLE)
MOST_LINES = 20  # of learning curves
STYLE = captions.Style(str, "{}\n{}", "{} *", "{}", "{}:")


def overview(report: Report, folder: Path) -> str:
    """What `dnabench report` prints without a format: the tables one after the other.

    Lines of at most WIDTH columns (fewer on a narrower terminal), but for names and commands. An
    HTML report in the folder of the records is named if it is newer than they are.
    """
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 40)).columns)
    parts = ["\n".join(textwrap.wrap(note, width)) for note in report.notes]
    parts += [part for e in _largest_shares(report) for part in _table(e, width)]
    parts.append("\n".join(textwrap.wrap(_more(folder), width, **WHOLE)))
    return "\n\n".join(parts) + "\n"


def _largest_shares(report: Report) -> list[Evidence]:
    """The tables but those of smaller shares of train whose runs are all in learning curves."""
    cells = [
        cell for e in report.evidence for t in e.trends if t.by == trends.SHARE
        for panel in t.panels for curve in panel.curves for cell in curve.cells if cell
    ]  # fmt: skip
    drawn = {run.trial.id for cell in cells for run in cell.runs}
    first, out = set[tuple[str, float]](), []
    for e in report.evidence:
        at = e.table.protocol, e.table.limit
        if at not in first or not _in_curves(e.table, drawn):
            out.append(e)
        first.add(at)
    return out


def _in_curves(table: Table, drawn: Set[str]) -> bool:
    """Whether the curves have every cell of the table; they count the failures of those."""
    cells = [cell for row in table.rows for cell in row.cells if not cell.missing]
    return all(cell.runs and {r.trial.id for r in cell.runs} <= drawn for cell in cells)


def _table(e: Evidence, width: int) -> list[str]:
    """At most LINES lines with the last one, as long as three sentences fit beside the scores."""
    t, limits = e.table, _limits(e)
    said = [text for text in summary_sentences(e) if text not in limits]
    for most, remarks in ROOM:
        parts = [
            "\n".join(textwrap.wrap(_title(t), width)),
            *(
                "\n".join(textwrap.wrap(x, width))
                for x in (t.watermark, other_metric(t), e.tuned)
                if x
            ),
            *_scores(e, width),
            *(text for s in e.sections if s.title in SECTIONS for text in _groups(s, width)),
            _section(_of("Verdict", most, said), said[:most], width),
            *_assumptions(e, width),
            *_checks(e, width, remarks),
        ]
        if "\n\n".join(parts).count("\n") + 3 <= LINES:
            break
    return parts


def _checks(e: Evidence, width: int, most: int) -> list[str]:
    """What to look at, in two lines each at most."""
    if not e.remarks:
        return []
    first = [_shortened(text, width) for text in e.remarks[:most]]
    return [_section(_of("Look at these", most, e.remarks), first, width)]


def _shortened(text: str, width: int) -> str:
    """The text in two lines of a section at most."""
    return textwrap.shorten(text, 2 * (width - 6), placeholder=" ...")


def _of(title: str, most: int, texts: Sequence[str]) -> str:
    """The title, with how many of its texts are left out."""
    return f"{title} ({len(texts) - most} more with --full)" if len(texts) > most else title


def _title(table: Table) -> str:
    """The protocol, how it chooses, and what the numbers are."""
    several = f"± sd over {count(table.n, 'seed')}" + " or pretrainings" * table.nested
    spread = several if table.n > 1 else "one seed" + " or pretraining" * table.nested
    how = table.why.rpartition(": ")[2]
    return f"{captions.title(table)}: {how}; {spread}, * best mean"


def _assumptions(e: Evidence, width: int) -> list[str]:
    """In a line or two each; `--full` has all of them."""
    related = methods.related(e.comparisons)
    if not (tests := max((d.tests for d in e.comparisons), default=0)):
        return [_section("Assumptions", related, width)] if related else []
    margins = {d.row.label: d.row.rope for d in e.comparisons if d.row.rope}
    least = ", ".join(f"{margin:g} {label}" for label, margin in margins.items())
    counted = "seeds and test examples" if any(d.nested for d in e.comparisons) else "seeds only"
    rule = (
        f"Win: Holm p < {stats.ALPHA:g} of {count(tests, 'test')} ({counted}), "
        f"{least or 'any difference'}, {stats.MIN_SEEDS} seeds"
    )
    texts = [rule, *(_shortened(text, width) for text in _limits(e)), *related]
    return [_section(f"Assumptions (see {DOCS})", texts, width)]


def _limits(e: Evidence) -> list[str]:
    """Which tests leave out that the test examples are a sample, if a test does."""
    tested = [d for d in e.comparisons if not (d.same or math.isnan(d.p_holm))]
    return methods.sampling(e.comparisons) if any(d.nested is None for d in tested) else []


def _scores(e: Evidence, width: int) -> list[str]:
    """The score table; a line a model instead where the models are too many for it."""
    t = e.table
    if len(t.columns) > MOST_MODELS and e.suites:
        ranked = [findings.ranking_grid(t, suite) for suite in e.suites]
        return [text for one in ranked for text in (one.title, *_folded(one, width, 1))]
    grid = captions.score_grid(t, STYLE)
    rows = [row for row in grid.rows if any(row[1:])] if len(t.rows) > FEW_ROWS else grid.rows
    grid = grid._replace(rows=rows, heads=[_cut(head) for head in grid.heads])
    metrics, named = {row[1] for row in rows if row[1]}, 2
    if len(metrics) == 1 and _wide(_text(grid, named, len(grid.heads), named)) > width:
        heads, named = [f"task, {metrics.pop()}", *grid.heads[2:]], 1
        grid = grid._replace(heads=heads, rows=[[row[0], *row[2:]] for row in grid.rows])
    found = _folded(grid, width, named)
    marks = [what for mark, what in MARKS.items() if any(mark in text for text in found)]
    return [*found, *(["\n".join(textwrap.wrap("; ".join(marks), width))] if marks else [])]


def _cut(head: str) -> str:
    name, line, about = head.partition("\n")
    return style.shortened(name) + line + about


def _groups(section: Grid, width: int) -> list[str]:
    if section.title == trends.TITLE and len(section.rows) > MOST_LINES:
        return [f"{section.title}: {count(len(section.rows), 'line')} with --full"]
    first, *more = _folded(section, width, 3)
    notes = [textwrap.fill(note, width) for note in section.notes]
    return [f"{section.title}\n{first}", *more, *notes]


def _more(folder: Path) -> str:
    command = f"dnabench report --out {shlex.quote(str(folder))}"
    html = folder / "report.html"
    newest = max(p.stat().st_mtime for p in (folder / "records").iterdir())
    current = html.exists() and html.stat().st_mtime >= newest
    return f"More: {command} --full; figures: {html if current else '--format html'}"


def _section(title: str, texts: Iterable[str], width: int) -> str:
    lines = [textwrap.fill(f"- {text}", width, subsequent_indent="  ", **WHOLE) for text in texts]
    return "\n".join([title, *lines])


def _folded(grid: Grid, width: int, named: int = 2) -> list[str]:
    """The table with as many models side by side as fit; the others follow in further tables.

    The first `named` columns, which name the row, are in each of them.
    """
    first, out = named, list[str]()
    whole = named, len(grid.heads), named
    if _wide(_text(grid, *whole)) > width >= _wide(tight := _text(grid, *whole, tight=True)):
        return [tight]
    while first < len(grid.heads):
        last = len(grid.heads)
        while last > first + 1 and _wide(_text(grid, first, last, named)) > width:
            last -= 1
        out.append(_text(grid, first, last, named))
        first = last
    return out


def _wide(text: str) -> int:
    return max(map(len, text.splitlines()))


def _text(grid: Grid, first: int, last: int, named: int, tight: bool = False) -> str:
    """Columns of the table; `tight` has no two spaces after the longest head."""
    from tabulate import SEPARATING_LINE, tabulate

    def part(line: Sequence[str]) -> list[str]:
        return [*line[:named], *line[first:last]]

    rows = list(map(part, grid.rows))
    if tight:
        heads = zip_longest(*(head.split("\n") for head in part(grid.heads)), fillvalue="")
        found = tabulate([*heads, SEPARATING_LINE, *rows], tablefmt="simple", disable_numparse=True)
        return "\n".join(found.splitlines()[1:-1])  # without its lines above and below
    return tabulate(rows, part(grid.heads), tablefmt="simple", disable_numparse=True)
