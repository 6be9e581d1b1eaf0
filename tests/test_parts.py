"""models/kernels/parts.py: a long sequence in parts is the sequence as a whole."""

import math

import pytest
import torch
import torch.nn.functional as F
from conftest import planted_task
from test_convolve import ids_with_n, kernels

from dnabench import MODELS
from dnabench.models.kernels import parts as _parts
from dnabench.train.adapt import probed

__all__ = ["kernels"]  # a fixture


# In parts


def long_network(monkeypatch, positions=64, **changes):
    monkeypatch.setattr(_parts, "POSITIONS", positions)
    torch.manual_seed(0)
    changes = {"width": 6, "dilation_schedule": "code", "dilation": 2, "blocks": 3, **changes}
    kind = {"kind": "per_base"} if changes.pop("per_base", False) else {}
    task = planted_task(classes=3, length=1000, **kind)
    model = MODELS["convnova"]
    return model.build(task, {**model.options, **changes}).eval()


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
@pytest.mark.parametrize("per_base", [False, True])
def test_parts_are_the_whole(pooling, per_base, monkeypatch):
    net = long_network(monkeypatch, pooling=pooling, per_base=per_base)
    sizes = []
    net.backbone.register_forward_hook(lambda _, args, out: sizes.append(out.shape[1]))
    for length in (41, 64, 121, 493, 1000):
        ids = ids_with_n(2, length)
        whole = net(ids, None)
        assert sizes == [length]  # gradients are wanted
        sizes.clear()
        with torch.no_grad():
            parts, features = net(ids, None), net.features(ids, None)
        in_parts = length > 64 + 2 * 16 and (per_base or pooling != "cls")
        assert (max(sizes) < length) == in_parts
        sizes.clear()
        torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(net.head(features), whole, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("head", [None, torch.nn.Sequential(torch.nn.Linear(6, 9))])
def test_the_head_of_a_probe_reads_parts_too(head, monkeypatch):
    net, sizes = long_network(monkeypatch, per_base=True), []
    net.head = net.head if head is None else head  # any other is replaced by a linear layer
    probed(net, 6, 3).eval().head.register_forward_hook(
        lambda _, args, out: sizes.append(out.shape[1])
    )
    ids = ids_with_n(2, 1000)
    wanted = net(ids, None)
    assert sizes == [1000]  # gradients are wanted
    with torch.no_grad():
        torch.testing.assert_close(net(ids, None), wanted, atol=1e-6, rtol=1e-6)
    assert max(sizes[1:]) <= 64 and sum(sizes[1:]) == 1000


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_parts_know_padding(pooling, monkeypatch):
    net = long_network(monkeypatch, pooling=pooling)
    ids = ids_with_n(1, 300)
    padded = F.pad(ids, (0, 400), value=5)
    mask = (torch.arange(700) < 300).float()[None]
    with torch.no_grad():
        alone, among = net(ids, None), net(padded, mask)
    torch.testing.assert_close(alone, among, atol=1e-6, rtol=1e-6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kinds = {net.features(padded[:, :n], mask[:, :n]).dtype for n in (90, 700)}
    assert len(kinds) == 1  # read whole and in parts


def test_a_part_is_not_smaller_than_its_surroundings(monkeypatch):
    monkeypatch.setattr(_parts, "POSITIONS", 100)
    with torch.no_grad():
        for length, reach, n in ((10_000, 20, 100), (10_000, 500, 500), (1500, 500, 1500),
                                 (130, 20, 130), (150, 20, 75)):  # fmt: skip
            assert _parts.part_of(torch.zeros(1, length), reach) == n
        assert _parts.part_of(torch.zeros(1, 10_000, device="meta"), 20) == 10_000
    assert _parts.part_of(torch.zeros(1, 10_000), 20) == 10_000


def test_by_position_in_parts_where_no_gradient_is_wanted(monkeypatch):
    monkeypatch.setattr(_parts, "POSITIONS", 16)
    x, seen = torch.randn(2, 50, 3), []

    def double(t):
        seen.append(t.shape[1])
        return t * 2

    assert torch.equal(_parts.by_position(double, x), x * 2) and seen == [50]
    with torch.no_grad():
        assert torch.equal(_parts.by_position(double, x), x * 2)
    assert seen[1:] == [16, 16, 16, 2] and math.ceil(50 / 16) == 4
