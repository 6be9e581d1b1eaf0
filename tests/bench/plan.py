"""How near `dnabench plan` is: `python tests/bench/plan.py [flags of run]`. Not for pytest.

Plans a sweep, then runs it into an empty folder, several times over, and prints Markdown: planned
over real CPU seconds of everything (all processes, user and system) and planned over real time,
then the same by row. The time of a row's trials is what their records say, which other programs
prolong; CPU seconds hardly. The plan has no records to look at.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.sweep.grid import label

SWEEP = [
    "--models", "kmer,cnn,convnova-386k", "--tasks", "demo/cell_type,demo/splice_junctions",
    "--seeds", "2", "--limit", "300", "--epochs", "2",
]  # fmt: skip


def dnabench(*words):
    """Standard output, elapsed and CPU seconds of the command and all its processes."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    argv = [sys.executable, "-m", "dnabench", *map(str, words)]
    done = subprocess.run(argv, env=env, check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, wall, cpu


def round_of(sweep):
    """The plan, what planning took, and what the sweep took; a list of records."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "runs"
        text, plan_wall, plan_cpu = dnabench("plan", *sweep, "--out", out, "--json")
        _, wall, cpu = dnabench("run", *sweep, "--out", out)
        disk = sum(
            f.stat().st_size for p in ("records", "predictions") for f in (out / p).iterdir()
        )
        return json.loads(text), (plan_wall, plan_cpu), (wall, cpu), disk, list(Store(out))


def total_line(number, plan, planning, real, disk, records):
    (wall, cpu), peak = real, max(r.peak_memory for r in records)
    cells = [
        number, f"{plan['seconds']:.1f}", f"{cpu:.1f}", f"**{plan['seconds'] / cpu:.2f}**",
        f"{plan['elapsed']:.1f}", f"{wall:.1f}", f"{plan['elapsed'] / wall:.2f}",
        f"{plan['share']:.0%}", f"{plan['peak'] / peak:.2f}", f"{plan['disk'] / disk:.2f}",
        f"{planning[1]:.1f}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def row_lines(rounds):
    plans = [plan for plan, *_ in rounds]
    for i, row in enumerate(plans[0]["rows"]):
        planned = statistics.mean(plan["rows"][i]["seconds"] for plan in plans)
        mine = [
            r for *_, records in rounds for r in records
            if (r.trial.task, label(r.trial)) == (row["task"], row["model"])
        ]  # fmt: skip
        took = statistics.mean(r.seconds for r in mine)
        peak = max(r.peak_memory for r in mine)
        planned_peak = statistics.mean(plan["rows"][i]["peak"] for plan in plans)
        yield (
            f"| {row['task']} | {row['model']} | {planned:.2f} | {took:.2f} | {planned / took:.2f} "
            f"| {planned_peak / 1e6:.0f} | {peak / 1e6:.0f} |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    args, rest = parser.parse_known_args()
    sweep = rest or SWEEP
    where = here()
    load = os.getloadavg()[0]
    print(
        f"{where['cpu']}, {os.cpu_count()} cores, {platform.system()}, CPython {where['python']}, "
        f"torch {where['torch']}, commit {where['commit']}, load before {load:.1f}\n"
        f"\n    dnabench plan {' '.join(sweep)}\n\n"
        "| round | planned CPU (s) | real CPU (s) | ratio | planned time, alone (s) "
        "| real time (s) | ratio | share of a core | memory ratio | disk ratio "
        "| CPU of planning (s) |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    rounds = []
    for number in range(1, args.rounds + 1):
        rounds.append(round_of(sweep))
        print(total_line(number, *rounds[-1]), flush=True)
    print(
        "\n| task | model | a trial, planned CPU (s) | a record's time (s) | ratio "
        "| memory, planned (MB) | real, largest (MB) |\n|---|---|---:|---:|---:|---:|---:|"
    )
    print("\n".join(row_lines(rounds)))


if __name__ == "__main__":
    main()
