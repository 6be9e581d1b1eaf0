"""The noise of test examples against resampling by hand, identities and scikit-learn."""

import math

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from dnabench.metrics import METRICS
from dnabench.reports.stats import welch
from dnabench.reports.stats.examples import draws, nested, nested_pairs, replicates, units
from dnabench.reports.stats.replicates import scorer

CLASSES = [name for name, m in METRICS.items() if "multiclass" in m.kinds]
CASES = [
    *[(name, k) for name in CLASSES for k in (2, 3, 9)],
    ("f1_binary", 2),
    *[(name, 4) for name, m in METRICS.items() if "multilabel" in m.kinds],
    *[(name, k) for name in ("pearson", "spearman", "r2", "rmse", "mse") for k in (1, 2)],
]


def split(metric, k, n=150, runs=3, seed=0):
    """Labels and the logits of some runs, with many ties."""
    rng = np.random.default_rng([seed, k])
    kinds = METRICS[metric].kinds
    if "multilabel" in kinds:
        y = (rng.random((n, k)) < 0.3).astype(np.uint8)
        signal = y
    elif "regression" in kinds:
        signal = y = np.round(rng.normal(size=(n, k)), 1).astype(np.float32)
    else:
        y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
        signal = np.eye(k)[y]
    noise = rng.normal(size=(runs, n, k))
    return y, list(np.round(signal + noise, 1).astype(np.float32))


def test_every_metric_is_resampled():
    assert {metric for metric, _ in CASES} == set(METRICS)


@pytest.mark.parametrize(("metric", "k"), CASES)
def test_weights_of_one_give_the_score(metric, k):
    y, logits = split(metric, k)
    found = scorer(metric, y, logits, np.arange(len(y)))(np.ones((len(y), 2), np.int32))
    true = [METRICS[metric].function(y, x) for x in logits]
    assert found[:, 1].tolist() == found[:, 0].tolist() == pytest.approx(true, rel=1e-12)
    if metric in ("mcc", "f1_binary", "accuracy") or (metric == "auroc" and k == 2):
        assert found[:, 0].tolist() == true


@pytest.mark.parametrize("grouped", [False, True], ids=["rows", "groups"])
@pytest.mark.parametrize(("metric", "k"), CASES)
def test_a_replicate_is_the_score_of_the_rows_drawn(metric, k, grouped):
    y, logits = split(metric, k, n=40 if k < 9 else 90)
    groups = np.random.default_rng(3).integers(-5, 6, len(y)) if grouped else None
    unit = units(len(y), groups)
    found = replicates(y, logits, metric, groups=groups, n=25)
    weights = np.concatenate(list(draws(unit.max() + 1, 25, 0)), axis=1)
    assert found.shape == (3, 25)
    for r in range(25):
        rows = np.repeat(np.arange(len(y)), weights[unit, r])
        true = [METRICS[metric].function(y[rows], x[rows]) for x in logits]
        assert found[:, r].tolist() == pytest.approx(true, rel=1e-10, nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [("auroc", roc_auc_score), ("auprc", average_precision_score), ("mcc", matthews_corrcoef)],
)
def test_weights_mean_what_they_mean_to_sklearn(metric, theirs):
    y, logits = split(metric, 2)
    weights = next(iter(draws(len(y), 8, 5)))
    found = scorer(metric, y, logits, np.arange(len(y)))(weights)
    for i, x in enumerate(np.float64(logits)):  # float32 differences would tie elsewhere
        answer = x.argmax(1) if metric == "mcc" else x[:, 1] - x[:, 0]
        for r in range(8):
            true = theirs(y, answer, sample_weight=weights[:, r])
            assert found[i, r] == pytest.approx(true, rel=1e-10)


def test_draws_are_multinomial():
    weights = np.concatenate(list(draws(300, 2000, 1)), axis=1)
    assert weights.shape == (300, 2000) and (weights.sum(0) == 300).all()
    assert np.abs(weights.mean(1) - 1).max() < 5 / math.sqrt(2000)
    assert weights.var() == pytest.approx(1 - 1 / 300, rel=0.01)
    assert abs(np.corrcoef(weights[0], weights[1])[0, 1]) < 4.5 / math.sqrt(2000)


def test_models_scored_in_different_calls_stay_paired():
    y, logits = split("mcc", 2, runs=4)
    together = replicates(y, logits, "mcc", n=300)
    apart = np.concatenate([replicates(y, logits[:1], "mcc", n=300),
                            replicates(y, logits[1:], "mcc", n=300)])  # fmt: skip
    assert (together == apart).all()
    assert (together != replicates(y, logits, "mcc", n=300, seed=1)).any()
    assert (replicates(y, logits[:1], "auroc", n=300) >= 0).all()


def test_copies_in_one_group_are_one_example():
    y, logits = split("auroc", 2)
    copies = np.repeat(np.arange(len(y)), 4)
    for metric in ("mcc", "auroc", "accuracy"):
        once = replicates(y, logits, metric, n=50)
        many = replicates(y[copies], [x[copies] for x in logits], metric, groups=copies, n=50)
        assert many == pytest.approx(once, rel=1e-12)


def test_spread_of_accuracy_is_binomial():
    y, (x,) = split("accuracy", 2, n=1000, runs=1)
    found = replicates(y, [x], "accuracy", n=4000)[0]
    p = METRICS["accuracy"].function(y, x)
    assert found.std() == pytest.approx(math.sqrt(p * (1 - p) / 1000), rel=0.04)
    assert found.mean() == pytest.approx(p, abs=4 * found.std() / math.sqrt(4000))


@pytest.mark.parametrize("size", [2, 4])
def test_copies_that_are_drawn_together_are_one_example_each(size):
    """Groups of 4 among 2,000 are 500 examples, to the last bit: no line of its own."""
    y, logits = split("mcc", 2, n=500)
    alone = replicates(y, logits, "mcc", n=300)
    copies = [np.repeat(x, size, axis=0) for x in logits]
    groups = np.repeat(np.arange(500), size)
    found = replicates(np.repeat(y, size), copies, "mcc", groups=groups, n=300)
    assert np.array_equal(found, alone)


def test_counts_beyond_float32_and_int32_are_exact():
    """One group has nearly all rows and is drawn every time, as a chromosome may be."""
    y = (np.arange(40_000) % 20 > 0).astype(int)
    unit = np.minimum(np.arange(40_000), 499)  # 499 groups of one row, one of 39,501
    weights = np.zeros((500, 1), np.int32)
    weights[499], weights[1] = 499, 1
    scores = np.where(np.arange(40_000) % 7 < 5, 2.0 * y - 1, 0.5)
    assert (int(weights[unit, 0] @ y)) % 2  # an odd number above 2^24 is none of float32
    right, drawn = ((scores > 0) == y).astype(int), weights[unit, 0].astype(np.int64)
    logits = np.stack([np.zeros(40_000), scores], 1)
    found = {m: scorer(m, y, [logits], unit)(weights)[0, 0] for m in ("accuracy", "auroc")}
    assert found["accuracy"] == int(right @ drawn) / int(drawn.sum())
    n = {(c, v): int(drawn[(y == c) & (scores == v)].sum()) for c in (0, 1) for v in (-1, 0.5, 1)}
    pairs = sum(n[1, v] * n[0, w] * (2 * (v > w) + (v == w)) for v in (-1, 0.5, 1)
                for w in (-1, 0.5, 1))  # fmt: skip
    assert found["auroc"] == pairs / (2 * int(drawn[y == 1].sum()) * int(drawn[y == 0].sum()))


def test_replicates_of_a_median_of_labels():
    rng = np.random.default_rng(5)
    y = (rng.random((60, 4)) < 0.1).astype(np.uint8)
    y[:, 3] = 0  # never defined
    x = [rng.normal(size=y.shape) + y for _ in range(2)]
    found = replicates(y, x, "auroc_median", n=40)
    drawn = np.concatenate(list(draws(60, 40, 0)), axis=1)
    for b in range(40):
        rows = np.repeat(np.arange(60), drawn[:, b])
        for run in (0, 1):
            expected = METRICS["auroc_median"].function(y[rows], x[run][rows])
            assert found[run, b] == pytest.approx(expected, abs=1e-12)


def test_replicates_of_one_class_have_no_auroc():
    y, x = np.array([0, 0, 1]), np.array([[0, 0.1], [0, 0.2], [0, 0.3]])
    found = replicates(y, [x], "auroc", n=500)[0]
    # all three from the negatives, 8/27, or three times the positive, 1/27
    assert np.isnan(found).mean() == pytest.approx(9 / 27, abs=0.08)
    assert (found[~np.isnan(found)] == 1).all()
    assert np.isnan(replicates(y, [x], "auprc", n=500)[0]).tolist() == np.isnan(found).tolist()


def test_constant_predictions():
    y, _ = split("pearson", 1)
    constant = np.full((len(y), 1), 0.1, np.float32)
    for metric in ("pearson", "spearman"):
        assert np.isnan(replicates(y, [constant], metric, n=20)).all()
    labels, _ = split("mcc", 2)
    collapsed = np.tile(np.float32([0, 1]), (len(labels), 1))
    assert (replicates(labels, [collapsed], "mcc", n=20) == 0).all()
    assert (replicates(labels, [collapsed], "auroc", n=20) == 0.5).all()
    assert (replicates(0 * labels, [-collapsed], "f1_binary", n=20) == 0).all()


@pytest.mark.parametrize("metric", ["pearson", "r2"])
def test_values_far_from_0_are_resampled_as_exactly(metric):
    y, (x, *_) = (np.float64(part) for part in split(metric, 2))
    near, far = replicates(y, [x], metric, n=20), replicates(y + 1e7, [x + 1e7], metric, n=20)
    assert far == pytest.approx(near, rel=1e-7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 0}, "n = 0 replicates"),
        ({"metric": "auc"}, "no metric named 'auc'"),
        ({"groups": np.zeros(3, int)}, r"groups are int64 \(3,\); each of the 150 rows"),
        ({"groups": np.zeros(150)}, "groups are float64"),
        ({"logits": []}, "150 examples and 0 runs"),
        ({"y": np.full(150, 7)}, "label 7 of example 0"),
        ({"logits": [np.zeros((150, 2)), np.zeros((150, 3))]}, "run 1 .* K = 3 outputs, run 0"),
    ],
)
def test_what_cannot_be_resampled_says_why(changes, words):
    y, logits = split("mcc", 2)
    given = {"y": y, "logits": logits, "metric": "mcc", **changes}
    with pytest.raises(ValueError, match=words):
        replicates(given.pop("y"), given.pop("logits"), given.pop("metric"), **given)


def test_too_many_labels_are_refused_at_once():
    y = np.broadcast_to(np.uint8(1), (455_024, 919))
    runs = [np.broadcast_to(np.float32(0), y.shape)] * 20
    with pytest.raises(ValueError, match="455,024 examples x 919 outputs are 8e"):
        replicates(y, runs, "auroc_mean")
    small = replicates(y[:50, :3] * np.eye(50, 3, dtype=np.uint8), [np.eye(50, 3)], "auroc_mean")
    assert np.nanmin(small) == 1


# scores of two models over seeds, for the limits in which one noise is alone
A = np.array([0.8162, 0.8178, 0.8104, 0.8224, 0.8212, 0.8206, 0.8136, 0.8112, 0.8091, 0.8069])
B = np.array([0.8029, 0.7985, 0.7863, 0.8147, 0.8024, 0.8150, 0.8135, 0.8035, 0.7995, 0.8102])


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_noise_of_examples_it_is_welch(seeds):
    a, b = A[:seeds], B[:seeds]
    found = nested(*(np.tile(x[:, None], 10_000) for x in (a, b)))
    test = welch(a, b)
    assert found.difference == pytest.approx(test.difference, abs=1e-12)
    assert found.se == pytest.approx(test.difference / test.t, rel=1e-9)
    assert (found.df, found.p) == pytest.approx((test.df, test.p), rel=1e-9)
    width = test.high - test.low
    assert found.high - found.low == pytest.approx(width, rel=0.04)
    assert (found.low, found.high) == pytest.approx((test.low, test.high), abs=0.05 * width)


def test_seeds_of_the_second_model_count_against_the_difference():
    """Of scores 0, 0, 0, 0, 1, five are drawn: Binomial(5, 1/5) ones, 0 to 3 of them in 95 %."""
    a, b = (np.tile(np.array(x)[:, None], 10_000) for x in ([0.5] * 5, [0.0] * 4 + [1.0]))
    assert scipy.stats.binom(5, 0.2).ppf([0.025, 0.975]).tolist() == [0, 3]
    unit = math.sqrt(5 / 4) * scipy.stats.t(4).ppf(0.975) / scipy.stats.norm.ppf(0.975)
    found, turned = nested(a, b), nested(b, a)
    assert (found.low, found.high) == pytest.approx((0.3 - 0.4 * unit, 0.3 + 0.2 * unit))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_without_noise_of_seeds_it_is_the_bootstrap_over_examples():
    y, (x, z) = split("mcc", 2, n=500, runs=2)
    a, b = (replicates(y, [run] * 5, "mcc", n=2000) for run in (x, z))
    found = nested(a, b)
    d = a[0] - b[0]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(d, [0.025, 0.975])))
    assert (found.se, found.difference) == pytest.approx((d.std(ddof=1), d.mean()))
    assert found.df == math.inf
    assert found.p == pytest.approx(math.erfc(abs(found.difference) / found.se / math.sqrt(2)))
    narrow = nested(a, b, level=0.5)
    assert (narrow.low, narrow.high) == pytest.approx(tuple(np.quantile(d, [0.25, 0.75])))


def test_errors_of_single_runs_count_once():
    """Runs that differ only by chance on single examples: the spread is that of S x N answers."""
    rng = np.random.default_rng(2)
    y, seeds, n = rng.integers(0, 2, 2000), 10, 2000
    runs = [np.eye(2)[np.where(rng.random(n) < 0.8, y, 1 - y)] for _ in range(2 * seeds)]
    scores = replicates(y, runs, "accuracy", n=1000)
    expected = math.sqrt(2 * 0.8 * 0.2 / (seeds * n))
    assert nested(scores[:seeds], scores[seeds:]).se == pytest.approx(expected, rel=0.15)


def test_shared_examples_cancel():
    y, (x, z) = split("mcc", 2, n=800, runs=2)
    near = np.where(np.arange(800)[:, None] < 760, x, z)  # the same answers on 95 %
    a, b = (replicates(y, [run] * 5, "mcc", n=1000) for run in (x, near))
    assert nested(a, b).se < 0.5 * a[0].std()


def test_a_nested_interval_is_the_same_twice_and_turns_with_the_pair():
    y, logits = split("mcc", 2, n=300, runs=10)
    runs = replicates(y, logits, "mcc", n=2000)
    found, again, turned = nested(runs[:5], runs[5:]), nested(runs[:5], runs[5:]), nested(
        runs[5:], runs[:5]
    )  # fmt: skip
    assert found == again
    assert turned.difference == pytest.approx(-found.difference, abs=1e-12)
    assert (turned.se, turned.p) == pytest.approx((found.se, found.p))
    width = found.high - found.low
    assert (-turned.high, -turned.low) == pytest.approx((found.low, found.high), abs=0.1 * width)


def test_several_pairs_are_each_pair_alone_bit_for_bit():
    rng = np.random.default_rng(4)
    runs = {k: rng.normal(0.5, 0.1, (size, 300)) for k, size in enumerate((3, 5, 5, 1))}
    runs[2][0, 7] = math.nan  # a replicate without a value
    pairs = [(0, 1), (1, 0), (1, 2), (0, 3), (2, 0)]
    found = nested_pairs(runs, pairs)
    alone = {pair: nested(runs[pair[0]], runs[pair[1]]) for pair in pairs}
    assert list(map(repr, found.items())) == list(map(repr, alone.items()))  # NaN too


def test_where_there_is_no_interval():
    y, logits = split("mcc", 2, runs=4)
    runs = replicates(y, logits, "mcc", n=100)
    one = nested(runs[:1], runs[1:])
    assert math.isfinite(one.difference) and all(math.isnan(x) for x in one[1:])
    same = nested(runs[:1].repeat(3, 0), runs[:1].repeat(3, 0))
    assert same[:4] == (0, 0, 0, 0) and math.isnan(same.p)
    holes = runs.copy()
    holes[0, :10] = np.nan
    assert nested(holes[:2], holes[2:]) == nested(runs[:2, 10:], runs[2:, 10:])
    assert all(math.isnan(x) for x in nested(holes[:2] * np.nan, holes[2:]))
    with pytest.raises(ValueError, match=r"a is \(2, 100\), b \(2, 99\)"):
        nested(runs[:2], runs[2:, 1:])
    with pytest.raises(ValueError, match=r"b \(0, 100\)"):
        nested(runs, runs[:0])
    for pair in ((runs[0], runs), (runs, runs[0])):
        with pytest.raises(ValueError, match=r" \(100,\)"):
            nested(*pair)
