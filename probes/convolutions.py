"""The convolutions of a network, found by running it once.

B batch, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dnabench.models.kernels.context import Kernels
from dnabench.probes.paths import Convolution, receptive_field

POOLING = ("max_pool1d_with_indices", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d")


def stack_of(net: Any, ids: Tensor) -> list[Convolution]:
    """The chain of convolutions and poolings that reaches farthest, from the input on.

    Of parallel ones, such as the branches of a gate, one counts. Layers
    that look at one position are left out, and so is all that mixes positions in another way:
    attention, recurrences, Fourier transforms, means over a sequence.

    Args:
        net: on the CPU; `net(ids, None)`.
        ids: (B, T).

    Returns:
        Also [] where convolutions and poolings form no chain: a U-Net goes back to more positions.
    """
    net.eval()
    found = _Recorder(ids.shape[1])
    with torch.no_grad(), Kernels("direct"), found:
        out = net(ids, None)
    return list(found.behind(out)) if found.chain else []


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The layers that every tensor has behind it.

    Tensors are told apart by their storage, which views share.
    """

    def __init__(self, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._length = length
        self._behind: dict[int, tuple[Convolution, ...]] = {}
        self._kept: list[Any] = []  # storages, so that no address is used twice
        self.chain = True

    def behind(self, values: Any) -> tuple[Convolution, ...]:
        """Of several tensors, the layers that reach farthest."""
        found = [self._behind.get(_key(x), ()) for x in tree_leaves(values) if _is_tensor(x)]
        return max(found, key=receptive_field, default=())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        out = func(*args, **(kwargs or {}))
        layers = self.behind((args, kwargs))
        layer = _layer(func._schema.name.partition("::")[2], args)
        if layer is not None and (layer.kernel > 1 or layer.stride > 1):
            self._check(layers, args[0].shape[-1])
            layers = (*layers, layer)
        for x in filter(_is_tensor, tree_leaves(out)):
            self._kept.append(x.untyped_storage())
            own = self._behind.get(_key(x), ())
            self._behind[_key(x)] = max(layers, own, key=receptive_field)
        return out

    def _check(self, before: Sequence[Convolution], positions: int) -> None:
        jump = math.prod(earlier.stride for earlier in before)
        missing = self._length - positions * jump
        if not -2 * jump <= missing < receptive_field(before) + jump:
            self.chain = False  # something else has changed the number of positions


def _is_tensor(x: Any) -> bool:
    return isinstance(x, Tensor)


def _key(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _layer(name: str, args: Sequence[Any]) -> Convolution | None:
    """What an operation of PyTorch does along its last dimension, the positions."""
    if name == "convolution" and not args[6]:  # args[6]: transposed
        return Convolution(args[1].shape[-1], args[5][-1], args[3][-1])
    if name in POOLING:
        kernel, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
        dilation = args[4][-1] if name.startswith("max") and len(args) > 4 else 1
        return Convolution(kernel[-1], dilation, stride[-1])
    return None
