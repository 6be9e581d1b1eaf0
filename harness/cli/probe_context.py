"""`dnabench probe context`: how much context a prediction uses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.network_flags import (
    Code,
    Device,
    Regime,
    Settings,
    Trust,
    identified,
    likelihood_of,
)

if TYPE_CHECKING:
    from dnabench.probes.context import Asked, Places
    from dnabench.probes.context_files import Found, Row

DRAWN = 3  # positions that have a figure each


def context(
    network: Annotated[
        str,
        typer.Argument(help="Folder of `dnabench pretrain`, a model with official weights, or a "
                       "kept network with an answer for each base (runs/networks/TRIAL)."),
    ],
    genome: Annotated[Path, typer.Option(help="FASTA file, plain or .gz.")],
    at: Annotated[Path, typer.Option(help="BED file: the middle of each region is predicted.")],
    gff: Annotated[
        Path | None,
        typer.Option(help="GFF3 or GTF file: results by the smallest feature over a position."),
    ] = None,
    to: Annotated[Path, typer.Option(help="Folder to write.")] = Path("context"),
    longest: Annotated[int, typer.Option(help="Bp of the longest context.", min=2)] = 2_000,
    step: Annotated[int, typer.Option(help="Bp from one context to the next.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the shuffled flanks.")] = 0,
    length: Annotated[
        int,
        typer.Option(help="Bp of the windows that official weights were trained on, if you know; "
                     "marked in context.png, nothing else.", min=0),
    ] = 0,
    regime: Regime = "pretrained",
    set_: Settings = [],  # noqa: B006
    device: Device = "auto",
    model: Code = "",
    trust_remote_code: Trust = False,
) -> None:  # fmt: skip
    """Show how much context predictions use.

    The base in the middle is predicted (hidden, or next in a causal model) as more bases around it
    are shown: with nothing beyond them, and with shuffled bases beyond them. Two rules say from
    which context on the prediction stays as it is.
    """
    from dnabench.cache import file_sha256
    from dnabench.cli.bars import bar
    from dnabench.probes.context import contexts_of, places_of
    from dnabench.probes.context_files import probe_context, table, write_about
    from dnabench.tasks.io.features import smallest_features
    from dnabench.tasks.io.packed import packed
    from dnabench.tasks.io.regions import read_regions

    asked = _asked(network, length, regime, set_, device, model, trust_remote_code)
    contexts = contexts_of(asked, longest, step)
    what = identified(network, regime, set_, trust_remote_code)
    reach = int(contexts[-1]) // (1 if asked.causal else 2)
    with bar("reading") as show:
        read = packed(genome, lambda done, total: show(completed=done, total=total))
        places = places_of(read_regions(at), read, reach)
        kinds = smallest_features(gff, places.chrom, places.at, read.others) if gff else []
        show(description="asking", total=len(places.at), completed=0)
        found = probe_context(
            asked, read, places, contexts, kinds, to, seed=seed, few=DRAWN,
            progress=lambda n: show(advance=n),
        )  # fmt: skip
    rows = table(found)
    _say(asked, places, found, rows, longest)
    about = {
        **what, "how": asked.how, "trained": asked.trained or None, "seed": seed,
        "contexts": contexts.tolist(), "left out": places.left_out, "genome": read.sha256,
        "at": file_sha256(at), "gff": file_sha256(gff) if gff else "",
    }  # fmt: skip
    write_about(rows, about, to)
    drawn = _draw(asked, found, to)
    typer.echo(f"context.parquet, predictions.parquet, context.json, {', '.join(drawn)} in {to}")


def _asked(
    network: str, length: int, regime: str, set_: list[str], device: str, code: str, trust: bool
) -> Asked:
    from dnabench.host.machine import device_named
    from dnabench.networks.card import is_kept
    from dnabench.networks.network import load_network
    from dnabench.pretraining.language_nets import check_own_weights
    from dnabench.probes.context import of_language, of_network
    from dnabench.sweep.settings import given_options

    kept, folder = is_kept(network), Path(network).is_dir()
    if folder and length:
        fail(f"--length {length}: {network} knows the windows of its training; leave it out")
    if not kept:
        if code:
            fail(f"--model {code}: for a kept network, and {network} is none; leave it out")
        asked = of_language(likelihood_of(network, 0, regime, set_, device, trust))
        return asked._replace(trained=length or asked.trained)
    check_own_weights(network, regime)
    given_options(network, set_)  # a kept network has its own
    return of_network(
        load_network(
            network, model=code, device=device_named(device), trust_remote_code=trust
        )
    )  # fmt: skip


def _say(asked: Asked, places: Places, found: Found, rows: Sequence[Row], longest: int) -> None:
    from tabulate import tabulate

    from dnabench.pretraining.blocks import FEWEST
    from dnabench.probes.context import AHEAD
    from dnabench.reports.grid import count

    sides = "before it" if asked.causal else "around it, on both sides together"
    trained = f"; trained on {asked.trained:,} bp" if asked.trained else ""
    typer.echo(
        f"{asked.name}, {asked.how}: {count(len(places.at), 'position')}, contexts of "
        f"{found.contexts[0]} to {found.longest:,} bp {sides}{trained}"
    )
    if longest >= asked.most:
        typer.echo(f"  --longest {longest:,} was cut: {asked.name} reads {asked.most:,} bp at most")
    for why, n in places.left_out.items():
        if n:
            typer.echo(f"  left out: {n:,}, {why}")
    limit = found.testable
    lines = [
        [row.kind, row.flanks, f"{row.n:,}", _middle(row.still, row.still_quartiles, limit),
         _between(row.still_interval, limit), "" if limit < 0 else f"{row.unsettled:,}",
         _middle(row.last, row.last_quartiles), _between(row.last_interval), f"{row.censored:,}"]
        for row in rows
    ]  # fmt: skip
    heads = ["annotation", "flanks", "n", "still (bp)", "95 %", "never", "last (bp)", "95 %"]
    typer.echo(
        tabulate(lines, [*heads, "censored"], disable_numparse=True,
                 colalign=("left", "left", *["right"] * 7))
    )  # fmt: skip
    if limit < 0:
        typer.echo(
            f"still: needs {AHEAD} contexts, there are {len(found.contexts)}; take a smaller --step"
        )
    typer.echo(
        "medians [quartiles]; still: the first context after which 100 in a row hardly vary; last: "
        "total variation to the longest stays under .02 from there on; 95 %: blocks of "
        f"10 kbp, bootstrapped, none from fewer than {FEWEST}"
    )


def _middle(value: float, quartiles: tuple[float, float], limit: int = 0) -> str:
    low, high = (_bp(x, limit) for x in quartiles)
    return "" if value != value else f"{_bp(value, limit)} [{low}, {high}]"


def _between(interval: tuple[float, float] | None, limit: int = 0) -> str:
    return f"{_bp(interval[0], limit)} to {_bp(interval[1], limit)}" if interval else ""


def _bp(value: float, limit: int) -> str:
    return f"> {limit:,}" if value == float("inf") else f"{value:,.0f}"


def _draw(asked: Asked, found: Found, to: Path) -> list[str]:
    from dnabench.probes.context_figures import context_figure, position_figure
    from dnabench.reports.figures.style import save

    trained = asked.trained if asked.trained <= found.longest else 0
    save(lambda: context_figure(found, trained), to / "context.png")
    for old in to.glob("position-*.png"):
        old.unlink()
    n = len(found.first["none"])
    for i in range(n):
        save(
            lambda i=i: position_figure(found, i, asked.classes),  # type: ignore[misc]
            to / f"position-{i + 1}.png",
        )
    return ["context.png", *(f"position-{i + 1}.png" for i in range(n))]
