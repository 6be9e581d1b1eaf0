"""The sequences that trials with different seeds share, however each divides them.

N sequences, M different ones.
"""

import functools
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dnabench.tokens.tokenizers import Encoded, Padding, Tokenizer
from dnabench.train.kept import Arrays, kept
from dnabench.types import Array, Sequences

LARGEST = 2**27  # bp of a pool whose tokens are stored; encoding it takes less than 2 GB


class Pool:
    """The distinct ones among `parts`, in an order that does not depend on theirs.

    Training and validation examples make the same pool for every seed, so what is computed for one
    seed serves all. With `both`, the reverse complement of each is in it as a sequence of its own.
    """

    def __init__(self, parts: Sequence[Sequences], both: bool = False) -> None:
        self._own, self._both = parts, both

    @property
    def bp(self) -> int:
        """The length of all its parts, and of their other strands if `both`."""
        return sum(len(s.codes) for s in self._own) * (1 + self._both)

    @functools.cached_property
    def _parts(self) -> list[Sequences]:
        others = [s.reverse_complement() for s in self._own] if self._both else []
        return [*self._own, *others]

    @functools.cached_property
    def _first(self) -> tuple[Array, Array]:
        """Digests of the distinct ones, sorted, and the first place of each among all."""
        every = [np.empty(0, "S16"), *(_digests(s) for s in self._parts)]
        return np.unique(np.concatenate(every), return_index=True)

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
        """32 hex digits, the same for pools of the same sequences."""
        return hashlib.sha256(self._first[0].tobytes()).hexdigest()[:32]

    def rows(self, seqs: Sequences) -> Array | None:
        """The place of each of N sequences: int64 (N,), or None when one is not in the pool."""
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
            return {"ids": e.ids, "lengths": e.tokens}

        def widths() -> Array:
            bp = tokenizer(seqs, length, padding).widths
            assert bp is not None  # byte-pair tokens are of several bp
            return bp

        key = of.digest, length, padding
        if key not in last:
            last.clear()
            made = [tokenizer.name, made_from, *map(str, key)]
            last[key] = kept("encoded", made, make, code=["dnabench.tokens", __name__])
        found = last[key]
        lengths = found["lengths"][rows]
        longest = int(lengths.max(initial=0))
        full = bool((lengths == longest).all())
        return Encoded(found["ids"][rows, :longest], None if full else lengths, widths)

    return replace(tokenizer, encode=encode, uncached=tokenizer)


def _digests(seqs: Sequences) -> Array:
    """bytes16 (N,)."""
    codes = memoryview(np.ascontiguousarray(seqs.codes).data)
    bounds = itertools.pairwise(seqs.offsets.tolist())
    return np.array(
        [hashlib.blake2b(codes[a:b], digest_size=16).digest() for a, b in bounds], "S16"
    )
