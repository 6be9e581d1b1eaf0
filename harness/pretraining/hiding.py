"""What masked training hides."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDING = 1e-9  # of 0.8 + 0.2 and the like


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

    def __post_init__(self) -> None:
        """ValueError for numbers that are no shares, or hide nothing."""
        shares = {"share": self.share, "as_mask": self.as_mask, "as_random": self.as_random}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"hidden_{name}={value:g}: a share is a number from 0 to 1")
        if not self.share:
            raise ValueError("hidden_share=0: no token is predicted; write more, such as 0.15")
        if self.as_mask + self.as_random > 1 + ROUNDING:
            raise ValueError(
                f"hidden_as_mask={self.as_mask:g} and hidden_as_random={self.as_random:g} are "
                "shares of the same tokens; together at most 1"
            )
        if self.span < 1 or self.passes < 1:
            name = "span" if self.span < 1 else "passes"
            raise ValueError(f"hidden_{name}={getattr(self, name)}: give 1 or more")
