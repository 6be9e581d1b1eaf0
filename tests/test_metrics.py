"""harness/metrics.py against scikit-learn, values worked by hand, identities and invariances."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from dnabench.areas import auprc, auroc
from dnabench.metrics import (
    METRICS,
    accuracy,
    balanced_accuracy,
    brier,
    f1_binary,
    f1_macro,
    mcc,
    recorded,
    score,
)

CLASS_METRICS = {name for name, m in METRICS.items() if "binary" in m.kinds and m.sign > 0}
AREAS = {auroc: reference.roc_auc_score, auprc: reference.average_precision_score}
KINDS = {2: "binary", 3: "multiclass", 9: "multiclass"}


def split(seed, k, n=300, tied=False, skewed=False):
    """Labels that the logits know something about; every class has an example."""
    rng = np.random.default_rng(seed)
    share = 0.5 ** np.arange(k) if skewed else np.ones(k)
    y = rng.permutation(np.r_[np.arange(k), rng.choice(k, n - k, p=share / share.sum())])
    logits = rng.normal(size=(n, k)) + 1.5 * (y[:, None] == np.arange(k))
    return y, np.round(logits) if tied else logits


def from_predictions(predicted, k):
    return np.eye(k)[np.asarray(predicted)]


def from_counts(confusion):
    """Labels and logits with that many examples of class i (row) predicted as j (column)."""
    k = len(confusion)
    y, predicted = np.divmod(np.repeat(np.arange(k * k), np.ravel(confusion)), k)
    return y, from_predictions(predicted, k)


def from_scores(scores):
    return np.stack([np.zeros(len(scores)), scores], axis=1)


def by_sklearn(y, logits):
    """The metrics of predictions; zero_division=0 is the silent form of scikit-learn's default."""
    p = logits.argmax(1)
    out = {
        "mcc": reference.matthews_corrcoef(y, p),
        "f1_macro": reference.f1_score(y, p, average="macro", zero_division=0),
        "accuracy": reference.accuracy_score(y, p),
        "balanced_accuracy": reference.balanced_accuracy_score(y, p),
    }
    if logits.shape[1] == 2:
        out["f1_binary"] = reference.f1_score(y, p, pos_label=1, zero_division=0)
    return out


def area_by_sklearn(area, y, logits):
    """Mean over the classes that are some but not every label."""
    if logits.shape[1] == 2:
        return AREAS[area](y == 1, logits[:, 1] - logits[:, 0])
    p = np.round(softmax(logits, axis=1), 12)  # equal probabilities summed in another order: equal
    some = [k for k in range(logits.shape[1]) if 0 < np.sum(y == k) < len(y)]
    return np.mean([AREAS[area](y == k, p[:, k]) for k in some])


def pairs_won(positive, scores):
    """The definition of AUROC: over pairs, how often the positive has the higher score."""
    a, b = scores[positive][:, None], scores[~positive]
    return np.mean((a > b) + 0.5 * (a == b))


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("k", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_scikit_learn(seed, k, tied, skewed):
    y, logits = split(seed, k, tied=tied, skewed=skewed)
    expected = by_sklearn(y, logits) | {f.__name__: area_by_sklearn(f, y, logits) for f in AREAS}
    assert score(y, logits, recorded(KINDS[k], "mcc")) == pytest.approx(expected, rel=1e-12)


def test_multiclass_auroc_is_scikit_learns_one_versus_rest():
    for seed in range(5):
        y, logits = split(seed, 5)
        p = softmax(logits, axis=1)
        expected = reference.roc_auc_score(y, p, multi_class="ovr", average="macro")
        assert auroc(y, logits) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_auroc_is_the_share_of_pairs_won(seed):
    rng = np.random.default_rng(seed)
    y, scores = np.r_[0, 1, rng.integers(0, 2, 20)], rng.integers(0, 6, 22)
    assert auroc(y, from_scores(scores)) == pytest.approx(pairs_won(y == 1, scores), rel=1e-15)


@pytest.mark.parametrize("k", [3, 9])
def test_a_class_missing_from_y_is_left_out_of_means(k):
    y, logits = split(1, k)
    y, logits = y[y != 1], logits[y != 1]
    assert (logits.argmax(1) == 1).any()
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = by_sklearn(y, logits)
    expected |= {f.__name__: area_by_sklearn(f, y, logits) for f in AREAS}
    assert score(y, logits, recorded("multiclass", "mcc")) == pytest.approx(expected, rel=1e-12)


def test_a_class_that_never_occurs_does_not_lower_f1():
    y, logits = split(2, 3)
    wider = np.c_[logits, np.full(len(y), -99.0)]
    assert f1_macro(y, wider) == f1_macro(y, logits)
    assert f1_macro(np.array([0, 1]), np.eye(3)[:2]) == 1.0


@pytest.mark.parametrize("k", KINDS)
def test_constant_predictions(k):
    y, logits = split(3, k)
    logits[:] = np.arange(k)[::-1]
    expected = by_sklearn(y, logits) | {"mcc": 0.0, "auroc": 0.5, "balanced_accuracy": 1 / k}
    expected["auprc"] = np.mean(y == 1) if k == 2 else 1 / k  # the share of the positive class
    assert score(y, logits, recorded(KINDS[k], "mcc")) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("k", KINDS)
def test_a_single_class_has_no_area_and_no_correlation(k, n):
    y, logits = np.full(n, 1), np.random.default_rng(n).normal(size=(n, k))
    logits[:, 1] += 99
    got = score(y, logits, recorded(KINDS[k], "mcc"))
    assert "auroc" not in got and "auprc" not in got
    assert got.pop("mcc") == 0.0 and set(got.values()) == {1.0}
    assert np.isnan(auroc(y, logits)) and np.isnan(auprc(y, logits))


def test_one_wrong_example():
    got = score(np.array([1]), np.array([[1.0, 0.0]]), recorded("binary", "mcc"))
    assert set(got) == CLASS_METRICS - {"auroc", "auprc"} and set(got.values()) == {0.0}


def test_f1_without_positives_is_zero():
    assert f1_binary(np.zeros(3, int), from_predictions([0, 0, 0], 2)) == 0.0


def test_worked_by_hand_for_two_classes():
    # rows labels, columns predictions: TN 3, FP 1, FN 2, TP 6
    y, logits = from_counts([[3, 1], [2, 6]])
    assert mcc(y, logits) == pytest.approx((6 * 3 - 1 * 2) / (7 * 8 * 4 * 5) ** 0.5, rel=1e-15)
    assert f1_binary(y, logits) == 12 / 15
    assert f1_macro(y, logits) == pytest.approx((12 / 15 + 6 / 9) / 2)
    assert accuracy(y, logits) == 9 / 12
    assert balanced_accuracy(y, logits) == (3 / 4 + 6 / 8) / 2


def test_worked_by_hand_for_three_classes():
    # 6 of 9 right, sums all 3: R_K = (9 x 6 - 27) / (81 - 27); recall and precision 2/3 each
    y, logits = from_counts([[2, 1, 0], [0, 2, 1], [1, 0, 2]])
    assert mcc(y, logits) == 0.5
    assert {f(y, logits) for f in (f1_macro, accuracy, balanced_accuracy)} == {2 / 3}


def test_areas_worked_by_hand():
    # scikit-learn's own example: 3 of 4 pairs; positives come first and third
    y, logits = np.array([0, 0, 1, 1]), from_scores([0.1, 0.4, 0.35, 0.8])
    assert auroc(y, logits) == 0.75
    assert auprc(y, logits) == pytest.approx((1 + 2 / 3) / 2, rel=1e-15)
    # with a tie of a positive and a negative: 3.5 of 4 pairs, both reached at one threshold
    y, logits = np.array([0, 1, 1, 0]), from_scores([1, 1, 2, 0])
    assert auroc(y, logits) == 0.875
    assert auprc(y, logits) == pytest.approx((1 + 2 / 3) / 2, rel=1e-15)


def test_perfect_and_reversed():
    y, logits = np.array([0, 1, 1, 0, 1]), from_predictions([0, 1, 1, 0, 1], 2)
    assert set(score(y, logits, sorted(CLASS_METRICS)).values()) == {1.0}
    assert mcc(y, -logits) == -1.0 and auroc(y, -logits) == 0.0 and accuracy(y, -logits) == 0.0


def test_a_tie_goes_to_the_lowest_class():
    logits = np.array([[1, 1, 1], [0, 2, 2], [3, 0, 3], [4, 4, 0]])
    assert accuracy(np.array([0, 1, 0, 0]), logits) == 1.0


@pytest.mark.parametrize("k", KINDS)
def test_order_of_examples_does_not_matter(k):
    y, logits = split(4, k, tied=True)
    order = np.random.default_rng(0).permutation(len(y))
    names = recorded(KINDS[k], "mcc")
    assert score(y[order], logits[order], names) == score(y, logits, names)
    assert score(y, logits, names) == score(y, logits, names)


@pytest.mark.parametrize("k", KINDS)
def test_names_of_classes_do_not_matter(k):
    y, logits = split(5, k)
    new = np.random.default_rng(1).permutation(k)[::-1]
    renamed = np.empty_like(logits)
    renamed[:, new] = logits
    for f in (mcc, f1_macro, accuracy, balanced_accuracy, auroc):
        assert f(new[y], renamed) == pytest.approx(f(y, logits), rel=1e-15), f
    assert mcc(new[y], renamed) == mcc(y, logits)


def test_order_of_the_other_classes_breaks_no_tie():
    # classes 0 and 4 have the same probability in every row, if only the sum does not round
    # differently when the three others change places
    rng = np.random.default_rng(0)
    logits = np.array([[2.0, *rng.permutation([0.1, 1.3, 2.7]), 0.7] for _ in range(60)])
    assert auroc(rng.choice([0, 4], 60), logits) == 0.5


def test_mcc_is_symmetric_in_labels_and_predictions():
    y, logits = split(6, 9)
    p = logits.argmax(1)
    assert mcc(y, from_predictions(p, 9)) == mcc(p, from_predictions(y, 9))


@pytest.mark.parametrize("f", [np.tanh, np.exp, lambda s: s**3, lambda s: 4 * s - 7])
def test_areas_see_only_the_ranks(f):
    y, logits = split(7, 2, tied=True)
    s = (logits[:, 1] - logits[:, 0]) / 8
    for area in AREAS:
        assert area(y, from_scores(f(s))) == area(y, from_scores(s)) == area(y, logits)


def test_auroc_of_the_opposite_is_one_minus():
    y, logits = split(8, 2, tied=True)
    assert auroc(y, -logits) == pytest.approx(1 - auroc(y, logits), rel=1e-15)
    assert auroc(1 - y, logits) == auroc(y, -logits)
    assert auroc(1 - y, logits[:, ::-1]) == auroc(y, logits)


@pytest.mark.parametrize("k", KINDS)
def test_more_copies_of_every_example_change_nothing(k):
    # 300,000 examples: the product under mcc's root is past int64
    y, logits = split(9, k, tied=True)
    names = recorded(KINDS[k], "mcc")
    many = score(np.repeat(y, 1000), np.repeat(logits, 1000, axis=0), names)
    assert many == pytest.approx(score(y, logits, names), rel=1e-12)


def test_pooled_is_not_the_mean_of_batches():
    # sorted by class, as many files are, a batch has one label and mcc 0 whatever was learned
    y, logits = split(10, 2)
    order = np.argsort(y, kind="stable")
    batches = [order[i : i + 10] for i in range(0, len(y), 10)]
    batched = np.mean([mcc(y[b], logits[b]) for b in batches])
    assert mcc(y, logits) > 0.5 and abs(batched) < 0.05


def test_large_logits_neither_overflow_nor_saturate():
    y = np.array([0, 1, 1])
    assert (
        auroc(y, from_scores([50.0, 60.0, 70.0])) == 1.0
    )  # all three are probability 1 to float64
    assert auroc(y, np.float16([[6e4, -6e4], [5e4, -5e4], [0, 0]])) == 1.0  # 1.2e5 is past float16
    y, logits = split(11, 3)
    assert auroc(y, logits + 1e4) == pytest.approx(auroc(y, logits), rel=1e-12)
    assert auroc(y, 1e3 * logits) > 0.5
    wrong = np.mean(logits.argmax(1) != y)  # probabilities of 0 and 1: off by 1 in two classes
    assert brier(y, 1e5 * logits) == pytest.approx(2 * wrong, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_dtype_and_layout_do_not_matter(dtype):
    y, logits = split(12, 20, tied=True)
    before = logits.copy()
    names = recorded("multiclass", "mcc")
    expected = score(y, logits, names)
    assert score(y.astype(dtype), np.asfortranarray(logits, np.float32), names) == expected
    assert score(y.tolist(), logits.tolist(), names) == expected
    assert (logits == before).all()
