"""How long a report over 10,000 records takes, first and again; prints Markdown.

    OMP_NUM_THREADS=1 python tests/bench/report.py

10 models x 50 tasks x 20 seeds in three suites, 500 test examples each, with stored predictions;
drawn from a seed, written as real runs write them. CPU seconds of the `dnabench report` process.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dnabench.metrics import score
from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.types import Recipe, Record, Trial

MODELS, TASKS, SEEDS, EXAMPLES = 10, 50, 20, 500


def fill(folder, models=MODELS, tasks=TASKS, seeds=SEEDS):
    """Write the records and predictions."""
    rng, store = np.random.default_rng(0), Store(folder)
    store.check_writable()
    for t in range(tasks):
        y = rng.integers(0, 2, EXAMPLES)
        hard, ids = rng.standard_normal(EXAMPLES), np.array([str(i) for i in range(EXAMPLES)])
        for m in range(models):
            for s in range(seeds):
                noise = hard + rng.standard_normal(EXAMPLES)
                right = (1 + 0.08 * m) * (2 * y - 1) + noise
                logits = np.stack([np.zeros(EXAMPLES), right], 1).astype(np.float32)
                store.append(record(m, t, s, score(y, logits, ["mcc", "accuracy"])),
                             {"logits": logits, "labels": y, "ids": ids})  # fmt: skip


def record(m, t, s, scores):
    """A record as a run of 20 epochs leaves it."""
    trial = Trial(
        model=f"model{m}", options={"width": 64}, regime="scratch", task=f"suite{t // 18}/task{t}",
        data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=s,
    )  # fmt: skip
    curve = [{"epoch": e, "loss": 1 / e, "val": scores} for e in range(1, 21)]
    facts = {"kind": "binary", "metric": "mcc", "family": f"family{t % 4}", "n_test": EXAMPLES}
    return Record(
        trial=trial, scores={"test": scores, "val": scores}, curve=curve, best_epoch=20,
        n_params=100_000 * (m + 1), seconds=10.0, seconds_to_best=10.0, examples_per_second=100.0,
        task=facts, peak_memory=2**29, where={"device": "cpu"},
    )  # fmt: skip


def seconds(*argv):
    """CPU seconds of a real `dnabench report`, and how long it took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "dnabench", "report", *map(str, argv)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - start


def main():
    """Time it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        rows = [("md, nothing cached", seconds("--out", folder, "--full"))]
        rows.append(("md, again", seconds("--out", folder, "--full")))
        rows.append(("on the screen, again", seconds("--out", folder)))
        rows.append(("html, again", seconds("--out", folder, "-f", "html")))
        size = (folder / "report.html").stat().st_size
    print(f"{MODELS * TASKS * SEEDS:,} records; load {os.getloadavg()[1]:.1f} on {os.cpu_count()} "
          "cores\n\n| report | CPU seconds | elapsed |\n|---|---:|---:|")  # fmt: skip
    print("\n".join(f"| {what} | {cpu:.1f} | {wall:.1f} |" for what, (cpu, wall) in rows))
    print(f"\nreport.html: {size / 1e6:.1f} MB")
    print("; ".join(f"{k} {v}" for k, v in here().items() if isinstance(v, str)))


if __name__ == "__main__":
    main()
