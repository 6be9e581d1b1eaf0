"""Draw the held-out loss of the pretrainings of yeast.sh: yeast.py FOLDER BUDGET figure.png."""

import json
import sys
from pathlib import Path

from dnabench.reports.figures import style
from dnabench.reports.figures.style import PRINT, save

# losses of hidden bases, of next bases and of tokens are not comparable: a panel each
PANELS = {
    "hidden bases": ("convnova", "gpn"), "next bases": ("hyenadna",), "hidden byte pairs": ("bert",)
}  # fmt: skip
SIZE, INSET = (3.0, 2.3), (0.55, 0.5, 0.15, 0.35)  # inches


def curve(folder):
    """Mbp seen and held-out loss in nats."""
    card = json.loads((folder / "network.json").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    step = card["bp"] / card["steps"] / 1e6
    return [row["step"] * step for row in rows], [row["held_out_loss"] for row in rows]


def figure(folder, budget):
    """Panels beside each other."""
    there = {
        title: [n for n in names if (folder / f"{budget}-{n}" / "network.json").is_file()]
        for title, names in PANELS.items()
    }
    there = {title: names for title, names in there.items() if names}
    figure, axes = style.panels(len(there), SIZE, INSET, PRINT)
    for ax, (title, names) in zip(axes, there.items(), strict=True):
        for i, name in enumerate(names):
            x, y = curve(folder / f"{budget}-{name}")
            look = {"color": style.colour(i, PRINT), "marker": style.marker(i)}
            ax.plot(x, y, lw=1.3, ms=3, label=name, **look)
        ax.set_xlabel("Mbp seen", fontsize=8, color=PRINT.quiet, labelpad=2)
        style.bare(ax, PRINT, "both")
        style.heading(ax, title, "held out, nats", PRINT, 0.5)
        ax.legend(frameon=False, labelcolor=PRINT.ink, fontsize=8)
    return figure


if __name__ == "__main__":
    save(lambda: figure(Path(sys.argv[1]), sys.argv[2]), Path(sys.argv[3]))
