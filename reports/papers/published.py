"""The numbers that papers printed, read from the package's results/published/*.csv.

Numbers are as printed: in percent where the paper prints percent. `results/make_published.py` made
the files; nothing here computes.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dnabench.results
from dnabench.registry import explain_miss

FOLDER = Path(dnabench.results.__file__).parent / "published"
LISTED_BY = "`dnabench published list` prints all"
MEANS = ("means", "kernel_dilation", "embedding_auc")
FACTS = ("hyperparameters", "pretraining_time", "gpn_dataset_composition")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of a table, with what is known of how it came about."""

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
    mean: float
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
class SeedValue:
    """The score of one run."""

    source: str
    paper: str
    table: str
    suite: str
    task: str
    metric: str
    model: str
    variant: str
    seed: int
    value: float
    unit: str
    printed: str  # with as many decimals as in print
    mark: str
    selection: str


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
    """Published means.

    Args:
        paper: short name or source; all papers when empty.
        table: number ("1"); all tables when empty.

    Returns:
        In the order of print. Empty for a table that holds something else.

    Raises:
        KeyError: an unknown paper or table; the message suggests.
    """
    keys = {(t.source, t.table) for t in _asked(paper, table)}
    return tuple(v for v in _values() if (v.source, v.table) in keys)


def seeds(paper: str = "", table: str = "") -> tuple[SeedValue, ...]:
    """Published scores of single runs; arguments, order and errors as in `values`."""
    keys = {(t.source, t.table) for t in _asked(paper, table)}
    return tuple(v for v in _seeds() if (v.source, v.table) in keys)


def facts(paper: str, table: str) -> tuple[Mapping[str, str], ...]:
    """Rows of a table that holds no scores: hyperparameters, times, genomes.

    Raises:
        KeyError: an unknown paper or table; the message suggests.
    """
    keys = {(t.source, t.table) for t in _asked(paper, table)}
    rows = (row for name in FACTS for row in _rows(name))
    return tuple(row for row in rows if (row["source"], row["table"]) in keys)


def papers() -> tuple[str, ...]:
    """Short names."""
    return tuple(dict.fromkeys(t.paper for t in _tables()))


def tables(paper: str = "") -> tuple[About, ...]:
    """Every table, or those of a paper, in the order of print."""
    return _asked(paper, "")


def named(name: str) -> About:
    """Find a table by its name.

    Args:
        name: "convnova/table1", or "convnova/1".

    Raises:
        KeyError: no such table; the message has the nearest names.
    """
    paper, _, table = name.partition("/")
    known = {(t.paper, t.table): t for t in _tables()}
    found = known.get((paper, table.removeprefix("table")))
    if found is None:
        names = [t.name for t in _tables()]
        raise KeyError(explain_miss("table", name, names, where=LISTED_BY))
    return found


def _asked(paper: str, table: str) -> tuple[About, ...]:
    of_paper = [t for t in _tables() if paper in ("", t.paper, t.source)]
    if not of_paper:
        known = list(papers())
        raise KeyError(explain_miss("paper", paper, known, f"there are {', '.join(known)}"))
    found = tuple(t for t in of_paper if table in ("", t.table))
    if not found:
        known = [t.table for t in of_paper]
        noun = f"table of {paper or 'any paper'}"
        raise KeyError(explain_miss(noun, table, known, f"there are {', '.join(known)}"))
    return found


def _rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


@functools.cache
def _tables() -> tuple[About, ...]:
    out = []
    for row in _rows("tables"):
        n = int(row.pop("n") or 0) or None
        out.append(About(**row, n=n))
    return tuple(out)


@functools.cache
def _paper_of() -> Mapping[str, str]:
    return {t.source: t.paper for t in _tables()}


@functools.cache
def _values() -> tuple[Value, ...]:
    return tuple(_value(row) for name in MEANS for row in _rows(name))


def _value(row: dict[str, str]) -> Value:
    mean, spread, n, decimals = (row.pop(k) for k in ("mean", "spread", "n", "decimals"))
    return Value(
        **row,
        paper=_paper_of()[row["source"]],
        mean=float(mean),
        spread=float(spread) if spread else None,
        n=int(n) if n else None,
        decimals=int(decimals),
    )


@functools.cache
def _seeds() -> tuple[SeedValue, ...]:
    out = []
    for row in _rows("seeds"):
        seed, printed = row.pop("seed"), row.pop("value")
        paper = _paper_of()[row["source"]]
        out.append(
            SeedValue(**row, paper=paper, seed=int(seed), value=float(printed), printed=printed)
        )
    return tuple(out)
