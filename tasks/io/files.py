"""A user's own data: a file, or a folder of train, dev and test files, becomes a task.

N examples, K classes, L length in bp.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from dnabench.splits import VALIDATION_SHARE
from dnabench.tasks.audit.near import merged
from dnabench.tasks.io.dividing import (
    File,
    Stated,
    find_files,
    set_aside,
    stated,
)
from dnabench.tasks.io.flags import check_flags, check_used
from dnabench.tasks.io.headers import SPLIT_WORDS
from dnabench.tasks.io.labels import Labels, metric_of, read_labels, standardised
from dnabench.tasks.io.parsing import stem_of
from dnabench.tasks.io.places import find_places
from dnabench.tasks.io.reading import READING, read_own
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.related import VERSION, Related, find_related
from dnabench.tasks.io.shards import series_of
from dnabench.tasks.io.table import Table
from dnabench.types import Array, OwnData, Sequences, Split, SplitName, Task

ORDER: tuple[SplitName, ...] = ("train", "dev", "test")


def task_from_path(
    path: Path,
    name: str | None = None,
    metric: str | None = None,
    own: OwnData = OwnData(),  # noqa: B008
) -> Task:
    """Make a task of labelled sequences on disk. It is not registered.

    A file has columns sequence, label and perhaps split and id, or headers name|label (FASTA). In a
    directory the split of a file is a word in its name. Without a test split, 20 % of each class of
    train become it, always the same ones, with related sequences on one side (`audit.links`).

    Args:
        path: the file or directory.
        name: of the task, prefixed with `data/` unless it has a slash; default: the path's stem.
        metric: primary; default by the kind of task.
        own: how to read and cut it, where that is not found out.

    Returns:
        The task, with all data read. Ids are those of the file, or `split:row` with rows from 1;
        `file:` and id or row where these repeat in a split; `label/file:` where positives and
        negatives are in files of one name. `notes` say how it was read.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the data cannot be read as described, or the metric does not fit.
    """
    path = Path(path)
    files, notes = find_files(path, own)
    check_flags(path, [file.path for file in files], own)
    tables = [read_own(file.path, own) for file in files]
    labels = read_labels(path, tables, own)
    said = stated(path, files, tables, own)
    check_used(path, said.origin, labels.kind, own)
    seqs = [table.encode(np.arange(len(table.labels))) for table in tables]
    places = find_places(tables, [s.lengths for s in seqs])
    whole = Split(_joined(seqs), np.concatenate(labels.y), _ids(tables), other=_second(tables))
    related = find_related(whole.seqs, said.names, places.places, own)
    groups = related.groups if related.groups is not None else _numbers(said.group)
    whole = whole._replace(clusters=groups)
    names, cut = _cut(path, whole, said, related, own, labels)
    groups, apart = _whole_groups(groups, said, names, own)
    whole = whole._replace(clusters=groups)
    pairs = whole.other is not None
    labels = standardised(path, labels, _of_train(path, names, tables), effects=pairs)
    splits, labelled = _splits(whole._replace(y=np.concatenate(labels.y)), names, tables)
    _check_train(path, files, splits["train"], labels)
    columns = _columns(tables, {*said.used, *places.used}, places.used)
    origin, *cut_notes = cut
    also = [*places.also] * (related.groups is not None) + _names(tables, said)
    also += ["validation=related"] * bool(apart) + ["ids=label/file"] * labelled
    also += ["effects=uncentred"] * (pairs and labels.kind == "regression")
    return Task(
        name=_task_name(path, name),
        kind=labels.kind,
        classes=labels.classes,
        metric=metric_of(labels, metric or ""),
        length=max(int(s.seqs.lengths.max()) for s in splits.values()),
        counts={split: len(s.y) for split, s in splits.items()},
        data=_digest(files, tables, own, said, related, also),
        load=partial(_pick, splits),
        source=f"{' and '.join(filter(None, [str(path), own.negatives]))}; test split: {origin}",
        license="not stated",
        pairs=pairs,
        scale=labels.scale,
        whole_regions=own.length == 0 and any(is_regions(file.path) for file in files),
        clusters=related.by or (f"column {said.used[0]}" if said.group is not None else ""),
        notes=(
            *notes,
            *(note for table in tables for note in table.notes),
            *columns,
            *places.notes,
            *labels.notes,
            *said.notes,
            *cut_notes,
            *related.said(names, not said.origin),
            *apart,
            *_undivided(said, names, own),
        ),
    )


def _of_train(path: Path, names: Array, tables: Sequence[Table]) -> list[Array]:
    """Which rows of each table are training examples; ValueError where none is."""
    if "train" not in names:
        raise ValueError(f"{path}: no row has split 'train'")
    return np.split(names == "train", np.cumsum([len(t.labels) for t in tables])[:-1])


def _cut(
    path: Path, whole: Split, said: Stated, related: Related, own: OwnData, labels: Labels
) -> tuple[Array, list[str]]:
    """The split of every row; where test comes from, and what else to say."""
    if said.origin:
        return said.names, [said.origin]
    names = said.names.copy()
    train = np.flatnonzero(names == "train")
    part = whole.take(train)
    if said.group is not None:
        part = part._replace(clusters=_numbers(said.group[train]))
    together = said.group is not None or related.groups is not None
    picked, note = set_aside(path, part, own, labels.classes, together)
    names[train[picked]] = "test"
    each = part.y.ndim == 1 and bool(np.isin(part.y, part.y[picked]).all())
    what = (
        f"20 % of train{' in each class' * each}, set aside by dnabench because the data has none"
    )
    if own.split_by == "homology":
        what = f"20 % of the examples{' of each class' * each}, set aside by dnabench"
    if said.group is not None:
        what = f"about 20 % of the groups of {own.split_by}, set aside by dnabench"
    elif together:
        what += "; related sequences stay together"
    return names, [what, *([note] if note else [])]


def _whole_groups(
    groups: Array | None, said: Stated, names: Array, own: OwnData
) -> tuple[Array | None, list[str]]:
    """The groups; those of train, from which validation is cut, hold whole groups of a column.

    Unless related sequences link several of these to one that leaves too little for validation:
    then the groups stay, and the note says so.
    """
    if groups is None or said.group is None:
        return groups, []
    train = np.flatnonzero(names == "train")
    values = said.group[train]
    unit = merged(groups[train], values)
    least = np.full(len(groups), len(groups))
    np.minimum.at(least, unit, groups[train])
    out = groups.copy()
    out[train] = least[unit]
    largest = unit == np.bincount(unit, minlength=1).argmax()
    others, linked = 1 - largest.mean() if len(train) else 1.0, len(np.unique(values[largest])) > 1
    if "dev" in names or not linked or others >= VALIDATION_SHARE / 2:
        return out, []
    if np.array_equal(out, groups):  # the related sequences are as large
        return out, []
    by = own.split_by or said.used[0]
    return groups, [
        f"related sequences link groups of {by} in train, so that only {others:.1%} of it are in "
        "others: a validation cut off train keeps related sequences together, not whole groups of "
        f"{by}; --dev-groups names groups for validation instead"
    ]


def _undivided(said: Stated, names: Array, own: OwnData) -> list[str]:
    """What to say where train is one group of a column and there are no dev examples."""
    values = [] if said.group is None else np.unique(said.group[names == "train"]).tolist()
    if "dev" in names or len(values) != 1:
        return []
    by = own.split_by or said.used[0]
    return [
        f"train is one group of {by}, {values[0]!r}, and groups stay whole: only protocols that do "
        "not keep them together can cut a validation off it (--protocol honest/1); or bring a dev "
        "split"
    ]


def _joined(seqs: Sequence[Sequences]) -> Sequences:
    if len(seqs) == 1:
        return seqs[0]
    lengths = np.concatenate([s.lengths for s in seqs])
    ambiguous = np.concatenate([s.ambiguous for s in seqs])
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Sequences(np.concatenate([s.codes for s in seqs]), offsets, ambiguous)


def _second(tables: Sequence[Table]) -> Sequences | None:
    """The second sequences of pairs."""
    texts = [text for table in tables for text in table.second]
    return Sequences.parse(texts) if texts else None


def _numbers(values: Array | None) -> Array | None:
    return None if values is None else np.unique(values, return_inverse=True)[1].astype(np.int64)


def _ids(tables: Sequence[Table]) -> Array:
    """The files' names for the rows; "" where they have none."""
    return np.concatenate([np.array(t.ids or [""] * len(t.labels), str) for t in tables])


def _splits(
    whole: Split, names: Array, tables: Sequence[Table]
) -> tuple[dict[SplitName, Split], bool]:
    """The splits with ids that do not repeat in one, and whether these name labels and files."""
    row = np.concatenate([np.arange(len(t.labels)) + 1 for t in tables]).astype(str)
    sizes = [len(t.labels) for t in tables]
    file = np.repeat([t.path.name for t in tables], sizes)
    both = np.repeat([f"{t.labels[0]}/{t.path.name}" for t in tables], sizes)
    out, labelled = {}, False
    for split in ORDER:
        if (rows := np.flatnonzero(names == split)).size:
            part = whole.take(rows)
            ids = np.where(part.ids == "", np.char.add(f"{split}:", row[rows]), part.ids)
            if _repeat(ids):  # in several files
                own = np.where(part.ids == "", row[rows], part.ids)
                ids = np.char.add(np.char.add(file[rows], ":"), own)
                if _repeat(ids):  # positives and negatives in files of one name
                    ids, labelled = np.char.add(np.char.add(both[rows], ":"), own), True
            out[split] = part._replace(ids=ids)
    return out, labelled


def _repeat(ids: Array) -> bool:
    return len(np.unique(ids)) < len(ids)


def _check_train(path: Path, files: Sequence[File], train: Split, labels: Labels) -> None:
    if labels.kind not in ("binary", "multiclass"):
        return
    missing = np.setdiff1d(np.arange(len(labels.classes)), train.y)
    if missing.size:
        listed = ", ".join(sorted({file.path.name for file in files}))
        raise ValueError(
            f"{path}: class {labels.classes[missing[0]]!r} has no training example, only examples "
            f"in another split ({listed}); add some or remove the class"
        )


def _columns(tables: Sequence[Table], used: set[str], places: Sequence[str]) -> list[str]:
    others = dict.fromkeys(name for t in tables for name in t.others)
    lower = {name.lower() for name in used}
    ignored = [name or "(no name)" for name in others if name.lower() not in lower]
    out = [f"coordinates: {', '.join(places)}"] if places else []
    return [*out, *([f"ignored columns: {', '.join(ignored)}"] if ignored else [])]


def _task_name(path: Path, name: str | None) -> str:
    path = path.resolve()
    stem = path.name if path.is_dir() else stem_of(path)
    if stem.isdigit() or stem in SPLIT_WORDS:  # not telling alone: mouse/2, H3/test.fna
        stem = f"{path.parent.name}_{stem}"
    name = name or re.sub(r"[^\w.+-]", "_", stem)
    return name if "/" in name else f"data/{name}"


def _digest(
    files: Sequence[File], tables: Sequence[Table], own: OwnData, said: Stated, related: Related,
    also: Sequence[str],
) -> str:  # fmt: skip
    """16 hex of the bytes, the splits that files are, the flags that change what is read, the cut.

    Files of one split count in their order. A test split that was drawn at random is no cut.
    `also`: what else was read in another way than the files' bytes and the flags say.
    """
    named = own.split_by == "file"
    pairs = sorted(zip(files, tables, strict=True), key=lambda pair: pair[0].split or "all")
    lines = [f"{f.split or 'all'} {t.sha256}{f' {series_of(f.path)}' * named}\n" for f, t in pairs]
    usual = asdict(OwnData())
    flags = {k: v for k, v in asdict(own).items() if v != usual[k] and k not in READING}
    if not said.origin:
        flags.pop("leak_check", None)  # the line below says it
    lines += [f"{k}={v}\n" for k, v in sorted(flags.items())]
    if related.groups is not None and (not said.origin or said.group is not None):
        lines.append(f"cut=related/{VERSION}\n")
    lines += [f"{line}\n" for line in also]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _names(tables: Sequence[Table], said: Stated) -> list[str]:
    """A hash of the names of regions, where these say the split: no table's hash has them."""
    if "name" not in {column.lower() for column in said.used}:
        return []
    names = [name for t in tables if is_regions(t.path) for name in t.others.get("name", ())]
    return [hashlib.sha256("\n".join(["names", *names]).encode()).hexdigest()] if names else []


def _pick(splits: Mapping[SplitName, Split], split: SplitName) -> Split:
    if split not in splits:
        raise ValueError(f"there is no split {split!r} in this data, only {', '.join(splits)}")
    return splits[split]
