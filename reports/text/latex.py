"""Evidence as LaTeX: the table of a paper, and the tests behind it."""

from collections.abc import Iterable, Sequence

from dnabench.reports import costs, outputs
from dnabench.reports.evidence import Evidence
from dnabench.reports.grid import Grid
from dnabench.reports.grouping import grouped
from dnabench.reports.text import captions, findings
from dnabench.reports.text.latex_letters import escaped
from dnabench.reports.tuning import TITLES

MOST_MODELS = 9  # side by side; more are squeezed beyond reading
PACKAGES = r"\usepackage{array,booktabs,graphicx,longtable}"
COLUMNS = {costs.TITLE: "lr", outputs.TITLE: "lllc"}  # of the sections that are printed
STYLE = captions.Style(
    escaped, r"\shortstack{{{}\\{}}}", r"\textbf{{{}}}", r"\underline{{{}}}",
    r"\addlinespace\textit{{{}}}",
)  # fmt: skip


def latex(evidence: Sequence[Evidence]) -> str:
    """A table and a table of its tests each; needs the packages of its first line."""
    out = [f"% {PACKAGES}"]
    for e in evidence:
        title, warning = captions.title(e.table), e.table.watermark
        marked = [rf"\textbf{{{escaped(warning)}}}\par\medskip"] if warning else []
        scores = captions.score_grid(e.table, STYLE)
        tuning = [escaped(s.notes[0]) for s in e.sections if s.title == TITLES[0]]
        about = " ".join([*scores.notes[:1], *tuning])
        for part, grid in enumerate(parts := _split(scores), 1):
            of = f" (part {part} of {len(parts)}: best and second of all)" * (len(parts) > 1)
            out += _table(grid, f"{escaped(title)}{of}. {about}", "llc", marked)
        out += _tests(e, f"{title}. Each model against the best of each task. {warning}")
        for section in e.sections:
            if section.title in COLUMNS:
                text = " ".join([f"{title}. {section.title}. {warning}", *section.notes])
                heads, *rows = [list(map(escaped, row)) for row in (section.heads, *section.rows)]
                out += _table(Grid("", heads, rows), escaped(text), COLUMNS[section.title])
    return "\n".join(out if evidence else [f"% {captions.NO_RECORDS}"]) + "\n"


def _split(grid: Grid) -> list[Grid]:
    """Tables of at most MOST_MODELS models each, task and metric in all of them."""
    last = max(len(grid.heads), 3)
    cuts = range(2, last, MOST_MODELS)

    def part(line: Sequence[str], first: int) -> list[str]:
        return [*line[:2], *line[first : first + MOST_MODELS]]

    return [grid._replace(heads=part(grid.heads, first), rows=[part(r, first) for r in grid.rows])
            for first in cuts]  # fmt: skip


def _table(grid: Grid, caption: str, columns: str, marked: Sequence[str] = ()) -> list[str]:
    """At most as wide as the text; the last letter of `columns` is that of all further ones."""
    columns += columns[-1] * (len(grid.heads) - len(columns))
    return [
        r"\begin{table}[htbp]", r"\centering\small", *marked, rf"\caption{{{caption}}}",
        r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(grid.heads), r"\midrule",
        *map(_row, grid.rows), r"\bottomrule", r"\end{tabular}}", r"\end{table}",
    ]  # fmt: skip


def _tests(e: Evidence, title: str) -> list[str]:
    """A page-breaking table; task and best, which repeat, are a line over their models."""
    if not e.comparisons:
        return []
    grid = findings.best_grid(e)
    out = [r"{\scriptsize\setlength{\tabcolsep}{2pt}"]
    out += [r"\begin{longtable}{lrrrrrrrr>{\raggedright\arraybackslash}p{1.9cm}}"]
    out += [rf"\caption{{{escaped(' '.join([title, *grid.notes]))}}}\\", r"\toprule"]
    top = [_row(map(escaped, [grid.heads[1], *grid.heads[3:]])), r"\midrule"]
    out += [*top, r"\endfirsthead", r"\toprule", *top, r"\endhead"]
    for (task, best), lines in grouped(grid.rows, lambda row: (row[0], row[2])).items():
        out += [rf"\multicolumn{{10}}{{l}}{{\textit{{{escaped(task)}}}, best {escaped(best)}}} \\*"]
        out += [_row(map(escaped, [line[1], *line[3:]])) for line in lines]
    return [*out, r"\bottomrule", r"\end{longtable}}"]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
