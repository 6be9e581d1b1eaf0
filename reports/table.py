"""Records to tables: tasks are rows, models are columns, a cell is the seeds of both.

A table holds one protocol, one limit and one share of train, a row one state of the data, a column
one configuration of a model. Nothing is averaged over any of these; what a cell lacks, it says.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dnabench.metrics import METRICS
from dnabench.protocols import PROTOCOLS
from dnabench.reports.cells import INVALID, NONE, Cell, cell_of, podium
from dnabench.reports.columns import Column, column_keys, columns_of, suite_recipes
from dnabench.reports.grouping import grouped, natural, suite_of
from dnabench.reports.names import alike_named
from dnabench.types import Record

DIGITS = 3
NOT_KNOWN = "metric not known"  # all runs failed
UNKNOWN = "UNKNOWN PROTOCOL {}: how the checkpoint was chosen is not known here."


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task in one state of its data."""

    task: str
    name: str  # task, with data and metric where another row has the same: no two are equal
    data: str
    family: str
    metric: str
    label: str  # of the metric
    rope: float  # smallest relevant difference of the metric
    n_test: int  # examples; 0 = unknown
    cells: tuple[Cell, ...]  # one a column
    best: frozenset[int]  # columns that share the best printed mean; empty below two models
    second: frozenset[int]  # columns that share the next
    chosen_by: str = ""  # metric that the runs had, where another one is shown

    @property
    def sign(self) -> int:
        """-1 where lower is better; 1 elsewhere, and where the metric is not known."""
        known = METRICS.get(self.metric)
        return known.sign if known else 1

    def turned(self, column: int) -> list[float]:
        """The scores of a column, with the other sign where lower is better."""
        return [self.sign * x for x in self.cells[column].values]

    @property
    def heading(self) -> str:
        """The label, with an arrow where lower is better."""
        known = METRICS.get(self.metric)
        return known.heading if known else self.label


@dataclass(frozen=True, kw_only=True)
class Table:
    """One protocol at one limit and one share of train."""

    protocol: str
    why: str  # what the protocol is for
    watermark: str  # empty when there is nothing to warn of
    limit: float
    train_share: float  # NaN = several, each of which has its columns
    digits: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    records: tuple[Record, ...]
    failures: Mapping[tuple[str, str, str], list[int]]  # column name, task, last line -> seeds

    @property
    def n(self) -> int:
        """Seeds, or pretrainings where they stand for them, of the fullest cell."""
        return max((len(c.values) for r in self.rows for c in r.cells), default=0)

    @property
    def nested(self) -> bool:
        """Whether pretrainings stand for seeds somewhere."""
        return any(c.units for r in self.rows for c in r.cells)

    def matching(self, name: str) -> list[int]:
        """Columns of that name; without one, the columns of that model or label."""
        exact = [k for k, c in enumerate(self.columns) if c.name == name]
        return exact or [k for k, c in enumerate(self.columns) if name in (c.model, c.label)]

    @property
    def families(self) -> Mapping[str, list[Row]]:
        """Rows by family, both in order."""
        return grouped(self.rows, lambda r: r.family)


def tables(records: Iterable[Record], digits: int = DIGITS, metric: str = "") -> list[Table]:
    """Sort records into a table for each (protocol, limit, share of train).

    Tables are in the order of these, the largest share first. `metric` is shown in place of that of
    each task; see `shown.check_shown`.

    Failed records are counted, not averaged; means that print alike are tied. Rows are in the order
    of suite, family, name; models in the order in which they appear, `kmer` first; configurations
    of one model by their label. Runs of a model whose recipes differ within a suite are different
    configurations; recipes that differ only between suites are not. Trials of tuning, which have no
    test score, are left out.
    """
    records = alike_named(r for r in records if not r.trial.tuning)
    groups = grouped(records, lambda r: (r.trial.protocol, r.trial.limit, -r.trial.train_share))
    return [_table(groups[key], digits, metric, -key[2]) for key in sorted(groups)]


def across_shares(records: Iterable[Record], metric: str = "") -> list[Table]:
    """All shares of train in one table, as columns of their own, where there are several.

    For learning curves: columns that were trained on less are no rivals in a test.
    """
    records = alike_named(r for r in records if not r.trial.tuning)
    groups = grouped(records, lambda r: (r.trial.protocol, r.trial.limit))
    several = {k: len({r.trial.train_share for r in of}) > 1 for k, of in groups.items()}
    return [_table(groups[k], DIGITS, metric, math.nan) for k in sorted(groups) if several[k]]


def _table(records: Sequence[Record], digits: int, metric: str, train_share: float) -> Table:
    protocol, limit = records[0].trial.protocol, float(records[0].trial.limit)
    recipes = suite_recipes(records)
    key_of = column_keys(records, recipes)
    columns = columns_of(grouped(records, key_of), recipes)
    place = {key: i for i, key in enumerate(columns)}
    rows = _rows(records, lambda r: place[key_of(r)], len(columns), digits, metric)
    lineup, known = tuple(columns.values()), PROTOCOLS.get(protocol)

    def failure_of(r: Record) -> tuple[str, str, str]:
        why = r.reason if r.error else f"invalid: {r.flags.get(INVALID)}"
        return columns[key_of(r)].name, r.trial.task, why

    failures = grouped((r for r in records if r.error or r.flags.get(INVALID)), failure_of)
    return Table(
        protocol=protocol, limit=limit, train_share=train_share, digits=digits, columns=lineup,
        rows=rows, why=known.why if known else "not a protocol of this version of dnabench",
        watermark=known.watermark if known else UNKNOWN.format(protocol),
        records=tuple(records),
        failures={k: sorted(r.trial.seed for r in failed) for k, failed in failures.items()},
    )  # fmt: skip


def _rows(
    records: Sequence[Record], column_of: Callable[[Record], int], n_columns: int, digits: int,
    shown: str,
) -> tuple[Row, ...]:  # fmt: skip
    ended = [r for r in records if r.task]  # failed runs do not say the task's own metric
    about = {(r.trial.task, r.trial.data): r.task for r in ended}
    own = {(r.trial.task, r.trial.data): r.task for r in ended if not r.trial.metric}

    def row_of(r: Record) -> tuple[str, str, str]:
        at = r.trial.task, r.trial.data
        chosen_by = r.task.get("metric") or r.trial.metric or own.get(at, {}).get("metric", "")
        return *at, chosen_by

    groups = grouped(records, row_of)
    measures = Counter(key[:2] for key in groups)
    states = Counter(task for task, _ in measures)
    out = []
    for (task, data, chosen_by), mine in groups.items():
        found, metric = grouped(mine, column_of), shown or chosen_by
        cells = [cell_of(found.get(i, []), metric) for i in range(n_columns)]
        facts, known = about.get((task, data), {}), METRICS.get(metric)
        sign = known.sign if known else 1
        best, second = podium(cells, digits, sign) if known or not metric else (NONE, NONE)
        name = task + f" @{data[:6]}" * (states[task] > 1)
        out.append(
            Row(
                task=task, data=data,
                name=name + f" ({chosen_by or NOT_KNOWN})" * (measures[task, data] > 1),
                family=str(facts.get("family", "")), metric=metric,
                label=known.label if known else metric, rope=known.rope if known else 0.0,
                n_test=int(facts.get("n_test", 0)), cells=tuple(cells), best=best, second=second,
                chosen_by=chosen_by if chosen_by != metric else "",
            )
        )  # fmt: skip
    order = sorted(out, key=lambda r: (suite_of(r), natural(r.family), natural(r.name), r.metric))
    return tuple(order)
