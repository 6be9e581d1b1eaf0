"""models/kernels/: every form of a convolution is the same function."""

import golden
import pytest
import test_convnova
import torch
import torch.nn.functional as F
from bench.official_step import Network
from conftest import planted_task

from dnabench import MODELS
from dnabench.models._layers import Linear
from dnabench.models.kernels import context
from dnabench.models.kernels import convolve as _convolve
from dnabench.models.kernels import tiled as _tiled
from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import Shape
from dnabench.models.kernels.tiled import Tiling, halves, tiled_conv1d, tiling

TILED = ("tiled-gemm", "tiled-conv")
SHAPE = Shape(32, 512, 128, 128, 9, 4, 1, True)


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    monkeypatch.delenv(context.VARIABLE, raising=False)
    _convolve.settled.cache_clear()
    with Kernels() as kernels:
        yield kernels


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path))
    return tmp_path / "convolution"


def reference(x, weight, bias, dilation):
    """F.conv1d in float64."""
    x, weight = x.double().transpose(1, 2), weight.double()
    bias = None if bias is None else bias.double()
    reach = (weight.shape[2] - 1) // 2 * dilation
    return F.conv1d(x, weight, bias, padding=reach, dilation=dilation).transpose(1, 2)


def layer(length, taps, c_in=6, c_out=5, batch=3, dtype=torch.float32):
    g = torch.Generator().manual_seed(length * taps)
    sizes = ((batch, length, c_in), (c_out, c_in, taps), (c_out,))
    return [torch.randn(s, generator=g, dtype=dtype).requires_grad_() for s in sizes]


def with_gradients(y, inputs):
    """The value, then the gradients of a weighted sum of it."""
    weight = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), inputs)]


def errors(found, exact):
    """Relative l2 of each."""
    pairs = zip(found, exact, strict=True)
    return [float((a.double() - b).norm() / b.norm()) for a, b in pairs]


@pytest.mark.parametrize("taps", [3, 5, 7, 9, 11])
@pytest.mark.parametrize("dilation", [1, 4, 16, 64])
def test_tiled_is_conv1d_to_rounding_in_both_precisions(taps, dilation):
    for length in (1, 31, 200, 493):
        for dtype, bound in ((torch.float64, 1e-14), (torch.float32, 8e-7)):
            inputs = layer(length, taps, dtype=dtype)
            exact = with_gradients(reference(*inputs, dilation), inputs)
            for engine in ("gemm", "conv"):
                for size in (0, 2 * taps - 2, 2 * taps + 4):
                    y = tiled_conv1d(*inputs, dilation, engine, size)
                    found = with_gradients(y, inputs)
                    assert max(errors(found, exact)) < bound, (length, dtype, engine, size)


def test_tiled_is_about_as_exact_as_direct():
    inputs = layer(493, 9, 48, 40)
    exact = with_gradients(reference(*inputs, 4), inputs)
    plain = errors(with_gradients(_convolve.direct(*inputs, 4), inputs), exact)
    for engine in ("gemm", "conv"):
        tiled = errors(with_gradients(tiled_conv1d(*inputs, 4, engine), inputs), exact)
        assert all(t < 3 * p for t, p in zip(tiled, plain, strict=True)), (tiled, plain)


def test_tiled_gradients_by_differences():
    inputs = layer(11, 3, 2, 3, batch=2, dtype=torch.float64)
    for engine in ("gemm", "conv"):
        assert torch.autograd.gradcheck(lambda *i, e=engine: tiled_conv1d(*i, 2, e, 6), inputs)


@pytest.mark.parametrize("wanted", [(True, False, True), (False, True, False), (True, True, False)])
def test_tiled_gives_only_the_gradients_that_are_wanted(wanted):
    inputs = [t.detach().requires_grad_(w) for t, w in zip(layer(50, 5), wanted, strict=True)]
    learned = [t for t in inputs if t.requires_grad]
    found = with_gradients(tiled_conv1d(*inputs, 2), learned)
    assert max(errors(found, with_gradients(reference(*inputs, 2), learned))) < 1e-6
    x, weight, _ = inputs
    torch.testing.assert_close(
        tiled_conv1d(x, weight, None, 2).double(), reference(x, weight, None, 2), atol=1e-5, rtol=0
    )


def test_chunks_change_nothing_but_rounding(monkeypatch):
    inputs = layer(70, 9, batch=7)
    whole = with_gradients(tiled_conv1d(*inputs, 4), inputs)
    cut = tiling(7, 70, 9, 4, 6, 5)
    each = cut.tiles * 4 * (3 * cut.size // 2) * 6  # numbers of a sequence
    monkeypatch.setattr(_tiled, "RESIDENT", 3 * each)
    monkeypatch.setattr(_tiled, "NEAR", 2 * each)
    chunks = list(_tiled._chunks(7, cut, 6, 3 * each))
    assert [(c.start, c.stop) for c in chunks] == [(0, 3), (3, 6), (6, 7)]
    parts = with_gradients(tiled_conv1d(*inputs, 4), inputs)
    assert max(errors(parts, [t.double() for t in whole])) < 1e-6


def test_sequences_of_a_batch_do_not_meet():
    x, weight, bias = (t.detach() for t in layer(64, 9))
    spoilt = x.clone()
    spoilt[1] = torch.nan
    for engine in ("gemm", "conv"):
        found, alone = (tiled_conv1d(t, weight, bias, 4, engine) for t in (spoilt, x))
        assert torch.equal(found[[0, 2]], alone[[0, 2]]) and found[1].isnan().all()


@pytest.mark.parametrize(("n", "taps"), [(16, 9), (22, 5), (40, 9)])
def test_the_bilinear_form_is_the_correlation_of_a_tile(n, taps):
    x = torch.randn(n, dtype=torch.float64)
    w = torch.randn(taps, dtype=torch.float64)
    even, odd = halves(n, taps, torch.float64)
    near, far = x[: n // 2], x[n // 2 :]
    parts = [
        half.out @ ((half.weights @ w) * (half.into @ v))
        for half, v in ((even, near + far), (odd, near - far))
    ]
    y = torch.cat([parts[0] + parts[1], parts[0] - parts[1]])[: n - taps + 1]
    torch.testing.assert_close(y, F.conv1d(x[None, None], w[None, None])[0, 0])
    assert len(even.into) + len(odd.into) == 2 + 3 * (n // 2 - 1)  # products, docs/speed.md


def test_a_tiling_covers_the_sequence_and_what_it_reads():
    for length, dilation in ((500, 1), (500, 4), (493, 64), (1, 16), (10_000, 256)):
        cut = tiling(8, length, 9, dilation, 64, 64)
        assert cut.size % 2 == 0 and cut.step >= cut.size // 2
        assert cut.out_rows >= length > cut.out_rows - cut.step * dilation
        assert cut.in_rows - cut.out_rows == 2 * cut.reach == 8 * dilation
    assert Tiling(500, 9, 1, 40).tiles == 16


def test_one_tap_and_a_linear_layer_by_the_convolution():
    x, weight, bias = layer(50, 1)
    y = with_gradients(F.linear(x, weight[..., 0], bias), (x, weight, bias))
    for w in (weight, weight[..., 0]):
        found = with_gradients(_convolve.pointwise(x, w, bias), (x, weight, bias))
        assert max(errors(found, [t.double() for t in y])) < 1e-6


def test_linear_is_nn_linear():
    torch.manual_seed(0)
    ours = Linear(6, 5)
    theirs = torch.nn.Linear(6, 5)
    theirs.load_state_dict(ours.state_dict())
    for shape in ((3, 50, 6), (4, 6), (6,)):
        for form in _convolve.FORMS:
            with Kernels(form):
                torch.testing.assert_close(ours(torch.ones(shape)), theirs(torch.ones(shape)))


# The networks


@pytest.mark.parametrize("form", ["pointwise", *TILED])
@pytest.mark.parametrize("name", test_convnova.CONVNOVA)
def test_golden_records_in_every_form(name, form):
    with Kernels(form):
        out, _ = test_convnova.parity(name)
    record = test_convnova.CONVNOVA[name]
    assert max(golden.differences(record, out).values()) < golden.tolerance(name)


def ids_with_n(batch, length):
    g = torch.Generator().manual_seed(length)
    ids = torch.randint(0, 4, (batch, length), generator=g)
    return ids.masked_fill(torch.rand(ids.shape, generator=g) < 0.05, 4)


def pair(**options):
    """The authors' network in float64 and ours in float32, with the same perturbed weights."""
    torch.manual_seed(0)
    options = {"width": 48, "dilation_schedule": "code", **options}
    theirs = Network(options, 3).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.02 * torch.randn(p.shape, dtype=p.dtype))
    task = planted_task(classes=3, length=493)
    ours = MODELS["convnova"].build(task, {**MODELS["convnova"].options, **options})
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("final_conv", [False, True])
def test_gradients_as_close_to_float64_as_the_direct_forms(final_conv):
    theirs, ours = pair(final_conv=final_conv)
    ids, labels = ids_with_n(4, 493), torch.tensor([0, 1, 2, 1])

    def all_of(net):
        logits = net(ids, None)
        loss = F.cross_entropy(logits, labels)
        return logits.detach(), torch.autograd.grad(loss, list(net.parameters()))

    logits, exact = all_of(theirs)
    errors_of = {}
    for form in _convolve.FORMS:
        with Kernels(form):
            found, gradients = all_of(ours)
        assert (found - logits).abs().max() < 1e-6
        errors_of[form] = errors(gradients, exact)
        for a, b in zip(gradients, exact, strict=True):
            assert (a - b).abs().max() < 1e-4 * b.abs().max()
    for form, found in errors_of.items():
        assert max(found) < 3 * max(errors_of["direct"]), form
