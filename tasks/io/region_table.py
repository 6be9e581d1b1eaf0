"""A file of regions and a genome become a table of labelled sequences, as other files are.

Regions are positives; negatives are another file of regions or are drawn (`negatives.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.genome import Chromosome, chromosomes
from dnabench.tasks.io.negatives import (
    GC_OFF,
    MASKED_OFF,
    Composition,
    draw_negatives,
    overlapping,
)
from dnabench.tasks.io.region_windows import (
    Account,
    drop_missing,
    read_windows,
    window_ids,
    windows_on,
)
from dnabench.tasks.io.regions import is_regions, read_regions
from dnabench.tasks.io.table import Table
from dnabench.types import Array, OwnData, Sequences

FAR = 0.05  # GC content of given negatives that differs by more is warned of
POSITIVE, NEGATIVE = "1", "0"


class Part(NamedTuple):
    """Labelled windows of one sequence of the genome, in the order of their file.

    row: int64 (M,), of the region; of its positive where a negative was drawn.
    """

    chrom: str
    label: str
    row: Array
    start: Array
    end: Array
    strand: Array
    seqs: Sequences
    gc: Array
    masked: Array


def region_table(path: Path, own: OwnData) -> Table:
    """The windows of a file of regions, and its negatives.

    Windows beyond the end of a sequence, with N, or equal to an earlier one are left out and
    counted. Regions on the strand - are read from it.

    Args:
        path: BED, narrowPeak or broadPeak: the positives.
        own: the genome, the length of windows, the file of negatives or the seed of their draw.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file cannot be read, there is no genome, or it is another one.
    """
    if not own.genome:
        raise ValueError(f"{path}: regions need the genome they are on: --genome FASTA")
    if own.length < 0 or own.length == 1:
        raise ValueError(f"--length {own.length}: give bp, or 0 for the regions as they are")
    given = Account(read_regions(path))
    against = Account(read_regions(_regions_file(own.negatives))) if own.negatives else None
    accounts = [given, *([against] if against is not None else [])]
    wanted = {str(name) for one in accounts for name in one.regions.chrom}
    parts: list[Part] = []
    known: set[str] = set()
    for chromosome in chromosomes(Path(own.genome), wanted):
        known.update(chromosome.names)
        parts += _parts(chromosome, given, against, own)
    drop_missing(accounts, known)
    return _table(path, parts, given, against, own)


def _regions_file(name: str) -> Path:
    if not is_regions(Path(name)):
        raise ValueError(f"--negatives {name}: give regions too (.bed), or none, to draw them")
    return Path(name)


def _parts(
    chromosome: Chromosome, given: Account, against: Account | None, own: OwnData
) -> list[Part]:
    composition = Composition(chromosome)
    positive = _cut(chromosome, composition, given, own.length, POSITIVE)
    here = np.isin(given.regions.chrom, chromosome.names)
    off = (
        np.concatenate([positive.start, given.regions.start[here]]),
        np.concatenate([positive.end, given.regions.end[here]]),
    )
    if against is not None:
        negative = _cut(chromosome, composition, against, own.length, NEGATIVE)
        clash = overlapping(negative.start, negative.end, off)
        against.drop("of the negatives that overlap one of the positives", negative.row[clash])
        against.kept -= int(clash.sum())
        return [positive, _rows(negative, np.flatnonzero(~clash))]
    start = draw_negatives(chromosome, positive.start, positive.end, off, own.negatives_seed)
    rows = np.flatnonzero(start >= 0)
    start, bp = start[rows], (positive.end - positive.start)[rows]
    strand = positive.strand[rows]
    seqs, alike = (
        chromosome.cut(start, start + bp, strand == "-"),
        composition.of(start, start + bp),
    )
    drawn = Part(
        positive.chrom, NEGATIVE, positive.row[rows], start, start + bp, strand, seqs, *alike
    )
    return [positive, drawn]


def _cut(
    chromosome: Chromosome, composition: Composition, account: Account, length: int, label: str
) -> Part:
    """The windows of a file's regions on a sequence; those that cannot be used are counted."""
    found, seqs = read_windows(chromosome, account, windows_on(chromosome, account, length))
    row, start, end, strand = found
    part = Part(
        chromosome.names[0], label, row, start, end, strand, seqs, *composition.of(start, end)
    )
    order = np.argsort(part.start, kind="stable")
    reach = np.maximum.accumulate(part.end[order])[:-1]
    account.overlapping += int((part.start[order][1:] < reach).sum())
    return part


def _rows(part: Part, rows: Array) -> Part:
    _, _, row, start, end, strand, _, gc, masked = part
    row, start, end, strand, gc, masked = (x[rows] for x in (row, start, end, strand, gc, masked))
    return Part(
        part.chrom, part.label, row, start, end, strand, part.seqs.take(rows), gc, masked
    )  # fmt: skip


def _table(
    path: Path, parts: Sequence[Part], given: Account, against: Account | None, own: OwnData
) -> Table:
    parts = sorted(parts, key=lambda part: part.label, reverse=True)  # stable: positives first
    chrom = [part.chrom for part in parts for _ in part.row]
    start, end, strand = (
        np.concatenate([getattr(part, name) for part in parts]).tolist()
        for name in ("start", "end", "strand")
    )
    labels = [part.label for part in parts for _ in part.row]
    notes = _said(path, parts, given, against, own)
    sequences = [part.seqs[i] for part in parts for i in range(len(part.row))]
    ids = window_ids(chrom, start, end, strand, "-" in strand)
    digest = hashlib.sha256()
    for row in zip(ids, labels, sequences, strict=True):
        digest.update(f"{' '.join(row)}\n".encode())
    sources = [(given if against is None or p.label == POSITIVE else against) for p in parts]
    regions = [source.regions for source in sources]
    lines = [r.line[part.row] for r, part in zip(regions, parts, strict=True)]
    others = {"chrom": chrom, "start": [*map(str, start)], "end": [*map(str, end)]}
    if all(len(set(r.names)) > 1 for r in regions):
        others["name"] = [
            r.names[i] for r, part in zip(regions, parts, strict=True) for i in part.row
        ]
    return Table(
        path, sequences, labels, None, ids, np.concatenate(lines), sha256=digest.hexdigest(),
        others=others, notes=tuple(notes),
    )  # fmt: skip


def _said(
    path: Path, parts: Sequence[Part], given: Account, against: Account | None, own: OwnData
) -> list[str]:
    """How positives and negatives were made, in words; ValueError where there are none."""
    out = given.said("positives", own.length)
    n = sum(len(part.row) for part in parts if part.label == NEGATIVE)
    given.check_any("positives", own.length)
    if against is not None:
        out += against.said("negatives", own.length)
    if not n:
        why = "; ".join(out[1:]) if against is not None else (
            "none could be drawn: no free place of the genome is like a positive; give some: "
            "--negatives FILE, or shorter windows: --length"
        )  # fmt: skip
        raise ValueError(f"{path}: there are no negatives: {why}")
    gc, masked = (
        [np.concatenate([getattr(p, name) for p in parts if p.label == label]).mean()
         for label in (POSITIVE, NEGATIVE)] for name in ("gc", "masked")
    )  # fmt: skip
    if against is None:
        out += _drawn(n, given.kept - n, own)
    out.append(f"GC content: {gc[0]:.1%} of positives, {gc[1]:.1%} of negatives")
    if any(masked):
        out.append(f"soft-masked: {masked[0]:.1%} of positives, {masked[1]:.1%} of negatives")
    else:
        out.append("repeats are not matched: no base here is soft-masked (in lower case)")
    if abs(gc[0] - gc[1]) > FAR:
        out.append(
            "warning: positives and negatives differ in GC content, by which alone a model can "
            "tell them; without --negatives matched ones are drawn"
        )
    return out


def _drawn(n: int, without: int, own: OwnData) -> list[str]:
    out = [
        f"negatives: {n:,} drawn (--negatives-seed {own.negatives_seed}), each for a positive: of "
        f"its length, strand and sequence, GC within {GC_OFF:.0%} and soft-masked within "
        f"{MASKED_OFF:.0%} of the bases, off all regions and N"
    ]
    if without:
        why = "no free place like it was drawn"
        out.append(f"{without:,} positive{'s' * (without != 1)} without a negative: {why}")
    return out
