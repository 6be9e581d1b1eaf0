"""What masked training hides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """Which tokens are hidden, and by what.

    Args:
        share: of the tokens that are chosen.
        as_mask: share of the chosen ones that the network reads as the mask.
        as_random: share of the chosen ones that it reads as a random token; the others it reads as
            they are.
        span: neighbours hidden together; of overlapping k-mers k, so that each has a base that no
            token shows.
        passes: how often tokens are chosen; the loss counts those of the last time, and what was
            hidden before stays hidden. The code of ConvNova hides twice.
    """

    share: float = 0.15
    as_mask: float = 0.8
    as_random: float = 0.1
    span: int = 1
    passes: int = 1
