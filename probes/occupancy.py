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
from dnabench.reports.figures.style import PRINT, Theme
from dnabench.tasks.io.annotation import Annotation, names_of
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.regions import Regions
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLANK, BEFORE, BODY = 1_000, 20, 40  # bp beside a gene, bins of it, bins of the gene
PARTS = ("before", "gene", "behind")


class Genes(NamedTuple):
    """Genes that are laid over each other.

    chrom: sequence of each, as the annotation names it. start, end: int64 (G,). reverse: bool (G,).
    """

    chrom: Sequence[str]
    start: Array
    end: Array
    reverse: Array


class Profile(NamedTuple):
    """What a mark covers.

    Args:
        mark: its name.
        regions: of the mark on sequences with genes.
        share: float64 (K,), mean over genes of the share of a bin that is covered.
        interval: float64 (K, 2), from blocks of 10 kbp drawn again; NaN from fewer than 20.
    """

    mark: str
    regions: int
    share: Array
    interval: Array


def genes_in(annotation: Annotation) -> Genes:
    """All genes, from the first base of their exons to the last."""
    rows = [
        (name, gene.exons[0][0], gene.exons[-1][1], gene.reverse)
        for name, genes in annotation.genes.items() for gene in genes
    ]  # fmt: skip
    chrom, start, end, reverse = zip(*rows, strict=True)
    return Genes(chrom, np.array(start), np.array(end), np.array(reverse))


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
        regions: of a BED file, with the name of the mark in column 4; without names they are one
            mark. Regions of one mark that overlap count once. Their strands are not looked at.
        genes: G.
        flank: bp before and behind a gene.
        seed: of the draws.
        progress: called with the marks done since the last call.

    Raises:
        ValueError: no region is on a sequence with genes.
    """
    own = {other: name for name in dict.fromkeys(genes.chrom) for other in names_of(name)}
    chrom = np.array([own.get(name, "") for name in regions.chrom.tolist()])
    if not (chrom != "").any():
        there, genes_on = few(np.unique(regions.chrom).tolist()), few([*dict.fromkeys(genes.chrom)])
        raise ValueError(
            f"{regions.path} has no region on a sequence with genes: it has {there}, genes are on "
            f"{genes_on}"
        )
    names = np.array(regions.names or [regions.path.name.split(".")[0]] * len(chrom))
    cuts, of = edges(genes, flank), np.array(genes.chrom)
    block, out = blocks_of(of, genes.start), list[Profile]()
    inside = np.minimum(cuts[:, 1:], cuts[:, :-1]) >= 0
    for mark in dict.fromkeys(names.tolist()):
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


def means(profile: Profile) -> dict[str, float]:
    """The mean share of each of PARTS."""
    parts = np.split(profile.share, [BEFORE, BEFORE + BODY])
    return {name: float(np.nanmean(x)) for name, x in zip(PARTS, parts, strict=True)}


def write(found: Sequence[Profile], flank: int, about: Mapping[str, Any], folder: Path) -> None:
    """Write occupancy.parquet, a row for each mark and bin, and occupancy.json."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"mark": one.mark, "part": part, "start": a, "end": b, "share": float(share),
         "low": None if np.isnan(low) else float(low),
         "high": None if np.isnan(high) else float(high)}
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


def occupancy_figure(found: Sequence[Profile], flank: int, theme: Theme = PRINT) -> Figure:
    """The share that each mark covers along genes, with intervals as bands."""
    out, (ax,) = style.panels(1, (6.6, 2.8), (0.55, 0.45, 0.15, 0.2), theme)
    x = np.concatenate(
        [(np.arange(BEFORE) + 0.5) / BEFORE - 1, (np.arange(BODY) + 0.5) / BODY * 2,
         2 + (np.arange(BEFORE) + 0.5) / BEFORE]
    )  # fmt: skip
    for i, one in enumerate(found):
        colour = style.colour(i, theme)
        ax.fill_between(x, *one.interval.T, color=colour, alpha=0.2, lw=0)
        ax.plot(x, one.share, color=colour, lw=1.2)
    for edge in (0, 2):
        ax.axvline(edge, color=theme.quiet, lw=0.7, ls="--")
    ax.set_xlim(-1, 3)
    ax.set_ylim(bottom=0)
    style.bare(ax, theme, "y")
    ax.set_xticks([-1, 0, 1, 2, 3], [f"-{flank:,} bp", "start", "half", "end", f"+{flank:,} bp"])
    ax.set_ylabel("share covered", fontsize=8, color=theme.quiet)
    out.legend(
        handles=list(ax.lines[: len(found)]), labels=[one.mark for one in found],
        loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, ncols=4,
    )  # fmt: skip
    return out
