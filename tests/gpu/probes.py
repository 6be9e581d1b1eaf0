"""What the probes find on this device and on the CPU: the same numbers?"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dnabench import MODELS, Sequences
from dnabench.models.language import language_model
from dnabench.networks.embedding import of_model
from dnabench.probes.alleles import Allele
from dnabench.probes.context import contexts_of, of_language, places_of, shares
from dnabench.probes.dependency import dependency
from dnabench.probes.field import field, random_sequences
from dnabench.probes.likelihood import LanguageNet, Likelihood
from dnabench.probes.variants import score_alleles
from dnabench.tasks.io.packed import packed
from dnabench.tasks.io.regions import read_regions
from dnabench.tokens.tokenizers import TOKENIZERS

OFF = 1e-4  # nats, log2 odds, probabilities or shares that may be between two devices
WINDOW, REGION, CONTEXT = 64, 40, 48  # bp
OPTIONS = {
    "convnova-386k": {"width": 16, "blocks": 2},
    "gpn-smol": {"width": 16, "inner": 16, "layers": 4},
    "hyenadna-tiny-1k": {"width": 16, "layers": 2}, "ntv2-50m": MODELS["ntv2-50m"].reduced,
    "deepatt": {},  # no language model, but a recurrence, of which cuDNN has no gradients
}  # fmt: skip


def section(s):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DNABENCH_CACHE"] = folder  # of the packed genome
        place = Place(Path(folder))
        for name in OPTIONS:
            for probe in (fields, variants, maps, contexts):
                if probe is maps and not MODELS[name].tokenizer.startswith("char"):
                    continue
                if probe is not fields and MODELS[name].language is None:
                    continue
                s.row(
                    lambda name=name, probe=probe: both(s, probe, name, place),
                    needs=2, probe=probe.__name__, model=name,
                )  # fmt: skip


class Place:
    """A genome of two sequences, and places on it."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.seqs = ["".join(rng.choice(list("ACGT"), 300)) for _ in range(2)]
        text = "".join(f">chr{i}\n{seq}\n" for i, seq in enumerate(self.seqs, 1))
        (folder / "g.fa").write_text(text)
        rows = [f"chr1\t{p}\t{p + 1}\ta\t0\t{strand}\n" for p, strand in ((140, "+"), (160, "-"))]
        (folder / "at.bed").write_text("".join(rows))
        self.genome, self.regions = packed(folder / "g.fa"), read_regions(folder / "at.bed")
        self.codes = Sequences.parse([self.seqs[0][100 : 100 + REGION]]).codes


def both(s, probe, name, place):
    """A row: by how much the device is off the CPU, and seconds of each."""
    found, seconds = [], []
    for device in ("cpu", s.device):
        start = time.perf_counter()
        found.append(probe(name, device, place))
        s.sync()
        seconds.append(time.perf_counter() - start)
    off = max(apart(a, b) for a, b in zip(*found, strict=True))
    ways = apart(*found[1]) if probe is maps else 0.0  # part of it computed again, and all of it
    size = float(np.nanmax(np.abs(found[0][0])))
    return {
        "off": off, "ways_off": ways, "largest": size, "ok": max(off, ways) < OFF < size,
        "cpu_s": seconds[0], "s": seconds[1],
    }  # fmt: skip


def apart(a, b):
    """The largest difference; infinite where one has no number and the other has."""
    if (np.isnan(a) != np.isnan(b)).any():
        return float("inf")
    return float(np.nanmax(np.abs(a - b)))


def language(name, device):
    """A language model with drawn weights, on a device."""
    options = {**MODELS[name].options, **OPTIONS[name]}
    torch.manual_seed(0)
    net = language_model(MODELS[name], options, WINDOW)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    tokenizer = TOKENIZERS[MODELS[name].tokenizer_name(options)]
    one = LanguageNet(name, MODELS[name], options, tokenizer, net.eval(), WINDOW)
    return Likelihood(one, device)


def fields(name, device, place):
    source = of_model(name, "scratch", WINDOW, options=OPTIONS[name])
    source.net.to(device)
    found = field(name, source, random_sequences(1, WINDOW), 5).effect
    return found.gradient, found.substitution


def variants(name, device, place):
    alleles = [
        Allele(1, f"chr{i}", at, ".", seq[at], other, "")
        for i, seq in enumerate(place.seqs, 1) for at in (3, 150) for other in "ACGT"
        if other != seq[at]
    ]  # fmt: skip
    found = score_alleles(language(name, device), place.genome, alleles)
    return (np.array([one.score for one in found]),)


def maps(name, device, place):
    """With what is computed again alone, where the network allows it, and with all of it."""
    likelihood = language(name, device)
    return tuple(dependency(likelihood, place.codes, whole=whole).values for whole in (False, True))


def contexts(name, device, place):
    asked = of_language(language(name, device))
    every = contexts_of(asked, CONTEXT, 12)
    at = places_of(place.regions, place.genome, CONTEXT)
    [(_, found)] = list(shares(asked, place.genome, at, every))
    return found["none"], found["shuffled"]
