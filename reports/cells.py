"""A cell of a table: the runs of one column on one row."""

import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from dnabench.reports import stats
from dnabench.reports.grid import fixed
from dnabench.types import Record

INVALID = "invalid"  # flag of a record whose score does not follow from its predictions
# flag of a record in a table of regimes: {"column": id, "label": .., "unit": pretraining or None}
REGIME = "regime"
NONE = frozenset[int]()


def unit_of(record: Record) -> int | None:
    """The pretraining that a run shares with others; None = the run stands for itself."""
    regime = record.flags.get(REGIME)
    return regime["unit"] if regime else None


def by_unit(values: Sequence[float], units: Sequence[int | None]) -> tuple[float, ...]:
    """What is independent: the values, or the means of the values of a unit each.

    Args:
        values: (n,), one a run.
        units: (n,), as of `unit_of`; where a run stands for itself, all do.
    """
    if None in units:
        return tuple(values)
    own: dict[int | None, list[float]] = {}
    for unit, value in zip(units, values, strict=True):
        own.setdefault(unit, []).append(value)
    return tuple(math.fsum(several) / len(several) for several in own.values())


def summary_of(runs: Sequence[Record], value: Callable[[Record], float | None]) -> stats.Summary:
    """n, mean, sd and so on of a number of runs, by `by_unit`; runs without it are left out."""
    found = [(x, unit_of(run)) for run in runs if (x := value(run)) is not None]
    known = [(x, unit) for x, unit in found if math.isfinite(x)]
    return stats.summary(by_unit([x for x, _ in known], [unit for _, unit in known]))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The runs of one column on one row."""

    # seed -> primary metric on test, seeds ascending; where runs share a seed, see `_numbers`
    scores: Mapping[int, float]
    runs: tuple[Record, ...] = ()  # the records of these scores, in their order
    failed: int = 0
    invalid: tuple[Record, ...] = ()  # runs whose score does not follow from their predictions
    undefined: int = 0  # runs without that metric, as AUROC of one class or with equal answers
    collapsed: int = 0  # runs in `scores` that predict one class or value for everything
    # seed -> pretraining that the run began with; {} = runs are independent
    units: Mapping[int, int] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Whether nothing was run."""
        return not (self.scores or self.failed or self.undefined or self.invalid)

    @property
    def values(self) -> tuple[float, ...]:
        """What is independent: scores of runs, or the means of the runs of a pretraining each."""
        return by_unit([*self.scores.values()], [self.units.get(seed) for seed in self.scores])

    def has_runs_of(self, other: "Cell") -> bool:
        """Whether both have the very same runs, as where a search chose the default."""
        return [r.trial.id for r in self.runs] == [r.trial.id for r in other.runs]

    @property
    def summary(self) -> stats.Summary:
        """n, mean, sd and so on of the values."""
        return stats.summary(self.values)


def first_alike(cells: Sequence[Cell]) -> list[int]:
    """Of each column the first with its very runs, as where a search chose the default."""
    first: dict[tuple[int, tuple[str, ...]], int] = {}
    runs = [(cell.undefined, tuple(r.trial.id for r in cell.runs)) for cell in cells]
    return [first.setdefault(own, column) for column, own in enumerate(runs)]


def tested_of(first: Sequence[Hashable], i: int, j: int) -> frozenset[Hashable]:
    """What a comparison of two columns is the test of; `first` as of `first_alike`, or several."""
    return frozenset((first[i], first[j]))


def cell_of(records: Sequence[Record], metric: str) -> Cell:
    """The runs of a column on a row, scored by a metric."""
    whole = [r for r in records if not r.error]
    ended = sorted((r for r in whole if not r.flags.get(INVALID)), key=lambda r: r.trial.seed)
    numbers = _numbers(ended)
    scores = {numbers[r.trial.id]: r.scores.get("test", {}).get(metric) for r in ended}
    defined = {seed: x for seed, x in scores.items() if x is not None and math.isfinite(x)}
    runs = tuple(r for r in ended if numbers[r.trial.id] in defined)
    return Cell(
        scores=defined, runs=runs, failed=len(records) - len(whole),
        invalid=tuple(r for r in whole if r.flags.get(INVALID)),
        undefined=len(scores) - len(defined),
        collapsed=sum(bool(r.flags.get("collapsed")) for r in runs),
        units={numbers[r.trial.id]: at for r in runs if (at := unit_of(r)) is not None},
    )  # fmt: skip


def _numbers(runs: Sequence[Record]) -> dict[str, int]:
    """Trial id -> seed; where runs share one, as of two pretrainings, the next that is free."""
    out: dict[str, int] = {}
    free = itertools.count(1 + max((r.trial.seed for r in runs), default=0))
    used = set[int]()
    for r in runs:
        out[r.trial.id] = next(free) if r.trial.seed in used else r.trial.seed
        used.add(r.trial.seed)
    return out


def podium(cells: Sequence[Cell], digits: int, sign: int) -> tuple[frozenset[int], frozenset[int]]:
    """Columns with the best mean as printed, and with the next."""
    means = {i: float(fixed(c.summary.mean, digits)) for i, c in enumerate(cells) if c.scores}
    if len(means) < 2:
        return NONE, NONE
    first, *rest = sorted(set(means.values()), reverse=sign > 0)
    best = frozenset(i for i, mean in means.items() if mean == first)
    return best, frozenset(i for i, mean in means.items() if rest and mean == rest[0])
