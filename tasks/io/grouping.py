"""The groups of `--split-by`: the values of a column, or the files of a folder.

N rows of all tables, one table after the other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnabench.tasks.io.shards import series_of
from dnabench.tasks.io.table import MISSING, Table
from dnabench.types import Array, OwnData

_NO_USE = {"EXCLUDE", "EXCLUDED", "IGNORE", "IGNORED", "UNUSED", "DISCARD", "DISCARDED"}
_UNKNOWN = {"", ".", *(word.upper() for word in MISSING)}


def group_values(
    path: Path, tables: Sequence[Table], by: str, own: OwnData
) -> tuple[Array, list[str]]:
    """The value of every row in the column to split by.

    Args:
        path: of the task; that of a folder where its files may be the groups.
        tables: its files.
        by: the column, in any case, or "file".
        own: the groups that are named, which are meant even where they are called NA.

    Returns:
        str (N,), and what to say about it.

    Raises:
        ValueError: no such column, or two.
    """
    files = by == "file" and (path.is_dir() or not any(_named(table, by) for table in tables))
    columns = [_column(table, by, files) for table in tables]
    notes = [f"split by {by}: {len({v for column in columns for v in column})} groups"]
    if not files:
        notes += [*_unknown(tables, columns, by, own), *_left_out(columns, by, own)]
    elif any(_named(table, by) for table in tables):
        notes.append("column file is not used: the groups are the files of the folder")
    if by.lower() != "split" and any(table.splits is not None for table in tables):
        notes.append("column split is not used, because of --split-by")
    return np.array([value for column in columns for value in column]), notes


def held_groups(
    path: Path, by: str, known: Sequence[str], own: OwnData
) -> tuple[list[str], list[str]]:
    """The groups that are test and those that are dev, as the data write them.

    Args:
        path: of the task, for messages.
        by: the column.
        known: its values. Whole numbers of Parquet, 1.0, may be named 1.
        own: the groups that were asked for.

    Raises:
        ValueError: a group that is not there, one that is both, or only one in all.
    """
    short = {v.removesuffix(".0"): v for v in known if re.fullmatch(r"-?\d+\.0", v)}
    found = []
    for flag, wanted in (("test", own.test_groups), ("dev", own.dev_groups)):
        names = [name if name in known else short.get(name, "") for name in wanted]
        for name, group in zip(wanted, names, strict=True):
            if group not in known:
                listed = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
                raise ValueError(f"{path}: --{flag}-groups {name}: {by} has {listed}")
        found.append(names)
    if both := set(found[0]) & set(found[1]):
        raise ValueError(f"{path}: {both.pop()} is in --test-groups and in --dev-groups")
    if len(known) < 2:
        raise ValueError(f"{path}: --split-by {by}: every row has {known[0]!r} there")
    return found[0], found[1]


def _named(table: Table, by: str) -> list[str]:
    """The columns of that name, in any case; one that the header has twice is there twice."""
    return [
        name
        for name in table.others
        for _ in range(1 + (name in table.twice))
        if name.lower() == by.lower()
    ]


def _column(table: Table, by: str, files: bool) -> Sequence[str]:
    if files:
        return [series_of(table.path)] * len(table.labels)
    found = _named(table, by)
    if len(found) > 1:
        raise ValueError(
            f"{table.path}: --split-by {by}: two columns are named so ({' and '.join(found)}); "
            "rename one"
        )
    if found:
        return table.others[found[0]]
    if by.lower() == "split" and table.splits is not None:
        return table.splits
    listed = ", ".join(table.others) or "no other columns"
    raise ValueError(f"{table.path}: --split-by {by}: no such column; there are {listed}")


def _left_out(columns: Sequence[Sequence[str]], by: str, own: OwnData) -> list[str]:
    """A warning of groups whose name says that their rows are not for use."""
    named = {*own.test_groups, *own.dev_groups}
    rows = [v for column in columns for v in column if v.upper() in _NO_USE and v not in named]
    if not rows:
        return []
    listed = ", ".join(map(repr, sorted({*rows})))
    are = "is" if len(rows) == 1 else "are"
    return [
        f"warning: {_rows(len(rows))} {by} {listed} and {are} used as every other group; remove "
        "what is to be left out"
    ]


def _rows(n: int) -> str:
    return "1 row has" if n == 1 else f"{n:,} rows have"


def _unknown(
    tables: Sequence[Table], columns: Sequence[Sequence[str]], by: str, own: OwnData
) -> list[str]:
    """A warning of rows whose group is blank, or a word for a missing value."""
    named = {*own.test_groups, *own.dev_groups}
    rows = [
        (table.place(i), value)
        for table, column in zip(tables, columns, strict=True)
        for i, value in enumerate(column)
        if value.upper() in _UNKNOWN and value not in named
    ]
    if not rows:
        return []
    listed = ", ".join(repr(word) if word else "nothing" for word in sorted({v for _, v in rows}))
    return [
        f"warning: {_rows(len(rows))} no {by} ({listed}), the first is {rows[0][0]}; those of "
        "a word count as one group, though they may belong to any; give them one or remove them"
    ]
