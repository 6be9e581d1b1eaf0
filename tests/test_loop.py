"""train/loop.py: the schedule, the step, the choice of the checkpoint, and who may see test."""

import functools
import math

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task
from sklearn.metrics import matthews_corrcoef

from dnabench import MODELS, Recipe, Sequences, Split
from dnabench.host.machine import bf16_flags
from dnabench.protocols import PROTOCOLS
from dnabench.splits import streams
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.loop import fit
from dnabench.train.objectives import Supervised
from dnabench.train.schedule import learning_rate
from dnabench.types import Resources

HONEST, LAST, SELECTED = (PROTOCOLS[f"{n}/1"] for n in ("honest", "last-epoch", "test-selected"))
TASK = planted_task()
GOAL = Supervised(TASK)
SEEDS = streams(0, TASK.name)
TRAIN, DEV, TEST = (planted_split(n, s) for s, n in enumerate((160, 80, 80)))
SMALL = {"width": 16, "d_inner": 1, "kernel_size": 5, "blocks": 3}


def learner(options=SMALL, train=TRAIN, seed=0, micro_batch=0, net=None, **recipe):
    model, seeds = MODELS["convnova"], streams(seed, TASK.name)
    torch.manual_seed(seeds.init)
    net = net or model.build(TASK, {**model.options, **options})
    recipe = Recipe(**{"batch": 32, "epochs": 3, **recipe})
    resources = Resources(micro_batch=micro_batch)
    return NetLearner(net, Examples(model, TASK, train), GOAL, recipe, seeds, resources)


class Scripted:
    """A learner whose predictions get better and worse as told: right[epoch] of 80 are right."""

    n_params = 1

    def __init__(self, right_on_dev, right_on_test=()):
        self.epochs, self.epoch = len(right_on_dev), 0
        self.right = {id(DEV): right_on_dev, id(TEST): right_on_test}

    def train_epoch(self):
        self.epoch += 1
        return 0.5

    def predictor(self, split):
        def predict():
            guess = split.y.copy()
            wrong = len(split.y) - self.right[id(split)][self.epoch - 1]
            guess[:wrong] = 1 - guess[:wrong]
            return np.eye(2, dtype=np.float32)[guess]

        return predict

    def state(self):
        return self.epoch

    def restore(self, state):
        self.epoch = state


# docs/models.md#learning-rate, by hand: T = 1000, W = 10.
@pytest.mark.parametrize(
    ("schedule", "step", "lr"),
    [
        ("cosine", 0, 1e-6), ("cosine", 5, 1e-6 + 5 * (1e-3 - 1e-6) / 10),
        ("cosine", 500, 1e-4 + 0.9e-3 / 2), ("cosine", 1000, 1e-4),
        ("cosine", 10, 1e-4 + 0.45e-3 * (1 + math.cos(math.pi / 100))),
        ("linear", 10, 1e-3), ("linear", 505, 0.5e-3), ("linear", 1000, 0.0),
        ("constant", 10, 1e-3), ("constant", 999, 1e-3), ("constant", 0, 1e-6),
    ],
)  # fmt: skip
def test_learning_rate_at_known_steps(schedule, step, lr):
    assert learning_rate(step, 1000, Recipe(schedule=schedule)) == pytest.approx(lr, rel=1e-12)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate(0, 10, Recipe(schedule="constant", warmup=0.0)) == 1e-3


def test_one_step_is_torchs_adamw_by_hand():
    """An independent loop of the same step, from the same weights on the same batch."""
    ours, model = learner(epochs=1, batch=160, clip=0.5), MODELS["convnova"]
    torch.manual_seed(streams(0, TASK.name).init)
    net = model.build(TASK, {**model.options, **SMALL})
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-6, weight_decay=0.1)
    ids = torch.from_numpy(TRAIN.seqs.codes.reshape(160, 60).copy())
    loss = torch.nn.functional.cross_entropy(net(ids, None), torch.from_numpy(TRAIN.y))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
    optimizer.step()
    assert ours.train_epoch() == pytest.approx(float(loss.detach()), rel=1e-5)
    for a, b in zip(ours.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_learns_the_planted_motif():
    one = learner(epochs=10, lr=3e-3, train=planted_split(1200, 7))
    fit(one, GOAL, HONEST, {"val": DEV})
    assert matthews_corrcoef(TEST.y, one.predictor(TEST)().argmax(1)) > 0.8


def test_batches_are_shuffled_anew_in_every_epoch_and_hold_every_example_once():
    one = learner(batch=7)
    seen = []
    one._loss = lambda rows, targets: (seen.append(rows.host), one.net.head.weight.sum() * 0)[1]
    one.train_epoch()
    one.train_epoch()
    first, second = np.concatenate(seen[:23]), np.concatenate(seen[23:])
    assert sorted(first) == sorted(second) == list(range(160)) and list(first) != list(second)


def test_augmentation_flips_half_of_the_training_and_none_of_the_test():
    one = learner(rc="augment", batch=160)
    flipped = []
    one._forward = lambda b: (flipped.append(b.ids.clone()), one.net(b.ids, b.mask))[1]
    one.train_epoch()
    forward = {bytes(r) for r in TRAIN.seqs.codes.reshape(160, 60)}
    backward = {bytes(r) for r in TRAIN.seqs.reverse_complement().codes.reshape(160, 60)}
    rows = [bytes(r) for r in flipped[0].numpy()]
    n = sum(r in backward for r in rows)
    assert 50 < n < 110 and n + sum(r in forward for r in rows) == 160
    one.predictor(TEST)()
    assert {bytes(r) for r in flipped[-1].numpy()} == {
        bytes(r) for r in TEST.seqs.codes.reshape(80, 60)
    }


def test_the_best_validation_epoch_is_kept_and_the_earliest_of_equals():
    one = Scripted([50, 70, 60, 70, 65])
    out = fit(one, GOAL, HONEST, {"val": DEV})
    assert out.best_epoch == 2 and one.epoch == 2 and len(out.curve) == 5
    assert out.curve[1]["val"]["accuracy"] == 70 / 80


def test_last_epoch_keeps_the_last():
    one = Scripted([50, 70, 60])
    assert fit(one, GOAL, LAST, {"val": DEV}).best_epoch == 3 and one.epoch == 3


def test_test_selected_chooses_on_test():
    one = Scripted([50, 70, 60], [66, 60, 75])
    out = fit(one, GOAL, SELECTED, {"val": DEV, "test": TEST})
    assert out.best_epoch == 3 and out.curve[2]["test"]["accuracy"] == 75 / 80


def test_honest_chooses_on_validation_even_when_it_is_shown_test():
    one = Scripted([50, 70, 60], [60, 50, 79])
    fitted = fit(one, GOAL, HONEST, {"val": DEV, "test": TEST})
    assert fitted.best_epoch == one.epoch == 2


def test_patience_stops_early():
    one = Scripted([50, 70, 60, 65, 79])
    out = fit(one, GOAL, HONEST, {"val": DEV}, patience=2)
    assert len(out.curve) == 4 and out.best_epoch == 2


def test_choosing_on_a_split_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="chooses on val, and there is none"):
        fit(Scripted([1]), GOAL, HONEST, {})


def test_a_loss_that_is_not_finite_ends_the_trial():
    one = Scripted([50])
    one.train_epoch = lambda: math.inf
    with pytest.raises(FloatingPointError, match="loss is inf after epoch 1; lower the learning"):
        fit(one, GOAL, LAST, {})


def test_predictions_that_are_not_finite_after_the_last_update_end_the_trial():
    """Rows and epoch are named; the loss is of the weights before the update."""
    one = learner(lr=1e9, clip=0, schedule="constant", warmup=0, epochs=1, batch=160)
    with pytest.raises(FloatingPointError, match=SAYS.format("val")):
        fit(one, GOAL, HONEST, {"val": DEV})


SAYS = r"[\d,]+ of 160 predictions of {} are not finite after epoch 1; lower the learning rate"


def test_progress_is_told_of_every_epoch():
    told = []
    fit(Scripted([1, 2, 3]), GOAL, HONEST, {"val": DEV}, progress=lambda *x: told.append(x))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.skipif(not bf16_flags(), reason="this processor has no bfloat16")
def test_bf16_trains_to_near_the_same_loss():
    a, b = learner(epochs=1), learner(epochs=1, precision="bf16")
    assert a.train_epoch() == pytest.approx(b.train_epoch(), rel=0.02)


def test_dropout_draws_from_the_trials_own_stream():
    def loss(noise):
        one = learner({**SMALL, "dropout": 0.5})
        torch.rand(noise)  # what other code drew meanwhile
        return one.train_epoch()

    assert loss(0) == loss(5)


def test_a_network_may_group_its_parameters():
    net = torch.nn.Sequential(torch.nn.Linear(60, 2))
    net.forward = lambda ids, mask: net[0](ids.float())
    net.param_groups = lambda recipe: [
        {"params": [net[0].weight]}, {"params": [net[0].bias], "weight_decay": 0.0}
    ]  # fmt: skip
    one = learner(net=net, weight_decay=0.3)
    assert [g["weight_decay"] for g in one._optimizer.param_groups] == [0.3, 0.0]
    assert np.isfinite(one.train_epoch())


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_that_the_device_lacks_is_refused(precision):
    with pytest.raises(ValueError, match=f"precision={precision} on cpu"):
        learner(precision=precision)


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_weight_decay_is_the_optimizers(optimizer):
    one = learner(optimizer=optimizer, weight_decay=0.3)
    assert type(one._optimizer).__name__.lower() == optimizer
    assert all(g["weight_decay"] == 0.3 for g in one._optimizer.param_groups)


def bases(n, seed, length=60):
    """Sequences of 41 to 60 bp whose every base is labelled by what it is: AC 0, G 1, T 2."""
    whole = planted_split(n, seed, length)
    seqs = Sequences.parse(whole.seqs[i][: 41 + i % 20] for i in range(n))
    y = np.full((n, length), -100, np.int8)
    for i, bp in enumerate(seqs.lengths):
        y[i, :bp] = np.array([0, 0, 1, 2])[seqs.codes[seqs.offsets[i] : seqs.offsets[i] + bp]]
    return Split(seqs, y, whole.ids)


def counted(n, seed, kind):
    """How often A, C and G occur, as shares; as labels: whether more often than usual."""
    whole = planted_split(n, seed, 60)
    counts = np.stack([(whole.seqs.codes.reshape(n, 60) == i).mean(1) for i in range(3)], 1)
    y = (counts > 0.25).astype(np.uint8) if kind == "multilabel" else counts.astype(np.float32)
    return Split(whole.seqs, y, whole.ids)


@pytest.mark.parametrize("finetune", ["full", "probe"])
@pytest.mark.parametrize(
    ("kind", "metric", "least"),
    [
        ("per_base", "mcc", 0.95),
        ("multilabel", "auroc_mean", 0.95),
        ("regression", "pearson", 0.95),
    ],
)
def test_learns_every_kind_of_task(kind, metric, least, finetune):
    task = planted_task(classes=3, kind=kind, metric=metric, n=256)
    made = bases if kind == "per_base" else functools.partial(counted, kind=kind)
    train, test = made(256, 0), made(64, 1)
    recipe = Recipe(lr=1e-2, batch=16, epochs=8, weight_decay=0.0, finetune=finetune)
    torch.manual_seed(0)
    model = MODELS["convnova"]
    net = model.build(task, {**model.options, **SMALL})
    goal = Supervised(task)
    one = NetLearner(net, Examples(model, task, train), goal, recipe, SEEDS)
    calls = []
    net.backbone.register_forward_hook(lambda *_: calls.append(1))
    fitted = fit(one, goal, HONEST, {"val": test})
    best = fitted.curve[fitted.best_epoch - 1]["val"][metric]
    assert fitted.curve[-1]["loss"] < fitted.curve[0]["loss"]
    assert best > (least if finetune == "full" else 0.2)
    if finetune == "probe":  # test was embedded once; train before the hook was there
        assert len(calls) == 1


def test_a_micro_batch_weighs_bases_not_sequences():
    task = planted_task(classes=3, kind="per_base")
    losses = []
    for micro in (0, 3):
        torch.manual_seed(0)
        net = MODELS["convnova-386k"].build(task, MODELS["convnova-386k"].options)
        recipe = Recipe(lr=1e-12, batch=16, epochs=1, clip=0.0, weight_decay=0.0)
        examples = Examples(MODELS["convnova-386k"], task, bases(16, 0))
        one = NetLearner(
            net, examples, Supervised(task), recipe, SEEDS, Resources(micro_batch=micro)
        )
        losses.append(one.train_epoch())
        grads = [p.grad.clone() for p in net.parameters()]
        losses.append(grads)
    assert losses[0] == pytest.approx(losses[2], rel=1e-6)
    for a, b in zip(losses[1], losses[3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
