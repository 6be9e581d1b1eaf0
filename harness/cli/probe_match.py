"""`dnabench probe match`: controls that resemble labelled variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail

if TYPE_CHECKING:
    from dnabench.probes.resemblance import Compared
    from dnabench.tasks.io.annotation import Annotation
    from dnabench.types import Array

SHOWN = 5  # kinds with too few controls


def match(
    file: Annotated[
        Path, typer.Argument(help=".parquet file with chrom, pos (from 1), ref, alt and a label.")
    ],
    to: Annotated[
        Path | None, typer.Option(help=".parquet file to write; default NAME.matched.parquet here.")
    ] = None,
    labels: Annotated[str, typer.Option(help="Column with 0 or 1; others are left out.")] = "label",
    exact: Annotated[
        str, typer.Option(help="Columns in which controls are equal.")
    ] = "chrom,consequence",
    near: Annotated[
        str,
        typer.Option(help="Columns of numbers in which they are near; of complex traits "
                     "tss_dist,maf,ld_score."),
    ] = "tss_dist",
    controls: Annotated[int, typer.Option(help="Controls per variant of class 1.", min=1)] = 9,
    gff: Annotated[
        Path | None,
        typer.Option(help="GFF3 or GTF file from which tss_dist is made where it is missing."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw where controls are too few.")] = 0,
) -> None:  # fmt: skip
    """Match controls to variants.

    Each variant of class 1 gets the nearest controls of its chromosome and consequence, each
    control once; others are left out. The table that is written has them in the order of the file,
    with their groups in match_group, for `dnabench probe variants --labels`. A table and a figure
    beside it show for each column how alike both are, before and after.
    """
    from dnabench.cache import replacing
    from dnabench.probes.matching import matched_table, with_distances
    from dnabench.probes.resemblance import compared
    from dnabench.probes.variant_tables import DISTANCE, is_table, read_table
    from dnabench.reports.grid import count

    out = to or Path(f"{file.name.removesuffix('.parquet')}.matched.parquet")
    if not is_table(out):
        fail(f"--to {out}: name a file that ends in .parquet")
    if out.exists() and file.exists() and out.samefile(file):
        fail(f"--to {out}: that is the file of variants; name another")
    same, alike = (list(filter(None, text.split(","))) for text in (exact, near))
    if gff and DISTANCE not in alike:
        fail(f"--gff {gff}: {DISTANCE} is not in --near, so that nothing is read from it")
    wanted = [name for name in (labels, *same, *alike) if not (gff and name == DISTANCE)]
    read = read_table(file, wanted)
    if gff:
        read = with_distances(_genes(gff), read, file)
    table, found = matched_table(read, file, labels, same, alike, controls, seed)
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with replacing(out) as opened:
        pq.write_table(table, opened, compression="zstd")
    groups = int(found.group.max()) + 1
    typer.echo(
        f"{count(groups, 'variant')} of class 1 with {count(controls, 'control')} each, of "
        f"{found.controls:,}; "
        f"equal in {', '.join(same) or 'nothing'}, near in {', '.join(alike) or 'nothing'}"
    )
    few = sorted(found.dropped.items(), key=lambda one: -one[1])
    if few:
        typer.echo(f"  left out for want of controls: {sum(found.dropped.values()):,}")
    for kind, n in few[:SHOWN]:
        typer.echo(f"    {n:,}, {kind}")
    _show(compared(read, labels, same, alike, found), sum(found.dropped.values()), out)


def _show(columns: Sequence[Compared], dropped: int, out: Path) -> None:
    """The table of what both are like, and the figure."""
    from tabulate import tabulate

    from dnabench.probes.resemblance import resemblance_figure
    from dnabench.reports.figures.style import save

    if not columns:
        typer.echo(f"nothing is compared, so that there is no figure\n{out}")
        return
    lines = [
        [one.name, *(_like(x, one.numbers) for x in one.groups), *(f"{x:.3f}" for x in one.apart)]
        for one in columns
    ]
    heads = ["column", "class 1", "all controls", "matched", "apart", "then"]
    typer.echo(tabulate(lines, heads, disable_numparse=True, colalign=("left", *["right"] * 5)))
    typer.echo(
        "medians, or how many kinds; apart: of class 1 from all controls, then from matched ones, "
        "0 = alike, 1 = apart throughout (numbers: the largest difference of cumulative shares; "
        "else of shares)"
    )
    figure = out.with_name(f"{out.name}.png")
    save(lambda: resemblance_figure(columns, dropped), figure)
    typer.echo(f"{out}, {figure}")


def _like(values: Array, numbers: bool) -> str:
    import numpy as np

    from dnabench.reports.grid import count

    return f"{np.median(values):,.4g}" if numbers else f"{count(len(np.unique(values)), 'kind')}"


def _genes(gff: Path) -> Annotation:
    from dnabench.tasks.io.annotation import read_annotation

    return read_annotation(gff, coding=False)
