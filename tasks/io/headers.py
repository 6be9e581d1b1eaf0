"""FASTA headers: where the label is, and perhaps the split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dnabench.types import SplitName

SPLIT_WORDS: dict[str, SplitName] = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev",
    "validation": "dev", "test": "test", "testing": "test",
}  # fmt: skip
LAST = "...|label"


def fasta_fields(
    headers: Sequence[str], form: str, place: Callable[[int], str]
) -> dict[str, list[str]]:
    """The fields of FASTA headers: id|label, or id|label|split where the last is a split word.

    Args:
        headers: N, without the ">".
        form: what is between the bars, as in "id|-|label"; "" = found out. A header may have more
            bars only where this says what they separate; LAST = the label is after the last.
        place: of a header in the file, for messages.

    Returns:
        id, label, perhaps split and others named in the form: N values each. A field ends at the
        first blank; the rest is a description.

    Raises:
        ValueError: a header without a label, or with more bars than the form; train and test are
            all the labels there are.
    """
    most = 1 if form == LAST else -1
    rows = [[field.strip() for field in header.rsplit("|", most)] for header in headers]
    names = ["id", "label"] if form == LAST else form.split("|") if form else _found(rows)
    if not form and _only_splits(rows):
        raise ValueError(
            f"{place(0)}: header '>{headers[0][:60]}': the last field is the word of a split in "
            "every header, so there is no label; write '>name|label|split', give labels in another "
            "file (--labels FILE), or say that they are labels: --header 'id|label'"
        )
    if "label" not in names or _twice(names):
        raise ValueError(
            f"--header {form!r}: name each field once, and one of them label: id|label"
        )
    for i, row in enumerate(rows):
        if len(row) == 1:
            raise ValueError(
                f"{place(i)}: header '>{headers[i][:60]}' has no '|label'; write '>name|label'"
            )
        if len(row) != len(names):
            raise ValueError(
                f"{place(i)}: header '>{headers[i][:60]}' has {len(row)} fields between bars, not "
                f"{len(names)}; say what they are: --header 'id|-|label' (- is not used), or "
                f"--header '{LAST}'"
            )
    return _named(names, rows)


def fields_beside(
    headers: Sequence[str], form: str, place: Callable[[int], str]
) -> dict[str, list[str]]:
    """The fields of FASTA headers whose sequences have their label from elsewhere.

    Args:
        headers: N, without the ">".
        form: what is between the bars; "" = found out: id|split or id|label|split where the last
            is a split word in every header, else the first word is the id, with its bars.
        place: of a header in the file, for messages.

    Returns:
        As `fasta_fields`; a label only where the form names one.

    Raises:
        ValueError: a header with other fields than the form; a split word in some headers only.
    """
    most = 1 if form == LAST else -1
    rows = [[field.strip() for field in header.rsplit("|", most)] for header in headers]
    names = ["id", "label"] if form == LAST else form.split("|")
    if not form:
        words = [[_first(field).lower() in SPLIT_WORDS for field in row[1:]] for row in rows]
        if not any(map(any, words)):
            return {"id": [_first(header) for header in headers]}
        names = ["id", "split"] if max(map(len, rows)) == 2 else ["id", "label", "split"]
    elif _twice(names):
        raise ValueError(f"--header {form!r}: name each field once")
    for i, row in enumerate(rows):
        if len(row) != len(names) or (not form and _first(row[-1]).lower() not in SPLIT_WORDS):
            raise ValueError(
                f"{place(i)}: header '>{headers[i][:60]}' is not {form or '|'.join(names)}"
                f"{'' if form else ', and a header here has the word of a split'}; say what is "
                "between the bars: --header 'id|-|split' (- is not used)"
            )
    return _named(names, rows)


def _twice(names: Sequence[str]) -> bool:
    return len(set(names) - {"-"}) < len([name for name in names if name != "-"])


def _first(text: str) -> str:
    return (text.split() or [""])[0]


def _named(names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return {
        name: [value if name == "id" else _first(value) for value in values]
        for name, values in columns
        if name != "-"
    }


def _only_splits(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all are id|split, of two splits or more: one alone may be a class of that name."""
    if any(len(row) != 2 for row in rows):
        return False
    splits = {SPLIT_WORDS.get(_first(row[1]).lower()) for row in rows}
    return len(splits) > 1 and None not in splits


def _found(rows: Sequence[Sequence[str]]) -> list[str]:
    last = {row[-1].lower() for row in rows}
    if last <= SPLIT_WORDS.keys() and all(len(row) == 3 for row in rows):
        return ["id", "label", "split"]
    return ["id", "label"]
