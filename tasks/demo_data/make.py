"""Remake the files of this folder: `python make.py DNADIFFUSION_WHEEL MLBENCH_DEB [FOLDER]`.

Needs numpy and nothing else: the R data frame is read by `RData`. The same inputs give the same
bytes with the same zlib; PROVENANCE.md says where the inputs come from. N examples.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

Row = tuple[str, str, str, str]  # id, sequence, label, split

SEED = 0
WHEEL_MEMBER = "dnadiffusion/data/K562_hESCT0_HepG2_GM12878_12k_sequences_per_group.txt"
DEB_MEMBER = "./usr/lib/R/site-library/mlbench/data/DNA.rda"
PER_CELL_TYPE = {"training": ("train", 1000), "validation": ("dev", 100), "test": ("test", 250)}
BASES = {(1, 0, 0): "A", (0, 1, 0): "C", (0, 0, 1): "G", (0, 0, 0): "T"}
JUNCTIONS = {"ei": "donor", "ie": "acceptor", "n": "neither"}
TEST_SHARE = 0.2


def cell_type(wheel: Path) -> list[Row]:
    """As many sites of every cell type, drawn from each split of the authors, in file order."""
    with zipfile.ZipFile(wheel) as z:
        lines = io.StringIO(z.read(WHEEL_MEMBER).decode())
    sites = list(csv.DictReader(lines, delimiter="\t"))
    groups = defaultdict(list)
    for i, site in enumerate(sites):
        groups[site["data_label"], site["TAG"]].append(i)
    rng = np.random.default_rng(SEED)
    picked = {
        int(i): PER_CELL_TYPE[part][0]
        for part, tag in sorted(groups)
        for i in rng.permutation(groups[part, tag])[: PER_CELL_TYPE[part][1]]
    }
    return [
        (sites[i]["dhs_id"], sites[i]["sequence"], sites[i]["TAG"].split("_")[0], picked[i])
        for i in sorted(picked)
    ]


def splice_junctions(deb: Path) -> list[Row]:
    """All windows, exact duplicates removed, a stratified share of each class set aside as test."""
    frame = RData(lzma.decompress(deb_member(deb, DEB_MEMBER))).frame()
    labels = [JUNCTIONS[level] for level in frame.pop("Class")]
    bits = np.array([list(map(int, frame[f"V{i}"])) for i in range(1, 181)]).T.reshape(-1, 60, 3)
    seqs = ["".join(BASES[tuple(base)] for base in window) for window in bits.tolist()]
    seen = defaultdict(list)
    for i, seq in enumerate(seqs):
        seen[seq].append(i)
    kept = [rows[0] for rows in seen.values() if len({labels[i] for i in rows}) == 1]
    test = set(stratified(kept, labels))
    return [
        (f"row{i + 1}", seqs[i], labels[i], "test" if i in test else "train") for i in sorted(kept)
    ]


def stratified(rows: list[int], labels: list[str]) -> list[int]:
    """A share of the rows of every class, drawn at random."""
    rng, out = np.random.default_rng(SEED), []
    for label in JUNCTIONS.values():
        of_class = [i for i in rows if labels[i] == label]
        out += rng.permutation(of_class)[: round(TEST_SHARE * len(of_class))].tolist()
    return out


def deb_member(deb: Path, member: str) -> bytes:
    """One file out of a Debian package: an ar archive with a tar archive in it."""
    raw, at = deb.read_bytes(), 8  # after "!<arch>\n"
    while at < len(raw):
        name, size = raw[at : at + 16].strip(), int(raw[at + 48 : at + 58])
        if name.startswith(b"data.tar"):
            with tarfile.open(fileobj=io.BytesIO(raw[at + 60 : at + 60 + size])) as tar:
                file = tar.extractfile(member)
                assert file is not None
                return file.read()
        at += 60 + size + size % 2
    raise ValueError(f"{deb}: no data.tar in it; is it a Debian package?")


class RData:
    """The few types of R's serialization (XDR, version 2) that a saved frame of factors needs.

    Source:
        R Internals, section 1.8 "Serialization Formats".
    """

    def __init__(self, raw: bytes) -> None:
        if raw[:7] != b"RDX2\nX\n":
            raise ValueError(f"not an R save file in XDR format, version 2: it starts {raw[:7]!r}")
        self.raw, self.at = raw, 7 + 12  # three integers: versions of format, writer and reader
        self.symbols: list[str] = []

    def frame(self) -> dict[str, list[str]]:
        """The first object in the file, a data frame whose columns are factors."""
        ((columns, attributes),) = self.item().values()
        return {
            name: [factor[1]["levels"][0][code - 1] for code in factor[0]]
            for name, factor in zip(attributes["names"][0], columns, strict=True)
        }

    def integers(self, n: int) -> tuple[int, ...]:
        """The next n 32-bit integers."""
        self.at += 4 * n
        return struct.unpack_from(f">{n}i", self.raw, self.at - 4 * n)

    def item(self) -> Any:
        """The next object: a str, a dict for a pairlist, or (values, attributes) for a vector."""
        (flags,) = self.integers(1)
        kind = flags & 0xFF
        if kind == 254:  # NULL
            return {}
        if kind == 255:  # a symbol seen before
            return self.symbols[(flags >> 8) - 1]
        if kind == 1:
            self.symbols.append(self.item())
            return self.symbols[-1]
        if kind == 9:
            (size,) = self.integers(1)
            self.at += size
            return self.raw[self.at - size : self.at].decode()
        if kind == 2:
            name = self.item()
            return {name: self.item(), **self.item()}
        if kind not in (13, 16, 19):
            raise ValueError(f"R type {kind} at byte {self.at} is not one that a factor has")
        (n,) = self.integers(1)
        values = self.integers(n) if kind == 13 else [self.item() for _ in range(n)]
        return values, self.item() if flags & 0x200 else {}


def write(path: Path, rows: list[Row]) -> None:
    """A gzip CSV whose bytes depend on the rows only."""
    text = "".join(",".join(row) + "\n" for row in [("id", "sequence", "label", "split"), *rows])
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(__file__).parent
    write(folder / "cell_type.csv.gz", cell_type(Path(sys.argv[1])))
    write(folder / "splice_junctions.csv.gz", splice_junctions(Path(sys.argv[2])))
