"""The user's own data as a task: a file, or a folder of train/dev/test files.

N examples, K classes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from dnabench.splits import stratified
from dnabench.tasks.readers import READERS, Rows, read, reader_for, split_in_name, stem
from dnabench.types import Array, Split, SplitName, Task

TEST_SHARE = 0.2  # of the rows, when the files name no test split
ORDER: tuple[SplitName, ...] = ("train", "dev", "test")


def task_from_path(path: Path, name: str = "") -> Task:
    """Infer a task from files.

    Args:
        path: CSV, TSV, Parquet (columns sequence (or seq), label, optional split and id), FASTA with
            headers `name|label`, or a folder with one such file a split (`train.csv`, `dev.csv`,
            `test.csv`; dev may be called val, valid or validation).
        name: of the task behind `data/`; the file's or folder's own by default.

    Returns:
        A task `data/<name>`. Integer labels must be 0..K-1; other labels are class names, sorted.
        Two classes make it binary, more multiclass; the metric is MCC. Without a test split a
        fixed stratified 20 % of the rows is set aside as test, whatever the seed.

    Raises:
        FileNotFoundError: nothing at that path.
        ValueError: what `readers.read` finds, two files of one split, one class only, negative or
            gapped integer labels, labels that are fractions, a class that train does not have.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    files = _files(path)
    tables = {file: read(file) for file in files}
    labels = np.concatenate([t.labels for t in tables.values()])
    classes = _classes(path, np.unique(labels))
    splits = _assign(path, files, tables, classes)
    counts = {s: len(splits[s].y) for s in ORDER if s in splits}
    _check_train(path, splits["train"], classes)
    longest = max(int(s.seqs.lengths.max()) for s in splits.values())
    return Task(
        name=f"data/{name or _name(path)}",
        kind="binary" if len(classes) == 2 else "multiclass",
        classes=classes,
        metric="mcc",
        length=longest,
        counts=counts,
        data=_digest(files),
        load=splits.__getitem__,
        source=str(path),
        license="yours",
        family="data",
    )


def describe(task: Task) -> str:
    """What was inferred, in a few lines."""
    from tabulate import tabulate

    splits = {name: task.load(name) for name in ORDER if name in task.counts}
    rows = [
        (name, len(s.y), *np.bincount(s.y, minlength=task.n_outputs)) for name, s in splits.items()
    ]
    shown = task.classes if task.n_outputs <= 12 else ()
    table = tabulate([r[: 2 + len(shown)] for r in rows], ("split", "all", *shown))
    shortest = min(int(s.seqs.lengths.min()) for s in splits.values())
    lengths = f"{task.length} bp" if shortest == task.length else f"{shortest}-{task.length} bp"
    ambiguous = sum(s.seqs.n_ambiguous for s in splits.values())
    lines = [
        f"{task.name}: {task.kind}, {task.n_outputs} classes, {lengths}, metric {task.metric}",
        table,
        *([f"{ambiguous} IUPAC letters other than ACGTUN were read as N"] if ambiguous else []),
        *_about_splits(task),
        *_overlap(splits["train"], splits["test"]),
    ]
    return "\n".join(lines) + "\n"


def _about_splits(task: Task) -> list[str]:
    lines = []
    if task.load("test").ids[0].startswith(_SET_ASIDE):
        lines.append("no test split was given: a fixed stratified 20 % of the rows is the test")
    if "dev" not in task.counts:
        lines.append("no dev split was given: 10 % of train, cut by the seed, is the validation")
    return lines


def _overlap(train: Split, test: Split) -> list[str]:
    """How many test sequences a model has seen."""
    seen: dict[str, set[int]] = {}
    for i in range(len(train.y)):
        seen.setdefault(train.seqs[i], set()).add(int(train.y[i]))
    shared = [(test.seqs[i], int(test.y[i])) for i in range(len(test.y)) if test.seqs[i] in seen]
    if not shared:
        return []
    other = sum(bool(seen[s] - {y}) for s, y in shared)
    return [
        f"warning: {len(shared)} of {len(test.y)} test sequences stand in train too, "
        f"{other} of them with another label"
    ]


def _files(path: Path) -> dict[Path, SplitName | None]:
    """The files to read, and the split that each one's name says."""
    if path.is_file():
        return {path: None}
    found: dict[Path, SplitName | None] = {}
    for file in sorted(p for p in path.iterdir() if p.is_file() and reader_for(p)):
        split = split_in_name(file)
        if split is None:
            raise ValueError(f"{file}: its name says no split; call it train, dev or test, or move it")
        twin = next((f for f, s in found.items() if s == split), None)
        if twin:
            raise ValueError(f"{path}: {twin.name} and {file.name} both claim to be {split}")
        found[file] = split  # type: ignore[assignment]
    if not found:
        raise ValueError(f"{path}: no file in this folder ends in {', '.join(READERS)}")
    if "train" not in found.values():
        raise ValueError(f"{path}: there is {', '.join(f.name for f in found)}, but no train file")
    return found


def _name(path: Path) -> str:
    """The file's or folder's name; with its folder's where alone it says nothing (`mouse/2`)."""
    own = stem(path.resolve())
    return f"{path.resolve().parent.name}_{own}" if own.isdigit() or split_in_name(path) else own


_SET_ASIDE = "aside:"


def _assign(
    path: Path, files: dict[Path, SplitName | None], tables: dict[Path, Rows], classes: tuple[str, ...]
) -> dict[SplitName, Split]:
    """Rows by split; a test split is set aside when there is none."""
    out: dict[SplitName, Split] = {}
    for file, named in files.items():
        rows = tables[file]
        everything = Split(rows.seqs, _indices(rows.labels, classes), rows.ids)
        if named:
            out[named] = everything
        elif rows.splits is None:
            out["train"] = everything
        else:
            for split in ORDER:
                if (rows.splits == split).any():
                    out[split] = everything.take(np.flatnonzero(rows.splits == split))
    if "train" not in out:
        raise ValueError(f"{path}: no row is in the split train")
    if "test" not in out:
        whole = out["train"]
        held = stratified(whole.y, TEST_SHARE, seed=0)
        out["train"], test = (whole.take(np.flatnonzero(part)) for part in (~held, held))
        out["test"] = test._replace(ids=np.char.add(_SET_ASIDE, test.ids))
    return out


def _classes(path: Path, labels: Array) -> tuple[str, ...]:
    """Names of the classes in label order, from the distinct labels as text."""
    if len(labels) < 2:
        raise ValueError(f"{path}: all labels are {labels[0]!r}; two classes are needed")
    if not all(re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", label) for label in labels):
        return tuple(str(label) for label in labels)
    values = np.unique(labels.astype(float))
    if (values != np.round(values)).any():
        bad = values[values != np.round(values)][0]
        raise ValueError(f"{path}: label {bad:g} is a fraction; regression is not supported yet")
    if values[0] < 0:
        raise ValueError(f"{path}: label {values[0]:g} is negative; integer labels are 0, 1, 2, ...")
    missing = sorted(set(range(int(values[-1]) + 1)) - {int(v) for v in values})
    if missing:
        raise ValueError(
            f"{path}: labels go up to {int(values[-1])}, but none is {missing[0]}; number the "
            "classes 0, 1, 2, ... without gaps, or use names"
        )
    return tuple(str(int(v)) for v in values)


def _indices(labels: Array, classes: tuple[str, ...]) -> Array:
    """Class index of every label, int64 (N,)."""
    distinct, where = np.unique(labels, return_inverse=True)
    if all(c.isdigit() for c in classes):
        return distinct.astype(float).astype(np.int64)[where]
    return np.searchsorted(np.array(classes), distinct).astype(np.int64)[where]


def _check_train(path: Path, train: Split, classes: tuple[str, ...]) -> None:
    for i in np.flatnonzero(np.bincount(train.y, minlength=len(classes)) == 0):
        raise ValueError(f"{path}: no example of class {classes[i]!r} is in train")


def _digest(files: dict[Path, SplitName | None]) -> str:
    """16 hex digits that change when a file's bytes or its split do."""
    parts = [f"{split}:{hashlib.sha256(f.read_bytes()).hexdigest()}" for f, split in files.items()]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
