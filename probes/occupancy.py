"""How much of genes marks cover: profiles along genes, with intervals.

G genes, K bins, positions from 0 with exclusive ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnabench.cache import replacing
from dnabench.pretraining.windows import merged
from dnabench.probes.blocks import blocks_of, ratio_intervals
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.tasks.io.aliases import Aliases
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.fasta import names_of
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.tasks.io.regions import Regions
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLANK, BEFORE, BODY = 1_000, 20, 40  # bp beside a gene, bins of it, bins of the gene
PARTS = ("before", "gene", "behind")


class Genes(NamedTuple):
    """Genes that are laid over each other.

    chrom: sequence of each, as the annotation names it. start, end: int64 (G,). reverse: bool (G,).
    bp: float64 (G,), length of the sequence; infinite = not known.
    """

    chrom: Sequence[str]
    start: Array
    end: Array
    reverse: Array
    bp: Array


class Profile(NamedTuple):
    """What a mark covers.

    Args:
        mark: its name.
        regions: of the mark on sequences with genes.
        share: float64 (K,), mean over genes of the share of a bin that is covered; NaN where no
            gene has the bin.
        interval: float64 (K, 2), from blocks of 10 kbp drawn again; NaN from fewer than 20.
    """

    mark: str
    regions: int
    share: Array
    interval: Array


def genes_in(annotation: Annotation, genome: Genome | None = None) -> Genes:
    """All genes, from the first base of their exons to the last.

    Args:
        annotation: says how long sequences are, unless there is a genome.
        genome: packed.

    Raises:
        ValueError: no gene is left, a sequence that the genome lacks, or a gene beyond its end.
    """
    rows = [
        (name, gene.exons[0][0], gene.exons[-1][1], gene.reverse)
        for name, genes in annotation.genes.items() for gene in genes
    ]  # fmt: skip
    if not rows:
        raise ValueError(
            f"{annotation.path}: no gene can be used; left out: {_reasons(annotation)}"
        )
    ends = {name: end for name, (_, end) in annotation.span.items()}
    known = {name: bp for name, bp in annotation.bp.items() if bp >= ends.get(name, 0)}
    if genome is not None:
        known = {name: int(genome.lengths[genome.number(name)]) for name in annotation.genes}
    chrom, start, end, reverse = zip(*rows, strict=True)
    bp = np.array([float(known.get(name, np.inf)) for name in chrom])
    for i in np.flatnonzero(np.array(end) > bp)[:1]:
        raise ValueError(
            f"{annotation.path}: a gene of {chrom[i]} ends at base {end[i]:,}, but the sequence "
            f"has {bp[i]:,.0f} bp in {genome.name if genome else annotation.path.name}"
        )
    return Genes(chrom, np.array(start), np.array(end), np.array(reverse), bp)


def _reasons(annotation: Annotation) -> str:
    return ", ".join(f"{len(names):,} {why}" for why, names in annotation.left_out.items())


def marks_of(regions: Regions) -> Array:
    """The mark of each region, (M,): its name in column 4.

    One mark, which is called like the file, where there are no names or they are those of peaks:
    in narrowPeak and broadPeak files, and where each region has one of its own.
    """
    names, file = regions.names, regions.path.name
    peaks = file.lower().removesuffix(".gz").endswith((".narrowpeak", ".broadpeak"))
    peaks = peaks or regions.summits or 1 < len(names) == len(set(names))
    return np.array([file.split(".")[0]] * len(regions.start) if peaks or not names else names)


def on_genes(regions: Regions, genes: Genes) -> Array:
    """The sequence with genes that each region is on, (M,), as the annotation names it; "" = none.

    Raises:
        ValueError: a name that may be any of several sequences.
    """
    names = Aliases({name: names_of(name) for name in genes.chrom})
    own = {name: names.find(name, regions.path) for name in np.unique(regions.chrom).tolist()}
    return np.array([own[name] for name in regions.chrom.tolist()])


def left_out(annotation: Annotation, genes: Genes, regions: Regions) -> dict[str, int]:
    """What does not take part, or not as a whole, by reason."""
    chrom, there = on_genes(regions, genes), dict.fromkeys(genes.chrom)
    none = [name for name in there if name not in set(chrom.tolist())]
    lengths = dict(zip(genes.chrom, genes.bp.tolist(), strict=True))
    unknown = [name for name, bp in lengths.items() if np.isinf(bp)]
    return {
        "regions on sequences without genes, left out": int((chrom == "").sum()),
        f"sequences with genes but without regions, not covered ({few(none)})": len(none),
        f"sequences whose length is not known ({few(unknown)}): bins beyond their end count as not "
        "covered; give --genome": len(unknown),
        **{f"genes {why}, left out": len(names) for why, names in annotation.left_out.items()},
    }


def edges(genes: Genes, flank: int = FLANK) -> Array:
    """Float64 (G, K + 1), positions between bins in reading direction, so falling on strand -."""
    out = np.linspace(-1, 0, BEFORE + 1)[:-1] * flank
    behind = np.linspace(0, 1, BEFORE + 1)[1:] * flank
    inner = np.linspace(0, 1, BODY + 1)
    bp = (genes.end - genes.start)[:, None]
    along = np.concatenate(
        [np.broadcast_to(out, (len(bp), BEFORE)), bp * inner, bp + behind], axis=1
    )
    first = np.where(genes.reverse, genes.end, genes.start)[:, None]
    at = first + along * np.where(genes.reverse, -1, 1)[:, None]
    return np.asarray(np.round(at, 6))


def covered(places: Array, at: Array) -> Array:
    """Bp of intervals (I, 2), which are apart and ascending, that lie before each position."""
    lengths = places[:, 1] - places[:, 0]
    before = np.concatenate([[0], np.cumsum(lengths)])
    i = np.searchsorted(places[:, 0], at, side="right") - 1
    inside = np.minimum(at - places[i.clip(0), 0], lengths[i.clip(0)])
    return np.where(i < 0, 0.0, before[i.clip(0)] + inside)


def profiles(
    regions: Regions, genes: Genes, flank: int = FLANK, seed: int = 0,
    progress: Callable[[int], object] = lambda marks: None,
) -> list[Profile]:  # fmt: skip
    """The profile of each mark of a file.

    Args:
        regions: of a BED file, see `marks_of`. Regions of one mark that overlap count once. Their
            strands are not looked at.
        genes: G.
        flank: bp before and behind a gene.
        seed: of the draws.
        progress: called with the marks done since the last call.

    Raises:
        ValueError: no region, or none of a mark, is on a sequence with genes.
    """
    chrom, names = on_genes(regions, genes), marks_of(regions)
    if not (chrom != "").any():
        there, genes_on = few(np.unique(regions.chrom).tolist()), few([*dict.fromkeys(genes.chrom)])
        raise ValueError(
            f"{regions.path} has no region on a sequence with genes: it has {there}, genes are on "
            f"{genes_on}"
        )
    marks = dict.fromkeys(names.tolist())
    nowhere = [mark for mark in marks if not ((names == mark) & (chrom != "")).any()]
    if nowhere:
        raise ValueError(
            f"{regions.path}: no region of {few(nowhere)} is on a sequence with genes; take "
            "these marks out of the file"
        )
    cuts, of = edges(genes, flank), np.array(genes.chrom)
    block, out = blocks_of(of, genes.start), list[Profile]()
    low, high = np.minimum(cuts[:, 1:], cuts[:, :-1]), np.maximum(cuts[:, 1:], cuts[:, :-1])
    inside = (low >= 0) & (high <= genes.bp[:, None])
    for mark in marks:
        share = np.zeros(inside.shape)
        mine = (names == mark) & (chrom != "")
        for name in np.unique(chrom[mine]).tolist():
            rows = mine & (chrom == name)
            places = merged(np.stack([regions.start[rows], regions.end[rows]], 1))
            here = of == name
            bp = np.diff(covered(places, cuts[here]), axis=1)
            share[here] = bp / np.diff(cuts[here], axis=1)
        top, bottom = np.where(inside, share, 0), inside.astype(float)
        with np.errstate(invalid="ignore"):
            mean = top.sum(0) / bottom.sum(0)
        out.append(Profile(mark, int(mine.sum()), mean, ratio_intervals(block, top, bottom, seed)))
        progress(1)
    return out


def bins(flank: int = FLANK) -> list[tuple[str, float, float]]:
    """Part, start and end of each bin: bp beside a gene, shares of its length inside."""
    step = flank / BEFORE
    out = [("before", -flank + i * step, -flank + (i + 1) * step) for i in range(BEFORE)]
    out += [("gene", i / BODY, (i + 1) / BODY) for i in range(BODY)]
    return out + [("behind", i * step, (i + 1) * step) for i in range(BEFORE)]


def means(profile: Profile) -> dict[str, float | None]:
    """The mean share of each of PARTS; None where no gene has a bin of it."""
    parts = zip(PARTS, np.split(profile.share, [BEFORE, BEFORE + BODY]), strict=True)
    return {name: None if np.isnan(x).all() else float(np.nanmean(x)) for name, x in parts}


def write(found: Sequence[Profile], flank: int, about: Mapping[str, Any], folder: Path) -> None:
    """Write occupancy.parquet, a row for each mark and bin, and occupancy.json."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"mark": one.mark, "part": part, "start": a, "end": b, "share": _said(share),
         "low": _said(low), "high": _said(high)}
        for one in found
        for (part, a, b), share, (low, high) in zip(
            bins(flank), one.share, one.interval, strict=True
        )
    ]  # fmt: skip
    with replacing(folder / "occupancy.parquet") as out:
        pq.write_table(pa.Table.from_pylist(rows), out, compression="zstd")
    listed = [{"mark": one.mark, "regions": one.regions, **means(one)} for one in found]
    with replacing(folder / "occupancy.json") as out:
        out.write(json.dumps({**about, "flank": flank, "marks": listed}, indent=1).encode())


def _said(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def occupancy_figure(found: Sequence[Profile], flank: int) -> Figure:
    """The share that each mark covers along genes, with intervals as bands."""
    out, (ax,) = style.panels(1, (6.6, 2.8), (0.55, 0.45, 0.15, 0.2), PRINT)
    x = np.concatenate(
        [(np.arange(BEFORE) + 0.5) / BEFORE - 1, (np.arange(BODY) + 0.5) / BODY * 2,
         2 + (np.arange(BEFORE) + 0.5) / BEFORE]
    )  # fmt: skip
    for i, one in enumerate(found):
        colour = style.colour(i, PRINT)
        ax.fill_between(x, *one.interval.T, color=colour, alpha=0.2, lw=0)
        ax.plot(x, one.share, color=colour, lw=1.2)
    for edge in (0, 2):
        ax.axvline(edge, color=PRINT.quiet, lw=0.7, ls="--")
    ax.set_xlim(-1, 3)
    ax.set_ylim(bottom=0)
    style.bare(ax, PRINT, "y")
    ax.set_xticks([-1, 0, 1, 2, 3], [f"-{flank:,} bp", "start", "half", "end", f"+{flank:,} bp"])
    first, *_, last = ax.get_xticklabels()
    first.set_horizontalalignment("left")  # clear of the numbers of the other axis
    last.set_horizontalalignment("right")
    ax.set_ylabel("share covered", fontsize=8, color=PRINT.quiet)
    out.legend(
        handles=list(ax.lines[: len(found)]), labels=[one.mark for one in found],
        loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, ncols=4,
    )  # fmt: skip
    return out
