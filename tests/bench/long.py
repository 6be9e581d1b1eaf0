"""Forward passes of long sequences: CPU seconds and memory, in Markdown.

    python tests/bench/long.py [MODEL ...] [--bp N ...] [--whole]

Batch 1 of random bases in float32 without gradients, one thread, a process each; seconds are its
own CPU seconds. Memory is the peak of resident memory above that with the network built, so without
weights. `--whole` turns parts off: the network as it works in training.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version

MODELS = ("convnova-7.4m", "hyenadna-large-1m", "caduceus_ph", "caduceus_ph-7.7m")
LENGTHS = (10_000, 100_000, 1_000_000)


def measure(name, bp, whole):
    """One forward pass, in this process; printed as JSON."""
    import torch

    from dnabench import MODELS
    from dnabench.host import memory
    from dnabench.models.kernels import parts as _parts
    from dnabench.types import Task

    if whole:
        _parts.POSITIONS = sys.maxsize
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = MODELS[name]
    task = Task(
        name="bench/random", kind="binary", classes=("0", "1"), metric="mcc", length=bp,
        counts={"train": 1}, data="0" * 16, load=lambda split: None, source="random bases",
        license="CC0-1.0",
    )  # fmt: skip
    net = model.build(task, model.options).eval()
    with torch.inference_mode():
        net(torch.zeros(1, max(64, model.min_length), dtype=torch.uint8), None)
        ids = torch.randint(0, 4, (1, bp), dtype=torch.uint8)
        memory.reset_peak("cpu")
        before, start = memory.peak("cpu"), time.process_time()
        logits = net(ids, None)
        seconds = time.process_time() - start
    assert torch.isfinite(logits).all()
    size = sum(p.numel() for p in net.parameters())
    peak = memory.peak("cpu") - before
    print(json.dumps({"seconds": seconds, "bytes": peak, "parameters": size}))


def row(name, bp, whole):
    command = [sys.executable, __file__, name, "--bp", str(bp), "--here"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *["--whole"] * whole], capture_output=True, text=True, env=one_thread
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"signal {-done.returncode}"]
        return f"| {name} | {bp:,} | – | – | – | {lines[-1]} |"
    told = json.loads(done.stdout.splitlines()[-1])
    numbers = told["bytes"] / 2**30, 1e6 * told["seconds"] / bp
    return (
        f"| {name} | {bp:,} | {told['seconds']:,.1f} | {numbers[0]:.3f} | {numbers[1]:,.0f} | "
        f"{told['parameters']:,} parameters |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--bp", type=int, action="append")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        measure(asked.models[0], asked.bp[0], asked.whole)
        return
    words = [f"{name} {version(name)}" for name in ("dnabench", "torch")]
    print(f"{date.today()}, {platform.machine()}, one thread, {', '.join(words)}\n")
    print("| model | bp | CPU s | peak above the model (GiB) | CPU µs a bp | |")
    print("|---|--:|--:|--:|--:|---|")
    for bp in asked.bp or LENGTHS:
        for name in asked.models:
            print(row(name, bp, asked.whole), flush=True)


if __name__ == "__main__":
    main()
