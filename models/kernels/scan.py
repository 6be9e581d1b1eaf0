"""The bidirectional selective state-space mixer (Mamba, S6). Imported only inside `build`.

B batch, L sequence length (bp), D width, G directions, E channels of a direction (2 D), S states of
a channel (16), R rank of the step sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from dnabench.models import _layers
from dnabench.models._layers import exact
from dnabench.models.kernels import cuda_scan
from dnabench.models.kernels import parts as _parts

STATES, TAPS, EXPAND = 16, 4, 2  # S; taps of the convolution; E / D
CACHED, RESIDENT = 2**18, 2**24  # numbers in the states of a chunk, on a CPU and elsewhere
SHORTEST, LONGEST = 8, 256  # bp of a chunk, at least and at most
PART = 2**11  # bp of a long sequence whose projections are in memory at once


def selective_scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int = 0
) -> Tensor:
    """y[t] = h[t] c[t], where h[t] = exp(delta[t] a) h[t-1] + delta[t] x[t] b[t] and h[-1] = 0.

    Time and memory are linear in L, forward and backward: the backward pass recomputes the states
    of one chunk at a time, from the state at its start.

    Args:
        x: float32 or float64 (B, L, G, E).
        delta: the same, > 0: step sizes.
        a: (G, E, S), < 0.
        b: (B, L, G, S).
        c: (B, L, G, S).
        chunk: bp whose B G E S states are in memory at once; 0 = as fits the device.

    Returns:
        (B, L, G, E).

    Accuracy:
        Rounding of the step-by-step recurrence, also for steps so large that the decay underflows,
        as there is no division. Chunks change only the order of the sum over t in the gradient of
        a.

    Source:
        Gu & Dao 2023, arXiv 2312.00752, section 3.2. On CUDA, for float32, the kernel of mamba-ssm
        is used where that works, else that of `triton_scan`; both tested equal.
    """
    if torch.compiler.is_exporting():
        from dnabench.models.kernels.exported_scan import exported_scan

        return exported_scan(x, delta, a, b, c)
    if x.is_cuda and x.dtype == torch.float32 and not chunk:
        kernel = cuda_scan.working(str(x.device))
        if kernel == "mamba_ssm":
            return cuda_scan.by_mamba(x, delta, a, b, c)
        if kernel == "triton":
            return cuda_scan.by_triton(x, delta, a, b, c)
    y: Tensor = scan_on(x, delta, a, b, c, a.new_zeros(x.shape[0], *a.shape), chunk)[0]
    return y


@torch.compiler.disable  # type: ignore[untyped-decorator]  # it would unroll the loop
def scan_on(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor, chunk: int = 0
) -> tuple[Tensor, Tensor]:
    """`selective_scan` from the state h (B, G, E, S); also returns the last state.

    Nothing is scanned on the meta device: its operations are counted by formula.
    """
    if x.is_meta:
        return torch.empty_like(x), h
    if not chunk:
        numbers = CACHED if x.device.type == "cpu" else RESIDENT
        chunk = numbers // max(1, x.shape[0] * a.numel())
        chunk = min(LONGEST, max(SHORTEST, chunk))
    with exact(x):
        return _Scan.apply(x, delta, a, b, c, h, chunk, torch.is_grad_enabled())  # type: ignore[no-any-return, no-untyped-call]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor, chunk: int,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        y, starts = torch.empty_like(x), []
        keep, room = keep and any(ctx.needs_input_grad), _room(x, a, chunk)
        for at in range(0, x.shape[1], chunk):
            if keep:
                starts.append(h)
            xs, deltas, bs, cs = _cut(at, chunk, x, delta, b, c)
            _, h_all = _states(xs, deltas, a, bs, h, room)
            y[:, at : at + chunk] = (h_all @ cs[..., None]).squeeze(-1).transpose(0, 1)
            h = h_all[-1].clone()  # the next chunk overwrites the others
        if keep:
            ctx.chunk = chunk
            ctx.save_for_backward(x, delta, a, b, c, *starts)
        return y, h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_h: Tensor) -> tuple[Tensor | None, ...]:
        x, delta, a, b, c, *starts = ctx.saved_tensors
        to_x, to_delta = torch.empty_like(x), torch.empty_like(delta)
        to_a, to_b, to_c = torch.zeros_like(a), torch.empty_like(b), torch.empty_like(c)
        carry = grad_h.clone()  # gradient of a chunk's last state, from those after it
        room = _room(x, a, ctx.chunk, 3)
        with exact(x):
            for i in reversed(range(len(starts))):
                at, part = i * ctx.chunk, slice(i * ctx.chunk, (i + 1) * ctx.chunk)
                xs, deltas, bs, cs, gs = _cut(at, ctx.chunk, x, delta, b, c, grad)
                decay, h = _states(xs, deltas, a, bs, starts[i], room)
                to_h = torch.mul(gs[..., None], cs[..., None, :], out=room[2][: len(gs)])
                to_h[-1].add_(carry)
                steps, rows = decay.unbind(0), to_h.unbind(0)
                for t in range(len(rows) - 1, 0, -1):
                    rows[t - 1].addcmul_(steps[t], rows[t])
                torch.mul(steps[0], rows[0], out=carry)
                u = (to_h @ bs[..., None]).squeeze(-1)
                to_c[:, part] = (gs[..., None, :] @ h).squeeze(-2).transpose(0, 1)
                to_b[:, part] = ((xs * deltas)[..., None, :] @ to_h).squeeze(-2).transpose(0, 1)
                to_x[:, part] = (u * deltas).transpose(0, 1)
                decay.mul_(to_h)  # from here on, the gradient of delta a
                decay[0].mul_(starts[i])
                decay[1:].mul_(h[:-1])
                to_a += torch.mul(decay, deltas[..., None], out=h).sum((0, 1))
                to_delta[:, part] = (u * xs + decay.mul_(a).sum(-1)).transpose(0, 1)
        return to_x, to_delta, to_a, to_b, to_c, carry, None, None


def _cut(at: int, chunk: int, *tensors: Tensor) -> list[Tensor]:
    """The chunk that starts at `at`, position first."""
    return [t[:, at : at + chunk].transpose(0, 1).contiguous() for t in tensors]


def _room(x: Tensor, a: Tensor, chunk: int, times: int = 2) -> Tensor:
    """Memory for `times` times the states of a chunk; allocating it for each is slower."""
    return a.new_empty(times, min(chunk, x.shape[1]), x.shape[0], *a.shape)


def _states(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, h: Tensor, room: Tensor
) -> tuple[Tensor, Tensor]:
    """Decay of each step and the state after it, each (positions, B, G, E, S), from state h."""
    decay = torch.mul(delta[..., None], a, out=room[0][: len(x)]).exp_()
    states = torch.mul((delta * x)[..., None], b[..., None, :], out=room[1][: len(x)])
    for step, row in zip(decay.unbind(0), states.unbind(0), strict=True):
        h = row.addcmul_(step, h)
    return decay, states


def reversal(mask: Tensor | None) -> Tensor | None:
    """The position that `reverse` reads for each; None = a plain flip.

    Args:
        mask: (B, L), ones then zeros; None = no padding.

    Returns:
        int64 (B L,), rows of the flat batch: each sequence flipped within its own length.
    """
    if mask is None:
        return None
    length = mask.shape[1]
    columns = torch.arange(length, device=mask.device)
    ends = mask.sum(1).long()[:, None]
    order = torch.where(columns < ends, ends - 1 - columns, columns)
    return (order + length * torch.arange(mask.shape[0], device=mask.device)[:, None]).flatten()


def reverse(x: Tensor, order: Tensor | None) -> Tensor:
    """Flip each sequence within its own length; padding stays on the right.

    Args:
        x: (B, L, ...).
        order: of `reversal`.
    """
    return x.flip(1) if order is None else x.flatten(0, 1).index_select(0, order).view(x.shape)


class Mamba(nn.Module):
    """The weights of one direction; the projections in and out may be shared."""

    def __init__(self, width: int, in_proj: nn.Linear, out_proj: nn.Linear) -> None:
        super().__init__()
        inner, self.rank = EXPAND * width, math.ceil(width / 16)
        self.in_proj, self.out_proj = in_proj, out_proj
        self.conv1d = nn.Conv1d(inner, inner, TAPS, groups=inner)
        self.x_proj = nn.Linear(inner, self.rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, STATES + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        steps = torch.empty(inner).uniform_(math.log(0.001), math.log(0.1)).exp().clamp(min=1e-4)
        with torch.no_grad():  # so that softplus gives these steps
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def parameters_of_scan(self, x: Tensor) -> list[Tensor]:
        """Delta (B, L, E), b and c (B, L, S) for x (B, L, E), in the dtype of A_log."""
        exact = self.A_log.dtype
        parts = self.x_proj(x).split([self.rank, STATES, STATES], -1)
        step = F.linear(parts[0], self.dt_proj.weight).to(exact) + self.dt_proj.bias
        return [F.softplus(step), parts[1].to(exact), parts[2].to(exact)]


class BiMamba(nn.Module):
    """Mamba of u plus the flipped Mamba of the flipped u; in_proj and out_proj are shared.

    Args:
        width: D.
        layers: of the whole network; out_proj starts smaller by its square root.

    Accuracy:
        A_log, D, the steps and the scan stay float32 under bf16 autocast.

    Source:
        Schiff et al. 2024, arXiv 2403.03234; tensor names of kuleshov-group/caduceus. The gate and
        out_proj are the same for both directions, so they are applied once, to the sum.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        in_proj = nn.Linear(width, 2 * EXPAND * width, bias=False)
        out_proj = nn.Linear(EXPAND * width, width, bias=False)
        with torch.no_grad():
            out_proj.weight /= math.sqrt(layers)
        self.mamba_fwd = Mamba(width, in_proj, out_proj)
        self.mamba_rev = Mamba(width, in_proj, out_proj)

    def forward(self, u: Tensor, order: Tensor | None) -> Tensor:
        """From (B, L, D) to (B, L, D); order of `reversal`."""
        x, z = self.mamba_fwd.in_proj(u).chunk(2, -1)
        x = F.pad(torch.cat([x, reverse(x, order)], -1), (0, 0, TAPS - 1, 0))
        x, delta, a, b, c = self._steps(x)
        y = selective_scan(x, delta, a, b, c) + self._skip() * x
        y = y[:, :, 0] + reverse(y[:, :, 1], order)
        return self.mamba_fwd.out_proj(y * F.silu(z))  # type: ignore[no-any-return]

    def residual(self, norm: Any, h: Tensor, order: Tensor | None) -> Tensor:
        """A layer: h + self(norm(h), order), one part at a time if h is long.

        Each direction reads the parts in its own order and carries its last TAPS - 1 inputs and its
        state along, so that apart from a few tensors of L D numbers only one part is in memory; in
        training a part is recomputed for its gradients. Parts are used on a CPU, or without a
        kernel for CUDA: beyond POSITIONS bp without gradients, and beyond LONG numbers per
        sequence with them.

        Args:
            norm: treats each position by itself.
            h: (B, L, D).
            order: of `reversal`.

        Accuracy:
            Equal to rounding; LoRA's dropout zeroes other values.
        """
        if not _in_parts(h):
            return h + self(norm(h), order)  # type: ignore[no-any-return]
        (batch, length, _), n = h.shape, PART
        y = self._read(norm, h, reverse(h, order), order).view(batch, length, -1)
        near = zip(torch.split(h, n, 1), torch.split(y, n, 1), strict=True)
        pieces = (_again(self._closed, norm, *pair) for pair in near)
        if torch.is_grad_enabled():
            return torch.cat(list(pieces), 1)
        out = torch.empty_like(h)
        for place, piece in zip(torch.split(out, n, 1), pieces, strict=True):
            place.copy_(piece)
        return out

    def _read(self, norm: Any, h: Tensor, turned: Tensor, order: Tensor | None) -> Tensor:
        """The sum of both directions' scans at each position: (B L, E)."""
        (batch, length, _), n = h.shape, PART
        rows = torch.arange(batch * length, device=h.device).view(batch, length)
        ways = [torch.split(t, n, 1) for t in (h, turned, rows, reverse(rows, order))]
        inner = len(self.mamba_fwd.D)
        tail = h.new_zeros(batch, TAPS - 1, 2 * inner)
        state = self.mamba_fwd.A_log.new_zeros(batch, 2, inner, STATES)
        y = self.mamba_fwd.D.new_zeros(batch * length, inner)
        for here, there, to, back in zip(*ways, strict=True):
            part, tail, state = _again(self._part, norm, here, there, tail, state)
            for i, at in enumerate((to, back)):
                y.index_add_(0, at.flatten(), part[:, :, i].flatten(0, 1))
        return y

    def _part(
        self, norm: Any, here: Tensor, there: Tensor, tail: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both directions' next part (B, n, 2, E), and the inputs and state for the one after."""
        x = [self.mamba_fwd.in_proj(norm(t)).chunk(2, -1)[0] for t in (here, there)]
        near = torch.cat([tail, torch.cat(x, -1)], 1)
        value, delta, a, b, c = self._steps(near)
        y, state = scan_on(value, delta, a, b, c, state)
        return y + self._skip() * value, near[:, 1 - TAPS :].clone(), state

    def _closed(self, norm: Any, h: Tensor, y: Tensor) -> Tensor:
        """A part, plus its gated and projected output."""
        z = self.mamba_fwd.in_proj(norm(h)).chunk(2, -1)[1]
        return h + self.mamba_fwd.out_proj(y * F.silu(z))  # type: ignore[no-any-return]

    def _steps(self, near: Tensor) -> list[Tensor]:
        """Of (B, TAPS - 1 + L, G E): x (B, L, G, E), delta, a, b and c of the scan."""
        ways = (self.mamba_fwd, self.mamba_rev)
        x = F.silu(self._convolved(near))
        x = x.view(*x.shape[:2], 2, -1)
        parts = [way.parameters_of_scan(x[:, :, i]) for i, way in enumerate(ways)]
        delta, b, c = (torch.stack(pair, 2) for pair in zip(*parts, strict=True))
        a = -torch.exp(torch.stack([way.A_log for way in ways]))
        return [x.to(a.dtype), delta, a, b, c]

    def _skip(self) -> Tensor:
        """(G, E), the factor of x that bypasses the scan."""
        return torch.stack([self.mamba_fwd.D, self.mamba_rev.D])

    def _convolved(self, x: Tensor) -> Tensor:
        """A causal filter for each of the G E channels; TAPS - 1 positions fewer."""
        ways = (self.mamba_fwd.conv1d, self.mamba_rev.conv1d)
        weight = torch.cat([way.weight for way in ways]).unsqueeze(2)
        bias = torch.cat([way.bias for way in ways])  # type: ignore[misc]
        # Of height 1 and two-dimensional, so that the channels-last layout can stay
        image = x.transpose(1, 2).unsqueeze(2)
        return F.conv2d(image, weight, bias, groups=len(bias)).squeeze(2).transpose(1, 2)


def _in_parts(h: Tensor) -> bool:
    """Whether h (B, L, D) is long and scanned in plain torch."""
    if (
        h.is_meta
        or torch.compiler.is_exporting()
        or (h.is_cuda and bool(cuda_scan.working(str(h.device))))
    ):
        return False
    if torch.is_grad_enabled():
        return h[0].numel() > _layers.LONG
    return h.shape[1] > _parts.POSITIONS


def _again(part: Callable[..., Any], *inputs: Any) -> Any:
    """`part(*inputs)`, recomputed for its gradients."""
    if torch.is_grad_enabled():
        return checkpoint(part, *inputs, use_reentrant=False)
    return part(*inputs)
