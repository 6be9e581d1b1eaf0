"""Do rows of scores look like independent runs? Patterns that independent seeds seldom show.

A row is the scores of one model on one task, one a seed, in the order of the seeds. A remark names
a pattern, not its cause.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dnabench.reports.grouping import grouped
from dnabench.reports.stats import patterns
from dnabench.reports.stats.patterns import Floats, Key, Look, Rows

RATE = 0.05
KINDS: Mapping[str, Callable[[Rows], Iterator[Look]]] = {
    "repeated": patterns.repeated, "equal values": patterns.equal, "shared": patterns.shared,
    "rounding": patterns.rounding, "last digits": patterns.last_digits, "period": patterns.periods,
    "correlated": patterns.correlated,
}  # fmt: skip
MOST_DECIMALS = 6  # more, and rounding cannot be seen
SMALL_TEST = 1000  # examples, where the size of the test split is not known
ENOUGH_PAIRS = 90  # of other models' scores, to estimate how often scores of a task are equal
BESIDE = 0.1  # expected number by chance below which a row is named beside an alarm


class Remark(NamedTuple):
    """One pattern in one or more rows."""

    kind: str
    where: tuple[Key, ...]
    says: str
    p: float  # if runs were independent, before counting the looks; NaN for a plain fact
    alarm: bool  # False: too weak to stand alone, named beside an alarm of the same kind
    numbers: Mapping[str, Any]


def lint(
    table: Mapping[Key, Sequence[float]], decimals: int | None = None,
    n_test: Mapping[str, int] | None = None, rate: float = RATE,
) -> list[Remark]:  # fmt: skip
    """Look for rows that independent runs would seldom give.

    Args:
        table: (model, task) -> scores in the order of the seeds.
        decimals: of the scores as they are written; found from them when None.
        n_test: task -> examples of its test split. A metric on few examples takes few values, so
            that repeats mean less. 1,000 where it is not known and no other model tells.
        rate: chance that a table of independent runs gets any remark other than plain facts.

    Returns:
        Plain facts first (zero variance, unequal n, few decimals), then patterns, `KINDS` in order,
        the strongest first.

    Raises:
        ValueError: when a score is not finite, or when a row is empty.

    Accuracy:
        The rate is split evenly over the seven kinds, within a kind by Holm over all looks. The
        period test is exact; the others take scores as normal within a row.

    Source:
        Ours. The partition test is a permutation test (Fisher 1935); last digits: Mosimann et al.
        1995, Accountability in Research 4:31; Holm 1979, Scand. J. Stat. 6:65.
    """
    rows = {key: np.asarray(scores, dtype=np.float64) for key, scores in table.items()}
    for (model, task), x in rows.items():
        if not x.size or not np.isfinite(x).all():
            raise ValueError(f"scores of {model} on {task} are {list(x)}; need finite numbers")
    remarks = list(_facts(rows, decimals))
    varied = {key: x for key, x in rows.items() if len(x) > 1 and np.ptp(x) > 0}
    prepared = _prepared(varied, decimals, n_test or {})
    for kind, find in KINDS.items():
        remarks += _judged(kind, list(find(prepared)), rate / len(KINDS))
    return remarks


def _facts(rows: Mapping[Key, Floats], decimals: int | None) -> Iterator[Remark]:
    for key, x in rows.items():
        if len(x) > 1 and np.ptp(x) == 0:
            says = f"all {len(x)} runs score {x[0]:g}"
            yield Remark("zero variance", (key,), says, math.nan, True, {"n": len(x)})
    if len(set(map(len, rows.values()))) > 1:
        models = grouped(rows, lambda key: key[0]).items()
        sizes = {model: sorted({len(rows[k]) for k in keys}) for model, keys in models}
        listed = {model: "/".join(map(str, found)) for model, found in sizes.items()}
        says = "numbers of seeds differ: " + ", ".join(f"{m} {n}" for m, n in listed.items())
        yield Remark("unequal n", (), says, math.nan, True, listed)
    values = np.concatenate(list(rows.values())) if rows else np.zeros(0)
    percent = bool((np.abs(values) > 1.5).any())
    d = decimals_of(values) if decimals is None else decimals
    if len(values) > 1 and np.ptp(values) > 0 and d < (2 if percent else 3):
        says = f"scores have {d} decimal{'s' * (d != 1)}; ties and repeats are not informative"
        yield Remark("few decimals", (), says, math.nan, True, {"decimals": d})


def _prepared(rows: Mapping[Key, Floats], decimals: int | None, n_test: Mapping[str, int]) -> Rows:
    """Resolution of the scores and the chance of equal ones, row by row."""
    d = decimals if decimals is not None else decimals_of(np.concatenate([*rows.values(), [0.0]]))
    unit = 10.0**-d if d <= MOST_DECIMALS else 0.0
    near, equal = dict[Key, float](), dict[Key, float]()
    for task, keys in grouped(rows, lambda key: key[1]).items():
        pooled = np.unique(np.concatenate([rows[key] for key in keys]))
        gaps = np.diff(pooled)
        smallest = float(gaps[gaps > 1e-9].min(initial=np.inf))
        scale = 100.0 if pooled[-1] > 1.5 else 1.0
        step = max(unit, smallest if math.isfinite(smallest) else 0.0)
        floor = 2 * scale / n_test.get(task, SMALL_TEST)  # MCC moves by 2 / n
        for key in keys:
            others = [rows[k] for k in keys if k != key]
            estimated = sum(math.comb(len(x), 2) for x in others) >= ENOUGH_PAIRS
            near[key] = max(step, _step_of(others) if estimated else floor)
            equal[key] = min(1.0, near[key] * _density(rows[key]))
    return Rows(rows, d, unit, near, equal)


def _step_of(rows: Sequence[Floats]) -> float:
    """How far apart scores would lie evenly for rows to have as many equal ones as they have."""
    equal = sum(len(x) - len(np.unique(np.round(x, 9))) for x in rows)
    return (equal + 0.5) / sum(math.comb(len(x), 2) * _density(x) for x in rows)


def _density(row: Floats) -> float:
    """Chance that two runs score the same, by the distance of neighbouring scores."""
    return 1 / (2 * math.sqrt(math.pi) * float(row.std(ddof=1)))


def _judged(kind: str, looks: Sequence[Look], rate: float) -> list[Remark]:
    """Alarms by Holm; beside an alarm, weaker patterns of the same kind."""
    ranked, stopped = sorted(looks, key=lambda look: look.p), False
    out: list[Remark] = []
    for rank, look in enumerate(ranked):
        stopped = stopped or not look.p * (len(looks) - rank) < rate
        if not stopped or (out and look.p * len(looks) < BESIDE):
            out.append(Remark(kind, look.where, look.says, look.p, not stopped, look.numbers))
    return out


def decimals_of(values: Sequence[float] | Floats) -> int:
    """Fewest decimals that write every value exactly; MOST_DECIMALS + 1 when none does."""
    x = np.asarray(values, dtype=np.float64)
    for d in range(MOST_DECIMALS + 1):
        if np.allclose(x, np.round(x, d), rtol=0, atol=1e-9):
            return d
    return MOST_DECIMALS + 1
