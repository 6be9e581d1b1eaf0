"""Blocks of a genome: sums over the bases of each, and intervals from blocks drawn again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

BLOCK = 10_000  # bp of a genome that are resampled together
DRAWS = 2_000
LEVEL = 0.99
FEWEST = 20  # blocks
TOGETHER = 50  # draws of all blocks in memory at once
ALL, SMALL, OTHER = "all", "soft-masked", "not soft-masked"


@dataclass
class Sums:
    """What a table needs of the bases that were asked for, block by block.

    Args:
        names: of what predicts: the network, then each chain.
        totals: (class, soft-masked or not, block) -> float64 (C,): of letters the bases, and of
            each name right answers and loss in nats; of words see `words.COLUMNS`.
        windows: how many were read.
        blocks: how many there are.
    """

    names: tuple[str, ...]
    totals: dict[tuple[int, bool, int], Array]
    windows: int = 0
    blocks: int = 0

    def add(self, kind: Array, small: Array, block: Array, values: Array) -> None:
        """Count bases: their class, whether soft-masked, their block, and their values."""
        key = (kind.astype(np.int64) * 2 + small) * (self.blocks + int(block.max(initial=0)) + 1)
        _, first, where = np.unique(key + block, return_index=True, return_inverse=True)
        sums = np.zeros((len(first), values.shape[1]))
        np.add.at(sums, where, values)
        for i, total in zip(first, sums, strict=True):
            at = int(kind[i]), bool(small[i]), int(block[i])
            self.totals[at] = self.totals.get(at, 0) + total

    def rows(self, kinds: Sequence[str]) -> Iterator[tuple[str, Array]]:
        """Name and values (blocks, C) of each row of a table: the kinds, soft-masked, others, all.

        Args:
            kinds: names of the classes; none = no rows of them.
        """
        keys = np.array([(kind, small, block) for kind, small, block in self.totals])
        values, soft = np.stack(list(self.totals.values())), keys[:, 1] == 1
        masks = {name: keys[:, 0] == i for i, name in enumerate(kinds)}
        masks |= {SMALL: soft, OTHER: ~soft, ALL: np.ones(len(keys), bool)}
        for name, mask in masks.items():
            if mask.any():
                yield name, _summed(keys[mask, 2], values[mask])


def blocks_of(genome: Genome, contigs: Sequence[int]) -> int:
    """How many blocks sequences have."""
    return sum(-(-int(genome.lengths[i]) // BLOCK) for i in contigs)


def _summed(block: Array, values: Array) -> Array:
    """The sums of values (S, C) over each block that there is."""
    _, where = np.unique(block, return_inverse=True)
    out = np.zeros((int(where.max()) + 1, values.shape[1]))
    np.add.at(out, where, values)
    return out


def ratio_intervals(by_block: Array, seed: int) -> list[list[float] | None]:
    """99 % intervals of the sums of all columns but the first, each over the sum of the first.

    Args:
        by_block: (blocks, C); blocks are drawn again. Fewer than 20 give no interval.
        seed: of what is drawn.
    """
    n, columns = len(by_block), by_block.shape[1] - 1
    if n < FEWEST:
        return [None] * columns
    rng, found = np.random.default_rng(seed), np.empty((DRAWS, columns))
    for a in range(0, DRAWS, TOGETHER):
        size = min(TOGETHER, DRAWS - a)
        drawn = rng.multinomial(n, np.full(n, 1 / n), size) @ by_block
        found[a : a + size] = drawn[:, 1:] / drawn[:, :1]
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
