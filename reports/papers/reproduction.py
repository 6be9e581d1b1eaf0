"""A published value compared with our runs: the difference, its interval, and a verdict.

Scores are fractions here whatever the paper prints; differences are ours - published.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal, NamedTuple

from scipy.special import stdtrit  # Student's t; scipy.stats takes a second to import

from dnabench.metrics import METRICS
from dnabench.reports import stats
from dnabench.reports.papers import matching
from dnabench.reports.papers.differences import differences, file_for_official
from dnabench.reports.papers.published import Value, seeds
from dnabench.types import Record

Verdict = Literal["agrees", "differs", "descriptive", "not comparable", "not run"]
FEWEST = 5  # of our seeds, below which there is no verdict
SPREAD_IS = ("max |deviation|", "unknown")  # unknown is taken for the first, with a remark
# n -> root mean square of max |x - mean| over n normal x, in their sd, and the degrees of freedom
# of the chi distribution with the same coefficient of variation
MAX_DEVIATION = {
    2: (0.7071, 1.0), 3: (1.103, 1.98), 4: (1.306, 2.82), 5: (1.450, 3.58), 6: (1.559, 4.27),
    7: (1.646, 4.92), 8: (1.719, 5.51), 9: (1.780, 6.06), 10: (1.834, 6.58), 11: (1.882, 7.06),
    12: (1.924, 7.53), 13: (1.962, 7.96), 14: (1.997, 8.38), 15: (2.029, 8.76), 16: (2.058, 9.15),
    17: (2.085, 9.52), 18: (2.110, 9.87), 19: (2.134, 10.23), 20: (2.156, 10.56),
}  # fmt: skip


class Spread(NamedTuple):
    """The noise of a published mean."""

    sd: float  # over seeds; NaN = not published
    n: int  # seeds
    df: float  # of the sd as an estimate
    how: str  # how the ± was read


class Gap(NamedTuple):
    """Ours - published, and its 95 % interval."""

    difference: float
    low: float  # with the noise of the test examples
    high: float
    seeds_low: float  # seeds only
    seeds_high: float
    test_error: float  # standard error of drawing the test examples; NaN = not known


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A published value, and the trials to compare it with."""

    value: Value
    trials: tuple[str, ...] = ()  # ids
    model: str = ""  # ours, in words
    why_not: str = ""  # why nothing was run; empty when something is


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """A cell of `dnabench reproduce`."""

    value: Value
    model: str
    published: float
    spread: Spread
    ours: stats.Summary
    metric: str  # ours
    gap: Gap  # NaN without our scores
    verdict: Verdict
    why: str  # may be empty
    remarks: tuple[str, ...]
    records: tuple[Record, ...]  # those with a score


def spread_of(value: Value) -> Spread:
    """The standard deviation over seeds behind a published ±.

    That of the runs whose scores are published, too, where the printed mean follows from them. Else
    it is found from the ±, which is taken for the largest deviation where `spread_is` is unknown;
    some tables print the deviation of the side on which it is smaller.

    Returns:
        sd as a fraction: NaN where no ± is printed, or it is something else, or its n is not known.

    Accuracy:
        For normal scores: the square of the sd has the right mean; within 0.1 % of a simulation of
        4e6 samples for n up to 20. The sd has fewer degrees of freedom than n - 1.

    Source:
        Ours: what Patnaik 1950, Biometrika 37:78 does for the range, for the largest deviation from
        the mean; the constants are simulated.
    """
    n = value.n or 1
    if value.spread is None:
        return Spread(math.nan, n, math.nan, "no ± published")
    if runs := _runs_behind(value):
        sd = stats.summary([x / _unit(value) for x in runs]).sd
        how = (f"sd of the {len(runs)} runs that the paper prints one by one, where their mean is "
               "the printed one")  # fmt: skip
        if _repeated(runs):
            how += (f" (of {value.model} on {value.task} they repeat in order, {len({*runs})} "
                    "different values, so the sd rests on fewer runs than counted)")  # fmt: skip
        return Spread(sd, len(runs), len(runs) - 1.0, how)
    if value.spread_is not in SPREAD_IS or n not in MAX_DEVIATION:
        return Spread(math.nan, n, math.nan, f"± is {value.spread_is}, n = {value.n}: not used")
    constant, df = MAX_DEVIATION[n]
    known = value.spread_is == SPREAD_IS[0]
    reading = "± is" if known else "the paper does not state what ± is; taken as"
    how = f"{reading} {SPREAD_IS[0]} of n = {n}: sd = ± / {constant:.2f}"
    return Spread(value.spread / _unit(value) / constant, n, df, how)


def _repeated(runs: Sequence[float]) -> bool:
    """Whether the last three runs or more are printed twice in the same order."""
    n = len(runs)
    return any(runs[n - k :] == runs[n - 2 * k : n - k] for k in range(3, n // 2 + 1))


def _runs_behind(value: Value) -> list[float]:
    """Published scores of single runs that have the mean of a value, as printed; [] without any.

    Up to five in the last decimal, 0.05 points: of the 75 cells of table 1 without splice sites 69
    are nearer than 0.016, the others than 0.04; what the splice sites have is 0.1 off, or far more.
    """
    if value.regime != "pretrained":  # those of which single runs are published
        return []
    known = _single_runs(value.paper).get((value.task, value.metric, value.model), ())
    near = 5.0 * 10.0**-value.decimals
    return next((x for x in known if abs(stats.summary(x).mean - value.mean) <= near), [])


@functools.cache
def _single_runs(paper: str) -> Mapping[tuple[str, str, str], Sequence[list[float]]]:
    """Task, metric, model -> the scores of each of its variants."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for one in seeds(paper):
        variants = found.setdefault((one.task, one.metric, one.model), {})
        variants.setdefault(one.variant, []).append(one.mean)
    return {key: [*variants.values()] for key, variants in found.items()}


def gap(ours: Sequence[float], mean: float, spread: Spread, test_error: float) -> Gap:
    """Difference of our mean and a published one.

    Args:
        ours: scores, one a seed, (n,).
        mean: published.
        spread: of that mean. Where its sd is NaN, ours is used in its place.
        test_error: standard error of a score from sampling the test examples; NaN leaves it out.

    Returns:
        difference -+ t sqrt(s^2 / n + sd^2 / m + test_error^2), t of 0.975 at Satterthwaite's
        degrees of freedom, the test term having infinitely many; and the same without that term.
        One such term is that of two models on one test file whose errors correlate by a half:
        2 (1 - 1/2). NaN intervals when n is below 2.

    Source:
        Welch 1947, Biometrika 34:28; test term: docs/statistics.md#the-test-examples; sum: ours.
    """
    mine = stats.summary(ours)
    d, nan = mine.mean - mean, math.nan
    if mine.n < 2:
        return Gap(d, nan, nan, nan, nan, test_error)
    own = mine.sd**2
    terms = [(own / mine.n, mine.n - 1.0), (spread.sd**2 / spread.n, spread.df)]
    if math.isnan(spread.sd):
        terms = [(own / mine.n + own / spread.n, mine.n - 1.0)]
    narrow = _half(terms, 0.0)
    extra = 0.0 if math.isnan(test_error) else test_error**2
    half = max(narrow, _half(terms, extra))  # more noise never narrows an interval
    return Gap(d, d - half, d + half, d - narrow, d + narrow, test_error)


def verdict_of(found: Gap, n: int, rope: float) -> tuple[Verdict, str]:
    """Whether n of our seeds agree with a published value, up to `rope` in score units.

    Returns:
        "descriptive" below five seeds; "agrees" when the 95 % interval holds 0 or the difference
        is smaller than `rope`; else "differs". Then the reason, which may be empty.

    Source:
        Ours. Agreement does not show equality: the interval says how far apart they may be.
    """
    if n < FEWEST:
        return "descriptive", f"only {n} of our seeds"
    small = abs(found.difference) < rope - stats.TIE
    if found.low <= 0 <= found.high:
        inside = found.seeds_low <= 0 <= found.seeds_high
        return "agrees", "" if inside or small else "only with the noise of the test examples"
    return ("agrees", f"difference below {rope:g}") if small else ("differs", "")


def compare(cell: PlannedCell, records: Mapping[str, Record]) -> ComparedCell:
    """Compare a published value with the records, by trial id, of what was run for it.

    Failed runs are counted, not averaged. There are numbers also where the verdict is "not
    comparable", whose reasons are in `why`.
    """
    value, spread = cell.value, spread_of(cell.value)
    published = value.mean / _unit(value)
    runs = [records[i] for i in cell.trials if i in records]
    failed = [r for r in runs if r.error]
    by_task = _scores([r for r in runs if not r.error], value)
    scores = _pooled(by_task, len(matching.tasks_of(value)))
    ours = stats.summary(list(scores.values()))
    used = [r for task in by_task.values() for s, (r, _) in task.items() if s in scores]
    error = _test_error(by_task, value)
    found = gap(list(scores.values()), published, spread, error)
    metric = matching.metric_of(value, value.task) or value.metric
    reasons = [*matching.obstacles(value), *(why for r in used for why in differences(value, r))]
    verdict: Verdict
    if reasons:
        verdict, why = "not comparable", "; ".join(filter(None, [*_once(reasons), cell.why_not]))
    elif cell.why_not or not ours.n:
        verdict, why = "not run", cell.why_not or _errors(failed) or f"no record has {metric}"
    else:
        verdict, why = verdict_of(found, ours.n, _rope(metric))
    files = _once(file_for_official(value, r.trial) for r in used)
    remarks = [
        matching.our_model(value).remark,
        *matching.doubts(value),
        f"{len(failed)} failed" * bool(failed),
        *(f"the file {name} is used in place of the official weights" for name in files if name),
    ]
    if ours.n > 1 and math.isnan(error):
        remarks.append("the noise of the test examples is not known for this metric and left out")
    return ComparedCell(
        value=value, model=cell.model, published=published, spread=spread, ours=ours,
        metric=metric, gap=found, verdict=verdict, why=why, remarks=tuple(filter(None, remarks)),
        records=tuple(used),
    )  # fmt: skip


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _errors(failed: Sequence[Record]) -> str:
    """The last lines of their tracebacks."""
    last = {shorten(r.reason, 160) for r in failed}
    return "; ".join(sorted(last))


def _scores(records: Sequence[Record], value: Value) -> dict[str, dict[int, tuple[Record, float]]]:
    """Task -> seed -> record and score, where there is one."""
    out: dict[str, dict[int, tuple[Record, float]]] = {}
    for record in records:
        task = record.trial.task
        score = record.scores.get("test", {}).get(matching.metric_of(value, task))
        if score is not None and math.isfinite(score):
            out.setdefault(task, {})[record.trial.seed] = record, score
    return out


def _pooled(by_task: Mapping[str, Mapping[int, tuple[Record, float]]], k: int) -> dict[int, float]:
    """Seed -> score, or mean over k tasks of the seeds that have all of them."""
    if len(by_task) < k:
        return {}
    seeds = sorted(set.intersection(*(set(runs) for runs in by_task.values())))
    return {s: math.fsum(runs[s][1] for runs in by_task.values()) / k for s in seeds}


def _test_error(by_task: Mapping[str, Mapping[int, tuple[Record, float]]], value: Value) -> float:
    """Of the score, or of the mean over tasks; NaN when that of one is not known."""
    squares = []
    for task, runs in by_task.items():
        about = next(iter(runs.values()))[0].task
        mean = stats.summary([score for _, score in runs.values()]).mean
        n = 0 if about.get("kind") == "per_base" else int(about.get("n_test", 0))
        metric = matching.metric_of(value, task)
        squares.append(stats.test_standard_error(metric, mean, n) ** 2)
    return math.sqrt(math.fsum(squares)) / len(squares) if squares else math.nan


def _half(terms: Sequence[tuple[float, float]], extra: float) -> float:
    """Half an interval, from (variance, degrees of freedom) of each term and a known variance."""
    total = math.fsum(v for v, _ in terms) + extra
    doubt = math.fsum(v**2 / df for v, df in terms)
    df = total**2 / doubt if doubt else math.inf
    return float(stdtrit(df, 0.975)) * math.sqrt(total) if total else 0.0


def _rope(metric: str) -> float:
    """Of the metric; of a mean over tasks the coarsest among its metrics, MCC's."""
    return METRICS.get(metric.partition(":")[0], METRICS["mcc"]).rope


def _unit(value: Value) -> float:
    """What divides a printed score to give a fraction."""
    return 100.0 if value.unit == "percent" else 1.0
