"""Search spaces: which values of a setting a search of settings may try.

This file imports nothing from dnabench.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# Where a model declares no space of its own. Rates from random weights; `FINE_TUNING` is lower.
HOUSE: Mapping[str, str] = {
    "lr": "log:1e-4..5e-3",
    "weight_decay": "log:1e-4..0.3",
    "batch": "one:32,64,128",
    "epochs": "one:5,10,20",
}
FINE_TUNING: Mapping[str, str] = {
    "lr": "log:1e-5..1e-3",
    "weight_decay": "log:1e-4..0.1",
    "batch": "one:16,32,64",
    "epochs": "one:3,5,10",
}
DROPOUT = "range:0..0.3"
STRANDS = "one:none,augment,conjoin"  # of `rc`, where `--space rc` asks for it
HOW = "log:1e-4..3e-3, range:0..0.3, int:1..8 or one:32,64,128"
DIGITS = 3  # of a drawn number, so that a trial's settings can be written down


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """The values of one setting: log-uniform, uniform or whole numbers, or one of several."""

    kind: Literal["log", "range", "int", "one"]
    low: float = 0.0
    high: float = 0.0
    values: tuple[str, ...] = ()

    def at(self, quantile: float) -> str:
        """The value at a quantile in [0, 1), as it is written after `--set name=`."""
        if self.kind == "one":
            return self.values[int(quantile * len(self.values))]
        if self.kind == "int":
            return str(int(self.low) + int(quantile * (self.high - self.low + 1)))
        low, high = self.low, self.high
        if self.kind == "log":
            value = math.exp(math.log(low) + quantile * (math.log(high) - math.log(low)))
        else:
            value = low + quantile * (high - low)
        return self.written(value)

    @property
    def size(self) -> int:
        """How many values it has; 0 = any of a range."""
        if self.kind == "one":
            return len(self.values)
        return int(self.high) - int(self.low) + 1 if self.kind == "int" else 0

    def value(self, index: int) -> str:
        """One of its `size` values, in their order."""
        return self.values[index] if self.kind == "one" else str(int(self.low) + index)

    def written(self, value: float) -> str:
        """A number of a range with the digits that it is given."""
        return f"{value:.{DIGITS}g}"


def parse_dimension(name: str, text: str) -> Dimension:
    """Read `log:LOW..HIGH`, `range:LOW..HIGH`, `int:LOW..HIGH` or `one:A,B,C`.

    Raises:
        ValueError: for any other text, bounds that are not finite or not in order, a log of 0.
    """
    kind, _, rest = text.partition(":")
    if kind == "one":
        values = tuple(dict.fromkeys(value.strip() for value in rest.split(",")))
        if not all(values):
            raise ValueError(f"{name}={text}: an empty value; write {HOW}")
        return Dimension(kind="one", values=values)
    low, dots, high = rest.partition("..")
    try:
        bounds = (float(low), float(high))
    except ValueError:
        raise ValueError(f"{name}={text}: not a space; write {HOW}") from None
    whole = all(x.is_integer() for x in bounds if math.isfinite(x))
    if kind not in ("log", "range", "int") or not dots or (kind == "int" and not whole):
        raise ValueError(f"{name}={text}: not a space; write {HOW}")
    if not (math.isfinite(bounds[1] - bounds[0]) and bounds[0] < bounds[1]):
        raise ValueError(f"{name}={text}: the first bound must be below the second, both finite")
    if kind == "log" and bounds[0] <= 0:
        raise ValueError(f"{name}={text}: a log space begins above 0; write range:{low}..{high}")
    known: Literal["log", "range", "int"] = kind  # type: ignore[assignment]
    return Dimension(kind=known, low=bounds[0], high=bounds[1])
