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
    """The longest chain of convolutions and poolings, from the input on.

    Of parallel ones, such as the branches of a gate, the one that reaches farthest counts. Layers
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
        net(ids, None)
    return found.stack()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """How many convolutions every tensor has behind it, and what they were.

    Tensors are told apart by their storage, which views share.
    """

    def __init__(self, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._length = length
        self._depth: dict[int, int] = {}
        self._kept: list[Any] = []  # storages, so that no address is used twice
        self._layers: list[Convolution] = []
        self._chain = True

    def stack(self) -> list[Convolution]:
        """The layers in order, without those of one tap that leave all positions."""
        return self._layers if self._chain else []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        out = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        depth = max((self._depth.get(_key(x), 0) for x in given), default=0)
        layer = _layer(func._schema.name.partition("::")[2], args)
        if layer is not None and (layer.kernel > 1 or layer.stride > 1):
            self._add(depth, layer, args[0].shape[-1])
            depth += 1
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                self._kept.append(x.untyped_storage())
                self._depth[_key(x)] = max(depth, self._depth.get(_key(x), 0))
        return out

    def _add(self, depth: int, layer: Convolution, positions: int) -> None:
        before = self._layers[:depth]
        jump = math.prod(earlier.stride for earlier in before)
        missing = self._length - positions * jump
        if not -2 * jump <= missing < receptive_field(before) + jump:
            self._chain = False  # something else has changed the number of positions
        if depth == len(self._layers):
            self._layers.append(layer)
        elif _reach(layer) > _reach(self._layers[depth]):
            self._layers[depth] = layer


def _key(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _reach(layer: Convolution) -> int:
    return (layer.kernel - 1) * layer.dilation


def _layer(name: str, args: Sequence[Any]) -> Convolution | None:
    """What an operation of PyTorch does along its last dimension, the positions."""
    if name == "convolution" and not args[6]:  # args[6]: transposed
        return Convolution(args[1].shape[-1], args[5][-1], args[3][-1])
    if name in POOLING:
        kernel, stride = args[1], args[2] if len(args) > 2 and args[2] else args[1]
        dilation = args[4][-1] if name.startswith("max") and len(args) > 4 else 1
        return Convolution(kernel[-1], dilation, stride[-1])
    return None
