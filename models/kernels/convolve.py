"""The fastest form of a convolution or linear layer on this machine. Needs torch.

Every form computes the same function; which is fastest depends on the shape, the processor and its
libraries. Each shape is measured once on a machine and the answer is kept in the cache folder:
from then on the same trial uses the same forms there, and gives the same bytes. Where it cannot be
kept, nothing is measured and the direct form is used.

B batch, L sequence length (bp), C input channels, O output channels, k taps.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from dnabench.cache import cache_folder, made_folder, replacing
from dnabench.host.machine import read
from dnabench.models.kernels.context import OF_ONE_TAP, OF_SEVERAL, active
from dnabench.models.kernels.tiled import tiled_conv1d, tiling

LEAST = 1e8  # floating-point operations of a call; smaller calls are not worth measuring
MOST = 3e9  # of a call that is measured; a larger one is measured with fewer sequences
FLAT = 2048  # positions; beyond, the length hardly matters
GAIN = 1.15  # speed-up over the direct form that another must reach
WASTE = 2  # tiling is not tried where the tiles give more than WASTE L outputs
ROUNDS, SECONDS = 4, 0.005  # measurements of each form, in turn, and the shortest of them

Form = Callable[[Tensor, Tensor, "Tensor | None", int], Tensor]


def direct(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """The reference: a two-dimensional convolution of height 1, or a matrix product.

    Height 1 lets oneDNN and cuDNN keep the channels-last layout.
    """
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    reach = (weight.shape[2] - 1) // 2 * dilation
    y = F.conv2d(_image(x), weight.unsqueeze(2), bias, (1, 1), (0, reach), (1, dilation))
    return y.squeeze(2).transpose(1, 2)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """A linear layer, or a convolution of one tap, by oneDNN's convolution.

    Dilation means nothing for one tap, but with it PyTorch does not send a small batch to the BLAS.
    The bias is added separately: oneDNN sums its gradient one by one, 20 times less accurately.
    """
    y = F.conv2d(_image(x), weight.reshape(*weight.shape[:2], 1, 1), dilation=(1, 2))
    y = y if bias is None else y.add_(bias[:, None, None])
    return y.squeeze(2).transpose(1, 2)


def _image(x: Tensor) -> Tensor:
    """View (B, L, C) as (B, C, 1, L), channels-last strides."""
    return x.transpose(1, 2).unsqueeze(2)


FORMS: dict[str, Form] = {
    "direct": direct,
    "pointwise": pointwise,
    "tiled-gemm": functools.partial(tiled_conv1d, engine="gemm"),
    "tiled-conv": functools.partial(tiled_conv1d, engine="conv"),
}


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """A "same" convolution of channels-last input, or a linear layer, in its fastest form.

    Args:
        x: float (B, L, C).
        weight: (O, C, k), k odd; or (O, C) of a linear layer, whose x may have any shape (..., C).
        bias: (O,) or None.
        dilation: bp between taps.

    Returns:
        (B, L, O).

    Raises:
        ValueError: when DNABENCH_CONVOLUTION names no form.

    Accuracy:
        Every form is F.conv1d or F.linear to float32 rounding; see `tiled_conv1d`. Forms other than
        direct are used only in float32, on a CPU, without autocast.
    """
    if has_torch_function_unary(x):  # a subclass of Tensor that follows operations
        return handle_torch_function(convolve, (x,), x, weight, bias, dilation)
    if x.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return direct(x, weight, bias, dilation)
    kernels, forms = active(), possible(x, weight)
    wanted = kernels.form
    if wanted == "auto":
        wanted = _fastest(x, weight, dilation, forms)
    else:
        kernels.used["all that can"] = wanted
    return FORMS[wanted if wanted in forms else "direct"](x, weight, bias, dilation)


def possible(x: Tensor, weight: Tensor) -> tuple[str, ...]:
    """The names of the forms that can compute this layer."""
    taps = weight.shape[2] if weight.ndim == 3 else 1
    if x.ndim != 3 or x.dtype != weight.dtype or not x.numel() or taps % 2 == 0:
        return ("direct",)
    return OF_ONE_TAP if taps == 1 else OF_SEVERAL


def would_take(forms: Mapping[str, str]) -> bool:
    """Whether shapes, named as in `Kernels.used`, would take these forms here and now."""
    wanted = active().form
    if wanted != "auto" or "all that can" in forms:
        return forms in ({}, {"all that can": wanted})
    cache = os.environ.get("DNABENCH_CACHE") or ""
    for name, form in forms.items():
        able = OF_ONE_TAP if name.startswith(("linear-", "k1-")) else OF_SEVERAL
        file = _file(name, cache, able)
        if file is None or _read(file, able) != form:
            return False
    return True


class Shape(NamedTuple):
    """The size of a call; for measuring B and L are rounded up, and B down again beyond MOST."""

    batch: int
    length: int
    c_in: int
    c_out: int
    taps: int  # 0 = a linear layer
    dilation: int
    threads: int
    train: bool

    @property
    def name(self) -> str:
        """As written in records and in the cache."""
        kind = f"k{self.taps}-d{self.dilation}" if self.taps else "linear"
        return (
            f"{kind}-{self.c_in}x{self.c_out}-{self.batch}x{self.length}-{self.threads}t-"
            f"{'train' if self.train else 'infer'}"
        )

    @property
    def flop(self) -> float:
        """Floating-point operations of the direct form, forward."""
        return 2.0 * self.batch * self.length * max(1, self.taps) * self.c_in * self.c_out


def _fastest(x: Tensor, weight: Tensor, dilation: int, forms: tuple[str, ...]) -> str:
    """The form for this call; direct where there is no choice."""
    if len(forms) == 1 or x.dtype != torch.float32:
        return "direct"
    (batch, length, c_in), c_out = x.shape, weight.shape[0]
    taps = weight.shape[2] if weight.ndim == 3 else 0
    train = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    exact = Shape(batch, length, c_in, c_out, taps, dilation, torch.get_num_threads(), train)
    if exact.flop < LEAST:
        return "direct"
    shape = measured_shape(exact)
    if taps > 1 and tiling(*shape[:2], taps, dilation, c_in, c_out).out_rows > WASTE * shape.length:
        return "direct"
    form = settled(shape, os.environ.get("DNABENCH_CACHE") or "", forms)
    active().used[shape.name] = form
    return form


def measured_shape(exact: Shape) -> Shape:
    """The shape that is measured in place of this one.

    B is rounded up to a power of 2; so is L or, below FLAT, to 1.5 times one. Beyond MOST
    operations B is halved, then L down to 512 positions a phase: neither changes which is faster.
    """
    power = 2 ** math.ceil(math.log2(exact.length))
    length = 3 * power // 4 if exact.length <= min(3 * power // 4, FLAT) else power
    shape = exact._replace(batch=2 ** math.ceil(math.log2(exact.batch)), length=length)
    while shape.flop > MOST and shape.batch > 1:
        shape = shape._replace(batch=shape.batch // 2)
    while shape.flop > MOST and shape.length >= 1024 * shape.dilation:
        shape = shape._replace(length=shape.length // 2)
    return shape


@functools.cache
def settled(shape: Shape, cache: str, forms: tuple[str, ...]) -> str:
    """The form in the cache, measured and written there if it is missing.

    Args:
        shape: of `measured_shape`.
        cache: its folder, "" = ~/.cache/dnabench. The parent of a named one must exist.
        forms: names to choose from; the first is the one to beat.

    Returns:
        A name; "direct" when the cache can be neither read nor written. When several processes
        measure at once, the first to write decides for all.
    """
    file = _file(shape.name, cache, forms)
    if file is None:
        return "direct"
    found = _read(file, forms)
    if found is None and _writable(cache):
        cpu, start = time.process_time(), time.perf_counter()
        seconds = measure(shape, forms)
        active().cpu_seconds += time.process_time() - cpu
        active().seconds += time.perf_counter() - start
        best = min(seconds, key=seconds.__getitem__)
        form = best if seconds[forms[0]] >= GAIN * seconds[best] else forms[0]
        told = {"form": form, "seconds": seconds, "shape": shape.name, **_machine()}
        with suppress(OSError), replacing(file, sync=True, first=True) as draft:
            draft.write(json.dumps(told).encode())
        found = _read(file, forms)
    return found or "direct"


def _machine() -> dict[str, str]:
    return {"torch": torch.__version__, "cpu": processor()}


def _file(name: str, cache: str, forms: tuple[str, ...]) -> Path | None:
    """Where the answer for a shape is kept; None where nobody's home is known."""
    digest = hashlib.sha256(json.dumps([_machine(), forms]).encode()).hexdigest()[:8]
    try:
        return cache_folder(cache) / "convolution" / f"{name}-{digest}.json"
    except RuntimeError:
        return None


def _writable(cache: str) -> bool:
    try:
        return os.access(made_folder("convolution", cache), os.W_OK)
    except OSError:
        return False


def _read(file: Path, forms: tuple[str, ...]) -> str | None:
    """The form that a file names; None when there is none, or a damaged one, which is removed."""
    try:
        form = json.loads(file.read_text())["form"]
    except FileNotFoundError:
        return None
    except OSError:
        return "direct"
    except (ValueError, KeyError, TypeError):
        form = ""
    if form in forms:
        return str(form)
    with suppress(OSError):
        file.unlink()
    return None


def measure(shape: Shape, forms: tuple[str, ...]) -> dict[str, float]:
    """Seconds of a call of each form, the least of ROUNDS; with the backward pass in training.

    A form for which there is not enough memory is left out. CPU seconds with one thread, elapsed
    seconds with several. Random numbers come from a generator of its own, not from the trial's.
    """
    g = torch.Generator().manual_seed(0)
    taps = (shape.taps,) if shape.taps else ()
    sizes = (
        (shape.batch, shape.length, shape.c_in), (shape.c_out, shape.c_in, *taps), (shape.c_out,),
    )  # fmt: skip
    x, weight, bias = (torch.randn(size, generator=g) for size in sizes)
    clock = time.thread_time if shape.threads == 1 else time.perf_counter

    def call(name: str) -> None:
        if not shape.train:
            with torch.no_grad():
                FORMS[name](x, weight, bias, shape.dilation)
            return
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_() for t in (x, weight, bias)]
            y = FORMS[name](inputs[0], inputs[1], inputs[2], shape.dilation)
            torch.autograd.grad(y, inputs, torch.ones_like(y))

    def seconds(name: str, times: int) -> float:
        start = clock()
        for _ in range(times):
            call(name)
        return (clock() - start) / times

    for name in forms:
        try:
            call(name)
        except RuntimeError:
            if name == forms[0]:
                raise
            forms = tuple(other for other in forms if other != name)
    times = {name: math.ceil(SECONDS / max(seconds(name, 1), 1e-6)) for name in forms}
    rounds = [{name: seconds(name, times[name]) for name in forms} for _ in range(ROUNDS)]
    return {name: min(r[name] for r in rounds) for name in forms}


@functools.cache
def processor() -> str:
    """The processor, and the instruction set that PyTorch uses on it."""
    fields = dict.fromkeys(("vendor_id", "cpu family", "model", "model name"), "")
    for line in read(Path("/proc/cpuinfo")).partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        if name.strip() in fields:
            fields[name.strip()] = value.strip()
    words = [*fields.values()] if any(fields.values()) else [platform.processor()]
    return " ".join([*words, torch.backends.cpu.get_cpu_capability()])
