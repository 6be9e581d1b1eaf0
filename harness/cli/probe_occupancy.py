"""`dnabench probe occupancy`: where along genes marks lie."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def occupancy(
    bed: Annotated[
        Path, typer.Option(help="BED or narrowPeak file of marks, named in column 4 if several.")
    ],
    gff: Annotated[Path, typer.Option(help="GFF3 or GTF file of genes.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("occupancy"),
    flank: Annotated[int, typer.Option(help="Bp before and behind genes.", min=20)] = 1_000,
    coding: Annotated[
        bool, typer.Option("--coding/--exons", help="Genes begin with their CDS, or with exons.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the blocks that are drawn.")] = 0,
) -> None:  # fmt: skip
    """Show where along genes marks lie.

    Genes are laid over each other in reading direction: 20 bins before, 40 along and 20 behind
    them. The share of each bin that a mark covers is a mean over genes, with a 95 % interval from
    blocks of 10 kbp drawn again.
    """
    from tabulate import tabulate

    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.probes.occupancy import (
        PARTS,
        bins,
        genes_in,
        means,
        occupancy_figure,
        profiles,
        write,
    )  # fmt: skip
    from dnabench.reports.figures.style import save
    from dnabench.tasks.io.annotation import read_annotation
    from dnabench.tasks.io.regions import read_regions

    with bar("reading") as show:
        genes = genes_in(read_annotation(gff, coding=coding))
        regions = read_regions(bed)
        show(description="covering")
        found = profiles(regions, genes, flank, seed, lambda n: show(advance=n))
    lines = []
    for one in found:
        top = int(one.share.argmax())
        part, a, b = bins(flank)[top]
        where = f"{a:,.0f} to {b:,.0f} bp" if part != "gene" else f"{a:.0%} to {b:.0%} of the gene"
        low, high = one.interval[top]
        said = f"{one.share[top]:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low == low else "")
        each = [f"{value:.3f}" for value in means(one).values()]
        lines.append([one.mark, f"{one.regions:,}", *each, said, f"{where} ({part})"])
    typer.echo(f"{len(genes.start):,} genes; shares of bp that are covered, means over genes")
    heads = ["mark", "regions", *PARTS, "highest [95 %]", "at"]
    aligned = ("left", *["right"] * 5, "left")
    typer.echo(tabulate(lines, heads, disable_numparse=True, colalign=aligned))
    about = {"genes": len(genes.start), "bed": file_sha256(bed), "gff": file_sha256(gff)}
    write(found, flank, {**about, "seed": seed}, to)
    save(lambda: occupancy_figure(found, flank), to / "occupancy.png")
    typer.echo(f"occupancy.parquet, occupancy.json, occupancy.png in {to}")
