"""`dnabench predict` on long sequences: peak memory by length, and throughput beside scoring a test
split.

    python tests/bench/long_predict.py [--bp N ...] [--sequences N]
    python tests/bench/long_predict.py --bp 10000000 1000000000 --only windows --stride 20000

Memory is the peak of the resident memory of the whole command, on one random sequence in FASTA: a
convolution of width 8 in a file of its own, which answers each base (BED), and the same network of
sequences, over windows of 200 bp (CSV), which follow each other unless
`--stride` sets them apart. Throughput is of convnova-386k on sequences of 200 bp, in
CPU seconds of this process: scoring a split as a trial does (tokens and logits), and predicting a
FASTA file of the same sequences into CSV, reading and writing included. The fastest of five each.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

from conftest import command, planted_split

from dnabench.networks.network import load_network
from dnabench.networks.predicting import predict_file
from dnabench.results.provenance import here

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, task, width=8):
        super().__init__()
        self.each, self.embedding = task.kind == "per_base", nn.Embedding(8, width)
        self.convolution = nn.Conv1d(width, width, 9, padding=4)
        self.head = nn.Linear(width, task.n_outputs)

    def forward(self, ids, mask):
        x = self.embedding(ids.long())
        x = x if mask is None else x * mask[..., None]
        x = torch.relu(self.convolution(x.transpose(1, 2))).transpose(1, 2)
        if self.each:
            return self.head(x)
        m = torch.ones(x.shape[:2]) if mask is None else mask
        return self.head((x * m[..., None]).sum(1) / m.sum(1, True))
"""
LENGTH = 200  # bp of the short sequences
LINE = 1_000_000  # bp of a line of the FASTA file


def ran(folder, *words):
    """Run a command; (seconds, peak bytes of resident memory)."""
    argv, env = command(*words, cache=folder / "cache")
    start = time.perf_counter()
    process = subprocess.Popen(
        argv, env=os.environ | env | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(said)
    return time.perf_counter() - start, used.ru_maxrss * 1024


def network(folder, model, *task):
    """The folder of a network that learned from a few examples for an epoch."""
    out = folder / f"{model.rpartition('/')[2]}-{task[0]}".replace(":", "-")
    ran(folder, "run", "-m", model, *task, "--seeds", "1", "--epochs", "1", "--keep", "all",
        "--executor", "inline", "-o", out)  # fmt: skip
    (kept,) = (out / "networks").iterdir()
    return kept


def labelled(path, n=40):
    rows = ["sequence,label,split"]
    for seed, split in enumerate(("train", "dev", "test")):
        part = planted_split(n, seed, LENGTH)
        rows += [f"{part.seqs[i]},{part.y[i]},{split}" for i in range(n)]
    path.write_text("\n".join(rows) + "\n")
    return path


def genome(path, bp):
    letters, draws = np.frombuffer(b"ACGT", np.uint8), np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b">chr1\n")
        for start in range(0, bp, LINE):
            file.write(letters[draws.integers(0, 4, min(LINE, bp - start))].tobytes() + b"\n")


def memory(folder, lengths, stride, only):
    net = folder / "net.py"
    net.write_text(NET)
    kept = {
        "each base, BED": (
            network(folder, f"{net}:Net", "-t", "demo/yeast_genes", "--limit", "40"),
            (),
        ),
        "windows of 200 bp, CSV": (
            network(folder, f"{net}:Net", "--data", labelled(folder / "few.csv")),
            ("--window", str(LENGTH), "--stride", str(stride)),
        ),
    }
    kept = {what: how for what, how in kept.items() if what.startswith(only)}
    print("| answers | bp | time (s) | peak memory (MB) |\n|---|---:|---:|---:|")
    for bp in lengths:
        genome(folder / "genome.fa", bp)
        for what, (path, more) in kept.items():
            to = folder / ("out.bed" if "BED" in what else "out.csv")
            took, peak = ran(
                folder, "predict", path, folder / "genome.fa", "--model", f"{net}:Net", "--to", to,
                *more,
            )  # fmt: skip
            print(f"| {what} | {bp:,} | {took:.0f} | {peak / 1e6:,.0f} |", flush=True)
            to.unlink()


def throughput(folder, n):
    kept = load_network(network(folder, "convnova-386k", "--data", labelled(folder / "few.csv")))
    seqs = planted_split(n, 1, LENGTH).seqs
    fasta = folder / "n.fa"
    fasta.write_text("".join(f">s{i}\n{seqs[i]}\n" for i in range(n)))

    def score():
        kept.prepared(seqs)()

    def predict():
        with (folder / "n.csv").open("wb") as out:
            assert predict_file(kept, fasta, out, "csv") == n

    seconds = {"scoring a split": [], "predict, FASTA to CSV": []}
    for _ in range(6):  # the first of each warms up
        for times, do in zip(seconds.values(), (score, predict), strict=True):
            start = time.process_time()
            do()
            times.append(time.process_time() - start)
    print("\n| convnova-386k | sequences | CPU time (s) | sequences a second | share |")
    print("|---|---:|---:|---:|---:|")
    base = min(seconds["scoring a split"][1:])
    for what, times in seconds.items():
        best = min(times[1:])
        print(f"| {what}, {LENGTH} bp | {n:,} | {best:.2f} | {n / best:,.0f} | {base / best:.2f} |")


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--bp", type=int, nargs="*", default=[10_000_000, 100_000_000])
    words.add_argument("--sequences", type=int, default=5_000)
    words.add_argument("--stride", type=int, default=LENGTH)
    words.add_argument("--only", default="", help="memory alone, of answers whose name begins so")
    asked = words.parse_args()
    at = here()
    print(f"{at['cpu']}, CPython {at['python']}, torch {at['torch']}, commit {at['commit']}\n")
    with tempfile.TemporaryDirectory() as folder:
        memory(Path(folder), asked.bp, asked.stride, asked.only)
        if not asked.only:
            throughput(Path(folder), asked.sequences)


if __name__ == "__main__":
    main()
