"""`dnabench probe attention`: where the attention of a transformer goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.network_flags import (
    AnyNetwork,
    AnyRegime,
    Code,
    Device,
    Settings,
    Trust,
    identified,
)
from dnabench.cli.probe_dependency import (
    Genome,
    OneSequence,
    Region,
    along,
    check_region,
    read_region,
)

if TYPE_CHECKING:
    from dnabench.probes.attention import Attention, Profile
    from dnabench.probes.figures import Along
    from dnabench.types import Array

AXES = "base that is attended to", "base that attends"
SHOWN = 12  # layers that are printed
BEYOND = 0.01  # of pairs, which have the last colour of a map: the diagonal is far above the rest


def attention(
    network: AnyNetwork,
    genome: Genome = None,
    region: Region = "",
    fasta: OneSequence = None,
    gff: Annotated[
        Path | None,
        typer.Option(help="GFF3 or GTF file: the smallest feature of each base above the maps."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("attention"),
    regime: AnyRegime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show where the attention of a transformer goes.

    The share of attention by distance for each layer and head, and maps of the region: the mean of
    all layers and heads, and attention rollout. Networks without attention are refused.
    """
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.pretraining.language_nets import beyond
    from dnabench.probes.attention import attention as attention_of
    from dnabench.probes.attention import of_bases, profile, rollout
    from dnabench.probes.attention_files import write
    from dnabench.probes.embed import language_source
    from dnabench.sweep.settings import given_options

    check_region(genome, region, fasta)
    with bar("reading") as show:
        place, codes, sha, others = read_region(genome, region, fasta)
        options, bp = given_options(network, set_, trust_remote_code), len(codes)
        bases, device = along(place, bp, gff, others), device_named(device)
        source, _ = language_source(
            network, bp, regime, device, model, trust_remote_code, options, "the region has {} bp"
        )
        what = identified(network, regime, set_, trust_remote_code)
        show(description="running")
        found = attention_of(source, codes, device)
        by_distance = profile(found)
        maps = {
            "mean": of_bases(found, found.weights.mean((0, 1)), bp),
            "rollout": of_bases(found, rollout(found), bp),
        }
    name = f"{place.chromosome}:{region.rpartition(':')[2]}" if region else place.chromosome
    typer.echo(f"{Path(network).name} on {name}, {bp:,} bp")
    if longer := beyond(bp, source.trained):
        typer.echo(longer)
    _say(found, by_distance)
    about = {
        **what, "region": name, "sha256": sha, "tokens": len(found.start),
        "trained": source.trained or None,
    }  # fmt: skip
    write(found, by_distance, maps, place, about, to)
    _draw(name, bases, maps, by_distance, to)


def _draw(
    name: str, bases: Along, maps: Mapping[str, Array], by_distance: Profile, to: Path
) -> None:
    from dnabench.probes.attention_files import distance_figure
    from dnabench.probes.figures import map_figure
    from dnabench.reports.figures.style import save

    for title, values in maps.items():
        save(
            lambda v=values, t=title: map_figure(  # type: ignore[misc]
                name, t, bases, v, AXES, beyond=BEYOND
            ),
            to / f"{title}.png",
        )
    save(lambda: distance_figure(by_distance), to / "distance.png")
    typer.echo(
        "distance.parquet, maps.parquet, attention.json, mean.png, rollout.png, distance.png in "
        f"{to}"
    )


def _say(found: Attention, by_distance: Profile) -> None:
    from tabulate import tabulate

    from dnabench.reports.grid import count

    mean, special = by_distance.mean, found.to_special
    lines = [
        [str(a + 1), str(len(mean[a])), f"{mean[a].mean():,.1f}",
         f"{mean[a].min():,.1f} to {mean[a].max():,.1f}", f"{special[a].mean():.3f}"]
        for a in range(len(mean))
    ]  # fmt: skip
    heads = ["layer", "heads", "mean distance (bp)", "by head", "to special tokens"]
    typer.echo(tabulate(lines[:SHOWN], heads, disable_numparse=True, colalign=("right",) * 5))
    if len(lines) > SHOWN:
        typer.echo(f"... and {count(len(lines) - SHOWN, 'more layer')}")
