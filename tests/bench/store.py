"""How long reading a store of 1,000, 10,000 and 100,000 records takes; prints Markdown.

    OMP_NUM_THREADS=1 python tests/bench/store.py [FOLDER [RECORDS ...]]

10 models x 50 tasks x as many seeds as it takes, drawn from a seed, without predictions. Stores are
made in FOLDER, a temporary one by default, and those that are there are used. CPU seconds of each
process, its elapsed seconds, and its largest memory. Done ids: `Store.done`, imports not counted.
Run: a whole `dnabench run` whose one trial is done, of which the store's part is what grows.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dnabench.results.provenance import here
from report import MODELS, TASKS, record

NAMES = ("accuracy", "auprc", "auroc", "brier", "f1", "mcc", "precision", "recall")
DONE = """
import time
from dnabench.results.store import Store
cpu, start = time.process_time(), time.perf_counter()
n = len(Store({!r}).done())
print(n, time.process_time() - cpu, time.perf_counter() - start)
"""
RUN = ("run", "-m", "kmer", "-t", "demo/splice_junctions", "--limit", "60", "--seeds", "1")


def fill(folder, n):
    """Write n records; nothing waits for the disk."""
    rng = random.Random(0)
    (folder / "records").mkdir(parents=True)
    for k in range(n):
        scores = {name: rng.gauss(0.6 + 0.02 * (k % MODELS), 0.02) for name in NAMES}
        one = record(k % MODELS, k // MODELS % TASKS, k // MODELS // TASKS, scores)
        (folder / "records" / f"{one.trial.id}.json").write_text(one.to_json())


def timed(*argv):
    """CPU seconds, seconds and MB of a process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    clock = ["/usr/bin/env", "time", "-f", "%U %S %e %M", *map(str, argv)]
    done = subprocess.run(clock, env=env, capture_output=True, text=True, check=True)
    user, system, wall, kilobytes = map(float, done.stderr.splitlines()[-1].split())
    return user + system, wall, kilobytes / 1024


def ids(folder):
    """CPU seconds and seconds of `Store.done` alone, and the MB of its process."""
    code = [sys.executable, "-c", DONE.format(str(folder))]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    return [*map(float, done.stdout.split()[1:]), timed(*code)[2]]


def rows(folder):
    """What is timed, and how long it took: first without what is kept, then with it."""
    command = [sys.executable, "-m", "dnabench"]
    (folder / "networks").mkdir(exist_ok=True)
    subprocess.run([*command, *RUN, "--out", folder], check=True, capture_output=True)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    yield "done ids, first", ids(folder)
    yield "done ids", ids(folder)
    yield "run", timed(*command, *RUN, "--out", folder)
    report = [*command, "report", "--full", "--out", folder, "--to", folder / "report.md"]
    yield "report to md, first", timed(*report)
    yield "report to md, again", timed(*report)


def main(folder, *sizes):
    """Time all sizes."""
    print(f"load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores\n")
    print("| records | what | CPU s | elapsed s | MB |\n|---:|---|---:|---:|---:|")
    for n in map(int, sizes or ("1000", "10000", "100000")):
        store = Path(folder) / str(n)
        if not store.exists():
            fill(store, n)
        for what, (cpu, wall, memory) in rows(store):
            print(f"| {n:,} | {what} | {cpu:.2f} | {wall:.2f} | {memory:,.0f} |", flush=True)
    print("\n" + "; ".join(f"{k} {v}" for k, v in here().items() if isinstance(v, str)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(*(sys.argv[1:] or [name]))
