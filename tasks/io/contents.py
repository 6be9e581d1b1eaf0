"""What published data hold, whatever the order of their rows: one hash a split.

Made from files of the official sources; tasks whose files were never at hand have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from dnabench.types import Split, SplitName

CONTENT: dict[str, Mapping[SplitName, str]] = {
    "genomic_benchmarks/human_nontata_promoters": {"test": "0357eeeec4c27d6c"},
    "gue/mouse_0": {
        "train": "f7cc376ca50a98ee",
        "dev": "c4967a0a18b570ec",
        "test": "f0a14843cbbf43a4",
    },
    "gue/mouse_2": {
        "train": "5755b42eef7916b3",
        "dev": "bcdeb8851d98e995",
        "test": "cb12aca93751f45a",
    },
    "gue/prom_300_tata": {
        "train": "05e1440ae6637472",
        "dev": "f67b6618a4bcc856",
        "test": "93b8afda23541190",
    },
    "gue/prom_core_tata": {
        "train": "31433dce81e7ccbd",
        "dev": "e24eada0d364cd7c",
        "test": "b98ba183eb69d97b",
    },
    "gue/tf_0": {
        "train": "5fc202c2fd6bd349",
        "dev": "efc91575701cb117",
        "test": "da4c542a3b792c90",
    },
    "nt/h3": {"test": "63c336437795066c"},
    "nt/h3k14ac": {"test": "4713abc2ed3db1c6"},
    "nt/h3k4me3": {"test": "7c6b2c8c3fefc7ec"},
}


def content_hash(part: Split) -> str:
    """16 hex of the SHA-256 over the sorted hashes of sequence and label of every example."""
    codes, offsets = part.seqs.codes.tobytes(), part.seqs.offsets.tolist()
    labels = np.ascontiguousarray(part.y).astype(part.y.dtype.newbyteorder("<"))
    rows = [label.tobytes() for label in labels]
    pairs = zip(pairwise(offsets), rows, strict=True)
    hashes = sorted(hashlib.sha256(codes[a:b] + b"|" + y).digest() for (a, b), y in pairs)
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:16]
