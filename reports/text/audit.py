"""An audit of a task's data (`dnabench.audit/1`, a plain dict) as Markdown and as HTML.

A copy or an overlap is a pattern in the data; the text says where it is, not how it came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from dnabench.metrics import METRICS

Document = Mapping[str, Any]
UNSEEN = "–"  # not looked at
_SPECIAL = str.maketrans({c: "\\" + c for c in "\\|*`<_[]"})
_KINDS = (
    ("duplicates", "the same"), ("rc_duplicates", "reverse complement"),
    ("near_duplicates", "nearly the same"), ("conflicts", "labels disagree"),
    ("rc_conflicts", "labels disagree across strands"),
)  # fmt: skip
_SHORTCUTS = {
    "majority": "the commonest class, always", "length": "length", "gc": "GC content",
    "n": "share of N", "words": "words of 1, 2 and 3 bp",
}  # fmt: skip
_STYLE = """<style>
.audit { font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink, CanvasText); }
.audit .wide { overflow-x: auto; }
.audit table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.audit th, .audit td { padding: .35rem .7rem .35rem 0; text-align: right; font-weight: 400;
  border-bottom: 1px solid var(--rule, #8885); }
.audit thead th { font-weight: 600; vertical-align: bottom; }
.audit th:first-child, .audit td:first-child { text-align: left; }
.audit p { max-width: 46rem; font-size: .9rem; color: var(--quiet, GrayText); }
.audit p.lead { color: inherit; font-size: 1rem; }
</style>"""


class Grid(NamedTuple):
    """A table with a title above and sentences below; without heads only the sentences."""

    title: str
    heads: list[str]
    rows: list[list[str]]
    notes: list[str]


def overview(documents: Sequence[Document]) -> str:
    """One Markdown table with a line for each audit."""
    return _markdown_grid(_overview(documents))


def markdown(document: Document) -> str:
    """One audit as Markdown, from its title on.

    Args:
        document: as JSON holds it.
    """
    parts = [f"## {_md(document['task'])}", _md(summary(document))]
    return "\n\n".join([*parts, *map(_markdown_grid, grids(document))]) + "\n"


def html(documents: Sequence[Document]) -> str:
    """Audits as one section of HTML that needs nothing else: a style, an overview, each audit.

    It takes the colours of the page where that sets --ink, --rule and --quiet.
    """
    parts = ['<section class="audit">', _STYLE, "<h2>What the data hold</h2>"]
    if len(documents) > 1:
        parts.append(_html_grid(_overview(documents)))
    for document in documents:
        parts.append(f"<h3>{escape(document['task'])}</h3>")
        parts.append(f'<p class="lead">{escape(summary(document))}</p>')
        parts += map(_html_grid, grids(document))
    return "\n".join([*parts, "</section>"]) + "\n"


def summary(document: Document) -> str:
    """The two findings that touch a score, in one or two sentences."""
    n, leaked = document["splits"]["test"]["examples"], document["leaked"]
    total = sum(map(len, leaked.values()))
    looked = "near duplicates" not in document["skipped"]
    how = ", ".join(f"{len(leaked[k])} {word}" for k, word in _leak_words(looked).items())
    where = " or ".join(name for name in document["splits"] if name != "test")
    text = f"{total:,} of {n:,} test examples ({total / n:.1%}) have a copy in {where}: {how}."
    best = _best_shortcut(document)
    if best and best[0] == "majority":
        return text + " No shortcut scores above naming the commonest class always."
    if best:
        reach = f"reaches {_label(document)} {best[1]:.3f} on test"
        return f"{text} A model that sees only the {_SHORTCUTS[best[0]]} {reach}."
    return text


def grids(document: Document) -> list[Grid]:
    """What there is to show of one audit, in order."""
    out = [_splits(document), _copies(document)]
    if document["windows"]:
        out.append(_windows(document["windows"], document["splits"]["test"]["examples"]))
    if document["shortcuts"]:
        out.append(_shortcuts(document))
    return [*out, _rest(document)]


def _overview(documents: Sequence[Document]) -> Grid:
    heads = ["task", "test examples", "the same in train", "reverse complement", "nearly the same"]
    heads += ["with a copy in train or dev", "sequences of train with two labels", "best shortcut"]
    rows = []
    for d in documents:
        n, total = d["splits"]["test"]["examples"], sum(map(len, d["leaked"].values()))
        across, best = d["across"]["train-test"], _best_shortcut(d)
        cells = [_count(across.get(key)) for key, _ in _KINDS[:3]]
        said = f"{_SHORTCUTS[best[0]]}, {_label(d)} {best[1]:.3f}" if best else UNSEEN
        conflicts = _count(d["within"]["train"]["conflicts"])
        rows.append([d["task"], f"{n:,}", *cells, f"{total:,} ({total / n:.1%})", conflicts, said])
    return Grid("", heads, rows, [])


def _splits(document: Document) -> Grid:
    heads = ["split", "examples", "different sequences", "bp", "length (bp)", "GC", "N"]
    classes = (
        document["classes"] if document["kind"] in ("binary", "multiclass", "per_base") else ()
    )
    shown = classes if len(classes) <= 10 else ()
    rows = []
    for name, s in document["splits"].items():
        low, middle, high = s["length"]
        length = f"{low:,}" if low == high else f"{low:,} to {high:,}, median {middle:,g}"
        row = [name, f"{s['examples']:,}", f"{s['distinct']:,}", f"{s['bp']:,}", length]
        row += [f"{s['gc']:.3f}", f"{s['n']:.2%}"]
        total = sum(s["labels"]) if shown else 0
        row += (
            [f"{n:,} ({n / total:.1%})" if total else f"{n:,}" for n in s["labels"][: len(shown)]]
            if shown
            else []
        )
        rows.append(row)
    unit = "bases" if document["kind"] == "per_base" else "examples"
    notes = [f"A {document['kind']} task, data {document['data']}."]
    notes += [f"The last columns are {unit} of each class."] if shown else []
    return Grid("Splits", [*heads, *shown], rows, notes)


def _copies(document: Document) -> Grid:
    rows = []
    for part in (document["within"], document["across"]):
        for where, counts in part.items():
            place = where.replace("-", " and ") if part is document["across"] else f"within {where}"
            rows.append([place, *(_count(counts.get(key)) for key, _ in _KINDS)])
    s = document["settings"]
    notes = [
        "Within a split: examples beyond the first of a sequence; sequences that are the reverse "
        "complement of another; examples with a near duplicate; sequences with more than one "
        "label; pairs of reverse complements whose labels differ.",
        "Between two splits: examples of the second that are also in the first, each counted once, "
        "in the first column that applies; sequences of both that have more than one label.",
        f"Nearly the same: at least {s['identity']:.0%} of the columns of an alignment are matches "
        f"over at least {s['coverage']:.0%} of the shorter sequence, on either strand; sequences "
        f"under {s['shortest']} bp are not compared.",
    ]
    return Grid("Copies", ["where", *(words for _, words in _KINDS)], rows, notes)


def _windows(found: Mapping[str, Any], n: int) -> Grid:
    rows = [
        ["1 bp or more", f"{found['overlapping']:,}", f"{found['overlapping'] / n:.1%}"],
        ["half of their bp or more", f"{found['most']:,}", f"{found['most'] / n:.1%}"],
        ["all of their bp", f"{found['contained']:,}", f"{found['contained'] / n:.1%}"],
    ]
    notes = [f"{found['placed']:,} sequences of all splits were found in {found['genome']}."]
    if found["bp"]:
        low, middle, high = found["bp"]
        notes.append(
            f"Shared bp of the overlapping ones: median {middle:g}, quartiles {low:g} and {high:g}."
        )
    if found["short"]:
        notes.append(f"{found['short']:,} are too short to be looked for.")
    if found["repeated"]:
        notes.append(f"{found['repeated']:,} have so many places that not all were taken.")
    heads = ["test examples whose window shares with train or dev", "examples", "of test"]
    return Grid("Shared windows", heads, rows, notes)


def _shortcuts(document: Document) -> Grid:
    rows = [
        [_SHORTCUTS[name], UNSEEN if (v := document["shortcuts"][name]) is None else f"{v:.3f}"]
        for name in _SHORTCUTS
    ]
    notes = [
        "Fitted on train, scored on test: class shares of train in up to 32 bins, and logistic "
        "regression for the words. Another model of the same may score higher."
    ]
    return Grid("Shortcuts", ["what the model sees", _label(document)], rows, notes)


def _rest(document: Document) -> Grid:
    related = ", ".join(document["related"])
    notes = [f"Tasks of the same family in other suites: {related}."] if related else []
    notes += [f"Not looked at: {what} ({why})." for what, why in document["skipped"].items()]
    heads, rows = ["a", "b", "strand of b"], []
    for p in document["pairs"]:
        rows.append([f"{p['split']} {p['id']}", f"{p['other_split']} {p['other_id']}", p["strand"]])
    return Grid("Some near duplicates" if rows else "", heads if rows else [], rows, notes)


def _best_shortcut(document: Document) -> tuple[str, float] | None:
    """What sees next to nothing and scores best, unless the commonest class does as well."""
    scores = {k: v for k, v in document["shortcuts"].items() if v is not None}
    if not scores:
        return None
    name = max(scores, key=lambda k: (scores[k], k == "majority"))
    return name, scores[name]


def _leak_words(near: bool) -> dict[str, str]:
    out = {"exact": "the same", "rc": "reverse complement", "near": "nearly the same"}
    return out if near else {k: v for k, v in out.items() if k != "near"}


def _label(document: Document) -> str:
    metric = METRICS.get(document["metric"])
    return metric.label if metric else str(document["metric"])


def _count(value: int | None) -> str:
    return UNSEEN if value is None else f"{value:,}"


def _md(text: str) -> str:
    return text.translate(_SPECIAL).replace("\n", " ")


def _markdown_grid(grid: Grid) -> str:
    parts = [f"### {grid.title}"] if grid.title else []
    if grid.heads:
        lines = [grid.heads, *grid.rows]
        text = ["| " + " | ".join(map(_md, line)) + " |" for line in lines]
        text.insert(1, "|---|" + "---:|" * (len(grid.heads) - 1))
        parts.append("\n".join(text))
    return "\n\n".join([*parts, *map(_md, grid.notes)])


def _html_grid(grid: Grid) -> str:
    parts = [f"<h4>{escape(grid.title)}</h4>"] if grid.title else []
    if grid.heads:
        head = "".join(f'<th scope="col">{escape(h)}</th>' for h in grid.heads)
        body = [
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
            for row in grid.rows
        ]  # fmt: skip
        parts.append(f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>')
        parts += [*body, "</tbody></table></div>"]
    return "\n".join([*parts, *(f"<p>{escape(note)}</p>" for note in grid.notes)])
