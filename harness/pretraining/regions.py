"""Annotated regions around which windows are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

KINDS = ("exons", "promoters")


def regions(text: str, genome: Genome) -> Array:
    """Places named as `genes.gff3:exons=256,promoters=1000`.

    exons=256 are the exons and 256 bp on both sides; promoters=1000 the 1,000 bp before a gene.

    Args:
        text: a GFF3 or GTF file, a colon, and what is wanted of it.
        genome: that it annotates.

    Returns:
        int64 (R, 2), as in `Genome.starts`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another form; a file without genes on these sequences.
    """
    path, colon, wanted = text.rpartition(":")
    sizes = dict[str, int]()
    for part in wanted.split(","):
        kind, equals, size = part.partition("=")
        if not (colon and equals and kind in KINDS and size.isdigit()):
            raise ValueError(
                f"--regions {text!r}: write FILE:exons=256,promoters=1000, a file of genes and the "
                "bp around exons and before genes"
            )
        sizes[kind] = int(size)
    annotation = read_annotation(Path(path), coding=False)
    found, unknown = list[tuple[int, int]](), list[str]()
    for name, genes in annotation.genes.items():
        try:
            i = genome.number(name)
        except ValueError:
            unknown.append(name)
            continue
        start, length = int(genome.starts[i]), int(genome.lengths[i])
        for gene in genes:
            places = []
            if "exons" in sizes:
                flank = sizes["exons"]
                places += [(a - flank, b + flank) for a, b in gene.exons]
            if "promoters" in sizes:
                before, (first, last) = sizes["promoters"], (gene.exons[0][0], gene.exons[-1][1])
                places.append((last, last + before) if gene.reverse else (first - before, first))
            found += [(start + max(0, a), start + min(length, b)) for a, b in places]
    found = [place for place in found if place[0] < place[1]]
    if not found:
        raise ValueError(
            f"{path} has no gene on a sequence of {genome.name}: it has {few(unknown)}, the genome "
            f"{few(genome.contigs)}"
        )
    return np.array(found, np.int64)
