"""Which reader a user's own file needs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from dnabench.tasks.io.parsing import read_table
from dnabench.tasks.io.plain import class_folder, is_plain, plain_table, read_lines
from dnabench.tasks.io.region_table import NEGATIVE, POSITIVE, region_table
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.sheets import is_sheet, sheet_table
from dnabench.tasks.io.table import Table, check_table
from dnabench.tasks.io.variants import is_variants, variant_table
from dnabench.types import OwnData

# what changes a table changes its hash: these are no part of the data id themselves
READING = {"genome", "length", "negatives", "negatives_seed", "labels", "sheet", "every"}


def on_genome(path: Path) -> bool:
    """Whether the file has places in a genome and no sequences."""
    return is_regions(path) or is_variants(path)


def read_own(path: Path, own: OwnData) -> Table:
    """Read one of the user's own files, whichever its format; errors as from `read_table`.

    A file has labels of its own; those of `own.labels`, a line each; or one for all its rows, where
    it is of positives or of negatives.
    """
    if is_regions(path):
        return region_table(path, own)
    if is_variants(path):
        return variant_table(path, own)
    if path.is_dir():
        return class_folder(path)
    if own.negatives:
        label = NEGATIVE if path == Path(own.negatives) else POSITIVE
        return _hashed(_read(path, replace(own, every=label)), label)
    if own.labels:
        return _with_labels(_read(path, replace(own, every=POSITIVE)), Path(own.labels))
    return _read(path, own)


def _read(path: Path, own: OwnData) -> Table:
    if is_plain(path):
        return plain_table(path, own)
    if is_sheet(path):
        return _hashed(sheet_table(path, own), own.sheet)
    return read_table(path, own)


def _with_labels(table: Table, path: Path) -> Table:
    labels, sha = read_lines(path)
    n = len(table.sequences)
    if len(labels) != n:
        raise ValueError(
            f"{path}: {len(labels):,} label{'s' * (len(labels) != 1)}, but {table.path} has {n:,} "
            f"sequence{'s' * (n != 1)}; give a label a line, in their order and without a header"
        )
    if "" in labels:
        raise ValueError(f"{path}:{labels.index('') + 1}: empty label")
    table = replace(table, labels=labels)
    check_table(table)
    return _hashed(table, sha)


def _hashed(table: Table, also: str) -> Table:
    """The table with a hash that depends on something else, too."""
    if not also:
        return table
    sha = hashlib.sha256(f"{table.sha256} {also}".encode()).hexdigest()
    return replace(table, sha256=sha)
