"""What a table's numbers support: pairs of models on every task, and over the tasks of a suite.

Scores are fractions, higher is better; the difference of a pair (i, j) is column i - column j.
Seeds: the noise of training. Examples: the noise of having drawn this test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dnabench.reports import stats
from dnabench.reports.table import Row, Table


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


class Detectable(NamedTuple):
    """What a Welch test at 0.05 sees with a chance of 80 %, with the spread of the row's runs."""

    difference: float  # the smallest, with n seeds of each model
    n: int
    needed: float  # seeds of each model for a difference of the row's ROPE; NaN = over 1,000


class Section(NamedTuple):
    """One more table that belongs to the evidence, in words already."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    says: str  # what it shows and how it was made


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Column i against column j on one row."""

    row: Row
    i: int
    j: int
    n: tuple[int, int]
    welch: stats.Welch
    p: float  # the larger of Welch's and that over seeds and examples, where there is one
    p_holm: float  # over all pairs x tasks that were tested in the suite
    p_bh: float
    p_permutation: float  # exact, two-sided; NaN where there are too many
    g: float
    a12: float
    nested: Interval | None  # seeds and test examples; None without stored predictions
    why_not: str  # why there is no nested interval; empty when there is
    verdict: stats.Verdict  # of i
    reason: str

    @property
    def means(self) -> tuple[float, float]:
        """Of i and of j."""
        return self.row.cells[self.i].summary.mean, self.row.cells[self.j].summary.mean

    def flipped(self) -> Comparison:
        """The same seen from column j."""
        w, x = self.welch, self.nested
        turned: dict[stats.Verdict, stats.Verdict] = {"win": "loss", "loss": "win"}
        return replace(
            self,
            i=self.j,
            j=self.i,
            n=self.n[::-1],
            welch=w._replace(difference=-w.difference, t=-w.t, low=-w.high, high=-w.low),
            g=-self.g,
            a12=1 - self.a12,
            nested=x and Interval(-x.value, -x.high, -x.low),
            verdict=turned.get(self.verdict, self.verdict),
        )


@dataclass(frozen=True, kw_only=True)
class Best:
    """The column with a row's highest mean, tested against every other (intersection-union)."""

    row: Row
    column: int
    p: float  # the largest one-sided Welch p against the others
    p_holm: float  # over the tasks of the suite
    separable: bool  # the verdict is a win against every other model of the row


@dataclass(frozen=True, kw_only=True)
class OverTasks:
    """Column i against column j over the complete tasks of a suite."""

    i: int
    j: int
    wins: int  # verdicts on tasks, as in the comparisons
    losses: int
    open: int  # not separable or descriptive
    w: float  # Wilcoxon signed-rank over task means, exact
    p: float
    p_holm: float
    p_nemenyi: float
    posterior: tuple[float, float, float]  # Bayesian signed-rank: j better, same (ROPE), i better
    improvement: Interval  # chance that a run of i beats a run of j on a task; over seeds
    improvement_tasks: Interval  # the same with tasks drawn again
    lead: float  # mean difference over tasks
    leads: Mapping[str, float]  # family -> mean difference over its tasks
    lead_of_families: float  # mean of `leads`: every family counts the same


@dataclass(frozen=True, kw_only=True)
class SuiteEvidence:
    """All columns that have scores on all of `rows`, over these rows. Needs two of each."""

    suite: str
    rows: tuple[Row, ...]
    columns: tuple[int, ...]  # indices into Table.columns
    ranks: tuple[float, ...]  # average rank of each of `columns`, 1 = best
    friedman: stats.Friedman | None  # None below three columns
    critical_difference: float  # Nemenyi at 0.05, for the figure
    iqm: tuple[Interval, ...]  # per-task min-max normalised, of each of `columns`
    pairs: tuple[OverTasks, ...]
    note: str  # e.g. that fewer than 6 tasks are descriptive only; empty when nothing


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was tested about one table."""

    table: Table
    comparisons: tuple[Comparison, ...]  # by row, then i, then j
    best: tuple[Best, ...]  # a row each, where two columns have scores
    suites: tuple[SuiteEvidence, ...]
    detectable: Mapping[str, Detectable]  # row name -> what the seeds at hand can see
    remarks: tuple[str, ...]  # input lint: duplicated runs, no variance, coarse rounding, ...
    sections: tuple[Section, ...] = ()  # leak-free scores, groups of labels, costs, inflation

    def against_best(self) -> tuple[Comparison, ...]:
        """Of each row the comparisons with the column of the highest mean, which is j."""
        leader = {best.row.name: best.column for best in self.best}
        met = [d for d in self.comparisons if leader.get(d.row.name) in (d.i, d.j)]
        return tuple(d if d.j == leader[d.row.name] else d.flipped() for d in met)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is known of a folder of records."""

    evidence: tuple[Evidence, ...]
    audits: tuple[Mapping[str, Any], ...] = ()  # documents of `dnabench audit data`
    commands: tuple[str, ...] = ()  # that made the records, as typed
