"""`dnabench probe occupancy`: where along genes marks lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dnabench.probes.occupancy import Profile


def occupancy(
    bed: Annotated[
        Path, typer.Option(help="BED or narrowPeak file of marks, named in column 4 if several.")
    ],
    gff: Annotated[Path, typer.Option(help="GFF3 or GTF file of genes.")],
    genome: Annotated[
        Path | None,
        typer.Option(help="FASTA file, for the ends of sequences if the annotation lacks them."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("occupancy"),
    flank: Annotated[int, typer.Option(help="Bp before and after genes.", min=20)] = 1_000,
    coding: Annotated[
        bool, typer.Option("--coding/--exons", help="Genes begin with their CDS, or with exons.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
) -> None:  # fmt: skip
    """Show where along genes marks lie.

    Genes are laid over each other in reading direction: 20 bins before, 40 along and 20 after
    them. The share of each bin that a mark covers is a mean over genes, with a 95 % interval from
    bootstrapped blocks of 10 kbp.
    """
    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.probes.occupancy import (
        genes_in,
        left_out,
        occupancy_figure,
        profiles,
        write,
    )  # fmt: skip
    from dnabench.reports.figures.style import save
    from dnabench.reports.grid import count
    from dnabench.tasks.io.annotation import read_annotation
    from dnabench.tasks.io.packed import packed
    from dnabench.tasks.io.regions import read_regions

    with bar("reading") as show:
        annotation = read_annotation(gff, coding=coding)
        genes = genes_in(annotation, packed(genome) if genome else None)
        regions = read_regions(bed)
        show(description="covering")
        found = profiles(regions, genes, flank, seed, lambda n: show(advance=n))
    why = {reason: n for reason, n in left_out(annotation, genes, regions).items() if n}
    typer.echo(
        f"{count(len(genes.start), 'gene')}; shares of bp that are covered, means over genes"
    )
    for reason, n in why.items():
        noun, _, rest = reason.partition(" ")
        typer.echo(f"  {count(n, noun.removesuffix('s'))} {rest}")
    _say(found, flank)
    about: dict[str, Any] = {
        "genes": len(genes.start),
        "bed": file_sha256(bed),
        "gff": file_sha256(gff),
    }
    about |= {"genome": file_sha256(genome) if genome else "", "notes": why}
    write(found, flank, {**about, "seed": seed}, to)
    save(lambda: occupancy_figure(found, flank), to / "occupancy.png")
    typer.echo(f"occupancy.parquet, occupancy.json, occupancy.png in {to}")


def _say(found: Sequence[Profile], flank: int) -> None:
    import numpy as np
    from tabulate import tabulate

    from dnabench.pretraining.blocks import FEWEST
    from dnabench.probes.occupancy import PARTS, bins, means

    lines = []
    for one in found:
        top = int(np.nanargmax(one.share))
        part, a, b = bins(flank)[top]
        where = f"{a:,.0f} to {b:,.0f} bp" if part != "gene" else f"{a:.0%} to {b:.0%} of the gene"
        low, high = one.interval[top]
        said = f"{one.share[top]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")
        each = ["" if value is None else f"{value:.3f}" for value in means(one).values()]
        lines.append([one.mark, f"{one.regions:,}", *each, said, f"{where} ({part})"])
    heads = ["mark", "regions", *PARTS, "highest [95 %]", "at"]
    aligned = ("left", *["right"] * 5, "left")
    typer.echo(tabulate(lines, heads, disable_numparse=True, colalign=aligned))
    typer.echo(f"95 %: blocks of 10 kbp with genes, bootstrapped, none from fewer than {FEWEST}")
