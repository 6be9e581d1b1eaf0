"""Evidence as Markdown, for a README, a paper's repository or a terminal."""

from collections.abc import Iterable, Sequence

from dnabench.reports.evidence import Evidence
from dnabench.reports.table import Table
from dnabench.reports.text import captions, findings
from dnabench.reports.text.markdown_grid import escaped, grid, pipes
from dnabench.reports.text.methods import methods
from dnabench.reports.text.summary import summary_sentences

MOST_SENTENCES = 4  # above the tables of `comparisons`
STYLE = captions.Style(escaped, "{} ({})", "**{}**", "<u>{}</u>", "*{}*")


def markdown(evidence: Sequence[Evidence], notes: Sequence[str] = ()) -> str:
    """A section a table: scores, then what was tested, then how the models were trained."""
    out = [escaped(note) for note in notes] if evidence else []
    for e in evidence:
        t = e.table
        scores = captions.score_grid(t, STYLE)
        out += [*_heading(t), pipes(scores.heads, scores.rows), *scores.notes]
        if e.comparisons:
            out += _bullets("Summary", summary_sentences(e))
        out += map(grid, [*findings.grids(e), *e.sections])
        recipes = (f"{who}, {of}: {numbers}" for who, of, numbers in captions.recipe_grid(t).rows)
        out += _bullets("Recipes", recipes) + _bullets("Look at these", e.remarks)
        out += _bullets("Failed runs", captions.failures(t))
    return "\n\n".join(out or [captions.NO_RECORDS]) + "\n"


def comparisons(evidence: Evidence) -> str:
    """The tests of chosen pairs under one protocol, for `dnabench compare`."""
    table, found = evidence.table, evidence.comparisons
    said = [captions.protocol_text(table), captions.other_metric(table)]
    said += methods(found, exploratory=False)
    notes = [" ".join(filter(None, said))]
    pairs = findings.comparison_grid(evidence)._replace(title="", notes=notes)
    over = [findings.pair_grid(table, suite) for suite in evidence.suites if suite.pairs]
    first = [escaped(text) for text in summary_sentences(evidence, chosen=True)[:MOST_SENTENCES]]
    return "\n\n".join([*_heading(table), *first, *map(grid, [pairs, *over])])


def _heading(table: Table) -> list[str]:
    warning = [f"> **{escaped(table.watermark)}**"] if table.watermark else []
    return [f"## {escaped(captions.title(table))}", *warning]


def _bullets(title: str, texts: Iterable[str]) -> list[str]:
    lines = [f"- {escaped(text)}" for text in texts]
    return [f"### {title}", "\n".join(lines)] if lines else []
