"""What of a file cannot be used: counted by reason, with the line of the first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from dnabench.types import Array


@dataclass
class LeftOut:
    """Rows that are left out. what: a row, in a word."""

    what: str
    n: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def drop(self, why: str, lines: Array) -> None:
        """Leave out the rows of these lines, int64 (M,)."""
        if len(lines):
            self.n[why] += len(lines)
            line = int(np.min(lines))
            self.first[why] = min(line, self.first.get(why, line))

    def said(self) -> list[str]:
        """A sentence for each reason."""
        out = []
        for why, n in self.n.items():
            first = f" (the first in line {self.first[why]})" if n > 1 else ""
            at = first or f" (line {self.first[why]})"
            out.append(f"left out: {n:,} {self.what}{'s' * (n != 1)} {why}{at}")
        return out
