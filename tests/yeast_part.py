"""The part of the yeast genome in the package as FASTA, and its start codons as BED."""

from pathlib import Path

import numpy as np

from dnabench import TASKS
from dnabench.types import N

LETTERS = np.frombuffer(b"ACGTN", np.uint8)


def chromosomes():
    """Name -> (letter codes, class of every base, -1 where not known); gaps are N."""
    task, found = TASKS["demo/yeast_genes"], {}
    for split in task.counts:
        seqs, y, ids = task.load(split)[:3]
        for i, name in enumerate(ids.tolist()):
            chrom, _, place = name.partition(":")
            start, end = map(int, place.split("-"))
            found.setdefault(chrom, []).append((start - 1, end, i, seqs, y))
    out = {}
    for chrom, parts in found.items():
        codes = np.full(max(end for _, end, *_ in parts), N, np.uint8)
        classes = np.full(len(codes), -1)
        for start, end, i, seqs, y in parts:
            codes[start:end] = seqs.codes[seqs.offsets[i] : seqs.offsets[i + 1]]
            classes[start:end] = y[i, : end - start]
        out[chrom] = codes, classes
    return out


def write_yeast(folder):
    """Write yeast.fa and starts.bed, the first base of every coding stretch with its strand."""
    fasta, rows = [], []
    for chrom, (codes, classes) in chromosomes().items():
        text = LETTERS[codes].tobytes().decode()
        fasta.append(f">{chrom}\n" + "\n".join(text[i : i + 60] for i in range(0, len(text), 60)))
        forward, reverse = (np.pad((classes == c).astype(int), 1) for c in (0, 1))
        firsts = [(at, "+") for at in np.flatnonzero(np.diff(forward) == 1)]
        firsts += [(at - 1, "-") for at in np.flatnonzero(np.diff(reverse) == -1)]
        for at, strand in sorted(firsts):
            rows.append(f"chr{chrom}\t{at}\t{at + 1}\tgene{len(rows)}\t0\t{strand}")
    (folder / "yeast.fa").write_text("\n".join(fasta) + "\n")
    (folder / "starts.bed").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    write_yeast(Path())
