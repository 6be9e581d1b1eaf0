"""Importing and loading data: `python tests/bench/data.py`. Not collected by pytest.

Each line is a process of its own on one core: wall and CPU seconds with the start of Python left
out, and the largest memory of the whole process. "cold": the kernel was told to forget the file.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dnabench.results.provenance import here

N, LENGTH = 100_000, 500
RUNS = 5
IMPORT = """
import json, sys, time
from pathlib import Path
from dnabench import TASKS
from dnabench.tasks.io.importing import import_tree
list(TASKS)
wall, cpu = time.perf_counter(), time.process_time()
(done,) = import_tree(Path(sys.argv[1]), only=["gue/mouse_0"])
assert not done.error, done.error
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu,
                  int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1e3]))
"""
LOAD = """
import json, os, sys, time
from pathlib import Path
from dnabench import TASKS
from dnabench.tasks.io.imported import task_folder
task = TASKS["gue/mouse_0"]
for path in task_folder(task.name).glob("*/*.bin"):
    if sys.argv[2] == "cold":
        with path.open("rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
wall, cpu = time.perf_counter(), time.process_time()
split = task.load("train")
if sys.argv[1] == "read":
    assert len(split.seqs.padded(500)) == len(split.y) == len(split.ids) == 100_000
    split.y.sum(), split.ids.tobytes()
elif sys.argv[1] == "verify":
    from dnabench.tasks.io.verifying import verify
    verify(task)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu,
                  int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1e3]))
"""


def write(folder):
    """The same 100,000 random sequences as CSV, FASTA, Parquet and class folders."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    letters = np.frombuffer(b"ACGT", np.uint8)
    drawn = letters[np.random.default_rng(0).integers(0, 4, (N, LENGTH))]
    texts = [row.tobytes().decode() for row in drawn]
    labels = [i % 2 for i in range(N)]
    pairs = list(zip(texts, labels, strict=True))
    for name in ("csv", "gz", "fasta", "parquet", "folders"):
        (folder / name).mkdir()
    csv = "sequence,label\n" + "".join(f"{s},{y}\n" for s, y in pairs)
    (folder / "csv/train.csv").write_text(csv)
    subprocess.run(["gzip", "-1", "-k", folder / "csv/train.csv"], check=True)
    (folder / "csv/train.csv.gz").rename(folder / "gz/train.csv.gz")
    (folder / "fasta/train.fasta").write_text(
        "".join(f">chr1:{i}-{i + 500}|{y}\n{s}\n" for i, (s, y) in enumerate(pairs))
    )
    pq.write_table(pa.table({"sequence": texts, "label": labels}), folder / "parquet/train.parquet")
    for y, name in enumerate(("negative", "positive")):
        home = folder / "folders/train" / name
        home.mkdir(parents=True)
        for i, text in enumerate(texts[y::2]):
            (home / f"{i}.txt").write_text(text)


def measure(code, *words, cache, runs=RUNS):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DNABENCH_CACHE": str(cache)}
    rows = []
    for _ in range(runs):
        argv = ["taskset", "-c", "0", sys.executable, "-c", code, *map(str, words)]
        done = subprocess.run(argv, env=env, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    return rows


def line(name, rows):
    wall, cpu, memory = zip(*rows, strict=True)
    spread = f"{min(wall):.3f}-{max(wall):.3f}"
    middle = statistics.median(wall), statistics.median(cpu)
    print(f"| {name} | {middle[0]:.3f} | {spread} | {middle[1]:.3f} | {max(memory):.0f} |")


if __name__ == "__main__":
    where = here()
    print(f"{where['cpu']}, python {where['python']}, numpy {np.__version__},")
    print(f"commit {where['commit']}, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f}")
    print(f"{N:,} sequences of {LENGTH} bp; median of {RUNS} processes on one core\n")
    print("| what | wall s | range | CPU s | peak MB |\n|---|---:|---|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="bench-data-") as name:
        folder, cache = Path(name), Path(name, "cache")
        write(folder)
        for layout in ("gz", "fasta", "parquet", "folders", "csv"):
            line(f"import {layout}", measure(IMPORT, folder / layout, cache=cache))
        for what in ("open", "read", "verify"):
            for state in ("cold", "warm"):
                line(f"{what}, {state}", measure(LOAD, what, state, cache=cache))
        size = sum(path.stat().st_size for path in cache.rglob("*.bin"))
        print(f"\nin the cache: {size / 1e6:.1f} MB")
