"""Which test answers which question: reference/STATS.md of the project, in code. No torch."""

from dnabench.reports.stats.seeds import (
    ALPHA,
    MIN_SEEDS,
    TIE,
    Summary,
    Verdict,
    Welch,
    a12,
    hedges_g,
    holm,
    summary,
    verdict,
    welch,
)

__all__ = [
    "ALPHA", "MIN_SEEDS", "TIE", "Summary", "Verdict", "Welch", "a12", "hedges_g", "holm",
    "summary", "verdict", "welch",
]  # fmt: skip
