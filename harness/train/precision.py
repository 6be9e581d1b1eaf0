"""The arithmetic of training: fp32, tf32, bf16 or fp16, as far as a device has it.

The recipe's precision is that of matrix products and convolutions. Weights, optimiser, loss, norms,
scans and Fourier transforms are float32 under all four.
"""

import functools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnabench.host.machine import bf16_flags

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NO_TF32 = "NVIDIA_TF32_OVERRIDE"  # 0 = NVIDIA's libraries never use it, whatever PyTorch asks for
TENSOR_CORES = 8  # compute capability from which a GPU has tf32 and bf16
ROUNDING = 0.05  # of the largest output: bf16 rounds to 0.004, a wrong product is off by 0.8


def check_precision(precision: str, device: str) -> None:
    """Raise ValueError if the device lacks it: emulated, it would be slower than fp32.

    Source:
        tf32 and bf16 of GPUs: NVIDIA Ampere architecture whitepaper, 2020 (capability 8.0). The
        variable: documentation of cuBLAS and of PyTorch ("CUDA semantics").
    """
    why, instead = "", "fp32"
    if device.startswith("cuda"):
        if precision in ("tf32", "bf16"):
            major, minor = torch.cuda.get_device_capability(device)
            if major < TENSOR_CORES:
                why = f"{device} has capability {major}.{minor}, 8.0 or more is needed"
                instead = "fp16 or fp32"
            elif precision == "tf32" and os.environ.get(NO_TF32) == "0":
                why = f"{NO_TF32}=0 in the environment switches it off: unset it or run in float32"
    elif precision in ("tf32", "fp16"):
        why = f"only CUDA devices are trained with it, the trial would be on {device}"
        if precision == "fp16" and device == "cpu" and bf16_flags():
            instead = "bf16 or fp32"
    elif precision == "bf16" and device == "cpu" and not (have := bf16_flags()):
        why = "the processor of this machine has neither amx_bf16 nor avx512_bf16"
        if have is None:
            why = "whether the processor of this machine has it is not known"
    if why:
        raise ValueError(f"precision={precision} on {device}: {why}; write --precision {instead}")


class Arithmetic:
    """One precision on one device: the contexts of a step, its backward pass and its update.

    Args:
        precision: of `check_precision`.
        device: cpu, cuda or cuda:N.
        deterministic: whether CUDA may use deterministic algorithms only; an operation without one
            then raises RuntimeError. On a CPU all are.

    Accuracy:
        Under fp32 everything is as in plain PyTorch, to the byte; except that convolutions on CUDA
        do not use TF32, which is PyTorch's default.

    Source:
        Micikevicius et al. 2018, arXiv 1710.03740: loss scaling; steps that overflow are skipped.
    """

    def __init__(self, precision: str, device: str, deterministic: bool = False) -> None:
        self.precision, self.device = precision, device
        self._kind, self._half = device.split(":")[0], _HALVES.get(precision)
        self._tf32 = precision == "tf32"
        self._deterministic = deterministic and self._kind == "cuda"
        if self._deterministic:  # cuBLAS reads it at its first call
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self._scaler = torch.amp.GradScaler(self._kind, enabled=precision == "fp16")
        self.skipped = 0  # optimiser steps whose gradients overflowed
        self.float32_layers: list[str] = []  # convolutions left in float32 by `guard`

    def guard(self, net: nn.Module) -> None:
        """Leave in float32 the convolutions that this processor's library gets wrong in bf16.

        oneDNN on processors with AMX (seen with PyTorch 2.13) returns wrong outputs, without an
        error, for bf16 convolutions of fewer than 16 channels and certain kernels: 8 channels and
        8 taps, 4 channels and 24 taps. Every `nn.Conv1d` of the network is compared with float32
        once. Convolutions that a network calls as functions are not seen here.
        """
        if self.precision != "bf16" or self._kind != "cpu":
            return
        for name, layer in net.named_modules():
            if isinstance(layer, nn.Conv1d) and not _right_in_bf16(
                layer.weight.shape, layer.stride[0], layer.dilation[0], layer.groups
            ):
                layer.forward = functools.partial(_in_float32, layer.forward)  # type: ignore[method-assign]
                self.float32_layers.append(name)

    @contextmanager
    def products(self) -> Iterator[None]:
        """Inside, float32 products on CUDA use TF32 under tf32 only; see also `deterministic`.

        On a CPU they are in float32, whatever a user's code has asked PyTorch for.
        """
        if self._kind != "cuda":
            with _float32_products() if self._kind == "cpu" else nullcontext():
                yield
            return
        before = _tf32()
        enabled = torch.are_deterministic_algorithms_enabled()
        lax = torch.is_deterministic_algorithms_warn_only_enabled()
        # only where it changes something: the first call imports the compiler, for a second
        stricter = self._deterministic and (lax or not enabled)
        try:
            if stricter:
                torch.use_deterministic_algorithms(True)
            _set_tf32(["tf32" if self._tf32 else "ieee"] * len(before))
            yield
        finally:
            if stricter:
                torch.use_deterministic_algorithms(enabled, warn_only=lax)
            _set_tf32(before)

    def forward(self) -> torch.autocast:
        """The context in which a network runs."""
        half = self._half or torch.bfloat16
        return torch.autocast(self._kind, half, enabled=self._half is not None)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Inside, `products` and `forward` are those of fp32."""
        own = self._half, self._tf32
        self._half, self._tf32 = None, False
        try:
            yield
        finally:
            self._half, self._tf32 = own

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the loss; under fp16 they are scaled until `step`."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, net: torch.nn.Module, clip: float) -> None:
        """Clip the norm of the gradient (0 = do not), then take an optimiser step."""
        if clip:
            self._scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        self.skipped += self._scaler.get_scale() < before  # only an overflow lowers it

    def state(self) -> dict[str, Any]:
        """What steps have changed: the scale of the loss, and how many were skipped."""
        return {"scaler": self._scaler.state_dict(), "skipped": int(self.skipped)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to that state."""
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.skipped = state["skipped"]


@contextmanager
def _float32_products() -> Iterator[None]:
    """Inside, a CPU multiplies float32 numbers as such.

    A line of a network's file, `torch.set_float32_matmul_precision("medium")`, lets it round them
    to bf16 where it can, in this and every later trial of the process.
    """
    mkldnn: Any = torch.backends.mkldnn
    if not hasattr(mkldnn, "matmul"):  # before PyTorch 2.9
        word = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(word)
        return
    parts = mkldnn.matmul, mkldnn.conv, mkldnn.rnn
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        yield
    finally:
        for part, word in zip(parts, before, strict=True):
            part.fp32_precision = word


@contextmanager
def differentiable(net: nn.Module) -> Iterator[None]:
    """Inside, what a network that evaluates computes has gradients, also of recurrences on CUDA.

    Those of cuDNN have none unless the network trains; without cuDNN PyTorch has others.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.enabled
    cudnn.enabled = before and not any(isinstance(m, nn.RNNBase) for m in net.modules())
    try:
        yield
    finally:
        cudnn.enabled = before


def _tf32() -> list[str]:
    """How PyTorch computes products, convolutions and recurrences: "tf32", "ieee" or "none"."""
    if newer := _newer():
        return [part.fp32_precision for part in newer]
    both = (torch.backends.cuda.matmul, torch.backends.cudnn)
    return ["tf32" if part.allow_tf32 else "ieee" for part in both]


def _set_tf32(words: list[str]) -> None:
    """Set what `_tf32` reads.

    Since 2.9 there are two interfaces. Reading the older one raises where the newer one says
    anything else, and the compiler reads it (up to 2.11 in every compilation), as `torch.export`
    does: so both are set.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 2.9 warns that the older one will go
        torch.backends.cuda.matmul.allow_tf32 = words[0] == "tf32"
        torch.backends.cudnn.allow_tf32 = words[1] == "tf32"
    for part, word in zip(_newer(), words, strict=False):  # none before 2.9
        part.fp32_precision = word


def _newer() -> tuple[Any, ...]:
    """Of products, convolutions and recurrences, where the newer interface keeps it."""
    cudnn: Any = torch.backends.cudnn
    there = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    return (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn) if there else ()


def guarded(layer: nn.Module) -> bool:
    """Whether the `forward` set on the layer is `Arithmetic.guard`'s, of its class's own."""
    own = vars(layer).get("forward")
    plain = MethodType(type(layer).forward, layer)
    return isinstance(own, functools.partial) and (own.func, own.args) == (_in_float32, (plain,))


def _in_float32(forward: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(x.float())  # type: ignore[no-any-return]


@functools.cache
def _right_in_bf16(shape: torch.Size, stride: int, dilation: int, groups: int) -> bool:
    """Whether a bf16 convolution and its gradients are those of float32, but for rounding."""
    g = torch.Generator().manual_seed(0)
    length = dilation * (shape[2] - 1) + 32 * stride
    x = torch.randn(2, shape[1] * groups, length, generator=g).bfloat16()
    weight = torch.randn(shape, generator=g).bfloat16()

    def found(kind: torch.dtype) -> tuple[Tensor, ...]:
        own, w = x.to(kind).requires_grad_(), weight.to(kind).requires_grad_()
        y = F.conv1d(own, w, stride=stride, dilation=dilation, groups=groups)
        return y.detach(), *torch.autograd.grad(y, (own, w), torch.ones_like(y))

    with torch.enable_grad():
        pairs = zip(found(torch.bfloat16), found(torch.float32), strict=True)
    return all(float((a - b).abs().max() / b.abs().max()) < ROUNDING for a, b in pairs)
