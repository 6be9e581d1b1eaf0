"""Scores of groups of outputs, as DeepSEA's three kinds of mark and DeepSTARR's two promoters."""

from collections.abc import Iterator
from typing import NamedTuple

from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.cells import Cell, summary_of
from dnabench.reports.grid import Grid, fixed
from dnabench.reports.table import Row, Table

TITLE = "By group of outputs"
MEAN = "mean of these"
HOMOLOGY = "homology: "  # begins groups of examples, not of outputs


class GroupScores(NamedTuple):
    """The runs of a row's columns, scored over a group of the task's outputs."""

    metric: str
    group: str  # "groups": the mean of the groups
    of_authors: bool  # whether the task's authors report this metric, not the primary one
    cells: tuple[stats.Summary, ...]  # one a column, as `cells.summary_of`


def group_scores(row: Row) -> Iterator[GroupScores]:
    """Every metric of every group in the records of a row; the authors' metric, the primary one."""
    runs = [run for cell in row.cells for run in cell.runs]
    reported = next((m for run in runs if (m := run.task.get("reported"))), "")
    names = dict.fromkeys(name for run in runs for name in run.scores["test"] if ":" in name)
    split = [(*name.split(":", 1), name) for name in names]
    split.sort(key=lambda s: (s[0] != reported, s[0] != row.metric, s[0], s[1] == "groups"))
    for metric, group, name in split:
        own = metric == reported != row.metric
        yield GroupScores(metric, group, own, tuple(_summary(cell, name) for cell in row.cells))


def other_scores(row: Row) -> Iterator[tuple[str, str, tuple[stats.Summary, ...]]]:
    """The metrics of a row's records but the one that it shows, each with no group."""
    found = {name for cell in row.cells for run in cell.runs for name in run.scores["test"]}
    for metric in sorted(found - {row.metric}):
        if ":" not in metric:
            yield metric, "", tuple(_summary(cell, metric) for cell in row.cells)


def _summary(cell: Cell, name: str) -> stats.Summary:
    return summary_of(cell.runs, lambda run: run.scores["test"].get(name))


def group_section(table: Table) -> Grid:
    """A line a group: the metric that the task's authors report, then the primary one."""
    rows, reported = [], False
    for row in table.rows:
        for one in group_scores(row):
            if one.group.startswith(HOMOLOGY):
                continue
            if one.of_authors or one.metric == row.metric:
                known = METRICS.get(one.metric)
                label = known.heading if known else one.metric
                cells = [_mean_sd(s, table.digits) for s in one.cells]
                label += ", authors'" * one.of_authors
                rows.append([row.name, label, MEAN if one.group == "groups" else one.group, *cells])
                reported |= one.of_authors
    heads = ["task", "metric", "outputs", *(c.name for c in table.columns)]
    note = ["Authors': the metric of the authors' own tables."] * reported
    return Grid(TITLE, heads, rows, note)


def _mean_sd(s: stats.Summary, digits: int) -> str:
    return fixed(s.mean, digits) + (f" ± {fixed(s.sd, digits)}" if s.n > 1 else "")
