"""Files of scored variants: a table in Parquet, or the VCF with two fields more in INFO."""

from __future__ import annotations

import math
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dnabench.probes.alleles import SAME
from dnabench.probes.changes import Scorer
from dnabench.tasks.io.vcf import COLUMNS as VCF

if TYPE_CHECKING:
    from dnabench.probes.variants import Scored

COLUMNS = [
    ("line", "int64"), ("chrom", "string"), ("pos", "int64"), ("id", "string"),
    ("ref", "string"), ("alt", "string"), ("genome", "string"), ("score", "double"),
    ("reason", "string"),
]  # fmt: skip
REF = "DNABENCH_REF"
BLOCK = 0xFF00  # bytes of a block of bgzip, which packed has 64 KiB at most
HEAD = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0"  # gzip with an extra field of two bytes


class Writer(ABC):
    """A file that scored alleles are written to, in order."""

    @abstractmethod
    def header(self, text: str) -> None:
        """A line of the VCF that begins with #."""

    @abstractmethod
    def write(self, texts: Sequence[tuple[int, str]], scored: Sequence[Scored]) -> None:
        """Lines with their numbers, and their alleles."""


@contextmanager
def writer_of(to: Path, out: IO[bytes], scorer: Scorer) -> Iterator[Writer]:
    """What writes a file of this name.

    Raises:
        ValueError: the name ends neither in .parquet nor in .vcf or .vcf.gz.
    """
    if to.suffix == ".vcf":
        yield _Vcf(out, scorer)
        return
    if to.name.endswith(".vcf.gz"):
        packed = Bgzip(out)
        yield _Vcf(packed, scorer)
        packed.end()
        return
    if to.suffix != ".parquet":
        raise ValueError(f"--to {to}: name a file that ends in .parquet, .vcf or .vcf.gz")
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with pq.ParquetWriter(out, pa.schema(COLUMNS), compression="zstd") as opened:
        yield _Parquet(opened)


class _Parquet(Writer):
    """A row for each allele; `score` is empty where there is none, and `reason` says why."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    def header(self, text: str) -> None:
        pass

    def write(self, texts: Sequence[tuple[int, str]], scored: Sequence[Scored]) -> None:
        import pyarrow as pa

        rows = [
            (a.line, a.chrom, a.at + 1, a.id, a.ref, a.alt, said,
             None if math.isnan(score) else score, why)
            for a, said, score, why in scored
        ]  # fmt: skip
        names = [name for name, _ in COLUMNS]
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        self._opened.write_table(pa.table(columns, schema=pa.schema(COLUMNS)))


class Bgzip:
    """Writes gzip in blocks that say their length, which tabix needs to index a file.

    Source:
        Sequence Alignment/Map Format Specification, section 4.1 (the BGZF format).
    """

    def __init__(self, out: IO[bytes]) -> None:
        self._out, self._waiting = out, bytearray()

    def write(self, data: bytes) -> None:
        """Add bytes; whole blocks are written."""
        self._waiting += data
        while len(self._waiting) >= BLOCK:
            self._block(bytes(self._waiting[:BLOCK]))
            del self._waiting[:BLOCK]

    def end(self) -> None:
        """What is left, and the empty block that a whole file ends with."""
        if self._waiting:
            self._block(bytes(self._waiting))
        self._block(b"")

    def _block(self, data: bytes) -> None:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)  # no header of zlib
        body = deflate.compress(data) + deflate.flush()
        size = len(HEAD) + 2 + len(body) + 8
        self._out.write(HEAD + struct.pack("<H", size - 1) + body)
        self._out.write(struct.pack("<II", zlib.crc32(data), len(data)))


class _Vcf(Writer):
    """The lines as they were, with the score of each allele in INFO."""

    def __init__(self, out: IO[bytes] | Bgzip, scorer: Scorer) -> None:
        self._out, self._tag, source = out, scorer.tag, scorer.source
        self._about = [
            f'##INFO=<ID={scorer.tag},Number=A,Type=Float,Description="{scorer.what}; '
            f'{source.name}, {scorer.how}, windows of {source.length} bp">',
            f'##INFO=<ID={REF},Number=A,Type=String,Description="How REF compares with the genome '
            'where it is not the same; no score then">',
        ]  # fmt: skip
        self._begun = self._any = False

    def header(self, text: str) -> None:
        if text.startswith((f"##INFO=<ID={self._tag},", f"##INFO=<ID={REF},")):
            return
        if text.startswith("#CHROM"):
            self._begin()
        self._any = True
        self._line(text)

    def write(self, texts: Sequence[tuple[int, str]], scored: Sequence[Scored]) -> None:
        by_line = groupby(scored, key=lambda one: one.allele.line)
        for (_, text), (_, alleles) in zip(texts, by_line, strict=True):
            row, found = text.split("\t"), list(alleles)
            if not self._begun:
                self._without_header(len(row))
            parts = [p for p in row[7].split(";") if p not in ("", ".")]
            parts = [p for p in parts if p.partition("=")[0] not in (self._tag, REF)]
            values = ["." if math.isnan(one.score) else f"{one.score:.9g}" for one in found]
            parts.append(f"{self._tag}={','.join(values)}")
            if any(one.said not in ("", SAME) for one in found):
                parts.append(f"{REF}={','.join(one.said or '.' for one in found)}")
            self._line("\t".join([*row[:7], ";".join(parts), *row[8:]]))

    def _without_header(self, columns: int) -> None:
        if not self._any:
            self._line("##fileformat=VCFv4.2")
        self._begin()
        samples = [f"sample{i}" for i in range(1, columns - len(VCF))]
        self._line("#" + "\t".join([*VCF, *["FORMAT", *samples][: columns - len(VCF)]]))

    def _begin(self) -> None:
        self._begun = True
        for text in self._about:
            self._line(text)

    def _line(self, text: str) -> None:
        self._out.write(f"{text}\n".encode())
