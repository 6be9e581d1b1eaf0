"""Files and figures of `probe embed`. M regions, D features."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.cache import replacing
from dnabench.probes.embed import Windows
from dnabench.probes.separation import Separated, gc_of
from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT
from dnabench.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = len(style.PALETTE)  # classes with a colour of their own
OTHERS = "other"


def write(
    windows: Windows, x: Array, found: Separated, maps: Mapping[str, Array],
    about: Mapping[str, Any], folder: Path,
) -> None:  # fmt: skip
    """Write embed.parquet, a row for each region, and embed.json, the table.

    Args:
        windows: M.
        x: float32 (M, D), columns e0, e1, ...
        found: of `separation`.
        maps: name -> coordinates float64 (M, 2).
        about: what was embedded.
        folder: is made.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "chrom": list(windows.chrom), "start": windows.start, "end": windows.end,
        "class": windows.kinds, "gc": gc_of(windows.own), "gc_matched": found.matched,
        "silhouette": found.silhouettes, "neighbours": found.predicted,
    }  # fmt: skip
    for name, at in maps.items():
        columns |= {f"{name}{i + 1}": at[:, i] for i in range(2)}
    columns |= {f"e{i}": x[:, i] for i in range(x.shape[1])}
    with replacing(folder / "embed.parquet") as out:
        pq.write_table(pa.table(columns), out, compression="zstd")
    rows = [{**row._asdict(), "chance": row.chance} for row in found.rows]
    about = {**about, "unmatched": found.unmatched}
    with replacing(folder / "embed.json") as out:
        out.write(json.dumps({**about, "rows": rows}, indent=1).encode())


def embed_figure(maps: Mapping[str, tuple[Array, str]], kinds: Array) -> Figure:
    """Regions by class, a panel for each map.

    Args:
        maps: heading -> coordinates float64 (M, 2) and what stands on the right.
        kinds: class of each region.
    """
    names = _by_size(kinds)
    out, axes = style.panels(len(maps), (3.6, 3.3), (0.35, 0.25, 0.15, 0.34), PRINT)
    order = np.random.default_rng(0).permutation(len(kinds))  # no class lies on top
    colours = {name: style.colour(i, PRINT) for i, name in enumerate(names[:SHOWN])}
    each = np.array([colours.get(name, PRINT.rule) for name in kinds.tolist()])
    for ax, (heading, (at, label)) in zip(axes, maps.items(), strict=True):
        ax.scatter(at[order, 0], at[order, 1], s=3, c=each[order], lw=0, alpha=0.7, rasterized=True)
        style.bare(ax, PRINT, "both")
        style.heading(ax, heading, label, PRINT, left=0.2)
    said = {f"{name} ({(kinds == name).sum():,})": colour for name, colour in colours.items()}
    if rest := int((~np.isin(kinds, names[:SHOWN])).sum()):
        said[f"{OTHERS}, of {len(names) - SHOWN} classes ({rest:,})"] = PRINT.rule
    _name(out, said)
    return out


def _by_size(kinds: Array) -> Sequence[str]:
    names, counts = np.unique(kinds, return_counts=True)
    found: list[str] = names[np.argsort(-counts, kind="stable")].tolist()
    return found


def _name(out: Figure, names: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", ls="", ms=5, color=colour) for colour in names.values()]
    out.legend(
        handles=handles, labels=list(names), loc="lower center", bbox_to_anchor=(0.5, 1),
        frameon=False, ncols=3,
    )  # fmt: skip
