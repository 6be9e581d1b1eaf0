"""What `--deterministic` costs on a CPU: CPU seconds of training with it, over those without.

    OMP_NUM_THREADS=1 python tests/bench/deterministic.py [MODEL:BATCH:BP ...]

Steps with and without take turns, the median of each counts; what measuring the forms takes does
not, since a machine does that once.
"""

import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from gpu.section import learner

from dnabench.models.kernels.context import Kernels

USUAL = ("convnova-386k:16:200", "convnova:4:500", "cnn:32:250", "hyenadna-tiny-1k:16:200")
STEPS, REPEATS = 2, 5


def main():
    rows = []
    for words in sys.argv[1:] or USUAL:
        name, batch, length = words.split(":")
        shape, spent = (int(batch), int(length), {}), {}
        for strict in (False, True):
            one, _ = learner(SimpleNamespace(device="cpu"), name, shape, steps=STEPS)
            one.kernels = Kernels(deterministic=strict)
            one.train_epoch()
            spent[strict] = one, []
        for _ in range(REPEATS):
            for one, seconds in spent.values():
                start = time.process_time()
                one.train_epoch()
                seconds.append((time.process_time() - start) / STEPS)
        usual, strict = (1e3 * statistics.median(seconds) for _, seconds in spent.values())
        rows.append((name, f"{batch} x {length}", usual, strict, strict / usual))
    heads = ("model", "batch x bp", "ms a step", "ms with --deterministic", "ratio")
    print(tabulate(rows, heads, tablefmt="github", floatfmt=("", "", ".1f", ".1f", ".2f")))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
