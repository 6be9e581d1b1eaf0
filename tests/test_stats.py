"""reports/stats on one task: against scipy, statsmodels, exact arithmetic, and its invariants."""

import inspect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from dnabench.reports import stats
from dnabench.reports.stats import (
    Welch,
    a12,
    best_p,
    bh,
    d_cohen,
    delta,
    hedges_g,
    holm,
    permutation,
    summary,
    verdict,
    welch,
)

# MCC in per cent on nt/h3, ten seeds each: arXiv:2502.18538, table 17
CONVNOVA = [81.62, 81.78, 81.04, 82.24, 82.12, 82.06, 81.36, 81.12, 80.91, 80.69]
CADUCEUS = [80.29, 79.85, 78.63, 81.47, 80.24, 81.50, 81.35, 80.35, 79.95, 81.02]


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


def test_welch_agrees_with_scipy():
    ttest = pytest.importorskip("scipy.stats").ttest_ind
    rng = np.random.default_rng(0)
    for n, m in [(2, 2), (2, 9), (5, 5), (10, 3), (40, 25)]:
        a, b = rng.normal(0.7, 0.01, n), rng.normal(0.71, 0.03, m)
        ours, ref = welch(list(a), list(b), 0.9), ttest(a, b, equal_var=False)
        interval = ref.confidence_interval(0.9)
        assert ours[1:4] == pytest.approx((ref.statistic, ref.df, ref.pvalue), rel=1e-9)
        assert ours[4:6] == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert ours.se == pytest.approx((a.mean() - b.mean()) / ref.statistic, rel=1e-9)


def test_swapping_models_flips_the_sign_only():
    ab, ba = welch(CONVNOVA, CADUCEUS), welch(CADUCEUS, CONVNOVA)
    assert (ab.difference, ab.t, ab.low, ab.high) == (-ba.difference, -ba.t, -ba.high, -ba.low)
    assert (ab.p, ab.df) == pytest.approx((ba.p, ba.df), rel=1e-14)
    assert hedges_g(CONVNOVA, CADUCEUS) == -hedges_g(CADUCEUS, CONVNOVA)
    assert a12(CONVNOVA, CADUCEUS) == 1 - a12(CADUCEUS, CONVNOVA)


def test_no_spread_in_either_is_degenerate_and_has_no_p():
    test = welch([0.8] * 10, [0.7] * 10)
    assert test.degenerate and test.difference == pytest.approx(0.1)
    assert all(math.isnan(x) for x in test[1:6]) and test.se == 0
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
    assert all(math.isnan(x) for x in (*test[1:6], test.se))
    assert math.isnan(hedges_g([0.8], [0.7, 0.72]) + hedges_g([0.8], [0.7]))


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
    assert math.isnan(a12([], [1])) and math.isnan(a12([1], []))


def _test(difference, degenerate=False):
    return Welch(difference, 0, 0, 0, 0, 0, degenerate)


@pytest.mark.parametrize(
    ("difference", "p", "n", "word", "reason"),
    [
        (0.02, 0.049, 5, "win", ""),
        (-0.02, 0.049, 5, "loss", ""),
        (0.02, 0.05, 5, "no clear difference", ""),
        (0.02, 0.001, 4, "descriptive", "only (n < 5)"),
        (0.009, 0.001, 9, "no clear difference", "(difference below 0.01)"),
        (0.29 - 0.28, 0.001, 9, "win", ""),  # 0.00999... in floats
        (0.02, math.nan, 9, "no clear difference", ""),
    ],
)
def test_verdict(difference, p, n, word, reason):
    assert verdict(_test(difference), p, 0.01, n) == (word, reason)


def test_verdict_without_spread_is_descriptive():
    found = verdict(_test(0.1, degenerate=True), math.nan, 0.01, 10)
    assert found == ("descriptive", "only (no variation between seeds)")


@pytest.mark.parametrize(
    ("difference", "nested", "word", "reason"),
    [
        (0.02, (0.001, 0.04), "win", ""),
        (-0.02, (-0.04, -0.001), "loss", ""),
        (0.02, (-0.001, 0.04), "no clear difference", "(95 % CI includes 0)"),
        (-0.02, (-0.04, 0.0), "no clear difference", "(95 % CI includes 0)"),
        (0.02, (-0.04, -0.01), "no clear difference", "(95 % CI has the opposite sign)"),
        (0.02, (math.nan, math.nan), "no clear difference", "(95 % CI undefined)"),
        (0.009, (0.001, 0.02), "no clear difference", "(difference below 0.01)"),
        (0.009, (-0.001, 0.02), "no clear difference", "(95 % CI includes 0)"),
    ],
)
def test_verdict_counts_the_test_examples(difference, nested, word, reason):
    assert verdict(_test(difference), 0.001, 0.01, 10, nested) == (word, reason)
    assert verdict(_test(difference), 0.2, 0.01, 10, nested) == ("no clear difference", "")
    assert verdict(_test(difference), 0.001, 0.01, 4, nested)[0] == "descriptive"


def test_the_better_of_two_wins_nothing_while_its_mean_leaves_runs_out():
    said = ("no clear difference", "(the better mean leaves out 2 undefined)")
    for difference, undefined in ((0.02, (2, 0)), (-0.02, (0, 2))):
        assert verdict(_test(difference), 0.001, 0.01, 10, None, 1, undefined) == said
        assert verdict(_test(-difference), 0.001, 0.01, 10, None, -1, undefined) == said
        turned = verdict(_test(-difference), 0.001, 0.01, 10, None, 1, undefined)
        assert turned in (("win", ""), ("loss", ""))


def _every_split(a, b):
    """The permutation p in fractions: every split counted, nothing rounded."""
    pool = [Fraction(x) for x in (*a, *b)]
    n, total = len(a), sum(pool)

    def gap(chosen):
        mine = sum(pool[i] for i in chosen)
        return abs(mine / n - (total - mine) / len(b))

    gaps = [gap(chosen) for chosen in itertools.combinations(range(len(pool)), n)]
    return sum(g >= gap(range(n)) for g in gaps) / len(gaps)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (2, 2), (3, 3), (5, 5), (3, 7), (6, 2)])
@pytest.mark.parametrize("step", [3, 8, 1497, 10**6])
def test_permutation_counts_every_split(n, m, step):
    # scores k / step: coarse ones tie in many sums, and thirds do not end in decimals
    rng = np.random.default_rng(n * m * step)
    for _ in range(5):
        counts = rng.integers(0, min(step, 40), n + m)
        a, b = counts[:n], counts[n:]
        if len(set(a)) == len(set(b)) == 1:
            continue
        want = _every_split(a.tolist(), b.tolist())
        assert permutation(list(a / step), list(b / step)) == pytest.approx(want, rel=1e-14)


def test_permutation_agrees_with_scipy():
    resample = pytest.importorskip("scipy.stats").permutation_test
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.8, 0.01, 6), rng.normal(0.81, 0.02, 7)
    want = resample(
        (a, b), lambda x, y, axis: abs(x.mean(axis) - y.mean(axis)), vectorized=True,
        alternative="greater", n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert permutation(list(a), list(b)) == pytest.approx(want, rel=1e-12)


def test_permutation_at_its_ends():
    assert permutation([1, 2, 3], [1, 2, 3]) == 1 == permutation([1, 2], [1, 2, 1, 2])
    assert permutation([4, 5, 6, 7, 8], [1, 1, 2, 3, 1]) == 2 / math.comb(10, 5)
    assert math.isnan(permutation([0.8] * 10, [0.7] * 10))  # deterministic: no runs to exchange
    assert math.isnan(permutation(list(range(10)), list(range(11))))  # 352,716 splits
    with pytest.raises(ValueError, match="0 and 1"):
        permutation([], [0.5])
    with pytest.raises(ValueError, match="nan"):
        permutation([math.nan, 1], [0.5])


@pytest.mark.parametrize("test", [lambda a, b: welch(a, b).p, permutation, hedges_g, a12, delta])
def test_shift_scale_and_order_change_nothing(test):
    a, b = CONVNOVA[:7], CADUCEUS
    want = test(a, b)
    assert test(a[::-1], b[3:] + b[:3]) == pytest.approx(want, rel=1e-9)
    assert test([x / 100 for x in a], [x / 100 for x in b]) == pytest.approx(want, rel=1e-9)
    assert test([x - 80 for x in a], [x - 80 for x in b]) == pytest.approx(want, rel=1e-9)
    assert test([-x for x in b], [-x for x in a]) == pytest.approx(test(a, b), rel=1e-9)


def test_swapping_keeps_p_and_turns_effects():
    a, b = CONVNOVA[:7], CADUCEUS
    assert permutation(a, b) == permutation(b, a)
    assert d_cohen(a, b) == -d_cohen(b, a) and delta(a, b) == -delta(b, a)
    assert delta([1, 2], [0, 0]) == 1 and delta([1], [1]) == 0


def test_best_is_tested_against_the_strongest_rival():
    ttest = pytest.importorskip("scipy.stats").ttest_ind
    rng = np.random.default_rng(3)
    scores = [list(rng.normal(mean, 0.01, n)) for mean, n in ((0.8, 9), (0.79, 5), (0.7, 10))]
    one_sided = [ttest(scores[0], s, equal_var=False, alternative="greater") for s in scores[1:]]
    assert best_p(scores, 0) == pytest.approx(max(t.pvalue for t in one_sided), rel=1e-9)
    assert best_p(scores, 1) > 0.5  # it is not the best
    assert best_p([*scores, []], 0) == best_p(scores, 0)  # never ran on this task
    assert best_p(scores[:1] * 2, 0) == pytest.approx(0.5)


def test_best_is_unknown_when_a_rival_cannot_be_tested():
    vary = [0.8, 0.81, 0.82]
    for rivals in ([[0.7]], [], [[]], [[0.1, 0.2, 0.1], [0.7]]):
        assert math.isnan(best_p([vary, *rivals], 0)), rivals
    assert math.isnan(best_p([[0.8] * 3, [0.7] * 3], 0)) and math.isnan(best_p([[], vary], 0))


def test_bh_agrees_with_statsmodels():
    multipletests = pytest.importorskip("statsmodels.stats.multitest").multipletests
    rng = np.random.default_rng(4)
    for m in (1, 2, 7, 100):
        p = list(rng.random(m) ** 3)
        assert bh(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], rel=1e-12)
        assert all(x <= y <= z for x, y, z in zip(p, bh(p), holm(p), strict=True))


def test_bh_leaves_out_what_was_not_tested():
    got = bh([math.nan, 0.01, math.nan, 0.04])
    assert got[1::2] == pytest.approx([0.02, 0.04]) and math.isnan(got[0] + got[2])
    assert bh([]) == [] and bh([0.9, 0.9]) == [0.9, 0.9]


@pytest.mark.parametrize(
    ("metric", "score", "n", "want"),
    [
        ("mcc", 0.81494, 1497, 0.0149788),  # reference/test_sampling_noise.csv, nt/h3
        ("accuracy", 0.5, 100, 0.05),
        ("f1_macro", 0.9, 400, 0.015),
        ("mcc", 1.0, 50, 0.0),
        ("accuracy", 1.0, 50, 0.0),
        ("accuracy", 0.5, 1, 0.5),
    ],
)
def test_standard_error_of_a_test_split(metric, score, n, want):
    assert stats.test_standard_error(metric, score, n) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    ("metric", "score", "n"),
    [
        ("auroc", 0.9, 100),
        ("mcc", 0.9, 0),
        ("mcc", 1.1, 10),
        ("accuracy", -0.1, 10),
        ("f1_macro", 1.1, 10),
    ],
)
def test_standard_error_that_no_formula_gives(metric, score, n):
    assert math.isnan(stats.test_standard_error(metric, score, n))


def test_standard_error_against_drawn_test_splits():
    # a balanced task, 1,497 examples, 90 % right: MCC 0.8, accuracy 0.9
    rng = np.random.default_rng(5)
    cells = rng.multinomial(1497, [0.45, 0.05, 0.05, 0.45], 20_000).T.astype(float)
    tp, fp, fn, tn = cells
    mcc = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    f1 = 2 * tp / (2 * tp + fp + fn)
    for name, drawn in (("mcc", mcc), ("accuracy", (tp + tn) / 1497), ("f1_binary", f1)):
        formula = stats.test_standard_error(name, float(drawn.mean()), 1497)
        assert formula == pytest.approx(drawn.std(), rel=0.05), name


def test_every_function_says_where_it_comes_from():
    functions = [getattr(stats, name) for name in stats.__all__]
    for f in filter(inspect.isfunction, functions):
        assert all(word in f.__doc__ for word in ("Args:", "Returns:", "Source:")), f.__name__
