"""--class-weight balanced: scikit-learn's weights, of train alone, in the loss and the record."""

import numpy as np
import pytest
from conftest import dnabench, planted_split, planted_task
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from dnabench import MODELS, TASKS
from dnabench.results.store import Store
from dnabench.sweep.checks import check_fine_tuning, check_recipe
from dnabench.sweep.grid import Request, grid
from dnabench.train.losses import balanced
from dnabench.train.objectives import supervised
from dnabench.types import IGNORED, Recipe, Sequences, Split

BALANCED = Recipe(class_weight="balanced")
RNG = np.random.default_rng(0)


def split_of(y):
    return Split(Sequences.parse([]), y, np.arange(len(y)))


@pytest.mark.parametrize("k", [2, 3, 5])
def test_weights_of_classes_are_those_of_scikit_learn(k):
    y = np.concatenate(
        [np.arange(k), RNG.choice(k, 300, p=0.5 ** np.arange(k) / (2 - 2 ** (1 - k)))]
    )
    wanted = compute_class_weight("balanced", classes=np.arange(k), y=y)
    assert balanced("multiclass", y, k) == pytest.approx(wanted, rel=1e-6)
    assert balanced("multiclass", y, k)[y].mean() == pytest.approx(1, rel=1e-6)
    bases = np.full((3, 200), IGNORED, np.int8)
    bases.ravel()[: len(y)] = y
    assert balanced("per_base", bases, k) == pytest.approx(wanted, rel=1e-6)
    without = y[y != 1]
    left = compute_class_weight("balanced", classes=np.unique(without), y=without)
    assert np.delete(balanced("multiclass", without, k), 1) == pytest.approx(left, rel=1e-6)
    assert balanced("multiclass", without, k)[1] == 1
    assert balanced("binary", np.array([0] * 9 + [1]), 2) == pytest.approx([10 / 18, 10 / 2])


def test_every_label_has_its_own():
    y = (RNG.random((400, 3)) < [0.02, 0.5, 0.9]).astype(np.uint8)
    y[:, 2] = 1
    found = balanced("multilabel", y, 3)
    for j in (0, 1):
        wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=y[:, j])
        assert found[:, j] == pytest.approx(wanted, rel=1e-6)
    assert found[:, 2].tolist() == [1, 1]


def test_the_loss_is_scikit_learns_with_these_weights():
    logits = RNG.normal(0, 3, (60, 3)).astype(np.float32)
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    y = np.concatenate([[0, 1, 2], RNG.choice(3, 57, p=[0.8, 0.15, 0.05])])
    goal = supervised(planted_task(kind="multiclass", classes=3), BALANCED, split_of(y))
    weights = compute_sample_weight("balanced", y)
    assert goal.mean_loss(split_of(y), logits) == pytest.approx(
        log_loss(y, p, sample_weight=weights), rel=1e-6
    )
    labels = (RNG.random((60, 3)) < 0.2).astype(np.uint8)
    sure = 1 / (1 + np.exp(-logits.astype(float)))
    each = -np.where(labels == 1, np.log(sure), np.log(1 - sure))
    of_each = np.stack([compute_sample_weight("balanced", column) for column in labels.T], 1)
    task = planted_task(kind="multilabel", classes=3, metric="auroc_mean")
    found = supervised(task, BALANCED, split_of(labels)).mean_loss(split_of(labels), logits)
    assert found == pytest.approx((each * of_each).mean(), rel=1e-6)


def test_they_are_of_train_whatever_is_scored():
    task, train, other = planted_task(), planted_split(40, 0), planted_split(40, 1)
    train.y[:30] = 0
    goal = supervised(task, BALANCED, train)
    wanted = compute_class_weight("balanced", classes=np.array([0, 1]), y=train.y)
    assert goal.notes == {"class_weights": pytest.approx(wanted.tolist(), rel=1e-6)}
    logits = RNG.normal(size=(40, 2)).astype(np.float32)
    p = np.exp(logits[:, 1].astype(float)) / np.exp(logits.astype(float)).sum(1)
    assert goal.mean_loss(other, logits) == pytest.approx(
        log_loss(other.y, p, sample_weight=wanted[other.y]) * wanted[other.y].mean(), rel=1e-6
    )


def test_ids_of_other_trials_stay_and_values_are_checked():
    def of(**changes):
        request = Request(models=["cnn"], tasks=["demo/splice_junctions"], seeds="1",
                          overrides=changes)  # fmt: skip
        return grid(request)[0].trial

    assert of().id == of(class_weight="none").id != of(class_weight="balanced").id
    with pytest.raises(ValueError, match="class_weight='even': must be one of none, balanced"):
        check_recipe(Recipe(class_weight="even"))
    with pytest.raises(ValueError, match="a regression, which has no classes; leave it out"):
        check_fine_tuning(MODELS["cnn"], TASKS["deepstarr/enhancer_activity"], BALANCED, {})


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Rare positives, with and without."""
    folder = tmp_path_factory.mktemp("rare")
    part = planted_split(400, 0)
    keep = [i for i in range(400) if part.y[i] == 0 or i % 20 == 1]
    rows = [f"{part.seqs[i]},{part.y[i]},{'test' if j % 4 == 0 else 'train'}"
            for j, i in enumerate(keep)]  # fmt: skip
    (folder / "rare.csv").write_text("\n".join(["sequence,label,split", *rows]))
    for value in ("none", "balanced"):
        done = dnabench("run", "-m", "kmer,cnn", "--data", folder / "rare.csv", "--seeds", "1",
                        "--epochs", "3", "--device", "cpu", "--protocol", "last-epoch",
                        "--class-weight", value, "--out", folder / "runs")  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder / "runs"


def test_records_have_them_and_training_feels_them(ran):
    store = Store(ran)
    by = {(r.trial.model, r.trial.recipe.class_weight): r for r in store}
    assert len(by) == 4
    for model in ("kmer", "cnn"):
        usual, even = by[model, "none"], by[model, "balanced"]
        low, high = even.flags["class_weights"]
        assert low < 1 < high and "class_weights" not in usual.flags
        n = even.n_examples["train"]  # without validation: n / (2 x positives) is exact there
        positives = n / (2 * high)
        assert positives == pytest.approx(round(positives), abs=1e-3)
        assert n / (2 * low) == pytest.approx(n - positives, abs=1e-3)
        said = [store.predictions(r.trial.id)["logits"] for r in (usual, even)]
        share = [(x[:, 1] - x[:, 0]).mean() for x in said]
        assert share[1] > share[0]  # rare positives are called more readily


def test_a_report_has_a_column_for_each(ran):
    done = dnabench("report", "--out", ran)
    assert done.returncode == 0, done.stderr
    for text in ("cnn", "class_weight=balanced", "class_weight=none"):
        assert text in done.stdout
