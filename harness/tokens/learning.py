"""Byte-pair tokens learned from sequences, or from FASTA files a piece at a time."""

import functools
import gzip
import importlib
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.sequences import letters_of
from dnabench.tokens.tokenizers import blocks
from dnabench.types import Array, LetterError, Sequences
from dnabench.types import N as ANY_BASE

SPECIALS = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")  # ids 0-4, as DNABERT-2 has them
WORD = 512  # bp; no token learned spans two words
SAMPLE = 1 << 24  # bp to learn from: under a minute and about 1 GB


def learned(pieces: Iterable[Array], vocabulary: int) -> Any:
    """The engine of the library `tokenizers` with these tokens; see `bpe.train_bpe`."""
    least = len(SPECIALS) + 4
    if vocabulary < least:
        raise ValueError(
            f"vocabulary={vocabulary} is too small: five special tokens and four letters make "
            f"{least}; write --set vocabulary=4096"
        )
    words = _sample(_words(pieces))
    if not words:
        raise ValueError("no tokens can be learned: no sequence has two known bases in a row")
    tokenizers = library()
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=SPECIALS[0]))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )  # fmt: skip
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=2, special_tokens=list(SPECIALS),
        initial_alphabet=list("ACGT"), show_progress=False,
    )  # fmt: skip
    engine.train_from_iterator(words, trainer)
    return engine


def _sample(words: Iterable[str]) -> list[str]:
    """All words; beyond `SAMPLE` bp every second, fourth, ... one."""
    sample, bp, stride = list[str](), 0, 1
    for i, word in enumerate(words):
        if i % stride == 0:
            sample.append(word)
            bp += len(word)
        if bp > SAMPLE:
            sample, stride = sample[::2], stride * 2
            bp = sum(map(len, sample))
    return sample


def _words(pieces: Iterable[Array]) -> Iterator[str]:
    """Runs of known bases in words of `WORD` bp; a run may continue in the next piece."""
    rest = ""
    for codes in pieces:
        *runs, rest = re.split("N+", rest + letters_of(codes))
        for run in runs:
            yield from (w for w in _cut(run) if len(w) > 1)
        whole = len(rest) // WORD * WORD
        yield from _cut(rest[:whole])
        rest = rest[whole:]
    if len(rest) > 1:
        yield rest


def _cut(run: str) -> Iterator[str]:
    return (run[i : i + WORD] for i in range(0, len(run), WORD))


def with_breaks(seqs: Sequences) -> Iterator[Array]:
    """Codes with an N after each sequence."""
    return (np.insert(codes, offsets[1:], ANY_BASE) for codes, offsets in blocks(seqs))


def fasta(path: Path) -> Iterator[Array]:
    """Codes, with an N for each header, a megabyte at a time."""
    number = 0  # of the lines before these
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as f:
            while lines := f.readlines(1 << 20):
                if not number and not lines[0].startswith(b">"):
                    raise ValueError(f"{path}:1: a FASTA file begins with '>'")
                texts = ["N" if t[:1] == b">" else t.strip().decode("latin1") for t in lines]
                yield _codes(texts, path, number)
                number += len(lines)
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise ValueError(f"{path}: the gzip file is damaged or cut off: {e}") from e
    if not number:
        raise ValueError(f"{path}: not FASTA: it is empty")


def _codes(texts: list[str], path: Path, number: int) -> Array:
    try:
        return Sequences.parse(["".join(texts)]).codes
    except LetterError as e:
        ends = np.cumsum([len(t) for t in texts])
        line = int(np.searchsorted(ends, e.position, side="right"))
        raise ValueError(
            f"{path}:{number + line + 1}: {e.letter!r} is not DNA; only A, C, G, T, U, N and the "
            "IUPAC ambiguity letters are"
        ) from e


@functools.cache
def library() -> Any:
    """The package tokenizers; ModuleNotFoundError with what to install."""
    try:
        return importlib.import_module("tokenizers")
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            "byte-pair tokens need the package tokenizers: pip install tokenizers"
        ) from e
