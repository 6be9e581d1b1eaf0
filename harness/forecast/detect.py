"""Whether a run could see a difference of some size, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtrit

from dnabench.reports import stats
from dnabench.reports.grid import NONE, Grid, count
from dnabench.reports.grouping import grouped
from dnabench.types import Job, Task

SEED_SD = 0.011  # MCC; the median of published per-seed scores on histone tasks
SCORE = 0.7  # MCC that the models are taken to have
SHARED = 0.7  # correlation of two models' errors on the same test examples
MOST_SEEDS = 1000
POWER = 0.8


class Seen(NamedTuple):
    """What the verdict on one task, or over all tasks of a suite, could see."""

    what: str
    examples: int  # test examples; 0 over several tasks
    least: float  # smallest difference that the seeds of the run find
    seeds: int  # that the difference asked for needs; 0 = no number of them
    examples_needed: int  # beyond which some number of seeds would do; 0 = these do


def detect(jobs: Sequence[Job], task_of: Callable[[Job], Task], difference: float) -> list[Seen]:
    """Power of the verdicts that these jobs would give.

    The sd of seeds, the score and the correlation of errors are typical values, named in `grid`:
    SEED_SD, SCORE, SHARED. 80 % power, Holm's first step.

    Args:
        jobs: trials to run.
        task_of: the task of a job.
        difference: to be found, in units of the metric.

    Returns:
        A line a task; behind those of a suite one over its tasks, if it has several. Empty when a
        suite has a single column, with which there is nothing to compare.
    """
    out = []
    for suite, own in grouped(jobs, lambda job: job.trial.task.partition("/")[0]).items():
        tasks = {job.trial.task: task_of(job) for job in own}
        columns = {
            (j.trial.model, j.trial.regime, str(sorted(j.trial.options.items()))) for j in own
        }
        pairs = math.comb(len(columns), 2)
        if not pairs:
            continue
        n = len({job.trial.seed for job in own})
        out += [_on_task(task, n, pairs * len(tasks), difference) for task in tasks.values()]
        if len(tasks) > 1:
            out.append(_over_tasks(suite, list(tasks.values()), n, pairs, difference))
    return out


def _error(task: Task) -> float:
    """Standard error that the test examples give a difference."""
    n = max(1, task.counts.get("test", 0))
    return math.sqrt(2 * (1 - SHARED) * (1 - SCORE**2) / n)


def _on_task(task: Task, n: int, tests: int, difference: float) -> Seen:
    error, alpha, examples = _error(task), stats.ALPHA / tests, task.counts.get("test", 0)
    few = stats.examples_needed(difference, error, examples, alpha)
    hopeless = stats.out_of_reach(difference, error, alpha)
    seeds = stats.seeds_needed(SEED_SD, SEED_SD, difference, alpha, error=error)
    least = stats.detectable(SEED_SD, SEED_SD, n, alpha, error=error)
    return Seen(task.name, examples, least, max(seeds, stats.MIN_SEEDS) if seeds else 0,
                few if hopeless else 0)  # fmt: skip


def _over_tasks(suite: str, tasks: Sequence[Task], n: int, pairs: int, difference: float) -> Seen:
    units = [task.family or task.name for task in tasks]

    def least(seeds: int) -> float:
        errors = [math.hypot(SEED_SD * math.sqrt(2 / seeds), _error(task)) for task in tasks]
        found = stats.lead([0.0] * len(tasks), errors, [2.0 * (seeds - 1)] * len(tasks), units)
        level = 1 - stats.ALPHA / pairs / 2
        return float((stdtrit(found.df, level) + ndtri(POWER)) * found.se)

    enough = (k for k in range(stats.MIN_SEEDS, MOST_SEEDS + 1) if least(k) <= difference)
    families = len(set(units))
    of = f" of {count(families, 'family').replace('familys', 'families')}"
    what = f"over the {len(tasks)} tasks of {suite}{of * (families < len(tasks))}"
    return Seen(what, 0, least(n) if n > 1 else math.nan, next(enough, 0), 0)


def grid(found: Iterable[Seen], difference: float, n: int) -> Grid:
    """As a table, with what it assumes."""
    rows = [
        [
            one.what, f"{one.examples:,}" if one.examples else NONE,
            NONE if math.isnan(one.least) else f"{one.least:.3f}", _seeds(one),
        ]
        for one in found
    ]  # fmt: skip
    heads = ["verdict", "test examples", f"sees, at {n} seeds", f"seeds to see {difference:g}"]
    note = (
        f"80 % power, Holm and test examples counted. Assumed: seeds {SEED_SD:g} apart (sd), "
        f"scores of {SCORE:g} MCC, errors of two models correlated {SHARED:g}. `dnabench report` "
        "replaces these by what was measured."
    )
    return Grid("", heads, rows, [note])


def _seeds(one: Seen) -> str:
    if one.seeds:
        return str(one.seeds)
    if one.examples_needed:
        return f"hopeless: needs {one.examples_needed:,} test examples"
    return "hopeless with these tasks"
