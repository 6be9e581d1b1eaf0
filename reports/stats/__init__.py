"""Which test answers which question: docs/statistics.md in code. No torch."""

from dnabench.reports.stats.adjust import bh, holm, once
from dnabench.reports.stats.budget import Expected, expected_best
from dnabench.reports.stats.lead import Lead, LikeThese, lead, like_these
from dnabench.reports.stats.power import (
    detectable,
    examples_needed,
    out_of_reach,
    seeds_needed,
)
from dnabench.reports.stats.seeds import (
    TIE,
    Summary,
    Welch,
    a12,
    best_p,
    d_cohen,
    delta,
    hedges_g,
    permutation,
    summary,
    welch,
)
from dnabench.reports.stats.size import Size, iqm, min_max, probability_of_improvement
from dnabench.reports.stats.tasks import (
    MIN_TASKS,
    Friedman,
    Wilcoxon,
    average_ranks,
    critical_difference,
    friedman,
    friedman_of_ranks,
    iman_davenport,
    nemenyi,
    nemenyi_q,
    posterior,
    ranks,
    wilcoxon,
)
from dnabench.reports.stats.verdict import ALPHA, MIN_SEEDS, Verdict, test_standard_error, verdict

__all__ = [
    "ALPHA", "MIN_SEEDS", "MIN_TASKS", "TIE", "Expected", "Friedman", "Lead", "LikeThese", "Size",
    "Summary", "Verdict", "Welch", "Wilcoxon", "a12", "average_ranks", "best_p", "bh",
    "critical_difference", "d_cohen", "delta", "detectable", "examples_needed", "expected_best",
    "friedman",
    "friedman_of_ranks", "hedges_g", "holm", "iman_davenport", "iqm", "lead", "like_these",
    "min_max", "nemenyi", "nemenyi_q", "once", "out_of_reach", "permutation", "posterior",
    "probability_of_improvement", "ranks", "seeds_needed", "summary", "test_standard_error",
    "verdict", "welch", "wilcoxon",
]  # fmt: skip
