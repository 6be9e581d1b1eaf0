"""Where a sequence lies on a genome, as its name says: positions of a table or a browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.types import Array

_PLACE = re.compile(r"(?:\S*::)?(\S+?):(\d[\d,]*)-(\d[\d,]*)(\([+-]\)|:[+-])?")


class Place(NamedTuple):
    """Where a sequence lies: position of its first base, from 0, and the strand it is read on."""

    chromosome: str
    first: int
    strand: str  # + or -


def place_of(name: str, length: int) -> Place:
    """From a name such as `chr1:100-300(-)`; of any other name, the sequence itself.

    Both ways of counting are known by the length: from 0 without the end (bedtools), and from 1
    with it (samtools).
    """
    found = _PLACE.fullmatch(name)
    if found is None:
        return Place(name, 0, "+")
    start, end = (int(found[i].replace(",", "")) for i in (2, 3))
    if end - start + 1 == length:
        start -= 1
    if end - start != length:
        return Place(name, 0, "+")
    strand = "-" if found[4] and "-" in found[4] else "+"
    return Place(found[1], start if strand == "+" else end - 1, strand)


def positions(place: Place, where: Array) -> Array:
    """On the chromosome, of bases of the sequence."""
    return np.asarray(place.first + where * (1 if place.strand == "+" else -1))


def placed(place: Place, start: int, end: int) -> tuple[int, int]:
    """First base and end of a stretch with the positions that `positions` gives, in their order."""
    ends = positions(place, np.array([start, end - 1]))
    return int(ends.min()), int(ends.max()) + 1


def counted(places: Sequence[Place], names: Sequence[str]) -> str:
    """How positions of sequences are to be read, in words."""
    known = {place.chromosome != name for place, name in zip(places, names, strict=True)}
    at = {True: "on the chromosome", False: "in the sequence"}
    either = f"{at[True]} where the name of a sequence says where it lies, else {at[False]}"
    where = at[known == {True}] if len(known) < 2 else either
    return f"positions as in the files: from 0, the end excluded, {where}"
