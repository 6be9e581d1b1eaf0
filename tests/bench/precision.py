"""Does bf16 change a score? `DNABENCH_CACHE=... python tests/bench/precision.py`. Not for pytest.

Trains ConvNova 386K on the real task gue/prom_core_tata by `dnabench run`, the same seeds in fp32
and in another precision, in turn and with the order rotated, and prints Markdown: test MCC by
seed, the paired and Welch's difference beside the noise of seeds, and CPU seconds of training,
which are those of the command less those of the command when everything is there already.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
from scipy import stats

from dnabench.results.provenance import here
from dnabench.results.store import Store

TASK, MODEL = "gue/prom_core_tata", "convnova-386k"


def cpu_seconds(*words):
    """Of the command and its processes."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    argv = [sys.executable, "-m", "dnabench", *map(str, words)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(asked, out):
    """(precision, seed) -> (test MCC, CPU seconds of the trial)."""
    seconds = {}
    for seed in range(asked.seeds):
        pair = ["fp32", asked.precision]
        for precision in pair[:: 1 if seed % 2 else -1]:
            words = [
                "run", "-m", MODEL, "-t", TASK, "--seeds", f"{seed},", "--epochs", asked.epochs,
                "--limit", asked.limit, "--precision", precision, "--device", asked.device,
                "--jobs", "1", "--out", out,
            ]  # fmt: skip
            seconds[precision, seed] = cpu_seconds(*words) - cpu_seconds(*words)
    scores = {(r.trial.recipe.precision, r.trial.seed): r.scores["test"]["mcc"] for r in Store(out)}
    return {key: (scores[key], spent) for key, spent in seconds.items()}


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seeds", type=int, default=5)
    words.add_argument("--epochs", type=int, default=5)
    words.add_argument("--limit", default="0", help="as for `dnabench run`")
    words.add_argument("--precision", default="bf16")
    words.add_argument("--device", default="cpu")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as out:
        found = measured(asked, out)
    plain, other = (
        np.array([found[p, s] for s in range(asked.seeds)]) for p in ("fp32", asked.precision)
    )
    where, name = here(), asked.precision
    print(f"# {name} against fp32\n\n`python {' '.join(sys.argv)}` on {where['cpu']} "
          f"({asked.device}), one thread,\ntorch {where['torch']}, load {os.getloadavg()[0]:.1f}; "
          f"{MODEL}, {TASK}, {asked.epochs} epochs, limit {asked.limit}.\n")  # fmt: skip
    print(f"| seed | MCC fp32 | MCC {name} | difference | CPU s fp32 | CPU s {name} | speed |")
    print("|---|---|---|---|---|---|---|")
    for seed, ((a, s), (b, t)) in enumerate(zip(plain, other, strict=True)):
        print(f"| {seed} | {a:.4f} | {b:.4f} | {b - a:+.4f} | {s:.1f} | {t:.1f} | {s / t:.2f}x |")
    if asked.seeds < 2:
        return
    a, b = plain[:, 0], other[:, 0]
    paired = stats.ttest_rel(b, a).confidence_interval()
    welch = stats.ttest_ind(b, a, equal_var=False)
    interval, noise = welch.confidence_interval(), a.std(ddof=1)
    ratio = np.median(plain[:, 1] / other[:, 1])
    print(f"\n- MCC {a.mean():.4f} (SD of seeds {noise:.4f}) and {b.mean():.4f} "
          f"({b.std(ddof=1):.4f}): {b.mean() - a.mean():+.4f},\n  paired 95 % CI {paired.low:+.4f} "
          f"to {paired.high:+.4f}, Welch {interval.low:+.4f} to {interval.high:+.4f}, "
          f"p = {welch.pvalue:.2f}.")  # fmt: skip
    print(f"- Training in {name} takes 1/{ratio:.2f} of the CPU seconds (median of seeds).")
    within = abs(b.mean() - a.mean()) <= noise and welch.pvalue > 0.05
    print(f"- Mean difference within one SD of seeds and p > 0.05: {'yes' if within else 'NO'}.")
    sys.exit(not within)


if __name__ == "__main__":
    main()
