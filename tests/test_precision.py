"""train/precision.py: what a device refuses, what stays float32, and steps that overflow."""

import copy

import numpy as np
import pytest
import torch
from conftest import dnabench, planted_split, planted_task
from test_models import MIXED, NETS, build, inputs, learner

from dnabench import MODELS
from dnabench.host.machine import bf16_flags
from dnabench.splits import streams
from dnabench.train import contract, predictor
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.train.precision import Arithmetic, check_precision
from dnabench.types import Recipe

NEAR = 0.06  # of logits near 1, in bf16: 8 bits of significand, some layers deep


@pytest.mark.parametrize(
    ("precision", "says"),
    [
        ("tf32", "precision=tf32 on cpu: only CUDA devices are trained with it"),
        ("fp16", "precision=fp16 on cpu: only CUDA devices are trained with it"),
    ],
)
def test_what_a_cpu_lacks_is_refused_with_a_way_out(precision, says):
    with pytest.raises(ValueError, match=says) as error:
        check_precision(precision, "cpu")
    assert "write --precision" in str(error.value) and "fp32" in str(error.value).split(";")[-1]


def test_bf16_on_a_cpu_is_what_the_processor_has():
    if bf16_flags():
        check_precision("bf16", "cpu")
        return
    with pytest.raises(ValueError, match=r"precision=bf16 on cpu: .*; write --precision fp32"):
        check_precision("bf16", "cpu")


@pytest.mark.parametrize(
    ("flags", "says"), [([], "neither amx_bf16 nor avx512_bf16"), (None, "is not known")]
)
def test_bf16_is_refused_where_it_would_be_emulated(flags, says, monkeypatch):
    monkeypatch.setattr("dnabench.train.precision.bf16_flags", lambda: flags)
    with pytest.raises(ValueError, match=says):
        check_precision("bf16", "cpu")
    check_precision("fp32", "cpu")


def test_an_old_gpu_is_refused_what_it_emulates(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    for precision in ("tf32", "bf16"):
        with pytest.raises(ValueError, match=r"cuda:1 has capability 7.5, .*fp16 or fp32"):
            check_precision(precision, "cuda:1")
    check_precision("fp16", "cuda:1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        check_precision(precision, "cuda")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    check_precision("fp32", "cuda")
    with pytest.raises(ValueError, match="tf32 on cuda: NVIDIA_TF32_OVERRIDE=0 in the environment"):
        check_precision("tf32", "cuda")  # the record would say tf32 of products in float32


@pytest.mark.skipif(not bf16_flags(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("channels", [4, 8, 12, 16])
@pytest.mark.parametrize("kernel", [8, 9, 16, 24])
def test_no_convolution_is_wrong_in_bf16(channels, kernel):
    """Some are in oneDNN on processors with AMX, by as much as their largest output."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv1d(channels, 4, kernel))
    x = torch.randn(3, channels, 60)
    arithmetic = Arithmetic("bf16", "cpu")
    exact = net(x).detach()
    arithmetic.guard(net)
    with arithmetic.forward():
        found = net(x).detach()
    assert float((found.float() - exact).abs().max() / exact.abs().max()) < 0.02
    assert found.dtype == (torch.float32 if arithmetic.float32_layers else torch.bfloat16)
    if kernel % 2:
        assert not arithmetic.float32_layers


def test_a_convolution_that_is_wrong_runs_in_float32_and_the_record_names_it(monkeypatch):
    monkeypatch.setattr("dnabench.train.precision._right_in_bf16", lambda *shape: shape[0][1] > 8)
    arithmetic, net = Arithmetic("bf16", "cpu"), build(MODELS["cnn"])
    state = list(net.state_dict())
    arithmetic.guard(net)
    assert arithmetic.float32_layers == ["cnn_model.7"] and list(net.state_dict()) == state
    kinds = {}
    for name in ("cnn_model.4", "cnn_model.7"):
        layer = net.get_submodule(name)
        layer.register_forward_hook(lambda *a, name=name: kinds.update({name: a[2].dtype}))
    with arithmetic.forward():
        net(*inputs(MODELS["cnn"]))
    assert kinds == {"cnn_model.4": torch.bfloat16, "cnn_model.7": torch.float32}


def test_a_learner_guards_its_network_and_its_notes_name_the_layer(monkeypatch):
    monkeypatch.setattr("dnabench.train.precision.bf16_flags", lambda: ["avx512_bf16"])
    monkeypatch.setattr("dnabench.train.precision._right_in_bf16", lambda *shape: shape[0][1] > 8)
    notes = learner(MODELS["cnn"], precision="bf16").notes
    assert notes["float32_layers"] == ["cnn_model.7"]


LEGACY = (torch.backends.cuda.matmul, torch.backends.cudnn)
NEWER = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


def of_newer():
    return [part.fp32_precision for part in NEWER]


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize(
    "before",
    [(False, True), (True, False), ("tf32", "ieee", "ieee"), ("ieee", "tf32", "tf32")],
)
def test_cuda_takes_tf32_when_asked_only_and_afterwards_what_it_had(precision, before):
    """Whichever of PyTorch's two interfaces the user's code has used before."""
    kept, legacy = of_newer(), [part.allow_tf32 for part in LEGACY]

    def inside():
        with Arithmetic(precision, "cuda").products():
            assert of_newer() == ["tf32" if precision == "tf32" else "ieee"] * 3
            # the compiler reads the older interface, which raises where the two differ
            assert [part.allow_tf32 for part in LEGACY] == [precision == "tf32"] * 2
            torch.get_float32_matmul_precision()
            raise KeyError

    older = isinstance(before[0], bool)
    parts, name = (LEGACY, "allow_tf32") if older else (NEWER, "fp32_precision")
    try:
        for part, was in zip(parts, before, strict=True):
            setattr(part, name, was)
        with pytest.raises(KeyError):
            inside()
        assert tuple(getattr(part, name) for part in parts) == before
    finally:
        for part, was in zip(LEGACY, legacy, strict=True):
            part.allow_tf32 = was
        for part, was in zip(NEWER, kept, strict=True):
            part.fp32_precision = was
    torch._C._get_cudnn_allow_tf32()  # as torch.export does: it raises where parts differ


MKLDNN = torch.backends.mkldnn  # PyTorch asks its parts since 2.9; one word says all in any version
PARTS = [MKLDNN.matmul, MKLDNN.conv, MKLDNN.rnn] if hasattr(MKLDNN, "matmul") else []


@pytest.mark.parametrize("newer", [False, True] if PARTS else [False])
def test_a_cpu_multiplies_in_float32_whatever_a_networks_file_asked_for(newer):
    x = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))

    def now():
        return [part.fp32_precision for part in PARTS] or [torch.get_float32_matmul_precision()]

    before, legacy = now(), torch.get_float32_matmul_precision()
    try:
        if newer:
            MKLDNN.matmul.fp32_precision = "bf16"
        else:
            torch.set_float32_matmul_precision("medium")
        with pytest.raises(KeyError), Arithmetic("fp32", "cpu").products():
            assert now() == (["ieee"] * 3 if PARTS else ["highest"])
            torch.testing.assert_close(x @ x, (x.double() @ x.double()).float(), atol=1e-3, rtol=0)
            raise KeyError
        assert now() == (["bf16", "none", "none"] if PARTS else ["medium"])
    finally:
        torch.set_float32_matmul_precision(legacy)
        if PARTS:
            MKLDNN.matmul.fp32_precision = before[0]


def test_the_forward_pass_is_in_the_precision_and_the_weights_are_not():
    layer, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for precision, kind in kinds.items():
        with Arithmetic(precision, "cpu").forward():
            assert layer(x).dtype == kind
    assert layer.weight.dtype == torch.float32


def stepped(arithmetic, clip, scale=1.0, fused=None):
    """A layer after a step, and the layer before."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 1)
    before = copy.deepcopy(layer)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    arithmetic.backward(layer(torch.ones(2, 3) * scale).sum())
    arithmetic.step(optimizer, layer, clip)
    return layer, before


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_scaled_step_is_the_plain_step(clip):
    plain, _ = stepped(Arithmetic("fp32", "cpu"), clip)
    torch.manual_seed(0)
    by_hand = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=0.1)
    by_hand(torch.ones(2, 3)).sum().backward()
    if clip:
        norm = float(torch.nn.utils.clip_grad_norm_(by_hand.parameters(), clip))
        assert norm > clip
    optimizer.step()
    scaled, _ = stepped(Arithmetic("fp16", "cpu"), clip)
    for a, b, c in zip(*(m.parameters() for m in (plain, by_hand, scaled)), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("fused", [None, True])
def test_a_step_that_overflows_is_skipped_and_counted(clip, fused):
    """A fused optimiser, as on CUDA, is called for such a step too and leaves it out itself."""
    arithmetic = Arithmetic("fp16", "cpu")
    layer, before = stepped(arithmetic, clip, scale=1e38, fused=fused)  # times 65,536: infinite
    assert arithmetic.skipped == 1
    for a, b in zip(layer.parameters(), before.parameters(), strict=True):
        assert torch.equal(a, b)
    after, _ = stepped(arithmetic, clip, fused=fused)
    assert arithmetic.skipped == 1
    assert not torch.equal(after.weight, before.weight)


@pytest.mark.parametrize("name", NETS)
def test_a_network_trains_in_bf16_near_fp32_with_float32_where_it_matters(name):
    model, y = MODELS[name], torch.from_numpy(MIXED.y)
    ids, mask = inputs(model)
    net = build(model)
    torch.manual_seed(1)
    full = net(ids, mask)
    torch.manual_seed(1)
    arithmetic = Arithmetic("bf16", "cpu")
    arithmetic.guard(net)
    with arithmetic.forward():
        half = net(ids, mask)
    torch.nn.functional.cross_entropy(half.float(), y).backward()
    assert torch.isfinite(half).all()
    np.testing.assert_allclose(half.detach().float(), full.detach(), atol=NEAR)
    for key, p in net.named_parameters():
        assert p.dtype == torch.float32
        assert p.grad is None or (p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all()), (
            key
        )


def test_the_command_refuses_before_anything_runs(csv, tmp_path):
    precision = "tf32"
    out = tmp_path / "runs"
    words = ["run", "-m", "cnn,kmer", "--data", csv, "--seeds", "1", "--out", out]
    done = dnabench(*words, "--device", "cpu", "--precision", precision)
    assert done.returncode == 2 and f"precision={precision} on cpu" in done.stderr
    assert not list((out / "records").glob("*.json"))


def test_determinism_is_set_only_where_it_changes(monkeypatch):
    """The call imports the compiler, within the time of a training."""
    calls, real = [], torch.use_deterministic_algorithms
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda *a, **k: (calls.append(a), real(*a, **k))
    )
    with Arithmetic("fp32", "cuda").products():
        assert not torch.are_deterministic_algorithms_enabled()
    assert calls == []
    real(True, warn_only=True)  # as a user's file may say
    lax = torch.is_deterministic_algorithms_warn_only_enabled
    try:
        with Arithmetic("fp32", "cuda").products():
            assert lax()
        with Arithmetic("fp32", "cuda", deterministic=True).products():
            assert torch.are_deterministic_algorithms_enabled() and not lax()
        assert lax() and len(calls) == 2
    finally:
        real(False)


class Rounded(torch.nn.Module):
    """As on a GPU, whose 16-bit products round differently for each number of sequences."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(60, 2)

    def features(self, ids, mask):
        own = torch.is_autocast_enabled("cpu")
        return ids.float() / 60 * (1 + 0.004 * own * (len(ids) % 3))

    def forward(self, ids, mask):
        return self.head(self.features(ids, mask))


@pytest.mark.parametrize("finetune", ["full", "probe"])
def test_a_network_is_not_blamed_for_the_rounding_of_16_bits(finetune, monkeypatch):
    """It would be said to read the other sequences of its batch, in each record of bf16."""
    monkeypatch.setattr(predictor, "check_precision", lambda *_: None)
    task, split = planted_task(), planted_split(32, 0)
    recipe = Recipe(batch=8, precision="bf16", finetune=finetune)
    examples = Examples(MODELS["cnn"], task, split)
    one = NetLearner(Rounded(), examples, Supervised(task), recipe, streams(0, task.name))
    few = contract._few(split)
    assert (
        finetune == "probe"
        or not contract.apart(contract.predicted(one, few), contract.alone(one, few)).within
    )
    assert contract.quick_checks(one, examples) == []
    assert one._arithmetic.forward()._enabled  # afterwards as before


class Halved(Rounded):
    """As with flash-attn, whose kernels take 16 bits alone."""

    def forward(self, ids, mask):
        if not torch.is_autocast_enabled("cpu"):
            raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
        return super().forward(ids, mask)


def test_a_network_that_has_16_bits_alone_is_trained(monkeypatch):
    monkeypatch.setattr(predictor, "check_precision", lambda *_: None)
    task, split = planted_task(), planted_split(32, 0)
    examples = Examples(MODELS["cnn"], task, split)

    def checked(precision):
        recipe = Recipe(batch=8, precision=precision)
        one = NetLearner(Halved(), examples, Supervised(task), recipe, streams(0, task.name))
        return contract.quick_checks(one, examples)

    assert checked("bf16") == []
    with pytest.raises(RuntimeError, match="only support fp16"):
        checked("fp32")
