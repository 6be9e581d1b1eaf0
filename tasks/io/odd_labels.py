"""Labels that are numbers but for their notation, or for a few of them: refused with the place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dnabench.tasks.io.table import MISSING, Table

MOST_CLASSES = 20  # whole numbers with more values may be counts
FEWEST_VALUES = 10  # fractions with fewer values may be classes
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DIGITS = r"((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_WRITTEN = (  # the digits of a number that is written otherwise, and what to do
    (re.compile(r"[+-]?(\d+(?:,\d+)+(?:\.\d+)?)"), "write the point as . and no other comma"),
    (re.compile(rf"[+-]?{_DIGITS} ?%"), "write it without %"),
    (re.compile(rf"(?:[<>]=?|[≤≥~≈]) ?[+-]?{_DIGITS}"), "write a number"),
    (re.compile(rf"[‐‑‒–—﹣－] ?{_DIGITS}"), "write the minus as -"),
    (re.compile(rf"[+-]?{_DIGITS} ?(?:±|\+/-) ?[\d.]+"), "write the number alone"),
)
# no number, and beside numbers no class
_NONE = {
    "inf", "+inf", "-inf", "infinity", "-infinity", "nd", "n.d.", "n.d", "n/d", "n.a.", "n.a", "-",
    "--", ".", "missing", "#value!", "#div/0!", "#num!", *(word.lower() for word in MISSING),
}  # fmt: skip
_WAY = "or give --kind multiclass to take each label as a class"


def refuse_odd_numbers(tables: Sequence[Table], plain: Mapping[str, str]) -> None:
    """Refuse labels that are numbers but for their notation, or for a few of them.

    Whole numbers beside words stay classes (chromosomes 1 to 22 and X), and so does what would be
    few classes as numbers (0, 1 and >1; 10% and 50%).

    Args:
        tables: of the task.
        plain: label as written -> with the minus as -.

    Raises:
        ValueError: at the first label that is no number, with file and line.
    """
    numbers = {text: float(text) for text in plain.values() if NUMBER.fullmatch(text)}
    others = {label: otherwise(t) for label, t in plain.items() if t not in numbers}
    missing = {label for label in others if plain[label].lower() in _NONE}
    written = {value for value, _ in others.values() if value is not None}
    odd = [label for label, (value, _) in others.items() if value is not None or label in missing]
    if len(odd) < len(others):  # words: is this a column of fractions all the same?
        refused = list(others) if len(numbers) > len(others) else []
        written = set()
        many = _fractions(set(numbers.values()))
    elif len(numbers) > 1 and missing:
        refused, many = sorted(missing), True
    else:
        values = written | set(numbers.values())
        refused, many = odd, len(values) > MOST_CLASSES or _fractions(values)
    if refused and many:
        label = refused[0]
        like = f", as {len(numbers)} of {len(plain)} different labels are" if numbers else ""
        raise ValueError(
            f"{place_of(label, tables)}: label {label!r} is not a finite number{like}; "
            f"{others[label][1]}, {_WAY}"
        )


def _fractions(values: set[float]) -> bool:
    """Whether numbers with so many values would be predicted as such."""
    return len(values) >= FEWEST_VALUES and any(not value.is_integer() for value in values)


def otherwise(text: str) -> tuple[float | None, str]:
    """The size of a number in another notation, None for a word; what to do with the label."""
    for written, says in _WRITTEN:
        if found := written.fullmatch(text):
            whole, *rest = found[1].split(",")
            return float(".".join([whole, "".join(rest).replace(".", "")]) if rest else whole), says
    return None, "write a number or remove the row"


def refuse_mixed_truth(tables: Sequence[Table], plain: Mapping[str, str]) -> None:
    """Refuse true beside 1, and false beside 0, which would be two classes: ValueError."""
    for word, value in (("true", 1), ("false", 0)):
        words = [label for label in plain if label.lower() == word]
        same = [k for k, text in plain.items() if NUMBER.fullmatch(text) and float(text) == value]
        if words and same:
            raise ValueError(
                f"{place_of(words[0], tables)}: label {words[0]!r}, but {place_of(same[0], tables)}"
                f" has {same[0]!r} for the same; write them in one way, {_WAY}"
            )


def place_of(label: str, tables: Sequence[Table]) -> str:
    """File and line of the first row with that label."""
    return next(t.place(t.labels.index(label)) for t in tables if label in t.labels)
