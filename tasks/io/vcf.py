"""The columns of a line of VCF, and the fields of INFO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

COLUMNS = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")


def columns_of(path: Path, number: int, text: str) -> list[str]:
    """COLUMNS of a line of VCF; those of samples are not read.

    Raises:
        ValueError: too few columns, or POS is no position.
    """
    row = text.split("\t", len(COLUMNS))[: len(COLUMNS)]
    if len(row) < len(COLUMNS):
        raise ValueError(
            f"{path}:{number}: {len(row)} tab-separated column{'s' * (len(row) != 1)}, VCF has "
            f"{len(COLUMNS)} or more"
        )
    if not re.fullmatch("0*[0-9]{1,12}", row[1]):
        raise ValueError(
            f"{path}:{number}: POS {row[1]!r} is no position; VCF counts from 1 (0: a telomere)"
        )
    return row


def flag_in_all(
    path: Path, line: int, name: str, value: str | None, first: dict[bool, tuple[int, str]]
) -> None:
    """Note that a line has a field of INFO, without a value (a flag) or with one.

    Args:
        path: of the file.
        line: its number.
        name: of the field.
        value: None = a flag.
        first: the first line and value of either kind, which is changed here.

    Raises:
        ValueError: other lines have it in the other way: whether lines without the field have a
            label could only be guessed.
    """
    first.setdefault(value is None, (line, value or ""))
    if len(first) == 2:
        (bare, _), (valued, said) = first[True], first[False]
        raise ValueError(
            f"{path}:{bare}: INFO has {name} without a value, but line {valued} has {name}={said}; "
            f"a field is a flag in every line or in none: write {name}=VALUE, or {name}=. where it "
            "is not known"
        )


def info_of(text: str) -> Mapping[str, str | None]:
    """The fields of INFO; None is the value of a flag."""
    pairs = (part.partition("=") for part in text.split(";") if part not in ("", "."))
    return {key: value if equals else None for key, equals, value in pairs}
