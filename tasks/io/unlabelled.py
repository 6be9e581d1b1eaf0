"""Sequences to predict on, read in parts: FASTA, CSV and TSV, plain or gzipped, and Parquet.

Memory does not grow with the file, nor with its longest sequence.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from dnabench.tasks.io.bounds import check_line, check_unpacked, opened_gzip
from dnabench.tasks.io.lines import not_utf8, rows_of, text_lines
from dnabench.tasks.io.parsing import UNLABELLED, column_texts, format_of, listed
from dnabench.tasks.io.table import SHORT, check_sequences
from dnabench.types import Array, LetterError, Sequences

PART = 1 << 22  # bp of a part, about
NEWLINE = b"\n"
ROWS = 1 << 15  # of a table that are read at once
_Place = Callable[[int], str]  # of a row: its file and line, for messages
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


def read_parts(
    path: Path, size: int = PART, pairs: bool = False,
    say: Callable[[str], object] = lambda note: None,
) -> Iterator[Part]:  # fmt: skip
    """Read a file of sequences in parts of about `size` bp; labels and other columns are ignored.

    CSV, TSV and Parquet need a column sequence (or seq) and may have one named id (or name); else
    rows are numbered from 1. In FASTA the id is the first word of the header. Of pairs, columns
    reference and alternative have the two sequences. At the end of a file with IUPAC ambiguity
    letters, which become N, `say` is called with their number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what `parsing.read_table` refuses of sequences, of lines and of quotes, in its
            words; an unknown extension, a missing column.
    """
    ambiguous = 0
    for part in _read(Path(path), size, pairs):
        ambiguous += sum(x.n_ambiguous for x in (part.seqs, part.other) if x is not None)
        yield part
    if ambiguous:
        say(f"IUPAC ambiguity letters read as N: {ambiguous:,}")


def _read(path: Path, size: int, pairs: bool) -> Iterator[Part]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    kind = known_format(path)
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
                yield from _table(path, file, kind, size, _PAIR if pairs else (_SEQUENCE,))
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: the gzip file is damaged or cut off: {e}") from e


def known_format(path: Path) -> str:
    """One of csv, tsv, fasta and parquet by the file's extension.

    Raises:
        ValueError: another one; the message says how regions become sequences.
    """
    if kind := format_of(path):
        return kind
    if path.name.lower().removesuffix(".gz").endswith((".bed", "narrowpeak", "broadpeak")):
        raise ValueError(
            f"{path}: regions, where sequences are needed; write them to a FASTA file, in windows "
            f"as in training: bedtools getfasta -s -fi GENOME -bed {path.name}"
        )
    raise ValueError(f"{path}: unknown extension {path.suffix!r}; accepted are {UNLABELLED}")


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


def _parsed(ids: list[str], texts: list[str], place: _Place, start: int = 0) -> Sequences:
    try:
        return Sequences.parse(texts)
    except LetterError as e:
        position = e.position + start * (e.index == 0)
        raise ValueError(
            f"{place(e.index)}: {ids[e.index] or 'sequence'} has {e.letter!r} at position "
            f"{position} (from 0); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None


def _fasta(path: Path, file: IO[bytes], size: int) -> Iterator[Part]:
    name, at, line, done, carry, mid_line = "", 0, 1, 0, b"", False
    for block in _blocks(file, size):
        text = carry + block if block else carry + b"\n"
        begin = text.rfind(b"\n") + 1  # of the last line, which may go on in the next block
        carry = text[begin:] if text[begin : begin + 1] == b">" else b""
        check_line(path, line + text.count(NEWLINE), len(carry))
        text = text[: len(text) - len(carry)]
        found = [m for m in _HEADER.finditer(text) if m.start() or not mid_line]
        if found and block and not carry and len(_letters(text[found[-1].end() :])) < SHORT:
            begin = found.pop().start()  # is it empty, or the word NA? The next block tells
            text, carry = text[:begin], text[begin:]
        mid_line = text[-1:] not in (b"\n", b"") or (mid_line and not text)
        edges = [0, *(m.end() for m in found)], [*(m.start() for m in found), len(text)]
        pieces = [_letters(text[a:b]) for a, b in zip(*edges, strict=True)]
        place = partial(_record, path, at, line, text, edges[1])  # at = 0: no header so far
        if not at and pieces[0]:
            raise _no_fasta(path, line, text)
        names = [name, *(_name(path, line, text, m) for m in found)]
        first = int(not at)
        if len(names) > first:
            check_sequences(pieces[1:], partial(place, 1))
            ids, start = names[first:], done * (1 - first)
            seqs = _parsed(ids, pieces[first:], partial(place, first), start)
            yield Part(ids, seqs, start, not block)  # the last one ends here, or goes on
        done = len(pieces[-1]) + done * (not found)
        if found:
            name, at = names[-1], line + text.count(NEWLINE, 0, found[-1].start())
        line += text.count(NEWLINE)
    if not at:
        raise ValueError(f"{path}: no sequences, the file is empty")


def _blocks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """A file in blocks of about `size` bytes, with the line ends of Unix; the last one is empty."""
    block = file.read(max(size, 4)).removeprefix(codecs.BOM_UTF8)
    while block:
        if block.endswith(b"\r"):
            block += file.read(1)
        yield block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        block = file.read(size)
    yield b""


def _letters(text: bytes) -> str:
    return text.translate(None, b" \t\n").decode("latin1")


def _record(
    path: Path, at: int, line: int, text: bytes, starts: list[int], skip: int, i: int
) -> str:
    """File and line of a record: the one before the block, in line `at`, is followed by others."""
    k = i + skip - 1
    return f"{path}:{at}" if k < 0 else f"{path}:{line + text.count(NEWLINE, 0, starts[k])}"


def _name(path: Path, line: int, text: bytes, header: re.Match[bytes]) -> str:
    """The first word of a header."""
    try:
        return (header[1].split() or [b""])[0].decode()
    except UnicodeDecodeError as e:
        raise not_utf8(path, line + text.count(NEWLINE, 0, header.start()), e) from None


def _no_fasta(path: Path, line: int, text: bytes) -> ValueError:
    head = text.lstrip()
    line += text.count(NEWLINE, 0, len(text) - len(head))
    try:
        said = head.partition(b"\n")[0].decode()
    except UnicodeDecodeError as e:
        return not_utf8(path, line, e)
    return ValueError(f"{path}:{line}: a FASTA file begins with '>', not {said[:20]!r}")


def _table(path: Path, file: IO[bytes], kind: str, size: int, wanted: _Wanted) -> Iterator[Part]:
    rows = rows_of(path, text_lines(path, file), kind)
    line, header = next(rows, (0, []))
    if not line:
        raise ValueError(f"{path}: no sequences, the file has no rows")
    at, named = _columns(f"{path}:{line}", header, wanted)
    ids, lines, n, bp = list[str](), list[int](), 0, 0
    texts: list[list[str]] = [[] for _ in at]
    for line, row in rows:
        n += 1
        if len(row) != len(header):
            raise ValueError(f"{path}:{line}: {len(row)} fields, the header has {len(header)}")
        ids.append(row[named].strip() if named is not None else str(n))
        lines.append(line)
        for own, i in zip(texts, at, strict=True):
            own.append(row[i].strip())
            bp += len(own[-1])
        if len(ids) == ROWS or bp > size:
            yield _part(f"{path}:", ids, texts, lines)
            ids, texts, lines, bp = [], [[] for _ in at], [], 0
    if not n:
        raise ValueError(f"{path}: no sequences, the file has no rows")
    if ids:
        yield _part(f"{path}:", ids, texts, lines)


def _part(unit: str, ids: list[str], columns: list[list[str]], lines: Sequence[int]) -> Part:
    """Columns of sequences as a part; `unit` is what comes before a line in a message."""
    seqs = []
    for texts in columns:
        check_sequences(texts, lambda i: f"{unit}{lines[i]}")
        seqs.append(_parsed(ids, texts, lambda i: f"{unit}{lines[i]}"))
    return Part(ids, seqs[0], other=seqs[1] if seqs[1:] else None)


def _parquet(path: Path, size: int, wanted: _Wanted) -> Iterator[Part]:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    n = 0
    try:
        file = pq.ParquetFile(path)
        check_unpacked(path, file)
        header = file.schema_arrow.names
        at, named = _columns(str(path), header, wanted)
        columns = [header[i] for i in (*at, named) if i is not None]
        for batch in file.iter_batches(batch_size=min(ROWS, max(1, size // 512)), columns=columns):
            lines = range(n + 1, n + len(batch) + 1)
            values = [column_texts(path, name, batch.column(name), n + 1) for name in columns]
            ids = values[len(at)] if named is not None else list(map(str, lines))
            n += len(batch)
            yield _part(f"{path}:row ", ids, values[: len(at)], lines)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a Parquet file ({e})") from e
    if not n:
        raise ValueError(f"{path}: no sequences, the file has no rows")


def _columns(place: str, header: list[str], wanted: _Wanted) -> tuple[list[int], int | None]:
    """Places of the sequences, each under one of its names, and of the id, None without one."""
    names = [name.strip().lower() for name in header]
    for known in (*wanted, *((name,) for name in _ID)):
        if sum(name in known for name in names) > 1:
            raise ValueError(f"{place}: two columns are named {known[0]!r}; remove one")
    at = [next((names.index(name) for name in known if name in names), -1) for known in wanted]
    if -1 in at:
        lacking = wanted[at.index(-1)][0]
        raise ValueError(
            f"{place}: no column {lacking!r}; found {listed(header)}. Name the column {lacking}"
        )
    named = [names.index(name) for name in _ID if name in names]
    return at, named[0] if named else None
