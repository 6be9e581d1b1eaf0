"""`dnabench run` itself with one, two and four trials at once; then on a device with a number."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def section(s):
    small = ["--limit", "60", "--epochs", "1"]
    jobs = [(n, s.device, small if s.tiny else ["--epochs", "2"]) for n in ("1", "2", "4")]
    jobs += [("1", "cuda:0", small), ("1", s.device, ["--epochs", "2", "--precision", "bf16"])]
    for n, device, more in jobs[1:2] if s.tiny else jobs:
        words = ["--jobs", n, "--device", device, *more]
        s.row(lambda words=words: swept(s, words), needs=25, what=" ".join(words))


def swept(s, words):
    models = "cnn" if s.tiny else "convnova-386k,cnn"
    argv = [sys.executable, "-m", "dnabench", "run", "--suite", "demo", "--models", models]
    argv += ["--tasks", "splice_junctions", "--seeds", "1" if s.tiny else "3", *words]
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        done = subprocess.run([*argv, "--out", out], capture_output=True, text=True, timeout=120)
        wall = time.perf_counter() - start
        records = [json.loads(p.read_text()) for p in sorted(Path(out, "records").glob("*.json"))]
    good, rows = [r for r in records if not r.get("error")], {}
    for r in good:
        rows.setdefault(r["trial"]["model"], []).append([
            round(r["seconds"], 1), round(r["examples_per_second"]),
            round(r["peak_memory"] / 1e9, 3), r["joules"],
            round(next(iter(r["scores"]["test"].values())), 4),
        ])  # fmt: skip
    errors = {r["error"].strip().splitlines()[-1][:200] for r in records if r.get("error")}
    return {
        "rc": done.returncode, "wall_s": wall, "ran": len(good),
        "failed": len(records) - len(good), "errors": sorted(errors),
        "seconds, examples/s, GB, J, score": rows,
        "stderr": done.stderr[-400:] if done.returncode else "",
    }  # fmt: skip
