"""What networks of yeast see on the chromosome that they were not trained on.

    sh tests/bench/yeast.sh FOLDER 20M
    python tests/bench/yeast_probes.py FOLDER [--budget 20M] [PART ...]

Parts are those of yeast_probe_parts.py; all that are missing run, one after the other, each in
under 15 minutes. Then Markdown is printed. Files are in FOLDER/probes-BUDGET; what is there already
is left as it is.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from scipy.stats import ttest_1samp
from yeast_probe_parts import LETTERS, MASKED, NETS, ORDER, PLACES, Yeast, parts, places

from dnabench.models.language import entries
from dnabench.pretraining.learner import opposite
from dnabench.pretraining.markov import fit
from dnabench.pretraining.saving import load_pretrained
from dnabench.probes.blocks import interval, ratio_intervals
from dnabench.types import MASK

SLOW = 20  # places that are scored again by a loop
KINDS = ("synonymous", "missense", "nonsense")
MARKOV = f"Markov {ORDER}"


def scores(yeast, name):
    rows = pq.read_table(yeast.to / f"variants-{name}" / "scores.parquet").to_pydict()
    snvs = places(yeast, PLACES[name])
    assert (np.array(rows["pos"]) == snvs.at + 1).all()
    assert rows["alt"] == ["ACGT"[b] for b in snvs.alt]
    return snvs, np.array(rows["score"], float)


def markov_scores(yeast, snvs):
    """Of the chain: the change of the log-likelihood, the mean of both strands."""
    rest = [i for i in range(len(yeast.genome.contigs)) if i != yeast.contig]
    (chain,) = fit(yeast.genome, rest, [ORDER])
    around = snvs.at[:, None] + np.arange(-ORDER, ORDER + 1)
    inside = (around >= 0) & (around < yeast.bp)
    first = np.where(inside, yeast.codes[around % yeast.bp], 4).astype(np.uint8)
    second = first.copy()
    second[:, ORDER] = snvs.alt
    total = np.zeros(len(snvs.at))
    for sign, codes in ((-1, first), (1, second)):
        for one in (codes, opposite(codes)):
            logs = chain.predict(one)[:, ORDER:].astype(float)
            known = np.where(one < 4, one, 0)[:, ORDER:, None].astype(int)
            each = np.take_along_axis(logs, known, 2)[..., 0]
            total += sign * np.where(one[:, ORDER:] < 4, each, 0).sum(1) / 2
    return total


def slow_scores(yeast, name, at):
    """(places, 4) log ratios to the reference, one window at a time, by PyTorch alone."""
    net, out = load_pretrained(yeast.net(name)), []
    letters = list(entries(net.model, net.options)[:4])  # of A, C, G and T in the output
    for p in at:
        window = yeast.codes[p - 256 : p + 256]
        both = []
        for strand, hidden in ((window, 256), (3 - window[::-1], 255)):
            ids = torch.from_numpy(strand.astype(int))[None]
            ids[0, hidden] = MASK
            with torch.inference_mode():
                logs = net.net(ids, None)[0, hidden, letters].double().log_softmax(-1).numpy()
            both.append(logs if hidden == 256 else logs[::-1])
        ref = yeast.codes[p]
        out.append(np.mean([logs - logs[ref] for logs in both], 0))
    return np.array(out)


def auroc(values, positive, block):
    """How often a positive SNV has a higher score than another, and of draws of blocks.

    Returns a function of weights (P, B) for `interval`: all comes from the pairs of two blocks.
    """
    kinds, block = np.unique(block, return_inverse=True)
    above = np.zeros((len(kinds), len(kinds)))
    for j in range(len(kinds)):
        others = np.sort(values[~positive & (block == j)])
        count = sum(np.searchsorted(others, values[positive], side) for side in ("left", "right"))
        above[:, j] = np.bincount(block[positive], count / 2, len(kinds))
    n = [np.bincount(block[which], minlength=len(kinds)) for which in (positive, ~positive)]
    first = np.unique(block, return_index=True)[1]

    def of(weights):
        w = weights[first].astype(float)
        return ((above.T @ w) * w).sum(0) / ((n[0] @ w) * (n[1] @ w))

    return of


def run(yeast, wanted):
    for part, (f, name) in parts().items():
        done = yeast.to / part / "seconds"
        if (wanted and part not in wanted) or done.exists() or not yeast.net(name).is_dir():
            continue
        done.parent.mkdir(exist_ok=True)
        start, cpu = time.perf_counter(), time.process_time()
        f(yeast, name, done.parent)
        done.write_text(f"{time.perf_counter() - start:.0f}")
        print(f"{part}: {time.perf_counter() - start:.0f} s, {time.process_time() - cpu:.0f} here")


def said(value, between=None):
    low, high = between if between is not None else (np.nan, np.nan)
    return f"{value:.3f}" + ("" if np.isnan(low) else f" [{low:.3f}, {high:.3f}]")


def table(heads, rows):
    for row in (heads, ["---"] * len(heads), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def show_variants(yeast):
    """A loop beside both masked networks, means by place and kind, and kinds told apart."""
    there = {n: scores(yeast, n) for n in NETS if (yeast.to / f"variants-{n}" / "seconds").exists()}
    masked = [n for n in MASKED if n in there]
    for name in masked:
        print(f"{name}: {checked(yeast, name, *there[name])}")
    snvs, _ = there[masked[0]]
    show_means(snvs, {**{n: there[n][1] for n in masked}, MARKOV: markov_scores(yeast, snvs)})
    rows = []
    for name, (snvs, net) in there.items():
        chain = markov_scores(yeast, snvs)
        rows.append((name, f"{len(net):,}", *told_apart(snvs, net), gain(snvs, net, chain)))
        if name != MASKED[1]:  # whose places are those of the first
            transition = ((snvs.ref - snvs.alt) % 4 == 2).astype(float)
            for word, one in ((MARKOV, chain), ("transition", transition)):
                rows.append((f"{word}, the same", f"{len(net):,}", *told_apart(snvs, one), ""))
    table(("score", "SNVs", "all", "codon 3", "codon 3, transversions", "missense over nonsense",
           f"codon 3, less {MARKOV}"), rows)  # fmt: skip


def checked(yeast, name, snvs, found):
    """The largest difference to a loop over SLOW places."""
    at = np.unique(snvs.at[(snvs.at > 256) & (snvs.at < yeast.bp - 256)])
    at = at[:: len(at) // SLOW][:SLOW]
    slow = dict(zip(at.tolist(), slow_scores(yeast, name, at), strict=True))
    own = np.flatnonzero(np.isin(snvs.at, at))
    far = max(abs(slow[snvs.at[i]][snvs.alt[i]] - found[i]) for i in own)
    return f"{len(own)} scores by a loop over {len(at)} places, apart at most {far:.1e}"


def show_means(snvs, values):
    rows, key = [], (snvs.reverse * 3 + snvs.position) * 3 + snvs.kind
    for k in np.unique(key):
        own = key == k
        top = np.stack([v[own] for v in values.values()], 1)
        between = ratio_intervals(snvs.block[own], top, np.ones_like(top))
        means = [said(m, pair) for m, pair in zip(top.mean(0), between, strict=True)]
        rows.append((f"{'+-'[k // 9]}, codon {k // 3 % 3 + 1}, {KINDS[k % 3]}", own.sum(), *means))
    table(("strand, place, kind", "SNVs", *values), rows)


def told_apart(snvs, score):
    """AUROC with intervals: synonymous over missense, in three ways; missense over nonsense."""
    third, change = snvs.position == 2, (snvs.ref - snvs.alt) % 4 != 2
    for own, high in ((snvs.kind < 2, 0), (third & (snvs.kind < 2), 0),
                      (third & change & (snvs.kind < 2), 0), (snvs.kind > 0, 1)):  # fmt: skip
        of = auroc(score[own], snvs.kind[own] == high, snvs.block[own])
        yield said(of(np.ones((own.sum(), 1)))[0], interval(snvs.block[own], of))


def gain(snvs, net, chain):
    """Synonymous over missense at third bases of codons: the network less the chain."""
    own = (snvs.position == 2) & (snvs.kind < 2)
    one, other = (auroc(x[own], snvs.kind[own] == 0, snvs.block[own]) for x in (net, chain))
    ones = np.ones((own.sum(), 1))
    between = interval(snvs.block[own], lambda w: one(w) - other(w))
    return said((one(ones) - other(ones))[0], between)


def show_embeddings(yeast):
    rows = []
    for name in NETS:
        file = yeast.to / f"embed-{name}" / "embed" / "embed.json"
        for row in json.loads(file.read_text())["rows"] if file.exists() else ():
            if row["features"] == "network" or name == NETS[0]:
                word = name if row["features"] == "network" else row["features"]
                rows.append((row["regions"], word, f"{row['n']:,}",
                             said(row["silhouette"], row["silhouette_interval"]),
                             said(row["accuracy"], row["accuracy_interval"])))  # fmt: skip
    table(
        ("regions", "features", "n", "silhouette", "neighbours (chance 0.5)"),
        sorted(rows, key=lambda r: r[0] != "all"),
    )


def show_stems(yeast):
    rows = []
    for name in LETTERS:
        file = yeast.to / f"dependency-{name}" / "stems.json"
        if file.exists():
            found = np.array(json.loads(file.read_text()))
            away = found[:, 0] - found[:, 1]
            low, high = ttest_1samp(away, 0).confidence_interval(0.95)
            rows.append((name, len(found), *(f"{x:.4f}" for x in found.mean(0)),
                         f"{away.mean():.4f} [{low:.4f}, {high:.4f}]"))  # fmt: skip
    table(("network", "tRNAs", "paired bases", "as far apart", "difference"), rows)


def small_figures(yeast):
    """Figures of the first network, or of the transformer, with few colours, beside the parts."""
    for word, file in (("map", "dependency-{}/map/symmetric.png"),
                       ("embed", "embed-{}/embed/embed.png"),
                       ("context", "context-{}/context/context.png"),
                       ("occupancy", "occupancy-{}/occupancy/occupancy.png"),
                       ("attention-distance", "attention-bert/attention/distance.png"),
                       ("attention-rollout", "attention-bert/attention/rollout.png"),
                       *((f"position-{i}", f"context-{{}}/context/position-{i}.png")
                         for i in (1, 2, 3))):  # fmt: skip
        source = yeast.to / file.format(NETS[0])
        if source.exists():
            colours = 255 if word == "attention-rollout" else 96
            few = Image.open(source).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
            few.save(yeast.to / f"yeast-probes-{word}.png", optimize=True)


def show(yeast):
    small_figures(yeast)
    for function in (show_variants, show_embeddings, show_stems):
        function(yeast)
    for part in parts():
        done = yeast.to / part / "seconds"
        text = yeast.to / part / "context.txt"
        if text.exists():
            print(part, text.read_text(), sep="\n\n")
        print(f"{part}: {done.read_text() + ' s' if done.exists() else 'not run'}")


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("parts", nargs="*")
    words.add_argument("--budget", default="20M")
    asked = words.parse_args()
    yeast = Yeast(asked.folder, asked.budget)
    run(yeast, asked.parts)
    if not asked.parts:
        show(yeast)
