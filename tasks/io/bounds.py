"""Limits on what a small file may unpack to, and on the length of a line.

A file is read when it unpacks to at most MOST_TIMES its bytes, or to a size that does no harm. The
environment variable DNABENCH_LIMITS says by how much every limit on files is larger.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, AnyStr

MOST_TIMES = 200  # below 10 for DNA as text, near 1,000 for a file made to fill memory
MOST_TEXT = 1 << 26  # bytes that any gzip file, however small, may unpack to
MOST_UNPACKED = 1 << 30  # bytes that any Parquet, HDF5 or MATLAB file may unpack to
MOST_ROWS = 1_000_000  # that a file with fewer bytes may say it has
MOST_LINE = 1 << 29  # bytes of a line, where lines are read one by one
PART = 1 << 20  # bytes that are unpacked at once
LIMITS = "DNABENCH_LIMITS"
RAISE = f"raise every limit tenfold: {LIMITS}=10 in the environment"
ADVICE = (
    f"a damaged file, or one made to fill memory; if it is neither, unpack it yourself, or {RAISE}"
)


def raised(limit: int) -> int:
    """A limit on files, with what the environment says.

    Raises:
        ValueError: the environment names no number of 1 or more.
    """
    said = os.environ.get(LIMITS) or "1"
    try:
        times = float(said)
    except ValueError:
        times = math.nan
    if not 1 <= times <= 1e6:
        raise ValueError(f"{LIMITS}={said}: give by how much limits on files are larger, 1 or more")
    return int(limit * times)


def gunzipped(path: Path, raw: bytes) -> bytes:
    """The text of a gzip file.

    Raises:
        ValueError: it is damaged, or unpacks to over 64 MiB and 200 times its bytes, or to more
            than fits in memory.
    """
    limit = raised(max(MOST_TEXT, MOST_TIMES * len(raw)))
    unpacked, size = io.BytesIO(), 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            while size <= limit and (part := file.read(PART)):
                size += len(part)
                unpacked.write(part)
    except (OSError, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: not a complete gzip file ({e})") from e
    except MemoryError as e:
        raise ValueError(
            f"{path}: its {len(raw):,} bytes unpack to {size:,} or more, which do "
            "not fit in memory; free some memory, or divide the file"
        ) from e
    if size > limit:
        raise ValueError(_too_much(path, limit, len(raw)))
    return unpacked.getvalue()


def opened_gzip(path: Path) -> IO[bytes]:
    """A gzip file to be read part by part; ValueError beyond the limit of `gunzipped`."""
    return io.BufferedReader(_Bounded(path), 1 << 16)


class _Bounded(io.RawIOBase):
    """What a gzip file unpacks to, up to its limit."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._file = gzip.open(path)  # noqa: SIM115 (`close` closes it)
        self._limit, self._read = raised(max(MOST_TEXT, MOST_TIMES * self._size)), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._file.readinto(buffer)
        self._read += n
        if self._read > self._limit:
            raise ValueError(_too_much(self._path, self._limit, self._size))
        return n

    def close(self) -> None:
        self._file.close()
        super().close()


def _too_much(path: Path, limit: int, size: int) -> str:
    return f"{path}: its {size:,} bytes unpack to more than {limit:,}: {ADVICE}"


def lines_within(path: Path, file: IO[AnyStr]) -> Iterator[AnyStr]:
    """The lines of a file with their ends; ValueError for one of over 512 MiB."""
    number, most = 0, raised(MOST_LINE)
    while line := file.readline(most + 1):
        number += 1
        check_line(path, number, len(line))
        yield line


def check_line(path: Path, number: int, size: int) -> None:
    """Raise ValueError for a line, numbered from 1, of more than MOST_LINE bytes."""
    if size > (most := raised(MOST_LINE)):
        raise ValueError(
            f"{path}:{number}: a line of more than {most:,} bytes; break long sequences into "
            f"lines, for example with seqkit seq -w 60, or {RAISE}"
        )


def check_unpacked(path: Path, file: Any) -> None:
    """Refuse a Parquet file that says it holds more than memory should.

    Raises:
        ValueError: over a GiB and 200 times the file's bytes, or more rows than bytes.
    """
    groups = range(file.metadata.num_row_groups)
    size = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    check_claim(path, size, file.metadata.num_rows)


def check_claim(path: Path, size: int, rows: int = 0) -> None:
    """Refuse a file by the bytes and the rows that it says it unpacks to.

    Raises:
        ValueError: over a GiB and 200 times the file's bytes, more rows than bytes and a million,
            a number below 0.
    """
    here = path.stat().st_size
    most = raised(max(MOST_UNPACKED, MOST_TIMES * here))
    most_rows = raised(max(MOST_ROWS, here))
    if not 0 <= size <= most or not 0 <= rows <= most_rows:
        said = f"{size:,} bytes" + f" in {rows:,} rows" * (rows != 0)
        raise ValueError(
            f"{path}: it says that its {here:,} bytes unpack to {said}; at most {most:,} bytes are "
            f"read: {ADVICE}"
        )
