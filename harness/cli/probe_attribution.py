"""`dnabench probe attribution`: what each base adds to an answer, and the stretches that matter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.network_flags import Code, Device, NewFile, Output, Trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dnabench.probes.attribution import Found
    from dnabench.probes.mutagenesis import Answer

FIGURES = 10  # sequences that are drawn and printed
SEQLETS = 3  # that are printed for each


def attribution(
    network: Annotated[str, typer.Argument(help="A kept network: runs/networks/TRIAL.")],
    file: NewFile,
    output: Output = "",
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("attribution"),
    shuffles: Annotated[
        int, typer.Option(help="Shuffled sequences that each is compared with.", min=1)
    ] = 4,
    steps: Annotated[
        int, typer.Option(help="Points of the path from one to the other.", min=2)
    ] = 32,
    seed: Annotated[int, typer.Option(help="Seed of the shuffling.")] = 0,
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show what each base adds to an answer.

    Integrated gradients from sequences with shuffled dinucleotides to each sequence; stretches with
    more than shuffled sequences have are seqlets, drawn as letters. For networks of single-base
    tokens; needs 'dnabench[attribution]'.
    """
    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.networks.identity import identity
    from dnabench.networks.network import load_network
    from dnabench.probes.attribution import How, attribution_of_file
    from dnabench.probes.attribution_files import write
    from dnabench.probes.mutagenesis import answer_of
    from dnabench.probes.seqlets import RARE, WIDTH, limit_of

    loaded = load_network(
        network, model=model, device=device_named(device), precision="fp32",
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    answer, how = answer_of(loaded, output), How(shuffles, steps, seed)
    with bar("attributing") as show:
        found, null = attribution_of_file(
            loaded, file, answer, how, lambda bp: show(advance=bp)
        )  # fmt: skip
    worst = max((abs(one.attributed.error) for one in found), default=0.0)
    typer.echo(f"{answer.name}; the sum of a sequence is its answer minus that of shuffled ones")
    _say(found, answer)
    typer.echo(f"sums are {worst:.2g} off at most; more --steps make that smaller")
    about = {
        **identity(network), "answer": answer.name, "file": file_sha256(file), **how._asdict(),
        "window": WIDTH, "limit": limit_of(null), "rare": RARE, "null windows": len(null),
        "worst error of a sum": worst,
    }  # fmt: skip
    names = write(found, answer.name, about, to, FIGURES)
    typer.echo(f"\n{', '.join(names)} in {to}")


def _say(found: Sequence[Found], answer: Answer) -> None:
    from dnabench.probes.places import counted, place_of, placed
    from dnabench.reports.grid import count

    shown = found[:FIGURES]
    places = [place_of(one.name, len(one.codes)) for one in shown]
    typer.echo(counted(places, [one.name for one in shown]))
    for one, place in zip(shown, places, strict=True):
        own = one.attributed
        typer.echo(f"  {one.name}: {answer.text(own.answer)}, shuffled {answer.text(own.baseline)}")
        for seqlet in one.seqlets[:SEQLETS]:
            adds = answer.text(seqlet.attribution, "+")
            start, end = placed(place, seqlet.start, seqlet.end)
            typer.echo(f"    {start}-{end} {seqlet.letters}  {adds}")
    if len(found) > FIGURES:
        typer.echo(f"  ... and {len(found) - FIGURES:,} more")
    total = sum(len(one.seqlets) for one in found)
    typer.echo(f"{count(total, 'seqlet')} in {count(len(found), 'sequence')}")
