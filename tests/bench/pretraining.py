"""What pretraining costs beside the network: windows, hidden tokens, and memory for a large genome.

OMP_NUM_THREADS=1 python tests/bench/pretraining.py            # speed, ten minutes
OMP_NUM_THREADS=1 python tests/bench/pretraining.py --genome 3e9   # memory, minutes, 5 GB of disk
"""

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from dnabench import MODELS
from dnabench.models.language import language_model
from dnabench.pretraining.gathering import gathered
from dnabench.pretraining.pretrain import learner_of
from dnabench.pretraining.recipes import RECIPES
from dnabench.pretraining.windows import draw
from dnabench.tasks.io.packed import packed
from dnabench.train.rows import numbered
from dnabench.types import IGNORED, Recipe

REPEATS = 5
SMALL_GPN = {"width": 128, "layers": 4, "inner": 496}  # as yeast.sh trains it


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


def timed(call):
    """Its CPU seconds, in milliseconds."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def alternated(first, second, rounds):
    """CPU milliseconds (rounds, 2) of two calls in turn, so that both meet the same neighbours."""
    took = np.empty((rounds, 2))
    for i in range(rounds):
        for j in (0, 1) if i % 2 else (1, 0):
            took[i, j] = timed((first, second)[j])
    return took


def speed(folder, args):
    path = fasta(folder / "g.fa", args.bp)
    heads = ["model", "whole step", "bare step", "whole / bare", "95 % interval"]
    heads += ["windows and hiding", "a window at a time"]
    print(f"| {' | '.join(heads)} |\n|---{'|---:' * (len(heads) - 1)}|")
    for name in args.models.split(","):
        print(row(name, path, args), flush=True)


def row(name, path, args):
    """CPU milliseconds of a step as it is trained, of a bare one, and of its parts."""
    rounds, steps = args.rounds, args.steps
    model = MODELS[name]
    options = {**model.options, **(SMALL_GPN if name == "gpn-smol" else {})}
    how = replace(RECIPES["house"], recipe=Recipe(batch=args.batch))
    training = gathered(model, options, how, [path], 1e9, holdout=["chr2"])
    training = replace(training, steps=steps * (rounds + 1), looks=rounds + 1)
    learner = learner_of(training)
    assert learner.every == steps  # so an epoch of it is a round
    learner.train_epoch()
    rows, asked = numbered(np.arange(args.batch), torch.device("cpu")), learner._targets

    def windows():
        learner._draw()
        asked(rows)

    ours = min(timed(windows) for _ in range(rounds))
    bare = bare_step(training, learner, asked(rows).values)
    bare()
    took = alternated(learner.train_epoch, lambda: [bare() for _ in range(steps)], rounds) / steps
    text = path.read_text()[:1_000_000].split(">")[1].partition("\n")[2].replace("\n", "")
    rng = np.random.default_rng(0)
    slow = min(
        timed(lambda: slow_windows(text, args.batch, how.length, rng)) for _ in range(REPEATS)
    )
    (whole, alone), ratio = np.median(took, 0), took[:, 0] / took[:, 1]
    low, high = interval(ratio)
    return (
        f"| {name} | {whole:.1f} ms | {alone:.1f} ms | {np.median(ratio):.3f} | "
        f"{low:.3f} to {high:.3f} | {ours:.2f} ms | {slow:.1f} ms ({slow / ours:.0f}x) |"
    )


def interval(ratios):
    """95 % of the median of these, by a bootstrap."""
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    return np.quantile(np.median(drawn, 1), [0.025, 0.975])


def bare_step(training, learner, values):
    """A step as one writes it in PyTorch, on a batch that is drawn and hidden already."""
    torch.manual_seed(0)
    net = language_model(training.model, training.options, training.how.length).train()
    recipe, wanted, ids = training.how.recipe, values[..., 0], values[..., 3]
    weights = (wanted != IGNORED).float()
    weights *= 1 - (1 - training.how.small_weight) * values[..., 1]
    optimizer = torch.optim.AdamW(net.parameters(), recipe.lr, weight_decay=recipe.weight_decay)

    def step():
        with learner.kernels, learner._arithmetic.products():
            optimizer.zero_grad()
            logits = net(ids, None)
            each = F.cross_entropy(
                logits.transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none"
            )
            ((each * weights).sum() / weights.sum()).backward()
            if recipe.clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            optimizer.step()

    return step


class Anonymous:
    """The most anonymous memory of this process within a block, looked at every 20 ms; bytes."""

    def __enter__(self):
        self.most, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._ended.set()
        self._thread.join()

    def _look(self):
        while not self._ended.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if "RssAnon" in line)
            self.most = max(self.most, 1024 * now)


def memory(folder, bp):
    os.environ["DNABENCH_CACHE"] = str(folder)
    path = fasta(folder / "g.fa", int(bp))
    with Anonymous() as packing:
        start = time.process_time()
        genome = packed(path)
        took = time.process_time() - start
    size = (genome.folder / "letters.bin").stat().st_size
    rng, model = np.random.default_rng(0), MODELS["convnova-386k"]
    with Anonymous() as reading:
        training = gathered(
            model, model.options, RECIPES["house"], [path], 1e9, holdout=["chr2"]
        )  # fmt: skip
        start = time.process_time()
        for _ in range(5000):
            draw(training.sources, 64, rng)
        drawn = (time.process_time() - start) / 5000
    print(
        f"{genome.bp:,} bp: packed in {took:.0f} CPU s to {size / 1e6:,.0f} MB; a batch of 64 x "
        f"512 bp in {1e3 * drawn:.2f} CPU ms; anonymous memory at most {packing.most / 1e6:,.0f} "
        f"MB while packing and {reading.most / 1e6:,.0f} MB while reading, largest resident "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB"
    )


def main(words=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--genome", type=float, default=0)
    parser.add_argument("--models", default="convnova-386k,hyenadna-tiny-1k,gpn-smol")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--steps", type=int, default=2, help="of a round")
    parser.add_argument("--batch", type=int, default=16, help="windows of 512 bp")
    parser.add_argument("--bp", type=int, default=12_000_000)
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DNABENCH_CACHE"] = folder
        if args.genome:
            memory(Path(folder), args.genome)
        else:
            speed(Path(folder), args)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
