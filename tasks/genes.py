"""Gene finding per base from any genome: FASTA and GFF3 or GTF become a per-base task.

Tasks that `import_genes` wrote to the cache are registered as genes/<name>.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from dnabench.cache import cache_folder
from dnabench.registry import TASKS
from dnabench.tasks.io import splice_sites
from dnabench.tasks.io.gene_windows import Cutting, Observer, cut, silent
from dnabench.tasks.io.imported import Writer, cached, open_split
from dnabench.tasks.io.masking import Account
from dnabench.types import IGNORED, Sequences, Split, SplitName, Task

CLASSES = (
    "exon_forward", "donor_forward", "intron_forward", "acceptor_forward",
    "exon_reverse", "donor_reverse", "intron_reverse", "acceptor_reverse", "intergenic",
)  # fmt: skip
USUAL = Cutting()


def windows(fasta: Path, gff: Path, cutting: Cutting = USUAL) -> dict[SplitName, Split]:
    """The windows of a small genome, in memory; see `import_genes`, which needs little memory.

    Args:
        fasta: the genome.
        gff: its annotation.
        cutting: lengths, splits, what counts as an exon.

    Returns:
        The splits; ids are `name:first-last` (from 1, inclusive), y int8 (N, longest window).
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

    Every base has one of CLASSES, on the strand of the FASTA. A gene is represented by its
    transcript with the longest CDS; where genes overlap, the one with the longest CDS counts. A
    stop codon is intergenic, as in BEND; `Cutting.labels` has the alternative. N and gaps below 20
    bp between exons are IGNORED. Sequences without genes, organelles, and windows in which every
    base is IGNORED are left out. Splits are by sequence.

    Args:
        name: the task becomes genes/<name>; data of that name are replaced.
        fasta: the genome, plain or gzipped.
        gff: GFF3 or GTF of the same assembly, plain or gzipped.
        cutting: lengths, splits, what counts as an exon.
        observe: called with progress.

    Returns:
        The task, which other processes find in the registry.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file cannot be read, with line and reason, or the files do not match.

    Accuracy:
        Related genes on two chromosomes may be in two splits; `dnabench audit data` counts them.
        One sequence of the genome is in memory at a time, at 8 bytes per base. An incomplete CDS
        loses its last three bases if they read as a stop codon by chance.

    Source:
        Classes, their order and the stop codon as in BEND (Marin et al. 2024, arXiv:2311.12570,
        Table A8: 0-3 forward, 4-7 reverse, 8 non-coding). Ours: the rest; each of BEND's regions
        has the labels of one gene.
    """
    full = name if "/" in name else f"genes/{name}"
    if not full.startswith("genes/"):
        raise ValueError(
            f"{name!r}: tasks made from a genome belong to the suite genes; write genes/NAME"
        )
    with Writer(full, f"{fasta.name} + {gff.name}") as w:
        counts, account = np.zeros(len(CLASSES), np.int64), Account()

        def written() -> Iterator[Split]:
            nonlocal counts
            for split, part in cut(fasta, gff, cutting, observe, account):
                w.add(split, part)
                counts += np.bincount(part.y[part.y != IGNORED], minlength=len(CLASSES))
                yield part

        w.note("splice_sites", splice_sites.shares(splice_sites.counted(written()), CLASSES))
        w.note("bases", dict(zip(CLASSES, counts.tolist(), strict=True)))
        w.note("left_out", account.left_out)
        w.note("masked", account.masked)
        choices = vars(cutting).items()
        w.note("cutting", {k: sorted(v) if isinstance(v, frozenset) else v for k, v in choices})
    return task_of(full)


def task_of(name: str) -> Task:
    """The task genes/... of that name, from the cache."""
    here = cached(name)
    if here is None:
        raise FileNotFoundError(
            f"{name} is not in {cache_folder()}; make it with `dnabench data genes`"
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
    """Register every task that was imported before."""
    for manifest in sorted((cache_folder() / "tasks" / "genes").glob("*/manifest.json")):
        name = f"genes/{manifest.parent.name}"
        if cached(name) is not None:
            TASKS.add(task_of(name))


_register()
