"""Dilated convolution through the Fourier transform of short tiles. Imported only inside `build`.

B batch, L sequence length (bp), C input channels, O output channels, k taps. A tile is n positions
of one phase (every dilation-th bp); it gives n - k + 1 outputs. M tiles in all, P products a tile.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGEST = 64  # positions of a tile
RESIDENT, NEAR = 2**22, 2**19  # numbers multiplied at once, and transformed at once (in cache)
Engine = Literal["gemm", "conv"]


class Half(NamedTuple):
    """y = out @ ((weights @ w) * (into @ x)), for the even or for the odd frequencies.

    into: (P, n / 2). weights: (P, k). out: (n / 2, P).
    """

    into: Tensor
    weights: Tensor
    out: Tensor


@functools.cache
def halves(n: int, taps: int, dtype: torch.dtype) -> tuple[Half, Half]:
    """The n-point real correlation as two bilinear forms of half the size.

    Even frequencies read x[i] + x[i + n/2] and odd ones x[i] - x[i + n/2]; the first n/2 outputs
    are the sum of both results, the others their difference. A complex product is three real ones.

    Args:
        n: positions of a tile, even.
        taps: k.
        dtype: of the matrices; they are computed in float64.

    Returns:
        The even half, whose first product is that of the sums, and the odd one.
    """
    place = torch.arange(n // 2, dtype=torch.float64)
    tap = torch.arange(taps, dtype=torch.float64)
    both = []
    for parity in (0, 1):
        into: list[Tensor] = []
        weights: list[Tensor] = []
        out: list[Tensor] = []
        for f in range(parity, n // 2 + 1, 2):
            turn = 2 * math.pi * f / n
            a, b = torch.cos(turn * place), -torch.sin(turn * place)
            c, d = torch.cos(turn * tap), torch.sin(turn * tap)
            re, im = a / n, b / n
            if f in (0, n // 2):
                into, weights, out = [*into, a], [*weights, c], [*out, re]
            else:  # ac - bd and (a + b)(c + d) - ac - bd; twice, for the conjugate frequency
                into, weights = [*into, a, b, a + b], [*weights, c, d, c + d]
                out = [*out, 2 * (re - im), -2 * (re + im), 2 * im]
        rows = torch.stack(into), torch.stack(weights), torch.stack(out, 1)
        both.append(Half(*(t.to(dtype).contiguous() for t in rows)))
    return both[0], both[1]


class Tiling(NamedTuple):
    """How a convolution is cut: `tiles` of `size` positions along each phase."""

    length: int
    taps: int
    dilation: int
    size: int

    @property
    def step(self) -> int:
        """Outputs of a tile."""
        return self.size - self.taps + 1

    @property
    def tiles(self) -> int:
        """Tiles that cover a phase."""
        return -(-self.length // (self.step * self.dilation))

    @property
    def out_rows(self) -> int:
        """Outputs of all tiles, at least L."""
        return self.tiles * self.step * self.dilation

    @property
    def in_rows(self) -> int:
        """Inputs of all tiles: L, and the zeros before and after."""
        return self.out_rows + (self.taps - 1) * self.dilation

    @property
    def reach(self) -> int:
        """Zeros before the sequence."""
        return (self.taps - 1) // 2 * self.dilation

    def windows(self, rows: Tensor, first: int, size: int) -> Tensor:
        """View (b, in_rows, C) as (b, tiles, dilation, size, C), from position `first` of a tile.

        Where size exceeds `step`, the tiles overlap.
        """
        b, _, c = rows.shape
        step = self.step * self.dilation
        shape = (b, self.tiles, self.dilation, size, c)
        strides = (self.in_rows * c, step * c, c, self.dilation * c, 1)
        start = rows.storage_offset() + first * self.dilation * c
        return rows.as_strided(shape, strides, start)

    def outputs(self, rows: Tensor) -> Tensor:
        """View (b, out_rows, O) as (b, tiles, dilation, step, O)."""
        shape = (len(rows), self.tiles, self.step, self.dilation, rows.shape[2])
        return rows.view(shape).transpose(2, 3)

    def apart(self, values: Tensor) -> Tensor:
        """View (M, rows, C) as (b, tiles, dilation, rows, C)."""
        return values.view(-1, self.tiles, self.dilation, *values.shape[1:])


@functools.lru_cache(maxsize=4096)
def tiling(batch: int, length: int, taps: int, dilation: int, c_in: int, c_out: int) -> Tiling:
    """The tiling that should take the least time.

    Args:
        batch: B.
        length: L.
        taps: k, odd, at least 3.
        dilation: bp between taps.
        c_in: C.
        c_out: O.

    Source:
        Multiplications of the products, and of transforms, sums and weights with factors fitted to
        measured times (docs/benchmarks/speed.md). A wrong factor costs only time.
    """

    def cost(cut: Tiling) -> float:
        n = cut.size
        products = 3 * n // 2
        tiles = batch * cut.tiles * dilation
        around = (3 * products * (n // 2 + 8) + 40 * n) * (c_in + c_out)
        return tiles * (products * c_in * c_out + around) + 100 * products * c_in * c_out

    sizes = range(2 * taps - 2, max(LARGEST, 4 * taps) + 1, 2)
    return min((Tiling(length, taps, dilation, n) for n in sizes), key=cost)


def tiled_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1, engine: Engine = "gemm",
    size: int = 0,
) -> Tensor:  # fmt: skip
    """A convolution with "same" zero padding, on channels-last input.

    Args:
        x: float32 or float64 (B, L, C).
        weight: (O, C, k), k odd and at least 3.
        bias: (O,) or None.
        dilation: bp between taps.
        engine: how products are computed: "gemm", a batched matrix product, or "conv", a grouped
            convolution of one tap, which is faster where the BLAS does not suit the processor.
        size: positions of a tile, even, at least 2 (k - 1); 0 = as `tiling` says.

    Returns:
        (B, L, O); the rows of a sequence are contiguous, the sequences not always.

    Accuracy:
        Rounding of float32: 2e-7 of the values, gradients 4e-7 (relative l2; F.conv1d: 2e-7, 2e-6).

    Source:
        Overlap-save by short tiles, ours; docs/speed.md#convolutions-by-tiles. Three real products
        for a complex one: C. F. Gauss; every other step is a matrix product or a sum.
    """
    cut = tiling(len(x), x.shape[1], weight.shape[2], dilation, x.shape[2], weight.shape[0])
    cut = cut._replace(size=size) if size else cut
    keep = torch.is_grad_enabled()  # which is off within, as needs_input_grad does not know
    y: Tensor = _Tiled.apply(x, weight, bias, cut, engine, keep)  # type: ignore[no-untyped-call]
    return y


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, cut: Tiling, engine: Engine,
        keep: bool,
    ) -> Tensor:  # fmt: skip
        filters = _filters(weight.permute(2, 0, 1), cut)
        y = x.new_empty(len(x), cut.out_rows, len(weight))
        kept = []
        for part in _chunks(len(x), cut, max(weight.shape[:2]), RESIDENT):
            spectrum = _into(x[part], cut)
            found = [_products(s, f, engine) for s, f in zip(spectrum, filters, strict=True)]
            if bias is not None:
                found[0][:, 0].add_(bias, alpha=cut.size)
            _out(found, cut, y[part])
            if keep and ctx.needs_input_grad[1]:
                kept += spectrum
        ctx.cut, ctx.engine, ctx.batch = cut, engine, len(x)
        ctx.save_for_backward(weight, *kept)
        return y[:, : cut.length]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight, *kept), cut = ctx.saved_tensors, ctx.cut
        to_x, to_weight, to_bias = ctx.needs_input_grad[:3]
        filters = _filters(weight.permute(2, 1, 0), cut) if to_x else ()
        rows = grad.new_empty(ctx.batch, cut.in_rows, weight.shape[1]) if to_x else None
        gathered: list[Tensor] = []
        for i, part in enumerate(_chunks(ctx.batch, cut, max(weight.shape[:2]), RESIDENT)):
            spectrum = _out_backward(grad[part], cut)
            if to_weight:
                _gather(gathered, spectrum, kept[2 * i : 2 * i + 2])
            if rows is not None:
                found = [
                    _products(s, f, ctx.engine) for s, f in zip(spectrum, filters, strict=True)
                ]
                _into_backward(found, cut, rows[part])
        dx = None if rows is None else rows[:, cut.reach : cut.reach + cut.length]
        dw = _of_taps(gathered, cut, weight) if to_weight else None
        return dx, dw, grad.sum((0, 1)) if to_bias else None, None, None, None


def _chunks(batch: int, cut: Tiling, channels: int, numbers: int) -> Iterator[slice]:
    """The sequences, as many at a time as make `numbers` numbers in their products."""
    each = cut.tiles * cut.dilation * (3 * cut.size // 2) * channels
    step = max(1, numbers // each)
    yield from (slice(at, min(at + step, batch)) for at in range(0, batch, step))


def _filters(taps: Tensor, cut: Tiling) -> list[Tensor]:
    """Weights of the products, two of (P, to, from), for taps (k, to, from)."""
    both = halves(cut.size, cut.taps, taps.dtype)
    flat = taps.reshape(cut.taps, -1)
    return [(half.weights @ flat).view(-1, *taps.shape[1:]) for half in both]


def _of_taps(gathered: list[Tensor], cut: Tiling, weight: Tensor) -> Tensor:
    """The gradient of the weights, from that of the products' weights, two of (P, O, C)."""
    even, odd = halves(cut.size, cut.taps, weight.dtype)
    flat = even.weights.t() @ gathered[0].flatten(1)
    flat.addmm_(odd.weights.t(), gathered[1].flatten(1))
    return flat.view(cut.taps, *weight.shape[:2]).permute(1, 2, 0)


def _gather(gathered: list[Tensor], grads: list[Tensor], values: list[Tensor]) -> None:
    """Add a chunk's gradient of the products' weights, two of (P, O, C)."""
    pairs = [(g.permute(1, 2, 0), v.transpose(0, 1)) for g, v in zip(grads, values, strict=True)]
    if not gathered:
        gathered += [torch.bmm(g, v) for g, v in pairs]
        return
    for total, (g, v) in zip(gathered, pairs, strict=True):
        total.baddbmm_(g, v)


def _products(values: Tensor, filters: Tensor, engine: Engine) -> Tensor:
    """(M, P, from) times (P, to, from) is (M, P, to), for each of the P."""
    if engine == "gemm":
        return torch.bmm(values.transpose(0, 1), filters.transpose(1, 2)).transpose(0, 1)
    m, p, c = values.shape
    image = values.as_strided((1, p * c, 1, m), (m * p * c, 1, m * p * c, p * c))
    weight = filters.view(-1, c, 1, 1)
    # Dilation means nothing for one tap, but with it PyTorch sends small batches to oneDNN too
    found = F.conv2d(image, weight, dilation=(1, 2), groups=p)
    return found.permute(0, 2, 3, 1).reshape(m, p, -1)


def _into(x: Tensor, cut: Tiling) -> list[Tensor]:
    """From sequences (b, L, C) to the factors of the products, two of (M, P, C)."""
    both = halves(cut.size, cut.taps, x.dtype)
    half, each = cut.size // 2, cut.tiles * cut.dilation
    found = [x.new_empty(len(x) * each, len(h.into), x.shape[2]) for h in both]
    for part in _chunks(len(x), cut, x.shape[2], NEAR):
        piece = x[part]
        rows = x.new_empty(len(piece), cut.in_rows, x.shape[2])
        rows[:, : cut.reach].zero_()
        rows[:, cut.reach : cut.reach + cut.length].copy_(piece)
        rows[:, cut.reach + cut.length :].zero_()
        near, far = cut.windows(rows, 0, half), cut.windows(rows, half, half)
        tiles = slice(part.start * each, part.stop * each)
        for h, out, fold in zip(both, found, (torch.add, torch.sub), strict=True):
            _times(h.into, fold(near, far, out=x.new_empty(near.shape)), out[tiles])
    return found


def _into_backward(found: list[Tensor], cut: Tiling, rows: Tensor) -> None:
    """Fill rows (b, in_rows, C) from the gradients of the factors, two of (M, P, C)."""
    both = halves(cut.size, cut.taps, rows.dtype)
    half, rest, each = cut.size // 2, cut.step - cut.size // 2, cut.tiles * cut.dilation
    for part in _chunks(len(rows), cut, rows.shape[2], NEAR):
        piece, tiles = rows[part], slice(part.start * each, part.stop * each)
        parts = [cut.apart(_times(h.into.t(), f[tiles])) for h, f in zip(both, found, strict=True)]
        piece[:, cut.out_rows :].zero_()
        torch.add(*parts, out=cut.windows(piece, 0, half))
        far = parts[0].sub_(parts[1])
        cut.windows(piece, half, rest).copy_(far[..., :rest, :])
        cut.windows(piece, cut.step, cut.taps - 1).add_(far[..., rest:, :])  # of the next tile


def _out(found: list[Tensor], cut: Tiling, rows: Tensor) -> None:
    """Fill rows (b, out_rows, O) from the products, two of (M, P, O)."""
    both = halves(cut.size, cut.taps, rows.dtype)
    half, rest, each = cut.size // 2, cut.step - cut.size // 2, cut.tiles * cut.dilation
    for part in _chunks(len(rows), cut, rows.shape[2], NEAR):
        outputs, tiles = cut.outputs(rows[part]), slice(part.start * each, part.stop * each)
        even, odd = (cut.apart(_times(h.out, f[tiles])) for h, f in zip(both, found, strict=True))
        torch.add(even, odd, out=outputs[..., :half, :])
        torch.sub(even[..., :rest, :], odd[..., :rest, :], out=outputs[..., half:, :])


def _out_backward(grad: Tensor, cut: Tiling) -> list[Tensor]:
    """From gradients (b, L, O) of the outputs to those of the products, two of (M, P, O)."""
    both = halves(cut.size, cut.taps, grad.dtype)
    half, rest, each = cut.size // 2, cut.step - cut.size // 2, cut.tiles * cut.dilation
    found = [grad.new_empty(len(grad) * each, h.out.shape[1], grad.shape[2]) for h in both]
    for part in _chunks(len(grad), cut, grad.shape[2], NEAR):
        piece = grad[part]
        rows = grad.new_empty(len(piece), cut.out_rows, grad.shape[2])
        rows[:, : cut.length].copy_(piece)
        rows[:, cut.length :].zero_()
        outputs = cut.outputs(rows)
        near, far = outputs[..., :rest, :], outputs[..., half:, :]
        tiles = slice(part.start * each, part.stop * each)
        for h, out, fold in zip(both, found, (torch.add, torch.sub), strict=True):
            folded = outputs[..., :half, :].clone(memory_format=torch.contiguous_format)
            fold(near, far, out=folded[..., :rest, :])
            _times(h.out.t(), folded, out[tiles])
    return found


def _times(matrix: Tensor, values: Tensor, out: Tensor | None = None) -> Tensor:
    """The matrix (rows, columns) times values (..., columns, C): (M, rows, C)."""
    flat = values.flatten(0, -3)
    return torch.bmm(matrix.expand(len(flat), -1, -1), flat, out=out)
