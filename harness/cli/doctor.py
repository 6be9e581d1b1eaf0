"""`dnabench doctor`: what works on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.options import Json, Out


def doctor(
    out: Out = Path("runs"),
    online: Annotated[
        bool, typer.Option("--online", help="Also check that the Hugging Face hub answers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check this machine and suggest fixes.

    Exits with status 1 when something is broken.
    """
    from dnabench.host.doctor import examine

    found = examine(out, online)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in found], indent=1))
    else:
        for finding in found:
            mark = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}[finding.state]
            fix = f" -> {finding.way_out}" if finding.way_out else ""
            typer.echo(f"{mark}  {finding.topic}: {finding.says}{fix}")
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(1)
