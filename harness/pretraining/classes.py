"""Which kind of region each base of a genome lies in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnabench.tasks.io.annotation import Annotation, Gene
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

PROMOTER = 1000  # bp before a gene
# strand and position in the codon; a base in several is of the first of them
CLASSES = (
    "CDS +, codon 1", "CDS +, codon 2", "CDS +, codon 3",
    "CDS -, codon 1", "CDS -, codon 2", "CDS -, codon 3",
    "intron", "promoter", "intergenic",
)  # fmt: skip
INTRON, BEFORE, INTERGENIC = 6, 7, 8


def classes_of(annotation: Annotation, genome: Genome, contig: int) -> Array:
    """uint8 (bp,), the index in CLASSES of each base of a sequence.

    A coding base is counted from the first whole codon of its transcript, the longest of the gene;
    the bases between its coding parts are intron; promoters are the 1,000 bp before the first
    coding base. A sequence without a gene is intergenic as a whole; genes that the annotation left
    out are as if they were not there.
    """
    out = np.full(int(genome.lengths[contig]), INTERGENIC, np.uint8)
    genes = genes_of(annotation, genome, contig)
    for gene in genes:
        first, last = gene.exons[0][0], gene.exons[-1][1]
        before = (last, last + PROMOTER) if gene.reverse else (max(0, first - PROMOTER), first)
        _lower(out, slice(*before), BEFORE)
    for gene in genes:
        _lower(out, slice(gene.exons[0][0], gene.exons[-1][1]), INTRON)
    for gene in genes:
        _coding(out, gene)
    return out


def genes_of(annotation: Annotation, genome: Genome, contig: int) -> list[Gene]:
    """The genes of a sequence, by any of its names."""
    names = (genome.contigs[contig], *genome.aliases[contig])
    return [gene for name in names for gene in annotation.genes.get(name, ())]


def left_out(annotation: Annotation, genome: Genome, contigs: Sequence[int]) -> str:
    """Which genes the annotation left out, and their coding bp on sequences; "" if there are none.

    These bases are of the class that they would have without the gene, mostly intergenic.
    """
    genes = [
        f"{len(names)} {reason} ({few([*dict.fromkeys(names)])})"
        for reason, names in annotation.left_out.items()
    ]
    if not genes:
        return ""
    bp = 0
    for i in contigs:
        there = np.zeros(int(genome.lengths[i]), bool)
        for name in (genome.contigs[i], *genome.aliases[i]):
            places = zip(annotation.masked.get(name, ()), annotation.why.get(name, ()), strict=True)
            for (start, end), why in places:
                there[start:end] |= why in annotation.left_out
        bp += int(there.sum())
    return (
        f"genes left out: {'; '.join(genes)}; their {bp:,} coding bp on the scored sequences count "
        "as if the genes were not there, mostly as intergenic"
    )


def _lower(out: Array, place: slice, kind: int) -> None:
    """The earlier class stays where a base has one."""
    out[place] = np.minimum(out[place], kind)


def _coding(out: Array, gene: Gene) -> None:
    done = -gene.phase
    for start, end in reversed(gene.exons) if gene.reverse else gene.exons:
        at = np.arange(start, min(end, len(out)))
        position = (done + (end - 1 - at if gene.reverse else at - start)) % 3
        out[at] = np.minimum(out[at], position + 3 * gene.reverse)
        done += end - start
