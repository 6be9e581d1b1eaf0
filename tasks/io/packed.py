"""Genomes on disk, half a byte a base: windows are read without loading a chromosome.

B windows, L length in bp of each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnabench.cache import (
    cache_folder,
    exclusive,
    file_sha256,
    made_folder,
    read_json,
    replacing,
)
from dnabench.tasks.io.fasta import names_of, records
from dnabench.tasks.io.genome import few
from dnabench.types import Array, LetterError, N, Progress, Sequences

SCHEMA = "dnabench.genome/1"
SMALL = 8  # bit of a soft-masked base; the others are its letter code, A0 C1 G2 T3 N4
CHUNK = 1 << 22  # bp packed at a time
LETTERS, ABOUT, LOCK = "letters.bin", "genome.json", ".packing.lock"


@dataclass(frozen=True)
class Genome:
    """A packed FASTA file.

    Args:
        folder: with letters.bin, two bases a byte, the first in the lower half, a sequence
            beginning at a byte; and genome.json.
        name: of the file.
        sha256: of its bytes as they are on disk.
        contigs: names of its sequences, as an annotation would have them.
        aliases: other names of each.
        lengths: int64, bp of each.
        small: bp in small letters, which mark repeats.
    """

    folder: Path
    name: str
    sha256: str
    contigs: tuple[str, ...]
    aliases: tuple[tuple[str, ...], ...]
    lengths: Array
    small: int

    @cached_property
    def starts(self) -> Array:
        """int64, where each sequence begins, in bp of the packed file."""
        even = self.lengths + self.lengths % 2
        return np.asarray(np.cumsum(even) - even)

    @cached_property
    def bytes(self) -> Any:
        """uint8, the packed bases, memory-mapped."""
        return np.memmap(self.folder / LETTERS, np.uint8, mode="r")

    @property
    def others(self) -> dict[str, tuple[str, ...]]:
        """Other names of each sequence."""
        return dict(zip(self.contigs, self.aliases, strict=True))

    @property
    def bp(self) -> int:
        """Of all sequences."""
        return int(self.lengths.sum())

    @cached_property
    def _numbers(self) -> dict[str, list[int]]:
        """The sequences that each alias names."""
        found: dict[str, list[int]] = {}
        for i, names in enumerate(self.aliases):
            for name in names:
                found.setdefault(name, []).append(i)
        return found

    @cached_property
    def _exact(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.contigs)}

    def number(self, name: str) -> int:
        """The number of a sequence, from 0: by its name, or by an alias of it alone.

        Raises:
            ValueError: there is none, or several have the alias; the message names some.
        """
        found = [self._exact[name]] if name in self._exact else self._numbers.get(name, [])
        if len(found) > 1:
            listed = few([self.contigs[i] for i in found])
            raise ValueError(f"{self.name}: {name!r} may be any of {listed}; write one of these")
        if not found:
            raise ValueError(f"{self.name} has no sequence {name!r}; it has {few(self.contigs)}")
        return found[0]

    def numbers(self, names: Array) -> Array:
        """int64 (N,), of N sequences by their names; ValueError as `number`."""
        known = {name: self.number(name) for name in dict.fromkeys(names.tolist())}
        return np.array([known[name] for name in names.tolist()])

    def windows(self, at: Array, length: int) -> tuple[Array, Array]:
        """Letter codes and soft-masked bases of windows that lie inside a sequence each.

        Args:
            at: int64 (B,), where they begin, counted as `starts`.
            length: L.

        Returns:
            uint8 (B, L) codes; bool (B, L), True in small letters.
        """
        pairs = (length + 3) // 2  # bytes that hold L bases from either half of the first
        first = at[:, None] // 2 + np.arange(pairs)
        packed = self.bytes[np.minimum(first, len(self.bytes) - 1)]
        bases = np.empty((len(at), 2 * pairs), np.uint8)
        bases[:, ::2], bases[:, 1::2] = packed & 15, packed >> 4
        odd = at % 2 == 1
        out = np.where(odd[:, None], bases[:, 1 : length + 1], bases[:, :length])
        return out & 7, out >= SMALL

    def around(self, contigs: Array, at: Array, length: int) -> Array:
        """Letter codes of windows that may begin before a sequence or end behind it: N is there.

        Args:
            contigs: int64 (B,), numbers of the sequences.
            at: int64 (B,), where they begin, from 0 in the sequence.
            length: L.

        Returns:
            uint8 (B, L).
        """
        place = at[:, None] + np.arange(length)
        inside = (place >= 0) & (place < self.lengths[contigs][:, None])
        known = np.where(inside, self.starts[contigs][:, None] + place, 0)
        found = self.bytes[known // 2] >> (known % 2 * 4).astype(np.uint8)
        return np.where(inside, found & 7, np.uint8(N))


def packed(fasta: Path, progress: Progress = lambda done, total: None) -> Genome:
    """Pack a FASTA file, plain or gzipped, into the cache, or take what is there.

    `progress` is called with the bp done; the second number is the size of the file in bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has a name twice, a letter that is not DNA, or no bases.
        OSError: when the cache cannot be written.
    """
    fasta = Path(fasta)
    if not fasta.is_file():
        raise FileNotFoundError(f"{fasta}: no such file")
    sha = file_sha256(fasta)
    folder = made_folder("genomes") / sha[:32]
    if not (folder / ABOUT).is_file():
        folder.mkdir(exist_ok=True)
        with exclusive(folder / LOCK, lambda: None, required=False):
            if not (folder / ABOUT).is_file():  # another process may have packed it meanwhile
                _pack(fasta, sha, folder, progress)
    return _read(folder, fasta.name)


def stored(sha256: str) -> Genome | None:
    """A genome that was packed before; None if it is not in the cache."""
    folder = cache_folder() / "genomes" / sha256[:32]
    return _read(folder, sha256[:8]) if (folder / ABOUT).is_file() else None


def _read(folder: Path, name: str) -> Genome:
    said = read_json(folder / ABOUT)
    size = (folder / LETTERS).stat().st_size if (folder / LETTERS).is_file() else -1
    if not isinstance(said, dict) or said.get("schema") != SCHEMA or said["bytes"] != size:
        raise ValueError(f"{folder} is damaged; delete this folder, the genome is packed again")
    lengths = np.array(said["lengths"], np.int64)
    aliases = tuple(map(tuple, said["aliases"]))
    return Genome(
        folder, name, said["sha256"], tuple(said["contigs"]), aliases, lengths, said["small"]
    )


def _pack(fasta: Path, sha: str, folder: Path, progress: Progress) -> None:
    contigs, aliases = dict[str, int](), dict[str, list[str]]()
    total, small, size, bp = fasta.stat().st_size, 0, 0, 0
    with replacing(folder / LETTERS) as file:
        for line, header, body in records(fasta):
            name, *others = names_of(header)
            if name in contigs:
                raise ValueError(f"{fasta}:{line}: a second sequence is called {name}")
            contigs[name], aliases[name] = 0, others
            for bases in _bases(body, f"{fasta}:{line}", name):
                contigs[name] += len(bases)
                small += int((bases >= SMALL).sum())
                size += _write(file, bases)
                bp += len(bases)
                progress(bp, total)
    if not bp:
        raise ValueError(f"{fasta} has no bases")
    about = {
        "schema": SCHEMA, "sha256": sha, "contigs": list(contigs), "bytes": size,
        "lengths": list(contigs.values()), "small": small, "aliases": list(aliases.values()),
    }  # fmt: skip
    with replacing(folder / ABOUT) as out:
        out.write(json.dumps(about).encode())


def _write(file: IO[bytes], bases: Array) -> int:
    """Two bases a byte; of an odd number, which only the last of a sequence may be, N fills."""
    if len(bases) % 2:
        bases = np.append(bases, np.uint8(N))
    return file.write((bases[::2] | bases[1::2] << 4).astype(np.uint8).tobytes())


def _bases(body: Iterator[str], place: str, name: str) -> Iterator[Array]:
    """The bases of a record, an even number at a time but for the last."""
    held: list[str] = []
    waiting = done = 0
    for text in body:
        held.append(text)
        waiting += len(text)
        if waiting >= CHUNK:
            joined = "".join(held)
            cut = waiting - waiting % 2
            yield _coded(joined[:cut], place, name, done)
            done, held, waiting = done + cut, [joined[cut:]], waiting - cut
    if waiting:
        yield _coded("".join(held), place, name, done)


def _coded(text: str, place: str, name: str, done: int) -> Array:
    try:
        codes = Sequences.parse([text]).codes
    except LetterError as e:
        raise ValueError(
            f"{place}: sequence {name} has {e.letter!r} at position {done + e.position + 1} (from "
            "1); only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None
    small = np.frombuffer(text.encode(), np.uint8) >= ord("a")
    return codes | np.where(small, np.uint8(SMALL), np.uint8(0))
