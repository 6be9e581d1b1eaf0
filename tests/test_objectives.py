"""train/objectives.py: another objective trains through the same learner and loop."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import planted_split, planted_task
from torch import nn

from dnabench import MODELS, Recipe, Sequences, Split
from dnabench.metrics import score
from dnabench.protocols import PROTOCOLS
from dnabench.splits import streams
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.loop import fit
from dnabench.train.objectives import Objective, Supervised, Target
from dnabench.types import IGNORED, Resources

MASK, SHARE = 7, 0.2
TASK = planted_task(length=40)
SEEDS = streams(0, TASK.name)


class MaskedTokens(Objective):
    """Guess the ids that were replaced by MASK."""

    metric, n_outputs = "accuracy", 4

    def targets(self, split, data, rng):
        def draw(rows):
            batch = data.batch(rows)
            hidden = torch.from_numpy(rng.random(batch.ids.shape) < SHARE)
            hidden &= torch.ones_like(hidden) if batch.mask is None else batch.mask.bool()
            values = batch.ids.long().masked_fill(~hidden, IGNORED)
            return Target(values, max(1, int(hidden.sum())))

        return draw

    def inputs(self, batch, target):
        target = target[:, : batch.ids.shape[1]]  # a micro-batch may be narrower
        return batch._replace(ids=batch.ids.masked_fill(target != IGNORED, MASK), target=target)

    def loss(self, logits, batch):
        return self._losses(logits, batch).sum()

    def questions(self, split, data):
        draws = self.targets(split, data, np.random.default_rng(0))
        target = draws(data.rows(np.arange(data.n * data.strands))).values
        return lambda rows: self.inputs(data.batch(rows), target[rows.index])

    def answers(self, logits, batch):
        """Of each sequence: its summed loss, how many ids were right, and how many were asked."""
        asked = batch.target != IGNORED
        right = (logits.argmax(-1) == batch.target) & asked
        return torch.stack([self._losses(logits, batch), right.sum(1), asked.sum(1)], 1)

    def scores(self, split, predictions):
        _, right, asked = predictions.sum(0)
        return {"accuracy": float(right / asked)}

    def mean_loss(self, split, predictions):
        loss, _, asked = predictions.sum(0)
        return float(loss / asked)

    @staticmethod
    def _losses(logits, batch):
        each = F.cross_entropy(logits.transpose(1, 2), batch.target, ignore_index=IGNORED,
                               reduction="none")  # fmt: skip
        return each.sum(1)


class Tiny(nn.Module):
    """ids (B, T) to logits (B, T, 4)."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(MASK + 1, 16)
        self.conv = nn.Conv1d(16, 32, 9, padding=4)
        self.head = nn.Linear(32, 4)

    def forward(self, ids, mask):
        h = self.table(ids.long()).transpose(1, 2)
        return self.head(F.relu(self.conv(h)).transpose(1, 2))


def repeats(n, seed):
    """ACGTACGT..., from any letter on and of several lengths; the labels say nothing."""
    rng = np.random.default_rng(seed)
    texts = [("ACGT" * 12)[a : a + b] for a, b in
             zip(rng.integers(0, 4, n), rng.integers(30, 41, n), strict=True)]  # fmt: skip
    return Split(Sequences.parse(texts), np.zeros(n, np.int64), np.arange(n).astype(str))


def masked(micro_batch=0, rc="none"):
    torch.manual_seed(0)
    recipe = Recipe(batch=32, epochs=6, lr=1e-2, weight_decay=0.0, rc=rc)
    examples = Examples(MODELS["cnn"], TASK, repeats(256, 0))
    return NetLearner(
        Tiny(), examples, MaskedTokens(), recipe, SEEDS, Resources(micro_batch=micro_batch)
    )


@pytest.mark.parametrize("protocol", ["honest/1", "dnabert2-gue/1"])
def test_masked_tokens_are_learned_without_a_label(protocol):
    one, dev = masked(), repeats(64, 1)
    found = fit(one, MaskedTokens(), PROTOCOLS[protocol], {"val": dev})
    losses = [row["loss"] for row in found.curve]
    assert losses[0] > 0.5 and losses[-1] < 0.2 * losses[0]
    chosen = found.curve[found.best_epoch - 1]
    assert chosen["val"]["accuracy"] > 0.95
    if protocol == "dnabert2-gue/1":
        values = [row["val_loss"] for row in found.curve]
        assert found.best_epoch == int(np.argmin(values)) + 1 and min(values) < 0.2 < math.log(4)
    predictions = one.predictor(dev)()
    assert MaskedTokens().scores(dev, predictions) == chosen["val"]  # the same masks again


def test_masks_are_drawn_from_the_seed_and_not_from_the_micro_batch():
    whole, again, parts = masked(), masked(), masked(micro_batch=5)
    losses = [[one.train_epoch() for _ in range(2)] for one in (whole, again, parts)]
    assert losses[0] == losses[1]
    assert losses[2][0] == pytest.approx(losses[0][0], rel=1e-3)


@pytest.mark.parametrize("rc", ["augment", "conjoin"])
def test_other_strands_are_masked_too(rc):
    one, dev = masked(rc=rc), repeats(64, 1)
    assert fit(one, MaskedTokens(), PROTOCOLS["honest/1"], {"val": dev}).curve[-1]["loss"] < 0.3
    assert one.predictor(dev)().shape == (64, 3)


def test_scores_and_metrics_of_labels_are_those_of_the_task():
    task = planted_task(metric="accuracy")
    goal, split = Supervised(task), planted_split(40, 0)
    logits = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    assert goal.metrics[0] == goal.metric == "accuracy" and len(set(goal.metrics)) > 3
    assert goal.scores(split, logits) == score(split.y, logits, goal.metrics)
    assert np.array_equal(goal.predictions(split, [logits]), logits)
    assert np.array_equal(goal.predictions(split, [logits, -logits]), np.zeros((40, 2)))


def test_two_learners_in_one_process_keep_their_kernels_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("DNABENCH_CONVOLUTION", raising=False)
    model, task = MODELS["convnova-386k"], planted_task()
    learners = []
    for batch in (64, 32):
        recipe = Recipe(batch=batch, epochs=2)
        examples = Examples(model, task, planted_split(64, 0))
        net = model.build(task, model.options)
        learners.append(NetLearner(net, examples, Supervised(task), recipe, SEEDS))
    for one in (*learners, *learners):  # in turn
        one.train_epoch()
    shapes = [{name.split("-")[-3] for name in one.kernels.used} for one in learners]
    assert all(s.startswith("64x") for s in shapes[0]) and shapes[0]
    assert all(s.startswith("32x") for s in shapes[1]) and shapes[1]
    assert learners[0].kernels.seconds > 0
