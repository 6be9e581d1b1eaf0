"""How much each base changes one output: by gradients, and by substitution.

B batch, T tokens, L length in bp, D features, S sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.models.kernels.context import Kernels
from dnabench.networks.embedding import Source
from dnabench.train.batches import EVAL_TOKENS, Resident, per_base
from dnabench.train.precision import differentiable
from dnabench.types import Array, Sequences

LEAST = 5  # bases that are replaced
OTHERS = 3  # bases that a base can be replaced by
VECTORS = 4  # random directions of the output, for each sequence


class Effect(NamedTuple):
    """The size of the change of one output for each base around it, as shares of the sum.

    Offsets are bp from the base whose output it is; where the network has one output for the whole
    sequence, from its middle. `gradient` is the squared Frobenius norm of the derivative of the D
    features by the base's embedding, a mean over sequences; a token's is shared by its bases alike.
    `substitution` is the squared change of the D features, a mean over sequences and the three
    other bases; it is measured at the offsets `substituted`, with straight lines between them.
    `each_base` says whether the network has an output for each base.
    """

    offsets: Array  # int64 (L,)
    gradient: Array  # float64 (L,)
    substituted: Array  # int64 (P,)
    substitution: Array  # float64 (L,)
    each_base: bool


def effect_of(
    source: Source, seqs: Sequences, most: int, progress: Callable[[int], object] = lambda n: None
) -> Effect:
    """Measure both on sequences of one length.

    Args:
        source: the network, on its device.
        seqs: S sequences of L bp.
        most: offsets at which bases are replaced, LEAST or more.
        progress: called with the sequences that were run since the last call.

    Raises:
        ValueError: sequences of several lengths, or that the network cannot read.

    Source:
        Gradients: Luo et al. 2016, arXiv 1701.04128. Ours: all D features, by random directions
        v with E[v v'] = 1, and squares, so that shares of several sequences add up.
    """
    length = int(seqs.lengths[0])
    if (seqs.lengths != length).any():
        raise ValueError("sequences of one length are needed")
    middle = length // 2
    one = _Centre(source, length)
    gradient = sum(_gradient(one, seqs.take(np.array([i])), progress) for i in range(len(seqs)))
    places = replaced(length, most)
    changes = sum(
        _substitution(one, seqs.take(np.array([i])), places, progress) for i in range(len(seqs))
    )
    offsets = np.arange(length) - middle
    each = _shares(at_each(offsets, places - middle, np.asarray(changes)))
    return Effect(offsets, _shares(gradient), places - middle, each, one.each_base)


def replaced(length: int, most: int) -> Array:
    """At most so many positions of a sequence: middle, ends, and ever wider apart between them.

    Raises:
        ValueError: fewer than LEAST.
    """
    if most < LEAST:
        raise ValueError(f"{most} bases to replace are too few; take {LEAST} or more")
    middle = length // 2
    if most >= length:
        return np.arange(length)
    sides = [_spaced(reach, (most - 1) // 2) for reach in (middle, length - 1 - middle)]
    return np.concatenate([middle - sides[0][::-1], [middle], middle + sides[1]])


def _spaced(reach: int, n: int) -> Array:
    """N or fewer whole distances from 1 to `reach`, each about as many times the one before."""
    if not (n and reach):
        return np.zeros(0, np.int64)
    return np.unique(np.rint(np.geomspace(1, reach, n)).astype(np.int64))


def at_each(offsets: Array, places: Array, values: Array) -> Array:
    """Values at every offset, on straight lines between the places; both are in order.

    Raises:
        ValueError: when the places do not reach from the first offset to the last.
    """
    if places[0] != offsets[0] or places[-1] != offsets[-1]:
        raise ValueError("places from the first base to the last are needed")
    return np.interp(offsets, places, values)


def _shares(values: Any) -> Array:
    total = float(np.sum(values))
    if not (np.isfinite(total) and total > 0):
        raise ValueError(f"the output does not change with the sequence: the sum is {total}")
    return np.asarray(values / total, np.float64)


class _Centre:
    """The features of the middle base, (B, D), or of whole sequences."""

    def __init__(self, source: Source, length: int) -> None:
        self._source, self._length = source, length
        self.net = net = source.net.eval()
        backbone = getattr(net, "backbone", None)
        masked = backbone is not None and len(signature(backbone.forward).parameters) > 1
        self._run: Any = backbone if masked else net
        self.each_base = True

    def modules(self) -> list[Any]:
        """All layers."""
        return list(self._run.modules())

    def encode(self, seqs: Sequences) -> Resident:
        source = self._source
        encoded = source.tokenizer.shortened(seqs, self._length, source.recipe.padding, 0)
        device = str(next(source.net.parameters()).device)
        return Resident([encoded], device, source.tokenizer.pad, widths=True)

    def __call__(self, data: Resident, rows: Array) -> Tensor:
        batch = data.batch(data.rows(rows))
        values: Tensor = self._run(batch.ids, batch.mask)
        if values.dim() == 2:
            self.each_base = False
            return values
        if values.shape[1] == batch.ids.shape[1]:
            return per_base(values, batch, self._length)[:, self._length // 2]
        self.each_base = False  # bins of several bases
        return values[:, values.shape[1] // 2]


def _gradient(one: _Centre, seqs: Sequences, progress: Callable[[int], object]) -> Array:
    """Float64 (L,), for one sequence."""
    data = one.encode(seqs)
    first, row = data.rows(np.zeros(1, np.int64)), np.zeros(VECTORS, np.int64)
    leaf: list[Tensor] = []
    tokens = data.batch(first).ids.shape[1]

    def before(module: Any, given: tuple[Any, ...]) -> Any:
        return tuple(_leaf(x, tokens, leaf) for x in given)

    def after(module: Any, given: tuple[Any, ...], out: Any) -> Any:
        return _leaf(out, tokens, leaf)

    modules = one.modules()
    hooks = [m.register_forward_pre_hook(before) for m in modules]
    hooks += [m.register_forward_hook(after) for m in modules if not list(m.children())]
    try:
        with Kernels("direct"), torch.enable_grad(), differentiable(one.net):
            values = one(data, row)
    finally:
        for hook in hooks:
            hook.remove()
    if not leaf:
        raise ValueError("no layer of the network reads a row of numbers for each token")
    draws = torch.Generator().manual_seed(0)
    directions = torch.randn(values.shape, generator=draws).to(values)
    (found,) = torch.autograd.grad((values * directions).sum(), leaf, allow_unused=True)
    progress(VECTORS)
    if found is None:
        return np.zeros(int(seqs.lengths[0]))
    positions = 1 if leaf[0].shape[1] == tokens else 2
    other = 3 - positions
    shares = found.double().square().sum((0, other)).cpu().numpy()
    widths = data.batch(first).widths
    if widths is None:
        return np.asarray(shares)
    each = widths[0].cpu().numpy().astype(np.int64)
    return np.repeat(shares / np.maximum(each, 1), each)


def _leaf(x: Any, tokens: int, leaf: list[Tensor]) -> Any:
    """The first numbers (B, T, C) or (B, C, T) that there are, as a variable of their own."""
    if leaf or not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != 3:
        return x
    if tokens not in x.shape[1:] or x.shape[0] % VECTORS:
        return x
    leaf.append(x.detach().requires_grad_())
    return leaf[0]


@torch.no_grad()
def _substitution(
    one: _Centre, seqs: Sequences, places: Array, progress: Callable[[int], object]
) -> Array:
    """Float64, the change at each of the places, for one sequence."""
    codes = seqs.codes
    with Kernels("direct"):
        was = one(one.encode(seqs), np.zeros(1, np.int64)).double()
        found, at_once = [], max(1, EVAL_TOKENS // (OTHERS * len(codes)))
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            many = np.repeat(codes[None], OTHERS * len(part), axis=0)
            where = np.repeat(part, OTHERS)
            turn = np.tile(np.arange(1, OTHERS + 1), len(part))
            many[np.arange(len(where)), where] = (codes[where] + turn) % (OTHERS + 1)
            offsets = np.arange(len(many) + 1) * len(codes)
            values = one(one.encode(Sequences(many.ravel(), offsets)), np.arange(len(many)))
            change = (values.double() - was).square().sum(1).reshape(len(part), OTHERS)
            found.append(change.mean(1).cpu().numpy())
            progress(len(many))
    return np.concatenate(found)


def passes(sequences: int, length: int, most: int) -> int:
    """How many sequences `effect_of` runs."""
    return sequences * (VECTORS + OTHERS * len(replaced(length, most)))


def span(offsets: Array, shares: Array, share: float) -> int:
    """The bp of the smallest window around offset 0 that holds so much of the sum.

    Args:
        offsets: int64 (L,), every one, in order.
        shares: float64 (L,), with a sum of 1.
        share: such as 0.95.
    """
    distance = np.abs(offsets)
    held = np.cumsum(np.bincount(distance, shares))
    reach = min(int(np.searchsorted(held, share - 1e-12)), len(held) - 1)
    return int((distance <= reach).sum())
