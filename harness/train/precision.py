"""The arithmetic of training: fp32, tf32, bf16 or fp16, and what a device can do of it.

The recipe's word is a wish for matrix products and convolutions. Weights, optimiser, loss, norms,
scans and Fourier transforms stay float32 under all four.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dnabench.host.machine import bf16_flags

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
TENSOR_CORES = 8  # compute capability from which a GPU has tf32 and bf16


def check_precision(precision: str, device: str) -> None:
    """ValueError where the device does not have it: emulated, it would be slower than fp32.

    Args:
        precision: fp32, tf32, bf16 or fp16.
        device: "cpu", "cuda", "cuda:1", ...

    Source:
        tf32 and bf16 of GPUs: NVIDIA Ampere architecture whitepaper, 2020 (capability 8.0).
    """
    why = ""
    way_out = "write --precision fp32"
    if device.startswith("cuda"):
        if precision in ("tf32", "bf16"):
            major, minor = torch.cuda.get_device_capability(device)
            if major < TENSOR_CORES:
                why = f"{device} has capability {major}.{minor}, 8.0 or more is needed"
                way_out = "write --precision fp16 or fp32"
    elif precision in ("tf32", "fp16"):
        why = f"only CUDA devices are trained with it, the trial would be on {device}"
        if precision == "fp16" and device == "cpu" and bf16_flags():
            way_out = "write --precision bf16 or fp32"
    elif precision == "bf16" and device == "cpu" and not (have := bf16_flags()):
        why = "the processor of this machine has neither amx_bf16 nor avx512_bf16"
        if have is None:
            why = "whether the processor of this machine has it is not known"
    if why:
        raise ValueError(f"precision={precision} on {device}: {why}; {way_out}")


class Arithmetic:
    """One precision on one device: the contexts of a step, and its way back.

    Args:
        precision: as for `check_precision`, which is asked before.
        device: "cpu", "cuda", "cuda:1", ...

    Accuracy:
        Under fp32 every call does what PyTorch does without it, to the byte; but on CUDA
        convolutions do not take TF32, which is PyTorch's default there.

    Source:
        Micikevicius et al. 2018, arXiv 1710.03740: loss scaling; steps that overflow are skipped.
    """

    def __init__(self, precision: str, device: str) -> None:
        self.precision, self.device = precision, device
        self._kind, self._half = device.split(":")[0], _HALVES.get(precision)
        self._tf32 = precision == "tf32"
        self._scaler = torch.amp.GradScaler(self._kind, enabled=precision == "fp16")
        self.skipped = 0  # optimiser steps whose gradients overflowed

    @contextmanager
    def products(self) -> Iterator[None]:
        """CUDA's float32 products, forward and back, in TF32 under tf32 only; as before after."""
        if self._kind != "cuda":
            yield
            return
        parts: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [part.allow_tf32 for part in parts]
        try:
            for part in parts:
                part.allow_tf32 = self._tf32
            yield
        finally:
            for part, was in zip(parts, before, strict=True):
                part.allow_tf32 = was

    def forward(self) -> torch.autocast:
        """Where a network runs."""
        half = self._half or torch.bfloat16
        return torch.autocast(self._kind, half, enabled=self._half is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the loss, under fp16 times a scale that `step` takes out again."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, net: torch.nn.Module, clip: float) -> None:
        """Clip the norm of the gradient, 0 = do not, and let the optimiser go a step."""
        if clip:
            self._scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        taken: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_: taken.append(True))
        self._scaler.step(optimizer)
        hook.remove()
        self._scaler.update()
        self.skipped += not taken
