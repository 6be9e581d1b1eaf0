"""Remake results/published/: `python results/make_published.py SHARED [FOLDER]`.

SHARED holds reference/*.csv and the paper's text papers/convnova-2502.18538.md; FOLDER is
published/ beside this file unless named. The same inputs give the same bytes. Numbers are copied as
text, never computed. Added are: what the ± is, n, how runs were chosen, the cell as printed,
whether it is underlined in the paper's text (bold type is lost there), and the variant of ConvNova
whose per-seed values have the printed mean.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

Row = dict[str, str]

CONVNOVA = "arxiv:2502.18538"
THESIS = "thesis:buedenbender-2025-gpn"
EMBEDDINGS = "doi:10.1038/s41467-025-65823-8"
PAPERS = {CONVNOVA: "convnova", THESIS: "gpn-thesis", EMBEDDINGS: "embeddings"}

MAX_DEV = "max |deviation|"
BY_SEEDS = "found by matching the per-seed tables; section 4.1.1 calls it a standard deviation"
BY_TEXT = "section 4.1.2: gap between maximum or minimum and mean; no per-seed values to check it"
CODE = "released code (aim-uofa/ConvNova c606027)"
NT_EPOCH = f"how the epoch was chosen is not stated; {CODE} keeps the best one on the test file"
DILATION = "; dilation 1 or 4 by task, with no split but train and test named"
GB = f"how the epoch was chosen is not stated; in {CODE} val is the test file"
UNSTATED = "not stated"


class About(NamedTuple):
    """What holds for a whole table, unless a row says otherwise."""

    title: str
    unit: str
    n: str = ""  # seeds behind a number; empty = unknown
    n_from: str = "not stated"
    spread_is: str = ""
    spread_from: str = ""
    selection: str = UNSTATED


TEN = "sections 4.1.1 and A.2.1, caption of Table 16 and the match with the per-seed tables"
SEEDS_OF = {"16": "promoters, splice sites, enhancers", "17": "H3 to H3K79me3", "18": "H4 and H4ac"}
EMBEDDED = {"1": "human regions", "2": "other species",
            "3": "epigenetic marks (the paper's 4mC rows are not here)"}  # fmt: skip
BY_PAPER = {
    CONVNOVA: {
        "1": About("NT benchmark, 18 tasks: ConvNova and four pretrained models", "percent", "10",
                   f"{TEN}; the caption says five", MAX_DEV, BY_SEEDS, NT_EPOCH),
        "2": About("Genomic Benchmarks, 8 tasks", "fraction", "5", "caption and section 4.1.2",
                   MAX_DEV, BY_TEXT, GB),
        "3": About("Gene finding", "fraction", "", "one number, seeds not stated"),
        "4": About("Dilation against downsampling", "percent", "1",
                   "section 4.4: a single seed", selection=NT_EPOCH),
        "5": About("Ablation of gate and dual branch, histone tasks", "percent", "10",
                   "section 4.5: ten seeds, as in 4.1.1", MAX_DEV,
                   f"{BY_SEEDS} (ConvNova; the ablations have no per-seed values)", NT_EPOCH),
        "6": About("Receptive field of 15 % and of 100 %, four histone tasks", "percent", "10",
                   "match with the per-seed tables", MAX_DEV, BY_SEEDS, NT_EPOCH),
        "7": About("Hyperparameters of pretraining", ""),
        "8": About("Time of pretraining", ""),
        "9": About("Hyperparameters of the downstream tasks", ""),
        "10": About("Chromatin profiles, AUROC by kind of feature", "percent"),
        "11": About("Kernel size x dilation, average over 18 NT tasks", "percent",
                    selection=NT_EPOCH),
        "12": About("Kernel size x dilation, 16 NT tasks one by one", "percent", "",
                    "not stated; every value is a multiple of 0.02, as five runs of one decimal "
                    "would give", selection=NT_EPOCH),
        "13": About("NT benchmark with supervised models added", "percent", "5",
                    "caption; ten in the columns of Table 1", "unknown",
                    "the caption calls it error range; the columns of Table 1 are as there",
                    NT_EPOCH),
        "14": About("Genomic Benchmarks with supervised models added", "fraction", "5", "caption",
                    MAX_DEV, BY_TEXT, GB),
        "15": About("NTv2 from scratch, original and modified", "percent"),
        **{table: About(f"Seeds of Table 1: {tasks}", "percent", "1", "each value is one seed",
                        selection=NT_EPOCH) for table, tasks in SEEDS_OF.items()},
        **{f"text:{at}": About(f"Hyperparameters named in section {at}", "")
           for at in ("3.2", "3.3", "A.1", "A.2.1", "A.2.2", "A.2.3", "A.2.4")},
    },
    THESIS: {
        "1": About("GPN on Cucujiformia: accuracy of masked bases", "percent", "1",
                   "one run, one seed", "99 % CI half-width",
                   "caption; over tokens, not over runs"),
        "2": About("GPN on Cucujiformia: loss of masked bases", "nats", "1", "one run, one seed"),
        "3": About("Genome assemblies of the Cucujiformia data", ""),
    },
    EMBEDDINGS: {table: About(f"Frozen mean-pooled embeddings: {what}", "fraction")
                 for table, what in EMBEDDED.items()},
}  # fmt: skip
TABLES = {(s, table): about for s, known in BY_PAPER.items() for table, about in known.items()}
CELL = re.compile(r"(<u>)?(-?\d+(?:\.\d+)?)(</u>)?(?: \\pm (\d+\.\d+))?")

VALUE = ["source", "table", "suite", "task", "metric", "model"]
MEANS = [
    *VALUE, "params", "regime", "variant", "mean", "spread", "spread_is", "n", "selection",
    "printed", "mark", "unit", "decimals", "note",
]  # fmt: skip
SEEDS = [*VALUE, "variant", "seed", "value", "selection", "mark", "unit"]
LISTED = ["source", "paper", "table", *About._fields]


class Cell(NamedTuple):
    """A number of the paper's text."""

    mean: str
    spread: str
    underlined: bool


def cells(text: str) -> dict[str, list[Cell]]:
    """The numbers of every table of the paper's text by its number, row by row, without labels."""
    found: dict[str, list[Cell]] = defaultdict(list)
    table, seen_head = "", False
    for line in text.splitlines():
        if caption := re.match(r"Table (\d+):", line):
            table, seen_head = caption[1], False
        elif line.startswith("|") and not seen_head:
            seen_head = True
        elif line.startswith("|"):
            for word in line.strip("|").split("|")[1:]:
                if m := CELL.fullmatch(word.strip()):
                    found[table].append(Cell(m[2], m[4] or "", bool(m[1])))
    return found


def read(path: Path) -> list[Row]:
    """Rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def write(path: Path, heads: Sequence[str], rows: Iterable[Row]) -> None:
    """Rows as CSV; a name without a value is an empty field."""
    with path.open("w", encoding="utf-8", newline="") as f:
        out = csv.DictWriter(f, heads, restval="", extrasaction="raise", lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def marked(rows: Sequence[Row], name: str, text: dict[str, list[Cell]]) -> None:
    """Add `mark` to the rows of the ConvNova paper, whose order must be that of its tables.

    Raises:
        ValueError: where rows and text do not hold the same numbers in the same order.
    """
    by_table: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["source"] == CONVNOVA:
            by_table[row["table"]].append(row)
    for table, mine in by_table.items():
        ours = [(row[name], row.get("spread", "")) for row in mine]
        if ours != [(c.mean, c.spread) for c in text[table]]:
            raise ValueError(f"Table {table}: reference and text differ in numbers or their order")
        for row, cell in zip(mine, text[table], strict=True):
            row["mark"] = "second" if cell.underlined else ""


def variant(row: Row, means: dict[tuple[str, str], dict[str, float]]) -> str:
    """The variant whose per-seed values have the printed mean, empty when none or not known."""
    if row["source"] != CONVNOVA or row["table"] not in {"1", "5", "6", "13"}:
        return ""
    if row["model"] != "convnova" or row["regime"] != "pretrained":
        return ""
    found = means[row["task"], row["model"]]
    fits = [name for name, mean in found.items() if abs(mean - float(row["mean"])) <= 0.0151]
    return fits[0] if len(fits) == 1 else ""


def described(row: Row) -> Row:
    """Add the facts of the row's table, or of the row where these differ."""
    about, at = TABLES[row["source"], row["table"]], (row["source"], row["table"])
    spread = row.setdefault("spread", "")
    if at == (CONVNOVA, "13") and row["regime"] == "pretrained":
        about = TABLES[CONVNOVA, "1"]
    selection = about.selection
    if row["model"] == "convnova" and about is TABLES[CONVNOVA, "1"]:
        selection += DILATION
    if at == (CONVNOVA, "3") and row["model"] != "convnova":
        selection = "as in BEND, which selects on its validation split"
    notes = (x for x in row.get("note", "").split("; ") if not x.startswith(("unit=", "mark=")))
    return {
        **row, "spread_is": about.spread_is if spread else "", "n": about.n, "unit": about.unit,
        "selection": selection, "decimals": str(len(row["mean"].partition(".")[2])),
        "printed": row["mean"] + (f" ± {spread}" if spread else ""), "note": "; ".join(notes),
    }  # fmt: skip


def make(shared: Path, folder: Path) -> None:
    """Write every file of results/published/."""
    reference = shared / "reference"
    text = cells((shared / "papers" / "convnova-2502.18538.md").read_text(encoding="utf-8"))
    means, seeds = (read(reference / f"published_{x}.csv") for x in ("means", "seeds"))
    kernels = read(reference / "kernel_dilation.csv")
    marked(means, "mean", text)
    marked(seeds, "value", text)
    marked(kernels, "mean", text)
    by_seed = seed_means(seeds)
    write(folder / "means.csv", MEANS, (
        described({**row, "variant": variant(row, by_seed)}) for row in means
    ))  # fmt: skip
    write(folder / "seeds.csv", SEEDS, (
        row | {"selection": about.selection, "unit": about.unit}
        for row in seeds for about in [TABLES[row["source"], row["table"]]]
    ))  # fmt: skip
    write(folder / "kernel_dilation.csv", MEANS, map(_kernel, kernels))
    embeddings = read(reference / "published_embedding_auc.csv")
    write(folder / "embedding_auc.csv", MEANS, map(_embedding, embeddings))
    for name in ("hyperparameters", "pretraining_time", "gpn_dataset_composition"):
        rows = read(reference / f"{name}.csv")
        write(folder / f"{name}.csv", list(rows[0]), rows)
    write(folder / "tables.csv", LISTED, (
        {"source": source, "paper": PAPERS[source], "table": table, **about._asdict()}
        for (source, table), about in TABLES.items()
    ))  # fmt: skip


def seed_means(seeds: Iterable[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """(task, model) -> variant -> mean of its per-seed values."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in seeds:
        scores[row["task"], row["model"]][row["variant"]].append(float(row["value"]))
    means = {key: {v: sum(x) / len(x) for v, x in found.items()} for key, found in scores.items()}
    return defaultdict(dict, means)


def _kernel(row: Row) -> Row:
    kind = f"kernel={row.pop('kernel_size')},dilation={row.pop('dilation')}"
    model = {"suite": "nt", "model": "convnova", "params": "", "regime": "scratch"}
    return described({**row, **model, "variant": kind})


def _embedding(row: Row) -> Row:
    names = {"suite": "embeddings", "task": row.pop("dataset"), "mean": row.pop("value")}
    return described({**row, **names})


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path([*sys.argv, str(Path(__file__).parent / "published")][2]))
