"""The sequences that trials of several seeds share, whichever of them each one trains on.

N sequences, M different ones.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dnabench.tokens.tokenizers import Encoded, Padding, Tokenizer
from dnabench.train.kept import Arrays, kept
from dnabench.types import Array, Sequences

LARGEST = 2**27  # bp of a pool whose tokens are kept: what is needed on the way stays below 2 GB


class Pool:
    """The different ones among some sequences, in an order that does not depend on theirs.

    Training and validation examples of any seed are the same pool, so what is made of it for one
    seed serves all.

    Args:
        parts: the sequences; a strand is a sequence of its own.
        both: whether the other strand of each is in it too.
    """

    def __init__(self, parts: Sequence[Sequences], both: bool = False) -> None:
        self._own, self._both = parts, both

    @property
    def bp(self) -> int:
        """Of all the sequences that it was made of, both strands where it has them."""
        return sum(len(s.codes) for s in self._own) * (1 + self._both)

    @functools.cached_property
    def _parts(self) -> list[Sequences]:
        others = [s.reverse_complement() for s in self._own] if self._both else []
        return [*self._own, *others]

    @functools.cached_property
    def _first(self) -> tuple[Array, Array]:
        """Digests of the different ones, sorted, and where each is first among all."""
        none = np.empty(0, "S16")
        every = np.concatenate([none, *(_digests(s) for s in self._parts)])
        return np.unique(every, return_index=True)

    @functools.cached_property
    def seqs(self) -> Sequences:
        """The M sequences."""
        rows: list[Array] = []
        for part in self._parts:
            rows += [part.codes[a:b] for a, b in itertools.pairwise(part.offsets.tolist())]
        chosen = [rows[i] for i in self._first[1]]
        offsets = np.cumsum([0, *map(len, chosen)], dtype=np.int64)
        return Sequences(np.concatenate(chosen), offsets)

    @functools.cached_property
    def digest(self) -> str:
        """32 hex; pools of the same sequences have the same."""
        return hashlib.sha256(self._first[0].tobytes()).hexdigest()[:32]

    def rows(self, seqs: Sequences) -> Array | None:
        """Where each of N sequences is: int64 (N,), or None when one is not here."""
        known, wanted = self._first[0], _digests(seqs)
        if not len(known):
            return None
        rows = np.searchsorted(known, wanted).clip(max=len(known) - 1)
        return rows if bool((known[rows] == wanted).all()) else None


def find_rows(pool: Pool, seqs: Sequence[Sequences]) -> tuple[Pool, list[Array]]:
    """Where each of these is in the pool, or in a new pool of them if one is not in it."""
    for one in (pool, Pool(seqs)):
        rows = [one.rows(s) for s in seqs]
        found = [r for r in rows if r is not None]
        if len(found) == len(seqs):
            return one, found
    raise AssertionError("a pool has the sequences it was made of")


def cached_tokenizer(tokenizer: Tokenizer, made_from: str, pool: Pool) -> Tokenizer:
    """The same tokenizer; its ids are stored in the cache folder, the last pool's in memory.

    Args:
        tokenizer: encodes each sequence independently.
        made_from: decides its ids, with the sequences.
        pool: encoded whole when one of its sequences is asked for. For a pool of more than LARGEST
            bp the tokenizer is returned unchanged.
    """
    if pool.bp > LARGEST:
        return tokenizer
    last: dict[tuple[str, int, Padding], Arrays] = {}

    def encode(seqs: Sequences, length: int, padding: Padding) -> Encoded:
        of, (rows,) = find_rows(pool, [seqs])

        def make() -> dict[str, Array]:
            e = tokenizer(of.seqs, length, padding)
            full = np.full(len(e.ids), e.ids.shape[1], np.int64)
            return {"ids": e.ids, "lengths": full if e.lengths is None else e.lengths}

        def widths() -> Array:
            bp = tokenizer(seqs, length, padding).widths
            assert bp is not None  # a token of a byte-pair tokenizer is of several bp
            return bp

        key = of.digest, length, padding
        if key not in last:
            last.clear()
            made = [tokenizer.name, made_from, *map(str, key)]
            last[key] = kept("encoded", made, make, code=["dnabench.tokens", __name__])
        found = last[key]
        lengths = found["lengths"][rows]
        longest = int(lengths.max(initial=0))
        return Encoded(
            found["ids"][rows, :longest], None if (lengths == longest).all() else lengths,
            widths,
        )  # fmt: skip

    return replace(tokenizer, encode=encode)


def _digests(seqs: Sequences) -> Array:
    """bytes16 (N,)."""
    codes = memoryview(np.ascontiguousarray(seqs.codes).data)
    bounds = itertools.pairwise(seqs.offsets.tolist())
    return np.array(
        [hashlib.blake2b(codes[a:b], digest_size=16).digest() for a, b in bounds], "S16"
    )
