"""Do the intervals cover, and how often is a win false? `python tests/bench/coverage.py [RUNS]`.

Not collected by pytest. Two models are simulated on examples drawn from a population in which their
true means are known. Example i scores (2 y - 1) skill + noise, noise of variance 1 in three parts:
shared by all runs, by the runs of a model, of the single run. The skill of a run is that of its
model plus that of its seed. So a run has accuracy Phi(skill), and over seeds the mean MCC
is 2 Phi(mu / sqrt(1 + tau^2)) - 1, the mean AUROC Phi(sqrt(2) mu / sqrt(1 + 2 tau^2)).

Prints Markdown. RUNS simulations (1,000) of each line have a binomial standard error of 0.7 % at
95 %. Set OMP_NUM_THREADS=1: it is for one core.
"""

import math
import sys
import time
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from dnabench.reports.stats import holm, verdict, welch
from dnabench.reports.stats.examples import draws, nested
from dnabench.reports.stats.replicates import scorer
from dnabench.results.provenance import here

REPLICATES = 1000
SKILLS = (1.10, 1.00)  # MCC 0.73 and 0.68
TASKS, ROPE = 18, 0.01
SEEDS = (3, 5, 10)


class Noise(NamedTuple):
    """Shares of the noise of an example, and how far seeds are apart (sd of MCC)."""

    name: str
    shared: float
    of_model: float
    seeds: float


TYPICAL = Noise("typical", 0.5, 0.2, 0.011)  # sd of seeds: median of the published histone tasks
TEST = Noise("models differ in what they find hard", 0.3, 0.5, 0.002)
LINES = [
    TYPICAL,
    Noise("seeds far apart", 0.7, 0.2, 0.04),
    TEST,
    Noise("errors are the run's own", 0.5, 0.05, 0.003),
]


def tau(mu, sd):
    """Spread of skill that gives this spread of MCC."""
    return sd / (2 * math.exp(-mu * mu / 2) / math.sqrt(2 * math.pi))


def truth(metric, mu, sd):
    t = tau(mu, sd)
    if metric == "auroc":
        return ndtr(math.sqrt(2) * mu / math.sqrt(1 + 2 * t * t))
    return 2 * ndtr(mu / math.sqrt(1 + t * t)) - 1


def simulated(rng, n, seeds, noise, skills):
    """Labels, and the logits of all seeds of the first model, then of the second."""
    y = rng.integers(0, 2, n)
    shared = rng.normal(0, math.sqrt(noise.shared), n)
    own = math.sqrt(1 - noise.shared - noise.of_model)
    runs = []
    for mu in skills:
        of_model = rng.normal(0, math.sqrt(noise.of_model), n)
        skill = mu + rng.normal(0, tau(mu, noise.seeds), (seeds, 1))
        runs.append((2 * y - 1) * skill + shared + of_model + rng.normal(0, own, (seeds, n)))
    scores = np.concatenate(runs)
    return y, np.stack([np.zeros_like(scores), scores], axis=-1)


def plain(a, b):
    """Examples and seeds drawn with replacement, nothing corrected."""
    rng = np.random.default_rng(7)
    means = [
        np.take_along_axis(x, rng.integers(0, len(x), x.shape), axis=0).mean(0) for x in (a, b)
    ]
    return np.quantile(means[0] - means[1], [0.025, 0.975])


def coverage(runs, metric, noise, n, seeds):
    rng = np.random.default_rng([n, seeds])
    weights = np.concatenate(list(draws(n, REPLICATES, 0)), axis=1)
    true = truth(metric, SKILLS[0], noise.seeds) - truth(metric, SKILLS[1], noise.seeds)
    covered, covered_plain, width = 0, 0, 0.0
    for _ in range(runs):
        y, logits = simulated(rng, n, seeds, noise, SKILLS)
        scores = scorer(metric, y, logits, np.arange(n))(weights)
        found = nested(scores[:seeds], scores[seeds:])
        low, high = plain(scores[:seeds], scores[seeds:])
        covered += found.low <= true <= found.high
        covered_plain += low <= true <= high
        width += found.high - found.low
    return covered / runs, covered_plain / runs, width / runs


def observed(y, logits):
    """MCC of each run from its own counts, as `metrics.mcc` has it."""
    right, said = (logits[..., 1] > 0) == y, logits[..., 1] > 0
    n, t, p = len(y), y.sum(), said.sum(1)
    both = (right & said).sum(1)
    return (n * both - t * p) / np.sqrt(1.0 * t * (n - t) * p * (n - p))


def false_wins(suites, noise, n, seeds):
    """How many verdicts and how many suites are false, by rule: models of equal skill."""
    rng = np.random.default_rng([n, seeds, 5])
    weights = np.concatenate(list(draws(n, REPLICATES, 0)), axis=1)
    verdicts, hit = Counter(), Counter()
    enough = max(seeds, 5)  # what `verdict` is told, so that it does not call 3 seeds descriptive
    for _ in range(suites):
        tasks = [simulated(rng, n, seeds, noise, SKILLS[:1] * 2) for _ in range(TASKS)]
        scores = [observed(*task) for task in tasks]
        tests = [welch(s[:seeds], s[seeds:]) for s in scores]
        p = holm([t.p for t in tests])
        intervals = {}
        for i in np.flatnonzero(np.array(p) < 0.05):
            r = scorer("mcc", *tasks[i], np.arange(n))(weights)
            intervals[i] = nested(r[:seeds], r[seeds:])
        both = holm([max(t.p, intervals[i].p) if i in intervals else 1.0
                     for i, t in enumerate(tests)])  # fmt: skip
        called = Counter()
        for i, found in intervals.items():
            bounds = found.low, found.high
            rules = {"seeds": (p[i], None), "interval": (p[i], bounds), "both p": (both[i], bounds)}
            for rule, (adjusted, given) in rules.items():
                word, _ = verdict(tests[i], adjusted, ROPE, enough, given)
                called[rule] += word in ("win", "loss")
        verdicts += called
        hit += Counter({rule: 1 for rule, times in called.items() if times})
    return [100 * verdicts[r] / suites / TASKS for r in ("seeds", "interval", "both p")], [
        100 * hit[r] / suites for r in ("seeds", "interval", "both p")
    ]


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    start = time.process_time()
    where = ", ".join(f"{k} {v}" for k, v in here().items() if k != "host")
    print(f"{runs:,} simulations a line, {REPLICATES:,} replicates; {where}\n")
    print("| metric | noise | N | seeds | covered | plain bootstrap | mean width |")
    print("|---|---|---:|---:|---:|---:|---:|")
    cases = [("mcc", noise, n, s) for noise in LINES for n in (500, 1500) for s in SEEDS]
    cases += [("auroc", TYPICAL, 500, s) for s in SEEDS]
    for metric, noise, n, s in cases:
        covered, without, width = coverage(runs, metric, noise, n, s)
        print(f"| {metric} | {noise.name} | {n:,} | {s} | {covered:.1%} | {without:.1%} | "
              f"{width:.3f} |", flush=True)  # fmt: skip
    print("\n| noise | seeds | false verdicts: seeds only | + interval | + Holm over the larger p "
          "| suites with one: seeds only | + interval | + Holm over the larger p |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for noise in (TYPICAL, TEST):
        for s in SEEDS:
            each, suite = false_wins(runs, noise, 500, s)
            cells = " | ".join(f"{x:.2f} %" for x in each) + " | "
            cells += " | ".join(f"{x:.1f} %" for x in suite)
            print(f"| {noise.name} | {s} | {cells} |", flush=True)
    print(f"\n{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
