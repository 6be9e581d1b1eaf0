"""Sequences to predict on, read in parts: FASTA, CSV and TSV, plain or gzipped, and Parquet.

Memory does not grow with the file, nor with its longest sequence.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from dnabench.tasks.io.bounds import check_line, check_unpacked, lines_within, opened_gzip
from dnabench.tasks.io.parsing import ACCEPTED, format_of
from dnabench.types import Array, LetterError, Sequences

PART = 1 << 22  # bp of a part, about
ROWS = 1 << 15  # of a table that are read at once
_Wanted = tuple[tuple[str, ...], ...]  # of each sequence of a row, names of its column
_HEADER = re.compile(rb"^>([^\n]*)\n", re.M)
_SEQUENCE, _ID = ("sequence", "seq"), ("id", "name")
_PAIR = (("reference",), ("alternative",))


class Part(NamedTuple):
    """Some sequences of a file, in its order.

    The first may go on from the part before, of which `start` bp were there; `whole` says whether
    the last one ends here.
    """

    ids: list[str]
    seqs: Sequences
    start: int = 0
    whole: bool = True
    other: Sequences | None = None  # of pairs: the second of each

    def segments(self) -> Iterator[tuple[str, int, Array, bool]]:
        """Id, bp before it, letter codes, and whether the sequence ends with them."""
        last = len(self.ids) - 1
        for i, name in enumerate(self.ids):
            codes = self.seqs.codes[self.seqs.offsets[i] : self.seqs.offsets[i + 1]]
            yield name, self.start * (i == 0), codes, i < last or self.whole


def read_parts(path: Path, size: int = PART, pairs: bool = False) -> Iterator[Part]:
    """Read a file of sequences in parts of about `size` bp; labels and other columns are ignored.

    CSV, TSV and Parquet need a column sequence (or seq) and may have one named id (or name); else
    rows are numbered from 1. In FASTA the id is the first word of the header. Of pairs, columns
    reference and alternative have the two sequences.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown extension, a missing column, a letter that is not DNA, and where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    kind = format_of(path)
    if kind is None:
        raise ValueError(f"{path}: unknown extension {path.suffix!r}; accepted are {ACCEPTED}")
    if kind == "parquet":
        yield from _parquet(path, size, _PAIR if pairs else (_SEQUENCE,))
        return
    if kind == "fasta" and pairs:
        raise ValueError(
            f"{path}: FASTA has one sequence an entry, and this network reads two: give a VCF with "
            "--genome, or a table with the columns reference and alternative"
        )
    try:
        with opened_gzip(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            if kind == "fasta":
                yield from _fasta(path, file, size)
            else:
                yield from _table(path, file, size, _PAIR if pairs else (_SEQUENCE,))
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: the gzip file is damaged or cut off: {e}") from e


def whole_sequences(parts: Iterator[Part], most: int) -> Iterator[Part]:
    """The same parts with every sequence in one of them.

    Raises:
        ValueError: for a sequence of more than `most` bp, and the message says how to cut it.
    """
    rest: list[Array] = []
    for ids, seqs, _, whole, _ in parts:
        codes, lengths = [*rest, seqs.codes], seqs.lengths.copy()
        lengths[:1] += sum(map(len, rest))
        if lengths.max(initial=0) > most:
            longest = int(lengths.argmax())
            raise ValueError(
                f"{ids[longest]} has {lengths[longest]:,} bp or more, the network reads {most:,} "
                f"at most: cut it into windows (--window {most})"
            )
        rest = []
        if not whole:
            last = int(seqs.offsets[-2])
            codes[-1], own = seqs.codes[:last], seqs.codes[last:]
            rest = [*codes, own] if len(ids) == 1 else [own]
            ids, lengths = ids[:-1], lengths[:-1]
        if ids:
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            yield Part(ids, Sequences(np.concatenate(codes), offsets))


def _parsed(path: Path, ids: list[str], texts: list[str], start: int = 0) -> Sequences:
    try:
        return Sequences.parse(texts)
    except LetterError as e:
        position = e.position + start * (e.index == 0)
        raise ValueError(
            f"{path}: {ids[e.index]} has {e.letter!r} at position {position} (from 0); only A, C, "
            "G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None


def _fasta(path: Path, file: IO[bytes], size: int) -> Iterator[Part]:
    name, done, carry, mid_line = "", 0, b"", False
    while True:
        block = file.read(size)
        text = carry + block if block else carry + b"\n"
        begin = text.rfind(b"\n") + 1  # of the last line, which may go on in the next block
        carry = text[begin:] if text[begin : begin + 1] == b">" else b""
        check_line(path, 1 + text.count(b"\n"), len(carry))
        text = text[: len(text) - len(carry)]
        found = [m for m in _HEADER.finditer(text) if m.start() or not mid_line]
        mid_line = text[-1:] not in (b"\n", b"") or (mid_line and not text)
        edges = [0, *(m.end() for m in found)], [*(m.start() for m in found), len(text)]
        pieces = [text[a:b].translate(None, b" \t\r\n") for a, b in zip(*edges, strict=True)]
        names = [name, *((m[1].split() or [b""])[0].decode("utf-8", "replace") for m in found)]
        if not name and pieces[0]:
            raise ValueError(f"{path}: a FASTA file begins with '>', not {pieces[0][:20]!r}")
        first, whole = (0 if name else 1), not block  # the sequence so far ends here, or goes on
        if len(names) > first:
            ids, start = names[first:], done * (first == 0)
            texts = [p.decode("latin1") for p in pieces[first:]]
            yield Part(ids, _parsed(path, ids, texts, start), start, whole)
        done = len(pieces[-1]) + done * (len(names) == 1)
        name = names[-1]
        if not block:
            break
    if not name:
        raise ValueError(f"{path}: no sequences, the file is empty")


def _table(path: Path, file: IO[bytes], size: int, wanted: _Wanted) -> Iterator[Part]:
    csv.field_size_limit(2**31 - 1)
    text = (line.decode("utf-8-sig") for line in lines_within(path, file))
    first = next(text, "")
    separator = next((s for s in "\t,;" if s in first), ",")
    header = next(csv.reader([first], delimiter=separator), [])
    at, named = _columns(path, header, wanted)
    ids, texts, n, bp = list[str](), list[list[str]](), 0, 0
    for row in csv.reader(text, delimiter=separator):
        if not any(row):
            continue
        n += 1
        if len(row) != len(header):
            raise ValueError(f"{path}: row {n}: {len(row)} fields, the header has {len(header)}")
        ids.append(row[named].strip() if named is not None else str(n))
        texts.append([row[i].strip() for i in at])
        bp += sum(map(len, texts[-1]))
        if len(texts) == ROWS or bp > size:
            yield _part(path, ids, texts)
            ids, texts, bp = [], [], 0
    if texts or not n:
        if not n:
            raise ValueError(f"{path}: no sequences, the file has no rows")
        yield _part(path, ids, texts)


def _part(path: Path, ids: list[str], rows: list[list[str]]) -> Part:
    first, *others = [_parsed(path, ids, list(column)) for column in zip(*rows, strict=True)]
    return Part(ids, first, other=others[0] if others else None)


def _parquet(path: Path, size: int, wanted: _Wanted) -> Iterator[Part]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    n = 0
    try:
        file = pq.ParquetFile(path)
        check_unpacked(path, file)
        header = file.schema_arrow.names
        at, named = _columns(path, header, wanted)
        columns = [header[i] for i in (*at, named) if i is not None]
        for batch in file.iter_batches(batch_size=min(ROWS, max(1, size // 512)), columns=columns):
            rows = zip(*(batch[header[i]].to_pylist() for i in at), strict=True)
            texts = [["" if v is None else str(v).strip() for v in row] for row in rows]
            ids = list(map(str, range(n + 1, n + len(texts) + 1)))
            if named is not None:
                ids = list(map(str, batch[header[named]].to_pylist()))
            n += len(texts)
            yield _part(path, ids, texts)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a Parquet file ({e})") from e
    if not n:
        raise ValueError(f"{path}: no sequences, the file has no rows")


def _columns(path: Path, header: list[str], wanted: _Wanted) -> tuple[list[int], int | None]:
    """Places of the sequences, each under one of its names, and of the id, None without one."""
    names = [name.strip().lower() for name in header]
    at = [next((names.index(name) for name in known if name in names), -1) for known in wanted]
    if -1 in at:
        lacking, listed = wanted[at.index(-1)][0], ", ".join(name[:20] for name in names)
        raise ValueError(
            f"{path}: no column {lacking!r}; found {listed}. Name the column {lacking}"
        )
    named = [names.index(name) for name in _ID if name in names]
    return at, named[0] if named else None
