"""What was understood of a user's data, and what to know before training, in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dnabench.metrics import METRICS
from dnabench.types import Array, Split, SplitName, Task

FEW = 50  # test examples
RARE = 10  # examples of a class, or positives of a label, in a split


class Overlap(NamedTuple):
    """Examples that two splits share.

    shared: examples of the second split whose sequence is in the first.
    relabelled: those of them that the first also has, or only has, with another label.
    """

    shared: int
    relabelled: int


def describe(task: Task) -> str:
    """A summary of a task's data, with warnings: lines of text.

    Kind, lengths, classes with their counts in each split, IUPAC ambiguity letters read as N, the
    origin of the test split, how the file was read, and sequences that test shares with train.
    """
    splits = {name: task.load(name) for name in task.counts}
    train, test = splits["train"], splits["test"]
    lengths = np.concatenate([s.seqs.lengths for s in splits.values()])
    ambiguous = sum(s.seqs.n_ambiguous for s in splits.values())
    both = overlap(train, test)
    several = "s" * (task.n_outputs != 1)
    outputs = "classes" if task.kind in ("binary", "multiclass") else f"output{several}"
    warnings = [n.removeprefix("warning: ") for n in task.notes if n.startswith("warning: ")]
    return "\n".join(
        [
            f"{task.name}: {task.kind}, {task.n_outputs} {outputs}, metric {task.metric}",
            f"source: {task.source}",
            f"lengths: {lengths.min()} to {lengths.max()} bp, median {np.median(lengths):g}",
            *_label_table(task, splits),
            *(note for note in task.notes if not note.startswith("warning: ")),
            f"IUPAC ambiguity letters read as N: {ambiguous}",
            f"test sequences that are also in train: {both.shared} of {len(test.y)}, "
            f"{both.relabelled} of them with another label",
            f"train sequences that have more than one label: {_contradictions(train)}",
            *_noise(task, test.y),
            *(f"warning: {text}" for text in [*warnings, *_warnings(task, splits, both)]),
        ]
    )


def overlap(first: Split, second: Split) -> Overlap:
    """Count the examples of `second` whose sequence is in `first`, on the same strand."""
    labels = _labels_of(first)
    seen = [labels.get(seq, set()) for seq in _keys(second)]
    other = [bool(s - {y}) for s, y in zip(seen, _hashable(second.y), strict=True)]
    return Overlap(sum(map(bool, seen)), sum(other))


def standard_error(task: Task, y: Array) -> float:
    """Standard error of the primary metric by the test examples alone, at chance; NaN = not known.

    Source: 1 / sqrt(n) for correlations, MCC among them; Hanley and McNeil 1982 for AUROC.
    """
    n = len(y)
    if task.metric in ("mcc", "pearson", "spearman"):
        return 1 / math.sqrt(n)
    if task.metric == "accuracy":
        share = np.bincount(y).max() / n
        return math.sqrt(share * (1 - share) / n)
    if task.metric == "auroc" and task.kind == "binary":
        positive = int(y.sum())
        pairs = positive * (n - positive)
        return math.sqrt((n + 1) / (12 * pairs)) if pairs else math.nan
    return math.nan


def _noise(task: Task, y: Array) -> list[str]:
    error = standard_error(task, y)
    if math.isnan(error):
        return []
    return [
        f"these {len(y):,} test examples alone give {METRICS[task.metric].label} a standard error "
        f"of about {error:.2g} (unrelated examples, at chance level)"
    ]


def _warnings(task: Task, splits: Mapping[SplitName, Split], both: Overlap) -> list[str]:
    """Warnings of data that inflate scores, and of likely typos."""
    out, test = [], splits["test"]
    if both.shared:
        out.append("test scores are inflated by sequences that the model saw in training")
    if len(test.y) < FEW:
        out.append(
            f"only {len(test.y)} test example{'s' * (len(test.y) != 1)}: any score is mostly chance"
        )
    if task.kind == "regression":
        return out
    for name, split in splits.items():
        counts = _positives(task, split)
        for i, label in enumerate(task.classes):
            n = int(_positives(task, splits["train"])[i])
            if not counts[i] and name != "train":
                what = (
                    f"class {label!r} has {n} example{'s' * (n != 1)} in train and none in {name}"
                )
                out.append(f"{what}; a typo?" if name == "test" else what)
        if rare := [c for c, k in zip(task.classes, counts, strict=True) if 0 < k < RARE]:
            n, listed = len(rare), ", ".join(f"{c!r}" for c in rare[:3])
            more = f" and {n - 3} more" if n > 3 else ""
            least = int(min(k for k in counts if k))
            out.append(f"{name} has few examples of {listed}{more}: {least} of {len(split.y)}")
    return out


def _positives(task: Task, split: Split) -> Array:
    """Examples of each class, or positives of each label."""
    if task.kind == "multilabel":
        return np.asarray((split.y == 1).sum(0))
    return np.bincount(split.y, minlength=task.n_outputs)


def _label_table(task: Task, splits: Mapping[SplitName, Split]) -> list[str]:
    if task.kind == "regression":
        counts = "".join(f", {name} {len(split.y):,}" for name, split in splits.items())
        return [f"examples: {counts[2:]}"]
    counted = {s: _positives(task, v) for s, v in splits.items()}
    head = "class" if task.kind != "multilabel" else "positives"
    width = max(len(c) for c in (*task.classes, head))
    lines = [f"{head:<{width}}" + "".join(f"{s:>9}" for s in counted)]
    for i, name in enumerate(task.classes):
        lines.append(f"{name:<{width}}" + "".join(f"{c[i]:>9}" for c in counted.values()))
    return [*lines, f"{'all':<{width}}" + "".join(f"{len(s.y):>9}" for s in splits.values())]


def _contradictions(split: Split) -> int:
    return sum(len(labels) > 1 for labels in _labels_of(split).values())


def _labels_of(split: Split) -> dict[bytes, set[object]]:
    labels: dict[bytes, set[object]] = defaultdict(set)
    for seq, y in zip(_keys(split), _hashable(split.y), strict=True):
        labels[seq].add(y)
    return labels


def _hashable(y: Array) -> list[object]:
    values = y.tolist()
    return values if y.ndim == 1 else [tuple(row) for row in values]


def _keys(split: Split) -> list[bytes]:
    codes, offsets = split.seqs.codes.tobytes(), split.seqs.offsets.tolist()
    keys = [codes[a:b] for a, b in pairwise(offsets)]
    if split.other is None:
        return keys
    second = _keys(split._replace(seqs=split.other, other=None))
    return [a + b"/" + b for a, b in zip(keys, second, strict=True)]
