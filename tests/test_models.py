"""What every registered model must do. A new model file is covered without touching this one."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import planted_split, planted_task

from dnabench import MODELS, Sequences, Split
from dnabench.fit import NetLearner
from dnabench.splits import streams
from dnabench.tokenizers import TOKENIZERS

TASK = planted_task(classes=3, length=80)
MIXED = planted_split(8, 5, length=60, classes=3)
SEEDS = streams(0, TASK.name)


@pytest.fixture(params=list(MODELS))
def model(request):
    return MODELS[request.param]


@pytest.fixture(params=[name for name in MODELS if not MODELS[name].own_learner])
def net_model(request):
    return MODELS[request.param]


def build(model, seed=0, task=TASK):
    torch.manual_seed(seed)
    return model.build(task, model.options)


def learner(model, split=MIXED, task=TASK, **recipe):
    recipe = dataclasses.replace(model.recipes["default"], **recipe)
    if model.own_learner:
        return model.build(task, model.options)(split, recipe)
    return NetLearner(build(model, task=task), model, task, split, recipe, SEEDS)


def mixed_lengths():
    """Six sequences of 60 to 80 bp, three classes."""
    base = planted_split(6, 9, length=80, classes=3)
    seqs = Sequences.parse(base.seqs[i][: 60 + 4 * i] for i in range(6))
    return Split(seqs, base.y, base.ids)


def test_learns_an_epoch_and_gives_finite_logits(model):
    one = learner(model)
    assert np.isfinite(one.train_epoch())
    logits = one.predictor(MIXED)()
    assert logits.shape == (8, 3) and logits.dtype == np.float32 and np.isfinite(logits).all()


def test_a_sequence_scores_alike_alone_and_in_a_batch(model):
    split = mixed_lengths()
    one = learner(model, split)
    one.train_epoch()
    together = one.predictor(split)()
    alone = np.concatenate([one.predictor(split.take(np.array([i])))() for i in range(6)])
    why = "the score depends on padding or neighbours: multiply by `mask` before reading neighbours"
    np.testing.assert_allclose(alone, together, atol=2e-5, rtol=1e-4, err_msg=why)


def test_order_of_the_split_is_the_order_of_the_logits(model):
    split, turned = mixed_lengths(), np.array([3, 0, 5, 1, 4, 2])
    one = learner(model, split)
    one.train_epoch()
    np.testing.assert_allclose(
        one.predictor(split.take(turned))(), one.predictor(split)()[turned], atol=2e-5, rtol=1e-4
    )


def test_the_same_seed_gives_the_same_bytes(model):
    a, b = learner(model), learner(model)
    assert a.train_epoch() == b.train_epoch()
    assert a.predictor(MIXED)().tobytes() == b.predictor(MIXED)().tobytes()


def test_restoring_a_state_gives_its_logits_back(model):
    one = learner(model)
    one.train_epoch()
    state, before = one.state(), one.predictor(MIXED)()
    one.train_epoch()
    assert not np.array_equal(one.predictor(MIXED)(), before)
    one.restore(state)
    np.testing.assert_array_equal(one.predictor(MIXED)(), before)


def test_every_recipe_trains(model):
    for name, recipe in model.recipes.items():
        changed = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
        assert np.isfinite(learner(model, **{**changed, "epochs": 1}).train_epoch()), name
        assert recipe.source


def test_declares_where_it_comes_from(model):
    assert model.source and model.license and model.context >= model.min_length >= 1


def test_declared_size_is_the_size_without_the_head(net_model):
    net = build(net_model)
    head = sum(p.numel() for p in net.head.parameters())
    assert sum(p.numel() for p in net.parameters()) - head == net_model.n_params


def test_another_seed_gives_other_weights(net_model):
    a, b = build(net_model, 0).state_dict(), build(net_model, 1).state_dict()
    assert any(not torch.equal(a[k], b[k]) for k in a)


def test_gradient_reaches_every_parameter(net_model):
    net = build(net_model)
    ids = torch.from_numpy(TOKENIZERS[net_model.tokenizer](MIXED.seqs, 80, "mask").ids)
    torch.nn.functional.cross_entropy(net(ids, None), torch.from_numpy(MIXED.y)).backward()
    dead = [k for k, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead


def test_first_loss_is_near_that_of_guessing(net_model):
    net = build(net_model)
    ids = torch.from_numpy(TOKENIZERS[net_model.tokenizer](MIXED.seqs, 80, "mask").ids)
    loss = torch.nn.functional.cross_entropy(net(ids, None), torch.from_numpy(MIXED.y))
    assert abs(float(loss.detach()) - np.log(3)) < 0.5


def test_weights_survive_a_file(net_model, tmp_path):
    net, other = build(net_model, 0).eval(), build(net_model, 1).eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    other.load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    ids = torch.from_numpy(TOKENIZERS[net_model.tokenizer](MIXED.seqs, 80, "mask").ids)
    torch.testing.assert_close(net(ids, None), other(ids, None), rtol=0, atol=0)


def test_runs_in_bf16_near_fp32(net_model):
    full = learner(net_model).predictor(MIXED)()
    half = learner(net_model, precision="bf16").predictor(MIXED)()
    assert half.dtype == np.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05)


def test_conjoined_logits_do_not_depend_on_the_strand(net_model):
    one = learner(net_model, rc="conjoin")
    other = Split(MIXED.seqs.reverse_complement(), MIXED.y, MIXED.ids)
    np.testing.assert_allclose(one.predictor(MIXED)(), one.predictor(other)(), atol=1e-5)
    plain = learner(net_model)
    moved = np.abs(plain.predictor(MIXED)() - plain.predictor(other)()).max()
    assert moved < 1e-5 if net_model.family == "caduceus_ps" else moved > 1e-4
