"""Audit of a task's data: copies, contradictory labels, shortcuts.

The numbers count patterns in the data; they do not say how these came about.
N examples of the test split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import cache_folder, replacing
from dnabench.metrics import score
from dnabench.registry import TASKS
from dnabench.tasks.audit.align import Likeness
from dnabench.tasks.audit.copies import (
    BITS,
    EXACT,
    NEAR,
    RC,
    Copies,
    across,
    copies,
    how_copied,
    representatives,
    within,
)  # fmt: skip
from dnabench.tasks.audit.near import SHORTEST, Search, joined, near_duplicates, too_large
from dnabench.tasks.audit.shortcuts import numbers, shortcuts
from dnabench.tasks.audit.windows import windows
from dnabench.types import Array, Split, SplitName, Task

SCHEMA = "dnabench.audit/1"
SHOWN = 20  # pairs of examples that are listed
Observe = Callable[[str, float], object]  # the present step, and its progress, 0..1
_HOW = {"exact": EXACT, "rc": RC, "near": NEAR}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The findings, as stored in JSON.

    splits: split -> examples, distinct sequences, bp, length (shortest, median, longest), gc, n
    (shares) and labels: examples of each class or label; mean and sd for regression; bases of each
    class per base.
    within: split -> duplicates: examples beyond the first of a sequence. rc_duplicates: sequences
    whose reverse complement is another sequence of the split, a pair counting once.
    near_duplicates: examples with a near duplicate there. conflicts: sequences that have more than
    one label. rc_conflicts: pairs of reverse complements, each with one label, that differ.
    across: "first-second" -> the same of examples of the second split and the sequences of the
    first; an example is counted once, as duplicate, else as rc, else as near. conflicts:
    sequences of both that have more than one label.
    leaked: how (exact, rc, near) -> rows of test that have such a copy in train or dev.
    leaked_ids: the ids of all these.
    windows: shared in the genome; None when none was given. shortcuts: scores of trivial
    predictors. related: tasks of the same family in other suites. pairs: some near duplicates by
    id. skipped: what was not examined -> why. settings: of the search; pairs: an example is two
    sequences, of which copies and conflicts compare both, all else the first. clusters: ids of test
    examples that are copies or near duplicates of each other, directly or in a chain.
    """

    task: str
    data: str
    kind: str
    metric: str
    classes: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Any]]
    within: Mapping[str, Mapping[str, int | None]]
    across: Mapping[str, Mapping[str, int | None]]
    leaked: Mapping[str, Sequence[int]]
    leaked_ids: Sequence[str]
    windows: Mapping[str, Any] | None
    shortcuts: Mapping[str, float | None]
    related: Sequence[str]
    pairs: Sequence[Mapping[str, str]]
    skipped: Mapping[str, str]
    settings: Mapping[str, Any]
    clusters: Sequence[Sequence[str]] = ()  # audits of earlier versions have none

    def to_json(self) -> str:
        """JSON; the same data give the same bytes."""
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Audit:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is not an audit of this schema.
        """
        d = json.loads(text)
        if not isinstance(d, dict) or (found := d.pop("schema", None)) != SCHEMA:
            raise ValueError(f"not a {SCHEMA}" + (f", but {found!r}" if d and found else ""))
        try:
            return cls(**{**d, "classes": tuple(d["classes"])})
        except (KeyError, TypeError) as e:
            raise ValueError(f"a field of {SCHEMA} is missing or unknown: {e}") from e


def audit(
    task: Task, genome: Path | None = None, observe: Observe = lambda stage, share: None
) -> Audit:
    """Audit the data of a task, within and across its splits.

    Args:
        task: any kind; all its splits are read.
        genome: FASTA file, plain or gzipped, in which the sequences are located: where windows
            overlap, train and test share bases without sharing a sequence.
        observe: called with the step and its progress.

    Raises:
        FileNotFoundError, ValueError: the data or the genome cannot be read.

    Accuracy:
        Exact, except that some near duplicates are missed (docs/benchmarks/audit.md) and shortcuts
        are lower bounds.
    """
    observe("reading", 0.0)
    splits = {name: task.load(name) for name in BITS if name in task.counts}
    if missing := [name for name in ("train", "test") if name not in splits]:
        raise ValueError(f"{task.name} has no {missing[0]} split; an audit compares train and test")
    found, skipped, search = copies(splits), {}, None
    if reason := too_large(found.lengths):
        skipped["near duplicates"] = reason
    else:
        sequences = representatives(splits, found)
        search = near_duplicates(sequences, found.bits, lambda s: observe("near duplicates", s))
    near = None if search is None else search.near
    how = how_copied(found, near, "test", tuple(s for s in splits if s != "test"))
    observe("shortcuts", 0.0)
    if not (scores := shortcuts(task, splits["train"], splits["test"])):
        skipped["shortcuts"] = f"for binary and multiclass tasks; this one is {task.kind}"
    if genome is None:
        skipped["shared windows"] = "no genome was given"
    strands = task.kind != "per_base"  # per base, the label of the other strand differs
    return Audit(
        task=task.name, data=task.data, kind=task.kind, metric=task.metric, classes=task.classes,
        splits={name: _described(task, s, found.sequence[name]) for name, s in splits.items()},
        within={name: within(found, near, name, strands) for name in splits},
        across={f"{a}-{b}": across(found, near, a, b) for a, b in combinations(splits, 2)},
        leaked={word: np.flatnonzero(how == code).tolist() for word, code in _HOW.items()},
        leaked_ids=splits["test"].ids[how > 0].tolist(),
        windows=windows(splits, genome, lambda s: observe("genome", s)) if genome else None,
        shortcuts=scores, related=_related(task), pairs=_pairs(splits, found, search),
        skipped=skipped, settings=_settings(search) | ({"pairs": True} if task.pairs else {}),
        clusters=_clusters(splits["test"].ids, found.either["test"], search),
    )  # fmt: skip


def keep(found: Audit) -> Path:
    """Store an audit in the cache, atomically; `kept` finds it there.

    Raises:
        OSError: the cache cannot be written.
    """
    path = _place(found.task, found.data)
    with replacing(path) as file:
        file.write(found.to_json().encode())
    return path


def kept(task: str, data: str) -> Audit | None:
    """The latest audit of this version of a task's data; None when there is none."""
    try:
        found = Audit.from_json(_place(task, data).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or of an older schema
        return None
    return found if (found.task, found.data) == (task, data) else None


def _place(task: str, data: str) -> Path:
    return cache_folder() / "audits" / f"{task.replace('/', '_')}-{data}.json"


def leak_free_mask(audit: Audit) -> Array:
    """Test examples that share no exact, reverse-complement or near duplicate with train or dev.

    A dev split counts like train, since it chooses the checkpoint.

    Returns:
        bool (N,), True where no copy was found.
    """
    out = np.ones(int(audit.splits["test"]["examples"]), bool)
    for rows in audit.leaked.values():
        out[list(rows)] = False
    return out


def scores_without_leaks(
    audit: Audit, y: Array, logits: Array, metrics: Sequence[str], ids: Array | None = None
) -> dict[str, dict[str, float]]:
    """Score a prediction of the test split with and without the examples that have a copy.

    Args:
        audit: of the same data.
        y: labels, (N, ...).
        logits: float (N, K), or as the metrics take them.
        metrics: keys of dnabench.metrics.METRICS.
        ids: str (N,); needed when the rows are not the whole test split in its order.

    Returns:
        "all" and "without" -> metric -> score, and their number of examples. Undefined metrics are
        left out.

    Raises:
        ValueError: no ids were given and the number of rows is not that of the test split.
    """
    if ids is not None:
        keep = ~np.isin(ids, np.array(audit.leaked_ids, dtype=np.str_))
    else:
        keep = leak_free_mask(audit)
    if len(keep) != len(y):
        raise ValueError(
            f"{len(y)} predictions, but the test split of {audit.task} has {len(keep)} examples; "
            "give the ids of the predicted examples"
        )
    out = {"all": {"examples": float(len(y)), **score(y, logits, metrics)}}
    left = score(y[keep], logits[keep], metrics) if keep.any() else {}
    return out | {"without": {"examples": float(keep.sum()), **left}}


def _described(task: Task, split: Split, sequence: Array) -> dict[str, Any]:
    lengths, gc, unknown = (numbers(split.seqs)[name] for name in ("length", "gc", "n"))
    bp = lengths.sum()
    return {
        "examples": len(split.y),
        "distinct": len(np.unique(sequence)),
        "bp": int(bp),
        "length": [int(lengths.min()), float(np.median(lengths)), int(lengths.max())],
        "gc": float(gc.mean()),
        "n": float((unknown * lengths).sum() / bp),
        "labels": _labels(task, split.y),
    }


def _labels(task: Task, y: Array) -> Any:
    """Counts of each class or label; mean and standard deviation for regression."""
    if task.kind == "regression":
        return {
            "mean": y.mean(0, dtype=np.float64).tolist(),
            "sd": y.std(0, dtype=np.float64).tolist(),
        }
    if task.kind == "multilabel":
        return y.sum(0, dtype=np.int64).tolist()
    if task.kind == "per_base":
        return [int((y == i).sum()) for i in range(task.n_outputs)]
    return np.bincount(y, minlength=task.n_outputs).tolist()


def _related(task: Task) -> list[str]:
    others = (TASKS[name] for name in TASKS)
    return [
        t.name for t in others if task.family and t.family == task.family and t.suite != task.suite
    ]


def _pairs(
    splits: Mapping[SplitName, Split], found: Copies, search: Search | None
) -> list[dict[str, str]]:
    """Some near duplicates, those between splits first."""
    if search is None:
        return []
    names = [(name, i) for name, s in splits.items() for i in s.ids.tolist()]
    between = found.bits[search.a] != found.bits[search.b]
    order = np.lexsort((search.b, search.a, ~between))[:SHOWN]
    sides = [[names[found.first[side[i]]] for i in order] for side in (search.a, search.b)]
    return [
        {
            "split": a[0], "id": a[1], "other_split": b[0], "other_id": b[1],
            "strand": "-" if search.flipped[i] else "+",
        }
        for i, a, b in zip(order, *sides, strict=True)
    ]  # fmt: skip


def _clusters(ids: Array, either: Array, search: Search | None) -> list[list[str]]:
    """The ids of related test examples; `either` numbers their sequences as `copies` does."""
    cluster = either
    if search is not None:
        cluster = joined(np.arange(len(search.near)), search.a, search.b)[either]
    _, number, times = np.unique(cluster, return_inverse=True, return_counts=True)
    order = np.flatnonzero(times[number] > 1)
    order = order[np.argsort(number[order], kind="stable")]
    ends = np.flatnonzero(np.diff(number[order])) + 1
    return [part.tolist() for part in np.split(ids[order], ends) if len(part)]


def _settings(search: Search | None) -> dict[str, Any]:
    out = {**Likeness()._asdict(), "shortest": SHORTEST}
    if search is None:
        return out
    return out | {
        "k": search.k, "share": search.share, "compared": search.candidates,
        "aligned": search.aligned,
    }  # fmt: skip
