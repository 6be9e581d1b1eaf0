"""Genome coordinates in a user's file: columns chrom, start, end, or names such as chr1:100-300.

N rows of a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnabench.tasks.audit.links import Places
from dnabench.tasks.io.parsing import Table
from dnabench.types import Array

CHROMOSOME = {"chrom", "chr", "chromosome", "#chrom", "seqname", "seqnames", "contig", "seqid"}
START = {"start", "chromstart", "chrom_start", "start_pos", "begin"}
END = {"end", "chromend", "chrom_end", "end_pos", "stop"}
GENOME = {"assembly", "genome", "genome_build", "build", "species", "organism"}
# what comes before :: is a name, as in headers of `bedtools getfasta -name`
_NAME = re.compile(r"(?:\S*::)?(\S+?):([\d,]+)-([\d,]+)(\([+-]\)|:[+-])?")


class Found(NamedTuple):
    """Coordinates of some tables. used: the columns they come from; () = there are none."""

    places: Places | None
    used: tuple[str, ...]


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
        The coordinates, where every table has them in every row.
    """
    parts = [_of_table(table, bp) for table, bp in zip(tables, lengths, strict=True)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return Found(None, ())
    names, a, b = (np.concatenate([p[i] for p in known]) for i in range(3))
    number = np.unique(names, return_inverse=True)[1]
    return Found(Places(number.astype(np.int64), np.minimum(a, b), np.maximum(a, b)), known[0][3])


def _of_table(table: Table, lengths: Array) -> tuple[Array, Array, Array, tuple[str, ...]] | None:
    columns = {name.lower(): name for name in table.others}
    chromosome, begin, finish, genome = (
        next((columns[n] for n in columns if n in names), "")
        for names in (CHROMOSOME, START, END, GENOME)
    )
    if chromosome and begin:
        start = _whole(table.others[begin])
        end = _whole(table.others[finish]) if finish else None
        if start is not None:
            names = _with_genome(table.others[chromosome], table.others, genome)
            used = tuple(name for name in (genome, chromosome, begin, finish) if name)
            return names, start, start + lengths if end is None else end, used
    named = {"id": table.ids or (), **table.others}
    for column, values in named.items():
        matches = [_NAME.fullmatch(value) for value in values]
        if matches and all(matches):
            on, first, last = zip(*(m.groups()[:3] for m in matches if m), strict=True)
            start, end = (_whole([v.replace(",", "") for v in part]) for part in (first, last))
            if start is not None and end is not None:
                return _with_genome(on, table.others, genome), start, end, (column,)
    return None


def _with_genome(names: Sequence[str], others: Mapping[str, Sequence[str]], genome: str) -> Array:
    """Chromosomes of different genomes are different ones."""
    if not genome:
        return np.array(names, str)
    return np.array([f"{g} {n}" for g, n in zip(others[genome], names, strict=True)])


def _whole(values: Sequence[str]) -> Array | None:
    """int64 (N,); None where a value is no position."""
    if not all(v.removesuffix(".0").isdecimal() and len(v) < 16 for v in values):
        return None
    return np.array([int(v.removesuffix(".0")) for v in values], np.int64)
