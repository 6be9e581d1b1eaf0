"""A table of labelled sequences as one file has them, and what none may hold. N examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnabench.types import Array, LetterError, Sequences

# what pandas reads as missing, and "?"
MISSING = {
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null", "?",
}  # fmt: skip
SHORT = 1 + max(map(len, MISSING))  # bp; a sequence this long is no word of MISSING


@dataclass(frozen=True)
class Table:
    """The rows of one file, as written.

    sequences, labels: N. splits, ids: N, or None when the file has none. lines: int64 (N,), of the
    rows. unit: of `lines`, "" for lines of text. sha256: of the file, 64 hex. targets: name -> N,
    where there are several columns of labels; `labels` is the first. others: the other columns, by
    the names in the header. notes: how the file was read, in words. second: of pairs, N sequences.
    twice: names of `others` that the header has more than once; the last column is there.
    files: names of the files that the rows are, where `path` is a folder.
    """

    path: Path
    sequences: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str] | None
    ids: Sequence[str] | None
    lines: Array
    unit: str = ""
    sha256: str = ""
    targets: Mapping[str, Sequence[str]] = field(default_factory=dict)
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    second: Sequence[str] = ()
    twice: frozenset[str] = frozenset()
    files: Sequence[str] = ()

    def place(self, row: int) -> str:
        """File and line, with which an error message about the row begins."""
        if self.files:
            return str(self.path / self.files[row])
        return f"{self.path}:{self.unit}{self.lines[row]}"

    def encode(self, rows: Array) -> Sequences:
        """The sequences of those rows.

        Raises:
            ValueError: at the first letter that is not IUPAC.
        """
        try:
            return Sequences.parse(self.sequences[i] for i in rows)
        except LetterError as e:
            raise ValueError(
                f"{self.place(rows[e.index])}: sequence has {e.letter!r} at position {e.position} "
                "(from 0); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
            ) from None


def check_table(table: Table) -> None:
    """Refuse a table without rows, empty or missing values, or an id twice: ValueError."""
    if not table.labels:
        raise ValueError(f"{table.path}: no sequences, the file has no rows")
    check_sequences(table.sequences, table.place)
    targets = list(table.targets.values()) or [table.labels]
    for values, what in (*((labels, "label") for labels in targets), (table.ids or ["-"], "id")):
        if "" in values:
            raise ValueError(f"{table.place(values.index(''))}: empty {what}")
    for labels in targets:
        for value in set(labels) & MISSING:
            raise ValueError(_missing(table.place(labels.index(value)), "label", value))
        for value in (text for text in labels if "\0" in text):
            raise ValueError(
                f"{table.place(labels.index(value))}: label {value!r} holds a NUL byte, which text "
                "has not; remove it, or save the file as UTF-8"
            )
    if table.ids and len(set(table.ids)) < len(table.ids):
        (name, _), *_ = Counter(table.ids).most_common(1)
        first = table.ids.index(name)
        again = table.ids.index(name, first + 1)
        raise ValueError(
            f"{table.place(again)}: id {name!r} occurs twice, first in {table.place(first)}; ids "
            "must be unique, or leave the column out"
        )


def check_sequences(sequences: Sequence[str], place: Callable[[int], str]) -> None:
    """Refuse a sequence that is empty, or a word for a missing value, as NA: ValueError.

    Args:
        sequences: N of them.
        place: of a row, for messages.
    """
    if "" in sequences:
        raise ValueError(f"{place(sequences.index(''))}: empty sequence; remove the row")
    upper = {word.upper() for word in MISSING}  # some consist of letters of DNA
    for value in (text for text in sequences if len(text) < SHORT and text.upper() in upper):
        raise ValueError(_missing(place(sequences.index(value)), "sequence", value))


def _missing(place: str, what: str, value: str) -> str:
    return f"{place}: {what} {value!r} looks like a missing value; remove the row"
