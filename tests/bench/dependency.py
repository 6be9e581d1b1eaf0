"""Dependency maps: the receptive field of a base computed again, against the whole region.

    python tests/bench/dependency.py [--models NAME,NAME] [--length BP] [--stretches N] [--rounds N]

Weights are drawn: time does not depend on them. Bases of N stretches, spread evenly over the
region, are replaced in both ways, and the seconds of the region are those times its bases by
theirs. All are replaced once before, untimed, as which form a layer takes is measured for each
width. Times are CPU seconds of one thread, of each stretch but one at the start the least of all
rounds, in which both ways take turns. The maps of both ways are compared.

Bounds follow from the layers, as means over the bases that are timed: the positions of all
convolutions by those within reach of a base; and the multiplications of the whole region by those
with changed values.
"""

import argparse
import time

import numpy as np
import torch

from dnabench import MODELS
from dnabench.models.language import language_model
from dnabench.probes import dependency as maps
from dnabench.probes.likelihood import LanguageNet, Likelihood
from dnabench.results.provenance import here
from dnabench.tokens.tokenizers import TOKENIZERS
from dnabench.types import N

TINY = {
    "tiny convnova": ("convnova", {"width": 32}),
    "tiny gpn": ("gpn", {"width": 32, "inner": 128}),
}


def likelihood_of(name, length):
    name, more = TINY.get(name, (name, {}))
    model = MODELS[name]
    options = {**model.options, **more}
    torch.manual_seed(0)
    net = language_model(model, options, length).eval()
    tokenizer = TOKENIZERS[model.tokenizer_name(options)]
    return Likelihood(LanguageNet(name, model, options, tokenizer, net, length))


def timed(likelihood, codes, whole):
    """CPU seconds of each stretch of bases but the first, and the map."""
    times = []
    found = maps.dependency(likelihood, codes, lambda n: times.append(time.process_time()), whole)
    return np.diff(times), found.values


def bounds(reuse, places, length):
    """Whole by part: positions of the convolutions' outputs, and multiplications."""

    def width(reach):
        ends = np.minimum(length, places + reach + 1) - np.maximum(0, places - reach)
        return ends.mean()

    reaches = [x.reach for x in reuse.layers if x.reach > x.into]
    work = sum(x.work for x in reuse.layers) * length
    return (
        len(reaches) * length / sum(map(width, reaches)),
        work / sum(x.work * width(x.into) for x in reuse.layers),
    )


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--models", default="tiny convnova,tiny gpn,convnova,gpn-smol")
    words.add_argument("--length", type=int, default=2048)
    words.add_argument("--stretches", type=int, default=4)
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    torch.set_num_threads(1)
    where, length = here(), asked.length
    codes = np.random.default_rng(0).integers(0, 4, length).astype(np.uint8)
    print(f"{where['cpu']}, one thread, torch {where['torch']}, commit {where['commit']}\n")
    print("| network | changes (bp) | whole (s) | in parts (s) | ratio | bound by positions "
          "| share | bound by work | share | D apart |")  # fmt: skip
    print(f"|---|{'---:|' * 9}")
    for name in asked.models.split(","):
        likelihood = likelihood_of(name, length)
        reuse = likelihood.reuse(codes)
        size = maps.neighbours(likelihood, reuse)  # bases of a stretch
        strata = length // size
        at = (np.arange(asked.stretches) + 0.5) * strata / asked.stretches
        firsts = size * np.array([0, *at.astype(int)])
        places = (firsts[:, None] + np.arange(size)).ravel()
        only = np.full(length, N, np.uint8)  # N is not replaced
        only[places] = codes[places]
        maps.AT_ONCE = 3 * length * size  # as many bases together in both ways
        places = places[size:]
        timed(likelihood, only, False)  # measures the forms of layers
        rounds = [
            [timed(likelihood, only, whole) for whole in (True, False)] for _ in range(asked.rounds)
        ]
        apart = np.nanmax(np.abs(rounds[0][0][1] - rounds[0][1][1]))
        seconds = np.array([[each for each, _ in one] for one in rounds]).min(0).sum(1)
        whole, part = seconds * length / len(places)
        positions, work = bounds(reuse, places, length)
        ratio = whole / part
        print(
            f"| {name} | {2 * reuse.reach + 1:,} | {whole:,.0f} | {part:,.0f} | {ratio:.2f} "
            f"| {positions:.2f} | {ratio / positions:.0%} | {work:.2f} "
            f"| {ratio / work:.0%} | {apart:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
