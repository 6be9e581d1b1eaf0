"""Do verdicts hold when test examples are related?

    python tests/bench/related.py [SUITES [AFTER]]

Not collected by pytest. First: how much wider intervals get when strand pairs are drawn together.
Then null suites through the whole report: three equal models, 8 tasks of a family each, test
examples in groups that are copies of one another (label and all noise; coverage.py has the model of
an example, noise "typical"). `report` gets records and predictions as runs write them, kept in
memory instead of files, and draws 1,000 replicates. True differences are 0, so a suite is false by

- default: if any of its 24 verdicts is a win or a loss;
- declared: if any of the 8 of one pair is, which alone was declared;
- over tasks: if the first sentence claims a difference of any of the three pairs;

and an interval covers where it holds 0.

Prints Markdown: SUITES (400) a line for 5 and 10 seeds, 500 and 2,000 examples, and a tenth where
the groups are not known to the report; those that come after AFTER others (0, a multiple of BLOCK).
The bounds are those of Clopper and Pearson, one-sided, 95 %. Set OMP_NUM_THREADS=1.
"""

import math
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from coverage import SKILLS, TYPICAL, tau
from scipy.stats import beta

from dnabench.metrics import METRICS
from dnabench.reports.families import Families
from dnabench.reports.report import report
from dnabench.reports.resampling import Resampler
from dnabench.reports.stats.examples import nested, replicates
from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.types import Recipe, Record, Trial

MODELS, TASKS, REPLICATES = 3, 8, 1000
VERDICTS = MODELS * (MODELS - 1) // 2 * TASKS
GROUPS, SEEDS, EXAMPLES, BLOCK = (1, 2, 4), (5, 10), (500, 2000), 400
DECLARED = Families(asked=((0, 1),), declared=((0, 1),))


class Case(NamedTuple):
    """Of a line."""

    group: int
    seeds: int
    examples: int = EXAMPLES[0]
    told: bool = True  # whether the report knows the groups


def simulated(rng, case):
    """Labels (N,), and scores (models, seeds, N); each block of `group` examples is equal."""
    group, seeds, n = case.group, case.seeds, case.examples // case.group
    y = rng.integers(0, 2, n)
    shared = rng.normal(0, math.sqrt(TYPICAL.shared), n)
    of_model = rng.normal(0, math.sqrt(TYPICAL.of_model), (MODELS, 1, n))
    own = math.sqrt(1 - TYPICAL.shared - TYPICAL.of_model)
    skill = SKILLS[0] + rng.normal(0, tau(SKILLS[0], TYPICAL.seeds), (MODELS, seeds, 1))
    noise = shared + of_model + rng.normal(0, own, (MODELS, seeds, n))
    return np.repeat(y, group), np.repeat((2 * y - 1) * skill + noise, group, axis=2)


class InMemory(Store):
    """A folder whose predictions are not written."""

    def __init__(self, folder):
        super().__init__(folder)
        self.kept = {}

    @contextmanager
    def open_predictions(self, trial_id):
        yield self.kept[trial_id]


@cache
def trial_of(model, task, seed):
    return Trial(
        model=f"model{model}", options={}, regime="scratch", task=f"null/task{task}",
        data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=seed,
    )  # fmt: skip


def fill(store, rng, case):
    """The records of a suite; their predictions are in the store."""
    records, ids = [], np.arange(case.examples)
    clusters = {"clusters": ids // case.group} if case.told and case.group > 1 else {}
    for t in range(TASKS):
        y, scores = simulated(rng, case)
        for m, s in np.ndindex(MODELS, case.seeds):
            x = scores[m, s]
            logits = np.stack([np.zeros_like(x), x], 1).astype(np.float32)
            trial = trial_of(m, t, s)
            facts = {"kind": "binary", "metric": "mcc", "family": f"{t}", "n_test": case.examples,
                     "classes": ["0", "1"], "clusters": "group"}  # fmt: skip
            found = {"mcc": METRICS["mcc"].function(y, logits)}
            records.append(Record(trial=trial, scores={"test": found}, task=facts))
            store.kept[trial.id] = {"logits": logits, "labels": y, "ids": ids.astype("U6"),
                                    **clusters}  # fmt: skip
    return records


def null(case, suites, after=0):
    """Of each suite: whether it is false by the three rules, and how many intervals hold 0.

    Draws come from a seed each BLOCK suites, so that more suites begin as fewer do.
    """
    for suite in range(after, after + suites):
        if suite % BLOCK == 0:
            size = [case.examples] * (case.examples != EXAMPLES[0])
            rng = np.random.default_rng([case.group, case.seeds, suite // BLOCK, *size])
        with tempfile.TemporaryDirectory() as name:
            store = InMemory(name)
            records = fill(store, rng, case)
            (e,) = report(records, store, Resampler(store, REPLICATES)).evidence
        units = {d.drawn.blocks for d in e.comparisons}
        assert all(d.nested for d in e.comparisons) and len(e.comparisons) == VERDICTS
        assert not case.told or units == {case.examples // case.group}
        of_pair = DECLARED.judged(e.comparisons)
        assert len(of_pair) == TASKS and all(d.declared and d.tests == TASKS for d in of_pair)
        yield (
            any(d.verdict in ("win", "loss") for d in e.comparisons),
            any(d.verdict in ("win", "loss") for d in of_pair),
            any(pair.p_claim < 0.05 for suite in e.suites for pair in suite.pairs),
            sum(d.nested.low <= 0 <= d.nested.high for d in e.comparisons),
        )


def bound(k, n):
    """Upper 95 % bound of a share of which k of n were seen."""
    return 1.0 if k == n else float(beta.ppf(0.95, k + 1, n - k))


def widths(kind, pairs=2000, seeds=5):
    """Mean width of the interval of two models on strand pairs: each row alone, and together."""
    rng = np.random.default_rng(1)
    outputs = 2 if kind == "pearson" else 20
    y = rng.normal(size=(pairs, outputs))
    y = y if kind == "pearson" else (y > 1).astype(float)
    shared, found = rng.normal(size=y.shape), {}
    runs = [y + shared + 0.7 * rng.normal(size=y.shape) for _ in range(2)]  # of a model
    logits = [m + 0.1 * rng.normal(size=y.shape) for m in runs for _ in range(seeds)]
    both, blocks = np.concatenate([y, y]), np.tile(np.arange(pairs), 2)
    for name, groups in (("alone", None), ("together", blocks)):
        again = [np.concatenate([x, x]).astype(np.float32) for x in logits]
        r = replicates(both, again, kind, groups=groups, n=REPLICATES)
        interval = nested(r[:seeds], r[seeds:])
        found[name] = interval.high - interval.low
    return found["alone"], found["together"]


def main():
    suites, after = (int(x) for x in (sys.argv[1:] + ["400", "0"][len(sys.argv) - 1 :]))
    start = time.process_time()
    where = ", ".join(f"{k} {v}" for k, v in here().items() if k not in ("host", "cpu"))
    print(where)
    print("\n| like | metric | rows | width, each row alone | strand pairs together | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    for like, metric in (("DeepSTARR", "pearson"), ("DeepSEA", "auroc_mean")):
        alone, together = widths(metric)
        print(f"| {like} | {metric} | 4,000 | {alone:.4f} | {together:.4f} | "
              f"{together / alone:.2f} |", flush=True)  # fmt: skip
    heads = ["group size", "seeds", "examples", "suites"]
    for rule in ("default", "declared pair", "over tasks"):
        heads += [f"false, {rule}", "upper bound"]
    print(f"\n| {' | '.join(heads)} | intervals that cover |\n|{'---:|' * (len(heads) + 1)}")
    lines = [(Case(g, s, n), suites) for s, n, g in product(SEEDS, EXAMPLES, GROUPS)]
    lines += [(Case(group, 10, told=False), suites // 10) for group in GROUPS[1:]]
    for case, n in lines:
        *false, covered = np.array(list(null(case, n, after))).sum(0)
        cells = " | ".join(f"{k / n:.1%} | {bound(k, n):.1%}" for k in false)
        print(f"| {case.group}{'' if case.told else ', not known'} | {case.seeds} | "
              f"{case.examples:,} | {n} | {cells} | {covered / n / VERDICTS:.1%} |",
              flush=True)  # fmt: skip
    print(f"\n{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
