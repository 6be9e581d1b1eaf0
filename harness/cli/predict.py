"""`dnabench predict`: a kept network on new sequences."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import Code, Device, Kept, Trust

if TYPE_CHECKING:
    from dnabench.networks.network import Network
    from dnabench.networks.predicting import Asked


def predict(
    network: Kept,
    file: Annotated[
        Path, typer.Argument(help="FASTA, CSV, TSV or Parquet; with --genome BED or VCF. Also .gz.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="File to write: .csv or .parquet; for each base .bed or .bedgraph. "
                     "Default: CSV or BED on the screen."),
    ] = None,
    calibrated: Annotated[
        bool,
        typer.Option("--calibrated", help="Divide logits by the temperature fitted on validation."),
    ] = False,
    window: Annotated[
        int, typer.Option(help="Cut sequences into windows of so many bp; 0 = do not.")
    ] = 0,
    stride: Annotated[
        int, typer.Option(help="A window every so many bp; 0 = they follow each other.")
    ] = 0,
    class_: Annotated[
        str,
        typer.Option("--class", help="Whose probability a bedGraph shows; default: the last."),
    ] = "",
    genome: Annotated[
        str, typer.Option(help="FASTA that regions of a BED file or variants of a VCF lie on.")
    ] = "",
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, tf32, bf16 or fp16 instead of the recipe's.")
    ] = "",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Predict new sequences with a kept network.

    Both strands are read if the network was trained so. Of a sequence: class, margin and
    probabilities, or values. Of regions (BED, narrowPeak, broadPeak) with --genome: the same, of
    windows that are cut as in training. Of each base: intervals of the predicted class, or a graph
    of one class's probability. Of variants, a VCF with --genome or a table with columns reference
    and alternative: effects, f(alternative) - f(reference). Memory grows with the variants of a
    VCF or the regions of a BED file, not with sequences.
    """
    from dnabench.host.machine import device_named
    from dnabench.networks.network import load_network
    from dnabench.networks.predicting import Asked

    with redirect_stdout(sys.stderr):  # code of your own may print
        loaded = load_network(
            network, model=model, device=device_named(device), precision=precision,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
    per_base = loaded.task.kind == "per_base"
    form = to.suffix.removeprefix(".").lower() if to else "bed" if per_base else "csv"
    asked = Asked(window, stride, calibrated, class_, genome)
    if window < 0 or stride < 0:
        fail(f"--window {window} --stride {stride}: give bp above 0")

    _write(loaded, file, to, form, asked)


def _write(loaded: Network, file: Path, to: Path | None, form: str, asked: Asked) -> None:
    """Answers go to a file or the screen; what code of your own prints goes to stderr."""
    from dnabench.cache import replacing
    from dnabench.cli.bars import bar
    from dnabench.networks.predicting import predict_file

    def say(note: str) -> None:
        typer.echo(f"note: {note}", err=True)

    if to is None:
        answers = sys.stdout.buffer
        with redirect_stdout(sys.stderr):
            predict_file(loaded, file, answers, form, asked, say)
        return
    with bar("predicting") as show, replacing(to) as out:
        n = predict_file(loaded, file, out, form, asked, say, lambda bp: show(advance=bp))
    per_base = loaded.task.kind == "per_base"
    typer.echo(f"{to}: {n:,} {'intervals' if per_base else 'rows'}")
