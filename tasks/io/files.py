"""A user's own data: a file, or a folder of train, dev and test files, becomes a task.

N examples, K classes, L length in bp.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.metrics import metrics_for
from dnabench.splits import held_out
from dnabench.tasks.io.parsing import ACCEPTED, Table, format_of, read_table, stem_of
from dnabench.types import Array, Kind, Split, SplitName, Task

TEST_SHARE = 0.2  # of train, where the data have no test split
TEST_SEED = 0  # of that draw, the same for every model and seed
SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
    "test": "test",
}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

Part = tuple[Table, Array]  # a file, and its rows that belong to one split


class Overlap(NamedTuple):
    """Examples that two splits share.

    shared: examples of the second split whose sequence is in the first.
    relabelled: those of them that the first also has, or only has, with another label.
    """

    shared: int
    relabelled: int


def task_from_path(path: Path, name: str | None = None, metric: str | None = None) -> Task:
    """Make a task of labelled sequences on disk. It is not registered.

    A file has columns sequence, label and perhaps split and id (CSV, TSV, Parquet), or headers
    name|label (FASTA). In a directory the split of a file is the word train, dev, val, valid,
    validation or test in its name, between `_`, `-` and `.`; other files are ignored. Without a
    test split, 20 % of each class of train become it, always the same ones. Labels are 0..K-1 or
    words; words are sorted, and all splits share one mapping.

    Args:
        path: the file or directory.
        name: of the task, prefixed with `data/` unless it has a slash; default: the path's stem.
        metric: primary; default mcc.

    Returns:
        The task, with all data read. Ids are those of the file, or `split:row` with rows from 1.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the data cannot be read as described, or the metric does not fit.
    """
    path = Path(path)
    tables = {split: read_table(file) for split, file in _files(path).items()}
    codes, classes = _label_codes(path, list(tables.values()))
    parts, origin = _parts(path, tables, codes)
    splits = {split: _split(split, part, codes) for split, part in parts.items()}
    _check_train(path, parts, splits["train"], classes)
    kind: Kind = "binary" if len(classes) == 2 else "multiclass"
    return Task(
        name=_task_name(path, name),
        kind=kind,
        classes=classes,
        metric=_metric(metric, kind),
        length=max(int(s.seqs.lengths.max()) for s in splits.values()),
        counts={split: len(s.y) for split, s in splits.items()},
        data=_digest(tables),
        load=partial(_pick, splits),
        source=f"{path}; test split: {origin}",
        license="not stated",
    )


def describe(task: Task) -> str:
    """A summary of a task's data, with warnings: lines of text.

    Kind, lengths, classes with their counts in each split, IUPAC ambiguity letters read as N, the
    origin of the test split, and sequences that test shares with train.
    """
    splits = {name: task.load(name) for name in task.counts}
    train, test = splits["train"], splits["test"]
    lengths = np.concatenate([s.seqs.lengths for s in splits.values()])
    ambiguous = sum(s.seqs.n_ambiguous for s in splits.values())
    both = overlap(train, test)
    return "\n".join(
        [
            f"{task.name}: {task.kind}, {task.n_outputs} classes, metric {task.metric}",
            f"source: {task.source}",
            f"lengths: {lengths.min()} to {lengths.max()} bp, median {np.median(lengths):g}",
            *_class_table(task, splits),
            f"IUPAC ambiguity letters read as N: {ambiguous}",
            f"test sequences that are also in train: {both.shared} of {len(test.y)}, "
            f"{both.relabelled} of them with another label",
            f"train sequences that have more than one label: {_contradictions(train)}",
            *(f"warning: {text}" for text in _warnings(task, splits, both)),
        ]
    )


def _warnings(task: Task, splits: Mapping[SplitName, Split], both: Overlap) -> list[str]:
    """Warnings of data that inflate scores, and of likely typos."""
    out = []
    if both.shared:
        out.append("test scores are inflated by sequences that the model saw in training")
    for i, name in enumerate(task.classes):
        if not (splits["test"].y == i).any():
            n = int((splits["train"].y == i).sum())
            out.append(f"class {name!r} has {n} examples in train and none in test; a typo?")
    folded = [name.lower() for name in task.classes]
    twins = [name for name in task.classes if folded.count(name.lower()) > 1]
    return [*out, *([f"classes differ only in case: {', '.join(twins)}"] if twins else [])]


def overlap(first: Split, second: Split) -> Overlap:
    """Count the examples of `second` whose sequence is in `first`, on the same strand."""
    labels = _labels_of(first)
    seen = [labels.get(seq, set()) for seq in _keys(second)]
    other = [bool(s - {y}) for s, y in zip(seen, second.y.tolist(), strict=True)]
    return Overlap(sum(map(bool, seen)), sum(other))


def _files(path: Path) -> dict[SplitName | None, Path]:
    """The file of every split; under None a file with all of them."""
    if not path.is_dir():
        return {None: path}
    readable = [f for f in sorted(path.iterdir()) if format_of(f) and not f.name.startswith(".")]
    if not readable:
        raise ValueError(f"{path}: no file here has an accepted extension: {ACCEPTED}")
    found: dict[SplitName | None, Path] = {}
    for file in readable:
        words = re.split(r"[_.\-]", stem_of(file).lower())
        claims = sorted({SPLIT_WORDS[w] for w in words if w in SPLIT_WORDS})
        if len(claims) > 1:
            raise ValueError(
                f"{file}: the name says {' and '.join(claims)}; a file holds one split"
            )
        for split in claims:
            if split in found:
                raise ValueError(
                    f"{path}: {found[split].name} and {file.name} both claim the {split} split; "
                    "remove or rename one"
                )
            found[split] = file
    if "train" not in found:
        raise ValueError(
            f"{path}: no file here is named train; found {', '.join(f.name for f in readable)}"
        )
    return found


def _label_codes(path: Path, tables: list[Table]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Label as written -> class index, and the names of the classes."""
    written = sorted({label for table in tables for label in table.labels})
    if len(written) < 2:
        raise ValueError(f"{path}: every label is {written[0]!r}; a task needs two classes or more")
    if not all(map(_NUMBER.fullmatch, written)):
        return {label: i for i, label in enumerate(written)}, tuple(written)
    codes = {label: _integer(label, tables) for label in written}
    values = sorted(set(codes.values()))
    if gap := [i for i, value in enumerate(values) if i != value]:
        listed = ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")
        raise ValueError(
            f"{path}: labels are {listed}: label {gap[0]} is missing; renumber them from 0 without "
            "gaps, or use words as labels"
        )
    if len(values) < 2:
        raise ValueError(f"{path}: every label is {values[0]}; a task needs two classes or more")
    return codes, tuple(map(str, values))


def _integer(label: str, tables: list[Table]) -> int:
    place = next(t.place(t.labels.index(label)) for t in tables if label in t.labels)
    value = float(label)
    if not value.is_integer():
        raise ValueError(
            f"{place}: label {label!r} is not a whole number; regression is not supported yet"
        )
    if value < 0:
        raise ValueError(
            f"{place}: label {label!r} is negative; renumber labels from 0, or use words as labels"
        )
    return int(value)


def _parts(
    path: Path, tables: Mapping[SplitName | None, Table], codes: Mapping[str, int]
) -> tuple[dict[SplitName, Part], str]:
    """The rows of every split, and where the test split comes from."""
    found: dict[SplitName, Part] = {}
    for owner, table in tables.items():
        names = _split_names(table, owner)
        for split in SPLIT_WORDS.values():
            if (rows := np.flatnonzero(names == split)).size:
                found[split] = table, rows
    if "train" not in found:
        raise ValueError(f"{path}: no row has split 'train'")
    if "test" in found:
        origin = "column split" if None in tables else f"file {found['test'][0].path.name}"
    else:
        found["train"], found["test"] = _set_aside(path, found["train"], codes)
        origin = "20 % of train in each class, set aside by dnabench because the data has none"
    return {s: found[s] for s in ("train", "dev", "test") if s in found}, origin


def _split_names(table: Table, owner: SplitName | None) -> Array:
    """The split of every row, from its column or the file's name, which must agree."""
    if table.splits is None:
        return np.full(len(table.labels), owner or "train")
    names = [SPLIT_WORDS.get(word.lower(), "") for word in table.splits]
    for i, name in enumerate(names):
        if not name:
            raise ValueError(
                f"{table.place(i)}: split {table.splits[i]!r}; it must be train, dev (or val, "
                "valid, validation) or test"
            )
        if owner and name != owner:
            raise ValueError(f"{table.place(i)}: split {table.splits[i]!r} in a file named {owner}")
    return np.array(names)


def _set_aside(path: Path, train: Part, codes: Mapping[str, int]) -> tuple[Part, Part]:
    table, rows = train
    picked = held_out(_split("train", train, codes), TEST_SHARE, TEST_SEED)
    if not picked.any():
        raise ValueError(
            f"{path}: there is no test split, and no class has two different sequences, so "
            "none can be set aside"
        )
    return (table, rows[~picked]), (table, rows[picked])


def _split(name: SplitName, part: Part, codes: Mapping[str, int]) -> Split:
    table, rows = part
    y = np.array([codes[table.labels[i]] for i in rows], np.int64)
    ids = [table.ids[i] if table.ids else f"{name}:{i + 1}" for i in rows]
    return Split(table.encode(rows), y, np.array(ids))


def _check_train(
    path: Path, parts: Mapping[SplitName, Part], train: Split, classes: tuple[str, ...]
) -> None:
    missing = np.setdiff1d(np.arange(len(classes)), train.y)
    if missing.size:
        files = ", ".join(sorted({table.path.name for table, _ in parts.values()}))
        raise ValueError(
            f"{path}: class {classes[missing[0]]!r} has no training example, only examples in "
            f"another split ({files}); add some or remove the class"
        )


def _task_name(path: Path, name: str | None) -> str:
    path = path.resolve()
    stem = path.name if path.is_dir() else stem_of(path)
    if stem.isdigit() or stem in SPLIT_WORDS:  # not telling alone: mouse/2, H3/test.fna
        stem = f"{path.parent.name}_{stem}"
    name = name or re.sub(r"[^\w.+-]", "_", stem)
    return name if "/" in name else f"data/{name}"


def _metric(metric: str | None, kind: Kind) -> str:
    known = metrics_for(kind)
    if metric is not None and metric not in known:
        raise ValueError(f"no metric {metric!r} for a {kind} task; there are {', '.join(known)}")
    return metric or "mcc"


def _digest(tables: Mapping[SplitName | None, Table]) -> str:
    lines = sorted(f"{split or 'all'} {table.sha256}\n" for split, table in tables.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _pick(splits: Mapping[SplitName, Split], split: SplitName) -> Split:
    if split not in splits:
        raise ValueError(f"there is no split {split!r} in this data, only {', '.join(splits)}")
    return splits[split]


def _class_table(task: Task, splits: Mapping[SplitName, Split]) -> list[str]:
    counts = {s: np.bincount(v.y, minlength=task.n_outputs) for s, v in splits.items()}
    width = max(len(c) for c in (*task.classes, "class"))
    lines = [f"{'class':<{width}}" + "".join(f"{s:>9}" for s in counts)]
    for i, name in enumerate(task.classes):
        lines.append(f"{name:<{width}}" + "".join(f"{c[i]:>9}" for c in counts.values()))
    return [*lines, f"{'all':<{width}}" + "".join(f"{c.sum():>9}" for c in counts.values())]


def _contradictions(split: Split) -> int:
    return sum(len(labels) > 1 for labels in _labels_of(split).values())


def _labels_of(split: Split) -> dict[bytes, set[int]]:
    labels: dict[bytes, set[int]] = defaultdict(set)
    for seq, y in zip(_keys(split), split.y.tolist(), strict=True):
        labels[seq].add(y)
    return labels


def _keys(split: Split) -> list[bytes]:
    codes, offsets = split.seqs.codes.tobytes(), split.seqs.offsets.tolist()
    return [codes[a:b] for a, b in pairwise(offsets)]
