"""Parts of a window that are computed again: probes/reuse.py."""

from functools import partial

import numpy as np
import pytest
import torch
from test_genomes import own_cache
from test_probe_variants import letters, source

from dnabench import MODELS
from dnabench.models.kernels import parts
from dnabench.models.kernels.convolve import convolve
from dnabench.models.language import language_model
from dnabench.probes import reuse
from dnabench.probes.dependency import dependency
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.reuse import NotLocalError, Reuse
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture
L = 150
CNN = {"width": 8}
LOCAL = {  # name, options: the receptive field is shorter than L, as long, or longer
    "convnova": {**CNN, "blocks": 3}, "convnova-386k": CNN, "convnova-7.4m": {**CNN, "blocks": 4},
    "convnova_no_gate": {**CNN, "blocks": 4}, "convnova_single_branch": {**CNN, "blocks": 4},
    "gpn": {**CNN, "inner": 8, "layers": 3}, "gpn-smol": {**CNN, "inner": 8, "layers": 9},
    "gpn-c2": {**CNN, "inner": 8, "layers": 3}, "gpn-cl": {**CNN, "inner": 8, "layers": 2},
    "gpn-legacy": {**CNN, "layers": 4}, "gpn-promoter": {**CNN, "layers": 3},
}  # fmt: skip


def codes_of(length, seed=0):
    return Sequences.parse([letters(length, seed)]).codes


@pytest.fixture
def in_double(monkeypatch):
    """What remains of a difference in float64 is none of rounding."""

    def apply(net):
        monkeypatch.setattr(torch, "zeros", partial(torch.zeros, dtype=torch.double))  # of one-hot
        return net.double()

    return apply


@pytest.mark.parametrize("name", LOCAL)
def test_maps_are_those_of_the_whole_network(name, in_double):
    one, codes = source(name, L, **LOCAL[name]), codes_of(L)
    likelihood = Likelihood(one._replace(net=in_double(one.net)))
    part, whole = dependency(likelihood, codes), dependency(likelihood, codes, whole=True)
    assert "computed again" in part.how and whole.how == "as asked"
    np.testing.assert_allclose(part.values, whole.values, atol=1e-5)
    assert whole.values.max() > 1e-2
    assert (part.values.argmax(1) == whole.values.argmax(1)).all()


def both_ways(net, ids, new, first):
    """The logits of windows with other tokens from `first` on, in parts and whole."""
    many = ids.repeat(len(new), 1)
    many[:, first : first + new.shape[1]] = new
    with torch.inference_mode():
        reuse = Reuse(net, ids)
        at, part = reuse.again(new, first)
        wanted, was = net(many, None), net(ids, None)
    assert torch.equal(reuse.whole, was) and type(part) is torch.Tensor
    assert at == max(0, first - reuse.reach)
    assert part.shape[1] == min(ids.shape[1], first + new.shape[1] + reuse.reach) - at
    found = was.repeat(len(new), 1, 1)
    found[:, at : at + part.shape[1]] = part
    return found, wanted


@pytest.mark.parametrize("name", ["convnova", "gpn-smol", "gpn-legacy", "gpn-promoter"])
@pytest.mark.parametrize(("first", "n"), [(0, 1), (1, 3), (70, 5), (147, 3), (149, 1), (0, L)])
def test_logits_are_those_of_the_whole_network(name, first, n, in_double):
    net = source(name, L, **LOCAL[name]).net
    ids = torch.from_numpy(codes_of(L).astype(np.int64))[None]
    new = torch.from_numpy(np.stack([codes_of(n, seed) for seed in (1, 2, 3)]).astype(np.int64))
    single = both_ways(net, ids, new, first)
    found, exact = both_ways(in_double(net), ids, new, first)
    assert (found - exact).abs().max() < 1e-12 * exact.abs().max()
    rounding = [float((one - exact).abs().max()) for one in single]
    assert rounding[0] < 4 * rounding[1] + 1e-6 * float(exact.abs().max())  # in parts, whole


def test_layers_that_work_on_each_position_are_run_in_pieces(monkeypatch, in_double):
    """Also where the window is longer than what ConvNova gives such layers at once."""
    monkeypatch.setattr(parts, "POSITIONS", 100)
    monkeypatch.setattr(reuse, "PIECE", 16)  # of 4 rows of 3 + 2 x 6 tokens
    net = in_double(source("convnova-386k", L, **CNN).net)
    ids = torch.from_numpy(codes_of(L).astype(np.int64))[None]
    new, sizes = torch.from_numpy(np.stack([codes_of(3, k) for k in range(4)]).astype(int)), []
    net.backbone.milinear.register_forward_pre_hook(lambda _, x: sizes.append(x[0].shape[1]))
    found, exact = both_ways(net, ids, new, 70)
    assert (found - exact).abs().max() < 1e-12 * exact.abs().max()
    assert sizes == [L, 16, 16, 16, 12, 100, 50, 100, 50]  # recorded, again, and whole twice


@pytest.mark.parametrize("name", LOCAL)
def test_what_a_base_can_change_is_what_it_changes(name, in_double):
    options = LOCAL[name]
    reach = Reuse(source(name, L, **options).net, torch.zeros(1, L, dtype=torch.long)).reach
    long = 2 * reach + 41
    net = in_double(source(name, long, **options).net)
    ids = torch.from_numpy(codes_of(long).astype(np.int64))[None].repeat(4, 1)
    ids[:, reach + 20] = torch.arange(4)
    with torch.no_grad():
        out = net(ids, None)
    moved = (out - out[:1]).abs().amax((0, 2)) > 0
    assert moved.nonzero()[[0, -1], 0].tolist() == [20, 2 * reach + 20]


@pytest.mark.parametrize(
    ("name", "why"),
    [("unet", "__getitem__"), ("convnova_unet", "pad"), ("hyenadna-tiny-1k", "transpose"),
     ("caduceus_ps", "flip"), ("caduceus_ph", "chunk")],
)  # fmt: skip
def test_other_networks_are_computed_whole_and_say_why(name, why):
    likelihood, codes = Likelihood(source(name, 24)), codes_of(24)
    with pytest.raises(NotLocalError, match=why):
        likelihood.reuse(codes)
    found = dependency(likelihood, codes)
    assert found.how.startswith("every pass computes the whole region: ") and why in found.how


class Mixing(torch.nn.Module):
    """Letters in three channels, a convolution, and one more operation."""

    def __init__(self, operation):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.weight = torch.randn(5, 3), torch.randn(3, 3, 3)
        self.operation = operation

    def forward(self, ids, mask):
        x = torch.nn.functional.embedding(ids, self.table)
        return self.operation(x + convolve(x, self.weight, None))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x - x.mean(1, keepdim=True), lambda x: x * x.mean((1, 2)),
        lambda x: x.softmax(1), lambda x: x.cumsum(1), lambda x: x.flip(1),
        lambda x: torch.nn.functional.layer_norm(x, x.shape[1:]),
        lambda x: x + torch.randn(L, 3), lambda x: x[:, :-1], lambda x: x[:, 3],
        lambda x: torch.nn.functional.conv1d(x.transpose(1, 2), torch.ones(3, 3, 3)),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x),
        lambda x: torch.cat([x, x], 1), lambda x: torch.fft.rfft(x, dim=1), lambda x: x.mT,
        lambda x: torch.nn.functional.batch_norm(x, None, None, training=True), lambda x: x.amax(),
    ],
)  # fmt: skip
def test_operations_that_may_read_other_positions_are_refused(operation):
    with pytest.raises(NotLocalError, match="is not known to work on each position alone"):
        Reuse(Mixing(operation), torch.zeros(1, L, dtype=torch.long))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: torch.add(x, other=convolve(x, torch.ones(3, 3, 3), None)),
        lambda x: torch.mul(x, other=torch.randn(L, 3)),
        lambda x: torch.nn.functional.linear(x, weight=torch.eye(3)),
        lambda x: torch.mul(input=x, other=2.0),
        lambda x: torch.cat(tensors=[x, x], dim=1),
    ],
)  # fmt: skip
def test_tensors_by_name_are_refused(operation):
    with pytest.raises(NotLocalError, match="has tensors by name, which are not followed"):
        Reuse(Mixing(operation), torch.zeros(1, L, dtype=torch.long))


def test_a_network_without_layers_gains_nothing():
    table = torch.randn(5, 4)
    net = lambda ids, mask: torch.nn.functional.embedding(ids, table)  # noqa: E731
    assert Reuse(net, torch.zeros(1, L, dtype=torch.long)).gain() == 1


def test_the_bound_follows_from_the_layers():
    """Of gpn, gpn-smol and ConvNova at 2,048 bp: tokens of each convolution, whole by changed."""
    length = 2048
    for name, wanted in (("gpn", 2.0), ("gpn-smol", 3.55), ("convnova", 13.3)):
        model = MODELS[name]
        options = {**model.options, "width": 8, **({"inner": 32} if "gpn" in name else {})}
        net = language_model(model, options, length).eval()
        with torch.inference_mode():
            reuse = Reuse(net, torch.zeros(1, length, dtype=torch.long))
        convolutions = [x.reach for x in reuse.layers if x.reach > x.into]
        changed = sum(
            min(length, i + r + 1) - max(0, i - r) for r in convolutions for i in range(length)
        )
        assert len(convolutions) * length**2 / changed == pytest.approx(wanted, rel=0.01)
        assert sum(map(reuse.width, convolutions)) == pytest.approx(changed / length)
        work = sum(x.work * reuse.width(x.into) for x in reuse.layers) / length
        assert reuse.gain() == pytest.approx(sum(x.work for x in reuse.layers) / work)
        assert 2 < reuse.gain() < 25
