"""Searches of settings: what was tried, what was chosen on validation, and where that is kept.

runs/tuning/<id>.json       one search; when its command runs again it has the final runs of both
runs/tuning/<id>-<n>.json   the same search where it chose otherwise, as on another machine
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dnabench.cache import json_files, write_json
from dnabench.metrics import METRICS
from dnabench.results.store import Store

FOLDER = "tuning"
SCHEMA = "dnabench.search/1"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A configuration that was tried, and its validation scores."""

    number: int  # 0 = the default
    settings: tuple[str, ...]  # name=value
    scores: Mapping[str, tuple[float, ...]]  # task -> score of each tuning seed that ended
    trials: tuple[str, ...] = ()  # their ids
    failed: int = 0  # trials without a score: such a configuration is never chosen
    n_params: int = 0  # the largest over tasks
    flops: float = 0.0  # of a forward pass of each example that its trials read; 0 = not counted
    seconds: float = 0.0  # of all trials
    partial: bool = False  # trained for fewer epochs than its settings say: never chosen
    # task -> what its trials share with those of any other search: their id without the seed
    same: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for one model and regime on some tasks together."""

    model: str
    regime: str
    tasks: tuple[str, ...]
    candidates: tuple[Candidate, ...]  # the default first
    chosen: int  # number of a candidate
    final: Mapping[str, str]  # trial id of the default -> of the chosen one, same task and seed
    fold: int = -1  # whose choice it is, where the seeds of the protocol are folds

    @property
    def default(self) -> Candidate:
        """The configuration without settings of its own."""
        return self.candidates[0]

    @property
    def best(self) -> Candidate:
        """The chosen one."""
        return next(c for c in self.candidates if c.number == self.chosen and not c.partial)

    @property
    def whole(self) -> tuple[Candidate, ...]:
        """Those that were trained for all their epochs."""
        return tuple(c for c in self.candidates if not c.partial)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything a reader has to know of a search."""

    budget: int  # configurations of each model and regime; 0 = in hours or FLOP
    search: str
    search_seed: int
    per: str
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]  # of the final runs
    spaces: Mapping[str, Mapping[str, str]]  # model -> setting -> space
    metrics: Mapping[str, str]  # task -> metric of the choice
    choices: tuple[Choice, ...]
    hours: float = 0.0  # that the trials of each choice may take
    flops: float = 0.0  # likewise, of training
    by_hand: tuple[str, ...] = ()  # spaces that the user gave, [model.]name=space or [model.]name
    # regime -> "bp" read and "seconds" taken, of networks of `dnabench pretrain` and all that they
    # went on from; "began_with", weights of which that is not known
    pretraining: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """`budget`, as a request has it."""
        return self.budget

    @property
    def id(self) -> str:
        """12 hex digits over what was searched: not over results, nor the final seeds."""
        begun = [[c.model, c.regime, c.tasks, c.default.trials] for c in self.choices]
        asked = asdict(self) | {"seeds": 0, "choices": begun}
        asked = {k: v for k, v in asked.items() if v or k not in ("hours", "flops")}
        for told in ("by_hand", "pretraining"):  # `spaces` and the trials have them
            asked.pop(told, None)
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


class Budget(Protocol):
    """What has a budget: a search, or the request of one."""

    @property
    def size(self) -> int:
        """In configurations; 0 = in hours or FLOP."""

    @property
    def hours(self) -> float:
        """That trials may take."""

    @property
    def flops(self) -> float:
        """That their training may take."""


def budget_text(of: Budget) -> str:
    """A budget in words."""
    if of.hours:
        return f"{of.hours:g} h of trials"
    if of.flops:
        return f"{of.flops:.3g} FLOP of training"
    return f"{of.size} configurations"


def different(choices: Iterable[Choice], task: str) -> int:
    """How many configurations were tried on a task by searches of one model and regime.

    What several of them tried counts once, whatever the tuning seeds. Searches saved by older
    versions know configurations by their settings alone, so beside one of them all are told apart
    by their settings.
    """
    tried = list[Candidate]()
    for choice in choices:
        tried += {c.number: c for c in choice.candidates}.values()  # of halving: most epochs
    known = all(task in c.same for c in tried)
    return len({c.same[task] if known else c.settings for c in tried})


def values(candidates: Sequence[Candidate], metrics: Mapping[str, str]) -> list[float]:
    """How good each candidate is on validation; more is better.

    Args:
        candidates: of one choice.
        metrics: of each task.

    Returns:
        The mean over tasks of the mean over tuning seeds, turned where lower scores are better.
        Where tasks have different metrics, minus the mean rank over tasks. NaN for a candidate
        with failed trials, and one that was trained in part.
    """
    tasks = list(candidates[0].scores) if candidates else []
    signs = {t: METRICS[m].sign if (m := metrics.get(t)) in METRICS else 1 for t in tasks}
    found = np.full((len(candidates), len(tasks)), math.nan)
    for i, candidate in enumerate(candidates):
        for j, task in enumerate(tasks):
            if not (candidate.failed or candidate.partial) and candidate.scores.get(task):
                found[i, j] = signs[task] * np.mean(candidate.scores[task])
    whole = ~np.isnan(found).any(1)
    if len({metrics.get(t) for t in tasks}) > 1 and whole.any():
        from scipy.stats import rankdata

        found[whole] = -rankdata(-found[whole], axis=0)
    return [float(np.mean(row)) if ok else math.nan for row, ok in zip(found, whole, strict=True)]


def choose(candidates: Sequence[Candidate], metrics: Mapping[str, str]) -> Candidate:
    """The candidate with the best `values`; of equal ones the cheaper.

    Cheaper: with fewer parameters, then with fewer FLOP; then the one that was drawn first.

    Raises:
        ValueError: every candidate has failed trials.
    """
    ranked = [
        (-round(value, 12), c.n_params, c.flops, c.number, c)
        for value, c in zip(values(candidates, metrics), candidates, strict=True)
        if not math.isnan(value)
    ]
    if not ranked:
        raise ValueError("every configuration has trials that failed, so none can be chosen")
    return min(ranked, key=lambda one: one[:4])[-1]


def save_search(store: Store, search: Search) -> Path:
    """Write a search into the folder of its records, with the final runs that its file has already.

    What it chose otherwise before is kept in a file of its own.
    """
    path = store.folder / FOLDER / f"{search.id}.json"
    if (there := _there(path)) is not None:
        search, other = joined(there, search)
        if other is not None:  # first, so that nothing is lost in between
            _add(path.parent, other, path.stat().st_mtime_ns, 2 if other.id == search.id else 1)
    _write(path, search)
    return path


def add_search(store: Store, search: Search, at: int) -> bool:
    """Put a search of another folder beside those that are here, if it is not yet.

    Args:
        store: is written.
        search: of another folder.
        at: when it was written there, in nanoseconds since 1970.

    Returns:
        Whether it chose as the same search did here; where it did not, both are kept.

    Raises:
        ValueError: a file here is no search; names it.
    """
    return _add(store.folder / FOLDER, search, at)


def _add(folder: Path, search: Search, at: int, n: int = 1) -> bool:
    """As `add_search`, to `<id>-<n>.json` or one behind it; 1 is `<id>.json`."""
    path = folder / f"{search.id}{f'-{n}' * (n > 1)}.json"
    if not path.is_file():
        _write(path, search, at)
        return True
    there, then = read_search(path), path.stat().st_mtime_ns
    both, other = joined(search, there)
    newest = then if other else max(at, then)  # what was chosen otherwise keeps its own time
    if (both, newest) != (there, then):
        _write(path, both, newest)
    if other is not None:
        _add(folder, other, at, n + 1 if other.id == search.id else 1)
    return other is None


def joined(before: Search, after: Search) -> tuple[Search, Search | None]:
    """One search of two with the same id: where both chose alike it has the final runs of both.

    Returns:
        The search, otherwise as the second, and what the first chose otherwise, as scores of
        another machine may be others; None = nothing.
    """
    pairs = list(zip(before.choices, after.choices, strict=True))
    other = tuple(a for a, b in pairs if not _alike(a, b))
    if len(other) == len(pairs):
        return after, before
    more = not {*before.seeds} <= {*after.seeds}
    both = replace(
        after, choices=tuple(_both(a, b) if _alike(a, b) else b for a, b in pairs),
        seeds=tuple(sorted({*before.seeds, *after.seeds})) if more else after.seeds,
        pretraining={**before.pretraining, **after.pretraining},
    )  # fmt: skip
    return both, replace(before, choices=other) if other else None


def _alike(a: Choice, b: Choice) -> bool:
    """Whether two choices of one search chose the same from the same configurations.

    In the same hours a faster machine tries more of them.
    """
    tried = zip(a.candidates, b.candidates, strict=False)
    same = all((x.settings, x.partial) == (y.settings, y.partial) for x, y in tried)
    return same and a.best.settings == b.best.settings


def _both(a: Choice, b: Choice) -> Choice:
    more = a if len(a.candidates) > len(b.candidates) else b
    return replace(more, final={**a.final, **b.final})


def _there(path: Path) -> Search | None:
    """The search of a file; None where there is none, or none that can be read."""
    try:
        return read_search(path) if path.is_file() else None
    except ValueError:
        return None


def _write(path: Path, search: Search, at: int = 0) -> None:
    write_json(path, {"schema": SCHEMA, **asdict(search)}, at)


def searches(store: Store) -> list[Search]:
    """The searches of a folder, the newest last; files of one search that chose alike are one.

    Raises:
        ValueError: a file that is no search; names it.
    """
    out: list[Search] = []
    for path in json_files(store.folder / FOLDER):
        one, rest = read_search(path), list[Search]()
        for before in out:
            other: Search | None = before
            if before.id == one.id:
                one, other = joined(before, one)
            rest += [other] if other else []
        out = [*rest, one]
    return out


def read_search(path: Path) -> Search:
    """The search that a file has.

    Raises:
        ValueError: it has none; names it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("schema") != SCHEMA:
            raise ValueError("of another version")
        choices = tuple(_choice(one) for one in found.pop("choices"))
        for name in ("tuning_seeds", "seeds"):
            found[name] = tuple(found[name])
        found["by_hand"] = tuple(found.get("by_hand", ()))
        return Search(**found, choices=choices)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(
            f"{path}: not a search of `dnabench tune` ({e}); move it away, or run its command again"
        ) from None


def _choice(found: dict[str, Any]) -> Choice:
    candidates = tuple(
        Candidate(**{
            **one, "settings": tuple(one["settings"]), "trials": tuple(one["trials"]),
            "scores": {task: tuple(scores) for task, scores in one["scores"].items()},
        })
        for one in found.pop("candidates")
    )  # fmt: skip
    return Choice(**{**found, "tasks": tuple(found["tasks"])}, candidates=candidates)
