"""Scores of variants: windows run together, against a loop over one variant at a time.

    python tests/bench/variants.py [--n N] [--model NAME] [--length BP]

Weights are drawn: how long a variant takes does not depend on them. Scores of both are compared
first; a difference ends the bench. The forward alone runs the same windows, encoded before.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dnabench import MODELS
from dnabench.models.language import language_model
from dnabench.pretraining.learner import opposite
from dnabench.probes.alleles import Allele
from dnabench.probes.likelihood import LanguageNet, Likelihood
from dnabench.probes.variants import score_alleles
from dnabench.results.provenance import here
from dnabench.tasks.io.packed import packed
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.train.batches import EVAL_TOKENS

TINY = {"convnova-386k": {"width": 32, "blocks": 2}, "gpn-smol": {"width": 32, "layers": 4}}


def network(name, length):
    model = MODELS[name]
    options = {**model.options, **TINY.get(name, {})}
    torch.manual_seed(0)
    net = language_model(model, options, length).eval()
    tokenizer = TOKENIZERS[model.tokenizer_name(options)]
    return LanguageNet(name, model, options, tokenizer, net, length)


def alone(net, windows):
    """Seconds of the network on windows (B, W), nothing else."""
    ids, size = torch.from_numpy(windows).long(), max(1, EVAL_TOKENS // windows.shape[1])
    with torch.inference_mode():
        start = time.perf_counter()
        for a in range(0, len(ids), size):
            net(ids[a : a + size], None)
        return time.perf_counter() - start


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
    score_alleles(likelihood, genome, alleles[:64])  # what is measured once is measured
    before, start = likelihood.passes, time.perf_counter()
    together = score_alleles(likelihood, genome, alleles)
    fast, passes = time.perf_counter() - start, likelihood.passes - before
    forward = genome.around(np.zeros(asked.n, int), at - asked.length // 2, asked.length)
    bare = alone(one.net, np.concatenate([forward, opposite(forward)]))
    start = time.perf_counter()
    loop = [score_alleles(likelihood, genome, [a])[0] for a in alleles]
    slow = time.perf_counter() - start
    off = max(abs(a.score - b.score) for a, b in zip(together, loop, strict=True))
    if off > 1e-5:
        sys.exit(f"scores differ by {off}")
    where = here()
    print(f"{where['cpu']}, one thread, torch {where['torch']}, commit {where['commit']}")
    print(
        f"{asked.n:,} SNVs, {asked.model}, {asked.length} bp, {passes:,} windows; apart {off:.1e}"
    )
    print("| | time (s) | variants/s |\n|---|---:|---:|")
    for what, seconds in (
        ("together", fast), ("the network alone, same windows", bare),
        ("one variant at a time", slow),
    ):  # fmt: skip
        print(f"| {what} | {seconds:.2f} | {asked.n / seconds:,.0f} |")
    print(f"\n{slow / fast:.2f} times a loop; {fast / bare - 1:+.0%} on the network alone")


if __name__ == "__main__":
    main()
