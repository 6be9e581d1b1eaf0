"""What a protocol chooses an epoch by: the loss, or the metric of its paper."""

import dataclasses

import numpy as np
import pytest
from conftest import planted_task
from sklearn.metrics import log_loss
from test_protocols import CADUCEUS, DEV, GUE, HONEST, NT, job, registered

from dnabench import MODELS, Sequences, Split
from dnabench.protocols import PROTOCOLS, metric_for
from dnabench.sweep.trial import run_trial
from dnabench.train.loop import fit
from dnabench.train.objectives import Supervised
from dnabench.types import IGNORED

__all__ = ["registered"]  # a fixture
SELECTED = PROTOCOLS["test-selected/1"]


class Scripted:
    """A learner that is right as often and as sure of itself as told, epoch by epoch."""

    n_params = 1

    def __init__(self, right, margin):
        self.right, self.margin, self.epochs, self.epoch = right, margin, len(right), 0

    def train_epoch(self):
        self.epoch += 1
        return 0.5

    def predictor(self, split):
        def predict():
            guess = split.y.copy()
            wrong = len(split.y) - self.right[self.epoch - 1]
            guess[:wrong] = 1 - guess[:wrong]
            return np.eye(2, dtype=np.float32)[guess] * self.margin[self.epoch - 1]

        return predict

    def state(self):
        return self.epoch

    def restore(self, state):
        self.epoch = state


RIGHT, MARGIN = [50, 60, 76, 70, 60], [0.1, 1.0, 9.0, 1.5, 1.0]  # the third is right but too sure


def losses_by_hand():
    return [
        (r * np.log1p(np.exp(-m)) + (80 - r) * np.log1p(np.exp(m))) / 80
        for r, m in zip(RIGHT, MARGIN, strict=True)
    ]


def test_the_least_loss_is_not_the_best_score():
    task, by_score, by_loss = planted_task(), Scripted(RIGHT, MARGIN), Scripted(RIGHT, MARGIN)
    goal = Supervised(task)
    scored, lost = (fit(x, goal, p, {"val": DEV}) for x, p in ((by_score, HONEST), (by_loss, GUE)))
    assert scored.best_epoch == by_score.epoch == 3
    assert lost.best_epoch == by_loss.epoch == int(np.argmin(losses_by_hand())) + 1 == 4
    found = [row["val_loss"] for row in lost.curve]
    np.testing.assert_allclose(found, losses_by_hand(), rtol=1e-6)
    assert [row["val"] for row in lost.curve] == [row["val"] for row in scored.curve]
    assert all(row.keys() == {"epoch", "loss", "val"} for row in scored.curve)


def test_the_earliest_of_equal_losses_is_kept():
    one = Scripted([60, 70, 70], [1] * 3)
    assert fit(one, Supervised(planted_task()), GUE, {"val": DEV}).best_epoch == 2


def test_patience_waits_for_a_lower_loss():
    one = Scripted(
        [50, 60, 65, 66, 79], [1.0, 1.0, 9.0, 9.0, 1.0]
    )  # epochs 3, 4: score up, loss up
    out = fit(one, Supervised(planted_task()), GUE, {"val": DEV}, patience=2)
    assert len(out.curve) == 4 and out.best_epoch == 2


def test_a_metric_that_is_undefined_on_validation_does_not_matter_to_the_loss():
    part = DEV.take(np.flatnonzero(DEV.y == 0))
    task = planted_task(metric="auroc")
    with pytest.raises(ValueError, match="auroc is undefined on val"):
        fit(Scripted([30, 35], [1, 1]), Supervised(task), HONEST, {"val": part})
    assert fit(Scripted([30, 35], [1, 1]), Supervised(task), GUE, {"val": part}).best_epoch == 2
    both = {"val": part, "test": DEV}  # nor to a choice on test
    assert fit(Scripted([30, 35], [1, 1]), Supervised(task), SELECTED, both).best_epoch == 2


class Values(Scripted):
    """Predicts the values of a regression with noise as told; 0 = one value for everything."""

    def __init__(self, noise):
        super().__init__(noise, noise)

    def predictor(self, split):
        drawn = np.random.default_rng(0).normal(size=split.y.shape)

        def predict():
            noise = self.right[self.epoch - 1]
            return np.float32(split.y + noise * drawn if noise else 0 * split.y)

        return predict


def fitted(noise, y=None, protocol=HONEST, **more):
    y = np.random.default_rng(1).normal(size=(80, 1)) if y is None else y
    goal = Supervised(planted_task(kind="regression", classes=1, metric="pearson"))
    split = DEV._replace(y=y.astype(np.float32))
    name = "test" if protocol.looks_at_test else "val"
    return fit(Values(noise), goal, protocol, {name: split}, **more)


@pytest.mark.parametrize("protocol", [HONEST, SELECTED])
def test_an_epoch_of_equal_predictions_is_worse_than_any_other(protocol):
    """Its correlation is undefined; one of -0.99 is better."""
    assert fitted([0, 9.0, 1.0, 0, 5.0], protocol=protocol).best_epoch == 3
    assert fitted([0, 0, 99.0]).best_epoch == 3
    assert fitted([0, 1.0, 0, 0, 0.1], patience=2).best_epoch == 2  # waits as for any worse epoch
    assert len(fitted([0, 0, 1.0, 0.1], patience=2).curve) == 4


def test_only_epochs_of_equal_predictions_end_a_regression_with_the_reason():
    says = "pearson is undefined on val after each of 3 epochs.*every prediction there is the same"
    with pytest.raises(ValueError, match=says):
        fitted([0, 0, 0])


def test_equal_values_are_named_at_once():
    says, epochs = "pearson is undefined on val.*all values are the same there", []
    with pytest.raises(ValueError, match=says):
        fitted([1.0] * 3, y=np.ones((80, 1)), progress=lambda *x: epochs.append(x))
    assert len(epochs) < 2


def test_without_validation_the_least_loss_cannot_be_found():
    with pytest.raises(ValueError, match="dnabert2-gue/1 chooses on val, and there is none"):
        fit(Scripted([1], [1]), Supervised(planted_task()), GUE, {})


def test_the_loss_is_that_of_each_kind_of_task():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (50, 3)).astype(np.float32)
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    y, labels = rng.integers(0, 3, 50), rng.integers(0, 2, (50, 3)).astype(np.uint8)
    values = rng.normal(0, 1, (50, 3)).astype(np.float32)
    bases = y.astype(np.int8).reshape(5, 10)
    bases[:, 7:] = IGNORED
    kept = (np.arange(50) % 10) < 7

    def of(kind, y, logits):
        split = Split(Sequences.parse([]), y, np.arange(len(y)))
        return Supervised(planted_task(kind=kind, classes=3)).mean_loss(split, logits)

    assert of("multiclass", y, logits) == pytest.approx(log_loss(y, p), rel=1e-9)
    sure = 1 / (1 + np.exp(-logits.astype(float)))
    each = -np.where(labels == 1, np.log(sure), np.log(1 - sure))
    assert of("multilabel", labels, logits) == pytest.approx(each.mean(), rel=1e-9)
    error = (values.astype(float) - logits) ** 2
    assert of("regression", values, logits) == pytest.approx(error.mean(), rel=1e-9)
    assert of("per_base", bases, logits.reshape(5, 10, 3)) == pytest.approx(
        log_loss(y[kept], p[kept], labels=[0, 1, 2]), rel=1e-9
    )


# Metrics


@pytest.mark.parametrize(
    ("protocol", "task", "classes", "metric"),
    [
        (CADUCEUS, "nt/h3k4me3", 2, "mcc"), (CADUCEUS, "nt/enhancers_types", 3, "mcc"),
        (CADUCEUS, "nt/promoter_no_tata", 2, "f1_binary"),
        (CADUCEUS, "nt/splice_sites_acceptors", 2, "f1_binary"),
        (CADUCEUS, "nt/splice_sites_donors", 2, "f1_binary"),
        (CADUCEUS, "nt/splice_sites_all", 3, "accuracy"),
        (CADUCEUS, "nt_revised/promoter_tata", 2, "f1_binary"),
        (CADUCEUS, "nt_reduced/h3", 2, "mcc"),
        (CADUCEUS, "genomic_benchmarks/human_nontata_promoters", 2, "accuracy"),
        (CADUCEUS, "gue/prom_core_tata", 2, "f1_macro"),
        (GUE, "gue/virus_covid", 9, "f1_macro"), (GUE, "gue/splice_reconstructed", 3, "mcc"),
        (GUE, "gue/mouse_0", 2, "mcc"), (GUE, "nt/promoter_tata", 2, "f1_macro"),
        (NT, "nt/promoter_tata", 2, "mcc"), (NT, "nt/splice_sites_all", 3, "mcc"),
        (NT, "nt_revised/splice_sites_donors", 2, "mcc"),
        (HONEST, "nt/promoter_tata", 2, "f1_macro"),
    ],
)  # fmt: skip
def test_the_metric_is_the_papers_where_it_says_one(protocol, task, classes, metric):
    own = planted_task(name=task, classes=classes, metric="f1_macro")
    assert metric_for(protocol, own) == metric


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("regression", "pearson"), ("multilabel", "auroc_mean"), ("multiclass", "accuracy")],
)
def test_a_metric_that_the_kind_of_task_does_not_have_is_passed_over(kind, metric):
    one = planted_task(name="nt/promoter_x", classes=3, kind=kind, metric=metric)
    assert metric_for(CADUCEUS, one) == ("mcc" if kind == "multiclass" else metric)
    assert metric_for(NT, one) == ("mcc" if kind == "multiclass" else metric)


class Eager(Scripted):
    """First calls everything positive, then finds two of five positives and nothing else."""

    def __init__(self):
        super().__init__([0, 0], [1, 1])

    def predictor(self, split):
        few = (split.y == 1) & (np.cumsum(split.y == 1) % 5 < 2)
        everything = np.ones(len(split.y), int)
        return lambda: np.eye(2, dtype=np.float32)[[everything, few.astype(int)][self.epoch - 1]]


@pytest.mark.parametrize(
    ("protocol", "metric", "epoch"),
    [("honest/1", "mcc", 2), ("nt-cv10/1", "mcc", 2), ("caduceus-cv/1", "f1_binary", 1)],
)
def test_the_papers_metric_chooses_the_epoch_and_is_the_records(
    registered, monkeypatch, protocol, metric, epoch
):
    task = registered(planted_task(n=400, name="nt/promoter_planted"))
    eager = dataclasses.replace(
        MODELS["kmer"], build=lambda task, options: lambda train, recipe: Eager()
    )
    monkeypatch.setitem(MODELS._entries, "kmer", eager)
    record, _ = run_trial(job(task, protocol, seed=3))
    assert record.task["metric"] == metric and record.best_epoch == epoch
    assert metric in record.scores["test"]
