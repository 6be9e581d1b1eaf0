"""A whole sweep by two versions: `python tests/bench/sweep.py BEFORE AFTER [flags of run]`.

BEFORE and AFTER are Python interpreters, one for each version. In turns, the other one first each
time, they run the same sweep into empty folders; a version's cache of measured convolutions is
filled by a run that does not count. Prints Markdown: seconds from start to end, CPU seconds of
all processes, their ratios by round, seconds a trial by model, and how far the scores differ.
Not for pytest.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SWEEP = [
    "--models", "convnova-386k,cnn,kmer",
    "--tasks", "gue/prom_core_tata,gue/prom_300_tata,gue/mouse_0,gue/mouse_2",
    "--seeds", "3", "--epochs", "3", "--limit", "0.25",
]  # fmt: skip


def ran(python, sweep):
    """(seconds from start to end, CPU seconds, its records by (model, task, seed))."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        argv = [python, "-m", "dnabench", "run", *sweep, "--out", folder]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        records = [json.loads(f.read_text()) for f in Path(folder, "records").iterdir()]
    found = {tuple(r["trial"][k] for k in ("model", "task", "seed")): r for r in records}
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, found


def version(python):
    """What it says of itself, and what it imports."""
    code = (
        "import dnabench, platform, torch; from dnabench.results.provenance import here;"
        "w = here(); print(w['commit'], w['python'], w['torch'], sep='|')"
    )
    done = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().split("|")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=3)
    args, words = parser.parse_known_args()
    sweep, pythons = words or SWEEP, {"before": args.before, "after": args.after}
    told = {name: version(python) for name, python in pythons.items()}
    ran(args.after, sweep)
    rounds = []
    for i in range(args.rounds):
        order = ("before", "after") if i % 2 == 0 else ("after", "before")
        rounds.append({name: ran(pythons[name], sweep) for name in order})
    print(f"before {told['before'][0]}, after {told['after'][0]}; CPython {told['after'][1]}, "
          f"torch {told['after'][2]}; {platform.machine()}, {os.cpu_count()} cores")  # fmt: skip
    print(f"\n    dnabench run {' '.join(sweep)}\n")
    print("| round | before (s) | after (s) | ratio | before (CPU s) | after (CPU s) | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for i, one in enumerate(rounds, 1):
        (w, c, _), (w2, c2, _) = one["before"], one["after"]
        print(f"| {i} | {w:.1f} | {w2:.1f} | **{w / w2:.2f}** "
              f"| {c:.1f} | {c2:.1f} | **{c / c2:.2f}** |")  # fmt: skip
    by_model(rounds)
    differences(rounds)


def by_model(rounds):
    """Seconds of a model's trials, the median of the rounds, by its records."""
    print("\n| model | before (s) | after (s) | ratio |")
    print("|---|---:|---:|---:|")
    for model in sorted({key[0] for key in rounds[0]["after"][2]}):
        each = {
            name: statistics.median(
                sum(r["seconds"] for k, r in one[name][2].items() if k[0] == model)
                for one in rounds
            )
            for name in ("before", "after")
        }
        ratio = each["before"] / each["after"]
        print(f"| {model} | {each['before']:.1f} | {each['after']:.1f} | {ratio:.2f} |")


def differences(rounds):
    """The largest difference of a test score between the versions, by model."""
    before, after = rounds[0]["before"][2], rounds[0]["after"][2]
    assert before.keys() == after.keys()
    print("\n| model | trials | same scores | largest difference of a test metric |")
    print("|---|---:|---:|---:|")
    for model in sorted({key[0] for key in after}):
        off = [
            max(abs(r["scores"]["test"][m] - after[key]["scores"]["test"][m])
                for m in r["scores"]["test"])
            for key, r in before.items() if key[0] == model
        ]  # fmt: skip
        print(f"| {model} | {len(off)} | {sum(x < 1e-6 for x in off)} | {max(off):.1e} |")


if __name__ == "__main__":
    main()
