"""`dnabench embed`: what a network makes of sequences before its head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.network_flags import Code, Device, Layer, Trust
from dnabench.cli.options import names_of


def embed(
    network: Annotated[
        str,
        typer.Argument(help="A kept network (runs/networks/TRIAL), or a model.",
                       autocompletion=names_of("models")),
    ],
    file: Annotated[
        Path, typer.Argument(help="FASTA, CSV, TSV or Parquet; with --genome BED. Also .gz.")
    ],
    to: Annotated[Path, typer.Option(help="File to write: .parquet or .npy.")],
    layer: Layer = 0,
    pool: Annotated[
        str,
        typer.Option(help="own (what the head sees), mean, max, cls, or none: one row per base."),
    ] = "own",
    strands: Annotated[
        str, typer.Option(help="one, or mean: of both strands' embeddings.")
    ] = "one",
    regime: Annotated[
        str, typer.Option(help="Weights of a model: pretrained, scratch or checkpoint:PATH.")
    ] = "pretrained",
    set_: Annotated[
        list[str], typer.Option("--set", help="Option of a model: width=256; may be repeated.")
    ] = [],  # noqa: B006
    genome: Annotated[
        str, typer.Option(help="FASTA that the regions of a BED file lie on (kept networks).")
    ] = "",
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Write embeddings of sequences, one row each.

    For clustering, UMAP or a model of your own; `dnabench probe embed` shows which kinds of regions
    a network distinguishes. Features of official or kept weights are kept
    in the cache and used again. With --genome, the regions of a BED file are read in windows that
    are cut as in the training of the kept network.
    """
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.networks.embed_file import embed_file, source_of
    from dnabench.networks.embedding import Embedder
    from dnabench.reports.grid import count
    from dnabench.sweep.settings import given_options

    device = device_named(device)
    options = given_options(network, set_, trust_remote_code)
    source = source_of(network, file, regime, device, model, trust_remote_code, options)
    embedder = Embedder(source, layer, pool, strands, device)
    with bar("embedding") as show:
        rows, width = embed_file(embedder, file, to, lambda bp: show(advance=bp), genome)
    typer.echo(f"{to}: {count(rows, 'row')} of {count(width, 'feature')}")
