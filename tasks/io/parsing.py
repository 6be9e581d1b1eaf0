"""Reading one file of labelled sequences: CSV, TSV and FASTA, plain or gzipped, and Parquet.

Any problem of a file is one ValueError that names the file, the line (from 1, with the header; in
Parquet the row, from 1) and, within a sequence, the position. N examples.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnabench.types import Array, LetterError, Sequences

FORMATS = {"csv": "csv", "tsv": "tsv", "fa": "fasta", "fasta": "fasta", "fna": "fasta"}
ACCEPTED = ".csv .tsv .fa .fasta .fna (each also with .gz) .parquet"
NAMES = {"sequence": ("sequence", "seq"), "label": ("label",), "split": ("split",), "id": ("id",)}

MISSING = {"NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?"}


@dataclass(frozen=True)
class Table:
    """The rows of one file, as written.

    sequences, labels: N. splits, ids: N, or None when the file has none. lines: int64 (N,), of the
    rows. unit: of `lines`, "" for lines of text. sha256: of the file, 64 hex.
    """

    path: Path
    sequences: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str] | None
    ids: Sequence[str] | None
    lines: Array
    unit: str = ""
    sha256: str = ""

    def place(self, row: int) -> str:
        """File and line, with which an error message about the row begins."""
        return f"{self.path}:{self.unit}{self.lines[row]}"

    def encode(self, rows: Array) -> Sequences:
        """The sequences of those rows.

        Raises:
            ValueError: at the first letter that is not IUPAC.
        """
        try:
            return Sequences.parse(self.sequences[i] for i in rows)
        except LetterError as e:
            raise ValueError(
                f"{self.place(rows[e.index])}: sequence has {e.letter!r} at position {e.position} "
                "(from 0); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
            ) from None


def format_of(path: Path) -> str | None:
    """One of csv, tsv, fasta and parquet by the file's extension, None for any other."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    return FORMATS.get(name.removesuffix(".gz").rpartition(".")[2])


def stem_of(path: Path) -> str:
    """The file name without .gz and without the extension."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name.rpartition(".")[0] or name


def read_table(path: Path) -> Table:
    """Read a file. Extra columns, spaces around fields and blank lines are ignored.

    CSV, TSV and Parquet need columns sequence (or seq) and label, and may have split and id, in any
    case and order. In FASTA the header is name|label, split at the last bar; names are used as
    ids only if they are unique, because published files repeat them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown extension, or bad content.
    """
    kind = format_of(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    if kind is None:
        raise ValueError(f"{path}: unknown extension {path.suffix!r}; accepted are {ACCEPTED}")
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path}: the file is empty")
    if kind == "parquet":
        table = _parquet(path, raw)
    elif kind == "fasta":
        table = _fasta(path, _text(path, raw))
    else:
        text = _text(path, raw)
        table = _delimited(path, text, "\t" if kind == "tsv" else _separator(text))
    _check(table)
    return Table(**{**vars(table), "sha256": hashlib.sha256(raw).hexdigest()})


def _text(path: Path, raw: bytes) -> str:
    if path.name.lower().endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as e:
            raise ValueError(f"{path}: not a complete gzip file ({e})") from e
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise ValueError(
            f"{path}:{line}: byte 0x{raw[e.start]:02x} at offset {e.start} of the file is not "
            "UTF-8; save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator(text: str) -> str:
    """The column separator, from the first line; spreadsheets write ; in some countries."""
    first = text.partition("\n")[0]
    return next((s for s in ",;\t" if s in first), ",")


def _delimited(path: Path, text: str, separator: str) -> Table:
    rows = _fields(path, text, separator)
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    (line, header), body = rows[0], rows[1:]
    _find_columns(f"{path}:{line}", header)
    for line, row in body:
        if len(row) != len(header):
            raise ValueError(f"{path}:{line}: {len(row)} fields, the header has {len(header)}")
    values = list(zip(*(row for _, row in body), strict=True)) or [()] * len(header)

    def column(i: int) -> list[str]:
        return [value.strip() for value in values[i]]

    return _columns(path, header, column, [line for line, _ in body], unit="")


def _fields(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """(line, fields) of every line that is not blank."""
    if '"' not in text:  # no limit on the length of a field, unlike the csv module
        lines = enumerate(text.split("\n"), start=1)
        return [(i, line.split(separator)) for i, line in lines if line.strip(separator + " ")]
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    try:
        return [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except csv.Error as e:
        raise ValueError(f"{path}:{reader.line_num}: {e}; DNA needs no quotes") from e


def _parquet(path: Path, raw: bytes) -> Table:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        header = file.schema_arrow.names
        found = _find_columns(str(path), header)
        data = file.read(columns=[header[i] for i in found.values()])
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a Parquet file ({e})") from e

    def column(i: int) -> list[str]:
        values = data.column(header[i]).to_pylist()
        return ["" if v is None or v != v else str(v).strip() for v in values]

    return _columns(path, header, column, range(1, data.num_rows + 1), unit="row ")


def _columns(
    path: Path,
    header: Sequence[str],
    column: Callable[[int], list[str]],
    lines: Iterable[int],
    unit: str,
) -> Table:
    found = _find_columns(str(path), header)
    values = {name: column(i) for name, i in found.items()}
    return Table(
        path,
        values["sequence"],
        values["label"],
        values.get("split"),
        values.get("id"),
        np.fromiter(lines, np.int64),
        unit,
    )


def _find_columns(place: str, header: Sequence[str]) -> dict[str, int]:
    """Positions of the columns that we read; ValueError if one is missing or repeated."""
    names = [name.strip().lower() for name in header]
    found = {}
    for name, spellings in NAMES.items():
        at = [i for i, n in enumerate(names) if n in spellings]
        if len(at) > 1:
            raise ValueError(f"{place}: two columns are named {name!r}; remove one")
        if not at and name in ("sequence", "label"):
            listed = ", ".join(n[:20] for n in names)
            raise ValueError(
                f"{place}: no column {name!r}; found {listed}. The header must name the columns "
                "sequence and label, and may name split and id"
            )
        if at:
            found[name] = at[0]
    return found


def _fasta(path: Path, text: str) -> Table:
    head, *records = ("\n" + text).split("\n>")
    if head.strip():
        line = len(head) - len(head.lstrip())
        raise ValueError(f"{path}:{line}: a FASTA file begins with '>', not {head.strip()[:20]!r}")
    lines = head.count("\n") + 1 + np.cumsum([0, *(r.count("\n") + 1 for r in records)])[:-1]
    names, labels, sequences = [], [], []
    for line, record in zip(lines, records, strict=True):
        header, _, body = record.partition("\n")
        name, bar, label = header.rpartition("|")
        if not bar:
            raise ValueError(
                f"{path}:{line}: header '>{header[:60]}' has no '|label'; write '>name|label'"
            )
        names.append(name.strip())
        labels.append(label.strip())
        sequences.append("".join(body.split()))
    distinct = len(set(names)) == len(names) and "" not in names
    return Table(path, sequences, labels, None, names if distinct else None, lines)


def _check(table: Table) -> None:
    if not table.labels:
        raise ValueError(f"{table.path}: no sequences, the file has no rows")
    for values, what in (
        (table.sequences, "empty sequence"),
        (table.labels, "empty label"),
        (table.ids or ["-"], "empty id"),
    ):
        if "" in values:
            raise ValueError(f"{table.place(values.index(''))}: {what}")
    for label in MISSING & set(table.labels):
        place = table.place(table.labels.index(label))
        raise ValueError(f"{place}: label {label!r} looks like a missing value; remove the row")
    if table.ids and len(set(table.ids)) < len(table.ids):
        (name, _), *_ = Counter(table.ids).most_common(1)
        first = table.ids.index(name)
        again = table.ids.index(name, first + 1)
        raise ValueError(
            f"{table.place(again)}: id {name!r} occurs twice, first in {table.place(first)}; ids "
            "must be unique, or leave the column out"
        )
