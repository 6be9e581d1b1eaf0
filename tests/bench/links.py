"""Time and memory of linking related sequences: `python tests/bench/links.py KIND`.

100,000 sequences of 500 bp: `random` and `genome` as in audit.py beside this file; `tiled` are
windows of one made-up chromosome at strides of 249 bp, so that all are one group. One thread.
Prints a line of a Markdown table. Not collected by pytest.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import sys
import time

import numpy as np

from audit import genome_rows, random_rows
from dnabench.tasks.audit.links import links
from dnabench.types import Sequences

N, LENGTH = 100_000, 500


def tiled_rows(rng, n, length):
    """Half-overlapping windows of one chromosome, and where they begin."""
    genome = rng.integers(0, 4, n * 249 + length, np.uint8)
    starts = np.arange(n) * 249
    return genome[starts[:, None] + np.arange(length)], starts


ROWS = {"random": random_rows, "genome": genome_rows, "tiled": tiled_rows}


def main(kind):
    rows, starts = ROWS[kind](np.random.default_rng(0), N, LENGTH)
    seqs = Sequences(np.ascontiguousarray(rows).ravel(), np.arange(N + 1) * LENGTH)
    del rows
    wall, cpu = time.perf_counter(), time.process_time()
    found = links(seqs, np.ones(N, np.uint8))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    order = np.argsort(starts)
    overlapping = np.diff(starts[order]) <= LENGTH - 50
    linked = found.cluster[order][1:] == found.cluster[order][:-1]
    share = f"{linked[overlapping].mean():.4f}" if overlapping.any() else "-"
    sizes = np.bincount(found.cluster)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    groups = f"{len(sizes):,} | {sizes.max():,} | {share}"
    print(f"| {kind} | {wall:.0f} | {cpu:.0f} | {peak:.2f} | {groups} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "random")
