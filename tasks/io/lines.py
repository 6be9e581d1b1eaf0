"""Lines of text files, and the fields of CSV and TSV: one reader for labelled and other data."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from dnabench.tasks.io.bounds import lines_within, opened_gzip


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines without their end, of a text file, plain or gzipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty, broken gzip, or not text.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    with path.open("rb") as f:
        zipped = f.read(2) == b"\x1f\x8b"
    yield from text_lines(path, opened_gzip(path) if zipped else path.open("rb"))


def text_lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, str]]:
    r"""Line numbers, from 1, and lines without their end: \n, \r\n or \r. The file is closed.

    Raises:
        ValueError: it is empty, broken gzip, not UTF-8, or has a line beyond the limit.
    """
    number = 0
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig") as text:  # a byte order mark is left out
            for number, line in enumerate(lines_within(path, text), start=1):
                yield number, line.rstrip("\r\n")
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise ValueError(f"{path}: not a complete gzip file ({e})") from e
    except UnicodeDecodeError as e:
        raise not_utf8(path, number + 1, e) from None
    if not number:
        raise ValueError(f"{path}: the file is empty")


def not_utf8(path: Path, line: int, e: UnicodeDecodeError, where: str = "") -> ValueError:
    """What to raise for bytes that are no text, which begin in `line`; `where` says more."""
    before = e.object[: e.start]
    line += before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")
    byte = e.object[e.start]
    return ValueError(f"{path}:{line}: byte 0x{byte:02x}{where} is not UTF-8; save it as UTF-8")


def rows_of(
    path: Path, lines: Iterable[tuple[int, str]], kind: str
) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every line that is not blank; the first are the names of the columns.

    Args:
        path: of the file, for messages.
        lines: their numbers, and texts without line ends.
        kind: "tsv", or "csv", whose separator is found in its first line.

    Raises:
        ValueError: a quote that does not close in its line.
    """
    csv.field_size_limit(sys.maxsize)  # a sequence may be longer than the usual 131,072
    separator = "\t" if kind == "tsv" else ""
    for line, text in lines:
        if not text.strip():
            continue
        # spreadsheets write ; in some countries
        separator = separator or next((s for s in ",;\t" if s in text), ",")
        row = _quoted(path, line, text, separator) if '"' in text else text.split(separator)
        if any(map(str.strip, row)):
            yield line, row


def _quoted(path: Path, line: int, text: str, separator: str) -> list[str]:
    """The fields of a line with quotes, which may follow a blank."""
    reader = csv.reader([text, ""], delimiter=separator, skipinitialspace=True)
    row = next(reader)
    if text.count('"') % 2 or reader.line_num > 1:  # it reads on where a quote is open
        raise ValueError(
            f'{path}:{line}: a quote (") opens in this line and is not closed in it; remove it, '
            "DNA needs none"
        )
    return row
