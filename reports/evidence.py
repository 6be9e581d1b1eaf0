"""What a table's numbers support: every pair of models on every task, and over the tasks of a suite.

Scores are fractions, higher is better; a pair is (column i, column j) with i < j, differences are
i - j. Seeds: the noise of training. Examples: the noise of having drawn this test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dnabench.reports import stats
from dnabench.reports.table import Row, Table


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Column i against column j on one row."""

    row: Row
    i: int
    j: int
    n: tuple[int, int]
    welch: stats.Welch
    p_holm: float  # over all pairs x tasks of the suite
    p_bh: float
    p_permutation: float  # exact, two-sided; NaN where there are too many
    g: float
    a12: float
    nested: Interval | None  # seeds and test examples; None without stored predictions
    why_not: str  # why there is no nested interval; empty when there is
    verdict: stats.Verdict  # of i
    reason: str


@dataclass(frozen=True, kw_only=True)
class Best:
    """The column with the highest mean of a row, tested against every other (intersection-union)."""

    row: Row
    column: int
    p: float  # the largest one-sided Welch p against the others
    p_holm: float  # over the tasks of the suite
    separable: bool


@dataclass(frozen=True, kw_only=True)
class OverTasks:
    """Column i against column j over the complete tasks of a suite."""

    i: int
    j: int
    wins: int  # verdicts on tasks, as in the duels
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
    duels: tuple[Duel, ...]  # by row, then i, then j
    best: tuple[Best, ...]  # a row each, where two columns have scores
    suites: tuple[SuiteEvidence, ...]
    detectable: Mapping[str, tuple[float, int]]  # row name -> (smallest difference seen at n, n)
    remarks: tuple[str, ...]  # input lint: duplicated runs, no variance, coarse rounding, ...
