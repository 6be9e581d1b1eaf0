"""What all figures share: colours and markers safe for colour blindness, axes, files, inline SVG.

A figure is drawn in a Theme: PRINT for a file; PAGE for a part of a web page, whose colours are
then the page's CSS variables, light or dark. The functions `figure` raise a ValueError that says
why where there is nothing to draw.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from dnabench.reports.columns import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe & Ito's colours, safe for colour blindness; a marker each for print without colour
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>*"
DASHES = ("-", (0, (4, 1.4)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
# no date in any file: the same rows give the same bytes
UNDATED: dict[str, dict[str, Any]] = {
    ".png": {"Software": None}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None},
}  # fmt: skip
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "pdf.fonttype": 42,
    "svg.hashsalt": "dnabench",  # the same table gives the same bytes
    "font.size": 9,
    "text.parse_math": False,  # a name may hold dollars
    "font.sans-serif": ["DejaVu Sans"],
}
Style = dict[str, Any]  # keywords of a matplotlib text
LONGEST = 34  # letters of a label
LETTER = 0.07  # inches, the mean width of one at 9 points
ACROSS = 3  # panels side by side


class Theme(NamedTuple):
    """Colours as matplotlib reads them."""

    ink: str
    quiet: str
    rule: str
    accent: str
    paper: str
    series: tuple[str, ...]


PRINT = Theme("#22211e", "#6d6a62", "#dfdbd1", "#0a6c74", "#ffffff", PALETTE)
# stand-ins, each of which `inline` replaces by a CSS variable
PAGE = Theme(
    "#010201", "#010202", "#010203", "#010204", "#010205",
    tuple(f"#0103{i:02x}" for i in range(len(PALETTE))),
)  # fmt: skip
VARIABLES = {
    **{colour: f"var(--{name})" for name, colour in PAGE._asdict().items() if name != "series"},
    **{colour: f"var(--series-{i})" for i, colour in enumerate(PAGE.series)},
}


def colour(i: int, theme: Theme = PRINT) -> str:
    """Of the i-th model of a table."""
    return theme.series[i % len(theme.series)]


def marker(i: int) -> str:
    """Of the i-th model; 70 models differ in marker or colour, ten in marker."""
    return MARKERS[i % len(MARKERS)]


def dashes(i: int) -> Any:
    """Line style of the i-th model."""
    return DASHES[i % len(DASHES)]


def labels(columns: Sequence[Column]) -> list[str]:
    """Names short enough for a figure: words that all begin with are left out, the rest is cut."""
    split = [column.name.split() for column in columns]
    firsts = zip(*(words[:-1] for words in split), strict=False)  # one word at least is left
    shared = list(takewhile(lambda words: len({*words}) == 1, firsts))
    common = len(shared) if len(split) > 1 else 0
    return [shortened(" ".join(words[common:])) for words in split]


def shortened(text: str, most: int = LONGEST) -> str:
    """Cut to so many letters, with an ellipsis."""
    return text if len(text) <= most else text[: max(most, 2) - 1] + "…"


def panels(
    n: int, size: tuple[float, float], inset: tuple[float, float, float, float], theme: Theme,
    left: float = 0.0,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure of n axes, at most three side by side; sizes in inches.

    Args:
        n: axes.
        size: width and height of a panel.
        inset: from the panel's edges to its axes: left, bottom, right, top.
        theme: its colours.
        left: room beside the first panel of each row.

    """
    from matplotlib.figure import Figure

    across, down = min(n, ACROSS), -(-n // ACROSS)
    wide, high = left + across * size[0], down * size[1]
    figure = Figure(figsize=(wide, high), facecolor=theme.paper)
    box = size[0] - inset[0] - inset[2], size[1] - inset[1] - inset[3]
    axes = []
    for k in range(n):
        y, x = divmod(k, ACROSS)
        at = left + x * size[0] + inset[0], (down - 1 - y) * size[1] + inset[1]
        rectangle = at[0] / wide, at[1] / high, box[0] / wide, box[1] / high
        axes.append(figure.add_axes(rectangle, facecolor="none"))
    return figure, axes


def bare(ax: Axes, theme: Theme, grid: Literal["both", "x", "y"], names: bool = False) -> None:
    """Leave of axes the numbers and a grid; on a y axis of names these are dark."""
    ax.tick_params(which="both", length=0, labelsize=8.5, labelcolor=theme.quiet)
    if names:
        ax.tick_params(axis="y", labelcolor=theme.ink)
    ax.grid(axis=grid, color=theme.rule, lw=0.7)
    ax.set_axisbelow(True)
    ax.spines[:].set_visible(False)


def heading(ax: Axes, name: str, label: str, theme: Theme, left: float) -> None:
    """Name of the task above axes, starting so many inches left of them; the label on the right."""
    wide = float(ax.get_position().width * ax.figure.get_size_inches()[0])  # type: ignore[union-attr]
    room = int((wide + left) / LETTER / 1.15) - len(label)
    bold: Style = {"color": theme.ink, "fontweight": "bold"}
    quiet: Style = {"color": theme.quiet, "fontsize": 8, "ha": "right"}
    for text, x, dx, style in ((shortened(name, room), 0, -left, bold), (label, 1, 0.0, quiet)):
        ax.annotate(text, (x, 1), (72 * dx, 0.13 * 72), xycoords="axes fraction",
                    textcoords="offset points", **style)  # fmt: skip


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain numbers at powers of ten from low to high, and in between where these would be few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(_plain_number))
    axis.set_minor_formatter(NullFormatter())


def _plain_number(x: float, _: object) -> str:
    for unit, letter in ((1e9, "G"), (1e6, "M")):
        if x >= unit:
            return f"{x / unit:g}{letter}"
    return f"{x:,.0f}" if x >= 1 else f"{x:g}"


def legend(figure: Figure, names: Sequence[str], theme: Theme, lines: bool = True) -> None:
    """Models in the order of their columns, above the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour(i, theme), ls=dashes(i) if lines else "none", marker=marker(i),
               ms=5, label=name)
        for i, name in enumerate(names)
    ]  # fmt: skip
    across = max(1, int(figure.get_figwidth() / (LETTER * max(map(len, names)) + 0.6)))
    figure.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False,
        ncols=min(len(handles), across), handlelength=2.6,
    )  # fmt: skip


def swatch(i: int) -> str:
    """Line and marker of the i-th model as a small SVG, for the legend of a web page."""
    from matplotlib.markers import MarkerStyle

    shape = MarkerStyle(marker(i)).scaled(7.6)
    corners = np.array(shape.get_path().to_polygons(shape.get_transform())[0])
    points = " ".join(f"{13 + x:.1f},{6 - y:.1f}" for x, y in corners.tolist())
    style, fill = dashes(i), f"var(--series-{i % len(PALETTE)})"
    dash = f' stroke-dasharray="{" ".join(map(str, style[1]))}"' if style != "-" else ""
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true" '
        f'fill="{fill}"><path d="M0 6h26" stroke="{fill}" stroke-width="1.6"{dash}/>'
        f'<polygon points="{points}"/></svg>'
    )


@contextmanager
def drawing() -> Iterator[None]:
    """Our settings; no warning of letters that only matplotlib's font lacks."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def save(draw: Callable[[], Figure], path: Path, watermark: str = "", note: str = "") -> None:
    """Write a figure; the same figure gives the same bytes.

    Args:
        draw: makes it, in the theme PRINT.
        path: .png, .pdf or .svg decides the format.
        watermark: a warning above it; may be empty.
        note: below it, what is shown; may be empty.

    Raises:
        ValueError: for another ending.
        OSError: when the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in UNDATED:
        raise ValueError(f"{path}: a figure is a {', '.join(UNDATED)} file")
    with drawing():
        figure = draw()
        wide, high = figure.get_size_inches()
        top = figure.legends[0].get_window_extent().y1 / figure.dpi / high if figure.legends else 1
        warning: Style = {"color": "#8a4b00", "fontweight": "bold", "fontsize": 8.5, "va": "bottom"}
        quiet: Style = {"color": PRINT.quiet, "fontsize": 8, "va": "top"}
        for text, y, letter, style in (
            (watermark, top + 0.08 / high, 1.15, warning), (note, -0.1 / high, 0.85, quiet),
        ):  # fmt: skip
            if text:
                lines = textwrap.fill(text, max(20, int(wide / LETTER / letter)))
                figure.text(0.0, y, lines, **style)
        undated = UNDATED[path.suffix.lower()]
        figure.savefig(path, dpi=200, metadata=undated, bbox_inches="tight", pad_inches=0.08)


def inline(draw: Callable[[], Figure], says: str, prefix: str) -> str:
    """An SVG element for a web page.

    Args:
        draw: makes the figure, in the theme PAGE.
        says: its description for screen readers.
        prefix: of all ids in it; another for each figure of a page.

    Returns:
        SVG whose text is text, coloured by the page's variables. What has the gid "column-3" has
        the attribute data-column="3".
    """
    out = io.StringIO()
    with drawing():
        draw().savefig(out, format="svg", transparent=True, metadata=UNDATED[".svg"])
    text = out.getvalue()
    return _slim(text[text.index("<svg") :], escape(says), prefix)


def _slim(svg: str, says: str, prefix: str) -> str:
    """Without what a page has no use for; ids made the figure's own. Text is left as it is."""
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    used = sorted(set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg)))
    short = {name: f"{prefix}-{i}" for i, name in enumerate(used)}
    inches = [float(x) / 72 for x in re.findall(r'viewBox="0 0 ([\d.]+) ', svg)]
    svg = re.sub(r"<[^>]+>", lambda tag: _tag(tag[0], short), svg)
    svg = re.sub(r"<defs>\s*</defs>|\n\s*", "", svg)
    head = f'<svg role="img" aria-label="{says}" style="width:{inches[0]:.2f}in" '
    return svg.replace("<svg ", head, 1)


def _tag(tag: str, short: Mapping[str, str]) -> str:
    tag = re.sub(r"\s+", " ", tag)
    if tag.startswith("<svg"):
        return re.sub(r' (?:width|height)="[\d.]+pt"| version="1.1"| xmlns[:\w]*="[^"]*"', "", tag)
    tag = re.sub(r' id="column-(\d+)"', r' data-column="\1"', tag)
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{short[m[1]]}"' if m[1] in short else "", tag)
    tag = re.sub(
        r'(href="|url\()#([\w.-]+)', lambda m: f"{m[1]}#{short[m[2]]}", tag.replace("xlink:", "")
    )
    tag = re.sub(r'font-family: [^";]*[;]? ?| transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r"#010[23]\w\w", lambda m: VARIABLES.get(m[0], m[0]), tag)
    tag = re.sub(r"\d+\.\d{2,}", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), tag)
    return re.sub(r"([;:,]) ", r"\1", tag).replace(" z ", "z").replace("; ", ";")
