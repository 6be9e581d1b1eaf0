"""Which bases of a genome have no label, and why. L length in bp."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from dnabench.tasks.io.annotation import Annotation, Interval
from dnabench.types import IGNORED, Array, N

SHORTEST_INTRON = 20  # bp; a shorter gap between exons is a frameshift, not an intron
UNKNOWN, GAP = "N", f"gaps below {SHORTEST_INTRON} bp between exons"
UNCLEAR = "two genes that differ, or outside the first and last feature"


@dataclass
class Account:
    """Bases without a label, over all sequences of a genome that are used.

    left_out: reason -> genes that are masked as a whole. masked: reason -> places and bases; a base
    with several reasons counts for the first of them.
    """

    left_out: dict[str, list[str]] = field(default_factory=dict)
    masked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, y: Array, codes: Array, annotation: Annotation, name: str) -> None:
        """Count those of a sequence.

        Args:
            y: int8 (L,), IGNORED where there is no label.
            codes: uint8 (L,), its letters.
            annotation: of the genome.
            name: of the sequence in the annotation.
        """
        left = y == IGNORED
        for why, (start, end) in _places(annotation, name):
            n = int(left[start:end].sum())
            left[start:end] = False
            if n:
                self._count(why, 1, n)
        unknown = left & (codes == N)
        self._count(UNKNOWN, 0, int(unknown.sum()))
        self._count(UNCLEAR, 0, int((left & ~unknown).sum()))

    def _count(self, why: str, places: int, bases: int) -> None:
        known = self.masked.get(why, (0, 0))
        if bases:
            self.masked[why] = known[0] + places, known[1] + bases


def _places(annotation: Annotation, name: str) -> Iterator[tuple[str, Interval]]:
    """(reason, place) of what the annotation masks, and of what is too short to be an intron."""
    reasons = annotation.why.get(name, ())
    yield from zip(reasons, annotation.masked.get(name, ()), strict=True)
    for gene in annotation.genes.get(name, ()):
        for (_, start), (end, _) in pairwise(gene.exons):
            if end - start < SHORTEST_INTRON:
                yield GAP, (start, end)
