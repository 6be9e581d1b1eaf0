"""Choosing on validation against choosing on test, among equal configurations, simulated.

python tests/bench/tuning.py [--replicates 2000]

Every configuration of both models is right on the same share of examples in the long run. What a
rule reports above that share is its bias. Examples are hard or easy for all configurations alike.
"""

import argparse
import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from dnabench.reports.stats import welch
from dnabench.results.searches import Candidate, choose

TRUE = 0.8  # accuracy of every configuration
BETWEEN_SEEDS = 0.01  # sd of a run's accuracy
SHARED = 0.5  # variance of what makes an example easy, common to all runs
CONFIGURATIONS, TUNING_SEEDS, SEEDS = 16, 2, 5
ACCURACY = {"t": "accuracy"}


class Bias(NamedTuple):
    """Of one rule: what it reports above the truth, and its wins against an equal model."""

    mean: float
    error: float  # standard error of the mean
    wins: float  # share of repetitions with Welch's p below 0.05 in favour of the tuned model


def accuracies(rng, runs, n):
    """Accuracy of runs (configurations, seeds) on n examples that they share."""
    true = np.clip(rng.normal(TRUE, BETWEEN_SEEDS, runs), 0.01, 0.99)
    easy = rng.standard_normal(n) * math.sqrt(SHARED)
    own = rng.standard_normal((*runs, n), dtype=np.float32) * math.sqrt(1 - SHARED)
    return (easy + own < ndtri(true)[..., None]).mean(-1)


def chosen(scores):
    """The configuration that the rule of `dnabench tune` chooses."""
    found = [
        Candidate(number=i, settings=(), scores={"t": tuple(row)}) for i, row in enumerate(scores)
    ]
    return choose(found, ACCURACY).number


def simulate(n, replicates, seed=0):
    """Validation and test of n examples each: rule -> its bias."""
    rng = np.random.default_rng(seed)
    rules = ("validation", "validation, whose score is reported", "test", "test, best single run")
    gains = {rule: [] for rule in rules}
    wins = dict.fromkeys(gains, 0)
    for _ in range(replicates):
        validation = accuracies(rng, (CONFIGURATIONS, TUNING_SEEDS), n)
        test = accuracies(rng, (CONFIGURATIONS + 1, SEEDS), n)  # the last one is the other model
        other, tested = test[-1], test[:-1]
        best = chosen(validation)
        reported = (tested[best], validation[best], tested[chosen(tested)], tested.max()[None])
        for rule, runs in zip(rules, reported, strict=True):
            gains[rule].append(runs.mean() - TRUE)
            better = len(runs) == SEEDS and runs.mean() > other.mean()
            wins[rule] += better and welch(runs, other).p < 0.05
    return {
        rule: Bias(
            float(np.mean(x)), float(np.std(x, ddof=1) / math.sqrt(replicates)),
            wins[rule] / replicates if rule in ("validation", "test") else math.nan,
        )
        for rule, x in gains.items()
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicates", type=int, default=2000)
    replicates = parser.parse_args().replicates
    print("| examples | chosen on | bias | standard error | false wins, Welch p < 0.05 |")
    print("|---:|:---|---:|---:|---:|")
    for n in (200, 1000, 5000):
        for rule, bias in simulate(n, replicates).items():
            wins = "–" if math.isnan(bias.wins) else f"{100 * bias.wins:.1f} %"
            print(f"| {n:,} | {rule} | {bias.mean:+.4f} | {bias.error:.4f} | {wins} |")


if __name__ == "__main__":
    main()
