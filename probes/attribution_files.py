"""Attributions on disk: Parquet, bedGraph, seqlets as Parquet and BED, figures with logos."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.cache import replacing
from dnabench.probes.attribution import Found
from dnabench.probes.mutagenesis import graph_lines
from dnabench.probes.places import place_of, positions
from dnabench.probes.seqlets import Seqlet
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGO = 60  # bp that are drawn as letters
SIZE = (8.0, 3.6)  # inches
BASES = [
    ("id", "string"), ("chrom", "string"), ("position", "int64"), ("strand", "string"),
    ("base", "string"), ("attribution", "double"),
]  # fmt: skip
STRETCHES = [
    ("id", "string"), ("chrom", "string"), ("start", "int64"), ("end", "int64"),
    ("strand", "string"), ("letters", "string"), ("attribution", "double"), ("p", "double"),
]  # fmt: skip


def write(
    found: Sequence[Found], answer: str, about: Mapping[str, Any], to: Path, figures: int
) -> list[str]:
    """Write attribution.parquet, attribution.bedgraph, seqlets.parquet, seqlets.bed and figures.

    Positions are those of ids such as `chr1:100-300(-)`, from 0, else those of the sequence.

    Args:
        found: sequences.
        answer: its name, for figures.
        about: for attribution.json.
        to: folder, which is made.
        figures: sequences that are drawn.

    Returns:
        The names of the files.
    """
    to.mkdir(parents=True, exist_ok=True)
    _table(to / "attribution.parquet", BASES, [_bases(one) for one in found])
    _table(to / "seqlets.parquet", STRETCHES, [_stretches(one) for one in found])
    with replacing(to / "attribution.bedgraph") as out:
        for one in found:
            out.write("".join(graph_lines(one.name, one.attributed.values)).encode())
    with replacing(to / "seqlets.bed") as out:
        for one in found:
            rows = zip(*_stretches(one).values(), strict=True)
            out.writelines(
                f"{chrom}\t{start}\t{end}\t{letters}\t{size:.6g}\t{strand}\n".encode()
                for _, chrom, start, end, strand, letters, size, _ in rows
            )
    with replacing(to / "attribution.json") as out:
        out.write(json.dumps(about, indent=1).encode())
    for old in to.glob("figure-*.png"):
        old.unlink()
    drawn = found[:figures]
    for i, one in enumerate(drawn, 1):
        style.save(partial(attribution_figure, one, answer), to / f"figure-{i}.png")
    names = ["attribution.parquet", "attribution.bedgraph", "seqlets.parquet", "seqlets.bed"]
    return [*names, "attribution.json", *(f"figure-{i}.png" for i in range(1, len(drawn) + 1))]


def _table(
    file: Path, columns: Sequence[tuple[str, str]], parts: Sequence[Mapping[str, Any]]
) -> None:  # fmt: skip
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    schema = pa.schema(columns)
    tables = [pa.table({k: list(v) for k, v in part.items()}, schema=schema) for part in parts]
    with replacing(file) as out:
        pq.write_table(pa.concat_tables([schema.empty_table(), *tables]), out, compression="zstd")


def _bases(one: Found) -> dict[str, Any]:
    where = np.flatnonzero(~np.isnan(one.attributed.values))
    place, letters = place_of(one.name, len(one.codes)), np.array(list("ACGT"))
    n = len(where)
    return {
        "id": [one.name] * n, "chrom": [place.chromosome] * n,
        "position": positions(place, where).tolist(), "strand": [place.strand] * n,
        "base": letters[one.codes[where]].tolist(),
        "attribution": one.attributed.values[where].tolist(),
    }  # fmt: skip


def _stretches(one: Found) -> dict[str, list[Any]]:
    place, n = place_of(one.name, len(one.codes)), len(one.seqlets)
    ends = [positions(place, np.array([x.start, x.end - 1])).tolist() for x in one.seqlets]
    return {
        "id": [one.name] * n, "chrom": [place.chromosome] * n,
        "start": [min(pair) for pair in ends], "end": [max(pair) + 1 for pair in ends],
        "strand": [place.strand] * n, "letters": [x.letters for x in one.seqlets],
        "attribution": [x.attribution for x in one.seqlets], "p": [x.p for x in one.seqlets],
    }  # fmt: skip


def attribution_figure(one: Found, answer: str) -> Figure:
    """The attribution of each base, seqlets shaded, above the letters around the strongest one."""
    from matplotlib.figure import Figure

    values, length = np.nan_to_num(one.attributed.values), len(one.codes)
    out = Figure(figsize=SIZE, facecolor=PRINT.paper)
    top = out.add_axes((0.09, 0.58, 0.88, 0.3), facecolor="none")
    below = out.add_axes((0.09, 0.14, 0.88, 0.27), facecolor="none")
    for seqlet in one.seqlets:
        top.axvspan(
            seqlet.start - 0.5, seqlet.end - 0.5, color=style.colour(1, PRINT), alpha=0.2, lw=0
        )
    top.bar(np.arange(length), values, width=1.0, color=style.colour(0, PRINT))
    top.set_xlim(-0.5, length - 0.5)
    style.bare(top, PRINT, "y")
    style.heading(top, one.name, f"attribution for {answer}; shaded: seqlets", PRINT, left=0.5)
    first = _first_of_logo(one.seqlets, values)
    _logo(below, one.codes[first : first + LOGO], values[first : first + LOGO], first)
    style.bare(below, PRINT, "y")
    below.grid(visible=False)
    below.set_xlabel("base, from 0", fontsize=8, color=PRINT.quiet, labelpad=2)
    return out


def _first_of_logo(seqlets: Sequence[Seqlet], values: Array) -> int:
    """The first base of LOGO around the strongest seqlet, or else the largest value."""
    middle = int(np.abs(values).argmax())
    if seqlets:
        middle = (seqlets[0].start + seqlets[0].end) // 2
    return max(0, min(middle - LOGO // 2, len(values) - LOGO))


def _logo(ax: Any, codes: Array, values: Array, first: int) -> None:
    """Letters as high as their attribution, by logomaker; downwards below 0."""
    import pandas as pd
    from logomaker import Logo

    heights = np.zeros((len(codes), 4))
    known = np.flatnonzero(codes < 4)
    heights[known, codes[known]] = values[known]
    table = pd.DataFrame(heights, columns=list("ACGT"), index=range(first, first + len(codes)))
    Logo(table, ax=ax, color_scheme="classic")
