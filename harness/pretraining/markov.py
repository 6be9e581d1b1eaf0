"""Markov chains fitted on a genome.

B windows, L bp, k bases of context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N

CHUNK = 1 << 22  # bp counted at a time
ORDERS = tuple(range(12))  # 0 = the frequencies of the bases


@dataclass(frozen=True)
class Markov:
    """A chain that predicts a base from the k before it.

    Args:
        order: k.
        logs: float32 (4^k, 4), log probabilities in nats of A, C, G and T.
        plain: float32 (4,), those of order 0.
    """

    order: int
    logs: Array
    plain: Array

    def predict(self, codes: Array) -> Array:
        """float32 (B, L, 4), log probabilities of each base from those before it.

        The first k bases of a window, and those behind an N, have no context: they get the
        frequencies of the bases.
        """
        context, known = contexts(codes, self.order)
        out = np.broadcast_to(self.plain, (*codes.shape, 4)).copy()
        out[known] = self.logs[context[known]]
        return out


def fit(genome: Genome, contigs: Sequence[int], orders: Sequence[int] = ORDERS) -> list[Markov]:
    """Chains of several orders from the k + 1-mers of sequences and their reverse complements.

    Args:
        genome: packed.
        contigs: numbers of the sequences that are counted.
        orders: ascending.

    Returns:
        One for each order, with one added to every count.
    """
    longest = max(orders) + 1
    counts = np.zeros(4**longest, np.int64)
    for codes, _ in pieces(genome, contigs, longest):
        mers, whole = mers_in(codes, longest)
        np.add.at(counts, *np.unique(mers[whole], return_counts=True))
    counts += counts[_opposite(longest)]  # the other strand
    alone = counts.reshape(-1, 4).sum(0) + 1.0
    plain = np.log(alone / alone.sum()).astype(np.float32)
    out = []
    for order in orders:
        size = order + 1
        of = counts.reshape(4 ** (longest - size), -1).sum(0) + 1.0  # by the last k + 1 bases
        table = of.reshape(4**order, 4)
        logs = np.log(table / table.sum(1, keepdims=True))
        out.append(Markov(order, logs.astype(np.float32), plain))
    return out


def pieces(
    genome: Genome, contigs: Sequence[int], width: int,
    kinds: Callable[[int], Array] | None = None,
) -> Iterator[tuple[Array, Array]]:  # fmt: skip
    """The sequences in pieces of about CHUNK bp, short ones together with an N between.

    Args:
        genome: packed.
        contigs: numbers of the sequences.
        width: pieces of a sequence overlap so that each k-mer of this width is in one of them.
        kinds: number of a sequence -> uint8 (bp,), a number for each of its bases.

    Returns:
        uint8 (S,) codes, and uint8 (S,) of kinds, 0 without `kinds` and at the N between.
    """
    held, known, waiting = list[Array](), list[Array](), 0
    for i in contigs:
        start, length = int(genome.starts[i]), int(genome.lengths[i])
        own = kinds(i) if kinds else np.zeros(length, np.uint8)
        for a in range(0, length - width + 1, CHUNK):
            size = min(CHUNK + width - 1, length - a)
            held += [genome.windows(np.array([start + a]), size)[0][0], np.array([N], np.uint8)]
            known += [own[a : a + size], np.zeros(1, np.uint8)]
            waiting += size
            if waiting >= CHUNK:
                yield np.concatenate(held), np.concatenate(known)
                held, known, waiting = [], [], 0
    if held:
        yield np.concatenate(held), np.concatenate(known)


def mers_in(codes: Array, width: int) -> tuple[Array, Array]:
    """int64 (S - k + 1,), k-mers as numbers, the first base highest; and bool, which have no N."""
    value = np.zeros(len(codes) - width + 1, np.int64)
    for j in range(width):
        value = value * 4 + (codes[j : len(codes) - width + 1 + j] & 3)
    n = np.concatenate([[0], np.cumsum(codes == N)])
    return value, n[width:] == n[:-width]


def _opposite(width: int) -> Array:
    """Of every k-mer the number of its reverse complement."""
    mers, out = np.arange(4**width), np.zeros(4**width, np.int64)
    for _ in range(width):
        out = out * 4 + (3 - mers % 4)
        mers //= 4
    return out


def contexts(codes: Array, order: int) -> tuple[Array, Array]:
    """int64 (B, L), the k bases before each place as a number, and which places have them."""
    context = np.zeros(codes.shape, np.int64)
    known = np.ones(codes.shape, bool)
    for j in range(order, 0, -1):
        before = np.full(codes.shape, N, np.uint8)
        before[:, j:] = codes[:, :-j]
        context = context * 4 + (before & 3)
        known &= before != N
    return context, known
