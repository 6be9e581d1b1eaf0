"""A table of text for any format, and how numbers and lists are printed."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NAMED = 5  # names of a list that are written out
NONE = "–"  # in place of a number that is not known


class Grid(NamedTuple):
    """A table of text; without heads, only its notes."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()  # paragraphs below the table: what it shows, how it was computed


def fixed(x: float, digits: int) -> str:
    """A score as it is printed, without a minus before zero; NONE for NaN."""
    if math.isnan(x):
        return NONE
    text = f"{x:.{digits}f}"
    return text.removeprefix("-") if not float(text) else text


def signed(x: float, digits: int) -> str:
    """A difference, with its sign."""
    text = fixed(x, digits)
    return f"+{text}" if x > 0 and float(text) else text


def interval(low: float, high: float, digits: int) -> str:
    """An interval of a difference, [low, high]."""
    return NONE if math.isnan(low) else f"[{signed(low, digits)}, {signed(high, digits)}]"


def p_value(p: float) -> str:
    """Three decimals; below 0.001 two significant digits."""
    return f"{p:.1e}" if p < 0.001 else fixed(p, 3)


def short(value: float) -> str:
    """Three significant digits: 0.0123, 1.23, 123, 1,234."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def count(n: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{n:,} {noun}{'s' if n != 1 else ''}"


def listed(names: Iterable[str], most: int = NAMED) -> str:
    """A, b and c; beyond `most` the rest is counted."""
    names = list(names)
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
