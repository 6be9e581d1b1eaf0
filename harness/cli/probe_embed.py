"""`dnabench probe embed`: which kinds of regions a network distinguishes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import (
    AnyNetwork,
    AnyRegime,
    Code,
    Device,
    Layer,
    Settings,
    Trust,
    Window,
    identified,
)
from dnabench.cli.table import between

if TYPE_CHECKING:
    from dnabench.probes.embed import Windows
    from dnabench.probes.separation import Separated
    from dnabench.tasks.io.packed import Genome
    from dnabench.tasks.io.regions import Regions
    from dnabench.types import Array

Most = Annotated[int, typer.Option(help="Maximum regions; a random subset of more.", min=10)]
Seed = Annotated[int, typer.Option(help="Seed of that subset, matching, intervals and UMAP.")]


def embed(
    network: AnyNetwork,
    bed: Annotated[Path, typer.Option(help="BED file of regions, their classes in column 4.")],
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    gff: Annotated[
        Path | None,
        typer.Option(help="GFF3 or GTF file: classes are coding, intron, promoter, intergenic; "
                     "column 4 is not read."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("embed"),
    layer: Layer = 0,
    umap: Annotated[
        bool, typer.Option("--umap", help="UMAP beside PCA (needs 'dnabench[umap]').")
    ] = False,
    most: Most = 10_000,
    seed: Seed = 0,
    length: Window = 0,
    regime: AnyRegime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show which kinds of regions a network distinguishes.

    Each region's embedding is the mean over its bases, read in the middle of a window on both
    strands. Silhouette and the accuracy of nearest neighbours put a number to the picture; beside
    them stand GC and words of 4 bp, for all regions and for as many of every class at each GC.
    `dnabench embed` writes embeddings of your sequences alone.
    """
    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.pretraining.language_nets import beyond
    from dnabench.probes.embed import embeddings, language_source
    from dnabench.probes.embed_files import write
    from dnabench.probes.separation import components, separation, umap_of
    from dnabench.sweep.settings import given_options
    from dnabench.tasks.io.packed import packed

    device, trust = device_named(device), trust_remote_code
    options = given_options(network, set_, trust)
    source, length = language_source(network, length, regime, device, model, trust, options)
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        windows = _windows(bed, gff, read, length, most, seed)
        show(description="embedding", total=len(windows.kinds), completed=0)
        x = embeddings(source, windows, layer, device, lambda n: show(advance=n))
        show(description="comparing")
        found = separation(windows, x, seed)
        at, shares = components(x)
        maps = {"pc": at} | ({"umap": umap_of(x, seed)} if umap else {})
    name = f"{Path(network).name}, {x.shape[1]:,} features"
    _say(name, windows, found, beyond(length, source.trained))
    about = {
        **identified(network, regime, set_, trust), "layer": layer, "window": length, "seed": seed,
        "trained": source.trained or None, "genome": read.sha256, "bed": file_sha256(bed),
        "gff": file_sha256(gff) if gff else "", "left out": windows.left_out,
    }  # fmt: skip
    write(windows, x, found, maps, {**about, "variance of components": shares}, to)
    _draw(windows, maps, shares, to)


def _windows(
    bed: Path, gff: Path | None, genome: Genome, length: int, most: int, seed: int
) -> Windows:
    from dnabench.probes.embed import windows_of
    from dnabench.probes.separation import comparable
    from dnabench.tasks.io.regions import read_regions

    regions = read_regions(bed)
    return comparable(windows_of(regions, genome, length, _kinds(regions, genome, gff), most, seed))


def _kinds(regions: Regions, genome: Genome, gff: Path | None) -> Sequence[str | None]:
    from dnabench.probes.embed import kinds_of
    from dnabench.tasks.io.annotation import read_annotation

    if gff:
        return kinds_of(read_annotation(gff), genome, regions)
    if not len(regions.names):
        fail(f"{regions.path}: column 4 has no classes; write them there, or give --gff")
    return regions.names


def _say(name: str, windows: Windows, found: Separated, remark: str) -> None:
    from tabulate import tabulate

    from dnabench.pretraining.blocks import FEWEST

    n, length = windows.codes.shape
    typer.echo(f"{name}: {n:,} regions, windows of {length:,} bp")
    for why, n in windows.left_out.items():
        if n:
            typer.echo(f"  left out: {n:,}, {why}")
    if remark:
        typer.echo(f"  {remark}")
    lines = [
        [row.regions, row.features, f"{row.n:,}", f"{row.silhouette:.3f}",
         between(row.silhouette_interval), f"{row.accuracy:.3f}", between(row.accuracy_interval),
         f"{row.chance:.3f}"]
        for row in found.rows
    ]  # fmt: skip
    heads = ["regions", "features", "n", "silhouette", "95 %", "neighbours", "95 %", "chance"]
    aligned = ("left", "left", *["right"] * 6)
    typer.echo(tabulate(lines, heads, disable_numparse=True, colalign=aligned))
    if found.unmatched:
        typer.echo(found.unmatched)
    asked = " or ".join(map(str, sorted({row.neighbours for row in found.rows})))
    typer.echo(
        f"cosine distance; neighbours: mean share of right classes, by the {asked} nearest in "
        f"other blocks; 95 %: blocks of 10 kbp, bootstrapped, none from fewer than {FEWEST}"
    )


def _draw(windows: Windows, maps: Mapping[str, Array], shares: Sequence[float], to: Path) -> None:
    from dnabench.probes.embed_files import embed_figure
    from dnabench.reports.figures.style import save

    labels = {"pc": f"{shares[0]:.0%} and {shares[1]:.0%} of variance", "umap": "cosine distance"}
    names = {"pc": "PCA", "umap": "UMAP"}
    shown = {names[key]: (at, labels[key]) for key, at in maps.items()}
    save(lambda: embed_figure(shown, windows.kinds), to / "embed.png")
    typer.echo(f"embed.parquet, embed.json, embed.png in {to}")
