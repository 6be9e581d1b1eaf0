"""models/kernels/convolve.py: which form is chosen, by what was measured; it stays."""

import json
import multiprocessing as mp
import os
import subprocess
import sys
import time

import pytest
import torch
from test_convolve import SHAPE, TILED, cache, kernels, layer, reference

from dnabench.models.kernels import context
from dnabench.models.kernels import convolve as _convolve
from dnabench.models.kernels.context import Kernels
from dnabench.models.kernels.convolve import Shape, convolve
from dnabench.models.kernels.tiled import tiled_conv1d

__all__ = ["cache", "kernels"]  # fixtures


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
