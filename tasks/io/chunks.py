"""Reading large files of labelled sequences in pieces, and recognising files that are not data.

The common case is read here in pieces; anything unusual (quotes, odd rows, bad bytes) is left to
`parsing.read_table`, which reads the whole file and reports what is wrong with it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnabench.tasks.io.bounds import check_line, check_unpacked, opened_gzip
from dnabench.tasks.io.parsing import column_texts, format_of, read_table
from dnabench.tasks.io.table import Table
from dnabench.types import Array

BLOCK = 8 << 20  # bytes of text at a time
BATCH = 16_384  # rows of Parquet at a time
SPELLINGS = {
    "sequence": ("sequence", "seq"),
    "label": ("label",),
    "split": ("split",),
    "id": ("id", "name"),
    "task": ("task",),
}
_NO_DATA = (
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page, not data: a login, quota or error "
     "page was saved in its place"),
    (rb"\s*<\?xml", "an XML document, not data: a server's error message was saved in its place"),
    (rb"version https://git-lfs", "a git-lfs pointer, not data: run `git lfs pull`"),
    (rb"\s*[{\[]\s*(\"error\"|\"message\"|\"detail\")", "a server's error message, not data"),
)  # fmt: skip


def check_content(path: Path) -> None:
    """Check the first bytes of a file.

    Raises:
        ValueError: it is empty, an HTML page, a server's error message or a git-lfs pointer.
    """
    start = _opened_start(path)
    if not start:
        raise ValueError(f"{path}: the file is empty")
    for pattern, what in _NO_DATA:
        if re.match(pattern, start, re.IGNORECASE):
            raise ValueError(f"{path}: {what}; get it again")
    if format_of(path) == "parquet" and not start.startswith(b"PAR1"):
        raise ValueError(f"{path}: not a Parquet file, it begins with {start[:12]!r}; get it again")


def tables(path: Path, pick: str = "") -> Iterator[Table]:
    """The rows of a file in pieces of a few megabytes, with their places in the file.

    Args:
        path: CSV, TSV, FASTA (plain or .gz) or Parquet, as for `read_table`; without a column id,
            a column name is used.
        pick: only the rows with this value in the column task.

    Raises:
        ValueError: as for `read_table` and `check_content`.
    """
    check_content(path)
    kind = format_of(path)
    if kind == "parquet":
        yield from _parquet(path, pick)
        return
    done = 0
    for table in _fasta(path) if kind == "fasta" else _delimited(path, pick):
        if table is None:
            if pick:
                raise ValueError(f"{path}: a file with a column task must be plain rows, no quotes")
            yield from _rest(read_table(path), done)
            return
        done += len(table.labels)
        yield table
    if not done:
        raise ValueError(f"{path}: no sequences, the file has no rows")


def values(path: Path, column: str) -> list[str]:
    """The distinct values of a column (task or split), sorted; [] without such a column."""
    check_content(path)
    kind = format_of(path)
    if kind == "fasta":
        return []
    if kind == "parquet":
        with _parquet_file(path) as file:
            found = _columns(file.schema_arrow.names)
            if column not in found:
                return []
            name = file.schema_arrow.names[found[column]]
            groups = range(file.num_row_groups)
            chunks = (file.read_row_group(i, [name]).column(0).unique() for i in groups)
            return sorted({v for chunk in chunks for v in column_texts(path, name, chunk)} - {""})
    seen: set[str] = set()
    with suppress(OSError, EOFError, zlib.error, UnicodeDecodeError):  # reading will report it
        with _opened(path) as file:
            separator, found = _header(file.readline(BLOCK).decode("utf-8-sig"))
        if column not in found:
            return []
        for line, text in _blocks(path):
            rows = text.split("\n")[line == 1 :]
            fields = (row.split(separator) for row in rows)
            seen |= {f[found[column]].strip() for f in fields if len(f) > found[column]}
    return sorted(seen - {""})


def _rest(table: Table, done: int) -> Iterator[Table]:
    """The rows after those already read."""
    for first in range(done, len(table.labels), BATCH):
        rows = slice(first, first + BATCH)
        yield replace(
            table,
            sequences=table.sequences[rows],
            labels=table.labels[rows],
            splits=table.splits and table.splits[rows],
            ids=table.ids and table.ids[rows],
            lines=np.asarray(table.lines)[rows],
        )


def _delimited(path: Path, pick: str) -> Iterator[Table | None]:
    """Tables; None where this reader cannot go on."""
    separator, found, width = "", dict[str, int](), 0
    try:
        for line, text in _blocks(path):
            if '"' in text:
                yield None
                return
            lines = text.split("\n")
            if not found:
                separator, found = _header(text)
                width = lines[0].count(separator) + 1
                lines[0] = ""
            numbers = np.flatnonzero([bool(row.strip()) for row in lines])
            rows = [lines[i].split(separator) for i in numbers]
            if not {"sequence", "label"} <= set(found) or any(len(r) != width for r in rows):
                yield None
                return
            if pick:
                wanted = [row[found["task"]].strip() == pick for row in rows]
                rows = [row for row, is_wanted in zip(rows, wanted, strict=True) if is_wanted]
                numbers = numbers[wanted]
            columns = {name: [row[i].strip() for row in rows] for name, i in found.items()}
            if rows:
                yield _table(path, columns, numbers + line)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        yield None


def _table(path: Path, columns: dict[str, list[str]], lines: Array, unit: str = "") -> Table | None:
    if "" in columns["sequence"] or "" in columns["label"]:
        return None
    return Table(
        path,
        columns["sequence"],
        columns["label"],
        columns.get("split"),
        columns.get("id"),
        lines,
        unit,
    )


def _header(text: str) -> tuple[str, dict[str, int]]:
    """Separator, and positions of the columns that we read."""
    first = text.partition("\n")[0]
    separator = next((s for s in ",;\t" if s in first), ",")
    return separator, _columns(first.split(separator))


def _columns(header: list[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    places = {
        column: [names.index(s) for s in spellings if s in names]
        for column, spellings in SPELLINGS.items()
    }
    return {column: found[0] for column, found in places.items() if found}


def _fasta(path: Path) -> Iterator[Table | None]:
    """Tables; None where this reader cannot go on."""
    try:
        for line, text in _blocks(path, "\n>"):
            records = ("\n" + text).split("\n>")
            headers, _, bodies = zip(*(r.partition("\n") for r in records[1:]), strict=True)
            names, bars, labels = zip(*(h.rpartition("|") for h in headers), strict=True)
            columns = {
                "id": [name.strip() for name in names],
                "label": [label.strip() for label in labels],
                "sequence": ["".join(body.split()) for body in bodies],
            }
            starts = np.cumsum([0, *(r.count("\n") + 1 for r in records[1:-1])])
            table = _table(path, columns, starts + line)
            if table is None or records[0].strip() or "" in bars or "" in columns["id"]:
                yield None
                return
            yield table
    except (OSError, EOFError, ValueError, zlib.error):
        yield None


def _blocks(path: Path, cut: str = "\n") -> Iterator[tuple[int, str]]:
    """(line from 1, text) of pieces that end at a line, or at a record."""
    mark, left, line = cut.encode(), b"", 1
    with _opened(path) as file:
        while True:
            raw = file.read(BLOCK)
            block = left + raw
            if line == 1 and not left:
                block = block.removeprefix(b"\xef\xbb\xbf")  # a byte order mark
            at = block.rfind(mark) + 1 if raw else len(block)
            if not raw and not block:
                return
            block, left = block[:at], block[at:]
            check_line(path, line, len(left))
            if block:
                text = block.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
                yield line, text.removesuffix("\n")
                line += block.count(b"\n")
            if not raw:
                return


def _opened(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return opened_gzip(path)
    return path.open("rb")


def _opened_start(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(512)
    if start[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError, zlib.error), gzip.open(path) as unpacked:
            start = unpacked.read(512)
    return start


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a complete Parquet file ({e}); get it again") from e
    check_unpacked(path, file)
    return file


def _parquet(path: Path, pick: str) -> Iterator[Table]:
    import pyarrow as pa

    row = 1
    with _parquet_file(path) as file:
        header = file.schema_arrow.names
        found = _columns(header)
        if not {"sequence", "label"} <= set(found):
            raise ValueError(f"{path}: no columns sequence and label; found {', '.join(header)}")
        try:
            for group in range(file.num_row_groups):
                wanted = {name: header[i] for name, i in found.items() if name != "task" or pick}
                for batch in file.iter_batches(BATCH, [group], list(wanted.values())):
                    at = np.arange(row, row + len(batch))
                    row += len(batch)
                    yield from _rows(path, batch, wanted, at, pick)
        except (pa.ArrowException, OSError) as e:
            raise ValueError(f"{path}: not a complete Parquet file ({e}); get it again") from e
    if row == 1:
        raise ValueError(f"{path}: no sequences, the file has no rows")


def _rows(
    path: Path, batch: Any, wanted: dict[str, str], numbers: Array, pick: str
) -> Iterator[Table]:
    columns = {
        name: column_texts(path, header, batch.column(header), int(numbers[0]))
        for name, header in wanted.items()
    }
    if pick:
        rows = [i for i, value in enumerate(columns.pop("task")) if value == pick]
        columns = {name: [column[i] for i in rows] for name, column in columns.items()}
        numbers = numbers[rows]
    for name in ("sequence", "label"):
        if "" in columns[name]:
            row = numbers[columns[name].index("")]
            raise ValueError(f"{path}:row {row}: empty {name}")
    if len(numbers):
        yield Table(
            path,
            columns["sequence"],
            columns["label"],
            columns.get("split"),
            columns.get("id"),
            numbers,
            "row ",
        )
