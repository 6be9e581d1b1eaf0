"""The course of a pretraining, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (5.4, 2.8)  # inches
INSET = (0.75, 0.5, 0.2, 0.3)  # inches: left, bottom, right, top


def loss_figure(rows: Sequence[Mapping[str, Any]], bp: float) -> Figure:
    """Loss in training and on held-out windows against the bp seen.

    Args:
        rows: of metrics.jsonl; before the first step nothing was trained on.
        bp: seen in a step.
    """
    out, (ax,) = style.panels(1, SIZE, INSET, PRINT)
    seen = [row["step"] * bp / 1e6 for row in rows]
    for i, (name, key) in enumerate((("training", "loss"), ("held out", "held_out_loss"))):
        known = [(x, row[key]) for x, row in zip(seen, rows, strict=True) if key in row]
        ax.plot(
            *zip(*known, strict=True), color=style.colour(i, PRINT), lw=1.3,
            marker=style.marker(i), ms=3, label=name,
        )  # fmt: skip
    ax.set_xlabel("Mbp seen", fontsize=8, color=PRINT.quiet, labelpad=2)
    style.bare(ax, PRINT, "both")
    style.heading(ax, "loss", "nats a token; held-out windows count every token alike", PRINT, 0.5)
    ax.legend(frameon=False, labelcolor=PRINT.ink, fontsize=8)
    return out
