"""Related sequences of a user's data: groups that stay together, and copies across a split.

N rows of all tables.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from dnabench.cache import cache_folder, replacing
from dnabench.tasks.audit.align import Likeness
from dnabench.tasks.audit.copies import BITS
from dnabench.tasks.audit.links import Links, Places, links
from dnabench.types import Array, OwnData, Sequences

WORTH_KEEPING = 10.0  # seconds of CPU; a search that takes longer is kept in the cache
VERSION = "1"  # of the search: in data ids of what it cuts, and in names in the cache


class Related(NamedTuple):
    """groups: int64 (N,), or None where nothing was looked for. held: uint8 (N,), as in `Links`.

    by: what the members of a group share, in a word. how: the same in full. unsearched: why near
    copies were not looked for.
    """

    groups: Array | None
    held: Array
    by: str = ""
    how: str = ""
    unsearched: str = ""

    def said(self, names: Array, drawn: bool) -> list[str]:
        """What to tell the user: the largest group, and copies of test examples elsewhere.

        Args:
            names: (N,) the split of each row.
            drawn: whether dnabench drew the test split after `held` was found.
        """
        if self.groups is None:
            return ["related sequences were not looked for (--no-leak-check)"]
        sizes = np.bincount(self.groups)
        largest = int(sizes.max())
        out = [f"near copies were not looked for: {self.unsearched}"] if self.unsearched else []
        if largest > 1:
            out.append(
                f"related sequences: {len(sizes):,} groups of {len(names):,} examples, the largest "
                f"of {largest:,} ({largest / len(names):.1%}); related: {self.how}"
            )
        test = names == "test"
        copied = (self.held & (BITS["train"] | BITS["dev"])) != 0
        if drawn:
            copied = np.isin(self.groups, self.groups[~test])
        n = int((test & copied).sum())
        if n:
            out.append(
                f"warning: {n:,} of {int(test.sum()):,} test examples ({n / test.sum():.1%}) are "
                "near copies of train or dev examples, share a stretch or overlap them, so scores "
                "are too high; `dnabench audit data --data FILE` shows them, `--split-by "
                "homology` keeps related ones together"
            )
        return out


def find_related(seqs: Sequences, names: Array, places: Places | None, own: OwnData) -> Related:
    """Link related sequences, unless that is turned off.

    Args:
        seqs: N sequences.
        names: (N,) the splits as the files say them.
        places: coordinates, where there are some.
        own: identity and coverage of near copies.

    Raises:
        ValueError: an identity or coverage that cannot be searched.
    """
    if not 0.8 <= own.identity <= 1 or not 0.5 <= own.coverage <= 1:
        raise ValueError(
            f"--identity {own.identity:g} --coverage {own.coverage:g}: give 0.8 to 1, and 0.5 to 1"
        )
    if not own.leak_check:
        return Related(None, np.zeros(len(names), np.uint8))
    bits = _bits(names)
    found = _kept(seqs, bits, places, Likeness(own.identity, own.coverage))
    how = f"alike at {own.identity:.0%} over {own.coverage:.0%} of the shorter one"
    how += f", or with a stretch of {found.shortest} bp in common" if found.shortest else ""
    how += ", or overlapping on the genome" if places is not None else ""
    by = "homology" if places is None else "homology or coordinates"
    return Related(found.cluster, found.held, by, how, found.unsearched)


def _bits(names: Array) -> Array:
    out = np.zeros(len(names), np.uint8)
    for split, bit in BITS.items():
        out[names == split] = bit
    return out


def _kept(seqs: Sequences, bits: Array, places: Places | None, rule: Likeness) -> Links:
    """The links, from the cache where the same search was made before."""
    key = hashlib.sha256(f"{VERSION} {rule}".encode())
    for array in (seqs.codes, seqs.offsets, bits, *(places or ())):
        key.update(np.ascontiguousarray(array).data)
    path = cache_folder() / "links" / f"{key.hexdigest()[:24]}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Links(
                kept["cluster"], kept["held"], int(kept["shortest"]), str(kept["unsearched"])
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass  # none, or a damaged one, which is made again
    start = time.process_time()
    found = links(seqs, bits, places, rule)
    if time.process_time() - start > WORTH_KEEPING:
        with suppress(OSError), replacing(path) as file:  # a full cache keeps no answer back
            np.savez_compressed(file, **found._asdict())
    return found
