"""Per-base tasks on both strands: labels, logits, training and prediction."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import planted_task

from dnabench import MODELS, TASKS, Sequences, Split
from dnabench.splits import Streams
from dnabench.sweep.checks import check_fine_tuning
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.strands import opposite_labels, opposite_logits
from dnabench.types import IGNORED, Recipe

SWAP = (1, 0, 2)
SEEDS = Streams(init=1, order=2, cut=3)


def test_labels_and_logits_by_hand():
    y = np.array([[0, 0, 2, 1], [2, IGNORED, 0, IGNORED]], np.int8)
    lengths = np.array([4, 3])  # the last base of the second is padding
    turned = [[0, 2, 1, 1], [1, IGNORED, 2, IGNORED]]
    assert opposite_labels(y, lengths, SWAP).tolist() == turned
    logits = np.arange(24.0).reshape(2, 4, 3)
    other = opposite_logits(logits, lengths, SWAP)
    assert other[0, 0].tolist() == [10, 9, 11] and other[1, 0].tolist() == [19, 18, 20]
    assert other[1, 3].tolist() == [22, 21, 23]
    assert (opposite_labels(opposite_labels(y, lengths, SWAP), lengths, SWAP) == y).all()
    assert (opposite_logits(other, lengths, SWAP) == logits).all()


@pytest.mark.parametrize("name", ["demo/yeast_genes", "bend/gene_finding"])
def test_declared_classes_pair_up(name):
    task = TASKS[name]
    assert sorted(task.opposite) == list(range(task.n_outputs))
    for k, other in enumerate(task.opposite):
        words = {task.classes[k].rpartition("_")[0], task.classes[other].rpartition("_")[0]}
        assert task.opposite[other] == k and len(words) == 1
        last = {task.classes[k].rpartition("_")[2][0], task.classes[other].rpartition("_")[2][0]}
        assert last == {"f", "r"} or k == other


def frames(n, seed, lengths=(24, 30)):
    """Bases of AAG on this strand are class 0, of CTT (AAG on the other) 1, all else 2."""
    rng = np.random.default_rng(seed)
    texts = []
    for i in range(n):
        letters = ["CG"[k] for k in rng.integers(0, 2, lengths[i % 2])]
        place, word = rng.integers(0, len(letters) - 3), ("AAG", "CTT")[int(rng.integers(2))]
        letters[place : place + 3] = word
        texts.append("".join(letters))
    y = np.full((n, max(lengths)), IGNORED, np.int8)
    for row, text in zip(y, texts, strict=True):
        row[: len(text)] = 2
        for word, k in (("AAG", 0), ("CTT", 1)):
            if (at := text.find(word)) >= 0:
                row[at : at + 3] = k
    return Split(Sequences.parse(texts), y, np.array([str(i) for i in range(n)]))


def learner(rc, epochs=1, train=None):
    import torch

    task = replace(planted_task(), kind="per_base", classes=("f", "r", "n"), length=30,
                   opposite=SWAP)  # fmt: skip
    model = MODELS["convnova-386k"]
    torch.manual_seed(0)
    options = {**model.options, "width": 8, "blocks": 2}
    recipe = Recipe(rc=rc, epochs=epochs, batch=16, lr=0.01)
    train = train or frames(64, 0)
    examples = Examples(model, task, train)
    return NetLearner(model.build(task, options), examples, Supervised(task), recipe, SEEDS)


def test_conjoined_predictions_do_not_depend_on_the_strand():
    split = frames(10, 1)
    other = Split(split.seqs.reverse_complement(),
                  opposite_labels(split.y, split.seqs.lengths, SWAP), split.ids)  # fmt: skip
    one = learner("conjoin")
    a, b = one.predictor(split)(), one.predictor(other)()
    inside = split.y != IGNORED
    turned = opposite_logits(b, split.seqs.lengths, SWAP)
    assert np.abs(a - turned)[inside].max() < 1e-6
    plain = learner("none")
    c, d = plain.predictor(split)(), plain.predictor(other)()
    assert np.abs(c - opposite_logits(d, split.seqs.lengths, SWAP))[inside].max() > 1e-3


def test_training_on_one_strand_alone_knows_the_other_when_augmented():
    whole = frames(200, 3)
    forward = whole.take(np.flatnonzero((whole.y == 0).any(1)))  # AAG only, never CTT
    test = frames(100, 4)
    reverse = test.take(np.flatnonzero((test.y == 1).any(1)))

    def recall(rc):
        one = learner(rc, 12, forward)
        for _ in range(12):
            one.train_epoch()
        return float((one.predictor(reverse)().argmax(2)[reverse.y == 1] == 1).mean())

    assert recall("augment") > 0.8 > 0.1 > recall("none")


def test_a_task_that_does_not_say_is_refused():
    task, model = replace(planted_task(), kind="per_base"), MODELS["convnova-386k"]
    check_fine_tuning(model, task, Recipe(), model.options)
    with pytest.raises(ValueError, match=r"rc=augment: planted/motif.*Task.opposite"):
        check_fine_tuning(model, task, Recipe(rc="augment"), model.options)
