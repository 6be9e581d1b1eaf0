"""Remake yeast_genes.npz: `python make_yeast.py TRANSPOSONMAPPER_WHEEL [FOLDER]`.

Needs dnabench, whose `tasks.genes` labels the genome. The same wheel gives the same arrays, and the
same bytes with the same zlib; PROVENANCE.md says where the wheel comes from.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.tasks.genes import CLASSES, windows
from dnabench.tasks.io.gene_windows import Cutting
from dnabench.types import IGNORED

FOLDER = "transposonmapper/data_files/"
FASTA = "S288C_reference_sequence_R64-2-1_20150113.fsa"
GFF = "Saccharomyces_cerevisiae.R64-1-1.99.gff3"
FEATURES = "SGD_features.tab"
SPLITS = {"train": ("V", "XI"), "dev": ("VI",), "test": ("III",)}
ROMAN = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV",
    "XVI", "Mito",
]  # fmt: skip
REPEATED = ("telomere", "LTR_retrotransposon", "long_terminal_repeat", "transposable_element_gene")
MERGED = {"exon_forward": 0, "exon_reverse": 1}  # coding; all other classes are 2, noncoding


def annotation(folder: Path) -> Path:
    """The GFF without the dubious ORFs and with the repeats that only SGD's table has."""
    dubious, added = set(), []
    for line in (folder / FEATURES).read_text().splitlines():
        f = line.split("\t")
        if f[1] == "ORF" and f[2] == "Dubious":
            dubious.add(f[3])
        elif f[1] in REPEATED and f[8].isdigit():
            ends = sorted((int(f[9]), int(f[10])))
            added.append(
                f"{ROMAN[int(f[8]) - 1]}\tSGD\t{f[1]}\t{ends[0]}\t{ends[1]}\t.\t.\t.\tID={f[0]}"
            )
    lines = (folder / GFF).read_text().splitlines()
    kept = [line for line in lines if not _names(line) & dubious]
    path = folder / "without_dubious.gff3"
    path.write_text("\n".join([*kept, *added]) + "\n")
    return path


def _names(line: str) -> set[str]:
    """The gene that a line of the GFF belongs to."""
    last = line.rpartition("\t")[2]
    parts = [p.partition(":")[2] for p in last.split(";") if p.startswith(("ID=", "Parent="))]
    return {p.removesuffix("_mRNA") for p in parts}


def arrays(folder: Path) -> dict[str, Any]:
    """What the file holds; `tasks/yeast_genes.py` reads it."""
    used = {name for names in SPLITS.values() for name in names}
    cutting = Cutting(
        longest=1000, shortest=500, keep="all", dev=SPLITS["dev"], test=SPLITS["test"],
        leave_out=set(ROMAN) - used, masked=REPEATED, labels="certain",
    )  # fmt: skip
    splits = windows(folder / FASTA, annotation(folder), cutting)
    merge = np.full(128, 2, np.int8)
    for name, new in MERGED.items():
        merge[CLASSES.index(name)] = new
    merge[IGNORED] = IGNORED  # counted from the end
    codes, labels, lengths, ids = [], [], [], []
    for name in SPLITS:
        part = splits[name]  # type: ignore[index]
        n = part.seqs.lengths
        inside = np.arange(part.y.shape[1]) < n[:, None]
        labels.append(merge[part.y[inside]])
        codes.append(part.seqs.codes)
        lengths.append(n)
        ids.append(part.ids)
    y, flat = np.concatenate(labels), np.concatenate(codes)
    first = np.flatnonzero(np.diff(y, prepend=y[0] + 1))
    four = np.pad(flat, (0, -len(flat) % 4)).reshape(-1, 4)
    return {
        "codes": (four << np.array([6, 4, 2, 0], np.uint8)).sum(1, dtype=np.uint8),
        "lengths": np.concatenate(lengths).astype(np.int16),
        "ids": np.char.encode(np.concatenate(ids), "ascii"),
        "runs": np.diff(first, append=len(y)).astype(np.int32),
        "classes": y[first],
        "counts": np.array([len(n) for n in lengths], np.int32),
    }


if __name__ == "__main__":
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(sys.argv[1]) as wheel:
            for member in (FASTA, GFF, FEATURES):
                (Path(temporary) / member).write_bytes(wheel.read(FOLDER + member))
        np.savez_compressed(target / "yeast_genes.npz", **arrays(Path(temporary)))
