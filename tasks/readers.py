"""Files of labelled sequences -> rows: CSV, TSV, Parquet, FASTA, each also gzipped.

N rows of a file.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.types import Array, BadLetter, Sequences

COLUMNS = ("sequence", "label")
SPLIT_WORDS = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev",
    "validation": "dev", "test": "test", "testing": "test",
}  # fmt: skip


class Rows(NamedTuple):
    """What a file holds.

    seqs: N sequences. labels: (N,) str. ids: (N,) str. splits: (N,) str, or None when the file has
    no such column. lines: (N,) int, where each row stands in the file, for messages.
    """

    seqs: Sequences
    labels: Array
    ids: Array
    splits: Array | None
    lines: Array


def read(path: Path) -> Rows:
    """Read a file by its extension.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unknown extension, empty file, missing column, ragged row, empty sequence or
            label, a letter that is no DNA, a FASTA header without `|label`, bytes that are no text;
            the message names file, line and position.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    reader = reader_for(path)
    if reader is None:
        raise ValueError(
            f"{path}: unknown kind of file; known are {', '.join(READERS)}, all but parquet also .gz"
        )
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty")
    try:
        return reader(path)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as e:
        raise ValueError(f"{path}: not readable as text (UTF-8): {e}") from None


def reader_for(path: Path) -> Callable[[Path], Rows] | None:
    """The function that reads such a file, or None."""
    return READERS.get(Path(path.name.removesuffix(".gz")).suffix.lower())


def stem(path: Path) -> str:
    """File name without its extensions."""
    return Path(path.name.removesuffix(".gz")).stem


def split_in_name(path: Path) -> str | None:
    """The split that a file's name says: `train.csv`, `H3_test.fasta`, `val-1.tsv`."""
    words = re.split(r"[_.\-]", stem(path).lower())
    found = {SPLIT_WORDS[w] for w in words if w in SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


def _delimited(path: Path, delimiter: str) -> Rows:
    import pandas as pd

    try:
        table = pd.read_csv(
            path, sep=delimiter, dtype=str, keep_default_na=False, skip_blank_lines=False,
            index_col=False, encoding="utf-8-sig", on_bad_lines="error",
        )  # fmt: skip
    except pd.errors.ParserError as e:
        raise ValueError(
            f"{path}: {str(e).strip().removeprefix('Error tokenizing data. C error: ')}"
        ) from None
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path}: the file is empty") from None
    table.index = np.arange(2, len(table) + 2)  # line 1 is the header
    ragged = table.isna()
    table, ragged = table[~ragged.all(axis=1)], ragged[~ragged.all(axis=1)]
    short = ragged.any(axis=1).to_numpy()
    if short.any():
        line, width = table.index[short.argmax()], int((~ragged).to_numpy()[short.argmax()].sum())
        raise ValueError(f"{path}:{line}: {width} fields, the header has {table.shape[1]}")
    return _from_table(path, table)


def _parquet(path: Path) -> Rows:
    import pandas as pd
    import pyarrow as pa

    try:
        table = pd.read_parquet(path)
    except (pa.ArrowInvalid, OSError) as e:
        raise ValueError(f"{path}: not a Parquet file: {e}") from None
    table.index = np.arange(1, len(table) + 1)
    missing = table.isna().any(axis=1).to_numpy()
    if missing.any():
        raise ValueError(f"{path}:{table.index[missing.argmax()]}: a value is missing in this row")
    return _from_table(path, table.astype(str))


def _from_table(path: Path, table: Any) -> Rows:
    columns = [str(c).strip().lower() for c in table.columns]
    table.columns = ["sequence" if c == "seq" and "sequence" not in columns else c for c in columns]
    for column in COLUMNS:
        if column not in table:
            raise ValueError(
                f"{path}: no column {column!r} (found: {', '.join(table.columns)}); "
                "needed are sequence and label, optional are split and id"
            )
    if not len(table):
        raise ValueError(f"{path}: a header and no rows")
    lines = table.index.to_numpy()
    ids = table["id"].to_numpy(str) if "id" in table else lines.astype(str)
    _no_twins(path, ids, lines)
    splits = _splits(path, table["split"].to_numpy(str), lines) if "split" in table else None
    labels = np.char.strip(table["label"].to_numpy(str))
    return _rows(path, table["sequence"].str.strip().tolist(), labels, ids, splits, lines)


def _fasta(path: Path) -> Rows:
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as f:
        text = f.read().replace("\r\n", "\n")
    if not text.startswith(">"):
        raise ValueError(f"{path}:1: FASTA begins with '>', this with {text[:20]!r}")
    seqs, names, labels, lines, line = [], [], [], [], 1
    for block in text[1:].split("\n>"):
        header, _, body = block.partition("\n")
        name, bar, label = header.rpartition("|")
        if not bar:
            raise ValueError(
                f"{path}:{line}: header {header[:40]!r} has no label; write name|label"
            )
        names.append(name)
        labels.append(label.strip())
        seqs.append(body.replace("\n", "").strip())
        lines.append(line)
        line += block.count("\n") + 1
    numbers = np.arange(1, len(names) + 1).astype(str)
    ids = np.array(names) if len(set(names)) == len(names) else numbers
    return _rows(path, seqs, np.array(labels), ids, None, np.array(lines))


def _rows(
    path: Path, seqs: list[str], labels: Array, ids: Array, splits: Array | None, lines: Array
) -> Rows:
    for what, empty in (("sequence", np.array([not s for s in seqs])), ("label", labels == "")):
        if empty.any():
            raise ValueError(f"{path}:{lines[empty.argmax()]}: the {what} is empty")
    try:
        parsed = Sequences.parse(seqs)
    except BadLetter as e:
        raise ValueError(
            f"{path}:{lines[e.index]}: the sequence has {e.letter!r} at position {e.position} "
            "(from 0); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None
    return Rows(parsed, labels, ids, splits, lines)


def _no_twins(path: Path, ids: Array, lines: Array) -> None:
    _, first, count = np.unique(ids, return_index=True, return_counts=True)
    if (count > 1).any():
        i = int(first[count > 1].min())
        twin = int(np.flatnonzero(ids == ids[i])[1])
        raise ValueError(f"{path}:{lines[twin]}: id {ids[i]!r} stands in line {lines[i]} too")


def _splits(path: Path, words: Array, lines: Array) -> Array:
    out = np.empty(len(words), dtype="<U5")
    for word in np.unique(words):
        split = SPLIT_WORDS.get(word.strip().lower())
        if split is None:
            line = lines[int(np.argmax(words == word))]
            raise ValueError(f"{path}:{line}: split {word!r}; it must be train, dev or test")
        out[words == word] = split
    return out


def _csv(path: Path) -> Rows:
    return _delimited(path, ",")


def _tsv(path: Path) -> Rows:
    return _delimited(path, "\t")


READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet,
    ".fa": _fasta, ".fna": _fasta, ".fasta": _fasta,
}  # fmt: skip
