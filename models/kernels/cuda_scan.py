"""The selective scan by a kernel for CUDA: that of mamba-ssm, else our own in Triton.

B batch, L sequence length (bp), G directions, E channels of a direction, S states of a channel.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import torch
from torch import Tensor

PACKAGES = {"mamba_ssm": "mamba-ssm", "triton": "Triton"}  # the first that works is used


def by_mamba(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`scan.selective_scan` by mamba-ssm.

    It wants channels before positions, the G directions as groups of channels.
    """
    from mamba_ssm.ops.selective_scan_interface import (  # type: ignore[import-not-found]
        selective_scan_fn,
    )

    u, step = (t.flatten(2).transpose(1, 2).contiguous() for t in (x, delta))
    b, c = (t.permute(0, 2, 3, 1).contiguous() for t in (b, c))
    y: Tensor = selective_scan_fn(u, step, a.flatten(0, 1).contiguous(), b, c)
    return y.transpose(1, 2).reshape(x.shape)


def by_triton(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`scan.selective_scan` by `triton_scan`."""
    from dnabench.models.kernels.triton_scan import scan

    return scan(x, delta, a, b, c)


KERNELS = {"mamba_ssm": by_mamba, "triton": by_triton}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # it cannot follow imports
def working(device: str) -> str:
    """The key of KERNELS to use there, "" = none works. What is installed and fails is said, once.

    Each is tried on a small input, there and back: a build for another GPU, or a machine without
    the C compiler that Triton needs, shows nothing when it is imported.
    """
    return _working(device)


@functools.cache
def _working(device: str) -> str:
    for name, kernel in KERNELS.items():
        try:
            _try(kernel, device)
            return name
        except ModuleNotFoundError as e:
            if e.name == name:  # it is not installed
                continue
            why: Exception = e
        except Exception as e:  # they fail in many ways
            if isinstance(e, torch.OutOfMemoryError) or "out of memory" in str(e):
                raise  # it may work later
            why = e
        said = (str(why).strip().splitlines() or [""])[0][:200]
        warnings.warn(
            f"{PACKAGES[name]} is installed but does not work here ({type(why).__name__}: {said}); "
            "Caduceus is scanned without it, which is slower: install a build for this PyTorch and "
            "GPU (Triton needs a C compiler), or remove it",
            stacklevel=4,
        )
    return ""


def _try(kernel: Callable[..., Tensor], device: str) -> None:
    """Raise what it raises.

    In a thread of its own, to which no mode of the network that is running applies: recomputation
    counts what is saved for the way back.
    """
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_there_and_back, kernel, torch.device(device)).result()


def _there_and_back(kernel: Callable[..., Tensor], device: torch.device) -> None:
    own = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with torch.enable_grad(), own:
        x, delta = (torch.ones(1, 3, 2, 4, device=device, requires_grad=True) for _ in range(2))
        a = torch.full((2, 4, 16), -1.0, device=device, requires_grad=True)
        b, c = (torch.ones(1, 3, 2, 16, device=device, requires_grad=True) for _ in range(2))
        kernel(x, delta, a, b, c).sum().backward()  # type: ignore[no-untyped-call]
        if not all(bool(t.grad.isfinite().all()) for t in (x, delta, a, b, c)):  # type: ignore[union-attr]
            raise RuntimeError("a gradient is not finite")
