"""`dnabench check-model`: whether a network can be compared fairly."""

from __future__ import annotations

from typing import Annotated

import typer

from dnabench.cli.options import OneModel


def check_model(
    model: OneModel,
    set_: Annotated[list[str], typer.Option("--set", help="Model option: width=64.")] = [],  # noqa: B006
    length: Annotated[int, typer.Option(help="bp of the longest sequence.")] = 100,
) -> None:
    """Check that a network can be compared fairly.

    Tried are padding, neighbours, strands, seeds, gradients, bf16, saving and speed. MODEL is a
    name, or your file and the class in it: net.py:Name. An included model is checked with fewer
    layers. Sequences are random. The exit status is 1 when a check fails.
    """
    from dnabench.models.outside.references import model_named
    from dnabench.sweep.settings import check_once, check_settings, chosen
    from dnabench.train.check_model import check_model

    found = model_named(model, lambda note: typer.echo(f"note: {note}", err=True))
    check_once(set_)
    check_settings([found], set_)
    reduced = [f"{name}={value}" for name, value in found.reduced.items()]
    options, _ = chosen(found, [*reduced, *set_])
    failed = 0
    for name, ok, says in check_model(found, options, length):
        failed += ok is False
        typer.echo(f"{'skip' if ok is None else 'ok  ' if ok else 'FAIL'}  {name:<10}  {says}")
    if failed:
        raise typer.Exit(1)
