"""Do the runs behind a table look independent? The remarks of `stats.lint` as findings.

Runs are scores in the order of seeds, by (model, task).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from dnabench.reports.papers.rules import Finding, Findings, Severity, at, listed
from dnabench.reports.stats.lint import lint

Runs = Mapping[tuple[str, str], Sequence[float]]
RARE = 0.001
FEWEST_PAIRS = 20
MOST_NAMED = 10


class Pairing(NamedTuple):
    """Correlation over seeds between models on one task, over all tasks and pairs of models."""

    mean: float
    pairs: int
    p: float  # Student's t of atanh r against 0; NaN below two pairs


def independence(runs: Runs, n_test: Mapping[str, int] | None = None) -> Findings:
    """Patterns that independent runs seldom show; see `lint` for these, and for `n_test`."""
    for remark in lint(runs, n_test=n_test):
        models = dict.fromkeys(model for model, _ in remark.where)
        tasks = dict.fromkeys(task for _, task in remark.where)
        many = remark.kind == "last digits" or len(tasks) > MOST_NAMED
        where = at(" and ".join(models), f"{len(tasks)} tasks" if many else listed(tasks))
        numbers = {**remark.numbers, "p": remark.p, "where": [list(key) for key in remark.where]}
        severity: Severity = "finding" if remark.alarm else "note"
        yield Finding(f"runs: {remark.kind}", where, remark.says, numbers, severity)


def pairing(runs: Runs) -> Pairing:
    """Are models that share a seed number correlated? Rows of other lengths are not compared.

    Source:
        Fisher 1921, Metron 1:3, for atanh r; Student 1908, Biometrika 6:1.
    """
    found = []
    for task in dict.fromkeys(task for _, task in runs):
        rows = [np.asarray(x) for (_, t), x in runs.items() if t == task]
        for a, b in combinations(rows, 2):
            if len(a) == len(b) > 2 and np.ptp(a) and np.ptp(b):
                found.append(float(np.corrcoef(a, b)[0, 1]))
    n = len(found)
    z = np.arctanh(np.clip(found, -1 + 1e-9, 1 - 1e-9))
    sd = float(np.std(z, ddof=1)) if n > 1 else 0.0
    p = 2 * float(stdtr(n - 1, -abs(float(z.mean())) / (sd / math.sqrt(n)))) if sd else math.nan
    mean = float(np.mean(found)) if found else math.nan
    return Pairing(mean, n, p)


def paired(runs: Runs) -> Findings:
    """Whether seeds pair models: then comparisons need not take runs as unpaired."""
    found = pairing(runs)
    if found.pairs >= FEWEST_PAIRS and found.p < RARE:
        says = (
            f"models are correlated over seeds: mean r = {found.mean:.3f} over {found.pairs} pairs "
            f"of models and tasks, p = {found.p:.1g}"
        )
        yield Finding("runs: paired", "", says, found._asdict())
