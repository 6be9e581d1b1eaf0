"""Time, memory and recall of an audit: `python tests/bench/audit.py [random|genome|short ...]`.

100,000 sequences of 500 bp (`short`: 70 bp), 80 % train, 10 % dev, 10 % test. Among the test
sequences are planted copies of training sequences: exact, reverse complement, and changed ones of
90 to 99 % identity by substitutions, by insertions and deletions, or by both, half of them on the
other strand. `random` and `short` are uniform letters. `genome` are windows from random places of a
made-up genome of 100 Mb, a tenth of it copies of three repeats of 300 bp, 10 to 20 % of whose bases
are changed: so windows overlap, and many share a repeat. One process for each. Prints Markdown. Not
collected by pytest.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import resource
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np

from dnabench import Sequences, Split, Task
from dnabench.results.provenance import here
from dnabench.tasks.audit.audit import audit, leak_free_mask

LENGTHS = {"random": 500, "genome": 500, "short": 70}  # bp
COUNTS = {"train": 80_000, "dev": 10_000, "test": 10_000}
IDENTITIES, WAYS, EACH = (0.9, 0.92, 0.95, 0.97, 0.99), ("substitutions", "indels", "both"), 100


def altered(rng, codes, identity, way):
    """A copy with as many changed bases as leave that share of the columns identical."""
    n = len(codes)
    edits = int((1 - identity) * n + 1e-9)
    kinds = {"substitutions": [0], "indels": [1, 2], "both": [0, 0, 1, 2]}[way]
    changes = np.full(n, -1)
    changes[rng.choice(n, edits, replace=False)] = rng.choice(kinds, edits)
    letters = np.where(changes == 0, (codes + rng.integers(1, 4, n)) % 4, codes)
    times = np.select([changes == 1, changes == 2], [2, 0], 1)
    out = np.repeat(letters, times)
    inserted = (np.cumsum(times) - 1)[changes == 1]
    out[inserted] = rng.integers(0, 4, len(inserted))
    return out.astype(np.uint8)


def flipped(codes):
    """The other strand."""
    return 3 - codes[::-1]


def random_rows(rng, n, length):
    """Uniform letters, uint8 (n, length), and where they lie: nowhere near each other."""
    return rng.integers(0, 4, (n, length), np.uint8), np.arange(n) * 2 * length


def genome_rows(rng, n, length, size=100_000_000):
    """Windows from anywhere in a genome with repeats, and where they begin."""
    genome = rng.integers(0, 4, size, np.uint8)
    for repeat in rng.integers(0, 4, (3, 300), np.uint8):
        starts = rng.integers(0, size - 300, size // 30 // 300)
        copies = np.tile(repeat, (len(starts), 1))
        share = rng.uniform(0.1, 0.2, (len(starts), 1))
        changed = rng.random(copies.shape) < share
        copies[changed] = (copies[changed] + rng.integers(1, 4, int(changed.sum()))) % 4
        back = rng.random(len(starts)) < 0.5
        copies[back] = 3 - copies[back][:, ::-1]
        genome[starts[:, None] + np.arange(300)] = copies
    starts = rng.integers(0, size - length, n)
    return genome[starts[:, None] + np.arange(length)], starts


def generated(kind, seed=0):
    """(task, planted: (how, identity, row of test) for each copy, rows of test by chance).

    By chance a window of test may overlap one of train or dev by 80 % of its length.
    """
    rng = np.random.default_rng(seed)
    make, length = genome_rows if kind == "genome" else random_rows, LENGTHS[kind]
    rows, starts = make(rng, sum(COUNTS.values()), length)
    rows = list(rows)
    n_train, first_test = COUNTS["train"], COUNTS["train"] + COUNTS["dev"]
    jobs = [("exact", 1.0), ("reverse complement", 1.0)]
    jobs = [*jobs, *((way, identity) for way in WAYS for identity in IDENTITIES)] * EACH
    sources = rng.choice(n_train, len(jobs), replace=False)
    planted = []
    for i, ((how, identity), source) in enumerate(zip(jobs, sources, strict=True)):
        copy = rows[source]
        if how in WAYS:
            copy = altered(rng, copy, identity, how)
        if how == "reverse complement" or (how in WAYS and i // len(set(jobs)) % 2):
            copy = flipped(copy)
        rows[first_test + i] = copy
        planted.append((how, identity, i))
    splits, start = {}, 0
    for name, n in COUNTS.items():
        part = rows[start : start + n]
        offsets = np.concatenate([[0], np.cumsum([len(r) for r in part])])
        y = rng.integers(0, 2, n)
        splits[name] = Split(
            Sequences(np.concatenate(part), offsets), y, np.arange(n).astype(np.str_)
        )
        start += n
    task = Task(
        name=f"generated/{kind}", kind="binary", classes=("0", "1"), metric="mcc", length=length,
        counts=COUNTS, data="0" * 16, load=splits.__getitem__, source="here", license="CC0-1.0",
    )  # fmt: skip
    others = np.sort(starts[:first_test])
    mine = starts[first_test + len(planted) :]
    at = np.searchsorted(others, mine)
    gaps = np.abs(np.stack([others[at - 1], others[at % len(others)]]) - mine).min(0)
    return task, planted, np.flatnonzero(gaps <= length // 5) + len(planted)


def measured(kind):
    """One audit in this process: what it took and what it found."""
    task, planted, chance = generated(kind)
    before = resource.getrusage(resource.RUSAGE_SELF)
    stages, wall = {}, time.perf_counter()

    def observe(stage, share):
        stages.setdefault(stage, time.perf_counter() - wall)

    found = audit(task, observe=observe)
    seconds = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    hidden = ~leak_free_mask(found)
    hits = defaultdict(list)
    for how, identity, row in planted:
        hits[f"{how} {identity:.0%}"].append(bool(hidden[row]))
    return {
        "seconds": seconds,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "before": before.ru_maxrss / 1e6,
        "peak": after.ru_maxrss / 1e6,
        "found": {name: float(np.mean(h)) for name, h in hits.items()},
        "chance": [len(chance), int(hidden[chance].sum())],
        "others": int(np.delete(hidden, chance)[len(planted) :].sum()),
        "settings": dict(found.settings),
        "stages": stages,
    }


def main(kinds):
    """Print the tables."""
    where = here()
    print(f"{where['cpu']}, python {where['python']}, numpy {where['numpy']}, {where['commit']}\n")
    for kind in kinds:
        argv = [sys.executable, __file__, "--one", kind]
        m = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        print(f"{kind}, {LENGTHS[kind]} bp: {m['seconds']:.0f} s, {m['cpu']:.0f} s of CPU,")
        print(f"peak {m['peak']:.2f} GB (the data alone {m['before']:.2f} GB).")
        print(f"Settings {m['settings']}.")
        print("Begun after (s): " + ", ".join(f"{k} {v:.1f}" for k, v in m["stages"].items()))
        print(f"Of {m['chance'][0]} windows of test that happen to overlap one of train or dev by")
        print(f"80 %, {m['chance'][1]} are found; of the other examples {m['others']} are.\n")
        print("| planted | " + " | ".join(f"{i:.0%}" for i in IDENTITIES) + " |")
        print("|---|" + "---:|" * len(IDENTITIES))
        for way in WAYS:
            cells = [f"{m['found'][f'{way} {i:.0%}']:.2f}" for i in IDENTITIES]
            print(f"| {way} | " + " | ".join(cells) + " |")
        exact, rc = (m["found"][f"{how} 100%"] for how in ("exact", "reverse complement"))
        print(f"\nexact {exact:.2f}, reverse complement {rc:.2f}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2])))
    else:
        main(sys.argv[1:] or list(LENGTHS))
