"""Lines of a VCF file: all of them as a stream, or those of a region by its index."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from dnabench.tasks.io.genome import few
from dnabench.tasks.io.lines import lines_of
from dnabench.tasks.io.packed import Genome

INDEXES = (".tbi", ".csi")


def lines_in(path: Path, region: str, genome: Genome) -> Iterator[tuple[int, str]]:
    """Numbers from 1 and texts of lines: of the file, or of what is read of it.

    Args:
        path: plain or gzipped (also by bgzip); for a region by bgzip, with an index beside it.
        region: chr1:101-200, from 1 with the end: variants that overlap it; "" = all.
        genome: packed; the sequence may have any of its names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read; of a region: it is beyond the sequence, pysam is not
            installed, there is no index or an old one, or the file has nothing of the sequence.
    """
    if not region:
        yield from lines_of(path)
        return
    contig, start, end = stretch_of(genome, region)
    names = {genome.contigs[contig], *genome.aliases[contig]}
    try:
        from pysam import TabixFile
    except ImportError:
        raise ValueError("--region needs pysam: pip install 'dnabench[vcf]'") from None
    index = _index_of(path)
    try:
        with TabixFile(str(path), index=str(index), encoding="utf-8") as file:
            found = [name for name in file.contigs if name in names]
            if len(found) != 1:
                raise ValueError(
                    f"--region {region}: {path} has {few(found) or 'no variants'} on that "
                    f"sequence; it has {few(list(file.contigs))}"
                )
            yield from enumerate(chain(file.header, file.fetch(found[0], start, end)), 1)
    except (OSError, NotImplementedError) as e:
        raise ValueError(
            f"{path} or its index {index.name} cannot be read ({e}); pack it with bgzip and make "
            f"the index again: tabix -f -p vcf {path.name}"
        ) from e


def _index_of(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    found = [index for end in INDEXES if (index := path.with_name(path.name + end)).exists()]
    if not found:
        raise ValueError(
            f"--region: {path} has no index; pack it with bgzip and make one: tabix -p vcf "
            f"{path.name}"
        )
    if found[0].stat().st_mtime < path.stat().st_mtime:
        raise ValueError(
            f"--region: {found[0]} is older than the file; make it again, tabix -f -p vcf "
            f"{path.name}, or touch it if it belongs to these variants"
        )
    return found[0]


def stretch_of(genome: Genome, text: str) -> tuple[int, int, int]:
    """Number of the sequence, start from 0 and exclusive end of chr1:101-200.

    Raises:
        ValueError: another text, no such sequence, or a region beyond its end.
    """
    name, colon, span = text.rpartition(":")
    first, dash, last = span.replace(",", "").partition("-")
    if not (colon and dash and first.isdecimal() and last.isdecimal() and int(first) > 0):
        raise ValueError(f"--region {text!r}: write chr1:101-200, from 1 and with the end")
    contig, start, end = genome.number(name), int(first) - 1, int(last)
    if not start < end <= genome.lengths[contig]:
        raise ValueError(
            f"--region {text}: {genome.contigs[contig]} has bases 1 to {genome.lengths[contig]:,}"
        )
    return contig, start, end
