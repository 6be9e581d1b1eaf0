"""Texts of sequences alone: one sequence a line, or one a file in a folder of each class."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dnabench.tasks.io.bounds import MOST_UNPACKED, RAISE, raised
from dnabench.tasks.io.parsing import stem_of, text_of
from dnabench.tasks.io.table import Table, check_table
from dnabench.types import OwnData

SUFFIXES = (".txt", ".seq")


def is_plain(path: Path) -> bool:
    """Whether the extension is that of a text of sequences."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_lines(path: Path) -> tuple[list[str], str]:
    """The lines of a text, without blanks around them and blank lines at the end, and its SHA-256.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or directory")
    raw = path.read_bytes()
    lines = [line.strip() for line in text_of(path, raw).rstrip().split("\n")]
    if lines == [""]:
        raise ValueError(f"{path}: the file is empty")
    return lines, hashlib.sha256(raw).hexdigest()


def plain_table(path: Path, own: OwnData) -> Table:
    """A text of one sequence a line, without a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the labels are not known, or an empty line.
    """
    lines, sha = read_lines(path)
    if not own.every:
        raise ValueError(
            f"{path}: a text of one sequence a line has no labels; give them: --labels FILE (a "
            "label a line), or two files: --positives FILE --negatives FILE. Is it a table with a "
            "header? Name it .csv or .tsv"
        )
    table = Table(
        path, lines, [own.every] * len(lines), None, None, np.arange(1, len(lines) + 1), sha256=sha
    )
    check_table(table)
    return table


def is_class_file(path: Path) -> bool:
    """Whether a file in the folder of a class holds a sequence: .txt or .txt.gz."""
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(".txt")


def class_folder(path: Path) -> Table:
    """A folder of .txt files, perhaps gzipped, one sequence each; the label is the folder's name.

    Raises:
        ValueError: a file that is no text, or empty; more than a GiB of them.
    """
    files = sorted(f for f in path.iterdir() if is_class_file(f) and not f.name.startswith("."))
    size = sum(f.stat().st_size for f in files)
    if size > (most := raised(MOST_UNPACKED)):
        raise ValueError(
            f"{path}: {size:,} bytes in its files, more than {most:,}; write them into one "
            f"FASTA or CSV file, or {RAISE}"
        )
    digest, texts = hashlib.sha256(), []
    for file in files:
        raw = file.read_bytes()
        digest.update(hashlib.sha256(raw).digest())
        texts.append("".join(text_of(file, raw).split()))
        if not texts[-1]:
            raise ValueError(f"{file}: the file is empty")
    digest.update(path.name.encode())
    ids = [f"{path.name}/{stem_of(file)}" for file in files]
    rows = np.arange(1, len(files) + 1)
    table = Table(
        path, texts, [path.name] * len(files), None, ids, rows, sha256=digest.hexdigest(),
        files=[file.name for file in files],
    )  # fmt: skip
    check_table(table)
    return table
