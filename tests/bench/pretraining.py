"""What pretraining costs beside the network: windows, hidden tokens, and memory for a large genome.

OMP_NUM_THREADS=1 python tests/bench/pretraining.py            # speed, a minute
OMP_NUM_THREADS=1 python tests/bench/pretraining.py --genome 3e9   # memory, minutes, 5 GB of disk
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dnabench import MODELS
from dnabench.models.language import language_model
from dnabench.pretraining import pretrain
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.recipes import RECIPES
from dnabench.pretraining.windows import draw
from dnabench.tasks.io.packed import packed
from dnabench.train.rows import numbered
from dnabench.types import ONE_CPU, Recipe

STEPS, REPEATS = 12, 5


def fasta(path, bp, contigs=16, width=60):
    """A random genome, a sixteenth of it in each of its sequences."""
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGTacgt", np.uint8)
    with path.open("wb") as file:
        for i in range(contigs):
            file.write(f">chr{i + 1}\n".encode())
            left = bp // contigs
            while left:
                n = min(left, 6_000_000)
                lines = letters[rng.integers(0, 8, n)]
                whole = lines[: n - n % width].reshape(-1, width)
                file.write(np.pad(whole, ((0, 0), (0, 1)), constant_values=10).tobytes())
                left -= n
            file.write(b"\n")
    return path


def slow_windows(text, n, length, rng):
    """A window at a time, as a data set of Python items gives them: cut, hide, stack."""
    code = {letter: i for i, letter in enumerate("ACGTN")}
    ids, wanted = [], []
    for _ in range(n):
        at = rng.integers(0, len(text) - length)
        row = [code[c.upper()] for c in text[at : at + length]]
        asked, kind = rng.random(length) < 0.15, rng.random(length)
        read = [
            8 if a and k < 0.8 else int(rng.integers(4)) if a and k < 0.9 else x
            for x, a, k in zip(row, asked, kind, strict=True)
        ]
        ids.append(torch.tensor(read))
        wanted.append(torch.tensor([x if a else -100 for x, a in zip(row, asked, strict=True)]))
    return torch.stack(ids), torch.stack(wanted)


def best(call):
    """CPU seconds of the fastest of several."""
    took = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        took.append(time.process_time() - start)
    return min(took)


def speed(folder):
    path = fasta(folder / "g.fa", 12_000_000)
    print("| model | whole step | network alone | windows and hiding | a window at a time |")
    print("|---|---:|---:|---:|---:|")
    for name in ("convnova-386k", "hyenadna-tiny-1k", "gpn-smol"):
        print(row(name, path), flush=True)


def row(name, path):
    """CPU milliseconds of a step of 16 windows of 512 bp, and of its parts."""
    model = MODELS[name]
    options = {**model.options, **({"layers": 3} if name == "gpn-smol" else {})}
    how = replace(RECIPES["house"], recipe=Recipe(batch=16))
    training = gathered(model, options, how, [path], 1e9, holdout=["chr2"])
    torch.manual_seed(0)
    net = language_model(model, options, how.length)
    learner = pretrain._learner(training, net, ONE_CPU)
    rows = numbered(np.arange(16), torch.device("cpu"))
    learner.objective.begin(0, torch.device("cpu"))
    asked = learner._targets

    def step():
        learner._draw()
        learner._train_step(rows)

    def windows():
        learner._draw()
        asked(rows)

    step()
    whole, ours = (
        1e3 * best(lambda f=f: [f() for _ in range(STEPS)]) / STEPS for f in (step, windows)
    )
    held = asked(rows)
    learner._targets = lambda rows: held
    alone = 1e3 * best(lambda: [learner._train_step(rows) for _ in range(STEPS)]) / STEPS
    text = path.read_text()[7:1_000_000].replace("\n", "")
    rng = np.random.default_rng(0)
    slow = 1e3 * best(lambda: slow_windows(text, 16, how.length, rng))
    return (
        f"| {name} | {whole:.1f} ms | {alone:.1f} ms | {ours:.2f} ms ({alone / ours:.0f}x faster "
        f"than the network) | {slow:.1f} ms ({slow / ours:.0f}x) |"
    )


def memory(folder, bp):
    os.environ["DNABENCH_CACHE"] = str(folder)
    path = fasta(folder / "g.fa", int(bp))
    start = time.process_time()
    genome = packed(path)
    took = time.process_time() - start
    size = (genome.folder / "letters.bin").stat().st_size
    training = gathered(
        MODELS["convnova-386k"], MODELS["convnova-386k"].options, RECIPES["house"], [path], 1e9,
        holdout=["chr2"],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    start = time.process_time()
    for _ in range(200):
        draw(training.sources, 64, rng)
    drawn = (time.process_time() - start) / 200
    status = Path("/proc/self/status").read_text()
    anonymous = next(int(line.split()[1]) for line in status.splitlines() if "RssAnon" in line)
    print(
        f"{genome.bp:,} bp: packed in {took:.0f} CPU s to {size / 1e6:,.0f} MB; a batch of 64 x "
        f"512 bp in {1e3 * drawn:.2f} CPU ms; anonymous memory {anonymous / 1e3:,.0f} MB, largest "
        f"resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB"
    )  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--genome", type=float, default=0)
    bp = parser.parse_args().genome
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DNABENCH_CACHE"] = folder
        memory(Path(folder), bp) if bp else speed(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
