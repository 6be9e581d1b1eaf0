"""Windows of the regions of a file on its genome, labelled or not, and what of them is left out.

M windows on one sequence of the genome.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.genome import Chromosome, chromosomes, few
from dnabench.tasks.io.left_out import LeftOut
from dnabench.tasks.io.regions import Regions
from dnabench.types import Array, N, Sequences

AT_ONCE = 1 << 22  # bp of the windows that are predicted at once, about


@dataclass
class Account:
    """What became of the regions of a file."""

    regions: Regions
    left_out: LeftOut = field(default_factory=lambda: LeftOut("region"))
    overlapping: int = 0
    kept: int = 0

    def drop(self, why: str, rows: Array) -> None:
        """Leave out regions, by their rows."""
        self.left_out.drop(why, self.regions.line[rows])

    def said(self, what: str, length: int) -> list[str]:
        """How the file was read, in words."""
        path, m = self.regions.path, len(self.regions.start)
        known = self.regions.known
        form = "summits" if known else "middles"
        if 0 < known < m:
            form += f" ({known:,} of {m:,}; the others have none, and their middles are taken)"
        how = f"windows of {length} bp around their {form}" if length else "as long as they are"
        out = [f"{what}: {self.kept:,} of {m:,} region{'s' * (m != 1)} in {path.name}, {how}"]
        out += self.left_out.said()
        if self.overlapping:
            out.append(f"{what} that overlap another one: {self.overlapping:,}")
        return out

    def check_any(self, what: str, length: int) -> None:
        """Raise ValueError where no region is left."""
        if not self.kept:
            said = "; ".join(self.said(what, length))
            raise ValueError(f"{self.regions.path}: no region can be used; {said}")


class Windows(NamedTuple):
    """Where they are. row: int64 (M,), of the region. strand: (M,) str, + or -, which is read."""

    row: Array
    start: Array
    end: Array
    strand: Array

    def take(self, which: Array) -> Windows:
        """Some of them, by a mask or by place."""
        return Windows(*(column[which] for column in self))


def windows_on(chromosome: Chromosome, account: Account, length: int) -> Windows:
    """The windows of a file's regions on a sequence, in the order of the file, each once.

    Raises:
        ValueError: a region begins beyond the end of the sequence.
    """
    regions, bp = account.regions, len(chromosome.codes)
    rows = np.flatnonzero(np.isin(regions.chrom, chromosome.names))
    for i in rows[regions.start[rows] >= bp][:1]:
        raise ValueError(
            f"{regions.path}:{regions.line[i]}: a region begins at {regions.start[i]:,}, but "
            f"{regions.chrom[i]} has {bp:,} bp in the genome; both must be of the same assembly"
        )
    strand = np.where(regions.strand[rows] == "-", "-", "+")
    start, end = regions.windows(length)
    found = Windows(rows, start[rows], end[rows], strand)
    outside = (found.start < 0) | (found.end > bp)
    account.drop("with a window beyond the end of the sequence", found.row[outside])
    found = found.take(~outside)
    places = np.stack([found.start, found.end, found.strand == "-"])
    _, first = np.unique(places, axis=1, return_index=True)
    again = np.ones(len(found.row), bool)
    again[first] = False
    account.drop("with the same window as an earlier one", found.row[again])
    return found.take(~again)


def read_windows(
    chromosome: Chromosome, account: Account, found: Windows
) -> tuple[Windows, Sequences]:
    """The windows without N, which are counted as kept, and their sequences."""
    seqs = chromosome.cut(found.start, found.end, found.strand == "-")
    unknown = np.zeros(len(found.row), bool)
    if len(unknown):
        unknown = np.add.reduceat(seqs.codes == N, seqs.offsets[:-1]) > 0
    account.drop("with N in the window", found.row[unknown])
    account.kept += int((~unknown).sum())
    return found.take(~unknown), seqs.take(np.flatnonzero(~unknown))


def drop_missing(accounts: Iterable[Account], known: Collection[str]) -> None:
    """Leave out the regions on sequences that the genome lacks."""
    for one in accounts:
        missing = sorted({*one.regions.chrom.tolist()} - {*known})
        rows = np.flatnonzero(np.isin(one.regions.chrom, missing))
        one.drop(f"on sequences that are not in the genome ({few(missing, 3)})", rows)


def window_ids(
    chrom: Sequence[str], start: Sequence[int], end: Sequence[int], strand: Sequence[str],
    stranded: bool,
) -> list[str]:  # fmt: skip
    """chrom:start-end, and the strand in brackets if any window is on the strand -."""
    rows = zip(chrom, start, end, strand, strict=True)
    return [f"{c}:{a}-{b}" + f"({s})" * stranded for c, a, b, s in rows]


def unlabelled_windows(
    account: Account, genome: Path, length: int
) -> Iterator[tuple[str, Windows, Sequences]]:
    """The windows of regions to predict on, as `region_table` cuts them.

    Memory grows with the number of regions and the longest sequence of the genome, not with the
    windows or the genome.

    Args:
        account: of the file; complete when all have been read.
        genome: FASTA.
        length: bp of a window; 0 = the regions as they are.

    Yields:
        The name of a sequence of the genome, some windows on it and their sequences, of about
        AT_ONCE bp. The sequences of the genome follow each other as in the FASTA.

    Raises:
        FileNotFoundError, ValueError: as `region_table`.
    """
    known = set[str]()
    for chromosome in chromosomes(genome, set(account.regions.chrom.tolist())):
        known.update(chromosome.names)
        found = windows_on(chromosome, account, length)
        parts = np.cumsum(found.end - found.start) // AT_ONCE
        for which in np.split(np.arange(len(parts)), np.flatnonzero(np.diff(parts)) + 1):
            kept, seqs = read_windows(chromosome, account, found.take(which))
            if len(seqs):
                yield chromosome.names[0], kept, seqs
    drop_missing([account], known)
    account.check_any("predicted", length)
