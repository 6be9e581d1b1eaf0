"""The verdict on one model against another on a task, and the error of a single score."""

import math
from typing import Literal

from dnabench.reports.stats.seeds import TIE, Welch

Verdict = Literal["win", "loss", "no clear difference", "descriptive"]
ALPHA = 0.05
MIN_SEEDS = 5  # of both models; below, a test at 0.05 detects only differences above 2 sd
_COUNTED = ("accuracy", "f1_binary", "f1_macro")  # as if a share of the test examples


def verdict(
    test: Welch, p_holm: float, rope: float, n: int, nested: tuple[float, float] | None = None,
    sign: int = 1, undefined: tuple[int, int] = (0, 0),
) -> tuple[Verdict, str]:  # fmt: skip
    """Whether a is better than b, and the reason where that is not decided.

    Args:
        test: of a against b.
        p_holm: its p after `holm`.
        rope: the smallest relevant difference (region of practical equivalence), in score units.
        n: seeds of the model that has fewer.
        nested: interval of a - b over seeds and test examples; None when there is none.
        sign: 1 where higher scores are better, -1 where lower ones are.
        undefined: runs of a and of b that the test leaves out, as they have no score.

    Returns:
        "win" or "loss" when p_holm < 0.05, `nested` (if given) lies on the same side of 0 as the
        difference, this is at least `rope`, and the better one has no undefined run; else "no clear
        difference"; "descriptive" when n is below 5 or neither model varies. Then the reason, which
        may be empty.

    Source: docs/statistics.md#the-verdict.
    """
    if n < MIN_SEEDS:
        return "descriptive", f"only (n < {MIN_SEEDS})"
    if test.degenerate:
        return "descriptive", "only (no variation between seeds)"
    if not p_holm < ALPHA:
        return "no clear difference", ""
    above = test.difference > 0
    word: Verdict = "win" if above == (sign > 0) else "loss"
    if nested is not None and not (nested[0] > 0 if above else nested[1] < 0):
        return "no clear difference", f"(95 % CI {_fault(*nested)})"
    if abs(test.difference) < rope - TIE:
        return "no clear difference", f"(difference below {rope:g})"
    if left_out := undefined[0 if word == "win" else 1]:
        return "no clear difference", f"(the better mean leaves out {left_out} undefined)"
    return word, ""


def _fault(low: float, high: float) -> str:
    if math.isnan(low + high):
        return "undefined"
    return "includes 0" if low <= 0 <= high else "has the opposite sign"


def test_standard_error(metric: str, score: float, n_test: int) -> float:
    """How far a score may be off because the test split is a sample, when only the score is known.

    Args:
        metric: key of METRICS.
        score: a fraction.
        n_test: examples of the test split; 0 = unknown.

    Returns:
        sqrt((1 - score^2) / n) for mcc, sqrt(score (1 - score) / n) for accuracy and F1; NaN for
        other metrics, for n below 1 and for a score that the metric cannot have.

    Accuracy:
        MCC: of balanced classes (1.50 points where a simulation had 1.54, n = 1,497). F1: as if it
        were an accuracy, so only near it. With stored predictions use the nested bootstrap.

    Source: docs/statistics.md#the-test-examples.
    """
    if n_test < 1:
        return math.nan
    if metric == "mcc" and abs(score) <= 1:
        return math.sqrt((1 - score**2) / n_test)
    if metric in _COUNTED and 0 <= score <= 1:
        return math.sqrt(score * (1 - score) / n_test)
    return math.nan
