"""What a search adds to its trials: `python tests/bench/tuning_overhead.py`. Not for pytest.

Searches of kmer and cnn on the demo, in this process, with tiny trials. The CPU seconds outside of
`run_trial`, for each trial, less what `dnabench run` spends there on as many trials.
"""

import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dnabench as db
from dnabench.sweep import sweep

BUDGET, SEEDS, TUNING_SEEDS = 10, 3, 2
FLAGS = {"suite": "demo", "limit": 100, "epochs": 1, "executor": "inline"}
MOST = 0.2  # seconds a trial


def timed(call):
    """CPU seconds of a call, and those of them inside `run_trial`."""
    inside, real = [], sweep.run_trial

    def counted(*args, **words):
        start = time.process_time()
        try:
            return real(*args, **words)
        finally:
            inside.append(time.process_time() - start)

    sweep.run_trial = counted
    try:
        start = time.process_time()
        call()
        return time.process_time() - start, sum(inside), len(inside)
    finally:
        sweep.run_trial = real


def measured(search):
    """Trials of a search, CPU seconds beside a trial: in the search, and in a run of the same."""
    models = "kmer,cnn"
    with tempfile.TemporaryDirectory() as folder:
        db.run(models, seeds=1, out=f"{folder}/warm", **FLAGS)
        tuned = timed(lambda: db.tune(
            models, budget=BUDGET, seeds=SEEDS, tuning_seeds=TUNING_SEEDS, search=search,
            out=f"{folder}/runs", **FLAGS))  # fmt: skip
        n = tuned[-1]
        plain = timed(lambda: db.run(models, seeds=n // 4, out=f"{folder}/plain", **FLAGS))
    return n, *((every - inside) / trials for every, inside, trials in (tuned, plain))


def main():
    print("| search | trials | CPU s beside a trial | in `dnabench run` | added by the search |")
    print("|:---|---:|---:|---:|---:|")
    worst = 0.0
    for search in ("random", "tpe"):
        n, searched, ran = measured(search)
        worst = max(worst, searched - ran)
        print(f"| {search} | {n} | {searched:.3f} | {ran:.3f} | {searched - ran:.3f} |")
    return worst >= MOST


if __name__ == "__main__":
    sys.exit(main())
