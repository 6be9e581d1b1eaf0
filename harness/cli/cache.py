"""`dnabench cache ...`: what is kept on disk beside the results."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.help import command, group
from dnabench.cli.options import Json
from dnabench.cli.table import Rows, print_table

cache = group("cache", "List and clear what is cached on disk.")
OutToo = Annotated[
    Path | None, typer.Option("--out", "-o", help="Include the caches in this results folder.")
]


@command(cache, "list", "", "--out runs", "--json")
def list_(out: OutToo = None, as_json: Json = False) -> None:
    """List the cached files with their size, last use and purpose."""
    from dnabench.cache import cache_folder, room
    from dnabench.host.disk import entries, size

    found = entries(out)
    if as_json:
        rows = [{**entry._asdict(), "path": str(entry.path)} for entry in found]
        typer.echo(json.dumps(rows, indent=1))
        return
    lines: Rows = [
        (e.name, size(e.bytes), time.strftime("%Y-%m-%d", time.localtime(e.used)), e.what, e.path)
        for e in found
    ]
    print_table(("name", "size", "last use", "what", "where"), lines)
    ours = [e for e in found if e.ours]
    total = size(sum(e.bytes for e in ours))
    free = room(cache_folder())
    entries_of = f"{len(ours)} {'entry' if len(ours) == 1 else 'entries'} of {cache_folder()}"
    typer.echo(f"\n{total} in {entries_of}; {size(free)} of disk free")


@command(cache, "clear", "fetched", "task:gue --yes", "--all --yes")
def clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="As in `cache list`; tasks, or task:gue, for several."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that dnabench made.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    out: OutToo = None,
) -> None:
    """Remove files that can be made or downloaded again.

    Never removes records, and nothing that another process is using.
    """
    from dnabench.host.disk import clear as cleared
    from dnabench.host.disk import entries, named, size

    if bool(names) == everything:
        fail("name the entries to clear, as `dnabench cache list` shows them, or pass --all")
    found = entries(out)
    chosen = [e for e in found if e.ours] if everything else named(names or [], found)
    if not chosen:
        typer.echo("nothing to clear")
        return
    if not yes:
        for entry in chosen:
            typer.echo(f"{entry.name}: {size(entry.bytes)}, {entry.path}")
        if not sys.stdin.isatty():
            fail("stdin is not a terminal; pass --yes to remove these")
        typer.confirm(
            f"remove {len(chosen)} {'entry' if len(chosen) == 1 else 'entries'}?", abort=True
        )
    done = cleared(chosen)
    for entry, why in done:
        if why:
            typer.echo(f"{entry.name} was kept: {why}", err=True)
    gone = [entry for entry, why in done if not why]
    typer.echo(f"{len(gone)} removed, {size(sum(e.bytes for e in gone))} freed")
    if len(gone) < len(done):
        raise typer.Exit(1)
