"""Do the intervals of labelled variants cover? `python tests/bench/match_groups.py`.

Scores are normal, those of class 1 0.7 standard deviations higher. Without match groups one variant
in ten is of class 1, and they lie anywhere on chromosomes of BP; with them each of class 1 has nine
controls. Prints the share of SAMPLES whose 95 % interval has the mean of TRUTH samples.
"""

import numpy as np

from dnabench.probes import labelled

APART, BP, SIZE = 0.7, 50_000_000, 10
SAMPLES, TRUTH, DRAWS = 120, 1_000, 100
NAMES = ("auprc", "auroc", "by_chromosome")
CASES = [(2, 200, 0), (4, 200, 0), (8, 200, 0), (22, 60, 0), (4, 0, 20), (22, 0, 3)]


def sample(rng, chromosomes, variants, groups):
    """What `areas` takes: scores, labels, chromosomes, direction, match groups, positions."""
    n = chromosomes * (variants or groups * SIZE)
    if variants:
        y, chroms, group = rng.random(n) < 1 / SIZE, np.arange(n) % chromosomes, ()
    else:
        of = np.arange(n) // SIZE
        y, chroms, group = np.arange(n) % SIZE == 0, of % chromosomes, [*map(str, of)]
    scores, at = rng.normal(size=n) + APART * y, rng.integers(0, BP, n)
    return scores, [*map(str, y)], [f"chr{c}" for c in chroms], "plus", group, at


def row(case):
    rng, labelled.DRAWS = np.random.default_rng(0), 1
    many = [labelled.areas(*sample(rng, *case)) for _ in range(TRUTH)]
    labelled.DRAWS = DRAWS
    found = [labelled.areas(*sample(rng, *case)) for _ in range(SAMPLES)]
    shares = []
    for name in NAMES:
        truth = np.mean([getattr(one, name) for one in many])
        pairs = [getattr(one, f"{name}_interval") for one in found]
        shares.append(np.mean([low <= truth <= high for low, high in filter(None, pairs)]))
    first, (n, each, groups) = found[0], case
    within = " within chromosomes" if first.within else ""
    what = f"{each} variants" if each else f"{groups} match groups"
    return [f"{n} x {what}", f"{first.units} {first.unit}{within}", *(f"{x:.2f}" for x in shares)]


def main():
    print("| chromosomes x each | drawn again | AUPRC | AUROC | by chromosome |")
    print("|---|---|---:|---:|---:|")
    for case in CASES:
        print(f"| {' | '.join(row(case))} |", flush=True)


if __name__ == "__main__":
    main()
