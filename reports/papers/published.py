"""The numbers that papers printed, read from the package's results/published/*.csv.

Numbers are as printed: in percent where the paper prints percent. `results/make_published.py` made
the files; nothing here computes. An unknown paper or table is a KeyError whose message suggests.
"""

import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import dnabench.results
from dnabench.registry import explain_miss

FOLDER = Path(dnabench.results.__file__).parent / "published"
LISTED_BY = "`dnabench published list` prints all"
MEANS = ("means", "kernel_dilation", "embedding_auc")
# what a line of seeds.csv leaves out
ONE_RUN = {**dict.fromkeys(("params", "regime", "spread", "spread_is", "note"), ""), "n": "1"}
FACTS = ("hyperparameters", "pretraining_time", "gpn_dataset_composition")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of a table, a mean or the score of one run, and its origin as far as known."""

    source: str  # "arxiv:2502.18538"
    paper: str  # "convnova"
    table: str  # "1"
    suite: str
    task: str
    metric: str
    model: str
    params: str  # as printed: "1.7M"; empty = not printed
    regime: str
    variant: str  # "dilation=4", "kernel=3,dilation=1"; empty = none, or not known
    seed: int | None  # None = a mean
    mean: float  # the score itself where there is a seed
    spread: float | None  # None = nothing printed
    n: int | None  # seeds behind it; None = unknown
    spread_is: str  # "max |deviation|", "99 % CI half-width", "unknown"; empty without a spread
    selection: str  # how epoch and configuration were chosen, as far as known
    printed: str  # "80.48 ± 1.04"
    mark: str  # "best", "second" or "" as printed; bold type is lost in our copies
    unit: str  # "percent", "fraction" or "nats"
    decimals: int  # of the mean
    note: str


@dataclass(frozen=True, kw_only=True)
class About:
    """A table of a paper."""

    source: str
    paper: str
    table: str
    title: str  # ours
    unit: str  # empty where the table holds no scores
    n: int | None  # None = unknown, or not the same in every cell
    n_from: str
    spread_is: str
    spread_from: str
    selection: str

    @property
    def name(self) -> str:
        """As `dnabench published show` takes it."""
        return f"{self.paper}/{'table' if self.table.isdigit() else ''}{self.table}"


def values(paper: str = "", table: str = "") -> tuple[Value, ...]:
    """Published means in the order of print; empty for a table that holds something else.

    Args:
        paper: short name or source; all papers when empty.
        table: number ("1"); all tables when empty.
    """
    return tuple(v for v in _of(paper, table) if v.seed is None)


def seeds(paper: str = "", table: str = "") -> tuple[Value, ...]:
    """Published scores of single runs; arguments and order as in `values`."""
    return tuple(v for v in _of(paper, table) if v.seed is not None)


def facts(paper: str, table: str) -> tuple[Mapping[str, str], ...]:
    """Rows of a table that holds no scores: hyperparameters, times, genomes."""
    keys = {(t.source, t.table) for t in tables(paper, table)}
    rows = (row for name in FACTS for row in _rows(name))
    return tuple(row for row in rows if (row["source"], row["table"]) in keys)


def tables(paper: str = "", table: str = "") -> tuple[About, ...]:
    """Every table, or those of a paper, or one, in the order of print."""
    of_paper = [t for t in _tables() if paper in ("", t.paper, t.source)]
    found = tuple(t for t in of_paper if table in ("", t.table))
    if not of_paper:
        what, name, known = "paper", paper, list(dict.fromkeys(t.paper for t in _tables()))
    else:
        what, name, known = f"table of {paper or 'any paper'}", table, [t.table for t in of_paper]
    if not found:
        raise KeyError(explain_miss(what, name, known, f"choose from {', '.join(known)}"))
    return found


def named(name: str) -> About:
    """Find a table by its name, "convnova/table1" or "convnova/1"."""
    paper, _, table = name.partition("/")
    for about in _tables():
        if (about.paper, about.table) == (paper, table.removeprefix("table")):
            return about
    raise KeyError(explain_miss("table", name, [t.name for t in _tables()], where=LISTED_BY))


def _of(paper: str, table: str) -> Iterator[Value]:
    keys = {(t.source, t.table) for t in tables(paper, table)}
    return (v for v in _values() if (v.source, v.table) in keys)


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@functools.cache
def _tables() -> tuple[About, ...]:
    rows = [(row, int(row.pop("n") or 0)) for row in _rows("tables")]
    return tuple(About(**row, n=n or None) for row, n in rows)


@functools.cache
def _values() -> tuple[Value, ...]:
    papers = {t.source: t.paper for t in _tables()}
    means = [{**row, "seed": ""} for name in MEANS for row in _rows(name)]
    runs = [{**ONE_RUN, **row, "printed": row["value"]} for row in _rows("seeds")]
    return tuple(_value(row, papers[row["source"]]) for row in [*means, *runs])


def _value(row: dict[str, str], paper: str) -> Value:
    printed = row.get("mean") or row.pop("value")
    numbers = {
        "seed": int(row["seed"]) if row["seed"] else None,
        "mean": float(printed),
        "spread": float(row["spread"]) if row["spread"] else None,
        "n": int(row["n"]) if row["n"] else None,
        "decimals": len(printed.partition(".")[2]),
    }
    return Value(**{**row, **numbers, "paper": paper})  # type: ignore[arg-type]
