"""reports/stats over tasks, sizes, power: against scipy, statsmodels, exact counts, invariants."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from dnabench.reports import stats


def suite_of(seed, tasks, models, digits=2):
    """Scores with ties: two digits in a narrow range."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(0.8, 0.02, (tasks, models)) + 0.01 * np.arange(models), digits)


@pytest.mark.parametrize("seed", range(4))
def test_ranks_and_friedman_agree_with_scipy(seed):
    scores = suite_of(seed, 6 + 5 * seed, 3 + seed)
    n, k = scores.shape
    ranks = scipy.stats.rankdata(-scores, axis=1).mean(0)
    got, want = stats.friedman(scores), scipy.stats.friedmanchisquare(*scores.T)
    assert stats.average_ranks(scores) == pytest.approx(ranks)
    assert got.ranks == pytest.approx(tuple(ranks))
    assert (got.chi2, got.p) == pytest.approx((want.statistic, want.pvalue), rel=1e-9)
    f = (n - 1) * want.statistic / (n * (k - 1) - want.statistic)
    assert got.f == pytest.approx(f)
    assert got.p_f == pytest.approx(scipy.stats.f.sf(f, k - 1, (k - 1) * (n - 1)), rel=1e-9)
    squares = (ranks**2).sum()
    plain = 12 * n / (k * (k + 1)) * (squares - k * (k + 1) ** 2 / 4)
    found = stats.friedman_of_ranks(got.ranks, n)  # without the correction for ties
    assert found == pytest.approx(plain) and got.chi2 >= found
    assert 0 <= got.kendall_w <= 1


def test_ties_of_rounding_are_ties():
    scores = np.array([[0.1 + 0.2, 0.3, 0.1], [0.3, 0.1 + 0.2, 0.5]])
    assert list(stats.average_ranks(scores)) == [2.0, 2.0, 2.0]


def test_friedman_when_all_tasks_agree():
    scores = np.tile([0.7, 0.8, 0.9], (5, 1))
    got = stats.friedman(scores)
    # 3! orders a task; the first task is free: (1/6)^4
    assert got.kendall_w == pytest.approx(1) and got.f == math.inf
    assert got.p_f == pytest.approx(6.0**-4)
    assert got.ranks == (3.0, 2.0, 1.0)


def test_friedman_when_nothing_differs():
    got = stats.friedman(np.full((4, 3), 0.8))
    assert got.ranks == (2.0, 2.0, 2.0) and stats.friedman_of_ranks(got.ranks, 4) == 0
    assert all(map(math.isnan, (got.chi2, got.p, got.f, got.p_f, got.kendall_w)))


def test_friedman_of_one_task():
    got = stats.friedman(np.array([[0.7, 0.8, 0.9]]))
    assert math.isnan(got.p_f) and got.p > 0.05


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.ones((4, 2)), "3 models or more, got 2"),
        (np.ones((0, 3)), r"shape \(0, 3\)"),
        (np.ones(3), r"shape \(3,\)"),
        (np.array([[1, 2, 3], [1, math.nan, 3]]), "task 1, model 1 .* is nan"),
    ],
)
def test_friedman_refuses(scores, words):
    with pytest.raises(ValueError, match=words):
        stats.friedman(scores)


def test_nemenyi_agrees_with_the_studentized_range():
    scores = suite_of(7, 9, 5)
    ranks, n, k = stats.average_ranks(scores), *scores.shape
    p, critical = stats.nemenyi(scores), stats.critical_difference(5, 9)
    for i, j in itertools.product(range(k), range(k)):
        q = abs(ranks[i] - ranks[j]) / math.sqrt(k * (k + 1) / (12 * n))
        want = scipy.stats.studentized_range.sf(q, k, np.inf) if i != j else 1.0
        assert p[i, j] == pytest.approx(want, abs=1e-9) and p[i, j] == p[j, i]
        assert (abs(ranks[i] - ranks[j]) > critical) == (p[i, j] < 0.05)
    assert (p < 0.05).any() and (p > 0.05).any()
    for k, alpha in ((2, 0.1), (6, 0.01), (40, 0.05)):
        want = scipy.stats.studentized_range.ppf(1 - alpha, k, np.inf) / math.sqrt(2)
        assert stats.nemenyi_q(k, alpha) == pytest.approx(want, abs=1e-9)
    with pytest.raises(ValueError, match="got 1 and"):
        stats.nemenyi_q(1)
    with pytest.raises(ValueError, match=r"got 2 and 1\.0"):
        stats.nemenyi_q(2, 1.0)


def test_nemenyi_of_two_is_the_normal_test():
    x = suite_of(8, 12, 2, digits=6)
    gap = abs(np.subtract(*stats.average_ranks(x)))
    want = 2 * scipy.stats.norm.sf(gap / math.sqrt(2 * 3 / (6 * 12)))
    assert stats.nemenyi(x)[0, 1] == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 6, 12, 25, 60])
def test_wilcoxon_without_ties_agrees_with_scipy(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(0.8, 0.02, n), rng.normal(0.81, 0.02, n)
    got, want = stats.wilcoxon(x, y), scipy.stats.wilcoxon(x, y, method="exact")
    assert (got.w, got.p) == pytest.approx((want.statistic, want.pvalue), rel=1e-9)
    sign = scipy.stats.binomtest(int((x > y).sum()), n).pvalue
    assert (got.wins, got.losses) == ((x > y).sum(), (x < y).sum())
    assert got.p_sign == pytest.approx(sign, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_wilcoxon_with_ties_counts_every_sign(seed):
    x, y = suite_of(seed, 11, 2).T
    d = np.round(x - y, 2)
    d = d[d != 0]
    ranks = scipy.stats.rankdata(abs(d))
    signs = np.array(list(itertools.product([0, 1], repeat=len(d))))
    w = min(ranks[d > 0].sum(), ranks[d < 0].sum())
    sums = signs @ ranks
    want = (np.minimum(sums, ranks.sum() - sums) <= w).mean()
    got = stats.wilcoxon(x, y)
    assert got.w == w and got.p == pytest.approx(want, rel=1e-12)
    assert (got.wins, got.losses) == ((d > 0).sum(), (d < 0).sum())  # zeros are dropped
    assert seed or len(d) < 11


def test_wilcoxon_turns_and_refuses():
    x, y = suite_of(3, 14, 2).T
    a, b = stats.wilcoxon(x, y), stats.wilcoxon(y, x)
    assert (a.w, a.p, a.p_sign, a.wins) == (b.w, b.p, b.p_sign, b.losses)
    assert stats.wilcoxon(10 * x + 3, 10 * y + 3)[1:] == pytest.approx(a[1:])
    assert stats.wilcoxon(x, x) == (0.0, 1.0, 0, 0, 1.0)
    with pytest.raises(ValueError, match=r"x has shape \(14,\), y \(13,\)"):
        stats.wilcoxon(x, y[1:])


def test_posterior_sums_to_one_and_turns():
    x, y = suite_of(4, 12, 2, digits=6).T
    a, b = stats.posterior(x, y, 0.01), stats.posterior(y, x, 0.01)
    assert sum(a) == pytest.approx(1) and a == b[::-1]
    assert a == stats.posterior(x, y, 0.01) != stats.posterior(x, y, 0.01, seed=1)
    assert stats.posterior(x, y, 0.01, seed=1) == pytest.approx(a, abs=0.01)
    assert stats.posterior(x, x, 0.01) == (0, 1, 0)
    assert stats.posterior(x, x, 0) == (0.5, 0, 0.5)
    assert stats.posterior(x + 0.005, x, 0.01) == (0, 1, 0)
    assert stats.posterior(x + 0.005, x, 0.0)[2] > 0.999
    with pytest.raises(ValueError, match=r"rope is -0.1"):
        stats.posterior(x, y, -0.1)


def test_posterior_of_one_task_by_hand():
    # the task's weight w is Beta(1, 0.5); (z0, z0) counts (1-w)^2, (z0, z) 2w(1-w), (z, z) w^2.
    # z = 3 rope: both pairs with z are above the rope, so x wins when 1 - (1-w)^2 > (1-w)^2
    above = 1 - math.sqrt(0.5)
    want = scipy.stats.beta.sf(above, 1, 0.5)
    assert stats.posterior([0.83], [0.80], 0.01) == pytest.approx((0, 1 - want, want), abs=0.007)
    # z = 1.5 rope: only (z, z) is above, so x wins when w^2 > 1/2
    want = scipy.stats.beta.sf(math.sqrt(0.5), 1, 0.5)
    assert stats.posterior([0.815], [0.80], 0.01)[2] == pytest.approx(want, abs=0.007)


def runs_of(seed, models=3, tasks=5, n=8):
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.4, 0.9, tasks)
    return [[rng.normal(c + 0.01 * m, 0.02, n) for c in level] for m in range(models)]


def test_min_max_puts_the_means_at_0_and_1():
    scaled = stats.min_max(runs_of(0))
    means = np.array([[x.mean() for x in model] for model in scaled])
    assert means.min(0) == pytest.approx(0) and means.max(0) == pytest.approx(1)
    shifted = stats.min_max([[5 * x + 2 for x in model] for model in runs_of(0)])
    assert np.allclose(scaled, shifted)
    same = stats.min_max([[[0.7, 0.9], [0.1]], [[0.8], [0.3]]])  # equal means on the first task
    assert [list(x) for model in same for x in model] == [[0.5, 0.5], [0], [0.5], [1]]


def test_iqm_is_a_trimmed_mean():
    for model, size in zip(runs_of(1), stats.iqm(runs_of(1)), strict=True):
        want = scipy.stats.trim_mean(np.concatenate(model), 0.25)
        assert size.value == pytest.approx(want, rel=1e-12)
        assert size.low < size.value < size.high and size.low_tasks < size.low
    # six runs: 1.5 are cut on each side, so halves of the second and the fifth count
    assert stats.iqm([[[0, 1, 2, 4, 8, 99]]])[0].value == pytest.approx((0.5 + 2 + 4 + 4) / 3)


def test_iqm_counts_tasks_not_runs():
    once = stats.iqm([[[0.1], [0.4], [0.6], [0.9]]])[0]
    often = stats.iqm([[[0.1] * 7, [0.4], [0.6] * 3, [0.9]]])[0]
    assert once.value == pytest.approx(0.5) == pytest.approx(often.value)
    assert once.low == once.high == pytest.approx(0.5)  # one seed: nothing to draw
    assert often[3:] == pytest.approx(once[3:])


def test_iqm_intervals_against_a_plain_bootstrap():
    model, rng = runs_of(2, models=1)[0], np.random.default_rng(0)
    rows, task = np.stack(model), np.arange(5)[:, None]
    seeds = rows[task, rng.integers(0, 8, (5000, 5, 8))].reshape(5000, 40)
    tasks = rows[rng.integers(0, 5, (5000, 5))].reshape(5000, 40)
    got = stats.iqm([model])[0]
    for drawn, ends, tolerance in ((seeds, got[1:3], 0.001), (tasks, got[3:], 0.01)):
        want = np.quantile(scipy.stats.trim_mean(drawn, 0.25, axis=1), [0.025, 0.975])
        assert ends == pytest.approx(tuple(want), abs=tolerance)


def test_improvement_is_the_mean_of_a12():
    a, b, _ = runs_of(3)
    b = [x[: 3 + t] for t, x in enumerate(b)]  # ragged
    size = stats.probability_of_improvement(a, b)
    assert size.value == pytest.approx(
        np.mean([stats.a12(x, y) for x, y in zip(a, b, strict=True)])
    )
    assert size.low < size.value < size.high and size == stats.probability_of_improvement(a, b)
    assert stats.probability_of_improvement(a, b, seed=1)[1:] != size[1:]
    back = stats.probability_of_improvement(b, a)
    assert back.value == pytest.approx(1 - size.value)
    assert (back.low, back.high) == pytest.approx((1 - size.high, 1 - size.low), abs=0.02)
    assert stats.probability_of_improvement([[1, 2]], [[0, 0]]) == (1, 1, 1, 1, 1)
    for replicates in (1, 50):
        tied = stats.probability_of_improvement([[1, 1]], [[1, 1]], replicates)
        assert tied == (0.5,) * 5
    assert stats.probability_of_improvement(a, a).value == 0.5


def test_improvement_interval_against_a_plain_bootstrap():
    a, b, _ = runs_of(4, tasks=3)
    rng, task = np.random.default_rng(0), np.arange(3)[:, None]
    x, y = (np.stack(s)[task, rng.integers(0, 8, (20_000, 3, 8))] for s in (a, b))
    drawn = (x[..., None] > y[..., None, :]).mean((1, 2, 3))
    got = stats.probability_of_improvement(a, b, replicates=20_000)
    assert (got.low, got.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([[[1], [2]], [[1]]], r"\[1, 2\] tasks"),
        ([[[1], []]], "model 0 on task 1"),
        ([[[1, math.nan]]], "model 0 on task 0 .* nan"),
        ([], r"\[\] tasks"),
        ([[]], r"\[0\] tasks"),
    ],
)
def test_sizes_refuse(scores, words):
    for f in (stats.iqm, stats.min_max):
        with pytest.raises(ValueError, match=words):
            f(scores)


@pytest.mark.parametrize(
    ("n", "m", "want"),
    [(5, 1, 2.02), (5, 18, 3.4), (10, 1, 1.33), (10, 18, 1.96), (20, 1, 0.91), (20, 18, 1.29)],
)
def test_detectable_differences_of_the_protocol(n, m, want):
    # docs/statistics.md, in sd at 80 % power; 3.4 is 3.38 and 1.33 is 1.325
    assert stats.detectable(1, 1, n, 0.05 / m) == pytest.approx(
        want, abs=0.03 if want == 3.4 else 0.006
    )


def test_detectable_agrees_with_statsmodels():
    solve = pytest.importorskip("statsmodels.stats.power").TTestIndPower().solve_power
    for n, alpha, power in ((3, 0.05, 0.8), (10, 0.01, 0.9), (50, 0.05, 0.5)):
        want = solve(nobs1=n, alpha=alpha, power=power)
        assert stats.detectable(0.02, 0.02, n, alpha, power) / 0.02 == pytest.approx(want, rel=1e-5)


def test_detectable_in_simulated_runs():
    rng, n = np.random.default_rng(6), 8
    d = stats.detectable(0.01, 0.03, n)
    a, b = rng.normal(d, 0.01, (20_000, n)), rng.normal(0, 0.03, (20_000, n))
    found = scipy.stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)  # the df of a test are estimated


def test_seeds_needed_is_where_detectable_passes():
    for difference in (0.05, 0.02, 0.005):
        n = stats.seeds_needed(0.0113, 0.0085, difference)
        assert stats.detectable(0.0113, 0.0085, n) <= difference * (1 + 1e-9)
        assert n == 2 or stats.detectable(0.0113, 0.0085, n - 1) > difference
        assert n == stats.seeds_needed(0.85, 1.13, -100 * difference)  # sign, order and unit
    assert stats.seeds_needed(0.01, 0.01, 10) == 2
    # as many as 10,000, which two z-tests bring to 2.8016 x sqrt(2 / 10,000) = 0.03962 sd
    assert stats.seeds_needed(1, 1, 0.0397) == pytest.approx(2 * (2.8016 / 0.0397) ** 2, abs=3)
    assert stats.seeds_needed(1, 1, 0.0396) == 0


def test_power_without_noise_is_unknown():
    assert math.isnan(stats.detectable(0, 0, 10)) and math.isnan(stats.detectable(1, 1, 1))
    assert math.isnan(stats.detectable(math.nan, 1, 10)) and stats.detectable(0, 1, 10) > 0
    assert stats.seeds_needed(0, 0, 1) == stats.seeds_needed(1, math.nan, 1) == 0
    assert stats.seeds_needed(1, 1, 0) == stats.seeds_needed(1, 1, math.nan) == 0
    with pytest.raises(ValueError, match=r"-1 and 1"):
        stats.detectable(-1, 1, 5)
    with pytest.raises(ValueError, match=r"alpha is 0.9"):
        stats.seeds_needed(1, 1, 1, alpha=0.9)
    with pytest.raises(ValueError, match=r"alpha is 0, power 0\.8"):
        stats.detectable(1, 1, 5, alpha=0)
    with pytest.raises(ValueError, match=r"power 1;"):
        stats.detectable(1, 1, 5, power=1)
