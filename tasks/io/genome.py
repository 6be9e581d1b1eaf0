"""A genome in FASTA, one sequence at a time: letter codes and soft-masked bases. L length in bp."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.tasks.io.fasta import encoded, names_of, records
from dnabench.types import Array, Sequences


class Chromosome(NamedTuple):
    """A sequence of a genome.

    names: those by which it is asked for, the first one is shown. codes: uint8 (L,). masked: bool
    (L,), True where the FASTA is in small letters, which mark repeats.
    """

    names: tuple[str, ...]
    codes: Array
    masked: Array

    def cut(self, start: Array, end: Array, reverse: Array) -> Sequences:
        """The sequences from `start` to `end`, those with `reverse` from the other strand."""
        offsets = np.concatenate([[0], np.cumsum(end - start)])
        at = np.repeat(start - offsets[:-1], end - start) + np.arange(offsets[-1])
        forward = Sequences(self.codes[at], offsets)
        turned = forward.reverse_complement()
        codes = np.where(np.repeat(reverse, end - start), turned.codes, forward.codes)
        return Sequences(codes, offsets)


def chromosomes(fasta: Path, wanted: Collection[str]) -> Iterator[Chromosome]:
    """Read the sequences that have one of the names, in the order of the file.

    Args:
        fasta: plain or gzipped.
        wanted: names as another file writes them: with or without chr, or as NCBI and SGD name
            sequences in the header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has a sequence twice, or none of the names.
    """
    seen: dict[str, int] = {}
    others: list[str] = []
    for line, header, body in records(fasta):
        aliases = names_of(header)
        names = tuple(name for name in aliases if name in wanted)
        if not names:
            others.append(aliases[0])
            continue
        for name in names:
            if name in seen:
                raise ValueError(
                    f"{fasta}:{line}: a second sequence {name}; the first is in line {seen[name]}"
                )
            seen[name] = line
        text = "".join(body)
        masked = np.frombuffer(text.encode(), np.uint8) >= ord("a")
        yield Chromosome(names, encoded(f"{fasta}:{line}", names[0], iter([text])).codes, masked)
    if not seen:
        raise ValueError(
            f"no sequence has the same name in both files: the genome {fasta} has {few(others)}, "
            f"asked for are {few(sorted(wanted))}"
        )


def few(names: Collection[str], most: int = 10) -> str:
    """Some names, comma-separated, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
