"""Reading one file of labelled sequences into a table of text.

Any problem of a file is one ValueError that names the file, the line (from 1, with the header; in
Parquet the row, from 1) and, within a sequence, the position. N examples.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.tasks.io.bounds import check_claim, check_unpacked, gunzipped
from dnabench.tasks.io.headers import LAST, fasta_fields, fields_beside
from dnabench.tasks.io.lines import not_utf8, rows_of
from dnabench.tasks.io.table import Table, check_table
from dnabench.types import OwnData

FORMATS = {"csv": "csv", "tsv": "tsv", "fa": "fasta", "fasta": "fasta", "fna": "fasta"}
UNLABELLED = ".csv .tsv .fa .fasta .fna (each also with .gz) .parquet"
ACCEPTED = f"{UNLABELLED} .jsonl .arrow"
IN_FOLDERS = f"{ACCEPTED} .xlsx .ods"
ALONE = f"{IN_FOLDERS} .txt .seq .bed .narrowPeak .broadPeak .vcf"
ARROW = (".arrow", ".jsonl", ".ndjson")
NAMES = {"sequence": ("sequence", "seq"), "label": ("label",), "split": ("split",), "id": ("id",)}
PUBLISHED = OwnData(header=LAST)


def format_of(path: Path) -> str | None:
    """One of csv, tsv, fasta and parquet by the file's extension, None for any other."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    return FORMATS.get(name.removesuffix(".gz").rpartition(".")[2])


def is_readable(path: Path) -> bool:
    """Whether `read_table` knows the extension."""
    return format_of(path) is not None or path.suffix.lower() in ARROW


def stem_of(path: Path) -> str:
    """The file name without .gz and without the extension."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name.rpartition(".")[0] or name


def read_table(path: Path, own: OwnData = PUBLISHED) -> Table:
    """Read a file. Spaces around fields and blank lines are ignored.

    CSV, TSV and Parquet need columns sequence (or seq) and label, and may have split and id, in any
    case and order. In FASTA the header is name|label, see `headers.fasta_fields`; names are used as
    ids only if they are unique, because published files repeat them.

    Args:
        path: of the file.
        own: which columns are which, where the header has other names. A published file has the
            usual names, and the label of a FASTA header after the last bar.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown extension, or bad content.
    """
    kind = format_of(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    if kind is None and path.suffix.lower() in ARROW:
        kind = "arrow"
    if kind is None:
        raise ValueError(f"{path}: unknown extension {path.suffix!r}; accepted are {ALONE}")
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path}: the file is empty")
    if kind == "parquet":
        table = _parquet(path, raw, own)
    elif kind == "arrow":
        table = _arrow(path, raw, own)
    elif kind == "fasta":
        table = _fasta(path, text_of(path, raw), own)
    else:
        lines = enumerate(text_of(path, raw).split("\n"), start=1)
        table = table_of_rows(path, list(rows_of(path, lines, kind)), own)
    check_table(table)
    return Table(**{**vars(table), "sha256": hashlib.sha256(raw).hexdigest()})


def text_of(path: Path, raw: bytes) -> str:
    """The text of a file, perhaps gzipped, with the line ends of Unix; ValueError for no text."""
    if path.name.lower().endswith(".gz"):
        raw = gunzipped(path, raw)
    try:
        text = raw.decode("utf-8-sig")  # spreadsheets write a byte order mark
    except UnicodeDecodeError as e:
        raise not_utf8(path, 1, e, f" at offset {e.start} of the file") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def table_of_rows(
    path: Path, rows: Sequence[tuple[int, list[str]]], own: OwnData, unit: str = ""
) -> Table:
    """The table of (line, fields), the first of which is the header; errors as `read_table`."""
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    (line, header), body = rows[0], rows[1:]
    _find_columns(f"{path}:{line}", header, own)
    for line, row in body:
        if len(row) != len(header):
            fields = f"{len(row)} field{'s' * (len(row) != 1)}"
            raise ValueError(f"{path}:{line}: {fields}, the header has {len(header)}")
    values = list(zip(*(row for _, row in body), strict=True)) or [()] * len(header)

    def column(i: int) -> list[str]:
        return [value.strip() for value in values[i]]

    return _columns(path, header, column, [line for line, _ in body], unit, own)


def _parquet(path: Path, raw: bytes, own: OwnData) -> Table:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        check_unpacked(path, file)
        header = file.schema_arrow.names
        _find_columns(str(path), header, own)
        data = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not a Parquet file ({e})") from e
    return arrow_table(path, data, own)


def _arrow(path: Path, raw: bytes, own: OwnData) -> Table:
    """Arrow, as a stream (Hugging Face's `save_to_disk`) or a file (Feather), or JSON lines."""
    import pyarrow as pa
    import pyarrow.ipc  # type: ignore[import-untyped]
    import pyarrow.json  # type: ignore[import-untyped]

    try:
        if path.suffix.lower() == ".arrow":
            opened = pa.ipc.open_file if raw.startswith(b"ARROW1") else pa.ipc.open_stream
            data = opened(pa.BufferReader(raw)).read_all()
            data.validate(full=True)  # offsets of a damaged file point anywhere in memory
        else:
            data = pa.json.read_json(pa.BufferReader(raw))
        check_claim(path, data.nbytes, data.num_rows)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: cannot be read as {path.suffix[1:]} ({e})") from e
    return arrow_table(path, data, own)


def arrow_table(path: Path, data: Any, own: OwnData) -> Table:
    """The rows of an Arrow table, as `read_table` reads those of Parquet; errors likewise."""
    import pyarrow as pa

    header = data.schema.names
    found = _find_columns(str(path), header, own)
    for i in found.values():
        kind = data.schema.field(i).type
        if pa.types.is_nested(kind):
            raise ValueError(
                f"{path}: column {header[i]!r} holds {kind} in each row; several labels need a "
                "column each: --label-column A,B,C"
            )

    def column(i: int) -> list[str]:
        if pa.types.is_nested(data.schema.field(i).type):
            return [""] * data.num_rows
        return column_texts(path, header[i], data.column(i))  # a name may be there twice

    return _columns(path, header, column, range(1, data.num_rows + 1), "row ", own)


def column_texts(path: Path, name: str, column: Any, row: int = 1) -> list[str]:
    """The values of a column of Arrow as CSV would have them, "" for none.

    Args:
        path: of the file, for messages.
        name: of the column, for messages.
        column: N values.
        row: number of the first.

    Raises:
        ValueError: bytes that are not UTF-8.
    """
    import pyarrow as pa

    try:
        values = column.to_pylist()
    except (UnicodeDecodeError, pa.ArrowException) as e:
        raise ValueError(f"{path}: column {name!r}: text that is not UTF-8 ({e})") from e
    return [_arrow_text(path, name, i, value) for i, value in enumerate(values, start=row)]


def _arrow_text(path: Path, name: str, row: int, value: Any) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as e:
            raise ValueError(f"{path}:row {row}: column {name!r} is binary, not text: {e}") from e
    return "" if value is None or value != value else str(value).strip()


def _columns(
    path: Path, header: Sequence[str], column: Callable[[int], list[str]], lines: Iterable[int],
    unit: str, own: OwnData,
) -> Table:  # fmt: skip
    found = _find_columns(str(path), header, own)
    labels = [i for role, i in found.items() if role.startswith("label")]
    values = {role: column(i) for role, i in found.items() if not role.startswith("label")}
    targets = {header[i].strip(): column(i) for i in labels}
    if own.every:
        targets["label"] = [own.every] * len(values["sequence"])
    used = set(found.values())
    names = Counter(h.strip() for i, h in enumerate(header) if i not in used)
    return Table(
        path, values["sequence"], next(iter(targets.values())), values.get("split"),
        values.get("id"), np.fromiter(lines, np.int64), unit,
        targets=targets if len(targets) > 1 else {},
        others={h.strip(): column(i) for i, h in enumerate(header) if i not in used},
        twice=frozenset(name for name, n in names.items() if n > 1),
    )  # fmt: skip


def _find_columns(place: str, header: Sequence[str], own: OwnData) -> dict[str, int]:
    """Role -> position of the columns that we read; several labels are label, label 2, ..."""
    names = [name.strip().lower() for name in header]
    asked = {"sequence": own.sequence, "id": own.id, "split": own.split}
    found = {}
    for role, spellings in NAMES.items():
        if role == "label" and own.every:
            continue
        if role == "label" and own.label:
            for k, name in enumerate(own.label):
                found[f"label {k + 1}" if k else "label"] = _position(place, header, name, role)
            continue
        if asked.get(role) == "none":
            continue
        if wanted := asked.get(role):
            found[role] = _position(place, header, wanted, role)
            continue
        at = [i for i, n in enumerate(names) if n in spellings]
        if len(at) > 1:
            raise ValueError(f"{place}: two columns are named {role!r}; remove one")
        if not at and role in ("sequence", "label"):
            raise ValueError(
                f"{place}: no column {role!r}; found {listed(header)}. The header must name the "
                f"columns sequence and label, and may name split and id; or say which it is: "
                f"--{role}-column NAME" + (" (several: A,B,C)" if role == "label" else "")
            )
        if at:
            found[role] = at[0]
    return found


def listed(header: Sequence[str]) -> str:
    """The names of columns as the file writes them, the first 20 letters of each."""
    return ", ".join(name.strip()[:20] for name in header)


def _position(place: str, header: Sequence[str], wanted: str, role: str) -> int:
    at = [i for i, n in enumerate(header) if n.strip().lower() == wanted.strip().lower()]
    if len(at) != 1:
        how = "two columns are" if at else "no column is"
        found = listed(header)
        raise ValueError(f"{place}: --{role}-column {wanted}: {how} named so; found {found}")
    return at[0]


def _fasta(path: Path, text: str, own: OwnData) -> Table:
    head, *records = ("\n" + text).split("\n>")
    if head.strip():
        line = len(head) - len(head.lstrip())
        raise ValueError(f"{path}:{line}: a FASTA file begins with '>', not {head.strip()[:20]!r}")
    lines = head.count("\n") + 1 + np.cumsum([0, *(r.count("\n") + 1 for r in records)])[:-1]
    parts = [record.partition("\n") for record in records]
    written = [header for header, _, _ in parts]
    fields = fields_beside if own.every else fasta_fields
    headers = fields(written, own.header, lambda i: f"{path}:{lines[i]}")
    sequences = ["".join(body.split()) for _, _, body in parts]
    names = headers.pop("id", None)
    distinct = names is not None and len(set(names)) == len(names) and "" not in names
    labels = [own.every] * len(written) if own.every else headers.pop("label")
    splits = headers.pop("split", None)
    return Table(
        path, sequences, labels, splits, names if distinct else None, lines, others=headers
    )
