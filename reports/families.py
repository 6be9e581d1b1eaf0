"""Which tests a p is adjusted for: all pairs of a table, or those declared before results existed.

Choosing a pair after seeing the table and adjusting for it alone is fishing: 8 of 60 suites of
equal models then had a false verdict, where 2 of 60 had one over all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.cells import first_alike, tested_of
from dnabench.reports.evidence import Comparison, Other, OverTasks, SuiteEvidence
from dnabench.reports.grouping import grouped
from dnabench.reports.table import Table

Pair = tuple[int, int]  # columns
Turned = TypeVar("Turned", Comparison, OverTasks)


class Families(NamedTuple):
    """Pairs of columns of one table, either way round."""

    asked: tuple[Pair, ...] | None = None  # shown; None = every pair
    declared: tuple[Pair, ...] = ()  # before results existed

    def judged(self, every: Sequence[Comparison]) -> list[Comparison]:
        """The comparisons to show, each with the p that holds and the other one.

        A declared pair is adjusted for the declared pairs alone. Any other that was asked for stays
        adjusted for every pair; beside it stands what it would be, had the asked been declared.
        """
        small = self._adjusted(every, self.declared)
        as_if = {} if self.asked is None else self._adjusted(every, self.asked)
        out = []
        for d in every:
            key = id(d)
            if key in small:
                p, tests, verdict, reason = small[key]
                other = Other(d.p_holm, d.tests, d.verdict)
                d = replace(d, p_holm=p, tests=tests, verdict=verdict, reason=reason,
                            declared=True, other=other)  # fmt: skip
            elif key in as_if:
                d = replace(d, other=Other(*as_if[key][:3]))
            out.append(d)
        if self.asked is None:
            return out
        by_row = grouped(out, lambda d: d.row.name).values()
        return [d for own in by_row for pair in self.asked for d in _turned(own, pair)]

    def _adjusted(
        self, every: Sequence[Comparison], pairs: Iterable[Pair]
    ) -> dict[int, tuple[float, int, stats.Verdict, str]]:
        """By id of the comparison: p, tests, verdict and reason when only these pairs count."""
        own = [d for d in every if _within((d.i, d.j), pairs)]
        known = [d for d in own if d.row.metric in METRICS and not d.same]
        enough = [d for d in known if min(d.n) >= stats.MIN_SEEDS]
        first = {d.row.name: d.row for d in enough}
        alike = {name: first_alike(row.cells) for name, row in first.items()}
        keys = [(d.row.name, tested_of(alike[d.row.name], d.i, d.j)) for d in enough]
        adjusted = stats.once(stats.holm, [d.p for d in enough], keys)
        p_holm = dict(zip(map(id, enough), adjusted, strict=True))
        tests = len({key for key, p in zip(keys, adjusted, strict=True) if p == p})
        out = {id(d): (float("nan"), tests, d.verdict, d.reason) for d in own}
        for d in known:
            p = p_holm.get(id(d), float("nan"))
            ends = d.nested[1:] if d.nested else None
            found = stats.verdict(d.welch, p, d.row.rope, min(d.n), ends, d.row.sign, d.undefined)
            out[id(d)] = (p, tests, *found)
        return out

    def over_tasks(
        self, suites: Sequence[SuiteEvidence], shown: Sequence[Comparison]
    ) -> list[SuiteEvidence]:
        """The same for pairs over the tasks of a suite, with the verdicts that are shown."""
        return [self._of_suite(suite, shown) for suite in suites]

    def _of_suite(self, suite: SuiteEvidence, shown: Sequence[Comparison]) -> SuiteEvidence:
        rows = {row.name for row in suite.rows}
        small = {(p.i, p.j) for p in suite.pairs if _within((p.i, p.j), self.declared)}
        asked = {(p.i, p.j) for p in suite.pairs if _within((p.i, p.j), self.asked or ())}
        alike = [*zip(*(first_alike(row.cells) for row in suite.rows), strict=True)]
        adjusted: dict[Pair, float] = {}
        for pairs in (sorted(asked - small), sorted(small)):
            raw = [_raw(suite, pair) for pair in pairs]
            keys = [tested_of(alike, *pair) for pair in pairs]
            adjusted |= zip(pairs, stats.once(stats.holm, raw, keys), strict=True)
        tested = len(
            {tested_of(alike, *pair) for pair in small if not math.isnan(_raw(suite, pair))}
        )
        out = []
        for pair in suite.pairs:
            key = pair.i, pair.j
            if self.asked is not None and key not in asked:
                continue
            own = [d for d in shown if d.row.name in rows and {d.i, d.j} == set(key)]
            turned = [d if d.i == pair.i else d.flipped() for d in own]
            wins, losses = (sum(d.verdict == word for d in turned) for word in ("win", "loss"))
            first, second = pair.p_claim, adjusted.get(key, float("nan"))
            if key in small:
                first, second = second, first
            out.append(
                replace(pair, wins=wins, losses=losses,
                        undecided=sum(not d.same for d in own) - wins - losses,
                        pairs_tested=tested if key in small else pair.pairs_tested,
                        p_claim=first, p_claim_other=second)
            )  # fmt: skip
        if self.asked is not None:
            out = [one for pair in self.asked for one in _turned(out, pair)]
        return replace(suite, pairs=tuple(out))


ALL_PAIRS = Families()


def _raw(suite: SuiteEvidence, key: Pair) -> float:
    """P of a pair before any adjustment."""
    return next(p.p_raw for p in suite.pairs if (p.i, p.j) == key)


def _turned(found: Iterable[Turned], pair: Pair) -> list[Turned]:
    """Those of the pair, as its first column against its second."""
    return [d if (d.i, d.j) == pair else d.flipped() for d in found if _within((d.i, d.j), (pair,))]


def _within(pair: Pair, pairs: Iterable[Pair]) -> bool:
    return any(set(pair) == set(one) for one in pairs)


def declared_pairs(table: Table, declared: Iterable[tuple[str, str]]) -> tuple[Pair, ...]:
    """Columns of the pairs of models that were declared: all their columns."""
    return tuple(
        (i, j) for a, b in declared for i in table.matching(a) for j in table.matching(b) if i != j
    )
