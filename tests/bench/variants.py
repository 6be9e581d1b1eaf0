"""Scores of variants: windows run together, against a loop over one variant at a time.

    python tests/bench/variants.py [--n N] [--model NAME] [--length BP]

Weights are drawn: how long a variant takes does not depend on them. Scores of both are compared
first; a difference ends the bench. The network alone runs the same windows, encoded before. Times
are CPU seconds of one thread, the least of three, so that other processes count little.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dnabench import MODELS
from dnabench.models.kernels.context import Kernels
from dnabench.models.language import language_model
from dnabench.pretraining.learner import opposite
from dnabench.probes.alleles import Allele
from dnabench.probes.likelihood import CPU_TOKENS, LanguageNet, Likelihood
from dnabench.probes.variants import score_alleles
from dnabench.results.provenance import here
from dnabench.tasks.io.packed import packed
from dnabench.tokens.tokenizers import TOKENIZERS

TINY = {"convnova-386k": {"width": 32, "blocks": 2}, "gpn-smol": {"width": 32, "layers": 4}}


def network(name, length):
    model = MODELS[name]
    options = {**model.options, **TINY.get(name, {})}
    torch.manual_seed(0)
    net = language_model(model, options, length).eval()
    tokenizer = TOKENIZERS[model.tokenizer_name(options)]
    return LanguageNet(name, model, options, tokenizer, net, length)


def alone(net, windows):
    """CPU seconds of the network on windows (B, W), nothing else, in batches as large."""
    ids, size = torch.from_numpy(windows).long(), max(1, CPU_TOKENS // windows.shape[1])
    with torch.inference_mode(), Kernels():
        net(ids[:size], None)  # which form a layer takes is measured here
        net(ids[-(len(ids) % size or size) :], None)
        start = time.process_time()
        for a in range(0, len(ids), size):
            net(ids[a : a + size], None)
        return time.process_time() - start


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--n", type=int, default=1000)
    words.add_argument("--model", default="convnova-386k")
    words.add_argument("--length", type=int, default=512)
    asked = words.parse_args()
    torch.set_num_threads(1)
    one, rng = network(asked.model, asked.length), np.random.default_rng(0)
    seq = "".join(rng.choice(list("ACGT"), 100_000))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "g.fa").write_text(f">chr1\n{seq}\n")
        genome = packed(Path(folder) / "g.fa")
    at = rng.choice(len(seq), asked.n, replace=False)
    alleles = [
        Allele(i, "chr1", int(p), ".", seq[p], "ACGT"[("ACGT".index(seq[p]) + 1) % 4], "")
        for i, p in enumerate(at)
    ]
    likelihood = Likelihood(one)
    score_alleles(likelihood, genome, alleles)  # which form a layer takes is measured here
    before = likelihood.passes
    forward = genome.around(np.zeros(asked.n, int), at - asked.length // 2, asked.length)
    both = np.concatenate([forward, opposite(forward)])
    times = []
    for _ in range(3):
        start = time.process_time()
        together = score_alleles(likelihood, genome, alleles)
        fast = time.process_time() - start
        bare = alone(one.net, both)
        start = time.process_time()
        loop = [score_alleles(likelihood, genome, [a])[0] for a in alleles]
        times.append((fast, bare, time.process_time() - start))
    passes = (likelihood.passes - before) // 3 - 2 * asked.n
    fast, bare, slow = (min(one) for one in zip(*times, strict=True))
    off = max(abs(a.score - b.score) for a, b in zip(together, loop, strict=True))
    if off > 1e-5:
        sys.exit(f"scores differ by {off}")
    where = here()
    print(f"{where['cpu']}, one thread, torch {where['torch']}, commit {where['commit']}")
    print(
        f"{asked.n:,} SNVs, {asked.model}, {asked.length} bp, {passes:,} windows; apart {off:.1e}"
    )
    print("| | CPU (s) | variants/s |\n|---|---:|---:|")
    for what, seconds in (
        ("together", fast), ("the network alone, same windows", bare),
        ("one variant at a time", slow),
    ):  # fmt: skip
        print(f"| {what} | {seconds:.2f} | {asked.n / seconds:,.0f} |")
    print(f"\n{slow / fast:.2f} times a loop; {fast / bare - 1:+.0%} on the network alone")


if __name__ == "__main__":
    main()
