"""Seven patterns that independent runs seldom show in their scores.

A row is the scores of one model on one task, one a seed, in the order of the seeds. Every function
that finds patterns takes `Rows` and yields one `Look` a row, pair or model, found or not, since
`lint` adjusts p for the number of looks.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, chdtrc, pdtrc, stdtr, stdtrit

from dnabench.reports.grouping import grouped

Key = tuple[str, str]  # model, task
Floats = NDArray[np.float64]
PERIODS = (2, 3, 4, 5)
AT_ONCE = 500  # partitions that are compared together
MOST_PARTITIONS = 10_000  # above, 4,999 random ones stand for all
FEWEST = 100  # below, the most extreme one is not informative
WORTH_A_SECOND_LOOK = 0.1  # pairs expected by chance below which seeds are left out one by one
_ENOUGH = 30  # scores of other models, to estimate how a task's scores are spread over digits


class Look(NamedTuple):
    """A pattern that was looked for, and how likely independent runs show as much of it."""

    where: tuple[Key, ...]
    says: str
    p: float
    numbers: Mapping[str, Any]


NOTHING = Look((), "", 1.0, {})  # looked, and it is not there


class Rows(NamedTuple):
    """Rows of scores, and what is known of how finely scores can differ."""

    scores: Mapping[Key, Floats]  # of every row at least two differ
    decimals: int
    unit: float  # of the last decimal; 0 where rounding cannot be seen
    near: Mapping[Key, float]  # how far apart scores would lie evenly to be equal as often
    equal: Mapping[Key, float]  # chance that two runs of the row score the same

    def by_model(self) -> dict[str, list[Key]]:
        """Rows of each model."""
        return grouped(self.scores, lambda key: key[0])

    def alike(self) -> list[tuple[str, int, list[Key]]]:
        """Rows of one model with the same number of scores: model, that number, rows."""
        return [
            (model, n, same)
            for model, keys in self.by_model().items()
            for n, same in grouped(keys, lambda key: len(self.scores[key])).items()
        ]

    def sd(self, key: Key) -> float:
        """Sample standard deviation of a row."""
        return float(self.scores[key].std(ddof=1))

    def others(self, key: Key) -> Floats:
        """Scores of every other model on the task."""
        found = [x for k, x in self.scores.items() if k[1] == key[1] and k[0] != key[0]]
        return np.concatenate([*found, np.zeros(0)])

    def digits_free(self, key: Key, least: float) -> bool:
        """Whether the task itself lets last digits fall freely: those of other models do."""
        others = self.others(key)
        return len(others) >= _ENOUGH and _uniform(self.digits(others)) > least

    def digits(self, values: Floats) -> NDArray[np.int64]:
        """Values in units of the last decimal."""
        return np.rint(values / self.unit).astype(np.int64)


def period_test(rows: Floats, period: int) -> tuple[Floats, Floats, int]:
    """Are seeds a fixed number of places apart more alike than other groupings of the seeds?

    Of scores (m, n), the first floor(n / period) * period seeds are grouped by place modulo the
    period, 2 to n / 2; the sum of squares between groups is compared with that of every partition
    into groups of that size.

    Returns:
        p, (m,): share of partitions at least as extreme; R2, (m,): variance between groups over
        all variance, 0 where there is none; number of partitions.

    Accuracy:
        Exact up to 10,000 partitions, else 4,999 random ones with a fixed seed.

    Source: Ours, after Fisher 1935, The Design of Experiments, section 21.
    """
    n = rows.shape[1] // period * period
    x = rows[:, :n] - rows[:, :n].mean(1, keepdims=True)
    groups = _partitions(n, period)
    parts = np.array_split(groups, math.ceil(len(groups) / AT_ONCE))
    between = np.concatenate([_between(x, part) for part in parts], 1) / (n // period)
    ours = (x.reshape(len(x), -1, period).sum(1) ** 2).sum(-1) / (n // period)
    total = (x**2).sum(1)
    p = (between >= ours[:, None] - 1e-9 * total[:, None]).mean(1)
    return p, np.divide(ours, total, out=np.zeros_like(total), where=total > 0), len(groups)


def _between(x: Floats, groups: NDArray[np.int64]) -> Floats:
    """The sum over groups of the square of the sum of a group: of rows (m, n), for P partitions.

    As a product of matrices: to gather the scores of 50 rows of 200 takes 400 MB.
    """
    places = groups.reshape(-1, groups.shape[-1])
    member = np.zeros((x.shape[1], len(places)))
    member[places, np.arange(len(places))[:, None]] = 1.0
    squares: Floats = ((x @ member) ** 2).reshape(len(x), len(groups), -1).sum(-1)
    return squares


def largest_correlation(n: int, pairs: int, level: float = 0.95) -> float:
    """The |r| that the largest of independent correlations stays below, with chance `level`.

    Of that many pairs of rows, each row of n values, 3 or more.

    Source: Student's t of r; Sidak 1967, JASA 62:626.
    """
    tail = -math.expm1(math.log(level) / pairs) / 2
    t = -float(stdtrit(n - 2, tail))
    return t / math.sqrt(n - 2 + t * t)


def repeated(rows: Rows) -> Iterator[Look]:
    """The longest run of scores that repeats later in the same row."""
    for key, x in rows.scores.items():
        n, best = len(x), (0, 0, 0)
        for lag in range(1, n):
            run, before = 0, -1
            for i in np.flatnonzero(np.abs(x[lag:] - x[:-lag]) < 1e-9).tolist():
                run, before = run + 1 if i == before + 1 else 1, i
                best = max(best, (run, -lag, i))
        length, lag, end = best[0], -best[1], best[2]
        places = (n - length) * (n - length + 1) / 2
        p = min(1.0, places * rows.equal[key] ** length) if length > 1 else 1.0
        first = end - length + 2
        again, more = first + lag, length - 1
        says = f"scores {first} to {first + more} repeat as scores {again} to {again + more}"
        numbers = {"length": length, "first": first, "again": again}
        yield Look((key,), says, p, numbers)


def equal(rows: Rows) -> Iterator[Look]:
    """More equal scores in a row than its spread and the resolution of the metric predict."""
    for key, x in rows.scores.items():
        extra = len(x) - len(np.unique(np.round(x, 9)))
        expected = math.comb(len(x), 2) * rows.equal[key]
        # equal scores of a metric on few examples come in clumps: twice as many would not surprise
        p = float(pdtrc(extra - 1, 2 * expected)) if extra else 1.0
        says = f"{len(x)} runs take {len(x) - extra} values; {expected:.2f} equal pairs expected"
        yield Look((key,), says, p, {"distinct": len(x) - extra, "expected": expected})


def shared(rows: Rows) -> Iterator[Look]:
    """Two rows with the same score at the same seed, more often than by chance."""
    for n, keys in grouped(rows.scores, lambda key: len(rows.scores[key])).items():
        x = np.array([rows.scores[key] for key in keys])
        for i, a in enumerate(keys):
            same = (np.abs(x[i + 1 :] - x[i]) < 1e-9).sum(1)
            yield from [NOTHING] * int((same < 2).sum())
            for j in np.flatnonzero(same > 1):
                k, b = int(same[j]), keys[i + 1 + j]
                says = f"{k} of {n} scores are identical at the same seed"
                p = _at_least(k, n, _chance_shared(rows, a, b))
                yield Look((a, b), says, p, {"same": k, "n": n})


def _chance_shared(rows: Rows, a: Key, b: Key) -> float:
    """Chance that a run of a and a run of b score the same, from steps and from other seeds."""
    x, y = rows.scores[a], rows.scores[b]
    near, n = max(rows.near[a], rows.near[b]), len(x)
    normal = near / math.sqrt(2 * math.pi * (rows.sd(a) ** 2 + rows.sd(b) ** 2))
    crossed = int((np.abs(x[:, None] - y) < 1e-9).sum() - (np.abs(x - y) < 1e-9).sum())
    pairs = n * (n - 1)
    seen = (crossed + 1) / (pairs + 1) if pairs >= 50 else crossed / pairs
    return min(1.0, max(normal, seen))


def rounding(rows: Rows) -> Iterator[Look]:
    """Scores on multiples of 5 or 10 units of the last decimal, where others' are not."""
    for key, x in rows.scores.items() if rows.unit else ():
        counts = {grid: int((rows.digits(x) % grid == 0).sum()) for grid in (5, 10)}
        even = {grid: _at_least(k, len(x), 1 / grid) for grid, k in counts.items()}
        grid = min(even, key=even.__getitem__)
        k, p = counts[grid], 2 * even[grid]
        if p < 0.01:
            others = rows.digits(rows.others(key))
            q = (int((others % grid == 0).sum()) + 1) / (len(others) + 1)
            free = rows.sd(key) > grid * rows.unit and rows.digits_free(key, 0.01)
            p = 2 * _at_least(k, len(x), max(q, 1 / grid)) if free else 1.0
        coarse = f"{grid * rows.unit:.{rows.decimals}f}".rstrip("0")
        says = f"{k} of {len(x)} scores are multiples of {coarse} (p = {even[grid]:.0e})"
        numbers = {"k": k, "n": len(x), "grid": grid * rows.unit, "p_even": even[grid]}
        yield Look((key,), says, min(p, 1.0), numbers)


def last_digits(rows: Rows) -> Iterator[Look]:
    """The last digits of a model's scores, against ten equally likely ones."""
    for model, keys in rows.by_model().items() if rows.unit else ():
        free = [k for k in keys if rows.sd(k) > 5 * rows.unit and rows.digits_free(k, 0.05)]
        used = [rows.digits(rows.scores[k]) for k in free]
        if sum(map(len, used)) < 50:
            continue
        # a metric on few examples repeats scores, so that each counts once a row
        p = _uniform(np.concatenate([np.unique(x) for x in used]))
        every = rows.digits(np.concatenate([rows.scores[k] for k in keys]))
        counts = np.bincount(every % 10, minlength=10)
        says = "last digits 0 to 9 come " + ", ".join(map(str, counts)) + " times"
        numbers = {"model": model, "counts": counts.tolist(), "p_all": _uniform(every)}
        yield Look(tuple(keys), says, p, numbers)


def _uniform(values: NDArray[np.int64]) -> float:
    counts = np.bincount(values % 10, minlength=10)
    expected = counts.sum() / 10
    return float(chdtrc(9, float(((counts - expected) ** 2).sum() / expected)))


def periods(rows: Rows) -> Iterator[Look]:
    """Rows of a model in which grouping by place modulo a period is the most extreme partition."""
    for (model, n, keys), period in product(rows.alike(), PERIODS):
        if n >= 2 * period and len(_partitions(n // period * period, period)) >= FEWEST:
            yield _period(model, keys, np.array([rows.scores[k] for k in keys]), period)


def _period(model: str, keys: Sequence[Key], x: Floats, period: int) -> Look:
    p, r2, partitions = period_test(x, period)
    hit = [i for i in range(len(keys)) if p[i] < 1.5 / partitions]
    fisher = float(chdtrc(2 * len(p), -2 * float(np.log(p).sum())))
    found = [float(r2[i]) for i in hit]
    says = (
        f"in {len(hit)} of {len(keys)} rows ({len(keys) / partitions:.2f} expected) grouping seeds "
        f"by place modulo {period} is the most extreme of {partitions:,} partitions, "
        f"p = {1 / partitions:.4f} each, R2 {min(found, default=0):.4f} to "
        f"{max(found, default=0):.4f}; Fisher over all rows p = {fisher:.1g}"
    )
    numbers = {
        "model": model, "period": period, "rows": len(keys), "extreme": len(hit),
        "p_row": 1 / partitions, "r2": found, "fisher": fisher,
    }  # fmt: skip
    chance = _at_least(len(hit), len(keys), 1 / partitions)
    return Look(tuple(keys[i] for i in hit), says, chance, numbers)


def correlated(rows: Rows) -> Iterator[Look]:
    """Two tasks of a model whose scores go together over the seeds, whichever seed is left out."""
    found: list[tuple[Key, Key, float]] = []
    for _, n, keys in rows.alike():
        if n >= 5 and len(keys) > 1:
            r = np.corrcoef([rows.scores[key] for key in keys])
            pairs = combinations(range(len(keys)), 2)
            found += [(keys[i], keys[j], float(r[i, j])) for i, j in pairs]
    for a, b, r in found:
        n = len(rows.scores[a])
        p = _p_of_r(r, n)
        if p * len(found) >= WORTH_A_SECOND_LOOK:
            yield NOTHING
            continue
        both = np.array([rows.scores[a], rows.scores[b]])  # one strange seed makes a correlation
        least = min(abs(_correlation(np.delete(both, i, 1))) for i in range(n))
        point = largest_correlation(n, len(found))
        says = (
            f"r = {r:.3f} over {n} seeds; 95 % of the largest |r| of {len(found):,} independent "
            f"pairs are below {point:.3f}"
        )
        numbers = {"r": r, "point": point, "pairs": len(found)}
        yield Look((a, b), says, max(p, _p_of_r(least, n - 1)), numbers)


def _correlation(both: Floats) -> float:
    x = both - both.mean(1, keepdims=True)
    size = float(np.sqrt((x[0] @ x[0]) * (x[1] @ x[1])))
    return float(x[0] @ x[1]) / size if size > 0 else 0.0


def _at_least(k: int, n: int, q: float) -> float:
    """Chance of k or more of n, each with chance q."""
    return float(bdtrc(k - 1, n, min(q, 1.0))) if k else 1.0


def _p_of_r(r: float, n: int) -> float:
    rest = 1 - r * r
    t = abs(r) * math.sqrt((n - 2) / rest) if rest > 0 else math.inf
    return 2 * float(stdtr(n - 2, -t))


@functools.lru_cache(maxsize=64)
def _partitions(n: int, groups: int) -> NDArray[np.int64]:
    """Every way to cut n places into equal groups, (count, groups, n / groups)."""
    size = n // groups
    count = math.factorial(n) // (math.factorial(size) ** groups * math.factorial(groups))
    if count > MOST_PARTITIONS:
        rng = np.random.default_rng(20260101)
        ours = np.arange(n).reshape(size, groups).T.ravel()
        drawn = [ours, *(rng.permutation(n) for _ in range(4_999))]
        return np.array(drawn).reshape(-1, groups, size)

    def cut(left: tuple[int, ...]) -> Iterator[list[tuple[int, ...]]]:
        if not left:
            yield []
            return
        for rest in combinations(left[1:], size - 1):
            group = (left[0], *rest)
            for tail in cut(tuple(i for i in left if i not in group)):
                yield [group, *tail]

    return np.array(list(cut(tuple(range(n)))))
