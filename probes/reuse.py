"""A network that is run again only where changed tokens can make a difference.

B batch, L tokens of the window, T of a stretch of it, C channels, V outputs. Values of a stretch
are (1, T B, C), the batch side by side at each position: a tap is one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dnabench.models.kernels.convolve import convolve
from dnabench.models.kernels.parts import by_position

# operations that work on each position alone, for (1, T B, C), or (1, T B) of ids
BY_POSITION = {
    "add", "dropout", "embedding", "float", "gelu", "layer_norm", "linear", "long", "mul", "relu",
    "rms_norm", "sigmoid", "silu", "sub", "tanh",
}  # fmt: skip
PIECE = 1 << 11  # positions whose values stay in the caches of a CPU
WIDER = 1.3  # output by input of a convolution, from which on taps are taken one by one
BY_NAME = {  # tensors that torch itself hands on by name: (C,), alike at all positions
    (name, given) for name in ("layer_norm", "rms_norm") for given in ("weight", "bias")
}
ABOUT = {"__get__", "dim", "size"}  # shape, device and so on


class NotLocalError(ValueError):
    """An operation that may read other positions in a way that is not known here."""


class Layer(NamedTuple):
    """A linear layer or a convolution.

    Args:
        work: multiplications for each token.
        into: tokens on either side of a changed one that its input can differ at.
        reach: those that its output can differ at; of a convolution they are more.
    """

    work: int
    into: int
    reach: int


class Reuse:
    """A network and one window; what changed tokens do to the output.

    Of every layer only the part is computed that can differ; the rest is that of the window. Of a
    convolution that is what the difference of its input adds, so that no tap reads a zero. The
    network sees one sequence of T B tokens, which matters to no operation that is followed.

    Args:
        net: `net(ids, None)`, in evaluation; convolutions by `convolve`, and operations that work
            on each position alone.
        ids: int64 (1, L), the window.

    Raises:
        NotLocalError: another operation, such as attention, a recurrence, or a mean over positions;
            a tensor that is given to one by name.

    Accuracy:
        Equal in exact arithmetic: 1e-12 in float64. In float32 within four times the rounding of
        the whole network.

    Source:
        Ours.
    """

    def __init__(self, net: Callable[[Tensor, None], Tensor], ids: Tensor) -> None:
        self.length = ids.shape[1]
        self.layers: list[Layer] = []
        self._net, self._recording = net, True
        self._kept: list[tuple[Tensor, ...]] = []  # in the order of the operations
        self._first, self._last, self._next, self._rows = 0, self.length - 1, 0, 1
        out = net(self._marked(ids, 0), None)
        if not isinstance(out, Near) or out.dim() != 3:
            raise NotLocalError(f"its output has the shape {tuple(out.shape)}")
        self.reach, self.whole = out.reach, plain(out)
        self._recording = False

    @torch.no_grad()
    def again(self, ids: Tensor, first: int) -> tuple[int, Tensor]:
        """Run it with other tokens at a stretch of the window.

        Args:
            ids: int64 (B, T), in the place of those from `first` on.
            first: from 0.

        Returns:
            A position and the output (B, T', V) from there on; all others are as in the window.
        """
        self._first, self._last, self._next = first, first + ids.shape[1] - 1, 0
        self._rows = len(ids)
        out = self._net(self._marked(ids.T.reshape(1, -1), 0), None)
        if self._next != len(self._kept):
            raise RuntimeError("the network took another way than before; please report this")
        return self.span(self.reach)[0], self._apart(plain(out)).transpose(0, 1)

    def gain(self) -> float:
        """How many times fewer multiplications a changed token takes than the window.

        A mean over the tokens of the window, of linear layers and convolutions; 1 without any.
        """
        whole = sum(layer.work for layer in self.layers) * self.length
        if not whole:
            return 1.0
        return whole / sum(layer.work * self.width(layer.into) for layer in self.layers)

    def width(self, reach: int) -> float:
        """The tokens within reach of one, those beyond the ends left out; the mean over L."""
        reach = min(reach, self.length - 1)
        return 2 * reach + 1 - reach * (reach + 1) / self.length

    def span(self, reach: int) -> tuple[int, int]:
        """Where an output can differ: from, and to without the end."""
        return max(0, self._first - reach), min(self.length, self._last + reach + 1)

    def widened(self, x: Near, reach: int) -> Tensor:
        """The values of x over the wider stretch of this reach."""
        if x.reach == reach:
            return plain(x)
        if self._recording:
            self._kept.append((plain(x),))
            return plain(x)
        (whole,) = self._recalled()
        (a, b), (low, high) = self.span(reach), self.span(x.reach)
        near, *sides = self._apart(plain(x)), whole[0, a:low, None], whole[0, high:b, None]
        before, behind = (side.expand(-1, *near.shape[1:]) for side in sides)
        return torch.cat([before, near, behind]).flatten(0, 1)[None]

    def convolved(self, x: Near, weight: Tensor, bias: Tensor | None, dilation: int) -> Near:
        """`convolve` of values that are known on a stretch alone."""
        taps = weight.shape[2]
        reach = x.reach + taps // 2 * dilation
        if self._recording:
            made = convolve(plain(x), weight, bias, dilation)
            self._kept.append((plain(x), made, weight.permute(2, 1, 0).contiguous()))
            self.layers.append(Layer(weight.numel(), x.reach, reach))
            return self._marked(made, reach)
        was, made, matrices = self._recalled()
        (a, b), (low, high) = self.span(reach), self.span(x.reach)
        change = self._apart(plain(x)) - was[0, low:high, None]
        if b - a < WIDER * (high - low):
            change = F.pad(change.transpose(0, 1), (0, 0, low - a, b - high))
            out = convolve(change, weight, None, dilation).transpose(0, 1) + made[0, a:b, None]
            return self._marked(out.flatten(0, 1)[None], reach)
        out = made[0, a:b, None].expand(-1, self._rows, -1).contiguous()
        for tap in range(taps):
            to = low - a + (taps // 2 - tap) * dilation  # of the first change
            rows = slice(max(0, -to), min(high - low, b - a - to))
            if rows.start < rows.stop:
                sums = out[rows.start + to : rows.stop + to].flatten(0, 1)
                sums.addmm_(change[rows].flatten(0, 1), matrices[tap])
        return self._marked(out.flatten(0, 1)[None], reach)

    def by_position(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Near:
        """An operation whose output at a position reads its inputs there alone."""
        found = [x for x in args if isinstance(x, Near)]
        reach = max(x.reach for x in found)
        first, last = (f(found, key=lambda x: x.reach) for f in (min, max))
        alike = first.shape[2:] == last.shape[2:] and first.reach < reach and not kwargs
        if func.__name__ == "add" and alike and not self._recording:
            return self.added(first, last)
        given = [self.widened(x, reach) if isinstance(x, Near) else x for x in args]
        if self._recording and func in (F.linear, convolve):
            self.layers.append(Layer(args[1].numel(), reach, reach))
        return self._marked(func(*given, **kwargs), reach)

    def added(self, x: Near, wider: Near) -> Near:
        """The sum over the wider stretch, without a copy of x that is as wide."""
        (whole,) = self._recalled()
        (a, b), (low, high) = self.span(wider.reach), self.span(x.reach)
        one = self._apart(plain(wider))
        out = torch.empty_like(one)
        for start, end, other in (
            (a, low, whole[0, a:low, None]), (low, high, self._apart(plain(x))),
            (high, b, whole[0, high:b, None]),
        ):  # fmt: skip
            rows = slice(start - a, end - a)
            torch.add(one[rows], other, out=out[rows])
        return self._marked(out.flatten(0, 1)[None], wider.reach)

    def pieces(self, layer: Callable[[Tensor], Tensor], x: Near) -> Tensor:
        """`layer`, which works on each position alone, a few positions at a time."""
        if self._recording:
            return layer(x)
        parts = torch.split(plain(x), PIECE, 1)
        return self._marked(torch.cat([layer(part) for part in parts], 1), x.reach)

    def _apart(self, x: Tensor) -> Tensor:
        """(1, T B, ...) as (T, B, ...)."""
        return x.reshape(-1, self._rows, *x.shape[2:])

    def _recalled(self) -> tuple[Tensor, ...]:
        self._next += 1
        return self._kept[self._next - 1]

    def _marked(self, x: Tensor, reach: int) -> Near:
        out: Near = x.as_subclass(Near)
        out.reuse, out.reach = self, reach
        return out


class Near(Tensor):
    """Values (1, T B, C), or ids, of a stretch: `reach` tokens around the changed ones."""

    reuse: Reuse
    reach: int

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # fmt: skip
        """Follow an operation, or raise NotLocalError."""
        if func is by_position:
            return args[1].reuse.pieces(*args)
        name, kwargs = func.__name__, kwargs or {}
        found = [x for x in args if isinstance(x, Near)]
        with torch._C.DisableTorchFunctionSubclass():
            if name in ABOUT and not isinstance(out := func(*args, **kwargs), Tensor):
                return out
            if _tensors(x for k, x in kwargs.items() if (name, k) not in BY_NAME):
                raise NotLocalError(f"{name} has tensors by name, which are not followed")
            if found and func is convolve and args[1].shape[2:] > (1,):
                return found[0].reuse.convolved(*args, **kwargs)
            if found and _local(name, func, args):
                return found[0].reuse.by_position(func, args, kwargs)
        raise NotLocalError(f"{name} is not known to work on each position alone")


def plain(x: Tensor) -> Tensor:
    """The same values as an ordinary tensor."""
    with torch._C.DisableTorchFunctionSubclass():
        return x.as_subclass(Tensor)


def _tensors(values: Iterable[Any]) -> bool:
    """Whether one of them is a tensor, or has one in it."""
    return any(
        isinstance(x, Tensor)
        or (isinstance(x, Mapping) and _tensors(x.values()))
        or (isinstance(x, list | tuple) and _tensors(x))
        for x in values
    )


def _local(name: str, func: Any, args: Sequence[Any]) -> bool:
    """Whether an operation, with these arguments, works on each position alone."""
    first, rest = args[0], args[1:]
    if name == "__getitem__":  # a table by ids, or channels
        channels = isinstance(rest[0], tuple) and len(rest[0]) == 2 and rest[0][0] is Ellipsis
        added = channels and rest[0][1] is None
        sliced = channels and isinstance(rest[0][1], slice) and first.dim() == 3
        return added or sliced if isinstance(first, Near) else isinstance(rest[0], Near)
    if name == "scatter_":  # one-hot letters
        return not isinstance(first, Near) and rest[0] == -1 and isinstance(rest[1], Near)
    if name in ("layer_norm", "rms_norm"):
        return first.dim() == 3 and len(rest[0]) == 1
    if name in ("add", "mul", "sub"):
        return all(not isinstance(x, Tensor) or _alike(x) for x in args)
    return func is convolve or name in BY_POSITION


def _alike(x: Tensor) -> bool:
    """Whether x has values at each position, or the same at all."""
    return x.dim() == 3 if isinstance(x, Near) else x.dim() < 2 or x.shape[-2] == 1
