"""reports/stats against published numbers, scipy, statsmodels, and its invariants."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from dnabench.reports.stats import (
    Welch,
    a12,
    hedges_g,
    holm,
    summary,
    verdict,
    welch,
)

# MCC in per cent on nt/h3, ten seeds each: arXiv:2502.18538, table 17
CONVNOVA = [81.62, 81.78, 81.04, 82.24, 82.12, 82.06, 81.36, 81.12, 80.91, 80.69]
CADUCEUS = [80.29, 79.85, 78.63, 81.47, 80.24, 81.50, 81.35, 80.35, 79.95, 81.02]
REFERENCE = Path(__file__).resolve().parent.parent.parent / "shared" / "reference"


def test_h3_of_convnova_against_caduceus():
    # values from scipy 1.17.1 ttest_ind(equal_var=False) and by formula, rounded to six places
    test = welch(CONVNOVA, CADUCEUS)
    assert test.difference == pytest.approx(1.029, abs=1e-9)
    assert test.t == pytest.approx(3.087696, abs=1e-6)
    assert test.df == pytest.approx(14.899351, abs=1e-6)
    assert test.p == pytest.approx(0.007552, abs=1e-6)
    assert (test.low, test.high) == pytest.approx((0.318259, 1.739741), abs=1e-6)
    assert not test.degenerate
    assert hedges_g(CONVNOVA, CADUCEUS) == pytest.approx(1.322514, abs=1e-6)
    assert a12(CONVNOVA, CADUCEUS) == 0.84


def _published():
    if not (REFERENCE / "stats_expected.csv").exists():
        pytest.skip(f"no {REFERENCE}: the published seeds are not beside this checkout")
    scores, expected = {}, {}
    with (REFERENCE / "published_seeds.csv").open() as file:
        for row in csv.DictReader(file):
            if row["variant"] in ("default", "dilation=4"):
                scores.setdefault((row["task"], row["model"]), []).append(float(row["value"]))
    with (REFERENCE / "stats_expected.csv").open() as file:
        for row in csv.DictReader(file):
            if row["policy"] == "d4" and row["id"].count("|") == 3:
                key = row["task"], row["model_a"], row["model_b"]
                value = float(row["value"]), float(row["tolerance"])
                expected.setdefault(key, {})[row["statistic"]] = value
    return scores, expected


def test_seventy_two_published_comparisons():
    scores, expected = _published()
    assert len(expected) == 72
    pairs = {(t, a, b): (scores[t, a], scores[t, b]) for t, a, b in expected}
    tests = {key: welch(*pair) for key, pair in pairs.items()}
    adjusted = dict(zip(tests, holm([t.p for t in tests.values()]), strict=True))
    for key, want in expected.items():
        test = tests[key]
        got = {
            "diff": test.difference, "welch_t": test.t, "welch_df": test.df, "welch_p": test.p,
            "ci_lo": test.low, "ci_hi": test.high, "welch_p_holm72": adjusted[key],
            "hedges_g": hedges_g(*pairs[key]), "a12": a12(*pairs[key]),
        }  # fmt: skip
        for name, value in got.items():
            reference, tolerance = want[name]
            assert math.isclose(value, reference, rel_tol=1e-6, abs_tol=tolerance), (key, name)
    significant = [k for k, p in adjusted.items() if p < 0.05]
    wins = [k for k in significant if tests[k].difference > 0]
    assert (len(wins), len(significant) - len(wins)) == (58, 7)  # reference/STATS.md section 1


def test_welch_agrees_with_scipy():
    ttest = pytest.importorskip("scipy.stats").ttest_ind
    rng = np.random.default_rng(0)
    for n, m in [(2, 2), (2, 9), (5, 5), (10, 3), (40, 25)]:
        a, b = rng.normal(0.7, 0.01, n), rng.normal(0.71, 0.03, m)
        ours, ref = welch(list(a), list(b), 0.9), ttest(a, b, equal_var=False)
        interval = ref.confidence_interval(0.9)
        assert ours[1:4] == pytest.approx((ref.statistic, ref.df, ref.pvalue), rel=1e-9)
        assert ours[4:6] == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_swapping_models_flips_the_sign_only():
    ab, ba = welch(CONVNOVA, CADUCEUS), welch(CADUCEUS, CONVNOVA)
    assert (ab.difference, ab.t, ab.low, ab.high) == (-ba.difference, -ba.t, -ba.high, -ba.low)
    assert (ab.p, ab.df) == pytest.approx((ba.p, ba.df), rel=1e-14)
    assert hedges_g(CONVNOVA, CADUCEUS) == -hedges_g(CADUCEUS, CONVNOVA)
    assert a12(CONVNOVA, CADUCEUS) == 1 - a12(CADUCEUS, CONVNOVA)


def test_no_spread_in_either_is_degenerate_and_has_no_p():
    test = welch([0.8] * 10, [0.7] * 10)
    assert test.degenerate and test.difference == pytest.approx(0.1)
    assert all(math.isnan(x) for x in test[1:6])
    assert math.isnan(hedges_g([0.8] * 10, [0.7] * 10))
    # ten equal runs whose sum rounds, and two that differ in the last bit
    assert welch([0.1] * 10, [0.3] * 10).degenerate
    assert welch([0.1 + 0.2, 0.3], [0.4, 0.4]).degenerate


def test_spread_in_one_is_enough():
    test = welch([0.8] * 6, [0.70, 0.71, 0.72, 0.73, 0.74, 0.75])
    assert not test.degenerate and test.df == pytest.approx(5) and 0 < test.p < 0.001


def test_one_seed_gives_a_difference_and_no_test():
    test = welch([0.8], [0.7, 0.72])
    assert test.difference == pytest.approx(0.09) and not test.degenerate
    assert all(math.isnan(x) for x in test[1:6]) and math.isnan(hedges_g([0.8], [0.7, 0.72]))


def test_summary_worked_by_hand():
    # deviations -1, 0, 1 hundredths: sd = 0.01; t(.975, 2) = 4.302653, half = t x 0.01 / sqrt 3
    s = summary([0.71, 0.72, 0.73])
    assert (s.n, s.min, s.max) == (3, 0.71, 0.73)
    assert (s.mean, s.sd) == pytest.approx((0.72, 0.01))
    assert (s.high - s.mean, s.mean - s.low) == pytest.approx([4.302653 * 0.01 / 3**0.5] * 2)


def test_summary_of_few_and_of_equal_scores():
    one, none, equal = summary([0.5]), summary([]), summary([0.1] * 3)
    assert one[:2] == (1, 0.5) and all(map(math.isnan, (one.sd, one.low, one.high)))
    assert none.n == 0 and all(map(math.isnan, none[1:]))
    assert equal.sd == 0 and equal.low == equal.mean == equal.high


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="position 1"):
        summary([0.5, bad])


def test_welch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="0 and 1"):
        welch([], [0.5])


def test_holm_worked_example():
    # by hand: 3 x .01, 2 x .02, 1 x .04 -> .03, .04, .04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]) == [] and holm([0.9, 0.9]) == [1.0, 1.0]


def test_holm_agrees_with_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    rng = np.random.default_rng(1)
    for m in (1, 2, 7, 100):
        p = list(rng.random(m) ** 3)
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_holm_leaves_out_what_was_not_tested():
    got = holm([math.nan, 0.01, math.nan, 0.02])
    assert got[1::2] == pytest.approx([0.02, 0.02]) and math.isnan(got[0] + got[2])


def test_a12_counts_ties_half():
    assert a12([1, 2], [1, 1]) == 0.75 and a12([1], [1]) == 0.5
    assert a12([0.1 + 0.2], [0.3]) == 0.5  # equal but for rounding
    assert math.isnan(a12([], [1]))


def _test(difference, degenerate=False):
    return Welch(difference, 0, 0, 0, 0, 0, degenerate)


@pytest.mark.parametrize(
    ("difference", "p", "n", "word", "reason"),
    [
        (0.02, 0.049, 5, "win", ""),
        (-0.02, 0.049, 5, "loss", ""),
        (0.02, 0.05, 5, "not separable", ""),
        (0.02, 0.001, 4, "descriptive", "only (n<5)"),
        (0.009, 0.001, 9, "not separable", "(difference below 0.01)"),
        (0.29 - 0.28, 0.001, 9, "win", ""),  # 0.00999... in floats
        (0.02, math.nan, 9, "not separable", ""),
    ],
)
def test_verdict(difference, p, n, word, reason):
    assert verdict(_test(difference), p, 0.01, n) == (word, reason)


def test_verdict_without_spread_is_descriptive():
    word, reason = verdict(_test(0.1, degenerate=True), math.nan, 0.01, 10)
    assert word == "descriptive" and "degenerate" in reason
