"""The parts of tests/bench/yeast_probes.py: probes of networks of yeast, and what they write."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from dnabench.pretraining.classes import genes_of
from dnabench.pretraining.language_nets import language_net
from dnabench.probes.blocks import blocks_of
from dnabench.probes.dependency import dependency
from dnabench.probes.likelihood import Likelihood
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed

NETS = ("convnova", "gpn", "hyenadna", "bert")
MASKED, LETTERS = ("convnova", "gpn"), ("convnova", "gpn", "hyenadna")
PLACES = {"convnova": 4_000, "gpn": 4_000, "hyenadna": 600, "bert": 60}  # three SNVs each
LONG, CONTEXTS = ("--longest", "1400"), {"gpn": ("--step", "2", "--longest", "100")}  # sees 65 bp
REGIONS, ASKED, ORDER = 800, 48, 6  # regions a class; positions of `probe context`; Markov
CHROM, TRNA, FLANK = "XI", "XI:74574-74747", 50
BETWEEN = "XI:513001-513512"
# on both strands: runs of at least 8 A or T, and TATA boxes (TATAWAWR, Basehoar et al. 2004)
MOTIFS = {"A8 or T8": "A{8}|T{8}", "TATAWAWR": "TATA[AT]A[AT][AG]|[CT][AT]T[AT]TATA"}
# the standard code, bases in the order A C G T
AMINO = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"
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
    call("context", yeast.net(name), "--genome", yeast.fasta, "--at", to / "places.bed", "--gff",
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
