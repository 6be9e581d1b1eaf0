"""harness/sweep/trial.py: one trial in one straight line, and what its record says."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from conftest import planted_task
from sklearn.metrics import matthews_corrcoef

from dnabench import MODELS, TASKS, Trial
from dnabench.reports.analysis import analyze
from dnabench.reports.inflation import inflation, inflation_section
from dnabench.reports.table import tables
from dnabench.sweep.trial import run_trial
from dnabench.types import Job, Resources, Split


@pytest.fixture
def task(monkeypatch):
    """Put a task in the registry for one test; its `loaded` lists what was read, in order."""

    def put(**changes):
        task = planted_task(**changes)
        monkeypatch.setitem(TASKS._entries, task.name, task)
        return task

    list(TASKS)
    return put


def job(task, model="convnova-386k", protocol="honest/1", **recipe):
    recipe = dataclasses.replace(MODELS[model].recipes["default"], **{"epochs": 2, **recipe})
    return Job(
        Trial(
            model=model, options=dict(MODELS[model].options), regime="scratch", task=task.name,
            data=task.data, protocol=protocol, recipe=recipe, seed=0,
        )
    )  # fmt: skip


def sealed(split):
    if split == "test":
        raise AssertionError("the test split was touched")
    return planted_task().load(split)


@pytest.mark.parametrize("protocol", ["honest/1", "last-epoch/1"])
@pytest.mark.parametrize("model", ["convnova-386k", "cnn", "kmer"])
def test_training_ends_before_the_test_split_is_touched(task, model, protocol):
    epochs = []
    with pytest.raises(AssertionError, match="the test split was touched"):
        run_trial(job(task(load=sealed), model, protocol), progress=lambda *x: epochs.append(x))
    n = 6 if model == "kmer" else 2
    assert epochs == [(i + 1, n) for i in range(n)]  # all were trained and validated by then


def test_test_selected_touches_it_before_the_first_epoch(task):
    epochs = []
    with pytest.raises(AssertionError, match="the test split was touched"):
        run_trial(
            job(task(load=sealed), protocol="test-selected/1"),
            progress=lambda *x: epochs.append(x),
        )
    assert epochs == []


@pytest.mark.parametrize("dev", [True, False])
def test_under_honest_test_is_read_once_and_last(task, dev):
    one = task(dev=dev)
    run_trial(job(one, "kmer"))
    assert one.loaded.count("test") == 1 and one.loaded[-1] == "test"


def test_the_score_is_that_of_the_stored_predictions(task):
    record, predictions = run_trial(job(task()))
    guess = predictions["logits"].argmax(1)
    assert record.scores["test"]["mcc"] == pytest.approx(
        matthews_corrcoef(predictions["labels"], guess), abs=1e-12
    )
    assert list(predictions["ids"]) == list(planted_task().load("test").ids)
    assert record.n_examples == {"train": 160, "val": 80, "test": 80}


def test_the_record_says_what_a_reader_asks(task):
    record, _ = run_trial(job(task()), Resources(threads=1))
    assert record.n_params == 386_240 + 64 * 2 + 2
    assert len(record.curve) == 2 and record.curve[1].keys() == {"epoch", "loss", "val"}
    assert record.scores["val"] == record.curve[record.best_epoch - 1]["val"]
    assert record.streams.keys() == {"init", "order", "cut"}
    assert record.where["threads"] == 1 and record.where["device"] == "cpu"
    assert record.task["metric"] == "mcc" and record.task["n_test"] == 80
    assert record.seconds > 0 and record.examples_per_second > 0 and record.peak_memory > 1e7
    assert record.alternatives == {}
    assert record.flags["ambiguous_letters"] == {"train": 0, "val": 0, "test": 0}


def test_test_selected_says_what_the_other_protocols_would_have_scored(task):
    record, _ = run_trial(job(task(), "cnn", "test-selected/1", epochs=6))
    tests = [row["test"]["mcc"] for row in record.curve]
    vals = [row["val"]["mcc"] for row in record.curve]
    assert record.scores["test"]["mcc"] == max(tests)
    honest, last = (record.alternatives[f"{n}/1"] for n in ("honest", "last-epoch"))
    assert last == {"epoch": 6, "test": record.curve[-1]["test"]}
    assert honest["test"] == record.curve[int(np.argmax(vals))]["test"]
    assert honest["test"]["mcc"] <= record.scores["test"]["mcc"]


def test_honest_from_a_test_selected_run_is_what_honest_scores(task):
    """With a dev split both protocols train alike, so the alternative must be the real thing."""
    one = task()
    selected, _ = run_trial(job(one, "cnn", "test-selected/1", epochs=5))
    honest, _ = run_trial(job(one, "cnn", "honest/1", epochs=5))
    assert selected.alternatives["honest/1"]["test"] == honest.scores["test"]
    last, _ = run_trial(job(one, "cnn", "last-epoch/1", epochs=5))
    assert selected.alternatives["last-epoch/1"]["test"] == last.scores["test"]


def one_class_of_dev(**changes):
    """A load whose dev split has the first class alone."""
    whole = planted_task(**changes)

    def load(split):
        part = whole.load(split)
        return part.take(np.flatnonzero(part.y == 0)) if split == "dev" else part

    return load


def test_what_validation_cannot_choose_is_no_alternative(task):
    """AUROC of one class is undefined; the test split, which chooses, has both."""
    one = task(metric="auroc", load=one_class_of_dev(metric="auroc"))
    record, _ = run_trial(job(one, "kmer", "test-selected/1"))
    assert "auroc" in record.scores["test"] and "auroc" not in record.curve[0]["val"]
    assert record.alternatives.keys() == {"last-epoch/1"}
    section = inflation_section(inflation([record]), 3)
    assert [line[2] for line in section.rows] == ["honest/1", "last-epoch/1"]
    assert section.rows[0][3:] == ["0", "–", "–", "auroc is undefined on validation"]


def test_a_validation_of_one_class_is_no_alternative_either(task):
    """Its MCC is 0 after every epoch, so that the first would stand for a choice."""
    record, _ = run_trial(job(task(load=one_class_of_dev()), "cnn", "test-selected/1", epochs=2))
    assert [row["val"]["mcc"] for row in record.curve] == [0, 0]
    assert record.alternatives.keys() == {"last-epoch/1"}


def test_without_a_dev_split_test_selected_has_no_honest_alternative(task):
    record, _ = run_trial(job(task(dev=False), "kmer", "test-selected/1"))
    assert record.alternatives == {} and "val" not in record.scores


def test_early_stopping_on_test_leaves_no_alternatives_either(task):
    record, _ = run_trial(job(task(), "cnn", "test-selected/1", epochs=9, patience=2))
    assert len(record.curve) < 9 and record.alternatives == {}


class Told:
    """A learner that predicts what it is told: of a split's ids, labels and the epoch."""

    n_params, epoch = 0, 0

    def __init__(self, monkeypatch, says, epochs=1):
        self.says, self.epochs = says, epochs
        told = dataclasses.replace(
            MODELS["kmer"], build=lambda task, options: lambda train, recipe: self
        )
        monkeypatch.setitem(MODELS._entries, "kmer", told)

    def train_epoch(self):
        self.epoch += 1
        return 0.5

    def predictor(self, split):
        return lambda: self.says(split, self.epoch)

    def state(self):
        return self.epoch

    def restore(self, state):
        self.epoch = state


def sure_of(classes):
    return np.eye(2, dtype=np.float32)[classes]


@pytest.mark.parametrize("predicts", [0, 1, None])
def test_a_constant_prediction_is_flagged(task, monkeypatch, predicts):
    def says(split, epoch):
        return sure_of(split.y if predicts is None else np.full(len(split.y), predicts))

    Told(monkeypatch, says)
    record, _ = run_trial(job(task(), "kmer"))
    assert record.flags["collapsed"] == (predicts is not None)


def test_the_record_scores_the_chosen_epoch_not_the_last(task, monkeypatch):
    """Right in epoch 2 of 3 only."""
    Told(monkeypatch, lambda split, epoch: sure_of(split.y if epoch == 2 else 0 * split.y), 3)
    record, _ = run_trial(job(task(), "kmer"))
    assert record.best_epoch == 2
    assert record.scores["val"]["mcc"] == record.scores["test"]["mcc"] == 1


def test_a_test_prediction_that_is_not_finite_is_named(task, monkeypatch):
    def says(split, epoch):
        found = sure_of(split.y)
        found[5, 1] = np.inf if split.ids[0].startswith("2:") else 1  # finite on dev alone
        return found

    Told(monkeypatch, says)
    names = "1 of 160 predictions of test are not finite after epoch 1; lower the learning rate"
    with pytest.raises(FloatingPointError, match=names):
        run_trial(job(task(), "kmer"))


def test_ambiguous_letters_are_counted_where_they_are_used(task):
    one = task(dev=False)
    plain = one.load

    def load(split):
        part = plain(split)
        words = [part.seqs[i] for i in range(len(part.y))]
        words[3] = "RY" + words[3][2:]
        return part._replace(seqs=type(part.seqs).parse(words))

    record, _ = run_trial(job(task(dev=False, load=load), "kmer"))
    found = record.flags["ambiguous_letters"]
    assert found["test"] == 2 and found["train"] + found["val"] == 2


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_model_cannot_read_the_data_behind_the_loops_back(task, monkeypatch, split):
    def greedy(one, options):
        one.load(split)

    monkeypatch.setitem(MODELS._entries, "kmer", dataclasses.replace(MODELS["kmer"], build=greedy))
    with pytest.raises(PermissionError, match=f"training may not read the {split} split"):
        run_trial(job(task(), "kmer"))


def test_micro_batches_are_refused_for_batch_norm(task):
    with pytest.raises(ValueError, match="cnn has batch norm, which must see all 64 examples"):
        run_trial(job(task(), "cnn"), Resources(micro_batch=8))


def test_a_metric_that_is_undefined_on_validation_is_named(task):
    def load(split):
        part = planted_task().load(split)
        y = np.stack([part.y, 1 - part.y], 1).astype(np.uint8)
        return Split(part.seqs, np.zeros_like(y) if split == "dev" else y, part.ids)

    one = task(kind="multilabel", metric="auroc_mean", load=load)
    with pytest.raises(ValueError, match="auroc_mean is undefined on val, so no epoch can be chos"):
        run_trial(job(one, "cnn", epochs=1))


@pytest.mark.parametrize("metric", ["mcc", "auroc", "accuracy"])
def test_no_epoch_is_chosen_on_validation_of_one_class(task, metric):
    one, epochs = task(metric=metric, load=one_class_of_dev()), []
    says = r"planted/motif: the validation split has one class alone, '0' \(40 examples\)"
    with pytest.raises(ValueError, match=f"{says}, so no epoch can be chosen.*--protocol last-ep"):
        run_trial(job(one, "kmer"), progress=lambda *done: epochs.append(done))
    assert not epochs


def test_validation_of_one_class_is_no_matter_where_nothing_is_chosen_on_it(task):
    one = task(load=one_class_of_dev())
    record, _ = run_trial(job(one, "kmer", protocol="last-epoch/1"))
    assert record.scores["test"]["mcc"] > 0.5 and "one_class_validation" not in record.flags
    limited = job(one, "kmer")
    limited = limited._replace(trial=dataclasses.replace(limited.trial, limit=20.0))
    record, _ = run_trial(limited)  # for trying things out
    assert record.n_examples["val"] == 20
    assert record.flags["one_class_validation"] == "0"  # and the report says so
    (found,) = tables([record])
    (said,) = [text for text in analyze(found).remarks if "validation" in text]
    assert said.startswith("planted/motif: under this limit validation has one class alone, '0'")


PEAKS = """
import numpy as np
from dnabench.host import memory
memory.reset_peak("cpu")
before = memory.peak("cpu")
block = np.ones(30_000_000)  # 240 MB, from and back to the kernel
high = memory.peak("cpu")
del block
memory.reset_peak("cpu")
print(high - before, memory.peak("cpu") - before)
"""


def test_peak_memory_is_of_this_trial():
    """In a process of its own: this one reuses memory that earlier tests freed."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    grown, after = map(int, done.stdout.split())
    assert grown > 200e6 and after < 100e6


@pytest.mark.parametrize("model", ["convnova-386k", "cnn", "kmer"])
def test_the_same_trial_twice_gives_the_same_bytes(task, model):
    one = task()
    (a, pa), (b, pb) = (run_trial(job(one, model)) for _ in range(2))
    assert (a.scores, a.curve) == (b.scores, b.curve)
    assert pa["logits"].tobytes() == pb["logits"].tobytes()


def test_another_seed_gives_other_numbers(task):
    one = task()
    first = job(one)
    other = Job(dataclasses.replace(first.trial, seed=1))
    assert run_trial(first)[0].curve != run_trial(other)[0].curve


def test_data_that_changed_since_planning_are_refused(task):
    first = job(task())
    task(data="1" * 16)
    with pytest.raises(ValueError, match=r"data of planted/motif changed: 0{16} .* 1{16} now"):
        run_trial(first)


def test_sequences_too_short_or_long_for_a_model_are_refused(task, monkeypatch):
    one = task()
    short = dataclasses.replace(MODELS["kmer"], min_length=61)
    monkeypatch.setitem(MODELS._entries, "kmer", short)
    with pytest.raises(
        ValueError, match=r"kmer needs sequences of 61 bp or more; the shortest .* 60"
    ):
        run_trial(job(one, "kmer"))
    tight = dataclasses.replace(short, min_length=1, context=59)
    monkeypatch.setitem(MODELS._entries, "kmer", tight)
    with pytest.raises(ValueError, match=r"kmer reads 59 bp at most; the longest of .* has 60"):
        run_trial(job(one, "kmer"))


def test_limit_shortens_every_split(task):
    limited = job(task(), "kmer")
    record, _ = run_trial(Job(dataclasses.replace(limited.trial, limit=20)))
    assert record.n_examples == {"train": 20, "val": 20, "test": 20}
