"""Regions of a genome in a file: BED, narrowPeak and their like. M regions of one file.

Positions are from 0 with exclusive ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.lines import lines_of
from dnabench.types import Array

SUFFIXES = (".bed", ".narrowpeak", ".broadpeak")
COMMENTS = ("#", "track", "browser")
SCORE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.IGNORECASE)
SUMMIT = 9  # column of a narrowPeak file, from 0: bp from the start, -1 = not known


class Regions(NamedTuple):
    """Regions as a file has them.

    chrom, strand: (M,) str; strand is + or -, or . for not known. start, end, middle: int64 (M,);
    middle is the base that a window is centred on. line: int64 (M,). names: M, or () where the file
    has no column of names, or . alone in it. summits: whether the file
    is one of summits, as narrowPeak. known: regions whose summit it gives, which is their middle.
    """

    path: Path
    chrom: Array
    start: Array
    end: Array
    middle: Array
    strand: Array
    line: Array
    names: Sequence[str]
    summits: bool
    known: int

    def windows(self, length: int) -> tuple[Array, Array]:
        """Start and end of a window of each region: int64 (M,) each.

        Base `length // 2` of a window, counted from 0 on the region's strand, is the middle. A
        length of 0 gives the regions themselves.
        """
        if not length:
            return self.start, self.end
        before = np.where(self.strand == "-", (length - 1) // 2, length // 2)
        return self.middle - before, self.middle - before + length


def is_regions(path: Path) -> bool:
    """Whether the extension is that of a file of regions."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_regions(path: Path) -> Regions:
    """Read BED (3 or more columns), narrowPeak or broadPeak, plain or gzipped.

    The middle of a narrowPeak region is its summit; a file of another name with ten columns, the
    last of which can be a summit, counts as narrowPeak where columns 7 to 9 are numbers and the
    seventh is no position.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is none of BED, with file, line and reason; no regions.
    """
    rows, lines = list[list[str]](), list[int]()
    for number, fields in _rows(path):
        if rows and len(fields) != len(rows[0]):
            raise ValueError(
                f"{path}:{number}: {len(fields)} columns, the first region has {len(rows[0])}"
            )
        rows.append(fields)
        lines.append(number)
    if not rows:
        raise ValueError(f"{path}: no regions, the file has only comments")
    columns: list[Sequence[str]] = list(zip(*rows, strict=True))
    start, end = (
        _positions(path, lines, columns[i], name) for i, name in ((1, "start"), (2, "end"))
    )
    for i in np.flatnonzero(start >= end)[:1]:
        raise ValueError(
            f"{path}:{lines[i]}: start {start[i]}, end {end[i]}; BED counts from 0, and the end is "
            "the base after the last, so the start must be before it"
        )
    strand = np.array(columns[5] if len(columns) > 5 else ["."] * len(rows))
    for i in np.flatnonzero(~np.isin(strand, ("+", "-", ".")))[:1]:
        raise ValueError(
            f"{path}:{lines[i]}: strand {str(strand[i])!r} in column 6; it must be +, - or ."
        )
    half = (end - start) // 2
    middle = np.where(strand == "-", end - 1 - half, start + half)
    summit = _summits(path, lines, columns, end - start)
    if summit is not None:
        middle = np.where(summit < 0, middle, start + summit)
    names = columns[3] if len(columns) > 3 and set(columns[3]) != {"."} else ()
    return Regions(
        path, np.array(columns[0]), start, end, middle, strand, np.array(lines, np.int64), names,
        summit is not None, 0 if summit is None else int((summit >= 0).sum()),
    )  # fmt: skip


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every region."""
    first = True
    for number, text in lines_of(path):
        if not text.strip() or text.startswith(COMMENTS):
            continue
        fields = text.split("\t") if "\t" in text else text.split()
        fields = [field.strip() for field in fields]
        if len(fields) < 3:
            raise ValueError(
                f"{path}:{number}: {len(fields)} column{'s' * (len(fields) != 1)}, BED has "
                f"chromosome, start and end first: {text[:60]!r}"
            )
        if first and fields[1].lower().replace("_", "") in ("start", "chromstart"):
            continue  # a header
        first = False
        yield number, fields


def _positions(path: Path, lines: Sequence[int], texts: Sequence[str], what: str) -> Array:
    for line, text in zip(lines, texts, strict=True):
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise ValueError(f"{path}:{line}: {what} {text!r} is no position in a genome")
    return np.array(texts).astype(np.int64)


def _summits(
    path: Path, lines: Sequence[int], columns: Sequence[Sequence[str]], bp: Array
) -> Array | None:
    """Bases from the start of each region to its summit, -1 = not known; None: not narrowPeak."""
    declared = path.name.lower().removesuffix(".gz").endswith(".narrowpeak")
    if len(columns) != SUMMIT + 1:
        if declared:
            raise ValueError(
                f"{path}:{lines[0]}: {len(columns)} columns, narrowPeak has 10, the last of which "
                "is the summit; name the file .bed if it has none"
            )
        return None
    texts = columns[SUMMIT]
    number = re.compile(r"-?[0-9]{1,15}")
    wrong = next((i for i, text in enumerate(texts) if not number.fullmatch(text)), -1)
    offset = np.array(texts).astype(np.int64) if wrong < 0 else np.zeros(len(bp), np.int64)
    if wrong < 0 and ((offset < -1) | (offset >= bp)).any():
        wrong = int(np.argmax((offset < -1) | (offset >= bp)))
    if wrong >= 0 and declared:
        raise ValueError(
            f"{path}:{lines[wrong]}: summit {texts[wrong]!r} in the tenth column; it must be the "
            f"bp from the start of the region, which has {bp[wrong]}, or -1"
        )
    if wrong >= 0 or not (declared or _has_scores(columns)):
        return None
    return offset


def _has_scores(columns: Sequence[Sequence[str]]) -> bool:
    """Whether columns 7 to 9 are numbers, as in narrowPeak, and the seventh is no position."""
    return columns[6] != columns[1] and all(
        SCORE.fullmatch(text) for column in columns[6:SUMMIT] for text in column
    )
