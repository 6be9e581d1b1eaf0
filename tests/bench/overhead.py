"""What a step spends outside the network: `python tests/bench/overhead.py`. Not for pytest.

Runs epochs of the real NetLearner (ConvNova 386K, batch 128 x 200 bp, one thread, CPU) and counts
the CPU seconds of the process inside forward, loss, backward, clipping and the two calls of the
optimiser. The rest is the harness: order, look-ups, learning rates, sums of the loss. In turn with
it, a bare loop of the same steps on tensors cut before; order alternates. Writes Markdown. The
process has the memory settings of a worker of `dnabench run` (KEEP_MEMORY).
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, for its fixtures

from conftest import planted_split, planted_task

from dnabench import MODELS, Recipe
from dnabench.executors.local import KEEP_MEMORY
from dnabench.results.provenance import here
from dnabench.splits import streams
from dnabench.train import losses
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised

BATCH, LENGTH, GATE = 128, 200, 0.03


class Watch:
    """CPU seconds by part; a call within a call counts for the inner one too."""

    def __init__(self):
        self.seconds = {}

    def around(self, name, call):
        def timed(*args, **words):
            start = time.process_time()
            try:
                return call(*args, **words)
            finally:
                spent = time.process_time() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return timed


def learner(model, split, task):
    torch.manual_seed(0)
    recipe = Recipe(batch=BATCH, epochs=10**6)
    net = model.build(task, model.options)
    examples = Examples(model, task, split)
    return NetLearner(net, examples, Supervised(task), recipe, streams(0, task.name))


def watched(one):
    """CPU seconds of an epoch, all and by part."""
    watch, kept = Watch(), (one._forward, one._arithmetic.backward, one._arithmetic.step)
    before = losses.loss
    one._forward = watch.around("forward", one._forward)
    one._arithmetic.backward = watch.around("backward", one._arithmetic.backward)
    one._arithmetic.step = watch.around("clip and optimiser", one._arithmetic.step)
    inner, zero = one._optimizer.step, one._optimizer.zero_grad
    one._optimizer.step = watch.around("optimiser", inner)
    one._optimizer.zero_grad = watch.around("zeroing", zero)
    losses.loss = watch.around("loss", losses.loss)
    try:
        watch.around("all", one.train_epoch)()
    finally:
        one._forward, one._arithmetic.backward, one._arithmetic.step = kept
        one._optimizer.step, one._optimizer.zero_grad, losses.loss = inner, zero, before
    return watch.seconds


def bare(one, batches):
    """CPU seconds of the same steps without the harness."""
    start = time.process_time()
    one.net.train()
    for ids, y in batches:
        one._optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(one.net(ids, None), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(one.net.parameters(), one.recipe.clip)
        one._optimizer.step()
    return time.process_time() - start


def middle(values):
    low, mid, high = np.percentile(values, [25, 50, 75])
    return mid, f"{low:.2%} to {high:.2%}"


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=11)
    words.add_argument("--steps", type=int, default=8, help="of a round")
    asked = words.parse_args()
    torch.set_num_threads(1)
    n = BATCH * asked.steps
    task, split = planted_task(n=n, length=LENGTH), planted_split(n, 0, LENGTH)
    one = learner(MODELS["convnova-386k"], split, task)
    ids = torch.from_numpy(split.seqs.codes.reshape(n, LENGTH).astype(np.int64))
    batches = list(zip(ids.split(BATCH), torch.from_numpy(split.y).split(BATCH), strict=True))
    one.train_epoch(), bare(one, batches)  # to warm up
    rounds, ratios = [], []
    for i in range(asked.rounds):
        alone = bare(one, batches) if i % 2 else None
        rounds.append(watched(one))
        alone = bare(one, batches) if alone is None else alone
        ratios.append(rounds[-1]["all"] / alone - 1)
    step = float(np.median([r["all"] for r in rounds])) / asked.steps
    where = here()
    print(
        f"# Overhead of the harness\n\n`python {' '.join(sys.argv)}` on {where['cpu']}, one "
        f"thread,\ntorch {torch.__version__}, load {os.getloadavg()[0]:.1f}; ConvNova 386K, batch "
        f"{BATCH} x {LENGTH} bp, fp32:\n{asked.rounds} rounds of {asked.steps} steps, own CPU "
        f"time, {step * 1e3:.0f} ms a step.\n"
    )
    print("| part of a step | median share | quartiles |\n|---|---|---|")
    parts = {
        "forward": ["forward"], "loss": ["loss"], "backward": ["backward"],
        "optimiser": ["optimiser"], "zeroing gradients": ["zeroing"],
        "clipping": ["clip and optimiser", "-optimiser"],
    }  # fmt: skip
    sign = {True: -1, False: 1}
    total = np.zeros(len(rounds))
    for name, keys in parts.items():
        share = np.array([
            sum(sign[k[0] == "-"] * r[k.lstrip("-")] for k in keys) / r["all"] for r in rounds
        ])  # fmt: skip
        total += share
        mid, spread = middle(share)
        print(f"| {name} | {mid:.2%} | {spread} |")
    rest, spread = middle(1 - total)
    print(f"| the harness, all else | **{rest:.2%}** | {spread} |")
    mid, spread = middle(ratios)
    print(f"\nOver a bare loop on tensors cut before: {mid:+.2%} ({spread}).")
    print(f"Gate: under {GATE:.0%}: {'passed' if rest < GATE else 'FAILED'}.")
    sys.exit(int(rest >= GATE))


if __name__ == "__main__":
    if not KEEP_MEMORY.items() <= os.environ.items():  # read by glibc when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    main()
