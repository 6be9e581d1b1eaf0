"""What all figures share: inks and marks that any colour vision tells apart, files, inline SVG.

A figure is drawn in a Theme: PRINT for a file; PAGE for a part of a web page, whose colours are
then the page's CSS variables, light or dark.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnabench.reports.table import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart with any colour vision; a marker each for print without colour
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>*"
DASHES = ("-", (0, (4, 1.4)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
# no file says when it was made: the same rows give the same bytes
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
LONGEST = 34  # letters of a label
LETTER = 0.07  # inches, the mean width of one at 9 points


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
    common = 0
    while len(split) > 1 and all(len(w) > common + 1 for w in split) and (
        len({w[common] for w in split}) == 1
    ):  # fmt: skip
        common += 1
    return [shortened(" ".join(words[common:])) for words in split]


def shortened(text: str, longest: int = LONGEST) -> str:
    """At most that many letters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def legend(figure: Figure, columns: Sequence[Column], theme: Theme = PRINT) -> None:
    """Line and mark of each model, above a printed figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour(i, theme), ls=dashes(i), marker=marker(i), ms=5, label=name)
        for i, name in enumerate(labels(columns))
    ]
    widest = max(len(str(handle.get_label())) for handle in handles)
    across = max(1, int(figure.get_figwidth() / (LETTER * widest + 0.6)))
    figure.legend(
        handles=handles, loc="upper center", ncols=min(len(handles), across), frameon=False,
        handlelength=2.6,
    )  # fmt: skip


def swatch(i: int) -> str:
    """Line and mark of the i-th model as a small SVG, for the legend of a web page."""
    shape = {
        "o": '<circle cx="13" cy="6" r="3.6"/>',
        "s": '<path d="M9.6 2.6h6.8v6.8h-6.8z"/>',
        "D": '<path d="M13 1.6l4.4 4.4-4.4 4.4-4.4-4.4z"/>',
        "^": '<path d="M13 1.8l4.2 7.6H8.8z"/>',
        "v": '<path d="M13 10.2L8.8 2.6h8.4z"/>',
        "P": '<path d="M11.4 2h3.2v2.4H17v3.2h-2.4V10h-3.2V7.6H9V4.4h2.4z"/>',
        "X": '<path d="M10.6 1.8L13 4.2l2.4-2.4 1.8 1.8L14.8 6l2.4 2.4-1.8 1.8L13 7.8l-2.4 2.4'
        '-1.8-1.8L11.2 6 8.8 3.6z"/>',
        "<": '<path d="M8.8 6l7.6-4.2v8.4z"/>',
        ">": '<path d="M17.2 6L9.6 1.8v8.4z"/>',
        "*": '<path d="M13 1l1.3 3.2 3.5.3-2.7 2.2.9 3.4-3-1.8-3 1.8.9-3.4-2.7-2.2 3.5-.3z"/>',
    }[marker(i)]
    style = dashes(i)
    dash = f' stroke-dasharray="{" ".join(map(str, style[1]))}"' if style != "-" else ""
    ink = f"var(--series-{i % len(PALETTE)})"
    line = f'<path d="M0 6h26" stroke="{ink}" stroke-width="1.6"{dash}/>'
    return (
        f'<svg class="swatch" viewBox="0 0 26 12" width="26" height="12" aria-hidden="true" '
        f'fill="{ink}">{line}{shape}</svg>'
    )


@contextmanager
def drawing() -> Iterator[None]:
    """Our settings; letters that matplotlib's font lacks are the reader's font's business."""
    import matplotlib

    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def save(draw: Callable[[], Figure], path: Path, watermark: str = "") -> None:
    """Write a figure.

    Args:
        draw: makes it, in the theme PRINT.
        path: .png, .pdf or .svg decides the format. The same figure gives the same bytes.
        watermark: written above it; empty when there is nothing to warn of.

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
        if watermark:
            lines = textwrap.fill(watermark, max(20, int(wide / LETTER / 1.15)))
            figure.text(
                0.0, 1 + 0.08 / high, lines, color="#8a4b00", fontweight="bold", fontsize=8.5
            )
        figure.savefig(
            path, dpi=200, metadata=UNDATED[path.suffix.lower()], bbox_inches="tight",
            pad_inches=0.08,
        )  # fmt: skip


def inline(draw: Callable[[], Figure], says: str, prefix: str) -> str:
    """An SVG element for a web page.

    Args:
        draw: makes the figure, in the theme PAGE.
        says: what a reader who does not see it is told.
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
