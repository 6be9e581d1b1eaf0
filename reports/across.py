"""Evidence across the tasks of a suite (docs/statistics.md)."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dnabench.host.processes import each
from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.cells import first_alike, tested_of
from dnabench.reports.evidence import Comparison, Interval, OverTasks, SuiteEvidence
from dnabench.reports.grouping import grouped
from dnabench.reports.memo import Memo
from dnabench.reports.table import Row, Table
from dnabench.types import Array

Turned = TypeVar("Turned", stats.Lead, stats.LikeThese)


class Shared(NamedTuple):
    """Column i against column j over the tasks that both have."""

    i: int
    j: int
    tasks: int
    difference: stats.Lead
    p_holm: float


def across(
    suite: str, table: Table, rows: Sequence[Row], comparisons: Sequence[Comparison], memo: Memo
) -> list[SuiteEvidence]:
    """Test the models of a suite over the tasks that all of them have; [] below two of either."""
    rows, columns, note = _complete(table, rows)
    if len(rows) < 2 or len(columns) < 2:
        return []
    means = np.array([[row.sign * row.cells[k].summary.mean for k in columns] for row in rows])
    runs = [[row.turned(k) for row in rows] for k in columns]
    sizes = memo.get("iqm", runs, lambda: stats.iqm(stats.min_max(runs)))
    found = SuiteEvidence(
        suite=suite, rows=tuple(rows), columns=tuple(columns), note=note,
        ranks=tuple(float(r) for r in stats.average_ranks(means)),
        friedman=stats.friedman(means) if len(columns) > 2 else None,
        critical_difference=stats.critical_difference(len(columns), len(rows)),
        iqm=tuple(Interval(*size[:3]) for size in sizes),
        pairs=_pairs(rows, columns, means, comparisons, memo),
    )  # fmt: skip
    return [found]


def _complete(table: Table, rows: Sequence[Row]) -> tuple[list[Row], list[int], str]:
    """The complete block of most columns x rows.

    Columns with few rows are dropped first; a task whose data changed counts in the version with
    most runs.
    """
    fullest = {
        task: max(states, key=lambda r: sum(len(c.scores) for c in r.cells))
        for task, states in grouped(rows, lambda r: r.task).items()
    }
    has = {
        k: {task for task, row in fullest.items() if row.cells[k].scores}
        for k in range(len(table.columns))
    }
    columns = sorted((k for k, tasks in has.items() if tasks), key=lambda k: -len(has[k]))
    widest = [columns[:n] for n in range(2, len(columns) + 1)] or [columns]
    sizes = [len(c) * len(_shared(has, c)) for c in widest]
    columns = sorted(widest[sizes.index(max(sizes))])
    shared = _shared(has, columns)
    out = [table.columns[k].name for k, tasks in has.items() if tasks and k not in columns]
    notes, few = [], stats.MIN_TASKS
    if len(shared) < len(fullest):
        notes = [f"Only the {len(shared)} of {len(fullest)} tasks that all these models have."]
    if out:
        notes += [f"Left out because tasks are missing: {', '.join(out)}."]
    if len(shared) < few:
        notes += [f"With fewer than {few} tasks, tests across tasks are descriptive only."]
    return [r for r in fullest.values() if r.task in shared], columns, " ".join(notes)


def _shared(has: Mapping[int, set[str]], columns: Sequence[int]) -> set[str]:
    """Tasks that all of these columns have."""
    return set.intersection(*(has[k] for k in columns)) if columns else set()


def _pairs(
    rows: Sequence[Row], columns: Sequence[int], means: Array, comparisons: Sequence[Comparison],
    memo: Memo,
) -> tuple[OverTasks, ...]:  # fmt: skip
    at = {k: place for place, k in enumerate(columns)}
    named = {row.name for row in rows}
    met = [d for d in comparisons if d.row.name in named and {d.i, d.j} <= at.keys()]
    verdicts = grouped(met, lambda d: (d.i, d.j))
    signed = {(i, j): stats.wilcoxon(means[:, at[i]], means[:, at[j]]) for i, j in verdicts}
    alike = [*zip(*(first_alike(row.cells) for row in rows), strict=True)]
    keys = [tested_of(alike, *pair) for pair in signed]
    adjusted = stats.once(stats.holm, [test.p for test in signed.values()], keys)
    ranks = stats.ranks(means)
    found = [_claim(own, ranks[:, at[j]] - ranks[:, at[i]]) for (i, j), own in verdicts.items()]
    claims, nemenyi, out = [p for p, _ in found], stats.nemenyi(means), []
    tested = len({key for key, p in zip(keys, claims, strict=True) if not math.isnan(p)})
    ropes = np.array([row.rope or 1.0 for row in rows])  # relevant differences

    def sizes(pair: tuple[int, int]) -> tuple[Any, Any]:
        """The Bayesian test and the probability of improvement."""
        x, y = ((means[:, at[k]] / ropes).tolist() for k in pair)
        a, b = ([row.turned(k) for row in rows] for k in pair)
        draw = partial(stats.posterior, x, y, 1.0)
        compute = partial(stats.probability_of_improvement, a, b)
        return memo.get("posterior", [x, y], draw), memo.get("improvement", [a, b], compute)

    p_claims = stats.once(stats.holm, claims, keys)
    for ((i, j), test), p_holm, (p_raw, above), p_claim, (posterior, improvement) in zip(
        signed.items(), adjusted, found, p_claims, each(sizes, list(signed)), strict=True
    ):
        own = verdicts[i, j]
        wins, losses = (sum(d.verdict == word for d in own) for word in ("win", "loss"))
        chance = stats.Size(*improvement)
        out.append(
            OverTasks(
                i=i, j=j, wins=wins, losses=losses,
                undecided=sum(not d.same for d in own) - wins - losses,
                w=test.w, p=test.p, p_holm=p_holm, p_nemenyi=float(nemenyi[at[i], at[j]]),
                posterior=tuple(posterior),
                improvement=Interval(*chance[:3]),
                improvement_tasks=Interval(chance.value, chance.low_tasks, chance.high_tasks),
                n=min(min(d.n) for d in own), p_raw=p_raw, p_claim=p_claim, ranks_above=above,
                pairs_tested=tested,
                same=all(d.same for d in own), undefined=_undefined(own), **_leads(own),
            )
        )  # fmt: skip
    return tuple(out)


def on_one_scale(rows: Iterable[Row]) -> list[Row]:
    """The tasks whose differences may be averaged: those of the metric that most of them have.

    Empty when no metric has more than half, or when it is not known.
    """
    rows = list(rows)
    by_metric = grouped(rows, lambda row: row.metric)
    most = max(by_metric, key=lambda metric: len(by_metric[metric]), default="")
    return by_metric[most] if most in METRICS and 2 * len(by_metric[most]) > len(rows) else []


def unit(row: Row) -> str:
    """What counts as one piece of evidence: the family; a task without one is its own."""
    return f"family {row.family}" if row.family else f"task {row.name}"


def shared_tasks(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Shared]:
    """Each pair over the tasks that both have, where a model lacks some; [] where none does.

    Holm over these pairs, of which copies of a test count once, as where a search chose the
    default. Different pairs are compared on different tasks.
    """
    named = {row.name for row in rows}
    pairs = grouped([d for d in comparisons if d.row.name in named], lambda d: (d.i, d.j))
    counts = {len(own) for own in pairs.values()}
    if len(counts) < 2:
        return []
    leads = {pair: _leads(own)["lead"] for pair, own in pairs.items()}
    enough = [min(min(d.n) for d in own) >= stats.MIN_SEEDS for own in pairs.values()]
    p = [x.p if ok else math.nan for x, ok in zip(leads.values(), enough, strict=True)]
    adjusted = stats.once(stats.holm, p, [_tested(*pair, own) for pair, own in pairs.items()])
    return [
        Shared(*pair, len(pairs[pair]), difference(lead, [d.row for d in pairs[pair]]), p_holm)
        for (pair, lead), p_holm in zip(leads.items(), adjusted, strict=True)
    ]


def _tested(i: int, j: int, own: Sequence[Comparison]) -> Hashable:
    """What the comparisons of two columns test together: the runs of both on these tasks."""
    alike = [first_alike(one.row.cells) for one in own]
    sides = frozenset(tuple(first[k] for first in alike) for k in (i, j))
    return sides, tuple(one.row.name for one in own)


def _leads(own: Sequence[Comparison]) -> dict[str, Any]:
    """The mean leads of a pair, from its comparisons on the tasks."""
    scaled = {row.name for row in on_one_scale(one.row for one in own)}
    used = [one for one in own if one.row.name in scaled]
    families = grouped(own, lambda one: one.row.family or "other")
    leads = {family: _mean_lead(of) for family, of in families.items()}
    if not used:
        nan = math.nan
        none, no = stats.Lead(*[nan] * 6), stats.LikeThese(nan, nan, nan, 0)
        return {"lead": none, "lead_of_families": none, "like_these": no, "leads": leads}
    d = [one.row.sign * one.welch.difference for one in used]
    errors = [one.se for one in used]
    df = [one.df if one.se else math.inf for one in used]
    units = [unit(one.row) for one in used]
    return {
        "lead": stats.lead(d, errors, df, units),
        "lead_of_families": stats.lead(d, errors, df, units, equal=True),
        "like_these": stats.like_these(d, units),
        "leads": leads,
    }


def _mean_lead(own: Sequence[Comparison]) -> float:
    """NaN where the metrics differ."""
    same = len({one.row.metric for one in own}) == 1
    leads = [one.row.sign * one.welch.difference for one in own]
    return float(np.mean(leads)) if same else math.nan


def difference(lead: Turned, rows: Iterable[Row]) -> Turned:
    """A lead over these tasks as the difference of scores, a - b."""
    scaled = on_one_scale(rows)
    return lead.flipped() if scaled and scaled[0].sign < 0 else lead


def _undefined(own: Sequence[Comparison]) -> tuple[int, int]:
    """Runs of i and of j that no test counts, as they have no score."""
    return sum(d.undefined[0] for d in own), sum(d.undefined[1] for d in own)


def _claim(own: Sequence[Comparison], ranks: Array) -> tuple[float, int]:
    """P of a pair over these tasks before adjustment; NaN where nothing may be claimed.

    Nor may it of a model ahead that has undefined runs, as its mean leaves them out.

    Of the mean difference where most tasks have one metric. Else of the differences of ranks, by
    Wilcoxon's test over families, which needs six; then also which of both ranks above the other
    there (OverTasks.ranks_above), else 0.
    """
    if min(min(d.n) for d in own) < stats.MIN_SEEDS or all(d.welch.degenerate for d in own):
        return math.nan, 0
    undefined = _undefined(own)
    if on_one_scale(d.row for d in own):
        lead = _leads(own)["lead"]
        return (math.nan if undefined[0 if lead.value > 0 else 1] else lead.p), 0
    if any(d.row.metric not in METRICS for d in own):  # the larger score may be the worse
        return math.nan, 0
    families = grouped(zip(own, ranks, strict=True), lambda item: unit(item[0].row))
    means = np.array([np.mean([rank for _, rank in of]) for of in families.values()])
    if len(means) < stats.MIN_TASKS:
        return math.nan, 0
    above = _sign(means)
    if above and undefined[0 if above > 0 else 1]:
        return math.nan, 0
    return stats.wilcoxon(means, np.zeros(len(means))).p, above


def _sign(differences: Array) -> int:
    """The sign that the mean and the sum of signed ranks agree on, 0 where they do not."""
    d = differences[np.abs(differences) > stats.TIE]
    by_ranks = np.sign(d) @ stats.ranks(-np.abs(d)[None])[0]
    signs = {int(np.sign(x)) for x in (d.sum(), by_ranks)}
    return signs.pop() if len(signs) == 1 else 0
