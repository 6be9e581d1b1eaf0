"""BEND gene finding: a class for every base of 5,976 human regions; from BED, genome and HDF5.

Source:
    Marin et al. 2024, ICLR (arXiv:2311.12570), repository frederikkemarin/BEND: README (layout of
    the files), conf/embedding/embed.yaml (`read_strand: false`), bend/io/sequtils.py.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.tasks._declare import Origin, declare
from dnabench.tasks.io import splice_sites
from dnabench.tasks.io.bounds import check_claim
from dnabench.tasks.io.hdf5 import claimed, open_hdf5
from dnabench.tasks.io.imported import SPLITS, Cached, Writer
from dnabench.types import IGNORED, Array, LetterError, Sequences, Split, SplitName

NAME = "bend/gene_finding"
TOTAL = 5976  # sequences of all splits; we found no source with the counts of each
CLASSES = (
    "exon_f", "donor_f", "intron_f", "acceptor_f",
    "exon_r", "donor_r", "intron_r", "acceptor_r", "noncoding",
)  # fmt: skip
GENOME = "GRCh38.primary_assembly.genome.fa"
FASTA = (".fa", ".fasta", ".fna")
SPLIT_OF: dict[str, SplitName] = {"train": "train", "valid": "dev", "test": "test"}
CHUNK = 256  # sequences at a time: a few MB

Files = Mapping[SplitName, tuple[Path, ...]]


class Regions(NamedTuple):
    """The rows of the BED file: chromosome, start and end (from 0, end not inclusive), split."""

    chromosomes: list[str]
    starts: Array
    ends: Array
    splits: Array


class Genome:
    """Random access to a memory-mapped FASTA file.

    Args:
        path: uncompressed FASTA with lines of equal length within a record; needs no index.

    Raises:
        ValueError: the file is compressed or not FASTA.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.suffix.lower() not in FASTA:
            raise ValueError(
                f"{path}: a genome is read by position, so it must be uncompressed FASTA "
                f"({', '.join(FASTA)}); unpack it"
            )
        with path.open("rb") as file:
            if file.read(1) != b">":
                raise ValueError(f"{path}: a FASTA file begins with '>'")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._records = dict(self._index())

    def __enter__(self) -> Genome:
        return self

    def __exit__(self, *error: object) -> None:
        self._map.close()

    def fetch(self, chromosome: str, start: int, end: int) -> str:
        """The plus strand of [start, end), from 0, in the letters of the file.

        Raises:
            ValueError: no such chromosome, too short a one, or lines of different length.
        """
        if chromosome not in self._records:
            raise ValueError(
                f"{self.path} has no sequence {chromosome!r}; it has "
                f"{', '.join(list(self._records)[:3])}, ...: is it the right genome ({GENOME})?"
            )
        first, bases, width, length = self._records[chromosome]
        if not 0 <= start < end <= length:
            raise ValueError(
                f"{self.path}: {start}-{end} is outside {chromosome}, which has {length} bp; is it "
                f"the right genome ({GENOME})?"
            )
        a = first + start // bases * width + start % bases
        b = first + end // bases * width + end % bases
        text = self._map[a:b].translate(None, b"\r\n")
        if len(text) != end - start or b">" in text:
            raise ValueError(
                f"{self.path}: the lines of {chromosome} differ in length, so positions cannot be "
                "found; rewrite the file, for example with seqkit seq -w 60"
            )
        return text.decode("latin-1")

    def _index(self) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
        """Name -> offset, letters and bytes per line, length in bp."""
        here, end = 0, len(self._map)
        while here < end:
            line = self._map.find(b"\n", here)
            first = line + 1 if line >= 0 else end
            following = self._map.find(b"\n>", line) if line >= 0 else -1
            stop = following + 1 if following >= 0 else end
            name = self._map[here + 1 : first].decode("latin-1").split(None, 1) or [""]
            newline = self._map.find(b"\n", first, stop)
            width = (newline + 1 if newline >= 0 else stop) - first
            bases = len(self._map[first : first + width].rstrip(b"\r\n"))
            if bases:
                last = len(self._map[max(first, stop - 2) : stop].rstrip(b"\r\n"))
                size = stop - first - (min(2, stop - first) - last)  # without the last line break
                length = size // width * bases + min(size % width, bases)
                yield name[0], (first, bases, width, length)
            here = stop


def recognise(folder: Path) -> dict[SplitName, tuple[Path, ...]] | None:
    """The BED, the labels and, if it is nearby, the genome: the same files for each split.

    The genome is `GRCh38.primary_assembly.genome.fa` in the same folder, in `genomes` beside it,
    as in BEND, or in the folder above.
    """
    files = [folder / "gene_finding.bed", folder / "gene_finding.hdf5"]
    if not all(file.is_file() for file in files):
        return None
    places = (folder, folder / "genomes", folder.parent / "genomes", folder.parent)
    genome = [place / GENOME for place in places if (place / GENOME).is_file()]
    return dict.fromkeys(SPLITS, (*files, *genome[:1]))


def read(files: Files) -> Iterator[tuple[SplitName, Split]]:
    """The splits, chunk by chunk.

    Args:
        files: of `recognise`.

    Returns:
        Pairs of split and examples. A sequence is always the plus strand, as BEND reads it
        (`read_strand: false`), so classes 4 to 7 are genes of the minus strand at their positions
        on the plus strand. ids are chromosome:start-end.

    Raises:
        ValueError: the genome is missing, or the files do not match, with the row.
    """
    bed, labels, *rest = next(iter(files.values()))
    if not rest:
        raise ValueError(
            f"{bed}: this file has no sequences; put {GENOME} (GENCODE) beside it or into a "
            "folder `genomes` beside its folder, or name it with --genome"
        )
    regions = _regions(bed)
    with open_hdf5(labels) as file, Genome(rest[0]) as genome:
        if "labels" not in file:
            raise ValueError(f"{labels}: no data set 'labels'; found {', '.join(file) or 'none'}")
        values = file["labels"]
        check_claim(labels, claimed(values), len(values))
        if len(values) != len(regions.splits):
            raise ValueError(
                f"{labels}: {len(values)} rows of labels, {bed} has {len(regions.splits)} regions; "
                "row i of one belongs to row i of the other, so both must be from the same download"
            )
        for split in SPLITS:
            rows = np.flatnonzero(regions.splits == split)
            for start in range(0, len(rows), CHUNK):
                yield split, _chunk(rows[start : start + CHUNK], regions, values, genome, labels)


def import_files(path: Path, genome: Path | None = None) -> Cached:
    """Import a folder that holds BEND's `gene_finding.bed` and `gene_finding.hdf5`.

    Args:
        path: the folder, or BEND's `data` folder above it.
        genome: FASTA of GRCh38, if it is elsewhere.

    Returns:
        What was written. Its notes give the share of the labelled splice sites of each class that
        have its two bases (`splice_sites`: close to 1.0; 0.06 is chance), and the number of regions
        when it is not the published one (`regions`).

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: see `read`.
    """
    files = recognise(path) or recognise(path / "gene_finding")
    if files is None:
        raise FileNotFoundError(f"{path}: no gene_finding.bed with gene_finding.hdf5 here")
    if genome is not None:
        files = dict.fromkeys(SPLITS, (*files["train"][:2], genome))
    rows = 0

    def written(writer: Writer) -> Iterator[Split]:
        nonlocal rows
        for split, part in read(files):
            writer.add(split, part)
            rows += len(part.y)
            yield part

    with Writer(NAME, str(path)) as writer:
        writer.note(
            "splice_sites", splice_sites.shares(splice_sites.counted(written(writer)), CLASSES)
        )
        if rows != TOTAL:
            writer.note("regions", f"{rows}, {TOTAL} were published")
    assert writer.result is not None  # it was written
    return writer.result


def _regions(bed: Path) -> Regions:
    lines = [line.split("\t") for line in bed.read_text(encoding="utf-8").splitlines() if line]
    if len(lines) < 2 or not lines[1][1:2] or lines[0][1].isdigit():
        raise ValueError(
            f"{bed}: the first line must name the columns (chromosome, start, end, ..., split, "
            "separated by tabs) and regions must follow"
        )
    names = [name.strip().lower() for name in lines[0]]
    column = names.index("split") if "split" in names else len(names) - 1  # BEND takes the last
    splits = []
    for i, fields in enumerate(lines[1:], start=2):
        if len(fields) != len(names) or not (fields[1].isdigit() and fields[2].isdigit()):
            raise ValueError(f"{bed}:{i}: not chromosome, start, end, ...: {fields[:4]}")
        if fields[column].strip() not in SPLIT_OF:
            raise ValueError(
                f"{bed}:{i}: split {fields[column]!r}; it must be {', '.join(SPLIT_OF)}"
            )
        splits.append(SPLIT_OF[fields[column].strip()])
    chromosomes, starts, ends = zip(*(f[:3] for f in lines[1:]), strict=True)
    bounds = np.array([starts, ends], np.int64)
    return Regions(list(chromosomes), bounds[0], bounds[1], np.array(splits))


def _chunk(rows: Array, regions: Regions, values: Any, genome: Genome, file: Path) -> Split:
    at = [(regions.chromosomes[i], int(regions.starts[i]), int(regions.ends[i])) for i in rows]
    ids = [f"{chromosome}:{start}-{end}" for chromosome, start, end in at]
    texts = [genome.fetch(*place) for place in at]  # which are no longer than the chromosomes
    y = np.full((len(rows), max(map(len, texts))), IGNORED, np.int8)
    for k, (i, (_, start, end)) in enumerate(zip(rows.tolist(), at, strict=True)):
        y[k, : end - start] = _labels(np.asarray(values[i]), end - start, values.ndim, file, i)
    try:
        return Split(Sequences.parse(texts), y, np.array(ids))
    except LetterError as e:
        raise ValueError(
            f"{genome.path}: {ids[e.index]} has {e.letter!r} at position {e.position} (from 0)"
        ) from None


def _labels(row: Array, length: int, dimensions: int, file: Path, i: int) -> Array:
    """The classes of one region; a rectangular data set is padded beyond its end."""
    if len(row) < length or (dimensions == 1 and len(row) != length):
        raise ValueError(f"{file}: row {i} (from 0) has {len(row)} labels, its region {length} bp")
    row = row[:length]
    if (bad := (row != IGNORED) & ~np.isin(row, np.arange(len(CLASSES)))).any():
        at = int(bad.argmax())
        raise ValueError(
            f"{file}: row {i} (from 0) has label {row[at]} at position {at}; labels are 0 to "
            f"{len(CLASSES) - 1}, or {IGNORED} where the class is unknown"
        )
    return row


declare(
    NAME,
    kind="per_base",
    classes=CLASSES,
    opposite=(4, 5, 6, 7, 0, 1, 2, 3, 8),
    metric="mcc",
    length=14_000,
    official={},
    source=f"BEND (Marin et al. 2024, arXiv:2311.12570): {TOTAL} regions of GENCODE, GRCh38",
    license="not stated for the data (BEND's code is BSD-3-Clause; GENCODE, GRCh38)",
    family="gene_finding",
    aliases=("bend/genefinding",),
    origin=Origin(
        by_hand="download data/gene_finding/gene_finding.bed, data/gene_finding/gene_finding.hdf5 "
        f"and data/genomes/{GENOME} with scripts/download_bend.py of "
        "https://github.com/frederikkemarin/BEND (or from "
        "https://sid.erda.dk/cgi-sid/ls.py?share_id=aNQa0Oz2lY) and keep the folders as they are",
    ),
)
