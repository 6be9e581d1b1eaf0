"""DNA sequences as arrays of letter codes. Imports nothing from dnabench.

N sequences, L length in bp.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
A, C, G, T, N, PAD, CLS, SEP = range(8)  # codes of letters; the last three only in batches
MASK = 8  # a hidden letter, in batches of a language-model objective only
_CODES = np.full(256, 255, np.uint8)
_CODES[list(b"ACGTNacgtnUu")] = [A, C, G, T, N, A, C, G, T, N, T, T]
_CODES[list(b"RYSWKMBDHVryswkmbdhv")] = N + 10  # IUPAC, ambiguous: becomes N and is counted
_LETTERS = np.frombuffer(b"ACGTN", np.uint8)
_COMPLEMENT = np.array([T, G, C, A, N], np.uint8)


def letters_of(codes: Array) -> str:
    """The text that these codes of A, C, G, T and N stand for."""
    return _LETTERS[codes].tobytes().decode()


class LetterError(ValueError):
    """A letter outside the IUPAC alphabet, at `position` (from 0) of sequence `index`."""

    def __init__(self, letter: str, index: int, position: int) -> None:
        self.letter, self.index, self.position = letter, index, position
        super().__init__(
            f"sequence {index} has {letter!r} at position {position} (from 0); "
            "only A, C, G, T, U, N and the IUPAC ambiguity letters are DNA"
        )


class Sequences:
    """N DNA sequences as one flat array of codes A0 C1 G2 T3 N4, plus strand, 5' to 3'.

    Args:
        codes: uint8 (total bp,), all sequences one after the other.
        offsets: int64 (N + 1,); sequence i is `codes[offsets[i]:offsets[i + 1]]`.
        ambiguous: int64 (N,), how many letters of each were IUPAC ambiguity codes and became N;
            none when left out.
    """

    def __init__(self, codes: Array, offsets: Array, ambiguous: Array | None = None) -> None:
        self.codes, self.offsets = codes, offsets
        self.ambiguous = np.zeros(len(self), np.int64) if ambiguous is None else ambiguous

    @classmethod
    def parse(cls, seqs: Iterable[str]) -> Sequences:
        """Encode strings. Case is ignored, U reads as T, IUPAC ambiguity letters become N.

        LetterError at the first letter that is none of these; ValueError for one bare string.
        """
        if isinstance(seqs, str):
            raise ValueError(
                f"{seqs[:40]!r} is one string, of which every letter would be a sequence: put it "
                "in a list, or write pathlib.Path(...) if it names a file"
            )
        texts = [s.encode("utf-8") for s in seqs]
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in texts], dtype=np.int64)])
        codes = _CODES[np.frombuffer(b"".join(texts), np.uint8)]
        if (codes == 255).any():
            first = int(np.argmax(codes == 255))
            index = int(np.searchsorted(offsets, first, side="right")) - 1
            text = texts[index].decode("utf-8")
            position = len(texts[index][: first - int(offsets[index])].decode("utf-8"))
            raise LetterError(text[position], index, position)
        at = np.flatnonzero(codes > N)
        codes[at] = N
        owner = np.searchsorted(offsets, at, side="right") - 1
        return cls(codes, offsets, np.bincount(owner, minlength=len(texts)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return letters_of(self.codes[self.offsets[i] : self.offsets[i + 1]])

    @property
    def n_ambiguous(self) -> int:
        """Letters of all sequences that were IUPAC ambiguity codes and became N."""
        return int(self.ambiguous.sum())

    @property
    def lengths(self) -> Array:
        """int64 (N,), bp."""
        return np.diff(self.offsets)

    def take(self, index: Array) -> Sequences:
        """Those rows, in that order."""
        return self._parts(self.offsets[:-1][index], self.lengths[index], self.ambiguous[index])

    def head(self, most: int) -> Sequences:
        """The first `most` bp of every sequence."""
        return self._parts(self.offsets[:-1], self.lengths.clip(max=most), self.ambiguous)

    def _parts(self, starts: Array, lengths: Array, ambiguous: Array) -> Sequences:
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        source = np.repeat(starts - offsets[:-1], lengths)
        return Sequences(self.codes[source + np.arange(offsets[-1])], offsets, ambiguous)

    def reverse_complement(self) -> Sequences:
        """Every sequence read from the other strand, 5' to 3'."""
        ends = np.repeat(self.offsets[:-1] + self.offsets[1:] - 1, self.lengths)
        source = ends - np.arange(len(self.codes))
        return Sequences(_COMPLEMENT[self.codes[source]], self.offsets, self.ambiguous)

    def padded(
        self, length: int, fill: int = PAD, side: Literal["left", "right"] = "right"
    ) -> Array:
        """One row a sequence, uint8 (N, length), the rest of each row filled with `fill`.

        ValueError when a sequence is longer than `length`.
        """
        longest = int(self.lengths.max(initial=0))
        if longest > length:
            raise ValueError(f"a sequence has {longest} bp, more than the {length} asked for")
        out = np.full((len(self), length), fill, np.uint8)
        column = np.arange(length)
        inside = column < self.lengths[:, None]
        out[inside if side == "right" else inside[:, ::-1]] = self.codes
        return out
