"""What is done for a GPU, as far as it can be seen without one: calls at the edge of its driver."""

import contextlib
import dataclasses
import os
import sys
import warnings
import weakref
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import dnabench, planted_split, planted_task
from kept_cases import put, tiny_network  # noqa: F401
from test_fidelity import learner
from test_pooling import only
from torch.utils.checkpoint import checkpoint

from dnabench.executors.base import UNUSABLE
from dnabench.forecast.estimate import Plan, summary
from dnabench.host import memory
from dnabench.host.machine import device_named, free_memory
from dnabench.models import hyenadna
from dnabench.models.kernels import cuda_scan
from dnabench.probes.attribution import How, attribution
from dnabench.probes.mutagenesis import answer_of
from dnabench.reports.pooling import mixed_cells
from dnabench.results.store import Store
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.sweep import run
from dnabench.train import batches
from dnabench.train.batches import ran_out
from dnabench.train.precision import Arithmetic
from dnabench.types import Recipe, Resources


@pytest.fixture
def calls(monkeypatch):
    """The functions of torch.cuda that were called, in order; none of them does anything."""
    seen = []

    def stand_in(name, value=None):
        monkeypatch.setattr(torch.cuda, name, lambda *args: (seen.append((name, *args)), value)[1])

    for name in ("init", "empty_cache", "reset_peak_memory_stats"):
        stand_in(name)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces",
                        lambda: seen.append(("cublas",)), raising=False)  # fmt: skip
    stand_in("mem_get_info", (5 * 10**9, 8 * 10**9))
    stand_in("is_available", value=True)
    stand_in("device_count", 2)
    return seen


def test_cuda_is_initialised_before_its_statistics_are_touched(calls):
    """With an index PyTorch does not do it, and the first call of every worker would fail."""
    memory.reset_peak("cuda:1")
    # what cuBLAS keeps for the streams of earlier trials is none of the peak of the next
    assert calls == [("init",), ("cublas",), ("empty_cache",),
                     ("reset_peak_memory_stats", "cuda:1")]  # fmt: skip


def test_answers_of_a_large_split_do_not_stay_on_the_device():
    """By PyTorch's meta device; 600 examples of 2^17 bp and one output are 315 MB."""
    one = torch.empty(2, 2**17, 1, device="meta")
    assert batches._room(400, one).device.type == "meta"
    assert batches._room(600, one).device.type == "cpu"


def test_what_a_finished_trial_left_is_freed_before_the_next(calls):
    class Cycle:
        def __init__(self):
            self.own = self

    left = weakref.ref(Cycle())
    assert left() is not None
    memory.reset_peak("cuda")
    assert left() is None


def test_a_learner_that_ended_is_such_a_cycle_or_gone(calls):
    one = learner(Recipe(batch=8, epochs=1))
    one.train_epoch()
    left = weakref.ref(one)
    del one
    memory.reset_peak("cuda")
    assert left() is None


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "cuFFT error: CUFFT_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA driver error: out of memory", "Triton Error [CUDA]: out of memory",
        "[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: can't allocate memory",
    ],
)  # fmt: skip
def test_every_way_to_say_that_memory_ran_out_halves_the_micro_batch(text):
    class Full(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(60, 2)

        def forward(self, ids, mask):
            if len(ids) > 10:
                raise RuntimeError(text)
            return self.head(ids.float())

    one = learner(Recipe(batch=32), split=planted_split(32, 0), net=Full())
    one.train_epoch()
    assert one.micro_batch == 8 and ran_out(RuntimeError(text))
    assert not ran_out(RuntimeError("CUDA error: device-side assert triggered"))


@pytest.mark.parametrize("place", ["forward", "backward", "step"])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
     RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")],
)  # fmt: skip
def test_memory_that_runs_out_anywhere_gives_one_message(place, error, csv, tmp_path, monkeypatch):
    """A batch norm needs the whole batch, so nothing is tried with less; nor is a step repeated."""
    tried = []

    def full(*_, **__):
        tried.append(1)
        raise error

    where = {"forward": [(torch.nn.Conv1d, "forward")], "backward": [(torch.Tensor, "backward")],
             "step": [(torch.optim.Adam, "step"), (torch.optim.AdamW, "step")]}  # fmt: skip
    for owner, name in where[place]:
        monkeypatch.setattr(owner, name, full)
    (job,) = grid(Request(models=["cnn"], data=str(csv), seeds="1"))
    found = run([job], Store(tmp_path / "runs"), Resources(executor="inline"))
    (record,) = found.failed
    how = "run fewer trials at once (--jobs), or set a smaller --micro-batch"
    said = str(error).splitlines()[0]
    assert record.reason == f"MemoryError: no memory is left on cpu; {how} ({said})"
    assert "Traceback" in record.error and len(tried) == 1


@pytest.mark.parametrize("lost", [True, False])
def test_a_trial_after_which_a_gpu_can_do_no_more_ends_its_worker(
    lost, calls, csv, tmp_path, monkeypatch
):
    """All that a process asks of CUDA after an invalid index fails with the same words."""
    said = "CUDA error: device-side assert triggered"

    def fails(*_):
        raise RuntimeError(f"{said}\nCompile with TORCH_USE_CUDA_DSA to enable assertions.")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", fails)
    monkeypatch.setattr(torch.cuda, "synchronize", fails if lost else lambda device: None)
    (job,) = grid(Request(models=["cnn"], data=str(csv), seeds="1"))
    found = run([job], Store(tmp_path / "runs"), Resources("cuda", executor="inline"))
    (record,) = found.failed
    assert (f"{UNUSABLE} ({said})" in record.reason) is lost
    assert said in record.error and "reset_peak" in record.error  # where it happened


def test_a_gpu_is_named_without_holding_it(calls, monkeypatch):
    """A context in the process that starts the workers would lock them out in exclusive mode."""
    monkeypatch.setattr(torch, "empty", lambda *a, **k: pytest.fail("something was put on the GPU"))
    assert [device_named(text) for text in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(ValueError, match="'cuda:2' cannot be used here: there are 2, cuda:0 to"):
        device_named("cuda:2")


def test_without_a_gpu_the_reason_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for built, says in (("12.8", "no GPU for CUDA 12.8 was found"), (None, "built without CUDA")):
        monkeypatch.setattr(torch.version, "cuda", built)
        with pytest.raises(ValueError, match=says):
            device_named("cuda")
    with pytest.raises(ValueError, match="'cpu0x' cannot be used here"):
        device_named("cpu0x")


def test_a_plan_for_a_gpu_is_held_against_its_memory(calls):
    assert free_memory("cuda:1") == 5 * 10**9
    assert calls == [("empty_cache",), ("mem_get_info", "cuda:1")]
    text = "\n".join(summary(Plan((), Resources("cuda:1"), 0, 0, 0, 0, 0), free_memory("cuda:1")))
    assert "memory of cuda:1: 0 B for the largest trial" in text and "5 GB are available" in text


@pytest.mark.parametrize("asked", ["cpu", "cuda"])
def test_the_optimiser_is_fused_on_cuda_alone_and_does_the_same(asked):
    """PyTorch has a fused form for CPUs too, which shows that its numbers are the same."""
    nets = []
    for device in ("cpu", asked):
        one = learner(Recipe(batch=8, epochs=2))
        one._rate = torch.zeros(()) if device == "cuda" else None
        one._optimizer = one._new_optimizer()
        assert (one._optimizer.defaults["fused"] or False) is (device == "cuda")
        one.train_epoch()
        nets.append(one.net.state_dict())
    for a, b in zip(*(net.values() for net in nets), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("file", "says"),
    [("raise OSError('libcudart.so.13: cannot open')", "OSError: libcudart.so.13"),
     ("raise AttributeError('x')", "AttributeError: x"),
     ("def selective_scan_fn(*a): raise RuntimeError('CUDA error: no kernel image')", "no kernel"),
     ("def selective_scan_fn(u, *a): return u * float('nan')", "a gradient is not finite")],
)  # fmt: skip
def test_a_kernel_that_is_broken_is_said_and_passed_over(file, says, monkeypatch, tmp_path):
    """One that cannot be loaded, or was built for another GPU; then the plain scan does it."""
    for part in ("mamba_ssm", "mamba_ssm/ops"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "__init__.py").touch()
    (tmp_path / "mamba_ssm" / "ops" / "selective_scan_interface.py").write_text(file)
    monkeypatch.syspath_prepend(tmp_path)
    cuda_scan._working.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert cuda_scan.working("cpu") == ""  # nor does Triton work there
            assert cuda_scan.working("cpu") == ""  # said once
        own = [str(w.message) for w in said if "is installed but does not work" in str(w.message)]
        assert len(own) == 1 + (find_spec("triton") is not None)
        assert own[0].startswith("mamba-ssm is installed") and says in own[0]
    finally:
        cuda_scan._working.cache_clear()
        for name in [name for name in sys.modules if name.startswith("mamba_ssm")]:
            del sys.modules[name]


class Saves(torch.autograd.Function):
    """A stand-in for a kernel at the edge of CUDA: it keeps its inputs for the way back."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return inputs[0] * inputs[1]

    @staticmethod
    def backward(ctx, _):
        return tuple(map(torch.ones_like, ctx.saved_tensors))


def test_a_kernel_is_tried_beside_a_network_that_recomputes(monkeypatch):
    """What the try saves for its way back is none of the layer's."""
    monkeypatch.setattr(cuda_scan, "KERNELS", {"triton": Saves.apply})
    cuda_scan._working.cache_clear()
    used = []

    def layer(x):
        used.append(cuda_scan.working("cpu"))
        return (x * x).sin()

    x = torch.ones(4, requires_grad=True)
    checkpoint(layer, x, use_reentrant=False).sum().backward()
    cuda_scan._working.cache_clear()
    assert used == ["triton"] * 2 and x.grad.isfinite().all()


def test_a_kernel_for_which_there_is_no_memory_now_is_tried_again(monkeypatch):
    tries = []

    def kernel(*inputs):
        tries.append(1)
        if len(tries) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Saves.apply(*inputs)

    monkeypatch.setattr(cuda_scan, "KERNELS", {"triton": kernel})
    cuda_scan._working.cache_clear()
    with pytest.raises(torch.OutOfMemoryError):
        cuda_scan.working("cpu")
    assert cuda_scan.working("cpu") == "triton"
    cuda_scan._working.cache_clear()


def test_a_compiler_does_not_follow_the_choice_of_a_kernel():
    """It cannot import what is not installed, and would refuse the whole network."""

    def chosen(x):
        return x * 2 if cuda_scan.working(str(x.device)) else x + 1

    cuda_scan._working.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.compile(chosen, backend="eager", fullgraph=True)(torch.ones(2))
    cuda_scan._working.cache_clear()
    assert found.tolist() == [2, 2]


def test_more_channels_at_once_change_nothing(monkeypatch):
    """A GPU convolves 64 at once, a CPU 8: the same bases, the same logits."""
    from dnabench import MODELS

    model = MODELS["hyenadna"]
    task = planted_task(length=20_000)
    torch.manual_seed(0)
    net = model.build(task, {**model.options, "width": 24, "layers": 1, "l_max": 20_002}).eval()
    ids = torch.randint(0, 4, (1, 20_000), generator=torch.Generator().manual_seed(0))
    found = []
    for channels in ((8, 8), (64, 64)):
        monkeypatch.setattr(hyenadna, "CHANNELS", channels)
        with torch.inference_mode():
            found.append(net(ids, None))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


def test_only_deterministic_algorithms_are_used_where_that_is_asked_for(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    on = torch.are_deterministic_algorithms_enabled
    with Arithmetic("fp32", "cuda").products():
        assert not on()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with Arithmetic("fp32", "cuda", deterministic=True).products():
        assert on() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not on()


def within_products(net, monkeypatch):
    """Filled as the network runs: of each pass, whether TF32 of convolutions was decided on."""
    depth, found, real = [], [], Arithmetic.products

    @contextlib.contextmanager
    def counted(self):
        depth.append(self)
        with real(self):
            yield
        depth.pop()

    monkeypatch.setattr(Arithmetic, "products", counted)
    net.register_forward_pre_hook(lambda *_: found.append(bool(depth)))
    return found


@pytest.mark.parametrize("name", ["convnova-386k", "ntv2-50m"])
def test_networks_are_scored_without_tf32(name, monkeypatch):
    """PyTorch's convolutions use it on CUDA by default; losses would differ from a CPU's."""
    from dnabench import MODELS
    from dnabench.models.language import entries, language_model
    from dnabench.pretraining import evaluate, words
    from dnabench.tokens.tokenizers import TOKENIZERS

    model = MODELS[name]
    options = {**model.options, **model.reduced}
    tokenizer = TOKENIZERS[model.tokenizer_name(options)]
    net = language_model(model, options, 60).eval()
    one = SimpleNamespace(net=net, model=model, options=options, tokenizer=tokenizer)
    found = within_products(net, monkeypatch)
    letters = entries(model, options)
    ask = evaluate._asker(one, letters, "mask", 0) if letters else words._asker(one, 0)
    ask(np.zeros((2, 60), np.uint8))
    assert found and all(found)


def test_attributions_are_computed_without_tf32(tmp_path, put, monkeypatch):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "binary", 62, {"width": 8})[0]
    found = within_products(network.net, monkeypatch)
    codes = planted_split(1, 5, 62).seqs.codes
    attribution(network, codes, answer_of(network), How(2, 8))
    assert len(found) > 2 and all(found)


@pytest.mark.slow
def test_a_deterministic_run_measures_nothing_and_says_so(tmp_path, monkeypatch):
    """Its numbers are those of the plain forms; a clock would choose the forms otherwise."""
    found = []
    for words, form in ((["--deterministic"], None), ([], "direct"), ([], None)):
        if form:
            monkeypatch.setenv("DNABENCH_CONVOLUTION", form)
        else:
            monkeypatch.delenv("DNABENCH_CONVOLUTION", raising=False)
        out = tmp_path / f"runs{len(found)}"
        done = dnabench(
            "run", "-m", "convnova-386k", "-t", "demo/splice_junctions", "--limit", "60",
            "--epochs", "1", "--seeds", "1", "--out", out, "--device", "cpu",
            "--set", "blocks=2", "--set", "width=16", *words,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (record,) = Store(out)
        found.append((record, Store(out).predictions(record.trial.id)["logits"]))
    (strict, logits), (plain, same), (chosen, _) = found
    assert np.array_equal(logits, same) and strict.trial.id == plain.trial.id
    assert strict.where["deterministic"] is True and "deterministic" not in plain.where
    assert set(strict.where["convolution"].values()) == {"direct"}
    runs = [dataclasses.replace(r, trial=dataclasses.replace(r.trial, seed=i))
            for i, r in enumerate((strict, chosen))]  # fmt: skip
    (remark,) = mixed_cells(only(runs), ["deterministic"])
    assert remark.endswith("seed 0 by --deterministic true; seed 1 by --deterministic unknown")
