"""Files and the figure of distances of `probe attention`. A layers, H heads, L bp, K bins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.cache import replacing
from dnabench.probes.attention import Attention, Profile
from dnabench.probes.places import Place, positions
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS, HEADS = 6, len(style.PALETTE)  # at most, of an axis, and heads of a legend


def write(
    found: Attention, by_distance: Profile, maps: Mapping[str, Array], place: Place,
    about: Mapping[str, Any], folder: Path,
) -> None:  # fmt: skip
    """Write distance.parquet, maps.parquet, a row for each pair of bases, and attention.json.

    Positions are those of `place`, from 0; maps are by name, float64 (L, L).
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    layers, heads, k = by_distance.share.shape
    layer, head, bin_ = (x.ravel() for x in np.indices((layers, heads, k)))
    columns = {
        "layer": layer + 1, "head": head + 1, "low": by_distance.low[bin_],
        "high": by_distance.high[bin_], "share": by_distance.share.ravel(),
        "even": by_distance.even[bin_],
    }  # fmt: skip
    with replacing(folder / "distance.parquet") as out:
        pq.write_table(pa.table(columns), out, compression="zstd")
    length = len(next(iter(maps.values())))
    at = positions(place, np.arange(length))
    pairs: dict[str, Any] = {"chrom": pa.repeat(place.chromosome, length**2)}
    pairs |= {"from": np.repeat(at, length), "to": np.tile(at, length)}
    pairs |= {name: values.ravel() for name, values in maps.items()}
    with replacing(folder / "maps.parquet") as out:
        pq.write_table(pa.table(pairs), out, compression="zstd")
    said = {
        **about, "mean distance": by_distance.mean.tolist(),
        "to special tokens": found.to_special.tolist(),
    }  # fmt: skip
    with replacing(folder / "attention.json") as out:
        out.write(json.dumps(said, indent=1).encode())


def distance_figure(found: Profile) -> Figure:
    """The share of attention by distance: a line for each head, a panel for each layer.

    Bins in which no two tokens are left out.
    """
    from matplotlib.lines import Line2D

    out, axes = style.panels(len(found.share), (2.6, 1.9), (0.5, 0.45, 0.12, 0.34), PRINT)
    there = found.even > 0
    k, top = np.flatnonzero(there), max(found.share.max(), found.even.max())
    for a, ax in enumerate(axes):
        for h, share in enumerate(found.share[a]):
            ax.plot(k, share[there], color=style.colour(h, PRINT), lw=1.0, alpha=0.8)
        ax.plot(k, found.even[there], color=PRINT.ink, lw=1.0, ls="--")
        ticks = k[:: -(-len(k) // TICKS)]
        ax.set_xticks(ticks, [f"{x:,}" for x in found.low[ticks]])
        ax.set_ylim(0, 1.05 * top)
        ax.set_xlabel("distance (bp)", fontsize=8, color=PRINT.quiet, labelpad=2)
        style.bare(ax, PRINT, "both")
        style.heading(ax, f"layer {a + 1}", f"mean {found.mean[a].mean():,.0f} bp", PRINT, left=0.4)
    heads = found.share.shape[1]
    handles = [Line2D([], [], color=style.colour(h, PRINT), lw=1.0) for h in range(heads)]
    names = [f"head {h + 1}" for h in range(heads)]
    handles, names = handles[:HEADS], names[:HEADS]  # of more, colours come back
    out.legend(
        handles=[*handles, Line2D([], [], color=PRINT.ink, lw=1.0, ls="--")],
        labels=[*names, "all tokens alike"], loc="lower center", bbox_to_anchor=(0.5, 1),
        frameon=False, ncols=min(3, len(found.share)) * 2,
    )  # fmt: skip
    return out
