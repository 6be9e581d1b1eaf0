"""Limits on what a small file may unpack to in memory."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

MOST_UNPACKED, MOST_TIMES = 1 << 30, 200  # bytes, times the file: both exceeded = refused
MOST_TEXT = 1 << 28  # bytes that any small gzip file may unpack to
MOST_ROWS = 1_000_000  # that a Parquet file with fewer bytes may say it has


def gunzipped(path: Path, raw: bytes) -> bytes:
    """The text of a gzip file.

    Raises:
        ValueError: it is damaged, or unpacks to over 256 MiB and 200 times its bytes.
    """
    limit = max(MOST_TEXT, MOST_TIMES * len(raw))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            unpacked = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: not a complete gzip file ({e})") from e
    if len(unpacked) > limit:
        raise ValueError(
            f"{path}: unpacks to more than {MOST_TIMES} times its {len(raw):,} bytes; a file "
            "made to fill memory, or unpack it yourself"
        )
    return unpacked


def check_unpacked(path: Path, file: Any) -> None:
    """Refuse a Parquet file that says it holds more than memory should.

    Raises:
        ValueError: over a GiB and 200 times the file's bytes, or more rows than bytes.
    """
    groups, here = range(file.metadata.num_row_groups), path.stat().st_size
    size = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    rows = file.metadata.num_rows
    if size > max(MOST_UNPACKED, MOST_TIMES * here) or rows > max(MOST_ROWS, here):
        raise ValueError(
            f"{path}: {rows:,} rows, {size:,} bytes unpacked, in a file of {here:,} bytes; a "
            "damaged file, or one made to fill memory"
        )
