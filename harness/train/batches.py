"""Encoded examples, where a batch is an index look-up: on the device, if they fit.

N examples, M sequences, S strands, B batch, T tokens, L bp, K task outputs, D features.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dnabench.tokens.tokenizers import Encoded
from dnabench.train.rows import Rows, Values, numbered, sent
from dnabench.types import Array

EVAL_TOKENS = 2**17  # tokens of an evaluation batch
LARGE = 2**28  # bytes of answers that do not stay on a device
# words of PyTorch, CUDA's driver and Triton; of PyTorch's allocator on a CPU; of CUDA's libraries
# (cuBLAS, cuFFT), the last of cuDNN 9
NO_MEMORY = ("out of memory", "DefaultCPUAllocator", "_ALLOC_FAILED", "_ALLOCATION_FAILED")


class Batch(NamedTuple):
    """What a network is given, and what turns its tokens into bases.

    ids: (B, T), cut to the longest of the batch.
    mask: float32 (B, T), 1 on tokens and 0 on padding; None when nothing is padded.
    widths: int32 (B, T), bp that each token stands for; None = one each.
    target: (B, ...), what the objective wants of it; None where nothing is compared.
    """

    ids: Tensor
    mask: Tensor | None
    widths: Tensor | None = None
    target: Tensor | None = None
    pairs: bool = False  # rows are the first sequences of B / 2 pairs, then the second ones

    def answered(self, logits: Tensor) -> Tensor:
        """The logits of the examples: of pairs f(second) - f(first)."""
        half = len(logits) // 2
        return logits[half:] - logits[:half] if self.pairs else logits


class Data(ABC):
    """The N examples of a split as a network reads them; a second strand is rows N..2N-1."""

    n: int
    strands: int
    device: torch.device
    size: int  # tokens, or features, of a row
    fullness: float = 1.0  # mean length of a row, as a share of the longest
    whole: bool = False  # whether all batches are as wide as the longest row
    here: bool = True  # whether all lies on the device
    _lengths: Array | None = None  # tokens of each row; None = all rows are full

    @abstractmethod
    def batch(self, rows: Rows) -> Batch:
        """These rows."""

    def rows(self, numbers: Array) -> Rows:
        """Rows by their numbers, which are copied to the device."""
        return numbered(numbers, self.device)

    def widen(self, whole: bool) -> None:
        """Make all batches as wide as the longest row, or as each one's own longest again."""
        self.whole = whole

    def eval_batches(self, strand: int = 0) -> Iterator[Rows]:
        """All rows of a strand, sorted by length, about EVAL_TOKENS at a time."""
        order = np.arange(strand * self.n, (strand + 1) * self.n)
        if self._lengths is not None:
            order = order[np.argsort(self._lengths[order], kind="stable")]
        rows, size = self.rows(order), self.at_once
        yield from (rows[i : i + size] for i in range(0, self.n, size))

    @property
    def at_once(self) -> int:
        """Rows of about EVAL_TOKENS."""
        return max(1, EVAL_TOKENS // max(self.size, 1))


class Resident(Data):
    """The encoded sequences of a split; those of a second strand follow the first.

    Args:
        strands: an `Encoded` for each of the S strands, all of the same N sequences.
        device: where they lie, if it has room; see `Values`.
        pad: id of what fills a row.
        widths: whether batches say how many bp each token stands for.
    """

    def __init__(
        self, strands: Sequence[Encoded], device: str, pad: int, widths: bool = False
    ) -> None:
        self.n, self.strands = len(strands[0].ids), len(strands)
        ids, self.device = _stacked([e.ids for e in strands], pad), torch.device(device)
        self.size, self._ids = ids.shape[1], Values(ids, self.device)
        self.here = self._ids.here
        full = all(e.lengths is None for e in strands) and len({e.ids.shape for e in strands}) == 1
        lengths = np.concatenate([e.tokens for e in strands])
        self.fullness = float(lengths.mean() / max(self.size, 1))
        self._lengths = None if full else lengths
        self._device_lengths = None if full else sent(torch.from_numpy(lengths), self.device)
        bp = [e.widths for e in strands if e.widths is not None] if widths else []
        self._widths = Values(_stacked(bp, 0), self.device) if bp else None

    def batch(self, rows: Rows) -> Batch:
        """The rows, 0..N-1 of the first strand, N..2N-1 of the second."""
        width = self.size
        if self._lengths is not None and not self.whole:
            width = int(self._lengths[rows.host].max())
        ids = self._ids.take(rows, width)
        widths = None if self._widths is None else self._widths.take(rows, width)
        if self._device_lengths is None:
            return Batch(ids, None, widths)
        return Batch(ids, ones(self._device_lengths[rows.index], width), widths)


class Features(Data):
    """The features that a frozen backbone gives for the sequences of a split.

    Args:
        values: float32 (M, D) or, per base, (M, L, D), of M sequences.
        rows: S arrays int64 (N,), the row in `values` of each sequence of a strand.
        lengths: int64 (M,), bp of each sequence, per base; None = all have L.
    """

    def __init__(self, values: Tensor, rows: Sequence[Array], lengths: Array | None = None) -> None:
        self.width, self.device = values.shape[-1], values.device  # D
        self._lengths_of = None if lengths is None else sent(torch.from_numpy(lengths), self.device)
        self._values = values
        self._rows = sent(torch.from_numpy(np.concatenate(rows)), self.device)
        self.strands, self.n = len(rows), len(rows[0])
        self.size = int(values[0].numel())

    def batch(self, rows: Rows) -> Batch:
        """Features in place of ids; rows as in `Resident`."""
        at = self._rows[rows.index]
        values = self._values[at]
        return Batch(values, self._mask(at, values.shape[1]))

    def _mask(self, at: Tensor, width: int) -> Tensor | None:
        return None if self._lengths_of is None else ones(self._lengths_of[at], width)


class Anew(Features):
    """Such features, computed for each batch, where those of all sequences have no room.

    Args:
        data: the M sequences as the frozen backbone reads them.
        features: from rows of `data` to float32 (B, L, D), at most EVAL_TOKENS tokens at once.
        width: D.
        rows, lengths: as of `Features`.

    Accuracy:
        Those of `Features` to float32 rounding, which differs with the batch.
    """

    def __init__(
        self, data: Resident, features: Callable[[Rows], Tensor], width: int,
        rows: Sequence[Array], lengths: Array | None,
    ) -> None:  # fmt: skip
        self.strands, self.n, self.width = len(rows), len(rows[0]), width
        self.device, self.size = data.device, data.size
        self._at, self._features = numbered(np.concatenate(rows), data.device), features
        self._lengths_of = None if lengths is None else sent(torch.from_numpy(lengths), self.device)

    def batch(self, rows: Rows) -> Batch:
        """See `Features.batch`."""
        own, few = Rows(self._at.host[rows.host], self._at.index[rows.index]), self.at_once
        parts = [self._features(own[i : i + few]) for i in range(0, len(own), few)]
        values = torch.cat(parts)
        return Batch(values, self._mask(own.index, values.shape[1]))


class Pairs(Data):
    """Pairs of sequences, for one network that reads both.

    Args:
        both: strands are those of the first sequences and of the second ones, in turn: first,
            second, first reverse complemented, second reverse complemented.
    """

    def __init__(self, both: Data) -> None:
        self.both, self.n, self.strands = both, both.n, both.strands // 2
        self.device, self.size = both.device, 2 * both.size
        self.fullness, self.here = both.fullness, both.here

    def batch(self, rows: Rows) -> Batch:
        """2 B rows: the first sequences, then the second ones."""
        n = self.n
        first = rows if self.strands == 1 else rows.map(lambda r: r + r // n * n)  # every other one
        host = np.concatenate([first.host, first.host + n])
        both = Rows(host, torch.cat([first.index, first.index + n]))
        return self.both.batch(both)._replace(pairs=True)

    def widen(self, whole: bool) -> None:
        """See `Data.widen`."""
        super().widen(whole)
        self.both.widen(whole)


def for_all(
    data: Data, strand: int, most: int, call: Callable[[Rows], Tensor]
) -> tuple[Tensor, int]:
    """Call with the rows of each evaluation batch, in smaller parts if memory runs out.

    `call` goes from B rows to values (B, ...), alike for every batch. A part has at most `most`
    rows; 0 = a whole batch.

    Returns:
        The values (N, ...) in the order of the examples, and what `most` has become: it is halved
        whenever memory runs out. Values of more than LARGE bytes are in the host's memory, others
        where `call` leaves them.

    Raises:
        RuntimeError: when `call` fails for another reason, or for a single row.
    """
    out: Tensor | None = None
    for rows in data.eval_batches(strand):
        start = 0
        while start < len(rows):
            part = rows[start : start + most] if most else rows
            try:
                values = call(part)
                if out is None:
                    out = _room(data.n, values)
                out[(part.index - strand * data.n).to(out.device)] = values.to(out.device)
                start += len(part)
            except RuntimeError as e:
                if len(part) == 1 or not ran_out(e):
                    raise
                most = math.ceil(len(part) / 2)
    assert out is not None  # a split is never empty
    return out, most


def _room(n: int, values: Tensor) -> Tensor:
    """What n rows like these fit in; in the host's memory if they are large."""
    large = n * values[0].numel() * values.element_size() > LARGE
    return torch.empty(n, *values.shape[1:], device="cpu" if large else values.device)


def ran_out(error: RuntimeError) -> bool:
    """Whether the error is that a device, or this machine, has no memory left."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY)


def per_base(values: Tensor, batch: Batch, length: int) -> Tensor:
    """From one row a token, (B, T, K), to one row a base, (B, L, K); zeros beyond a sequence's end.

    `batch` has the same B rows; its widths say how many bp each token stands for. `length` is L.
    """
    if batch.widths is None:
        if batch.mask is not None:
            values = values * batch.mask[..., None]
        return torch.nn.functional.pad(values, (0, 0, 0, length - values.shape[1]))
    token, inside = places(batch.widths, length)
    return values.gather(1, token[..., None].expand(-1, -1, values.shape[2])) * inside[..., None]


def ones(lengths: Tensor, width: int) -> Tensor:
    """A mask float32 (B, width): as many ones in each row, int64 (B,), then zeros."""
    return (torch.arange(width, device=lengths.device) < lengths[:, None]).float()


def places(widths: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The token of each base, int64 (B, L), and whether there is such a base, bool (B, L).

    `widths` (B, T) are the bp of each token, `length` is L.
    """
    ends, tokens = widths.long().cumsum(1), widths.shape[1]
    bases = torch.arange(length, device=widths.device).expand(len(widths), -1).contiguous()
    token = torch.searchsorted(ends, bases, right=True)
    return token.clamp(max=tokens - 1), token < tokens


def _stacked(arrays: Sequence[Array], fill: int) -> Tensor:
    width = max(a.shape[1] for a in arrays)
    rows = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=fill) for a in arrays]
    return torch.from_numpy(np.concatenate(rows))
