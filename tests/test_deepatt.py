"""models/deepatt.py against the equations of docs/models.md, written out with loops in float64.

There is no golden record: the original is TensorFlow.
"""

import math

import golden
import numpy as np
import pytest
import torch
from conftest import planted_task

from dnabench import MODELS
from dnabench.models import deepatt

PARITY = {}  # golden record -> output: there is none


def network(outputs=2, length=60, **options):
    torch.manual_seed(0)
    task = planted_task(classes=outputs, length=length)
    return deepatt.build(task, {**deepatt.OPTIONS, **options})


def sized(outputs, length=1000):
    with torch.device("meta"):
        return network(outputs, length)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_ref(x, kernel, recurrent, bias):
    """One direction over x (P, 1024); gates in the order input, forget, cell, output."""
    h, c, out = np.zeros(512), np.zeros(512), []
    for row in x:
        i, f, g, o = np.split(kernel @ row + recurrent @ h + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def reference(net, ids):
    """Logits (K,) of one sequence of letters 0..3, from the tensors of `net`."""
    w = {k: v.numpy() for k, v in net.double().state_dict().items()}
    one_hot, conv = np.eye(4)[ids], w["backbone.conv_1.weight"]
    x = [
        np.tensordot(conv, one_hot[t : t + 30].T, 2) + w["backbone.conv_1.bias"]
        for t in range(len(ids) - 29)
    ]
    x = np.maximum(x, 0)
    x = np.array([x[15 * p : 15 * p + 15].max(0) for p in range(len(x) // 15)])
    rnn = [w[f"backbone.bidirectional_rnn.{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih")]
    back = [w[f"backbone.bidirectional_rnn.{n}_l0_reverse"]
            for n in ("weight_ih", "weight_hh", "bias_ih")]  # fmt: skip
    x = np.concatenate([lstm_ref(x, *rnn), lstm_ref(x[::-1], *back)[::-1]], 1)

    def dense(name, a):
        return a @ w[f"head.{name}.weight"].T + w[f"head.{name}.bias"]

    logits = []
    for query in np.eye(w["head.wq.weight"].shape[1]):
        q, k, v = dense("wq", query), dense("wk", x), dense("wv", x)
        mixed = []
        for head in range(4):
            part = slice(100 * head, 100 * head + 100)
            weight = np.exp(k[:, part] @ q[part] / math.sqrt(100))
            mixed.append(weight / weight.sum() @ v[:, part])
        hidden = np.maximum(dense("point_wise_dense_1", dense("dense", np.concatenate(mixed))), 0)
        logits.append(dense("point_wise_dense_2", hidden)[0])
    return np.array(logits)


@pytest.mark.parametrize(("outputs", "length"), [(3, 61), (1, 44), (5, 103)])
def test_follows_the_equations(outputs, length):
    net, ids = network(outputs, length).double().eval(), golden.ids(2, length, 0, 4)
    for p in net.requires_grad_(False).parameters():
        p.mul_(4).add_(0.3 * torch.randn_like(p) if p.ndim == 1 else 0)  # biases too
    want = np.array([reference(net, row.numpy()) for row in ids])
    got = net(ids, None)
    assert got.shape == (2, outputs) and np.ptp(want, 0).min() > 0.01
    assert outputs == 1 or np.ptp(want, 1).min() > 0.01
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_the_original_has_7808057_parameters():
    net = sized(919)
    assert sum(p.numel() for p in net.parameters()) == 7_808_057  # the authors' README
    plain = torch.nn.LSTM(1024, 512, bidirectional=True, device="meta")
    ours = sum(p.numel() for p in net.backbone.bidirectional_rnn.parameters())
    extra = sum(p.numel() for p in plain.parameters()) - ours
    assert 7_808_057 + extra == 7_812_153  # with the second bias of nn.LSTM
    layers = {n: sum(p.numel() for p in m.parameters()) for n, m in net.head.named_children()}
    assert layers == {
        "wq": 368_000, "wk": 410_000, "wv": 410_000, "dense": 160_400,
        "point_wise_dense_1": 40_100, "point_wise_dense_2": 101,
    }  # fmt: skip
    assert MODELS["deepatt"].n_params == 123_904 + 6_295_552


@pytest.mark.parametrize("outputs", [1, 2, 919])
@pytest.mark.parametrize("length", [44, 1000])
def test_the_count_depends_on_the_labels_alone(outputs, length):
    total = sum(p.numel() for p in sized(outputs, length).parameters())
    assert total == deepatt.count(outputs)


def test_only_the_queries_depend_on_the_labels():
    few, many = ({k: tuple(v.shape) for k, v in sized(n).state_dict().items()} for n in (2, 9))
    assert [k for k in few if few[k] != many[k]] == ["head.wq.weight"]
    assert few["head.wq.weight"] == (400, 2)


def test_short_tasks_are_refused():
    with pytest.raises(ValueError, match=r"deepatt needs 44 bp; the longest of .* has 43"):
        network(length=43)
    assert network(length=44).positions(golden.ids(1, 44, 0, 4)).shape == (1, 1, 1024)
    assert network(length=1000).positions(golden.ids(1, 900, 0, 4)).shape == (1, 64, 1024)


def test_padding_is_zeros_like_n_whatever_the_batch():
    net, ids = network(length=90).eval(), golden.ids(1, 70, 0, 4)
    with torch.no_grad():
        alone = net(ids, None)
        for letter, width in ((5, 80), (5, 90), (4, 90)):
            longer = torch.full((1, width), letter)
            longer[:, :70] = ids
            mask = (torch.arange(width) < 70).float()[None]
            torch.testing.assert_close(net(longer, mask), alone, rtol=0, atol=0)
        assert not torch.equal(net(torch.cat([ids, ids[:, :20]], 1), None), alone)


def test_the_second_bias_of_the_lstm_is_no_weight():
    net = network()
    names = [n for n, _ in net.named_parameters()]
    assert "backbone.bidirectional_rnn.bias_ih_l0" in names
    assert not [n for n in (*names, *net.state_dict()) if "bias_hh" in n]
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    torch.nn.functional.cross_entropy(
        net(golden.ids(4, 60, 0, 4), None), torch.tensor([0, 1, 1, 0])
    ).backward()
    optimizer.step()
    rnn = net.backbone.bidirectional_rnn
    assert not rnn.bias_hh_l0.any() and rnn.bias_ih_l0.any()


def test_weights_start_as_keras_starts_them():
    net = network().requires_grad_(False)
    rnn, limit = net.backbone.bidirectional_rnn, math.sqrt(6 / (1024 + 2048))
    for name in ("l0", "l0_reverse"):
        kernel = getattr(rnn, f"weight_ih_{name}")
        assert 0.99 * limit < float(kernel.abs().max()) <= limit
        recurrent = getattr(rnn, f"weight_hh_{name}")
        torch.testing.assert_close(recurrent.T @ recurrent, torch.eye(512), atol=1e-5, rtol=0)
        bias = getattr(rnn, f"bias_ih_{name}").view(4, 512)
        assert (bias[1] == 1).all() and not bias[[0, 2, 3]].any()
    assert float(net.backbone.conv_1.weight.abs().max()) <= math.sqrt(6 / (30 * (4 + 1024)))
    assert float(net.head.wk.weight.abs().max()) <= math.sqrt(6 / (1024 + 400))
    assert not net.head.wk.bias.any()


def test_dropout_is_for_training_only():
    net, plain, ids = network(dropout=0.5), network(dropout=0.0), golden.ids(2, 60, 0, 4)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(ids, None), plain(ids, None), rtol=0, atol=0)
        assert not torch.equal(net.train()(ids, None), plain(ids, None))


def test_a_state_moves_between_networks():
    one, other, ids = network().eval(), network().double().float().eval(), golden.ids(2, 60, 0, 4)
    golden.fill(one)
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other(ids, None), one(ids, None), rtol=0, atol=0)
