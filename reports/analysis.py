"""From a table to its evidence: which test answers which question (docs/statistics.md)."""

import math
from collections.abc import Iterable, Sequence
from itertools import combinations

from dnabench.host.processes import each
from dnabench.metrics import METRICS
from dnabench.reports import evidence, stats
from dnabench.reports.across import across
from dnabench.reports.blocks import Blocks
from dnabench.reports.cells import first_alike, tested_of
from dnabench.reports.evidence import Best, Comparison, Interval, SuiteEvidence
from dnabench.reports.families import ALL_PAIRS, Families
from dnabench.reports.grouping import grouped, suite_of
from dnabench.reports.memo import Memo
from dnabench.reports.pooling import mixed_cells, repeated_runs, unlike_models
from dnabench.reports.resampling import Resampled, Resampler
from dnabench.reports.stats.examples import Nested
from dnabench.reports.stats.lint import lint
from dnabench.reports.table import Row, Table

Pair = tuple[int, int]  # columns
MOST_SEEDS = 1000  # a larger number is reported as "over 1,000"
KEEP_NOTHING = Memo(None)
SAME = "both columns have the same runs"
NO_TEST = stats.welch((0.0, 0.0), (0.0, 0.0))  # of runs with themselves: no difference, no error


def analyze(
    table: Table, resampler: Resampler | None = None, pairs: Iterable[Pair] | None = None,
    memo: Memo = KEEP_NOTHING, families: Families = ALL_PAIRS,
) -> evidence.Evidence:  # fmt: skip
    """Test what the table shows; differences are first column - second column of a pair.

    Without a resampler, intervals are over seeds only. `pairs` are the columns to compare, None for
    every pair; the tests of a suite are one Holm family. `families` says which of these are shown,
    and which were declared before results existed. Two calls give the same numbers.

    Source: Ours, from Demsar 2006, Benavoli et al. 2016 and 2017, Bouthillier et al. 2021.
    """
    chosen = list(combinations(range(len(table.columns)), 2)) if pairs is None else list(pairs)
    comparisons: list[Comparison] = []
    best: list[Best] = []
    suites: list[SuiteEvidence] = []
    seen: dict[str, evidence.Detectable] = {}
    for suite, rows in grouped(table.rows, suite_of).items():
        every = _comparisons(rows, chosen, resampler, memo)
        compared, judged = families.judged(every), families._replace(asked=None).judged(every)
        comparisons += compared
        best += _best(rows, judged)
        seen |= {row.name: one for row in rows if (one := _detectable(row, compared, judged))}
        suites += families.over_tasks(across(suite, table, rows, every, memo), compared)
    return evidence.Evidence(
        table=table, comparisons=tuple(comparisons), best=tuple(best), suites=tuple(suites),
        detectable=seen,
        remarks=(
            *_one_class(table), *_chosen_on_one_class(table), *unlike_models(table),
            *repeated_runs(table), *mixed_cells(table), *_of_networks(table),
            *memo.get("remarks", [_runs(table), _sizes(table)], lambda: _remarks(table)),
        ),
    )  # fmt: skip


def _comparisons(
    rows: Sequence[Row], pairs: Sequence[Pair], resampler: Resampler | None, memo: Memo
) -> list[Comparison]:
    """All pairs on all rows of a suite, adjusted together."""
    places, found, drawn = [], list[Nested | str](), list[Blocks | None]()
    for row, resampled in zip(rows, _resampled(rows, pairs, resampler), strict=True):
        places += [(row, i, j) for i, j in resampled.intervals]
        found += resampled.intervals.values()
        drawn += [resampled.drawn] * len(resampled.intervals)
    same = [row.cells[i].has_runs_of(row.cells[j]) for row, i, j in places]
    found = [SAME if one else nested for one, nested in zip(same, found, strict=True)]
    values = [(row.cells[i].values, row.cells[j].values) for row, i, j in places]
    exact = memo.get("permutation", values, lambda: [stats.permutation(a, b) for a, b in values])
    tests = [
        NO_TEST if one else stats.welch(a, b) for one, (a, b) in zip(same, values, strict=True)
    ]  # fmt: skip
    p = [_larger_p(test, nested) for test, nested in zip(tests, found, strict=True)]
    enough = [
        min(len(a), len(b)) >= stats.MIN_SEEDS and row.metric in METRICS
        for (a, b), (row, _, _) in zip(values, places, strict=True)
    ]
    counted = [x if is_enough else math.nan for x, is_enough in zip(p, enough, strict=True)]
    first = {row.name: first_alike(row.cells) for row in rows}
    keys = [(row.name, tested_of(first[row.name], i, j)) for row, i, j in places]
    holm, bh = (stats.once(adjust, counted, keys) for adjust in (stats.holm, stats.bh))
    adjusted = zip(holm, bh, exact, strict=True)
    tests_made = len({key for key, x in zip(keys, counted, strict=True) if not math.isnan(x)})
    out = []
    for (row, i, j), (a, b), one, test, nested, how, p_own, (p_holm, p_bh, p_exact) in zip(
        places, values, same, tests, found, drawn, p, adjusted, strict=True
    ):
        ends = None if isinstance(nested, str) else (nested.low, nested.high)
        error = (test.se, test.df) if isinstance(nested, str) else (nested.se, nested.df)
        undefined = row.cells[i].undefined, row.cells[j].undefined
        verdict, reason = stats.verdict(
            test, p_holm, row.rope, min(len(a), len(b)), ends, row.sign, undefined
        )
        if row.metric not in METRICS:
            verdict, reason = "descriptive", f"only (unknown metric {row.metric})"
        if one:
            verdict, reason = "no clear difference", "(the same runs)"
        out.append(
            Comparison(
                row=row, i=i, j=j, n=(len(a), len(b)), welch=test, p=p_own, p_holm=p_holm,
                p_bh=p_bh, tests=tests_made, se=error[0], df=error[1],
                p_permutation=math.nan if one else p_exact, same=one,
                g=stats.hedges_g(a, b), a12=stats.a12(a, b),
                nested=Interval(test.difference, *ends) if ends else None,
                why_not=nested if isinstance(nested, str) else "", drawn=how if ends else None,
                verdict=verdict, reason=reason,
            )
        )  # fmt: skip
    return out


def _larger_p(test: stats.Welch, nested: Nested | str) -> float:
    """The larger of Welch's p and that over seeds and test examples.

    Holm over Welch's p alone, with the interval as a second condition, finds a difference in up to
    64 % of null suites of 18 tasks; with this p in 5 % (docs/benchmarks/coverage.md).
    """
    if isinstance(nested, str) or math.isnan(nested.p):
        return test.p
    return max(test.p, nested.p)


def _resampled(
    rows: Sequence[Row], pairs: Sequence[Pair], resampler: Resampler | None
) -> list[Resampled]:
    """Each pair with scores: its interval over seeds and test examples, or why there is none."""

    def of_row(row: Row) -> Resampled:
        scored = [(i, j) for i, j in pairs if row.cells[i].scores and row.cells[j].scores]
        if resampler is None:
            return Resampled(dict.fromkeys(scored, "the predictions were not read"), {})
        runs = {k: row.cells[k].runs for k in sorted({k for pair in scored for k in pair})}
        return resampler.row(runs, row.metric, scored) if scored else Resampled({}, {})

    def came(row: Row) -> None:
        if resampler is not None:
            resampler.say([run for cell in row.cells for run in cell.runs])

    return each(of_row, rows, came)


def _best(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Best]:
    """The claim of one model at a time: its p on every task of the suite share one Holm family.

    No column is a rival of its copies; of these the last is named, as that which was tuned.
    """
    tops: list[tuple[Row, int]] = []
    for row in rows:
        means = {k: row.sign * c.summary.mean for k, c in enumerate(row.cells) if c.scores}
        top = max(means, key=means.__getitem__, default=0)
        if _rivals(row, top):
            tops.append((row, max(k for k in means if row.cells[k].has_runs_of(row.cells[top]))))
    out = {}
    for top in {k for _, k in tops}:
        own = [row for row, _ in tops if row.cells[top].scores]
        p = [
            stats.best_p([row.turned(k) for k in (top, *sorted(_rivals(row, top)))], 0)
            for row in own
        ]
        for row, p_own, p_holm in zip(own, p, stats.holm(p), strict=True):
            rivals = [d for d in comparisons if d.row is row and top in (d.i, d.j) and not d.same]
            against = [d if d.i == top else d.flipped() for d in rivals]
            beaten = {d.j for d in against if d.verdict == "win"}
            out[row.name, top] = Best(
                row=row, column=top, p=p_own, p_holm=p_holm, beats_all=beaten == _rivals(row, top),
                undecided=_least_certain([d for d in against if d.verdict != "win"]),
            )  # fmt: skip
    return [out[row.name, top] for row, top in tops]


def _rivals(row: Row, column: int) -> set[int]:
    """The other columns with scores, but those with the same runs."""
    mine = row.cells[column]
    return {k for k, c in enumerate(row.cells) if c.scores and not c.has_runs_of(mine)}


def _least_certain(found: Sequence[Comparison]) -> Comparison | None:
    """One of which nothing may be claimed, else the one with the largest p."""
    untested = (d for d in found if d.verdict == "descriptive")
    return next(untested, max(found, key=lambda d: d.p_holm, default=None))


def _detectable(
    row: Row, shown: Sequence[Comparison], every: Sequence[Comparison]
) -> evidence.Detectable | None:
    """From the pooled sd of the row's cells; None where nothing varies, or nothing is compared.

    Of the comparisons that are shown; where none is, as with one model on other tasks, of all.
    """
    own = [d for d in shown if d.row is row and not d.same]
    own = own or [d for d in every if d.row is row and not d.same]
    cells = [
        c.summary for k, c in enumerate(row.cells)
        if len(c.values) > 1 and not _repeats_default(row, k)
    ]  # fmt: skip
    degrees = sum(c.n - 1 for c in cells)
    sd = math.sqrt(sum(c.sd**2 * (c.n - 1) for c in cells) / degrees) if cells else 0.0
    if not sd or not own:
        return None
    tests = max(d.tests for d in own) or 1
    errors = [max(0.0, d.se**2 - d.welch.se**2) for d in own if d.nested and math.isfinite(d.se)]
    error, n = math.sqrt(sum(errors) / len(errors)) if errors else 0.0, min(c.n for c in cells)
    alpha = stats.ALPHA / tests
    needed = stats.seeds_needed(sd, sd, row.rope, alpha, error=error) if row.rope else math.nan
    return evidence.Detectable(
        difference=max(stats.detectable(sd, sd, n, alpha, error=error), row.rope), n=n,
        needed=needed if 0 < needed <= MOST_SEEDS else math.nan, tests=tests, error=error,
        examples=row.n_test, hopeless=stats.out_of_reach(row.rope, error, alpha),
    )  # fmt: skip


def _one_class(table: Table) -> list[str]:
    flagged = {
        (r.trial.task, r.trial.data) for r in table.records if r.flags.get("one_class")
    }  # fmt: skip
    names = ", ".join(row.name for row in table.rows if (row.task, row.data) in flagged)
    return [f"{names}: all test labels are of one class, so the metric is undefined"] * bool(names)


def _chosen_on_one_class(table: Table) -> list[str]:
    """Tasks whose epochs were chosen on validation of one class, as only a limit allows."""
    flagged = {
        (r.trial.task, r.trial.data): r.flags["one_class_validation"]
        for r in table.records if r.flags.get("one_class_validation")
    }  # fmt: skip
    return [
        f"{row.name}: under this limit validation has one class alone, "
        f"{flagged[row.task, row.data]!r}, so the choice of the epoch says nothing; raise --limit"
        for row in table.rows if (row.task, row.data) in flagged
    ]  # fmt: skip


def _of_networks(table: Table) -> list[str]:
    """What the checks of networks found, once a column."""
    found = {
        f"{column.name}: {text}": None
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        for run in cell.runs
        for text in run.flags.get("contract", ())
    }
    return list(found)


def _remarks(table: Table) -> list[str]:
    runs = {(column, task): values for column, task, values in _runs(table)}
    found = lint(runs, n_test=_sizes(table))
    return [f"{_place(remark.where)}: {remark.says}" for remark in found]


def _sizes(table: Table) -> dict[str, int]:
    """Test examples by task, where they are known."""
    return {row.name: row.n_test for row in table.rows if row.n_test}


def _place(where: Sequence[tuple[str, str]]) -> str:
    """Model and task of the rows that a remark is about; the model once where it is the same."""
    models = dict.fromkeys(model for model, _ in where)
    named = [f"{m} on {', '.join(t for model, t in where if model == m)}" for m in models]
    return "; ".join(named) or "all rows"


def _runs(table: Table) -> list[tuple[str, str, list[float]]]:
    return [
        (table.columns[k].name, row.name, list(cell.values))
        for row in table.rows
        for k, cell in enumerate(row.cells)
        if cell.scores and not _repeats_default(row, k)
    ]


def _repeats_default(row: Row, column: int) -> bool:
    """Whether a cell holds the runs of an earlier one, as where a search chose the default."""
    return any(cell.has_runs_of(row.cells[column]) for cell in row.cells[:column])
