"""The first screen: scores, verdict, assumptions, and how to see the rest. Plain text."""

import shlex
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnabench.reports import outputs
from dnabench.reports.evidence import Evidence, Report
from dnabench.reports.grid import Grid
from dnabench.reports.text import captions, findings
from dnabench.reports.text.summary import summary_sentences

WIDTH = 100  # columns at most
MOST_CHECKS = 3  # remarks that are written out
STYLE = captions.Style(str, "{}\n{}", "{} *", "{}", "{}:")


def overview(report: Report, folder: Path) -> str:
    """What `dnabench report` prints without a format: the tables one after the other.

    Lines of at most WIDTH columns (fewer on a narrower terminal), but for names and commands. An
    HTML report in the folder of the records is named if it is newer than they are.
    """
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 40)).columns)
    parts = ["\n".join(textwrap.wrap(note, width)) for note in report.notes]
    parts += [part for e in report.evidence for part in _table(e, width)]
    parts.append("\n".join(["More", *_commands(folder)]))
    return "\n\n".join(parts) + "\n"


def _table(e: Evidence, width: int) -> list[str]:
    t = e.table
    assumed = [
        captions.protocol_text(t),
        f"{captions.spread_text(t)} * marks the best mean.",
        *findings.decision_rule(e.comparisons),
        *findings.related(e.comparisons),
    ]
    more = len(e.remarks) - MOST_CHECKS
    checks = [*e.remarks[:MOST_CHECKS], *[f"{more} more in the full report"] * (more > 0)]
    return [
        captions.title(t),
        *(["\n".join(textwrap.wrap(t.watermark, width))] if t.watermark else []),
        *_folded(captions.score_grid(t, STYLE), width),
        *(text for s in e.sections if s.title == outputs.TITLE for text in _groups(s, width)),
        _section("Verdict", summary_sentences(e), width),
        _section("Assumptions", assumed, width),
        *([_section("Look at these", checks, width)] if checks else []),
    ]


def _groups(section: Grid, width: int) -> list[str]:
    first, *more = _folded(section, width, 3)
    return [f"{section.title}\n{first}", *more, *section.notes]


def _commands(folder: Path) -> list[str]:
    command = f"dnabench report --out {shlex.quote(str(folder))}"
    html = folder / "report.html"
    newest = max(p.stat().st_mtime for p in (folder / "records").iterdir())
    current = html.exists() and html.stat().st_mtime >= newest
    page = f"{html}" if current else f"{command} --format html"
    return [f"- every table, with figures: {page}", f"- every table, as text: {command} --full"]


def _section(title: str, texts: Iterable[str], width: int) -> str:
    lines = [textwrap.fill(f"- {text}", width, subsequent_indent="  ") for text in texts]
    return "\n".join([title, *lines])


def _folded(grid: Grid, width: int, named: int = 2) -> list[str]:
    """The table with as many models side by side as fit; the others follow in further tables.

    The first `named` columns, which name the row, are in each of them.
    """
    first, out = named, []
    while first < len(grid.heads):
        last = len(grid.heads)
        while len(_text(grid, first, last, named).partition("\n")[0]) > width and last > first + 1:
            last -= 1
        out.append(_text(grid, first, last, named))
        first = last
    return out


def _text(grid: Grid, first: int, last: int, named: int) -> str:
    from tabulate import tabulate

    def part(line: Sequence[str]) -> list[str]:
        return [*line[:named], *line[first:last]]

    rows = list(map(part, grid.rows))
    return tabulate(rows, part(grid.heads), tablefmt="simple", disable_numparse=True)
