"""What a search adds to its trials: `python tests/bench/tuning_overhead.py`. Not for pytest.

Searches of kmer and cnn on the demo, in this process, with tiny trials. The CPU seconds outside of
`run_trial`, for each trial, less what `dnabench run` spends there on as many trials.

Then a TPE search of kmer on one task in a worker process, which is kept between its steps or, for
comparison, started anew in each: elapsed seconds less those of the records, beside `dnabench run`.
"""

import contextlib
import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dnabench as db
from dnabench.executors import local
from dnabench.results.store import Store
from dnabench.sweep import work

BUDGET, SEEDS, TUNING_SEEDS = 10, 3, 2
FLAGS = {"suite": "demo", "limit": 100, "epochs": 1, "executor": "inline"}
MOST = 0.2  # seconds a trial
ONE = {"tasks": "demo/splice_junctions", "limit": 100, "jobs": 1}
STEPS = 16  # configurations of the search in a worker process


def timed(call):
    """CPU seconds of a call, and those of them inside `run_trial`."""
    inside, real = [], work.run_trial

    def counted(*args, **words):
        start = time.process_time()
        try:
            return real(*args, **words)
        finally:
            inside.append(time.process_time() - start)

    work.run_trial = counted
    try:
        start = time.process_time()
        call()
        return time.process_time() - start, sum(inside), len(inside)
    finally:
        work.run_trial = real


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


def elapsed(call, folder):
    """Seconds of a call less those of the records that it makes, and how many these are."""
    start = time.monotonic()
    call(folder)
    seconds = time.monotonic() - start
    records = list(Store(folder))
    return seconds - sum(record.seconds for record in records), len(records)


def in_workers():
    """Rows of elapsed seconds beside the trials: of a search, kept or not, and of a run."""

    def search(out):
        db.tune("kmer", budget=STEPS, seeds=SEEDS, tuning_seeds=TUNING_SEEDS, search="tpe",
                out=out, **ONE)  # fmt: skip

    kept = local.workers_kept
    with tempfile.TemporaryDirectory() as folder:
        found = [elapsed(search, f"{folder}/kept")]
        n = found[0][1]
        found.append(elapsed(lambda out: db.run("kmer", seeds=n, out=out, **ONE), f"{folder}/run"))
        local.workers_kept = contextlib.nullcontext
        try:
            found.append(elapsed(search, f"{folder}/anew"))
        finally:
            local.workers_kept = kept
    return found


def main():
    print("| search | trials | CPU s beside a trial | in `dnabench run` | added by the search |")
    print("|:---|---:|---:|---:|---:|")
    worst = 0.0
    for search in ("random", "tpe"):
        n, searched, ran = measured(search)
        worst = max(worst, searched - ran)
        print(f"| {search} | {n} | {searched:.3f} | {ran:.3f} | {searched - ran:.3f} |")
    print("\n| one worker process | trials | elapsed s beside the trials | s a trial | added |")
    print("|:---|---:|---:|---:|---:|")
    found = in_workers()
    usual = found[1][0] / found[1][1]
    names = ("tpe, kept between its steps", "`dnabench run`", "tpe, started in each step")
    for name, (beside, n) in zip(names, found, strict=True):
        print(f"| {name} | {n} | {beside:.1f} | {beside / n:.2f} | {beside / n - usual:.2f} |")
    worst = max(worst, found[0][0] / found[0][1] - usual)
    return worst >= MOST


if __name__ == "__main__":
    sys.exit(main())
