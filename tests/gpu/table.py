"""A real table of GUE on one GPU: five models, ten seeds, chosen honestly and on the test split.

    python tests/gpu/table.py --data GUE_FOLDER        # writes gpu_table/table.md and its records

The folder has mouse/2, prom/prom_core_tata and prom/prom_300_tata, as published. The same command
goes on where it ended, so it may be given in parts: --seconds ends it between two sweeps, or ends
the sweep that runs. A task is run under both protocols before the next, each in half of what is
left, so that short parts compare them too: a sweep runs one seed of all models after the other.
What is missing is listed. The last report compares what choosing on the test split claims with what
choosing on validation gives.
"""

import argparse
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from check import GRACE, environment, link_package

TASKS = ("mouse/2", "prom/prom_core_tata", "prom/prom_300_tata")
MODELS = ("kmer", "cnn", "legnet", "hyenadna", "convnova")  # the quickest first
PROTOCOLS = ("honest/1", "test-selected/1")


def sweep(args, env, task, protocol, left):
    """One task under one protocol: exit code, or that time was over."""
    models = "kmer,cnn" if args.tiny else ",".join(MODELS)
    argv = [sys.executable, "-m", "dnabench", "run", "--data", args.data / task, "--models", models]
    argv += ["--protocol", protocol, "--seeds", "2" if args.tiny else "10", "--jobs", args.jobs]
    argv += ["--device", args.device, "--out", args.out / "runs", "--checkpoint-every", "epoch"]
    argv += ["--epochs", "1", "--limit", "60"] if args.tiny else []
    running = subprocess.Popen(argv, env=env)
    try:
        return running.wait(left)
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)  # as Ctrl-C does: its workers end too
        try:
            running.wait(GRACE)
        except subprocess.TimeoutExpired:
            running.kill()  # and its workers see that
        return "time was over"


def ran(folder):
    """Trials that are recorded, by task and protocol."""
    found = {}
    for path in sorted((folder / "runs" / "records").glob("*.json")):
        trial = json.loads(path.read_text())["trial"]
        key = trial["task"], trial["protocol"]
        found[key] = found.get(key, 0) + 1
    return found


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=lambda x: Path(x).resolve(), required=True)
    p.add_argument("--out", type=lambda x: Path(x).resolve(), default=Path("gpu_table").resolve())
    p.add_argument("--device", default="cuda")
    p.add_argument("--jobs", default="4")
    p.add_argument("--seconds", type=float, default=540)
    p.add_argument("--tiny", action="store_true", help="a moment, to test this without a GPU")
    args = p.parse_args()
    if missing := [task for task in TASKS if not (args.data / task / "train.csv").exists()]:
        p.error(f"--data {args.data} has no {', '.join(missing)}; give the folder of GUE")
    start = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        site, cache = Path(folder, "site"), Path(folder, "cache")
        site.mkdir()
        cache.mkdir()
        link_package(site)
        env, lines = environment(site, cache), ["# Three tasks of GUE", ""]
        for task, protocol in itertools.product(TASKS, PROTOCOLS):
            left = args.seconds - (time.monotonic() - start)
            left /= 2 if protocol != PROTOCOLS[-1] else 1
            code = sweep(args, env, task, protocol, left) if left > 0 else "time was over"
            if code:
                lines.append(f"- {task}, {protocol}: not all ran ({code})")
        lines += [f"- {n} trials of {task}, {rule}" for (task, rule), n in ran(args.out).items()]
        argv = [sys.executable, "-m", "dnabench", "report", "--out", args.out / "runs"]
        done = subprocess.run([*argv, "--full"], env=env, capture_output=True, text=True)
        text = "\n".join([*lines, "", "```", done.stdout or done.stderr, "```", ""])
    (args.out / "table.md").write_text(text)
    print(text)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
