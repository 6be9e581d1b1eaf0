"""How far a network sees: measured by letting one input spoil all outputs that depend on it.

B batch, T tokens, C channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels

GROUP = 256  # bp; a multiple of every model's pooling
ROUNDING = 1e-4  # of the largest output
FARTHEST = 2**18  # bp of the longest input that is tried
ALL = 2**14  # bp; a network of which no output escapes here sees all of its input


class Field(NamedTuple):
    """How far the outputs of a group of bases see.

    beyond: bp on either side of a group of GROUP bases that begins at a multiple of GROUP.
    every_base: whether it is the same for a group that begins anywhere; not so with pooling.
    """

    beyond: int
    every_base: bool


@torch.no_grad()
def field_of(net: Any) -> Field | None:
    """How many bp around a group of bases its outputs depend on.

    The embeddings of a group are replaced by NaN, which spreads to every output that has them in
    its sums, whatever the weights are.

    Args:
        net: on the CPU; `forward(ids uint8 (B, T), None)` gives one row a base, (B, T, K).

    Returns:
        `beyond` as a multiple of GROUP; None for a network that sees all of its input, that
        reads no single bases, or whose outputs change with bases that lie beyond.
    """
    length, before = 4 * GROUP, -1
    while length <= FARTHEST:
        middle = length // 2
        spoiled = _spoiled(net, length, middle)
        if spoiled is None or not len(spoiled) or (len(spoiled) == length >= ALL):
            return None
        first, last = int(spoiled[0]), int(spoiled[-1])
        beyond = max(middle - first, last - (middle + GROUP - 1), 0)
        if beyond == before:  # a shorter input would hide taps that lie beyond its ends
            shifted = _spoiled(net, length, middle + 1)
            every_base = shifted is not None and torch.equal(spoiled + 1, shifted)
            field = Field(-(-beyond // GROUP) * GROUP, every_base)
            return field if _holds(net, field) else None
        length, before = 4 * length, beyond
    return None


def _holds(net: Any, field: Field) -> bool:
    """Whether groups of a random sequence get the same outputs without what lies beyond.

    NaN may have been put in behind layers that look around, as where channels come first.
    """
    around = field.beyond + 4 * GROUP
    codes = torch.randint(0, 4, (1, 2 * around + 2 * GROUP), generator=torch.Generator())
    codes = codes.to(torch.uint8)
    with Kernels("direct"):
        whole = net(codes, None)
        for start in (around, around + 1) if field.every_base else (around,):
            tile = codes[:, start - field.beyond : start + GROUP + field.beyond]
            inner = net(tile, None)[:, field.beyond : field.beyond + GROUP]
            off = (inner - whole[:, start : start + GROUP]).abs().max()
            if not off <= ROUNDING * whole.abs().max():
                return False
    return True


def _spoiled(net: Any, length: int, start: int) -> Tensor | None:
    """The places of outputs that depend on a group; None when no module was given values of it."""
    done: list[bool] = []

    def with_nan(x: Any) -> Any:
        """The first values (1, length, C) that there are, spoiled."""
        if done or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != 3:
            return x
        if x.shape[1] != length:
            return x
        done.append(True)
        x = x.clone()
        x[:, start : start + GROUP] = torch.nan
        return x

    def before(module: Any, given: tuple[Any, ...]) -> Any:
        return tuple(map(with_nan, given))

    def after(module: Any, given: tuple[Any, ...], out: Any) -> Any:
        return with_nan(out)

    net.eval()
    modules = list(net.modules())
    hooks = [m.register_forward_pre_hook(before) for m in modules]
    hooks += [m.register_forward_hook(after) for m in modules if not list(m.children())]
    try:
        with Kernels("direct"):
            out = net(torch.zeros(1, length, dtype=torch.uint8), None)
    except (RuntimeError, ValueError, IndexError):  # a length that it cannot read
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return out.isnan().any(-1)[0].nonzero()[:, 0] if done and out.shape[1] == length else None
