"""FASTA files, one record at a time, and the names of records in other files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dnabench.tasks.io.lines import lines_of
from dnabench.types import LetterError, Sequences

_CHROMOSOME = re.compile(r"\[(?:chromosome|location)=([^\]]+)\]")
_NCBI_CHROMOSOME = re.compile(r"\bchromosome (\w+),")  # a scaffold of it has other words there


def records(path: Path) -> Iterator[tuple[int, str, Iterator[str]]]:
    """(line, header, lines of sequence) of every FASTA record; read the lines before the next."""
    source = lines_of(path)
    held = next(((n, text) for n, text in source if text.strip()), None)
    while held is not None:
        line, header = held
        if not header.startswith(">") or not header[1:].strip():
            raise ValueError(
                f"{path}:{line}: a FASTA record begins with '>name', not {header[:30]!r}"
            )
        ahead: list[tuple[int, str]] = []

        def body(ahead: list[tuple[int, str]] = ahead) -> Iterator[str]:
            for n, text in source:
                if text.startswith(">"):
                    ahead.append((n, text))
                    return
                yield text.strip()

        rest = body()
        yield line, header[1:].strip(), rest
        for _ in rest:  # what the caller left unread
            pass
        held = ahead[0] if ahead else None


def encoded(place: str, name: str, body: Iterator[str]) -> Sequences:
    """One record as one sequence; `place` begins an error message.

    Raises:
        ValueError: a letter that is not IUPAC.
    """
    try:
        return Sequences.parse(["".join(body)])
    except LetterError as e:
        raise ValueError(
            f"{place}: sequence {name} has {e.letter!r} at position {e.position + 1} (from 1); "
            "only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        ) from None


def names_of(header: str) -> list[str]:
    """Possible names of a FASTA record in an annotation, the usual one first.

    The first word; its parts between bars (NCBI); with and without the prefix chr; the chromosome
    or location in brackets (SGD); N of "chromosome N," (NCBI), not of a scaffold of N.
    """
    first = header.split()[0]
    names = [first, *(part for part in first.split("|")[1:] if part)]
    names += _CHROMOSOME.findall(header) + _NCBI_CHROMOSOME.findall(header)[:1]
    names += [n[3:] if n.lower().startswith("chr") else f"chr{n}" for n in list(names)]
    return list(dict.fromkeys(names))
