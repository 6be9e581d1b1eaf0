"""Several configurations of one model, side by side: what validation says of them."""

from dnabench.reports import stats
from dnabench.reports.cells import Cell, summary_of
from dnabench.reports.grid import Grid, count, fixed
from dnabench.reports.grouping import grouped
from dnabench.reports.table import Table


def validation(cell: Cell, metric: str) -> stats.Summary:
    """Of the runs whose chosen epoch has a score on validation."""
    return summary_of(cell.runs, lambda run: run.scores.get("val", {}).get(metric))


def variants_section(table: Table) -> Grid:
    """A line a task and configuration of each model that has several."""
    lines, tried = [], {}
    varied = [(k, c) for k, c in enumerate(table.columns) if c.variants > 1]
    for row in table.rows:
        for own in grouped(varied, lambda kc: (kc[1].model, kc[1].regime)).values():
            scores = {k: validation(row.cells[k], row.metric) for k, _ in own}
            known = {k: row.sign * s.mean for k, s in scores.items() if s.n}
            best = max(known, key=lambda k: known[k], default=None)
            for k, column in own:
                tried[column.model] = column.variants
                if row.cells[k].scores:
                    test = row.cells[k].summary
                    lines.append([
                        row.name, column.name, row.heading, str(test.n),
                        fixed(scores[k].mean, table.digits) if scores[k].n else "–",
                        fixed(test.mean, table.digits), "best" if k == best else "",
                    ])  # fmt: skip
    heads = ["task", "configuration", "metric", "n", "validation", "test", "on validation"]
    said = "; ".join(f"{count(n, 'configuration')} of {model}" for model, n in tried.items())
    note = (
        f"Tried: {said}. Choose one on validation, before looking at test: the best of several on "
        "test is too high. Validation: mean over seeds at the epoch that was scored."
    )
    return Grid("Configurations of one model", heads, lines, [note])
