"""Tables of variants in Parquet, as TraitGym has them: chrom, pos (from 1), ref, alt, and more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dnabench.probes.alleles import Allele, check_known
from dnabench.tasks.io.bounds import check_unpacked
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

if TYPE_CHECKING:
    from dnabench.probes.variants import Scored

COORDINATES = ("chrom", "pos", "ref", "alt")
GROUP, DISTANCE = "match_group", "tss_dist"
NEW = ("genome", "score", "reason")


def is_table(path: Path) -> bool:
    """Whether the extension is that of Parquet."""
    return path.suffix == ".parquet"


def read_table(path: Path, wanted: Sequence[str] = ()) -> Any:
    """A pyarrow table of variants.

    Args:
        path: Parquet.
        wanted: columns that it must have beside COORDINATES.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not Parquet, no variants, a column is missing or there twice, pos is no number,
            an empty coordinate, a position below 1.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or directory")
    try:
        with pq.ParquetFile(path) as file:
            check_unpacked(path, file)
            table = file.read()
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path}: not a complete Parquet file ({e}); get it again") from e
    names = table.column_names
    missing = [name for name in (*COORDINATES, *wanted) if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {few(missing)}; it has {few(names, 12)}")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{path} has several columns {few(twice)}; give each its own name")
    if not len(table):
        raise ValueError(f"{path}: no variants, the table has no rows")
    if not pa.types.is_integer(table.schema.field("pos").type):
        raise ValueError(
            f"{path}: pos is {table.schema.field('pos').type}; write whole numbers, from 1"
        )
    bad = table["pos"].fill_null(0).to_numpy() < 1
    for name in COORDINATES:
        bad |= table[name].is_null().to_numpy()
    if bad.any():
        i = int(np.argmax(bad))
        row = table.select(COORDINATES).slice(i, 1).to_pylist()[0]
        raise ValueError(
            f"{path}, row {i + 1}: {row}; every variant needs chrom, pos (from 1), ref and alt"
        )
    return table


def alleles_in(table: Any, path: Path, genome: Genome, label: str, group: str) -> list[Allele]:
    """Its variants in order; `line` is the row, from 1.

    Raises:
        ValueError: no sequence of the genome.
    """
    columns = [table[name].to_pylist() for name in COORDINATES]
    said = [_texts(table[name]) if name else [""] * len(table) for name in (label, group)]
    names = _texts(table["id"]) if "id" in table.column_names else ["."] * len(table)
    chroms = [str(name) for name in columns[0]]
    check_known(dict.fromkeys(chroms), path, genome)
    rows = zip(chroms, columns[1], names, columns[2], columns[3], *said, strict=True)
    return [
        Allele(i, chrom, pos - 1, name, ref.upper(), alt.upper(), one, own)
        for i, (chrom, pos, name, ref, alt, one, own) in enumerate(rows, 1)
    ]


def distances_in(table: Any) -> Array:
    """Bp to the start of a gene, of the column tss_dist: float64 (M,), NaN where there is none."""
    if DISTANCE not in table.column_names:
        return np.full(len(table), np.nan)
    return np.abs(numbers_in(table, DISTANCE))


def numbers_in(table: Any, name: str) -> Array:
    """A column as float64 (M,), NaN where it is empty.

    Raises:
        ValueError: it has no numbers.
    """
    import pyarrow as pa

    try:
        column = table[name].cast(pa.float64())
    except pa.ArrowException as e:
        raise ValueError(f"column {name} has {table.schema.field(name).type}, not numbers") from e
    return np.array(column.to_pylist(), np.float64)


def _texts(column: Any) -> list[str]:
    return ["" if v is None else str(v) for v in column.to_pylist()]


def check_new(table: Any, path: Path, new: Sequence[str]) -> None:
    """ValueError if the table has a column that is about to be written."""
    there = [name for name in new if name in table.column_names]
    if there:
        raise ValueError(f"{path} has a column {few(there)}, which is written here; rename it")


def write_scored(table: Any, scored: Sequence[Scored], out: IO[bytes]) -> None:
    """The table with NEW: what REF is to the genome, the score, and why there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = (
        [one.said for one in scored],
        [None if math.isnan(one.score) else one.score for one in scored],
        [one.why for one in scored],
    )
    for name, values in zip(NEW, columns, strict=True):
        kind = pa.float64() if name == "score" else pa.string()
        table = table.append_column(name, pa.array(values, kind))
    pq.write_table(table, out, compression="zstd")
