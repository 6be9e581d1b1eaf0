"""demo/yeast_genes: which bases of baker's yeast code for protein, and on which strand."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np

from dnabench.registry import TASKS
from dnabench.types import IGNORED, Sequences, Split, SplitName, Task

FILE = Path(__file__).parent / "demo_data" / "yeast_genes.npz"
SHA256 = "769b30f0957bea7164608522f2058670dbd7c62e21a18a74d6529ce1fd28742c"
CLASSES = ("coding_forward", "coding_reverse", "noncoding")
COUNTS: dict[SplitName, int] = {"train": 1220, "dev": 260, "test": 308}


def load(split: SplitName) -> Split:
    """Windows of 1,000 bp of Saccharomyces cerevisiae S288C, end to end, a class for every base.

    Returns:
        train 1,220 (chromosomes V and XI), dev 260 (VI), test 308 (III); the last window of a
        chromosome is shorter. y int8 (N, 1000): 0 coding on this strand, 1 coding on the other,
        2 non-coding (including introns and RNA genes), IGNORED where genes of both strands
        overlap, in telomeric and transposable elements, and beyond a sequence's end.

    Raises:
        ValueError: when the file in the package was changed.

    Accuracy:
        ACGT only, no window twice. SGD's dubious ORFs are not counted as genes. After the yeast
        genome duplication some genes of test have a paralog in train.

    Source:
        PyPI transposonmapper 1.1.5 (Apache-2.0), by demo_data/make_yeast.py: genome R64-2-1 of
        SGD, genes of Ensembl's R64-1-1.99.gff3.
    """
    return _splits()[split]


@cache
def _splits() -> dict[SplitName, Split]:
    raw = FILE.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        raise ValueError(f"{FILE}: sha256 {found}, not {SHA256}; install dnabench again")
    with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored}
    lengths = arrays["lengths"].astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    four = arrays["codes"][:, None] >> np.array([6, 4, 2, 0], np.uint8) & 3
    codes = four.reshape(-1)[: offsets[-1]]
    y = np.full((len(lengths), lengths.max()), IGNORED, np.int8)
    y[np.arange(y.shape[1]) < lengths[:, None]] = np.repeat(arrays["classes"], arrays["runs"])
    whole = Split(Sequences(codes, offsets), y, np.char.decode(arrays["ids"], "ascii"))
    ends = np.cumsum(arrays["counts"]).tolist()
    names = cast("tuple[SplitName, ...]", tuple(COUNTS))
    return {
        name: whole.take(np.arange(start, end))
        for name, start, end in zip(names, [0, *ends], ends, strict=False)
    }


TASKS.add(
    Task(
        name="demo/yeast_genes",
        kind="per_base",
        classes=CLASSES,
        metric="mcc",
        length=1000,
        counts=COUNTS,
        data=SHA256[:16],
        load=load,
        opposite=(1, 0, 2),
        source="transposonmapper 1.1.5",
        license="Apache-2.0",
        family="gene finding",
    )
)
