"""The evidence in a table: pairs of models on every task, and across the tasks of a suite.

The difference of a pair (i, j) is column i - column j, whether higher or lower scores are better
(`Row.sign`); a lead is by how much i is better.
Seeds: variation between training runs. Examples: sampling of the test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dnabench.reports import stats
from dnabench.reports.blocks import Blocks
from dnabench.reports.grid import Grid
from dnabench.reports.table import Row, Table
from dnabench.reports.trends import Trend


class Interval(NamedTuple):
    """An estimate and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


class Detectable(NamedTuple):
    """What a verdict finds with 80 % power: seeds, test examples and its Holm family counted."""

    difference: float  # the smallest that n seeds of each model detect
    n: int
    needed: float  # seeds of each model for a difference of the row's ROPE; NaN = over 1,000
    tests: int  # that the verdict is adjusted for
    error: float  # that the test examples give a difference; 0 = not known, so seeds only
    examples: int  # test examples; 0 = not known
    hopeless: bool  # no number of seeds finds the ROPE with these examples


class Other(NamedTuple):
    """What the other family of tests would say of a comparison."""

    p_holm: float
    tests: int
    verdict: stats.Verdict


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
    tests: int  # that p_holm is adjusted for
    se: float  # of the difference, over seeds and, where there is `nested`, test examples
    df: float
    p_permutation: float  # exact, two-sided; NaN where there are too many
    g: float
    a12: float
    nested: Interval | None  # seeds and test examples; None without stored predictions
    why_not: str  # why there is no nested interval; empty when there is
    drawn: Blocks | None  # how `nested` draws the test examples
    verdict: stats.Verdict  # of i
    reason: str
    same: bool = False  # both columns have the very same runs, so there is nothing to test
    declared: bool = False  # before results existed: p_holm is then of the declared pairs alone
    other: Other | None = None  # of all pairs when declared; as if declared when it was asked for

    @property
    def means(self) -> tuple[float, float]:
        """Of i and of j."""
        return self.row.cells[self.i].summary.mean, self.row.cells[self.j].summary.mean

    @property
    def undefined(self) -> tuple[int, int]:
        """Runs of i and of j without a score, which no mean and no test counts."""
        return self.row.cells[self.i].undefined, self.row.cells[self.j].undefined

    @property
    def verdict_text(self) -> str:
        """Verdict and reason."""
        return f"{self.verdict} {self.reason}".strip()

    def flipped(self) -> Comparison:
        """The comparison of j against i."""
        w, x = self.welch, self.nested
        turned: dict[stats.Verdict, stats.Verdict] = {"win": "loss", "loss": "win"}
        return replace(
            self, i=self.j, j=self.i, n=self.n[::-1],
            welch=w._replace(difference=-w.difference, t=-w.t, low=-w.high, high=-w.low),
            other=self.other and self.other._replace(
                verdict=turned.get(self.other.verdict, self.other.verdict)
            ),
            g=-self.g, a12=1 - self.a12, nested=x and Interval(-x.value, -x.high, -x.low),
            verdict=turned.get(self.verdict, self.verdict),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Best:
    """The column with a row's best mean, tested against every other (intersection-union).

    All pairs count, whichever are shown.
    """

    row: Row
    column: int
    p: float  # the largest one-sided Welch p against the others
    p_holm: float  # over the tasks of the suite
    beats_all: bool  # the verdict is a win against every other model of the row but its copies
    undecided: Comparison | None  # the least certain that is not a win; None: all are, or unpaired


@dataclass(frozen=True, kw_only=True)
class OverTasks:
    """Column i against column j over the complete tasks of a suite."""

    i: int
    j: int
    wins: int  # verdicts on tasks, as in the comparisons
    losses: int
    undecided: int  # no clear difference, or descriptive; not where both have the same runs
    w: float  # Wilcoxon signed-rank over task means, exact
    p: float
    p_holm: float
    p_nemenyi: float
    posterior: tuple[float, float, float]  # Bayesian signed-rank: j better, same (ROPE), i better
    improvement: Interval  # chance that a run of i beats a run of j on a task; over seeds
    improvement_tasks: Interval  # the same with tasks resampled
    n: int  # seeds of the fewest cell
    lead: stats.Lead  # mean lead over tasks; NaN when their metrics differ
    lead_of_families: stats.Lead  # every family with equal weight; a task without one is its own
    like_these: stats.LikeThese  # the same, families drawn again
    leads: Mapping[str, float]  # family -> mean lead over its tasks
    p_raw: float  # of `lead`, or of ranks when metrics differ; NaN where nothing may be claimed
    p_claim: float  # Holm-adjusted over `pairs_tested`
    pairs_tested: int  # of the suite, shown or not; of a declared pair, the declared ones
    p_claim_other: float = math.nan  # of the other family, see Comparison.other
    ranks_above: int = 0  # 1: i, -1: j, over families that count alike; 0: neither, or not tested
    same: bool = False  # both have the very same runs on every task
    undefined: tuple[int, int] = (0, 0)  # runs of i and of j without a score, over the tasks

    def flipped(self) -> OverTasks:
        """The comparison of j against i."""
        a, b = self.improvement, self.improvement_tasks
        return replace(
            self, i=self.j, j=self.i, wins=self.losses, losses=self.wins,
            posterior=self.posterior[::-1], improvement=Interval(1 - a[0], 1 - a[2], 1 - a[1]),
            improvement_tasks=Interval(1 - b[0], 1 - b[2], 1 - b[1]), lead=self.lead.flipped(),
            leads={family: -lead for family, lead in self.leads.items()},
            lead_of_families=self.lead_of_families.flipped(), like_these=self.like_these.flipped(),
            ranks_above=-self.ranks_above, undefined=self.undefined[::-1],
        )  # fmt: skip


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
    note: str  # sentences, e.g. which tasks are left out; empty when there is nothing to note

    def between(self, i: int, j: int) -> OverTasks | None:
        """Column i against column j; None where they were not compared."""
        found = next((pair for pair in self.pairs if {pair.i, pair.j} == {i, j}), None)
        return found.flipped() if found and found.i != i else found


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that was tested about one table."""

    table: Table
    comparisons: tuple[Comparison, ...]  # by row, then i, then j
    best: tuple[Best, ...]  # a row each, where two columns have scores
    suites: tuple[SuiteEvidence, ...]
    detectable: Mapping[str, Detectable]  # by row name
    remarks: tuple[str, ...]  # from `lint`: repeated runs, no variance, coarse rounding, ...
    sections: tuple[Grid, ...] = ()  # learning curves, leak-free scores, costs, inflation, ...
    tuned: str = ""  # with which budgets models were tuned, in a line; "" = none was
    trends: tuple[Trend, ...] = ()  # by share of train, with the largest share, and what was swept

    def against_best(self) -> tuple[Comparison, ...]:
        """The comparisons with the best column of each row, which is j."""
        leader = {best.row.name: best.column for best in self.best}
        met = [d for d in self.comparisons if leader.get(d.row.name) in (d.i, d.j)]
        return tuple(d if d.j == leader[d.row.name] else d.flipped() for d in met)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything about the records of a folder."""

    evidence: tuple[Evidence, ...]
    audits: tuple[Mapping[str, Any], ...] = ()  # documents of `dnabench audit data`
    commands: tuple[str, ...] = ()  # that made the records, as typed
    date: str = ""  # on which the newest record was written
    notes: tuple[str, ...] = ()  # about the folder, e.g. which files were not counted
