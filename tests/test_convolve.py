"""models/kernels/: every form is the same function, and stays chosen."""

import json
import math
import multiprocessing as mp
import os
import subprocess
import sys
import time

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
from dnabench.models.kernels import parts as _parts
from dnabench.models.kernels import tiled as _tiled
from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import Shape, convolve
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


# What is chosen


def met(monkeypatch, seconds):
    """`measure` answers this; the calls it had are returned."""
    calls = []

    def measure(shape, forms):
        calls.append(shape)
        return dict(zip(forms, seconds, strict=True))

    monkeypatch.setattr(_convolve, "measure", measure)
    monkeypatch.setattr(_convolve, "LEAST", 0.0)
    return calls


@pytest.mark.parametrize(
    ("seconds", "form"),
    [((1.0, 0.9, 0.88), "direct"), ((1.0, 0.8, 0.5), "tiled-conv"), ((1.0, 0.5, 0.6), "tiled-gemm"),
     ((1.15, 1.0, 2.0), "tiled-gemm"), ((1.0, 2.0, 3.0), "direct")],
)  # fmt: skip
def test_another_form_must_be_clearly_faster(kernels, seconds, form, cache, monkeypatch):
    met(monkeypatch, seconds)
    inputs = layer(31, 9)
    y = convolve(*inputs, 4)
    torch.testing.assert_close(y.double(), reference(*inputs, 4), atol=1e-5, rtol=0)
    assert kernels.used == {"k9-d4-6x5-4x32-1t-train": form}
    (file,) = cache.glob("[!.]*")
    told = json.loads(file.read_text())
    assert told["form"] == form and told["torch"] == torch.__version__
    assert told["seconds"]["direct"] == seconds[0]


def test_once_chosen_it_stays_in_this_process_and_the_next(kernels, cache, monkeypatch):
    calls = met(monkeypatch, (1.0, 0.5, 0.9))
    inputs = layer(31, 9)
    for _ in range(2):
        convolve(*inputs, 4)
    _convolve.settled.cache_clear()  # as in another process
    met(monkeypatch, (0.1, 0.5, 0.9))
    convolve(*inputs, 4)
    assert len(calls) == 1 and set(kernels.used.values()) == {"tiled-gemm"}


def test_contexts_share_neither_forms_nor_seconds(kernels, cache, monkeypatch):
    met(monkeypatch, (1.0, 0.5, 0.9))
    fast = _convolve.measure
    monkeypatch.setattr(_convolve, "measure", lambda *args: (time.sleep(0.05), fast(*args))[1])
    with Kernels() as first:
        convolve(*layer(31, 9), 4)
        with Kernels() as second:
            convolve(*layer(90, 9), 4)
            with first:  # a context may be entered again inside another
                convolve(*layer(200, 9), 4)
    assert sorted(first.used) == [f"k9-d4-6x5-4x{n}-1t-train" for n in (256, 32)]
    assert list(second.used) == ["k9-d4-6x5-4x96-1t-train"] and not kernels.used
    assert 0.1 <= first.seconds < 5 and 0.05 <= second.seconds < 5 and kernels.seconds == 0
    with Kernels() as third:
        convolve(*layer(31, 9), 4)
    assert third.used and third.seconds == 0  # it was measured before


def test_forms_used_inside_are_recorded_apart_and_kept(kernels, cache, monkeypatch):
    met(monkeypatch, (1.0, 0.5, 0.9))
    convolve(*layer(31, 9), 4)
    with pytest.raises(ZeroDivisionError), kernels.recording() as used:
        convolve(*layer(90, 9), 4)
        raise ZeroDivisionError
    assert list(used) == ["k9-d4-6x5-4x96-1t-train"] and len(kernels.used) == 2
    assert _convolve.would_take(kernels.used)
    assert not _convolve.would_take(dict.fromkeys(used, "direct"))
    assert not _convolve.would_take({"all that can": "direct"})
    with Kernels("direct"):
        assert _convolve.would_take({"all that can": "direct"}) and _convolve.would_take({})
        assert not _convolve.would_take(used)


def settle(folder, seconds, queue):
    _convolve.measure = lambda shape, forms: dict(zip(forms, seconds, strict=True))
    queue.put(_convolve.settled(SHAPE, folder, ("direct", *TILED)))


def test_processes_that_measure_at_once_take_the_same_form(cache):
    context = mp.get_context("fork")
    queue = context.Queue()
    folder = str(cache.parent)
    rivals = [
        context.Process(target=settle, args=(folder, (1.0, *pair), queue))
        for pair in ((0.5, 0.9), (0.9, 0.5), (1.5, 1.5))
    ]
    for p in rivals:
        p.start()
    forms = {queue.get(timeout=60) for _ in rivals}
    for p in rivals:
        p.join()
    assert len(forms) == 1 and len(list(cache.iterdir())) == 1


def test_who_comes_second_takes_the_first_ones_form(cache, monkeypatch):
    forms = ("direct", *TILED)

    def late(shape, names):  # the other one writes while this one measures
        monkeypatch.setattr(_convolve, "measure", lambda s, n: dict.fromkeys(n, 1.0))
        _convolve.settled.__wrapped__(shape, str(cache.parent), names)
        return {"direct": 1.0, "tiled-gemm": 0.1, "tiled-conv": 0.5}

    monkeypatch.setattr(_convolve, "measure", late)
    assert _convolve.settled(SHAPE, str(cache.parent), forms) == "direct"


def test_without_links_and_with_a_broken_file(cache, monkeypatch):
    met(monkeypatch, (1.0, 0.5, 0.9))

    def no_links(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", no_links)
    forms = ("direct", *TILED)
    assert _convolve.settled(SHAPE, str(cache.parent), forms) == "tiled-gemm"
    (file,) = cache.iterdir()
    for text in ("", "{", "[]", '{"form": "no such form"}'):
        file.write_text(text)  # is measured again
        assert _convolve.settled.__wrapped__(SHAPE, str(cache.parent), forms) == "tiled-gemm"
        assert json.loads(file.read_text())["form"] == "tiled-gemm"


def test_taps_that_mostly_miss_the_sequence_are_not_measured(kernels, cache, monkeypatch):
    calls = met(monkeypatch, (1.0, 0.5, 0.9))
    x, weight, bias = layer(31, 9)
    y, exact = convolve(x, weight, bias, 65_536), reference(x, weight, bias, 65_536)
    torch.testing.assert_close(y.double(), exact, atol=1e-5, rtol=0)
    assert not calls and kernels.used == {}


def test_a_form_for_which_there_is_no_memory_is_left_out(monkeypatch):
    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setitem(_convolve.FORMS, "tiled-gemm", full)
    small = SHAPE._replace(batch=1, length=64, c_in=8, c_out=8)
    assert set(_convolve.measure(small, ("direct", *TILED))) == {"direct", "tiled-conv"}
    with pytest.raises(RuntimeError, match="allocate"):
        _convolve.measure(small, ("tiled-gemm", "direct"))


def test_where_nobody_is_at_home_nothing_is_kept():
    assert _convolve.settled(SHAPE, "~nobody-of-that-name/x", ("direct", *TILED)) == "direct"


RISES = """
import torch
from dnabench.host import memory
from dnabench.models.kernels.tiled import tiled_conv1d
torch.set_num_threads(1)
x, weight = torch.randn(128, 512, 64), torch.randn(64, 64, 9)
for learns in (False, False, True):  # the first is to warm up
    memory.reset_peak("cpu")
    before = memory.peak("cpu")
    with torch.inference_mode():
        tiled_conv1d(x, weight.requires_grad_(learns), None)
    print(memory.peak("cpu") - before)
"""


def test_without_gradients_no_spectrum_is_kept():
    """Peak memory of the same layer, whose weights are to learn and are not."""
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back at once
    argv = [sys.executable, "-c", RISES]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=True)
    _, without, learning = map(int, done.stdout.split())
    assert without > 2**24 and learning < 1.1 * without


def test_a_cache_that_cannot_be_written_means_direct(kernels, tmp_path, monkeypatch):
    calls = met(monkeypatch, (1.0, 0.5, 0.9))
    (tmp_path / "file").write_text("")
    for place in ("file", "not/there"):
        monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / place))
        convolve(*layer(31, 9), 4)
    assert not calls and set(kernels.used.values()) == {"direct"}
    assert not (tmp_path / "not").exists()


def test_a_name_forces_a_form(kernels, cache, monkeypatch):
    calls, inputs = met(monkeypatch, (1.0, 0.5, 0.9)), layer(31, 9)
    plain, tiled = _convolve.direct(*inputs, 4), tiled_conv1d(*inputs, 4)
    assert not torch.equal(plain, tiled)
    monkeypatch.setenv(context.VARIABLE, "direct")
    assert torch.equal(convolve(*inputs, 4), plain)
    assert kernels.used == {"all that can": "direct"}  # a record says so
    with Kernels("tiled-gemm"):
        assert torch.equal(convolve(*inputs, 4), tiled)
    assert torch.equal(convolve(*inputs, 4), plain) and not calls
    with Kernels("auto"):
        convolve(*inputs, 4)
    assert len(calls) == 1
    monkeypatch.setenv(context.VARIABLE, "fast")
    with pytest.raises(ValueError, match="DNABENCH_CONVOLUTION is 'fast'; it must be auto or one"):
        convolve(*inputs, 4)
    with pytest.raises(ValueError, match="form is 'fast'"), Kernels("fast"):
        pass


def test_there_is_no_choice_but_in_float32_and_in_a_large_layer(kernels, cache, monkeypatch):
    calls = met(monkeypatch, (1.0, 0.5, 0.9))
    convolve(*layer(31, 9, dtype=torch.float64), 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolve(*layer(31, 9), 4).dtype == torch.bfloat16
    assert convolve(*(t.to("meta") for t in layer(31, 9)), 4).shape == (3, 31, 5)
    x, weight, bias = layer(31, 4)
    convolve(x, weight, bias)  # an even kernel
    monkeypatch.setattr(_convolve, "LEAST", 1e8)
    convolve(*layer(31, 9), 4)
    assert not calls and not kernels.used


@pytest.mark.parametrize(
    ("exact", "measured"),
    [
        (SHAPE._replace(length=500), SHAPE._replace(batch=16)),
        (SHAPE._replace(batch=7, length=500), SHAPE._replace(batch=8)),
        (SHAPE._replace(batch=128, length=200, c_in=64, c_out=64, taps=5),
         SHAPE._replace(batch=128, length=256, c_in=64, c_out=64, taps=5)),
        (SHAPE._replace(batch=1, length=100_000), SHAPE._replace(batch=1, length=8192)),
        (SHAPE._replace(batch=1, length=100_000, dilation=256),
         SHAPE._replace(batch=1, length=131_072, dilation=256)),
        (SHAPE._replace(batch=1, length=700), SHAPE._replace(batch=1, length=768)),
        (SHAPE._replace(batch=1, length=8323, c_in=5),
         SHAPE._replace(batch=1, length=16_384, c_in=5)),
    ],
)  # fmt: skip
def test_one_measurement_stands_for_like_shapes(exact, measured):
    assert _convolve.measured_shape(exact) == measured
    assert _convolve.measured_shape(measured) == measured


@pytest.mark.parametrize("train", [True, False])
def test_measuring_draws_nothing_from_the_trials_generator(train, monkeypatch):
    monkeypatch.setattr(_convolve, "SECONDS", 1e-5)
    state = torch.get_rng_state()
    shape = Shape(2, 64, 4, 4, 3, 1, 1, train)
    seconds = _convolve.measure(shape, ("direct", *TILED))
    linear = _convolve.measure(shape._replace(taps=0), ("direct", "pointwise"))
    assert list(seconds) == ["direct", *TILED] and all(s > 0 for s in seconds.values())
    assert list(linear) == ["direct", "pointwise"]
    assert torch.equal(torch.get_rng_state(), state)


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
