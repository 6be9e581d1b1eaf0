"""models/kernels/scan.py and its CUDA kernels against a step-by-step reference."""

import sys
import types

import pytest
import torch

from dnabench.models.kernels import cuda_scan
from dnabench.models.kernels.scan import BiMamba, reversal, reverse, scan_on, selective_scan


def scan_inputs(length=37, scale=1.0, dtype=torch.float64):
    g = torch.Generator().manual_seed(length)
    x, delta = torch.randn(2, 2, length, 2, 5, generator=g, dtype=dtype)
    a = -torch.arange(1, 5, dtype=dtype).repeat(2, 5, 1)
    b, c = torch.randn(2, 2, length, 2, 4, generator=g, dtype=dtype)
    return [x, scale * torch.nn.functional.softplus(delta), a, b, c]


def scan_ref(x, delta, a, b, c):
    """The recurrence as it is written."""
    h, out = torch.zeros(x.shape[0], *a.shape, dtype=x.dtype), []
    for t in range(x.shape[1]):
        step = delta[:, t, ..., None]
        h = torch.exp(step * a) * h + step * x[:, t, ..., None] * b[:, t, :, None]
        out.append((h * c[:, t, :, None]).sum(-1))
    return torch.stack(out, 1)


def value_and_gradients(scan, inputs, **options):
    inputs = [t.clone().requires_grad_() for t in inputs]
    y = scan(*inputs, **options)
    weight = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), inputs)]


@pytest.mark.parametrize("length", [1, 2, 8, 37])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_scan_and_gradients_are_those_of_the_recurrence(length, scale):
    reference = value_and_gradients(scan_ref, scan_inputs(length, scale))
    single = [t.float() for t in scan_inputs(length, scale)]
    for ours, limit in ((scan_inputs(length, scale), 1e-12), (single, 1e-5)):
        for got, want in zip(value_and_gradients(selective_scan, ours), reference, strict=True):
            size = max(1.0, float(want.abs().max()))
            assert float((got.double() - want).abs().max()) / size < limit


def test_scan_passes_gradcheck():
    inputs = [t.requires_grad_() for t in scan_inputs(5)]
    assert torch.autograd.gradcheck(lambda *t: selective_scan(*t, chunk=2), inputs)


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 100])
def test_chunks_of_the_scan_change_nothing(chunk):
    one, other = (value_and_gradients(selective_scan, scan_inputs(), chunk=k) for k in (chunk, 16))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-12)


def test_scan_keeps_one_chunk_of_states_and_one_state_a_chunk():
    inputs = [t.requires_grad_() for t in scan_inputs(512)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda t: t):
        selective_scan(*inputs, chunk=32)
    states = 512 * inputs[0].shape[0] * inputs[2].numel()
    assert sum(kept) == sum(t.numel() for t in inputs) + states // 32


@pytest.mark.parametrize("cut", [1, 16, 30])
def test_a_scan_goes_on_from_a_state_and_so_do_its_gradients(cut):
    def halves(x, delta, a, b, c):
        h = torch.zeros(x.shape[0], *a.shape, dtype=x.dtype)
        first, h = scan_on(x[:, :cut], delta[:, :cut], a, b[:, :cut], c[:, :cut], h, chunk=4)
        last, h = scan_on(x[:, cut:], delta[:, cut:], a, b[:, cut:], c[:, cut:], h, chunk=4)
        return torch.cat([first, last], 1)

    found, wanted = (value_and_gradients(f, scan_inputs()) for f in (halves, selective_scan))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-12)


def test_scan_is_float32_in_bf16():
    torch.manual_seed(0)
    mixer, u = BiMamba(8, 1), torch.randn(2, 30, 8)
    inputs = [t.float() for t in scan_inputs()]
    with torch.autocast("cpu", torch.bfloat16):
        half = selective_scan(*inputs)
        kinds = {t.dtype for t in mixer.mamba_fwd.parameters_of_scan(torch.randn(2, 30, 16))}
        mixed = mixer(u, None)
    torch.testing.assert_close(half, selective_scan(*inputs), rtol=0, atol=0)
    assert kinds == {torch.float32}
    torch.testing.assert_close(mixed.float(), mixer(u, None), atol=0.01, rtol=0.05)


def test_reverse_flips_each_sequence_within_its_length():
    x = torch.arange(12).view(2, 6, 1)
    mask = torch.tensor([[1.0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    turned = reverse(x, reversal(mask))
    assert turned.flatten().tolist() == [3, 2, 1, 0, 4, 5, 11, 10, 9, 8, 7, 6]
    assert torch.equal(reverse(turned, reversal(mask)), x)
    assert torch.equal(reverse(x, None), reverse(x, reversal(torch.ones(2, 6))))


@pytest.mark.parametrize(("mute", "seen"), [("mamba_rev", "right"), ("mamba_fwd", "left")])
def test_a_direction_alone_is_causal(mute, seen):
    torch.manual_seed(0)
    mixer, u = BiMamba(8, 1).double(), torch.randn(1, 30, 8, dtype=torch.float64)
    with torch.no_grad():
        for name in ("conv1d.weight", "conv1d.bias"):  # zero in, zero out
            mixer.get_parameter(f"{mute}.{name}").zero_()
        other = u.clone()
        other[0, 15] += 1
        change = (mixer(u, None) - mixer(other, None)).abs().amax(2)[0]
    left, right = float(change[:15].max()), float(change[16:].max())
    assert (right > 1e-6, left > 1e-6) == (seen == "right", seen == "left")
    assert min(left, right) < 1e-14


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("package", ["mamba_ssm", "triton"])
def test_a_kernel_for_cuda_gives_the_same_value_and_gradients(package, monkeypatch):
    pytest.importorskip(package)
    if package == "triton":
        monkeypatch.delitem(cuda_scan.KERNELS, "mamba_ssm")
    cuda_scan._working.cache_clear()
    assert cuda_scan.working("cuda:0") == package
    inputs = [t.float().cuda() for t in scan_inputs(300)]
    plain = value_and_gradients(selective_scan, inputs, chunk=64)
    for found, expected in zip(value_and_gradients(selective_scan, inputs), plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_kernels_order_of_channels_and_groups_is_ours(monkeypatch):
    """A step-by-step `kernel` with the shapes that mamba-ssm documents stands in its place."""

    def grouped(u, delta, a, b, c):
        groups = b.shape[1]
        assert u.shape[1] == a.shape[0] and b.shape[2:] == (a.shape[1], u.shape[2])
        wide = [t.repeat_interleave(u.shape[1] // groups, 1) for t in (b, c)]
        h, out = torch.zeros(u.shape[0], *a.shape, dtype=u.dtype), []
        for t in range(u.shape[2]):
            step = delta[:, :, t, None]
            h = torch.exp(step * a) * h + step * u[:, :, t, None] * wide[0][..., t]
            out.append((h * wide[1][..., t]).sum(-1))
        return torch.stack(out, 2)

    inputs = scan_inputs(23)
    name = "mamba_ssm.ops.selective_scan_interface"
    for part in (name.split(".")[0], "mamba_ssm.ops", name):
        module = types.ModuleType(part)
        module.selective_scan_fn = grouped
        monkeypatch.setitem(sys.modules, part, module)
    torch.testing.assert_close(cuda_scan.by_mamba(*inputs), selective_scan(*inputs))
    cuda_scan._working.cache_clear()
    assert cuda_scan.working("cpu") == "mamba_ssm"  # there and back
    cuda_scan._working.cache_clear()
