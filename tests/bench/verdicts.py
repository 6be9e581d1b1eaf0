"""How often is a true difference found, and a false one claimed? `python tests/bench/verdicts.py`.

Not collected by pytest. Suites of 8 tasks, two models simulated as in coverage.py (noise of an
example: 0.5 shared by all runs, 0.2 of a model, 0.3 of a run; seeds 0.011 MCC apart). The second
model is better by 0, 0.01 or 0.03 MCC on every task. The bootstrap of the examples is replaced by
what it estimates, as far as moments go: the variance of the mean difference from each example's
influence on MCC, and the seeds' from Welch. That is vectorised; coverage.py checks the bootstrap.
Examples in known groups of copies (1, 2 or 4) are as many examples as there are groups.

Prints Markdown. SUITES (400) of each line have a binomial standard error of 1.1 % at 5 %.
"""

import math
import sys
import time
from itertools import product

import numpy as np
from scipy.special import ndtr, stdtr
from scipy.stats import wilcoxon

from dnabench.reports.stats import MIN_TASKS, detectable, holm, lead, like_these
from dnabench.results.provenance import here

TASKS, ROPE, SHARED, OF_MODEL = 8, 0.01, 0.5, 0.2
SEED_SD, SKILL = 0.011, 1.0
OWN = math.sqrt(1 - SHARED - OF_MODEL)
FAMILIES = {
    "8 families": list("abcdefgh"), "4 families of 2": list("aabbccdd"), "1 family": ["a"] * 8,
}  # fmt: skip


def skill_of(mcc):
    """Mean skill that gives this mean MCC, by bisection."""
    tau = spread(SKILL)
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        above = 2 * ndtr(middle / math.sqrt(1 + tau**2)) - 1 > mcc
        low, high = (low, middle) if above else (middle, high)
    return low


def spread(mu):
    """Of skill between seeds."""
    return SEED_SD / (2 * math.exp(-mu * mu / 2) / math.sqrt(2 * math.pi))


def task(rng, n, seeds, skills):
    """Scores (2, S) and the influence of each example on each run's accuracy (2, S, n)."""
    shared = rng.normal(0, math.sqrt(SHARED), n)
    right = np.empty((2, seeds, n), bool)
    for m, mu in enumerate(skills):
        skill = mu + rng.normal(0, spread(SKILL), (seeds, 1))
        noise = shared + rng.normal(0, math.sqrt(OF_MODEL), n) + rng.normal(0, OWN, (seeds, n))
        right[m] = skill + noise > 0
    return 2 * right.mean(2) - 1, 2 * right  # balanced and symmetric: MCC = 2 accuracy - 1


def compared(scores, influence):
    """Difference b - a, Welch's p, the error over seeds and examples, its df and p."""
    n, seeds = influence.shape[2], scores.shape[1]
    d = float(scores[1].mean() - scores[0].mean())
    v = scores.var(1, ddof=1) / seeds
    of_examples = (influence[1].mean(0) - influence[0].mean(0)).var(ddof=1) / n
    own = sum((x - x.mean(0)).var(1).sum() / (seeds - 1) / seeds / n for x in influence)
    total = max(0.0, of_examples - own) + v.sum()
    df_seeds = v.sum() ** 2 / (v**2 / (seeds - 1)).sum()
    df = total**2 / (v**2 / (seeds - 1)).sum()
    p_seeds, p = (2 * float(stdtr(f, -abs(d) / math.sqrt(x)))
                  for f, x in ((df_seeds, v.sum()), (df, total)))  # fmt: skip
    return d, max(p_seeds, p), math.sqrt(total), df


def line(suites, n, seeds, difference):
    """Percent of tasks won and of suites claimed, by rule; false when the difference is 0."""
    rng = np.random.default_rng([n, seeds, round(1000 * difference)])
    base = skill_of(2 * ndtr(SKILL) - 1)
    better = skill_of(2 * ndtr(SKILL) - 1 + difference)
    third = len(FAMILIES)
    won, found = np.zeros(2), np.zeros(1 + third)
    covered = np.zeros(third)
    for _ in range(suites):
        tests = [compared(*task(rng, n, seeds, (base, better))) for _ in range(TASKS)]
        d, p, errors, df = map(np.array, zip(*tests, strict=True))
        wins = [(np.array(holm([*p, *[1.0] * extra])[:TASKS]) < 0.05) & (abs(d) >= ROPE)
                for extra in (2 * TASKS, 0)]  # fmt: skip
        won += [w.mean() for w in wins]
        found[0] += wilcoxon(d).pvalue < 0.05
        for k, families in enumerate(FAMILIES.values()):
            over = lead(d, errors, df, families)
            found[1 + k] += over.p < 0.05
            covered[k] += over.low <= difference <= over.high
    return 100 * won / suites, 100 * found / suites, 100 * covered / suites


def senses(suites, n, seeds, tests=3 * TASKS):
    """The difference that a report says it sees, and how often verdicts find it, in percent."""
    rng = np.random.default_rng([n, seeds, 9])
    base = skill_of(2 * ndtr(SKILL) - 1)
    sd, examples = 0.0, 0.0
    for _ in range(suites):
        scores, influence = task(rng, n, seeds, (base, base))
        error, own = compared(scores, influence)[2], scores.var(1, ddof=1)
        sd, examples = sd + own.mean() / suites, examples + max(0, error**2 - own.sum() / seeds)
    sd, error, alpha = math.sqrt(sd), math.sqrt(examples / suites), 0.05 / tests
    sees, alone = detectable(sd, sd, seeds, alpha, error=error), detectable(sd, sd, seeds)
    better, hit = skill_of(2 * ndtr(SKILL) - 1 + sees), 0
    for _ in range(suites):
        d, p, *_ = compared(*task(rng, n, seeds, (base, better)))
        hit += p < alpha and abs(d) >= ROPE
    return alone, sees, 100 * hit / suites


def drawn_again(suites, families, sd=0.02):
    """Coverage of `like_these` where the tasks' true differences vary around 0.03."""
    rng, hit = np.random.default_rng(families), 0
    for _ in range(suites):
        found = like_these(rng.normal(0.03, sd, families), list(map(str, range(families))))
        hit += found.low <= 0.03 <= found.high
    return 100 * hit / suites


def main():
    suites = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    start = time.process_time()
    where = ", ".join(f"{k} {v}" for k, v in here().items() if k not in ("host", "cpu"))
    print(f"{suites:,} suites of {TASKS} tasks a line; {where}")
    heads = ["true difference", "group size", "seeds", "examples",
             "task verdicts: Holm over 3 pairs x 8", "one declared pair: Holm over 8",
             "Wilcoxon over tasks",
             *(f"mean over tasks: {name}" for name in FAMILIES),
             "95 % CI covers (8 families)"]  # fmt: skip
    print(f"\n| {' | '.join(heads)} |\n|{'---:|' * len(heads)}")
    for difference, group, seeds, n in product((0.0, 0.01, 0.03), (1, 2, 4), (5, 10), (500, 2000)):
        won, found, covered = line(suites, n // group, seeds, difference)
        cells = " | ".join(f"{x:.1f} %" for x in (*won, *found, covered[0]))
        print(f"| {difference:g} | {group} | {seeds} | {n:,} | {cells} |", flush=True)
    again = [f"{k} families {drawn_again(20 * suites, k):.1f} %" for k in (3, MIN_TASKS, 18)]
    print(f"\nTasks drawn again, the interval holds the true mean: {', '.join(again)}.")
    print("\n| seeds | examples | sees, seeds alone at 0.05 | sees, as printed | found |")
    print("|---:|---:|---:|---:|---:|")
    for seeds, n in ((5, 500), (10, 500), (10, 2000)):
        alone, sees, hit = senses(suites, n, seeds)
        print(f"| {seeds} | {n:,} | {alone:.3f} | {sees:.3f} | {hit:.1f} % |", flush=True)
    print(f"\n{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
