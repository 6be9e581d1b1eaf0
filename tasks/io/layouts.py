"""Layouts of benchmark data on disk: recognised by names, read in pieces.

A layout is a function in LAYOUTS that yields its finds in a tree; `read` gives the examples.
"""

from __future__ import annotations

import importlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dnabench.registry import TASKS
from dnabench.tasks.io.chunks import tables, values
from dnabench.tasks.io.headers import SPLIT_WORDS
from dnabench.tasks.io.imported import SPLITS, Cached
from dnabench.tasks.io.parsing import format_of, stem_of
from dnabench.tasks.io.table import Table
from dnabench.types import Array, LetterError, Sequences, Split, SplitName, Task

CLASS_FOLDERS = "class folders of .txt"
TASK_COLUMN = "column task"
SPLIT_COLUMN = "column split"
FORMAT_NAMES = {"fasta": "FASTA", "csv": "CSV", "tsv": "TSV", "parquet": "Parquet"}
OWN_FILES = "the suite's own files"
OWN = ("bend", "deepsea", "deepstarr")  # modules with NAME, recognise and import_files
_SHARD = re.compile(r"[-_.]\d+-of-\d+$")
_TEXTS = 4096  # files of one sequence read at a time


class Place(NamedTuple):
    """A folder of the tree: the files that may hold sequences, and whether it has .txt files."""

    folder: Path
    files: tuple[Path, ...]
    has_texts: bool


class Found(NamedTuple):
    """The files of a task.

    files: of each split, in reading order; class folders for CLASS_FOLDERS. pick: the value of the
    column task for this task, where one file holds many.
    """

    task: str
    layout: str
    files: dict[SplitName, tuple[Path, ...]]
    pick: str = ""


Match = Callable[..., list[str]]  # as `Names.match`
Layout = Callable[[Sequence[Place], Match], Iterator[Found]]


def walk(root: Path) -> list[Place]:
    """Every folder below `root`, which may also be a file, in sorted order.

    Links to folders and hidden folders are skipped; links to files are read, since the hub's cache
    consists of them.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or directory")
    if root.is_file():
        return [Place(root.parent, (root,), False)]
    places = []
    for at, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        shown = sorted(name for name in names if not name.startswith("."))
        files = tuple(path for name in shown if format_of(path := Path(at, name)))
        places.append(Place(Path(at), files, any(name.endswith(".txt") for name in shown)))
    return places


def class_folders(places: Sequence[Place], match: Match) -> Iterator[Found]:
    """<task>/{train,test}/<class>/*.txt, one sequence per file, as in Genomic Benchmarks."""
    groups: dict[Path, dict[SplitName, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for place in places:
        split = SPLIT_WORDS.get(place.folder.parent.name.lower())
        if place.has_texts and split:
            groups[place.folder.parent.parent][split].append(place.folder)
    for folder, splits in groups.items():
        files = {split: tuple(sorted(found)) for split, found in splits.items()}
        yield from (Found(task, CLASS_FOLDERS, files) for task in match(folder))


def task_column(places: Sequence[Place], match: Match) -> Iterator[Found]:
    """Files of many tasks with a column task; the split is in the file's name."""
    groups: dict[tuple[str, str], dict[SplitName, list[Path]]] = {}
    for place in places:
        for path in place.files:
            split = split_word(stem_of(path)) or SPLIT_WORDS.get(place.folder.name.lower())
            for value in _quiet_values(path, "task") if split else ():
                for task in match(place.folder, value):
                    files = groups.setdefault((task, value), {})
                    files.setdefault(split, []).append(path)  # type: ignore[arg-type]
    for (task, value), splits in groups.items():
        yield Found(task, TASK_COLUMN, {s: tuple(paths) for s, paths in splits.items()}, value)


def labelled_files(places: Sequence[Place], match: Match) -> Iterator[Found]:
    """One file per split, in a folder named after the task or with its name in the file's.

    `H3/H3_train.fasta`, `H3/train.fna`, `EMP/H3/train.csv`, `H3/train/0000.parquet`,
    `train-00000-of-00002.parquet`.
    """
    groups: dict[tuple[str, Path, str], dict[SplitName, list[Path]]] = {}
    for place in places:
        for path in place.files:
            split, home, tasks = _claim(path, match)
            if split and not _quiet_values(path, "task"):
                for task in tasks:
                    key = (task, home, FORMAT_NAMES[format_of(path) or ""])
                    groups.setdefault(key, {}).setdefault(split, []).append(path)
    for (task, _, layout), splits in groups.items():
        yield Found(task, layout, {split: tuple(paths) for split, paths in splits.items()})


def split_column(places: Sequence[Place], match: Match) -> Iterator[Found]:
    """One file named after the task, with a column split: train, dev or test."""
    for place in places:
        for path in place.files:
            if split_word(stem_of(path)) or not (tasks := match(path.parent, stem_of(path))):
                continue
            found = {SPLIT_WORDS.get(v.lower()) for v in _quiet_values(path, "split")} - {None}
            if found:
                files: dict[SplitName, tuple[Path, ...]] = {s: (path,) for s in found if s}
                yield from (Found(task, SPLIT_COLUMN, files) for task in tasks)


def own_files(places: Sequence[Place], match: Match) -> Iterator[Found]:
    """Suites whose modules read their own formats: BEND, DeepSEA, DeepSTARR."""
    for module in _own_modules():
        for place in places:
            if files := module.recognise(place.folder):
                yield Found(module.NAME, OWN_FILES, files)


LAYOUTS: dict[str, Layout] = {
    OWN_FILES: own_files,
    CLASS_FOLDERS: class_folders,
    TASK_COLUMN: task_column,
    SPLIT_COLUMN: split_column,
    "a file a split": labelled_files,
}


def split_word(stem: str) -> SplitName | None:
    """The split named by a word of a file name, between `_`, `-` and `.`; None without one."""
    found = {SPLIT_WORDS[w] for w in re.split(r"[_.\-]", stem.lower()) if w in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def _claim(path: Path, match: Match) -> tuple[SplitName | None, Path, list[str]]:
    """Split, folder of the task, and the tasks it may be, judging by names."""
    stem, folder = _SHARD.sub("", stem_of(path)), path.parent
    split = split_word(stem)
    if split:
        words = re.split(r"[_.\-]", stem)
        rest = "_".join(word for word in words if word.lower() not in SPLIT_WORDS)
    else:
        split, folder, rest = SPLIT_WORDS.get(folder.name.lower()), folder.parent, stem
    tasks = match(folder, rest) if rest else []
    return split, folder, tasks or match(folder)


def _quiet_values(path: Path, column: str) -> list[str]:
    try:
        return values(path, column)
    except (ValueError, OSError):
        return []  # reading the file will report what is wrong


def read(found: Found) -> Iterator[tuple[SplitName, Split]]:
    """The examples, in pieces, split after split.

    Ids are those of the file, or `split:row` with rows from 1.

    Raises:
        ValueError: a file cannot be read, a letter is not DNA, a label is not a class of the task;
            with file and line.
    """
    task = TASKS[found.task]
    if task.kind not in ("binary", "multiclass"):
        raise ValueError(f"{task.name} is {task.kind}; these files have one label per sequence")
    if found.layout == CLASS_FOLDERS:
        yield from _read_class_folders(task, found.files)
    elif found.layout == SPLIT_COLUMN:
        yield from _read_split_column(task, next(iter(found.files.values()))[0])
    else:
        for split, paths in found.files.items():
            _check_shards(split, paths)
            yield from _read_files(task, split, paths, found.pick)


def import_own(found: Found) -> Cached:
    """Import what `own_files` found."""
    module = next(module for module in _own_modules() if found.task == module.NAME)
    first = next(iter(found.files.values()))[0]
    return cast("Cached", module.import_files(first.parent))


def _own_modules() -> Iterator[Any]:
    for name in OWN:
        with suppress(ImportError):
            yield importlib.import_module(f"dnabench.tasks.{name}")


def _check_shards(split: SplitName, paths: Sequence[Path]) -> None:
    shards = all(_SHARD.search(stem_of(path)) for path in paths)
    numbered = all(stem_of(path).isdigit() for path in paths)
    if len(paths) > 1 and not shards and not numbered:
        raise ValueError(
            f"{paths[0].parent}: {' and '.join(path.name for path in paths[:3])} all claim the "
            f"{split} split; remove or rename all but one"
        )


def _read_files(
    task: Task, split: SplitName, paths: Sequence[Path], pick: str
) -> Iterator[tuple[SplitName, Split]]:
    done = 0
    for path in paths:
        for table in tables(path, pick):
            _check_split_column(table, split)
            rows = np.arange(len(table.labels))
            yield split, _examples(task, split, table, rows, done)
            done += len(rows)


def _check_split_column(table: Table, split: SplitName) -> None:
    for i, word in enumerate(table.splits or ()):
        if SPLIT_WORDS.get(word.lower()) != split:
            raise ValueError(f"{table.place(i)}: split {word!r} in a file named {split}")


def _read_split_column(task: Task, path: Path) -> Iterator[tuple[SplitName, Split]]:
    done: dict[SplitName, int] = defaultdict(int)
    for table in tables(path):
        names = np.array([SPLIT_WORDS.get(word.lower(), "") for word in table.splits or ()])
        if (names == "").any():
            place = table.place(int(np.argmax(names == "")))
            raise ValueError(f"{place}: the split must be train, dev (val, validation) or test")
        for split in SPLITS:
            if len(rows := np.flatnonzero(names == split)):
                yield split, _examples(task, split, table, rows, done[split])
                done[split] += len(rows)


def _examples(task: Task, split: SplitName, table: Table, rows: Array, done: int) -> Split:
    y = _codes(task, table)[rows]
    ids = [table.ids[i] for i in rows] if table.ids else _numbered(split, done, len(rows))
    return Split(table.encode(rows), y, np.array(ids))


def _numbered(split: str, done: int, n: int) -> list[str]:
    return [f"{split}:{i}" for i in range(done + 1, done + n + 1)]


def _codes(task: Task, table: Table) -> Array:
    """int64 (N,): the labels as classes of the task, by name or by number."""
    names, inverse = np.unique(np.array(table.labels), return_inverse=True)
    codes = [_code(name, task.classes) for name in names.tolist()]
    if None in codes:
        name = str(names[codes.index(None)])
        raise ValueError(
            f"{table.place(table.labels.index(name))}: label {name!r} is not a class of "
            f"{task.name}; they are {', '.join(task.classes)}, or 0 to {len(task.classes) - 1}"
        )
    return np.array(codes, np.int64)[inverse]


def _code(label: str, classes: tuple[str, ...]) -> int | None:
    folded = [name.lower() for name in classes]
    if label.lower() in folded:
        return folded.index(label.lower())
    if re.fullmatch(r"\d{1,9}(\.0*)?", label) and float(label) < len(classes):
        return int(float(label))
    return None


def _read_class_folders(
    task: Task, files: Mapping[SplitName, Sequence[Path]]
) -> Iterator[tuple[SplitName, Split]]:
    for split, folders in files.items():
        for folder in folders:
            code = _code(folder.name, task.classes)
            if code is None or folder.name.isdigit():
                raise ValueError(
                    f"{folder}: no class of {task.name} is called {folder.name!r}; they are "
                    f"{', '.join(task.classes)}"
                )
            paths = sorted(folder.glob("*.txt"))
            for first in range(0, len(paths), _TEXTS):
                some = paths[first : first + _TEXTS]
                ids = np.array([f"{folder.name}/{path.stem}" for path in some])
                yield split, Split(_texts(some), np.full(len(some), code, np.int64), ids)


def _texts(paths: Sequence[Path]) -> Sequences:
    texts = ["".join(path.read_text("utf-8", "replace").split()) for path in paths]
    if "" in texts:
        raise ValueError(f"{paths[texts.index('')]}: the file is empty")
    try:
        return Sequences.parse(texts)
    except LetterError as e:
        raise ValueError(
            f"{paths[e.index]}: sequence has {e.letter!r} at position {e.position} (from 0); only "
            "A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None
