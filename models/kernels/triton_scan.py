"""The selective scan as a Triton kernel: the state stays in registers. Imported only on CUDA.

B batch, L sequence length (bp), G directions, E channels of a direction, S states of a channel.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 32  # of a program
BETWEEN = 32  # bp from one kept state to the next


def scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`scan.selective_scan` of float32 tensors, as one kernel forward and one backward.

    Args:
        x: float32 (B, L, G, E).
        delta: the same.
        a: (G, E, S), S a power of 2.
        b: (B, L, G, S).
        c: (B, L, G, S).

    Returns:
        (B, L, G, E).

    Accuracy:
        Rounding of the step-by-step recurrence. No sum depends on the order in which programs run.

    Source:
        Gu & Dao 2023, arXiv 2312.00752, section 3.3.2: states in fast memory, computed again for
        the gradients. Ours keeps every 32nd.
    """
    y: Tensor = _scan(*(t.contiguous() for t in (x, delta, a, b, c)))[0]
    return y


@torch.library.custom_op("dnabench::selective_scan", mutates_args=())
def _scan(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """y, and the state before every BETWEEN-th position: to a compiler, one operation."""
    (batch, length, ways, channels), states = x.shape, a.shape[-1]
    y, kept = torch.empty_like(x), x.new_empty(_kept(x, a))
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]  # else on the current one
        _forward[_programs(x)](
            x, delta, a, b, c, y, kept, length, ways, channels, batch * ways * channels * states,
            S=states, E=CHANNELS, K=BETWEEN, num_warps=1,
        )  # fmt: skip
    return y, kept


@_scan.register_fake
def _(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(_kept(x, a))


@torch.library.custom_op("dnabench::selective_scan_backward", mutates_args=())
def _scan_backward(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, grad: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    (batch, length, ways, channels), states = x.shape, a.shape[-1]
    programs = _programs(x)
    to_x, to_delta = torch.empty_like(x), torch.empty_like(delta)
    to_a = a.new_empty(batch, *a.shape)
    to_b, to_c = (b.new_empty(programs[1], *b.shape) for _ in range(2))
    room = a.new_empty(BETWEEN, batch, *a.shape)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        _backward[programs](
            x, delta, a, b, c, grad, kept, room, to_x, to_delta, to_a, to_b, to_c,
            length, ways, channels, batch * ways * channels * states,
            batch * length * ways * states, S=states, E=CHANNELS, K=BETWEEN, num_warps=1,
        )  # fmt: skip
    return to_x, to_delta, to_a.sum(0), to_b.sum(0), to_c.sum(0)


@_scan_backward.register_fake
def _(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, grad: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = (torch.empty_like(t) for t in (x, delta, a, b, c))
    return next(like), next(like), next(like), next(like), next(like)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # or zeros would be made for the states that are kept
    ctx.save_for_backward(*inputs, output[1])


def _gradients(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, ...]:
    *inputs, kept = ctx.saved_tensors
    return _scan_backward(*inputs, grad.contiguous(), kept)  # type: ignore[no-any-return]


_scan.register_autograd(_gradients, setup_context=_remember)


def _kept(x: Tensor, a: Tensor) -> tuple[int, ...]:
    return (-(-x.shape[1] // BETWEEN), x.shape[0], *a.shape)


def _programs(x: Tensor) -> tuple[int, int]:
    """One for each direction of a sequence, and each block of channels."""
    return x.shape[0] * x.shape[2], -(-x.shape[3] // CHANNELS)


@triton.jit
def _places(ways, channels, S: tl.constexpr, E: tl.constexpr):
    """Direction, channels, states and where the states of this program lie."""
    row, e, s = tl.program_id(0), tl.program_id(1) * E + tl.arange(0, E), tl.arange(0, S)
    inside = e < channels
    return row, e, s, inside, (row * channels + e)[:, None] * S + s[None, :]


@triton.jit
def _forward(
    x, delta, a, b, c, y, kept, length, ways, channels, size,
    S: tl.constexpr, E: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    row, e, s, inside, of_states = _places(ways, channels, S, E)
    way, both = row % ways, inside[:, None]
    rate = tl.load(a + (way * channels + e)[:, None] * S + s[None, :], mask=both, other=0.0)
    h = tl.zeros((E, S), tl.float32)
    first = (row // ways).to(tl.int64) * length * ways + way
    here = kept + of_states
    for t in range(length):
        if t % K == 0:
            tl.store(here, h, mask=both)
            here += size
        at = first + t * ways
        step = tl.load(delta + at * channels + e, mask=inside, other=0.0)
        value = tl.load(x + at * channels + e, mask=inside, other=0.0)
        into, out = tl.load(b + at * S + s), tl.load(c + at * S + s)
        h = tl.exp(step[:, None] * rate) * h + (step * value)[:, None] * into[None, :]
        tl.store(y + at * channels + e, tl.sum(h * out[None, :], 1), mask=inside)


@triton.jit
def _backward(
    x, delta, a, b, c, grad, kept, room, to_x, to_delta, to_a, to_b, to_c,
    length, ways, channels, size, part,
    S: tl.constexpr, E: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    row, e, s, inside, of_states = _places(ways, channels, S, E)
    way, both, block = row % ways, inside[:, None], tl.program_id(1).to(tl.int64)
    rate = tl.load(a + (way * channels + e)[:, None] * S + s[None, :], mask=both, other=0.0)
    first = (row // ways).to(tl.int64) * length * ways + way
    carry, of_rate = tl.zeros((E, S), tl.float32), tl.zeros((E, S), tl.float32)
    chunks = tl.cdiv(length, K)
    start, place = kept + of_states, room + of_states
    for _ in range(chunks - 1):
        start += size
    for back in range(chunks):
        begin = (chunks - 1 - back) * K
        n = tl.minimum(K, length - begin)
        h = tl.load(start, mask=both, other=0.0)
        start -= size
        for i in range(n):  # the states before each position of the chunk
            tl.store(place, h, mask=both)
            place += size
            at = first + (begin + i) * ways
            step = tl.load(delta + at * channels + e, mask=inside, other=0.0)
            value = tl.load(x + at * channels + e, mask=inside, other=0.0)
            into = tl.load(b + at * S + s)
            h = tl.exp(step[:, None] * rate) * h + (step * value)[:, None] * into[None, :]
        tl.debug_barrier()  # they are read again below
        for j in range(n):
            i = n - 1 - j
            at = first + (begin + i) * ways
            step = tl.load(delta + at * channels + e, mask=inside, other=0.0)
            value = tl.load(x + at * channels + e, mask=inside, other=0.0)
            wanted = tl.load(grad + at * channels + e, mask=inside, other=0.0)
            into, out = tl.load(b + at * S + s), tl.load(c + at * S + s)
            place -= size
            before = tl.load(place, mask=both, other=0.0)
            decay = tl.exp(step[:, None] * rate)
            h = decay * before + (step * value)[:, None] * into[None, :]
            carry += wanted[:, None] * out[None, :]
            there = block * part + at * S + s
            tl.store(to_c + there, tl.sum(wanted[:, None] * h, 0))
            tl.store(to_b + there, tl.sum(carry * (step * value)[:, None], 0))
            of_input = tl.sum(carry * into[None, :], 1)
            of_decay = carry * before * decay
            tl.store(to_x + at * channels + e, of_input * step, mask=inside)
            of_step = tl.sum(of_decay * rate, 1) + of_input * value
            tl.store(to_delta + at * channels + e, of_step, mask=inside)
            of_rate += of_decay * step[:, None]
            carry = carry * decay
    tl.store(to_a + of_states, of_rate, mask=both)
