"""Do the intervals of labelled variants cover? `python tests/bench/match_groups.py`.

Eight chromosomes with 20 match groups of one variant of class 1 and nine controls; scores are
normal, those of class 1 0.7 standard deviations higher. Prints the share of SAMPLES whose 95 %
interval, from match groups drawn again within chromosomes, has the mean of many samples.
"""

import numpy as np

from dnabench.probes import labelled

CHROMOSOMES, GROUPS, SIZE, APART = 8, 20, 10, 0.7
SAMPLES, TRUTH, DRAWS = 200, 2_000, 200
NAMES = ("auprc", "auroc", "by_chromosome")


def sample(rng):
    group = np.repeat(np.arange(CHROMOSOMES * GROUPS), SIZE)
    y = np.tile([1] + [0] * (SIZE - 1), CHROMOSOMES * GROUPS)
    chroms = [f"chr{g % CHROMOSOMES}" for g in group]
    return rng.normal(size=len(y)) + APART * y, [*map(str, y)], chroms, [*map(str, group)]


def main():
    rng, labelled.DRAWS = np.random.default_rng(0), 1
    many = [labelled.areas(*sample(rng)[:3], "plus") for _ in range(TRUTH)]
    truth = {name: np.mean([getattr(one, name) for one in many]) for name in NAMES}
    labelled.DRAWS = DRAWS
    found = []
    for _ in range(SAMPLES):
        scores, labels, chroms, groups = sample(rng)
        found.append(labelled.areas(scores, labels, chroms, "plus", groups))
    print("| | mean of many samples | intervals that have it |\n|---|---:|---:|")
    for name in NAMES:
        pairs = [getattr(one, f"{name}_interval") for one in found]
        share = np.mean([low <= truth[name] <= high for low, high in pairs])
        print(f"| {name} | {truth[name]:.3f} | {share:.3f} |")


if __name__ == "__main__":
    main()
