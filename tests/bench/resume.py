"""Trials that kill -9 ends again and again, at random times, against trials that nothing ended.

    python tests/bench/resume.py [--kills 30] [--seed 0]

Runs a sweep undisturbed, then the same sweep into another folder with that many kills of the whole
command, or of one of its workers in turn, and compares every score, curve and prediction.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dnabench.results.checkpoints import checkpoints
from dnabench.results.store import Store

WORDS = [
    "run", "--models", "cnn,convnova-386k,dnabert-3", "--tasks", "demo/splice_junctions",
    "--limit", "600", "--epochs", "10", "--seeds", "2", "--rc", "augment",
    "--set", "convnova-386k.blocks=2", "--set", "dnabert-3.layers=1", "--set", "dnabert-3.width=96",
    "--checkpoint-every", "epoch", "--device", "cpu", "--jobs", "1",
]  # fmt: skip


def start(out: Path) -> "subprocess.Popen[bytes]":
    """The sweep, in a process group of its own."""
    argv = [sys.executable, "-m", "dnabench", *WORDS, "--out", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(argv, start_new_session=True, **quiet)


def workers_of(pid: int) -> list[int]:
    """Process ids of the workers of a command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def kill(sweep: "subprocess.Popen[bytes]", command: bool) -> None:
    """End the command, or one of its workers, which it replaces."""
    if command or not (workers := workers_of(sweep.pid)):
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    else:
        os.kill(workers[0], signal.SIGKILL)


def differences(whole: Store, killed: Store) -> list[str]:
    """What is not the same, a line each."""
    found = []
    for record in whole:
        other = killed.read(record.trial.id)
        if other is None or other.error:
            found.append(f"{record.trial.id}: no record")
            continue
        ours, theirs = (s.predictions(record.trial.id) for s in (whole, killed))
        same = {
            "scores": record.scores == other.scores, "curve": record.curve == other.curve,
            "best_epoch": record.best_epoch == other.best_epoch,
            "predictions": all(ours[k].tobytes() == theirs[k].tobytes() for k in ours),
        }  # fmt: skip
        found += [f"{record.trial.id}: other {what}" for what, equal in same.items() if not equal]
    return found


def main() -> None:
    """Run both and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, n, begun = random.Random(asked.seed), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / "whole", Path(folder) / "killed"
        start(whole).wait()
        alone = time.monotonic() - begun
        sweep = start(out)
        while n < asked.kills and len(Store(out).done()) < len(list(Store(whole))):
            time.sleep(rng.uniform(3.0, 12.0))
            if sweep.poll() is None:
                kill(sweep, command=n % 2 == 0)
                n += 1
            if sweep.poll() is not None:
                sweep = start(out)
        while sweep.wait():  # a trial whose worker was killed failed: the same command runs it
            sweep = start(out)
        wrong = differences(Store(whole), Store(out))
        ended = [r.where.get("resumed", []) for r in Store(out)]
        print(
            f"seed {asked.seed}: {len(ended)} trials, {n} kills, {sum(map(len, ended))} times gone "
            f"on from a checkpoint, {len(wrong)} differences, {len(checkpoints(out))} checkpoints "
            f"left; {alone:.0f} s undisturbed, {time.monotonic() - begun - alone:.0f} s with kills"
        )
        print("\n".join(wrong))


if __name__ == "__main__":
    main()
