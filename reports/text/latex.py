"""Evidence to LaTeX: the table of a paper, and the tests behind it."""

from __future__ import annotations

from collections.abc import Sequence

from dnabench.reports.costs import TITLE
from dnabench.reports.evidence import Evidence, Section
from dnabench.reports.table import Table, grouped
from dnabench.reports.text.captions import about_column, caption, title, words
from dnabench.reports.text.findings import best_grid, comparison_words
from dnabench.reports.text.latex_letters import escaped
from dnabench.reports.text.markdown import NOTHING

PACKAGES = r"\usepackage{array,booktabs,graphicx,longtable}"


def latex(evidence: Sequence[Evidence]) -> str:
    """A table and a table of its tests each; needs the packages of its first line."""
    out = [f"% {PACKAGES}"]
    for e in evidence:
        t = e.table
        marked = [rf"\textbf{{{escaped(t.watermark)}}}\par\medskip"] if t.watermark else []
        out += [r"\begin{table}[htbp]", r"\centering\small", *marked]
        out += [rf"\caption{{{escaped(title(t) + '. ' + ' '.join(caption(t)))}}}"]
        # as wide as the text at most
        out += [r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
        out += [rf"\begin{{tabular}}{{ll{'c' * len(t.columns)}}}", r"\toprule"]
        out += [_row(["task", "metric", *(escaped(c.name) for c in t.columns)])]
        out += [_row(["", "", *(escaped(about_column(c)) for c in t.columns)]), r"\midrule"]
        out += _body(t)
        out += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
        out += _tests(e) if e.comparisons else []
        for section in e.sections:
            out += _costs(section, t) if section.title == TITLE else []
    return "\n".join(out if evidence else [f"% {NOTHING}"]) + "\n"


def _body(table: Table) -> list[str]:
    out = []
    for k, (family, members) in enumerate(table.families.items()):
        if any(table.families):
            heading = rf"\textit{{{escaped(family or 'other')}}}"
            out += [r"\addlinespace"] * (k > 0)
            out += [_row([heading, *[""] * (len(table.columns) + 1)])]
        for row in members:
            cells = []
            for i, cell in enumerate(row.cells):
                mean, sd, remarks = words(cell, table)
                number = escaped(f"{mean} {sd}".strip())
                if i in row.best:
                    number = rf"\textbf{{{number}}}"
                elif i in row.second:
                    number = rf"\underline{{{number}}}"
                note = f"({remarks})" if mean and remarks else remarks
                cells.append(f"{number} {escaped(note)}".strip())
            out += [_row([escaped(row.name), escaped(row.label), *cells])]
    return out


def _tests(e: Evidence) -> list[str]:
    """A page-breaking table; task and best, which repeat, are a line over their models."""
    heads, rows = best_grid(e)
    what = f"{title(e.table)}. Each model against the best of each task. {e.table.watermark} "
    said = escaped(what + " ".join(comparison_words(e.table, e.comparisons)))
    out = [r"{\scriptsize\setlength{\tabcolsep}{2pt}"]
    out += [r"\begin{longtable}{lrrrrrrrr>{\raggedright\arraybackslash}p{1.9cm}}"]
    out += [rf"\caption{{{said}}}\\", r"\toprule"]
    top = [_row([escaped(heads[1]), *map(escaped, heads[3:])]), r"\midrule"]
    out += [*top, r"\endfirsthead", r"\toprule", *top, r"\endhead"]
    for (task, best), lines in grouped(rows, lambda row: (row[0], row[2])).items():
        out += [rf"\multicolumn{{10}}{{l}}{{\textit{{{escaped(task)}}}, best {escaped(best)}}} \\*"]
        out += [_row([escaped(line[1]), *map(escaped, line[3:])]) for line in lines]
    return [*out, r"\bottomrule", r"\end{longtable}}"]


def _costs(section: Section, table: Table) -> list[str]:
    """The table of what a run cost, as wide as the text at most."""
    said = f"{title(table)}. {section.title}. {table.watermark} {section.says}"
    out = [r"\begin{table}[htbp]", r"\centering\small", rf"\caption{{{escaped(said)}}}"]
    out += [r"\medskip\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    out += [rf"\begin{{tabular}}{{l{'r' * (len(section.heads) - 1)}}}", r"\toprule"]
    out += [_row([escaped(head) for head in section.heads]), r"\midrule"]
    out += [_row([escaped(x) for x in row]) for row in section.rows]
    return [*out, r"\bottomrule", r"\end{tabular}}", r"\end{table}"]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
