"""Which example of a user's files is in which split: as they say, by groups, or by a draw.

N rows of all tables, one table after the other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.splits import class_on_one_side, held_out, in_groups, numbered
from dnabench.tasks.io.doubtful import (
    as_splits,
    doubtful_columns,
    file_may_be_split,
    refuse_doubtful,
)
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.grouping import group_values, held_groups
from dnabench.tasks.io.headers import SPLIT_WORDS
from dnabench.tasks.io.parsing import IN_FOLDERS, is_readable, stem_of
from dnabench.tasks.io.places import chromosome_column
from dnabench.tasks.io.plain import is_class_file
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.shards import check_whole, saved_files, series_of
from dnabench.tasks.io.sheets import is_sheet
from dnabench.tasks.io.table import Table
from dnabench.tasks.io.variants import is_variants
from dnabench.types import Array, OwnData, Split, SplitName

TEST_SHARE = 0.2  # of train, where the data have no test split


class File(NamedTuple):
    """A file of a folder, and the split that its name says; None = all splits."""

    path: Path
    split: SplitName | None


class Stated(NamedTuple):
    """What the files say of each row.

    names: (N,) train, dev or test. group: (N,) the value of the column that was split by, or None.
    origin: where the test split comes from, "" = there is none. used: columns. notes: in words.
    """

    names: Array
    group: Array | None
    origin: str
    used: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_files(path: Path, own: OwnData) -> tuple[list[File], tuple[str, ...]]:
    """The files of a task, and what to say about others in the folder.

    The split of a file is the word train, dev, val, valid, validation or test in its name, between
    `_`, `-` and `.`.

    Raises:
        ValueError: no file named train, two for one split, one whose name may mean a split.
    """
    if not path.is_dir():
        return [File(file, None) for file in _with_negatives(path, own)], ()
    if own.negatives:
        raise ValueError(f"{path}: --negatives goes with one file of positives, not with a folder")
    if own.labels:
        raise ValueError(f"{path}: --labels goes with one file of sequences, not with a folder")
    shown = [f for f in sorted(path.iterdir()) if f.is_file() and not f.name.startswith(".")]
    readable = [f for f in shown if is_readable(f) or is_sheet(f)]
    if not readable and (found_inside := _saved(path) or _class_folders(path)):
        return found_inside
    if not readable and (path / "data").is_dir():
        files, notes = find_files(path / "data", own)
        return files, (f"read from {path / 'data'}", *notes)
    if not readable:
        raise ValueError(f"{path}: no file here has an accepted extension: {IN_FOLDERS}")
    if own.split_by == "file":
        for series in {series_of(f): None for f in readable}:
            check_whole(series, [f for f in readable if series_of(f) == series])
        return [File(f, None) for f in readable], ()
    found: dict[SplitName, list[Path]] = {}
    ignored = []
    for file in shown:
        claims = _claims(file)
        if file not in readable:
            if claims and _looks_tabular(file):
                raise ValueError(
                    f"{file}: its name says {claims[0]}, but the extension is none of "
                    f"{IN_FOLDERS}; rename it, or move it away"
                )
            continue
        if len(claims) > 1:
            raise ValueError(
                f"{file}: the name says {' and '.join(claims)}; a file holds one split"
            )
        if not claims:
            ignored.append(file)
        for split in claims:
            found.setdefault(split, []).append(file)
    for split, own_files in found.items():
        check_whole(split, own_files)
    if "train" not in found:
        raise ValueError(
            f"{path}: no file here is named train; found {few([f.name for f in readable])}; "
            "say which is which: --split-by file --test-groups NAME"
        )
    for file in ignored:
        if file_may_be_split(stem_of(file)):
            raise ValueError(
                f"{file}: the name looks like a split, but not which one; rename it to test or "
                "dev, move it away, or write --split-by file --test-groups "
                f"{shlex.quote(stem_of(file))}"
            )
    return [File(f, split) for split, files in found.items() for f in files], _not_read(ignored)


def _saved(path: Path) -> tuple[list[File], tuple[str, ...]] | None:
    """The shards of a folder that Hugging Face's `save_to_disk` wrote; None without any."""
    shards, others = list[File](), list[Path]()
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and (split := SPLIT_WORDS.get(folder.name.lower())):
            read, beside = saved_files(folder, split)
            shards += [File(file, split) for file in read]
            others += beside
    return (shards, _not_read(others)) if shards else None


def _with_negatives(path: Path, own: OwnData) -> list[Path]:
    """The file, and that of its negatives unless both are regions of a genome."""
    if not own.negatives or is_regions(path) or is_variants(path):
        return [path]
    if path == Path(own.negatives):
        raise ValueError(f"{path}: the same file is of positives and of negatives")
    return [path, Path(own.negatives)]


def _class_folders(path: Path) -> tuple[list[File], tuple[str, ...]] | None:
    """The folders of classes in train/CLASS/*.txt, test/CLASS/*.txt; None without any."""
    folders = [f for f in _shown(path) if f.is_dir()]
    splits = {f: SPLIT_WORDS.get(f.name.lower()) for f in folders}
    classes = [(c, split) for f, split in splits.items() if split for c in _shown(f)]
    if not any(any(map(is_class_file, _shown(c))) for c, _ in classes if c.is_dir()):
        return None
    for folder in (f for f, split in splits.items() if not split):
        raise ValueError(
            f"{folder}: the folders beside it are splits, and {folder.name!r} is none; rename it "
            "to test or dev, or move it away"
        )
    for one, _ in classes:
        inside = _shown(one) if one.is_dir() else []
        wrong = next((f for f in inside if not is_class_file(f)), None if inside else one)
        if wrong:
            raise ValueError(
                f"{wrong}: a class is a folder of .txt files (or .txt.gz), a sequence in each, and "
                f"this is {_instead(wrong)}; rename or convert it, or move it away"
            )
    return [File(c, split) for c, split in classes], (
        "classes are folders, a sequence in each file",
    )


def _shown(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if not f.name.startswith("."))


def _instead(path: Path) -> str:
    if path.is_dir():
        return "a folder in a class" if _shown(path) else "an empty folder"
    return f"a file {path.suffix or 'without an extension'}"


def _not_read(ignored: Sequence[Path]) -> tuple[str, ...]:
    return (f"ignored files: {', '.join(f.name for f in ignored)}",) if ignored else ()


def _words(file: Path) -> list[str]:
    return re.split(r"[_.\-]", stem_of(file).lower())


def _claims(file: Path) -> list[SplitName]:
    return sorted({SPLIT_WORDS[w] for w in _words(file) if w in SPLIT_WORDS})


def _looks_tabular(file: Path) -> bool:
    """A text of lines, or a table in a format that is not read; not a README or a picture."""
    name = file.name.lower().removesuffix(".gz")
    return name.endswith((".txt", ".tab", ".dat", ".data", ".seq", ".ffn", ".bed", ".xls", ".pkl"))


def stated(path: Path, files: Sequence[File], tables: Sequence[Table], own: OwnData) -> Stated:
    """Read the split of every row: from the column to split by, from a column split, from files.

    Raises:
        ValueError: a word that is no split, a column that may be one, groups that do not exist.
    """
    by = own.split_by
    if not by and (own.test_groups or own.dev_groups):
        by = chromosome_column(tables)
        if not by:
            raise ValueError(
                f"{path}: --test-groups without a column of chromosomes; name one: --split-by "
                "COLUMN"
            )
    if by and by != "homology":
        return _by_groups(path, by, tables, own)
    parts, used, notes, origin = [], set(), [], ""
    divided = any(file.split == "test" for file in files)
    columns = [_split_column(table, own, divided) for table in tables]
    if own.negatives and not by:
        _check_both(tables, [column is not None for column, _ in columns])
    for (file, owner), table, (column, name) in zip(files, tables, columns, strict=True):
        if by == "homology":
            column, owner = None, "train"
        if name and by != "homology":
            used.add(name)
            notes += [f"the split is column {name!r}"] if name != "split" else []
        parts.append(_split_names(table, column, owner, own))
        if "test" in parts[-1]:
            place = f"folder {file.parent.name}" if file.is_dir() else f"file {file.name}"
            origin = place if owner else f"column {name}"
    return Stated(np.concatenate(parts), None, origin, tuple(used), tuple(dict.fromkeys(notes)))


def _check_both(tables: Sequence[Table], have: Sequence[bool]) -> None:
    """ValueError where the positives have a split and the negatives none, or the reverse."""
    if any(have) and not all(have):
        has, lacks = tables[have.index(True)].path, tables[have.index(False)].path
        raise ValueError(
            f"{lacks}: no split, but {has} has one, so that a split would lack a class; give both "
            "a column split (FASTA: >name|split), or draw the test split: --split-column none"
        )


def _split_column(table: Table, own: OwnData, divided: bool) -> tuple[Sequence[str] | None, str]:
    """The column of splits and its name: split, or another that holds nothing but split words."""
    if own.split == "none":
        return None, ""
    if table.splits is not None:
        return table.splits, own.split or "split"
    if own.split_by:
        return None, ""
    words = {name: {v.lower() for v in values} for name, values in table.others.items()}
    sure = [n for n, w in words.items() if len(w) > 1 and w <= SPLIT_WORDS.keys() and "train" in
            {SPLIT_WORDS[x] for x in w}]  # fmt: skip
    if len(sure) == 1 and sure[0] not in table.twice:
        return table.others[sure[0]], sure[0]
    for name in sure or doubtful_columns(table, divided):
        refuse_doubtful(table, name, own)
    return None, ""


def _split_names(
    table: Table, column: Sequence[str] | None, owner: SplitName | None, own: OwnData
) -> Array:
    """The split of every row, from its column or the file's name, which must agree."""
    if column is None:
        return np.full(len(table.labels), owner or "train")
    meant: Mapping[str, SplitName] = as_splits(own.split, column) if own.split else {}
    names = [SPLIT_WORDS.get(word.lower(), meant.get(word, "")) for word in column]
    for i, name in enumerate(names):
        if not name:
            raise ValueError(
                f"{table.place(i)}: split {column[i]!r}; it must be train, dev (or val, "
                "valid, validation) or test"
            )
        if owner and name != owner:
            raise ValueError(f"{table.place(i)}: split {column[i]!r} in a file named {owner}")
    return np.array(names)


def _by_groups(path: Path, by: str, tables: Sequence[Table], own: OwnData) -> Stated:
    group, notes = group_values(path, tables, by, own)
    test, dev = held_groups(path, by, np.unique(group).tolist(), own)
    names = np.full(len(group), "train")
    names[np.isin(group, dev)] = "dev"
    names[np.isin(group, test)] = "test"
    origin = f"{by} {', '.join(test)}" if test else ""
    return Stated(names, group, origin, (by,), tuple(notes))


def set_aside(
    path: Path, rows: Split, own: OwnData, classes: Sequence[str], together: bool
) -> tuple[Array, str]:
    """Draw a test split from train.

    Args:
        path: of the data, for messages.
        rows: the training examples, N of them.
        own: the seed of the draw.
        classes: their names.
        together: keep groups on one side.

    Returns:
        bool (N,), and what to say where the share is another than asked for.

    Raises:
        ValueError: nothing can be set aside, or a class would be on one side only.
    """
    picked = held_out(rows, TEST_SHARE, own.split_seed, together)
    if not picked.any():
        groups = 0 if rows.clusters is None else int(numbered(rows.clusters).max()) + 1
        why = (
            f"all {len(rows.y):,} examples are in {groups} groups of related sequences, and a "
            "group stays on one side; bring a test split, or cut at random with --no-leak-check"
            if together and groups < len(rows.y) and groups < 3
            else "no class has two different sequences, so none can be set aside"
        )
        if rows.y.ndim == 1 and len(classes) > max(10, len(rows.y) // 2):
            why += f"; is {classes[0][:40]!r} a label? there are {len(classes)} of them"
        raise ValueError(f"{path}: there is no test split, and {why}")
    if together and (lost := class_on_one_side(rows, picked)) is not None:
        raise ValueError(
            f"{path}: there is no test split, and class {classes[lost]!r} cannot be in both train "
            f"and test: {in_groups(rows, lost)} stays on one side; bring a test split (a split "
            "column, a file test, or --split-by COLUMN --test-groups NAME), or cut at random with "
            "--no-leak-check and no --split-by"
        )
    share = picked.mean()
    if together and abs(share - TEST_SHARE) > 0.02 and len(rows.y) >= 50:
        largest = np.bincount(numbered(rows.clusters)).max() / len(rows.y)
        return picked, (
            f"{share:.1%} of the examples are test, not {TEST_SHARE:.0%}: a group stays on one "
            f"side, and the largest holds {largest:.1%}"
        )
    return picked, ""
