"""What networks of yeast see on the chromosome that they were not trained on.

    sh tests/bench/yeast.sh FOLDER 20M
    python tests/bench/yeast_probes.py FOLDER [--budget 20M] [PART ...]

Parts are those of `parts`; all that are missing run, one after the other, each in under 15 minutes.
Then Markdown is printed. Files are in FOLDER/probes-BUDGET; what is there already is left as it is.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from scipy.stats import ttest_1samp

from dnabench.models.language import entries
from dnabench.pretraining.classes import genes_of
from dnabench.pretraining.learner import opposite
from dnabench.pretraining.markov import fit
from dnabench.pretraining.saving import load_pretrained
from dnabench.probes.blocks import blocks_of, interval, ratio_intervals
from dnabench.probes.dependency import dependency
from dnabench.probes.likelihood import Likelihood, language_net
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed
from dnabench.types import MASK

NETS = ("convnova", "gpn", "hyenadna", "bert")
MASKED, LETTERS = ("convnova", "gpn"), ("convnova", "gpn", "hyenadna")
PLACES = {"convnova": 4_000, "gpn": 4_000, "hyenadna": 600, "bert": 60}  # three SNVs each
LONG, CONTEXTS = ("--longest", "1400"), {"gpn": ("--step", "2", "--longest", "100")}  # sees 65 bp
REGIONS, ASKED, ORDER = 800, 48, 6  # regions a class; positions of `probe context`; Markov
CHROM, TRNA, FLANK = "XI", "XI:74574-74747", 50
BETWEEN = "XI:513001-513512"
# on both strands: runs of at least 8 A or T, and TATA boxes (TATAWAWR, Basehoar et al. 2004)
MOTIFS = {"A8 or T8": "A{8}|T{8}", "TATAWAWR": "TATA[AT]A[AT][AG]|[CT][AT]T[AT]TATA"}
SLOW = 20  # places that are scored again by a loop
# the standard code, bases in the order A C G T
AMINO = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"
KINDS = ("synonymous", "missense", "nonsense")
MARKOV = f"Markov {ORDER}"
PAIRS = ("AT", "TA", "CG", "GC", "GT", "TG")  # of a stem


class Yeast:
    """Genome, genes and the folders of networks."""

    def __init__(self, folder, budget):
        self.nets = {name: folder / f"{budget}-{name}" for name in NETS}
        self.to = folder / f"probes-{budget}"
        self.to.mkdir(exist_ok=True)
        self.fasta = next(folder.glob("S288C*.fsa"))
        self.gff = next(folder.glob("Saccharomyces*.gff3"))
        self.genome = packed(self.fasta)
        self.contig = self.genome.number(CHROM)
        self.bp = int(self.genome.lengths[self.contig])
        self.codes = self.genome.around(np.array([self.contig]), np.array([0]), self.bp)[0]
        self.genes = genes_of(read_annotation(self.gff), self.genome, self.contig)

    def net(self, name):
        return self.nets[name]


def coding(yeast):
    """Every base of whole codons that lies in one gene: place, strand, position, codon."""
    rows, times = [], np.zeros(yeast.bp, int)
    for gene in yeast.genes:
        at = np.concatenate([np.arange(*exon) for exon in gene.exons])
        times[at] += 1
        if gene.phase or len(at) % 3:
            continue
        at = at[::-1] if gene.reverse else at
        read = 3 - yeast.codes[at] if gene.reverse else yeast.codes[at]
        codon = (read.reshape(-1, 3).astype(int) @ [16, 4, 1]).repeat(3)
        inner = slice(3, -3)  # without start and stop
        columns = (at, np.full(len(at), gene.reverse), np.arange(len(at)) % 3, codon)
        rows.append(np.stack([c[inner] for c in columns], 1))
    rows = np.concatenate(rows)
    return rows[times[rows[:, 0]] == 1]


def places(yeast, n):
    """SNVs of n coding places, drawn once for all networks: the first n of the draw."""
    every = coding(yeast)
    rows = every[np.random.default_rng(0).permutation(len(every))[:n]]
    rows = rows[np.argsort(rows[:, 0])]
    at, reverse, position, codon = rows.T
    ref = yeast.codes[at].astype(int)
    alt = (ref[:, None] + [1, 2, 3]) % 4
    own = np.where(reverse[:, None] == 1, 3 - alt, alt)
    power = np.array([16, 4, 1])[position]
    new = codon[:, None] + (own - codon[:, None] // power[:, None] % 4) * power[:, None]
    amino = np.array(list(AMINO))
    kind = np.where(amino[new] == amino[codon][:, None], 0, np.where(amino[new] == "*", 2, 1))
    flat = [np.repeat(x, 3) for x in (at, reverse, position, ref)]
    return SimpleNamespace(
        at=flat[0], reverse=flat[1], position=flat[2], ref=flat[3], alt=alt.ravel(),
        kind=kind.ravel(), block=blocks_of([CHROM] * len(flat[0]), flat[0]),
    )  # fmt: skip


def variants(yeast, name, to):
    """`probe variants` of the sample."""
    snvs = places(yeast, PLACES[name])
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for i in range(0, len(snvs.at), 3):
        alts = ",".join("ACGT"[b] for b in snvs.alt[i : i + 3])
        lines.append(f"{CHROM}\t{snvs.at[i] + 1}\t.\t{'ACGT'[snvs.ref[i]]}\t{alts}\t.\t.\t.")
    vcf = to / "snvs.vcf"
    vcf.write_text("\n".join(lines) + "\n")
    call("variants", yeast.net(name), "--vcf", vcf, "--genome", yeast.fasta, "--to",
         to / "scores.parquet")  # fmt: skip


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


def embed(yeast, name, to):
    """`probe embed` of windows of 100 bp that lie in coding bases, or between genes."""
    kind = np.full(yeast.bp, 0)  # 0 between genes, 1 in one, 2 coding
    for gene in yeast.genes:
        inner = kind[gene.exons[0][0] : gene.exons[-1][1]]
        inner[:] = np.maximum(inner, 1)
        for start, end in gene.exons:
            kind[start:end] = 2
    starts = np.arange(0, yeast.bp - 99, 100)
    each = kind[starts[:, None] + np.arange(100)]
    rng, lines = np.random.default_rng(0), []
    for value, word in ((0, "intergenic"), (2, "coding")):
        own = starts[(each == value).all(1)]
        own = np.sort(rng.choice(own, min(REGIONS, len(own)), replace=False))
        lines += [f"{CHROM}\t{a}\t{a + 100}\t{word}\n" for a in own]
    (to / "regions.bed").write_text("".join(lines))
    call("embed", yeast.net(name), "--bed", to / "regions.bed", "--genome", yeast.fasta, "--umap",
         "--to", to / "embed")  # fmt: skip


def occupancy(yeast, _, to):
    """`probe occupancy` of two motifs in the sequence of all chromosomes, found on both strands."""
    marks = []
    for chrom, text in chromosomes(yeast):
        for mark, pattern in MOTIFS.items():
            for found in re.finditer(f"(?=({pattern}))", text):
                marks.append(f"{chrom}\t{found.start(1)}\t{found.end(1)}\t{mark}\n")
    (to / "motifs.bed").write_text("".join(marks))
    call("occupancy", "--bed", to / "motifs.bed", "--gff", yeast.gff, "--to",
         to / "occupancy")  # fmt: skip


def chromosomes(yeast):
    """Name, as the annotation has it, and letters of each but the mitochondrion."""
    for line in yeast.gff.read_text().splitlines():
        if line.startswith("##sequence-region") and "Mito" not in line:
            name, _, end = line.split()[1:]
            number = yeast.genome.number(name)
            codes = yeast.genome.around(np.array([number]), np.array([0]), int(end))[0]
            yield name, "".join(np.array(list("ACGTN"))[codes])


def attention(yeast, name, to):
    """`probe attention` of a tRNA between two coding sequences."""
    call("attention", yeast.net(name), "--genome", yeast.fasta, "--region", BETWEEN, "--gff",
         features(yeast, to), "--to", to / "attention")  # fmt: skip


def dependencies(yeast, name, to):
    """`probe dependency` of a tRNA, and how strongly stems of all tRNAs depend."""
    call("dependency", yeast.net(name), "--genome", yeast.fasta, "--region", TRNA, "--gff",
         yeast.gff, "--to", to / "map")  # fmt: skip
    likelihood, rows = Likelihood(language_net(str(yeast.net(name)))), []
    for line in yeast.gff.read_text().splitlines():
        chrom, _, what, start, end, _, strand, *_ = [*line.split("\t"), *[""] * 8][:9]
        if (chrom, what) != (CHROM, "tRNA"):
            continue
        a, b = int(start) - 1, int(end)
        codes = yeast.codes[a - FLANK : b + FLANK]
        codes = 3 - codes[::-1] if strand == "-" else codes
        stems = [(i + FLANK, b - a - 2 - i + FLANK) for i in range(7)]  # acceptor
        stems += [(b - a - 25 + i + FLANK, b - a - 9 - i + FLANK) for i in range(5)]  # T arm
        paired = sum("ACGT"[codes[i]] + "ACGT"[codes[j]] in PAIRS for i, j in stems)
        if paired < len(stems) - 1:
            continue  # an intron, or another fold
        d = dependency(likelihood, codes).symmetric
        inside = np.arange(FLANK, FLANK + b - a)
        others = []
        for away in (j - i for i, j in stems):
            same = [d[k, k + away] for k in inside[:-away] if (k, k + away) not in stems]
            others.append(np.mean(same) if same else np.nan)
        rows.append([np.mean([d[i, j] for i, j in stems]), float(np.nanmean(others))])
    (to / "stems.json").write_text(json.dumps(rows))


def context(yeast, name, to):
    """`probe context` of positions drawn from the whole chromosome."""
    at = np.random.default_rng(0).choice(yeast.bp, ASKED, replace=False)  # three have figures
    (to / "places.bed").write_text("".join(f"{CHROM}\t{p}\t{p + 1}\n" for p in at))
    call("context", yeast.net(name), "--fasta", yeast.fasta, "--at", to / "places.bed", "--gff",
         features(yeast, to), *CONTEXTS.get(name, LONG), "--to", to / "context")  # fmt: skip


def features(yeast, to):
    """A file of what is coding, RNA or transposon in the annotation."""
    kept = {"CDS", "tRNA", "snoRNA", "snRNA", "rRNA", "transposable_element"}
    lines = [x for x in yeast.gff.read_text().splitlines() if [*x.split("\t"), "", ""][2] in kept]
    (to / "features.gff3").write_text("\n".join(lines) + "\n")
    return to / "features.gff3"


def call(*words):
    command = ["probe", *map(str, words)]
    command += [] if words[0] == "occupancy" else ["--device", "cpu"]
    print("    dnabench", " ".join(command), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "dnabench", *command], check=True, capture_output=True, text=True
    )
    print(done.stdout, flush=True)
    Path(words[-1]).with_suffix(".txt").write_text(done.stdout)


def parts():
    """Name -> function and network."""
    made = ((variants, "variants", NETS), (embed, "embed", NETS),
            (dependencies, "dependency", LETTERS), (context, "context", LETTERS),
            (attention, "attention", ("bert",)), (occupancy, "occupancy", NETS[:1]))  # fmt: skip
    return {f"{word}-{name}": (f, name) for f, word, names in made for name in names}


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
