"""The smallest feature of a GFF3 or GTF file that covers a position. P positions, from 0."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from dnabench.tasks.io.aliases import Aliases
from dnabench.tasks.io.annotation import WHOLE, feature_of
from dnabench.tasks.io.fasta import names_of
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.lines import lines_of
from dnabench.types import Array

NOTHING = "intergenic"


def smallest_features(
    path: Path, chroms: Sequence[str], at: Array,
    others: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[str]:  # fmt: skip
    """The type of the smallest feature over each position; the first in the file of equal ones.

    Features of whole sequences, such as chromosome, do not count. Names of sequences may be with or
    without chr, unless another sequence has that name.

    Args:
        path: GFF3 or GTF, plain or gzipped.
        chroms: P, the sequence of each position.
        at: int64 (P,).
        others: other names of each sequence of the genome; of one that is not there, those that
            its own name gives.

    Returns:
        P types; NOTHING where there is none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line in neither format; no sequence that the positions have; a name that may
            be any of several sequences.
    """
    order = np.lexsort((at, np.asarray(chroms)))
    names, first = np.unique(np.asarray(chroms)[order], return_index=True)
    ends = [*first[1:], len(at)]
    spans = {name: (a, b) for name, a, b in zip(names.tolist(), first, ends, strict=True)}
    aliases = Aliases({**{name: names_of(name) for name in spans}, **others})
    place, kinds = at[order], {NOTHING: 0}
    size, kind = np.full(len(at), np.iinfo(np.int64).max), np.zeros(len(at), np.int64)
    seen = dict[str, str]()  # name in the file -> sequence
    for number, text in lines_of(path):
        if text.strip() == "##FASTA" or text.startswith(">"):
            break
        if not text.strip() or text.startswith("#"):
            continue
        name, what, start, end, *_ = feature_of(path, number, text)
        if name not in seen:
            seen[name] = aliases.find(name, path)
        if seen[name] not in spans or what in WHOLE:
            continue
        a, b = spans[seen[name]]
        low, high = a + np.searchsorted(place[a:b], (start, end))
        smaller = size[low:high] > end - start
        size[low:high][smaller] = end - start
        kind[low:high][smaller] = kinds.setdefault(what, len(kinds))
    if not spans.keys() & set(seen.values()):
        raise ValueError(f"{path} has no feature on {few(names.tolist())}: it has {few([*seen])}")
    out = np.empty(len(at), np.int64)
    out[order] = kind
    listed = list(kinds)
    return [listed[i] for i in out.tolist()]
