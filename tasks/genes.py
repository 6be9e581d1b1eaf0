"""Gene finding, base by base, from any genome: FASTA and GFF3 or GTF become a per-base task.

What `import_genes` wrote to the cache is in the registry as genes/<name>.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from dnabench.cache import cache_folder
from dnabench.registry import TASKS
from dnabench.tasks.io.gene_windows import Cutting, Observer, cut, silent
from dnabench.tasks.io.imported import Writer, cached, open_split
from dnabench.types import IGNORED, Sequences, Split, SplitName, Task

CLASSES = (
    "exon_forward", "donor_forward", "intron_forward", "acceptor_forward",
    "exon_reverse", "donor_reverse", "intron_reverse", "acceptor_reverse", "intergenic",
)  # fmt: skip
USUAL = Cutting()


def windows(fasta: Path, gff: Path, cutting: Cutting = USUAL) -> dict[SplitName, Split]:
    """All of a small genome at once; `import_genes` says how, and keeps little in memory.

    Args:
        fasta: the genome.
        gff: its annotation.
        cutting: lengths, splits, what is an exon.

    Returns:
        Split by split, ids `name:first-last` (from 1, last included), y int8 (N, longest window).
    """
    out: dict[SplitName, list[Split]] = {}
    for split, part in cut(fasta, gff, cutting):
        out.setdefault(split, []).append(part)
    longest = max(int(p.seqs.lengths.max()) for parts in out.values() for p in parts)
    return {
        split: _joined(out[split], longest) for split in ("train", "dev", "test") if split in out
    }


def import_genes(
    name: str, fasta: Path, gff: Path, cutting: Cutting = USUAL, observe: Observer = silent
) -> Task:
    """Make a per-base task of a genome and keep it in the cache.

    Every base is one of CLASSES, as read on the strand of the FASTA. One transcript stands for a
    gene, that with the longest CDS. Where two genes give a base different classes it is IGNORED, so
    the order of genes does not matter. IGNORED are also N, gaps of less than 20 bp between exons,
    and what lies before the first and behind the last feature of a sequence, where nobody looked.
    Sequences without genes, organelles, and windows in which nothing counts are left out. Splits
    are by sequence.

    Args:
        name: the task becomes genes/<name>; data of that name are replaced.
        fasta: the genome, plain or gzipped.
        gff: GFF3 or GTF of the same assembly, plain or gzipped.
        cutting: lengths, splits, what is an exon.
        observe: told of progress.

    Returns:
        The task. Other processes find it in the registry.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: files that cannot be read, with line and reason, or that do not fit each other.

    Accuracy:
        Genes of a family on two chromosomes are in two splits; `dnabench audit data` counts them.
        One sequence of the genome is in memory at a time: 8 bytes for each of its bases.

    Source:
        Classes and their order as in BEND (Marin et al. 2024, arXiv:2311.12570, Table A8: 0-3
        forward, 4-7 reverse, 8 non-coding). Ours: the rest.
    """
    full = name if "/" in name else f"genes/{name}"
    if not full.startswith("genes/"):
        raise ValueError(f"{name!r}: tasks made of a genome are of the suite genes: genes/NAME")
    with Writer(full, f"{fasta.name} + {gff.name}") as w:
        counts = np.zeros(len(CLASSES), np.int64)
        for split, part in cut(fasta, gff, cutting, observe):
            w.add(split, part)
            counts += np.bincount(part.y[part.y != IGNORED], minlength=len(CLASSES))
        w.note("bases", dict(zip(CLASSES, counts.tolist(), strict=True)))
        choices = vars(cutting).items()
        w.note("cutting", {k: sorted(v) if isinstance(v, frozenset) else v for k, v in choices})
    return task_of(full)


def task_of(name: str) -> Task:
    """The task of that name, genes/..., from the cache."""
    here = cached(name)
    if here is None:
        raise FileNotFoundError(
            f"{name} is not in {cache_folder()}; `dnabench data genes` makes it"
        )
    return Task(
        name=name, kind="per_base", classes=CLASSES, metric="mcc", length=here.length,
        counts=here.counts, data=here.data, load=partial(open_split, name),
        source=here.origin, license="not stated", family="gene finding",
        opposite=(4, 5, 6, 7, 0, 1, 2, 3, 8),
    )  # fmt: skip


def _joined(parts: list[Split], width: int) -> Split:
    lengths = np.concatenate([p.seqs.lengths for p in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = np.concatenate([p.seqs.codes for p in parts])
    y = np.concatenate([p.y for p in parts])[:, :width]
    return Split(Sequences(codes, offsets), y, np.concatenate([p.ids for p in parts]))


def _register() -> None:
    """What was imported before, whatever names it was given."""
    for manifest in sorted((cache_folder() / "tasks" / "genes").glob("*/manifest.json")):
        name = f"genes/{manifest.parent.name}"
        if cached(name) is not None:
            TASKS.add(task_of(name))


_register()
