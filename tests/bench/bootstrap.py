"""How long the bootstrap over test examples takes: `python tests/bench/bootstrap.py`.

Not collected by pytest. 10 v 10 seeds on 7,000 examples, 10,000 replicates, from logits to the
nested interval; the goal is under 10 s on one core for mcc, F1, accuracy and AUROC. Prints Markdown
with own CPU seconds (user and system), which other programs disturb less than the clock. One
thread: set OMP_NUM_THREADS=1 before.
"""

import os
import resource
import time

import numpy as np

from dnabench.metrics import METRICS
from dnabench.reports.stats.examples import REPLICATES, nested, replicates
from dnabench.results.provenance import here

N, SEEDS = 7000, 10
CASES = [
    *[(m, 2) for m in ("mcc", "f1_macro", "f1_binary", "accuracy", "balanced_accuracy")],
    ("auroc", 2), ("auprc", 2), ("mcc", 9), ("f1_macro", 9), ("auroc", 4),
    ("pearson", 1), ("r2", 1), ("spearman", 1),
]  # fmt: skip


def split(metric, k):
    rng = np.random.default_rng(k)
    if "regression" in METRICS[metric].kinds:
        y = rng.normal(size=(N, k))
        return y, [(y + rng.normal(size=y.shape)).astype(np.float32) for _ in range(2 * SEEDS)]
    y = rng.integers(0, k, N)
    shape = (N, k)
    return y, [(np.eye(k)[y] + rng.normal(size=shape)).astype(np.float32) for _ in range(2 * SEEDS)]


def main():
    threads = os.environ.get("OMP_NUM_THREADS", "as many as there are cores")
    where = ", ".join(f"{k} {v}" for k, v in here().items() if k != "host")
    print(f"{SEEDS} v {SEEDS} runs, {N:,} examples, {REPLICATES:,} replicates; "
          f"threads: {threads}; {where}\n")  # fmt: skip
    print("| metric | K | CPU seconds | seconds | of these `nested` |")
    print("|---|---:|---:|---:|---:|")
    for metric, k in CASES:
        y, logits = split(metric, k)
        cpu, clock = time.process_time(), time.perf_counter()
        runs = replicates(y, logits, metric)
        after = time.perf_counter()
        nested(runs[:SEEDS], runs[SEEDS:])
        end = time.perf_counter()
        cpu = time.process_time() - cpu
        print(f"| {metric} | {k} | {cpu:.2f} | {end - clock:.2f} | {end - after:.2f} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nLargest resident memory: {peak:.0f} MB")


if __name__ == "__main__":
    main()
