"""`dnabench probe dependency`: which bases a language model reads together."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import (
    Device,
    Language,
    Regime,
    Settings,
    Trust,
    identified,
    likelihood_of,
)

if TYPE_CHECKING:
    from dnabench.probes.dependency import Map
    from dnabench.probes.figures import Along
    from dnabench.probes.places import Place
    from dnabench.types import Array

LARGEST = 5  # pairs that are printed
AXES = "base that is predicted", "base that is replaced"

Genome = Annotated[Path | None, typer.Option(help="FASTA file, plain or .gz.")]
Region = Annotated[str, typer.Option(help="Of the genome: chr1:101-200, from 1 with the end.")]
Mapped = Annotated[
    str,
    typer.Option(help="Of the genome: chr1:101-200, from 1 with the end (at most 4,096 bp)."),
]
OneSequence = Annotated[
    Path | None, typer.Option(help="File of one sequence, in place of a genome.")
]


def dependency(
    network: Language,
    genome: Genome = None,
    region: Mapped = "",
    fasta: OneSequence = None,
    gff: Annotated[
        Path | None,
        typer.Option(help="GFF3 or GTF file: the smallest feature of each base above the map."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("dependency"),
    regime: Regime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Map which bases change which others.

    Every base of a region is replaced by the three others; D(i to j) is the largest change of a
    base's log2 odds at j. For networks of single-base tokens; the region alone is read.
    """
    from dnabench.cli.bars import bar
    from dnabench.probes.dependency import UNIT, dependency, write
    from dnabench.probes.figures import map_figure
    from dnabench.reports.figures.style import save

    check_region(genome, region, fasta)
    likelihood = likelihood_of(network, 0, regime, set_, device, trust_remote_code)
    what = identified(network, regime, set_, trust_remote_code)
    with bar("reading") as show:
        place, codes, sha, others = read_region(genome, region, fasta)
        bases = along(place, len(codes), gff, others)
        show(description="mapping", total=len(codes), completed=0)
        found = dependency(likelihood, codes, lambda n: show(advance=n))
    name = f"{place.chromosome}:{region.rpartition(':')[2]}" if region else place.chromosome
    typer.echo(f"{likelihood.source.name} on {name}, {len(codes):,} bp; {UNIT}, from 0")
    _say(found, place, likelihood.source.trained)
    about = {
        **what, "region": name, "sha256": sha, "causal": found.causal,
        "computed": found.how, "trained": likelihood.source.trained or None,
    }  # fmt: skip
    files = write(found, place, about, to)
    for values, title in ((found.values, "dependency"), (found.symmetric, "symmetric")):
        save(
            lambda v=values: map_figure(name, UNIT, bases, v, AXES),  # type: ignore[misc]
            to / f"{title}.png",
        )
    typer.echo(f"{', '.join(f.name for f in files)}, dependency.png, symmetric.png in {to}")


def check_region(genome: Path | None, region: str, fasta: Path | None) -> None:
    """End the program unless a region is named in one of both ways."""
    if (genome is None) != (not region) or (genome is None) == (fasta is None):
        fail("say what to map: --genome FASTA --region chr1:101-200, or --fasta FILE")


def along(
    place: Place, length: int, gff: Path | None, others: Mapping[str, Collection[str]]
) -> Along:
    """The bases of a region, with their smallest features if there is a file of them."""
    import numpy as np

    from dnabench.probes.figures import Along
    from dnabench.probes.places import positions
    from dnabench.tasks.io.features import smallest_features

    step = 1 if place.strand == "+" else -1
    if gff is None:
        return Along(place.first, step)
    at = positions(place, np.arange(length))
    return Along(place.first, step, smallest_features(gff, [place.chromosome] * length, at, others))


def read_region(
    genome: Path | None, region: str, fasta: Path | None
) -> tuple[Place, Array, str, Mapping[str, Collection[str]]]:
    """Where the region lies, its codes, the hash of the file, and other names of sequences."""
    from dnabench.cache import file_sha256
    from dnabench.probes.dependency import region_of
    from dnabench.probes.mutagenesis import LONGEST
    from dnabench.probes.places import Place, place_of
    from dnabench.tasks.io.fasta import names_of
    from dnabench.tasks.io.lines import lines_of
    from dnabench.tasks.io.packed import packed
    from dnabench.tasks.io.unlabelled import read_parts, whole_sequences

    if genome is not None:
        read = packed(genome)
        name, first, codes = region_of(read, region)
        return Place(name, first, "+"), codes, read.sha256, read.others
    assert fasta is not None  # the command has looked
    parts = whole_sequences(read_parts(fasta), LONGEST)
    found = [(name, codes) for part in parts for name, _, codes, _ in part.segments()]
    if len(found) != 1:
        fail(f"--fasta {fasta}: {len(found):,} sequences; give a file of one, or --genome")
    name, codes = found[0]
    header = "" if fasta.suffix == ".parquet" else next(lines_of(fasta))[1]
    others = {name: names_of(header[1:])} if header.startswith(">") and header[1:].strip() else {}
    return place_of(name, len(codes)), codes, file_sha256(fasta), others


def _say(found: Map, place: Place, trained: int) -> None:
    """What was computed, and the pairs that depend on each other most."""
    import numpy as np

    from dnabench.pretraining.language_nets import beyond
    from dnabench.probes.places import positions
    from dnabench.sequences import letters_of

    typer.echo(found.how)
    if longer := beyond(len(found.codes), trained):
        typer.echo(longer)
    values = np.triu(np.nan_to_num(found.symmetric, nan=-1.0), 1)
    letters = letters_of(found.codes)
    at = positions(place, np.arange(len(values)))
    for k in np.argsort(-values, axis=None, kind="stable")[:LARGEST]:
        i, j = divmod(int(k), len(values))
        if values[i, j] > 0:
            typer.echo(f"  {at[i]} {letters[i]} and {at[j]} {letters[j]}: {values[i, j]:.3f}")
