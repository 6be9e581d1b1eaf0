"""The same 16 trials here, on Slurm, on Ray and by three workers; prints Markdown.

    OMP_NUM_THREADS=1 python tests/bench/engines.py [slurm] [ray] [workers]

As root, with slurm-wlm, munge and Ray; without a name, all of them after this machine alone.
Slurm and Ray are real, of two nodes on this machine (tests/engines), started before the clock and
ended after it. A run before them fills the caches and does not count. What was computed is compared
with what this machine gave: ids, the records without times and hosts, and the files of predictions
byte by byte. Ends with 1 where they differ or Slurm took over a second a trial between trials.

Of each process that ran trials, by the journal: from its first start to its last end, less the
seconds of its records, is what it spent between trials. The whole price also has submitting,
starting processes and waiting: workers times elapsed seconds, less the seconds of all records.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

import ray_cluster
import slurm_cluster
from twelve_trials import digest

from dnabench.results.provenance import here

TRIALS = 16
SWEEP = ["--suite", "demo", "-m", "kmer,cnn", "-t", "splice_junctions", "--seeds", "8",
         "--limit", "600", "--epochs", "5", "--device", "cpu"]  # fmt: skip
NAMES = ("slurm", "ray", "workers")
MOST = 1.0  # seconds a trial


class Here(NamedTuple):
    """This machine alone."""

    env: dict


def dnabench(cluster, *words):
    """Start a command."""
    env = {**cluster.env, "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", "dnabench", *map(str, words)]
    return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(*processes):
    """Wait for commands."""
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()


def on(cluster, out, *words):
    """The sweep as one command."""
    ended(dnabench(cluster, "run", *SWEEP, "--out", out, *words))


def by_workers(cluster, out):
    """The sweep stored, and three workers."""
    on(cluster, out, "--queue")
    ended(*(dnabench(cluster, "worker", "--out", out, "--jobs", "1") for _ in range(3)))


@contextlib.contextmanager
def engines(names):
    """Name -> (how many work at once, what runs the sweep into a folder)."""
    alone = Here(os.environ)
    with contextlib.ExitStack() as stack:
        found = {"local, --jobs 2": (2, lambda out: on(alone, out, "--jobs", "2"))}
        if "slurm" in names:
            slurm = stack.enter_context(slurm_cluster.cluster())
            words = ["--executor", "slurm", "--jobs", "2"]
            found["Slurm, two nodes"] = (2, lambda out: on(slurm, out, *words))
        if "ray" in names:
            ray = stack.enter_context(ray_cluster.cluster())
            asked = ["--executor", "ray", "--set-resource", f"address={ray.address}"]
            found["Ray, two nodes"] = (2, lambda out: on(ray, out, *asked))
        if "workers" in names:
            found["three workers"] = (3, lambda out: by_workers(alone, out))
        yield found


def spent(out):
    """(seconds of the trials, seconds between trials, processes) of a sweep."""
    seconds = {p.stem: json.loads(p.read_text())["seconds"] for p in out.glob("records/*.json")}
    lines = [x for p in out.glob("journal-*.jsonl") for x in p.read_text().splitlines()]
    events = defaultdict(list)
    for event in map(json.loads, lines):
        events[event["pid"]].append(event)
    times = Counter(e["event"] for some in events.values() for e in some)
    assert times == {"started": TRIALS, "ended": TRIALS}, times
    between = sum(
        max(e["at"] for e in some) - min(e["at"] for e in some)
        - sum(seconds[e["trial"]] for e in some if e["event"] == "ended")
        for some in events.values()
    )  # fmt: skip
    return sum(seconds.values()), between, len(events)


def files(out):
    """The bytes of the predictions, by trial id."""
    return {p.stem: p.read_bytes() for p in out.glob("predictions/*.npz")}


def main():
    """Run all and compare."""
    print(f"`dnabench run {' '.join(SWEEP)}`, 16 trials, one thread each.\n")
    print("| where | elapsed s | s of trials | processes | between trials, s a trial | all but "
          "trials, s a trial | same trials, results, predictions |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---|")
    wrong, first, load = False, None, os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir="/tmp") as name, engines(sys.argv[1:] or NAMES) as every:
        on(Here(os.environ), Path(name, "warm"), "--limit", "60", "--seeds", "1", "--epochs", "1")
        for k, (what, (workers, run)) in enumerate(every.items()):
            out, start = Path(name, str(k)), time.monotonic()
            run(out)
            wall = time.monotonic() - start
            trained, between, n = spent(out)
            found = digest(out), files(out)
            first = first or found
            assert len(found[0]) == len(found[1]) == TRIALS
            same = [sum(x.get(i) == y[i] for i in y) for x, y in zip(found, first, strict=True)]
            wrong |= same != [TRIALS, TRIALS] or (what[0] == "S" and between / TRIALS > MOST)
            told = f"{len(found[0].keys() & first[0].keys())}, {same[0]}, {same[1]} of {TRIALS}"
            print(f"| {what} | {wall:.1f} | {trained:.1f} | {n} | {between / TRIALS:.2f} | "
                  f"{(workers * wall - trained) / TRIALS:.2f} | {told} |", flush=True)  # fmt: skip
    about = "; ".join(f"{k} {v}" for k, v in here().items() if isinstance(v, str))
    print(f"\nload {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end, "
          f"{os.cpu_count()} cores; {about}")  # fmt: skip
    sys.exit(wrong)


if __name__ == "__main__":
    main()
