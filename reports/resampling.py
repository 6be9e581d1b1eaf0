"""Intervals over seeds and test examples of the runs in a folder, cached by content.

A row is a task: column number -> the successful records of that column. A pair is (column a,
column b), its interval that of a - b. Where there is none, a text says why.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.cache import keep_json, read_json
from dnabench.host.processes import forked
from dnabench.metrics import METRICS
from dnabench.reports.blocks import Blocks, blocks
from dnabench.reports.cells import unit_of
from dnabench.reports.memo import stamp
from dnabench.reports.stats.examples import REPLICATES, Nested, nested_pairs, resampled, units
from dnabench.reports.stats.replicates import check_cost
from dnabench.results.store import Store
from dnabench.tasks.audit.audit import kept
from dnabench.types import Array, Record

Pair = tuple[int, int]
VERSION = 2  # of what is cached; a change of the method or of a metric makes it one more
NO_FOLDER = "no stored predictions: the table is not made from a folder of runs"


class Resampled(NamedTuple):
    """The intervals of one row, and the error of each mean due to the test examples."""

    intervals: dict[Pair, Nested | str]  # str: why there is none
    se: dict[int, float]  # column -> standard error of its mean due to the test examples
    drawn: Blocks | None = None  # how the test examples were drawn; None where they were not


@dataclass
class Resampler:
    """Resamples the stored predictions of a folder, a row at a time.

    What was computed lies in `<folder>/.cache/intervals` and is taken from there as long as
    trials, prediction files, metric, pairs and `replicates` are the same. Processes may share it;
    a folder that cannot be written does without. Without a store every pair gets a reason.
    `observe` is called with a line of text for each row that has to be computed.
    """

    store: Store | None
    replicates: int = REPLICATES  # of the test examples
    observe: Callable[[str], None] | None = None

    def row(
        self, row_records: Mapping[int, Sequence[Record]], metric: str, pairs: Sequence[Pair]
    ) -> Resampled:
        """Resample one row, by `stats.examples.replicates` and `nested`.

        Records without a value of the metric are left out, as in the table. Related test examples
        are drawn together, see `blocks`.

        Returns:
            An interval or a reason for every pair, in that order; standard errors of the columns
            that could be read.
        """
        if self.store is None:
            return Resampled(dict.fromkeys(pairs, NO_FOLDER), {})
        ended = {
            column: sorted((r for r in records if _defined(r, metric)), key=lambda r: r.trial.id)
            for column, records in row_records.items()
        }
        # columns go by their trials, so that neither a new column elsewhere makes anything stale
        # nor their order, as of files written at other times, changes what a pair draws
        order = sorted(ended, key=lambda column: ([r.trial.id for r in ended[column]], column))
        place = {column: i for i, column in enumerate(order)}
        columns, numbered = [ended[k] for k in order], [(place[a], place[b]) for a, b in pairs]
        near = _near_copies(r for column in columns for r in column)
        once = sorted({(min(pair), max(pair)) for pair in numbered})
        todo = _Row(self.store, columns, metric, once, near, self.replicates)
        path = self.store.folder / ".cache" / "intervals" / f"{todo.key()}.json"
        found = _parsed(read_json(path), todo.pairs) or self._computed(todo, path)
        intervals = {
            pair: found.intervals[i, j] if i < j else _flipped(found.intervals[j, i])
            for pair, (i, j) in zip(pairs, numbered, strict=True)
        }
        return Resampled(intervals, {order[i]: se for i, se in found.se.items()}, found.drawn)

    def say(self, runs: Sequence[Record]) -> None:
        """Tell who observes that the row of these runs is resampled."""
        if self.observe is not None:
            task = runs[0].trial.task if runs else "a task without runs"
            self.observe(f"resampling {task}: {len(runs)} runs x {self.replicates:,} replicates")

    def _computed(self, todo: _Row, path: Path) -> Resampled:
        if not forked():
            self.say([r for records in todo.columns for r in records])
        found, lasting = todo.compute()
        if lasting:
            intervals = [[*pair, interval] for pair, interval in found.intervals.items()]
            content = {"intervals": intervals, "se": list(found.se.items()), "drawn": found.drawn}
            keep_json(path, content)
        return found


class _Row(NamedTuple):
    """What an interval depends on; columns are numbered from 0."""

    store: Store
    columns: Sequence[Sequence[Record]]
    metric: str
    pairs: Sequence[Pair]
    near: Sequence[Sequence[str]]  # ids of near copies among the test examples
    replicates: int

    def key(self) -> str:
        files = [list(map(self._file, column)) for column in self.columns]
        content = [VERSION, self.replicates, self.metric, files, list(self.pairs), self.near]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _file(self, record: Record) -> list[Any]:
        """What tells whether a run's predictions changed, and with which runs it is averaged."""
        trial_id, score = record.trial.id, record.scores["test"].get(self.metric)
        unit = unit_of(record)
        return [
            trial_id, stamp(self.store.predictions_path(trial_id)), score,
            *([] if unit is None else [unit]),
        ]  # fmt: skip

    def compute(self) -> tuple[Resampled, bool]:
        """The row, and whether it will be the same as long as the key is."""
        try:
            self._check_cost()
        except ValueError as e:
            return Resampled(dict.fromkeys(self.pairs, str(e)), {}), False
        splits: dict[str, list[int]] = {}  # columns by the examples that they were tested on
        why: dict[int, str] = {}  # a column -> why it has no scores; may be gone the next time
        for column, records in enumerate(self.columns):
            try:
                splits.setdefault(self._split(records), []).append(column)
            except ValueError as e:
                why[column] = str(e)
            except OSError as e:
                why[column] = f"cannot read {e.filename}: {e.strerror}"
        scores: dict[int, Array] = {}
        drawn: list[Blocks] = []
        for columns in splits.values():
            try:
                found, how = self._scores(columns)
                scores, drawn = scores | found, [*drawn, how]
            except ValueError as e:
                why |= dict.fromkeys(columns, str(e))
            except OSError as e:  # as for lack of memory
                why |= dict.fromkeys(columns, f"cannot read {e.filename}: {e.strerror}")
        no = {pair: self._without(pair, splits, scores, why) for pair in self.pairs}
        some = nested_pairs(scores, [pair for pair, reason in no.items() if not reason])
        intervals = {pair: some.get(pair, reason) for pair, reason in no.items()}
        means = {column: x.mean(0) for column, x in scores.items()}
        se = {c: float(np.nanstd(m, ddof=1)) for c, m in means.items() if (m == m).sum() > 1}
        return Resampled(intervals, se, drawn[0] if drawn else None), not why

    def _check_cost(self) -> None:
        """Before anything is read: predictions of a large task take gigabytes."""
        records = [r for column in self.columns for r in column]
        for task in [r.task for r in records[:1]]:
            rows, outputs = int(task.get("n_test", 0)), len(task.get("classes", ()))
            check_cost(self.metric, rows, outputs, len(records), self.replicates)

    def _split(self, records: Sequence[Record]) -> str:
        """A hash of the examples and labels that all runs of a column were tested on."""
        if not records:
            raise ValueError(f"no run with a value of {self.metric}")
        found = {}
        for r in records:
            with self._opened(r) as file:
                y, logits = file["labels"], file["logits"]
                names = [n for n in ("ids", "bases") if n in file]
                parts = [y, *(file[name] for name in names)]
                gives = METRICS[self.metric].function(y, logits)
                if (rows := _rows(*parts[1:])) != len(y):
                    raise ValueError(f"its ids stand for {rows} rows, its labels are {len(y)}")
            found[_hash(parts)] = r
            self._check_score(r, gives)
        if len(found) > 1:
            a, b, *_ = (r.trial.seed for r in found.values())
            model = records[0].trial.model
            raise ValueError(f"runs of {model} (seeds {a}, {b}) were tested on different examples")
        return next(iter(found))

    def _check_score(self, record: Record, gives: float) -> None:
        said = record.scores["test"][self.metric]
        if not abs(gives - said) < 1e-6:
            raise ValueError(
                f"{self.store.predictions_path(record.trial.id)} gives {self.metric} {gives:.6f}, "
                f"its record says {said:.6f}: one of the two was changed; run the trial again"
            )

    def _scores(self, columns: Sequence[int]) -> tuple[dict[int, Array], Blocks]:
        """Column -> its units on all replicates, (S, n); how the examples were drawn."""
        records = [r for column in columns for r in self.columns[column]]
        with self._opened(records[0]) as file:
            y, ids = file["labels"], file["ids"]
            bases = file.get("bases")
        block, drawn = self._blocks(records, ids)
        if bases is not None:  # the bases of a sequence belong together
            block = np.repeat(np.arange(len(ids)) if block is None else block, bases)
        unit = units(len(y), block)
        runs = resampled(y, map(self._logits, records), self.metric, unit, self.replicates)
        ends = np.cumsum([len(self.columns[column]) for column in columns])[:-1]
        found = zip(columns, np.split(runs, ends), strict=True)
        return {c: _by_unit(self.columns[c], scores) for c, scores in found}, drawn

    def _blocks(self, records: Sequence[Record], ids: Array) -> tuple[Array | None, Blocks]:
        """From the first run that says which examples are related: older ones do not."""
        for record in records:
            with self._opened(record) as file:
                clusters, copies = file.get("clusters"), file.get("copies")
            if clusters is not None or copies is not None:
                words = str(record.task.get("clusters", ""))
                return blocks(ids, clusters, copies, words, self.near)
        return blocks(ids, near=self.near)

    def _logits(self, record: Record) -> Array:
        with self._opened(record) as file:
            return np.asarray(file["logits"])

    def _without(
        self, pair: Pair, splits: Mapping[str, list[int]], scores: Mapping[int, Array],
        why: Mapping[int, str],
    ) -> str:  # fmt: skip
        """Why there is no interval; empty where there can be one."""
        if known := [why[column] for column in pair if column in why]:
            return known[0]
        if not any(set(pair) <= set(columns) for columns in splits.values()):
            return "the two models were tested on different examples or labels"
        if short := [c for c in pair if len(scores[c]) < 2]:
            model = self.columns[short[0]][0].trial.model
            return f"only one run of {model}; variation between seeds needs at least two"
        return ""

    @contextmanager
    def _opened(self, record: Record) -> Iterator[Mapping[str, Array]]:
        trial = record.trial
        try:
            with self.store.open_predictions(trial.id) as arrays:
                yield arrays
        except FileNotFoundError:
            raise ValueError(
                f"no stored predictions of {trial.model}, seed {trial.seed}: "
                f"{self.store.predictions_path(trial.id)} is missing; copy it there, or run the "
                "trial again"
            ) from None


def _by_unit(records: Sequence[Record], scores: Array) -> Array:
    """The mean over the runs of each pretraining; scores as they are where runs are independent."""
    of = [unit_of(r) for r in records]
    if None in of:
        return scores
    known, where = np.unique(np.array(of), return_inverse=True)
    return np.stack([scores[where == i].mean(0) for i in range(len(known))])


def _near_copies(records: Iterable[Record]) -> Sequence[Sequence[str]]:
    """Those that the audit of the task found, if there is one of the same data."""
    for r in records:
        audit = kept(r.trial.task, r.trial.data)
        return audit.clusters if audit else ()
    return ()


def _flipped(found: Nested | str) -> Nested | str:
    return found if isinstance(found, str) else found.flipped()


def _defined(record: Record, metric: str) -> bool:
    value = record.scores.get("test", {}).get(metric)
    return not record.error and value is not None and math.isfinite(value)


def _hash(parts: Sequence[Array]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.dtype.kind} {part.shape} ".encode())
        # the width of a text array is that of its longest text, so equal texts have equal bytes
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _rows(ids: Array, bases: Array | None = None) -> int:
    """Rows of the predictions: one an example, or as many as it has bases that count."""
    if bases is None:
        return len(ids)
    return int(bases.sum()) if len(bases) == len(ids) else -1


def _parsed(content: Any, pairs: Sequence[Pair]) -> Resampled | None:
    """What a cache file says; None when it is not whole."""
    try:
        intervals = {
            (int(a), int(b)): found if isinstance(found, str) else Nested(*map(float, found))
            for a, b, found in content["intervals"]
        }
        se = {int(column): float(value) for column, value in content["se"]}
        drawn = None if content["drawn"] is None else Blocks(*content["drawn"])
    except (ValueError, TypeError, KeyError):
        return None
    return Resampled(intervals, se, drawn) if intervals.keys() == set(pairs) else None
