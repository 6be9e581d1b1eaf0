"""Genomes whose bases are shuffled so that each pair of neighbours is as frequent as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnabench.cache import replacing
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N, Progress

LETTERS = np.frombuffer(b"ACGTN", np.uint8)
SMALL = 32  # between a capital letter and a small one
WIDTH = 80  # letters a line


def shuffled(codes: Array, rng: np.random.Generator) -> Array:
    """A random sequence with the same first and last letter and the same dinucleotides.

    Every such sequence is equally likely: the letters of a sequence are a path over the edges
    letter -> next letter, and all such paths are drawn alike.

    Args:
        codes: uint8 (L,).
        rng: what is random.

    Returns:
        uint8 (L,).

    Source:
        Altschul and Erickson 1985, Mol. Biol. Evol. 2:526; the last edges by the loop-erased walk
        of Wilson 1996, STOC.
    """
    if len(codes) < 3:
        return codes.copy()
    first, last, size = int(codes[0]), int(codes[-1]), int(codes.max()) + 1
    edges = [codes[1:][codes[:-1] == letter] for letter in range(size)]
    final = _last_edges(edges, last, rng)
    ways = []
    for letter, own in enumerate(edges):
        rest = own
        if letter in final:  # one edge of that kind is kept for the end
            rest = np.delete(own, np.flatnonzero(own == final[letter])[0])
        end = [final[letter]] if letter in final else []
        ways.append(iter(rng.permutation(rest).tobytes() + bytes(end)).__next__)
    at, out = first, bytearray([first])  # a byte a letter, so that a chromosome fits
    for _ in range(len(codes) - 1):
        at = ways[at]()
        out.append(at)
    return np.frombuffer(out, np.uint8)


def _last_edges(edges: list[Array], last: int, rng: np.random.Generator) -> dict[int, int]:
    """The edge that leaves each letter last, so that all lead to the last letter."""
    final, done = dict[int, int](), {last}
    for letter, own in enumerate(edges):
        path, at = dict[int, int](), letter
        while len(own) and at not in done:
            path[at] = int(rng.choice(edges[at]))  # a loop is overwritten on the second visit
            at = path[at]
        at = letter
        while at in path and at not in done:
            final[at] = path[at]
            done.add(at)
            at = path[at]
    return final


def runs_of(codes: Array) -> Array:
    """int64 (R, 2), where each run of letters that are not N begins, and its end."""
    known = np.concatenate([[False], codes != N, [False]])
    return np.flatnonzero(known[1:] != known[:-1]).reshape(-1, 2)


def shuffled_parts(codes: Array, rng: np.random.Generator) -> Array:
    """As `shuffled`, each run between two N on its own; N stay where they are."""
    out = codes.copy()
    for a, b in runs_of(codes):
        out[a:b] = shuffled(codes[a:b], rng)
    return out


def shuffled_genome(
    genome: Genome, seed: int, path: Path, progress: Progress = lambda done, total: None
) -> Path:  # fmt: skip
    """Write a genome with its dinucleotides shuffled; a file that is there stays.

    Between two N everything is shuffled on its own, so N stay where they are, as do sequences,
    their lengths, and which places are soft-masked.

    Args:
        genome: packed.
        seed: of the shuffle.
        path: FASTA file to write.
        progress: called with the bp done, and all, after each sequence.
    """
    if path.is_file():
        return path
    rng, done = np.random.default_rng(seed), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        for name, start, length in zip(genome.contigs, genome.starts, genome.lengths, strict=True):
            codes, small = genome.windows(np.array([start]), int(length))
            letters = LETTERS[shuffled_parts(codes[0], rng)] + small[0] * np.uint8(SMALL)
            file.write(f">{name}\n".encode())
            file.write(_lines(letters))
            done += int(length)
            progress(done, genome.bp)
    return path


def _lines(letters: Array) -> bytes:
    """Lines of WIDTH letters, each with its end."""
    whole = len(letters) // WIDTH * WIDTH
    rows = letters[:whole].reshape(-1, WIDTH)
    full = np.concatenate([rows, np.full((len(rows), 1), ord("\n"), np.uint8)], 1).tobytes()
    rest = letters[whole:].tobytes()
    return full + (rest + b"\n" if rest else b"")
