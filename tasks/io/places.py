"""Genome coordinates in a user's file: columns chrom, start, end, or names such as chr1:100-300.

N rows of a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnabench.tasks.audit.links import Places
from dnabench.tasks.io.table import MISSING, Table
from dnabench.types import Array

CHROMOSOME = {"chrom", "chr", "chromosome", "#chrom", "seqname", "seqnames", "contig", "seqid"}
START = {"start", "chromstart", "chrom_start", "start_pos", "begin"}
END = {"end", "chromend", "chrom_end", "end_pos", "stop"}
GENOME = {"assembly", "genome", "genome_build", "build", "species", "organism"}
# what comes before :: is a name, as in headers of `bedtools getfasta -name`
_WHOLE = re.compile(r"\d{1,15}(\.0)?")
_POWER = re.compile(r"\d(\.\d{1,14})?[eE]\+?\d{1,2}")  # R writes 100000 as 1e+05
_UNKNOWN = {"", ".", *MISSING}
_NAME = re.compile(r"(?:\S*::)?(\S+?):([\d,]+)-([\d,]+)(\([+-]\)|:[+-])?")


class Found(NamedTuple):
    """Coordinates of some tables.

    used: the columns they come from; () = there are none. notes: on rows without. also: what to
    hash, where coordinates are read that were not in data ids of before.
    """

    places: Places | None
    used: tuple[str, ...]
    notes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


class _Part(NamedTuple):
    """Chromosome, start, end of N rows, start -1 where they are not known; as in `Found`."""

    names: Array
    start: Array
    end: Array
    used: tuple[str, ...]
    odd: bool = False  # some are not known, or written as 1e+05


def chromosome_column(tables: Sequence[Table]) -> str:
    """The name of the column of chromosomes; "" = there is none in all tables."""
    names = [name for name in tables[0].others if name.lower() in CHROMOSOME]
    return next((n for n in names if all(n in t.others for t in tables)), "")


def find_places(tables: Sequence[Table], lengths: Sequence[Array]) -> Found:
    """Read the coordinates of all rows, one table after the other.

    Args:
        tables: T of them.
        lengths: for each int64 (N,), bp of its sequences, for files without a column of ends.

    Returns:
        The coordinates, where every table has them. A row without is unknown; a value that is no
        position makes them unknown for all, and a warning names it.
    """
    parts = list[_Part]()
    notes = list[str]()
    for table, bp in zip(tables, lengths, strict=True):
        part = _of_table(table, bp)
        if isinstance(part, _Part):
            parts.append(part)
        elif part:
            notes.append(part)
    if len(parts) < len(tables):
        return Found(None, (), tuple(notes))
    start, end = (np.concatenate([getattr(p, name) for p in parts]) for name in ("start", "end"))
    number = np.unique(np.concatenate([p.names for p in parts]), return_inverse=True)[1]
    unknown = start < 0
    if unknown.all():
        return Found(None, ())
    number = np.where(unknown, -1, number).astype(np.int64)
    places = Places(number, np.minimum(start, end), np.maximum(start, end))
    if unknown.any():
        notes.append(f"rows without coordinates: {int(unknown.sum()):,} of {len(unknown):,}")
    also = ("coordinates=some",) if any(part.odd for part in parts) else ()
    return Found(places, parts[0].used, tuple(notes), also)


def _of_table(table: Table, lengths: Array) -> _Part | str:
    """The coordinates of a table; else a warning of a value that is none, or ""."""
    columns = {name.lower(): name for name in table.others}
    chromosome, begin, finish, genome = (
        next((columns[n] for n in columns if n in names), "")
        for names in (CHROMOSOME, START, END, GENOME)
    )
    starts = table.others[begin] if chromosome and begin else ()
    plain = all(map(_WHOLE.fullmatch, starts))
    if starts and plain:
        return _columns(table, (genome, chromosome, begin, finish), lengths)
    named = {"id": table.ids or (), **table.others}
    for column, values in named.items():
        matches = [_NAME.fullmatch(value) for value in values]
        if matches and all(matches):
            on, first, last = zip(*(m.groups()[:3] for m in matches if m), strict=True)
            start, end = ([v.replace(",", "") for v in part] for part in (first, last))
            if all(map(_WHOLE.fullmatch, [*start, *end])):
                names = _with_genome(on, table.others, genome)
                return _Part(names, _whole(start), _whole(end), (column,))
    for i, value in enumerate(starts):
        if value not in _UNKNOWN and not _WHOLE.fullmatch(value) and not _is_power(value):
            return (
                f"warning: coordinates are not used: {table.place(i)}: {begin} {value!r} is no "
                "position; windows that overlap may be on both sides of a cut"
            )
    if starts:
        return _columns(table, (genome, chromosome, begin, finish), lengths)._replace(odd=True)
    return ""


def _columns(table: Table, names: tuple[str, str, str, str], lengths: Array) -> _Part:
    """The columns of genome, chromosome, start and end, the first and the last of them perhaps "".

    Ends that are no positions are those of the sequences.
    """
    genome, chromosome, begin, finish = names
    start = _whole(table.others[begin])
    ends = table.others[finish] if finish else ("",)
    end = _whole(ends) if all(map(_WHOLE.fullmatch, ends)) else start + lengths
    known = _with_genome(table.others[chromosome], table.others, genome)
    return _Part(known, start, end, tuple(name for name in names if name))


def _with_genome(names: Sequence[str], others: Mapping[str, Sequence[str]], genome: str) -> Array:
    """Chromosomes of different genomes are different ones."""
    if not genome:
        return np.array(names, str)
    return np.array([f"{g} {n}" for g, n in zip(others[genome], names, strict=True)])


def _is_power(value: str) -> bool:
    return bool(_POWER.fullmatch(value)) and float(value).is_integer() and float(value) < 1e15


def _whole(values: Sequence[str]) -> Array:
    """int64 (N,); -1 where there is none."""
    return np.array([-1 if v in _UNKNOWN else int(float(v)) for v in values], np.int64)
