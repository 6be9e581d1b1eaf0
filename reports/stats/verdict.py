"""What may be claimed of one model against another on a task, in a word."""

from __future__ import annotations

import math
from typing import Literal

from dnabench.reports.stats.seeds import TIE, Welch

Verdict = Literal["win", "loss", "not separable", "descriptive"]
ALPHA = 0.05
MIN_SEEDS = 5  # of both models; below, a test at 0.05 sees only differences above 2 sd
_COUNTED = ("accuracy", "f1_binary", "f1_macro")  # as if a share of the test examples


def verdict(
    test: Welch,
    p_holm: float,
    rope: float,
    n: int,
    nested: tuple[float, float] | None = None,
) -> tuple[Verdict, str]:
    """Say in a word what may be claimed of a against b, and why nothing more.

    Args:
        test: of a against b.
        p_holm: its p after `holm`.
        rope: the smallest difference worth calling one, in score units.
        n: seeds of the model that has fewer.
        nested: interval of a - b over seeds and test examples; None when there is none.

    Returns:
        "win" or "loss" when p_holm < 0.05, `nested` (if given) lies on the same side of 0 as the
        difference and this is at least `rope`; else "not separable"; "descriptive" when n is below
        5 or neither model varies. Then the reason, empty where the word says all.

    Source:
        docs/statistics.md#the-verdict.
    """
    if n < MIN_SEEDS:
        return "descriptive", f"only (n<{MIN_SEEDS})"
    if test.degenerate:
        return "descriptive", "only (degenerate: no spread over seeds)"
    if not p_holm < ALPHA:
        return "not separable", ""
    word: Verdict = "win" if test.difference > 0 else "loss"
    if nested is not None and not (nested[0] > 0 if word == "win" else nested[1] < 0):
        return "not separable", f"(test examples: interval {_fault(*nested)})"
    if abs(test.difference) < rope - TIE:
        return "not separable", f"(difference below {rope:g})"
    return word, ""


def _fault(low: float, high: float) -> str:
    if math.isnan(low + high):
        return "undefined"
    return "holds 0" if low <= 0 <= high else "disagrees"


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

    Source:
        docs/statistics.md#the-test-examples.
    """
    if n_test < 1:
        return math.nan
    if metric == "mcc" and abs(score) <= 1:
        return math.sqrt((1 - score**2) / n_test)
    if metric in _COUNTED and 0 <= score <= 1:
        return math.sqrt(score * (1 - score) / n_test)
    return math.nan
