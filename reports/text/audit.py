"""An audit of a task's data (`dnabench.audit/1`, a plain dict) as Markdown and as HTML.

A copy or an overlap is a pattern in the data; the text says where it is, not how it came about.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dnabench.metrics import METRICS
from dnabench.reports.grid import NONE, Grid
from dnabench.reports.text.markdown_grid import grid
from dnabench.reports.text.template import rendered

Document = Mapping[str, Any]
_KINDS = {
    "duplicates": "identical", "rc_duplicates": "reverse complement",
    "near_duplicates": "near-identical", "conflicts": "conflicting labels",
    "rc_conflicts": "conflicting labels across strands",
}  # fmt: skip
_SHORTCUTS = {
    "majority": "always the most frequent class", "length": "length", "gc": "GC content",
    "n": "share of N", "words": "k-mers of 1, 2 and 3 bp",
}  # fmt: skip
_LEAKS = {"exact": "identical", "rc": "reverse complement", "near": "near-identical"}


def overview(documents: Sequence[Document]) -> str:
    """One Markdown table with a line for each audit."""
    return grid(_overview(documents))


def markdown(document: Document) -> str:
    """One audit as Markdown, from its title on."""
    head = grid(Grid(document["task"], [], [], [summary(document)]), level=2)
    return "\n\n".join([head, *map(grid, grids(document))]) + "\n"


def html(documents: Sequence[Document]) -> str:
    """Audits as one self-contained section of HTML: a style, an overview, each audit.

    It takes the colours of the page where that sets --ink, --rule and --quiet.
    """
    audits = [(d["task"], summary(d), grids(d)) for d in documents]
    return rendered("audit.html", audits=audits, overview=_overview(documents))


def summary(document: Document) -> str:
    """The two findings that affect a score, in one or two sentences."""
    n, leaked = document["splits"]["test"]["examples"], document["leaked"]
    total = sum(map(len, leaked.values()))
    skipped = ["near"] if "near duplicates" in document["skipped"] else []
    how = ", ".join(f"{len(leaked[k])} {v}" for k, v in _LEAKS.items() if k not in skipped)
    where = " or ".join(name for name in document["splits"] if name != "test")
    text = f"{total:,} of {n:,} test examples ({total / n:.1%}) have a copy in {where}: {how}."
    best = _best_shortcut(document)
    if best and best[0] == "majority":
        return text + " No shortcut beats always predicting the most frequent class."
    if best:
        reach = f"reaches {_label(document)} {best[1]:.3f} on test"
        return f"{text} A model that sees only the {_SHORTCUTS[best[0]]} {reach}."
    return text


def grids(document: Document) -> list[Grid]:
    """The tables of one audit, in order."""
    windows = [_windows(document)] if document["windows"] else []
    shortcuts = [_shortcuts(document)] if document["shortcuts"] else []
    return [_splits(document), _copies(document), *windows, *shortcuts, _rest(document)]


def _overview(documents: Sequence[Document]) -> Grid:
    heads = ["task", "test examples", "identical in train", *list(_KINDS.values())[1:3]]
    heads += ["with a copy in train or dev", "train sequences with two labels", "best shortcut"]
    rows = []
    for d in documents:
        n, total = d["splits"]["test"]["examples"], sum(map(len, d["leaked"].values()))
        across, best = d["across"]["train-test"], _best_shortcut(d)
        cells = [_count(across.get(key)) for key in list(_KINDS)[:3]]
        cells += [f"{total:,} ({total / n:.1%})", _count(d["within"]["train"]["conflicts"])]
        cells += [f"{_SHORTCUTS[best[0]]}, {_label(d)} {best[1]:.3f}" if best else NONE]
        rows.append([d["task"], f"{n:,}", *cells])
    return Grid("", heads, rows)


def _splits(document: Document) -> Grid:
    heads = ["split", "examples", "distinct sequences", "bp", "length (bp)", "GC", "N"]
    kind, classes = document["kind"], document["classes"]
    shown = classes if kind in ("binary", "multiclass", "per_base") and len(classes) <= 10 else ()
    rows = []
    for name, s in document["splits"].items():
        low, middle, high = s["length"]
        length = f"{low:,}" if low == high else f"{low:,} to {high:,}, median {middle:,g}"
        row = [name, f"{s['examples']:,}", f"{s['distinct']:,}", f"{s['bp']:,}", length]
        row += [f"{s['gc']:.3f}", f"{s['n']:.2%}"]
        labels = s["labels"][: len(shown)] if shown else []
        total = sum(labels)
        row += [f"{n:,} ({n / total:.1%})" if total else f"{n:,}" for n in labels]
        rows.append(row)
    notes = [f"A {kind} task, data {document['data']}."]
    if shown:
        unit = "bases" if kind == "per_base" else "examples"
        notes += [f"The last columns count the {unit} of each class."]
    return Grid("Splits", [*heads, *shown], rows, notes)


def _copies(document: Document) -> Grid:
    places = {f"within {name}": counts for name, counts in document["within"].items()}
    places |= {name.replace("-", " and "): counts for name, counts in document["across"].items()}
    rows = [[place, *(_count(counts.get(k)) for k in _KINDS)] for place, counts in places.items()]
    s = document["settings"]
    notes = [
        "Within a split: examples beyond the first of each sequence; sequences that are the "
        "reverse complement of another; examples with a near-identical copy; sequences with more "
        "than one label; pairs of reverse complements whose labels differ.",
        "Between two splits: examples of the second that are also in the first, each counted once, "
        "in the first column that applies; sequences of both that have more than one label.",
        f"Near-identical: matches in at least {s['identity']:.0%} of the columns of an alignment "
        f"that covers at least {s['coverage']:.0%} of the shorter sequence, on either strand; "
        f"sequences shorter than {s['shortest']} bp are not compared.",
    ]
    if s.get("pairs"):
        notes.append(
            "An example is a pair: identical, and of conflicting labels, are those whose reference "
            "and alternative are both the same. All else (near-identical copies, windows, "
            "shortcuts) compares the reference alone, so variants of one place are near-identical."
        )
    return Grid("Copies", ["where", *_KINDS.values()], rows, notes)


def _windows(document: Document) -> Grid:
    found, n = document["windows"], document["splits"]["test"]["examples"]
    shares = {
        "1 bp or more": "overlapping", "half of their bp or more": "most",
        "all of their bp": "contained",
    }  # fmt: skip
    rows = [[words, f"{found[k]:,}", f"{found[k] / n:.1%}"] for words, k in shares.items()]
    notes = [f"{found['placed']:,} sequences of all splits were located in {found['genome']}."]
    if found["bp"]:
        low, middle, high = (f"{bp:g}" for bp in found["bp"])
        notes += [f"Shared bp of those that overlap: median {middle}, quartiles {low} and {high}."]
    if found["short"]:
        notes += [f"{found['short']:,} are too short to be located."]
    if found["repeated"]:
        notes += [f"{found['repeated']:,} occur so often that not all places were recorded."]
    heads = ["test examples whose window overlaps train or dev by", "examples", "share of test"]
    return Grid("Shared windows", heads, rows, notes)


def _shortcuts(document: Document) -> Grid:
    values = {name: document["shortcuts"][name] for name in _SHORTCUTS}
    rows = [[_SHORTCUTS[k], NONE if v is None else f"{v:.3f}"] for k, v in values.items()]
    note = (
        "Fitted on train, scored on test: class frequencies in up to 32 bins, and logistic "
        "regression for the k-mers. Another model of the same input may score higher."
    )
    return Grid("Shortcuts", ["input of the model", _label(document)], rows, [note])


def _rest(document: Document) -> Grid:
    related = ", ".join(document["related"])
    notes = [f"Tasks of the same family in other suites: {related}."] if related else []
    notes += [f"Not examined: {what} ({why})." for what, why in document["skipped"].items()]
    rows = [
        [f"{p['split']} {p['id']}", f"{p['other_split']} {p['other_id']}", p["strand"]]
        for p in document["pairs"]
    ]
    if not rows:
        return Grid("", [], [], notes)
    return Grid("Examples of near-identical pairs", ["a", "b", "strand of b"], rows, notes)


def _best_shortcut(document: Document) -> tuple[str, float] | None:
    """The best score from next to no information; ties go to the most frequent class."""
    scores = [(k, v) for k, v in document["shortcuts"].items() if v is not None]
    return max(scores, key=lambda pair: (pair[1], pair[0] == "majority"), default=None)


def _label(document: Document) -> str:
    metric = METRICS.get(document["metric"])
    return metric.label if metric else str(document["metric"])


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
