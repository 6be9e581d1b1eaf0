"""`dnabench profile`: what a sequence length costs each model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.bars import bar
from dnabench.cli.errors import fail, split_commas
from dnabench.cli.network_flags import CpuDevice
from dnabench.cli.options import names_of


def profile(
    models: Annotated[
        list[str],
        typer.Option("--models", "-m", help="Comma-separated networks.",
                     autocompletion=names_of("models")),
    ] = ["convnova", "hyenadna", "caduceus_ph"],  # noqa: B006
    lengths: Annotated[str, typer.Option(help="Comma-separated lengths in bp.")] = "200,1000",
    device: CpuDevice = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    to: Annotated[
        Path, typer.Option(help="Figure to write (.png, .pdf, .svg); the table goes beside it.")
    ] = Path("profile.png"),
) -> None:  # fmt: skip
    """Measure time and memory by sequence length.

    Each model runs a forward pass and a training step at each length, in a process of its own.
    """
    from dnabench.forecast.profile import profile as measured
    from dnabench.forecast.profile import table
    from dnabench.reports.figures.profile import draw

    names, words = split_commas(models), split_commas([lengths])
    if not words or not all(word.isdigit() for word in words):
        fail(f"--lengths {lengths!r}: give comma-separated lengths in bp, e.g. 1000,10000")
    if to.suffix.lower() not in (".png", ".pdf", ".svg") or not to.parent.is_dir():
        fail(f"--to {to}: give a .png, .pdf or .svg file in an existing folder")
    with bar("profile", len(names) * len(words)) as show:
        rows = measured(
            names, [int(word) for word in words], device, on_row=lambda cost: show(advance=1),
            threads=threads,
        )  # fmt: skip
    text = table(rows)
    typer.echo(text)
    to.with_suffix(".md").write_text(text, encoding="utf-8")
    draw([row._asdict() for row in rows], to)
    typer.echo(str(to))
    if any(row.error for row in rows):
        raise typer.Exit(1)
