"""What a file's labels are: classes, several labels, or numbers to predict.

N rows of a table, K outputs.
"""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.metrics import metrics_for
from dnabench.tasks.io.odd_labels import (
    FEWEST_VALUES,
    MOST_CLASSES,
    NUMBER,
    otherwise,
    place_of,
    refuse_mixed_truth,
    refuse_odd_numbers,
)
from dnabench.tasks.io.table import Table
from dnabench.types import KINDS, Array, Kind, OwnData

STANDARDISED = "labels are standardised"  # a note of a regression begins so
METRIC: dict[Kind, str] = {"multilabel": "auroc_mean", "regression": "pearson"}  # else mcc
# labels of what is not there, and what comes before a label to say so
_ABSENT = {"negative", "neg", "no", "false", "control", "ctrl", "background", "inactive"}
_NEGATIONS = ("non", "not", "no", "un", "in")
# letters of other alphabets that look like Latin ones
_ALIKE = str.maketrans(
    "АВЕКМНОРСТХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧο", "ABEKMHOPCTXaeopcyxijsABEZHIKMNOPTYXo"
)


class Labels(NamedTuple):
    """The labels of all tables.

    y: for each table int64 (N,), or float32 (N, K) for several labels and for numbers. notes: what
    was understood, in words. scale: mean and standard deviation in train of each output, where `y`
    is standardised.
    """

    kind: Kind
    classes: tuple[str, ...]
    y: list[Array]
    notes: tuple[str, ...] = ()
    scale: tuple[tuple[float, float], ...] = ()


def read_labels(path: Path, tables: Sequence[Table], own: OwnData) -> Labels:
    """Find out what the labels are, unless `own.kind` says it.

    Several columns are a multilabel task where all are 0 or 1, else regression. Fractions are
    regression. Whole numbers are classes 0..K-1; 1..K and -1, 1 are renumbered. Words are classes,
    sorted.

    Raises:
        ValueError: the labels could be several things: the message says which flag decides.
    """
    if own.kind and own.kind not in KINDS[:4]:
        raise ValueError(f"--kind {own.kind!r}: give one of {', '.join(KINDS[:4])}")
    if tables[0].targets:
        return _several(tables, own)
    if own.kind == "multilabel":
        raise ValueError(f"{path}: --kind multilabel needs a column each: --label-column A,B,C")
    written = sorted({label for table in tables for label in table.labels})
    plain = {label: label.replace("\N{MINUS SIGN}", "-") for label in written}
    numeric = all(map(NUMBER.fullmatch, plain.values()))
    if not numeric and not own.kind:
        refuse_odd_numbers(tables, plain)
        refuse_mixed_truth(tables, plain)
    if own.kind == "regression" or (
        numeric and not own.kind and _is_continuous(path, tables, plain)
    ):
        name = own.label[0] if own.label else "label"
        return Labels("regression", (name,), [_numbers([t.labels], t) for t in tables])
    if numeric and _all_whole(plain):
        codes, classes, notes = _whole_numbers(path, plain, own)
    else:
        codes, classes, notes = _words(path, written, tables, own)
    if len(classes) < 2:
        only = repr(classes[0]) if not numeric else classes[0]
        raise ValueError(f"{path}: every label is {only}; a task needs two classes or more")
    if len(classes) == 2:
        codes, classes = _positive_last(path, codes, classes, own.positive)
        notes = (*notes, _said_positive(classes, own.positive))
    elif own.positive:
        raise ValueError(f"--positive {own.positive}: {path} has {len(classes)} classes, not two")
    kind: Kind = "binary" if len(classes) == 2 else "multiclass"
    if own.kind == "binary" != kind:
        raise ValueError(f"{path}: --kind binary, but there are {len(classes)} classes")
    y = [np.array([codes[label] for label in t.labels], np.int64) for t in tables]
    return Labels(kind, classes, y, notes)


def standardised(
    path: Path, labels: Labels, train: Sequence[Array], effects: bool = False
) -> Labels:  # fmt: skip
    """Numbers with mean 0 and standard deviation 1 in train.

    Args:
        path: of the data, for messages.
        labels: of any kind; others than regression stay.
        train: for each table bool (N,), its training examples.
        effects: the numbers are differences between two sequences, and 0, no effect, stays 0: equal
            sequences get the answer 0 from every network.
    """
    if labels.kind != "regression":
        return labels
    known = np.concatenate([y[rows] for y, rows in zip(labels.y, train, strict=True)])
    mean, sd = known.mean(0, dtype=np.float64), known.std(0, dtype=np.float64)
    if (flat := np.flatnonzero(sd == 0)).size:
        raise ValueError(
            f"{path}: every training example has the same {labels.classes[flat[0]]}: "
            f"{mean[flat[0]]:g}; there is nothing to learn"
        )
    if effects:
        mean = np.zeros_like(mean)
    said = ", ".join(
        f"{name} {s:.4g}" if effects else f"{name} {m:.4g} and {s:.4g}"
        for name, m, s in zip(labels.classes[:5], mean, sd, strict=False)
    )
    more = ", ..." if len(mean) > 5 else ""
    what = "0, no effect, stays 0;" if effects else "mean and"
    note = f"{STANDARDISED}; {what} standard deviation in train: {said}{more}"
    y = [((values - mean) / sd).astype(np.float32) for values in labels.y]
    scale = tuple(zip(mean.tolist(), sd.tolist(), strict=True))
    return labels._replace(y=y, notes=(*labels.notes, note), scale=scale)


def metric_of(labels: Labels, metric: str) -> str:
    """The primary metric, checked; the default of the kind where none is named."""
    known = metrics_for(labels.kind)
    if metric and metric not in known:
        raise ValueError(
            f"no metric {metric!r} for a {labels.kind} task; there are {', '.join(known)}"
        )
    return metric or METRIC.get(labels.kind, "mcc")


def _several(tables: Sequence[Table], own: OwnData) -> Labels:
    names = tuple(tables[0].targets)
    y = [_numbers(list(table.targets.values()), table) for table in tables]
    zero_one = all(((values == 0) | (values == 1)).all() for values in y)
    kind = own.kind or ("multilabel" if zero_one else "regression")
    if kind not in ("multilabel", "regression") or (kind == "multilabel" and not zero_one):
        raise ValueError(
            f"{tables[0].path}: --kind {kind} with {len(names)} label columns: they must be 0 or 1 "
            "(multilabel) or numbers (regression)"
        )
    return Labels("multilabel" if kind == "multilabel" else "regression", names, y)


def _numbers(columns: Sequence[Sequence[str]], table: Table) -> Array:
    """float32 (N, K); ValueError at the first text that is no finite number."""
    out = np.empty((len(table.labels), len(columns)), np.float32)
    for k, column in enumerate(columns):
        for i, text in enumerate(column):
            plain = text.replace("\N{MINUS SIGN}", "-")
            plain = {"true": "1", "false": "0"}.get(plain.lower(), plain)
            value = float(plain) if NUMBER.fullmatch(plain) else np.nan
            if not np.isfinite(np.float32(value)):
                way = otherwise(plain)[1]
                raise ValueError(f"{table.place(i)}: label {text!r} is not a finite number; {way}")
            out[i, k] = value
    return out


def _all_whole(plain: dict[str, str]) -> bool:
    return all(float(text).is_integer() for text in plain.values())


def _value(text: str) -> float:
    """The number; whole ones exactly, also beyond 2^53."""
    value = float(text)
    return int(text) if math.isfinite(value) and re.fullmatch(r"[+-]?\d+", text) else value


def _is_continuous(path: Path, tables: Sequence[Table], plain: dict[str, str]) -> bool:
    """Whether numbers are to be predicted as such; ValueError where that is not clear."""
    values = sorted({_value(text) for text in plain.values()})
    listed = ", ".join(f"{v:g}" for v in values[:6]) + (", ..." if len(values) > 6 else "")
    choose = "give --kind regression to predict the number, or --kind multiclass for classes"
    if not _all_whole(plain):
        if len(values) >= FEWEST_VALUES:
            return True
        if len(values) == 1:
            raise ValueError(f"{path}: every label is {listed}; there is nothing to predict")
        label = next(text for text, p in plain.items() if not float(p).is_integer())
        raise ValueError(
            f"{place_of(label, tables)}: label {label!r} is not a whole number, and there are "
            f"only {len(values)} different labels ({listed}); {choose}"
        )
    if len(values) > MOST_CLASSES:
        raise ValueError(
            f"{path}: labels are {len(values)} different whole numbers ({listed}), which may be "
            f"counts; {choose}"
        )
    return False


def _whole_numbers(
    path: Path, plain: dict[str, str], own: OwnData
) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    """Label as written -> class, the classes, and what to say about it."""
    values = sorted({int(_value(text)) for text in plain.values()})
    numbers = {value: i for i, value in enumerate(values)}
    codes = {label: numbers[int(_value(text))] for label, text in plain.items()}
    names = tuple(map(str, values))
    listed = ", ".join(names[:10]) + (", ..." if len(values) > 10 else "")
    if values == list(range(len(values))) or own.kind in ("binary", "multiclass"):
        return codes, names, ()
    if values == [-1, 1] or values == list(range(1, len(values) + 1)):
        return codes, names, (f"labels {listed} are read as classes 0 to {len(values) - 1}",)
    raise ValueError(
        f"{path}: labels are {listed}: not numbered from 0 or 1 without gaps; give --kind "
        "multiclass to take each as a class, or --kind regression to predict the number"
    )


def _words(
    path: Path, written: list[str], tables: Sequence[Table], own: OwnData
) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if own.kind not in ("binary", "multiclass"):
        _check_words(path, written)
        rare = [w for w, n in Counter(w for t in tables for w in t.labels).items() if n == 1]
        if len(rare) > max(2, len(written) // 2):
            notes = (
                f"warning: {len(rare):,} of {len(written):,} classes have one example, as "
                f"{rare[0][:40]!r} in {place_of(rare[0], tables)}; are these labels?",
            )
    return {label: i for i, label in enumerate(written)}, tuple(written), notes


def _check_words(path: Path, written: list[str]) -> None:
    """ValueError for labels that look alike, or like several labels in one."""
    take = "or give --kind multiclass to take them as they are"
    folded = defaultdict(list)
    for label in written:
        folded[_skeleton(label)].append(label)
    for twins in folded.values():
        if len(twins) > 1:
            raise ValueError(
                f"{path}: labels {' and '.join(map(ascii, twins))} look alike; write them in one "
                f"way, {take}"
            )
    for label in written:
        parts = {part.strip() for part in re.split(r"[;,|/]", label)}
        if (len(parts) > 1 and parts & set(written)) or ";" in label.strip(";"):
            raise ValueError(
                f"{path}: label {label!r} looks like several; give each a column of 0 and 1 and "
                f"name them: --label-column A,B,C; {take}"
            )


def _skeleton(label: str) -> str:
    """Equal for labels that look alike."""
    text = "".join(
        c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf"
    )
    return " ".join(text.translate(_ALIKE).casefold().split())


def _means_none_of(label: str, other: str) -> bool:
    """Whether a label is the negation of the other one, as inactive, not_bound and control are."""
    one, two = (re.sub(r"[\W_]+", "", text.casefold()) for text in (label, other))
    return two not in _ABSENT and (
        one in _ABSENT or any(one == before + two for before in _NEGATIONS)
    )


def _said_positive(classes: tuple[str, ...], chosen: str) -> str:
    """The positive class, and what is of it where it denies the other one and nobody chose it."""
    other, positive = classes
    if chosen or not _means_none_of(positive, other):
        return f"positive class: {positive} (--positive chooses)"
    return (
        f"positive class: {positive}, because it sorts last; of the metrics F1 and AUPRC alone are "
        f"of {positive!r}: write --positive {shlex.quote(other)} for those of {other!r}"
    )


def _positive_last(
    path: Path, codes: dict[str, int], classes: tuple[str, ...], positive: str
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Class 1 is the positive one: the chosen, else + before -, else the last."""
    if positive and positive not in classes:
        raise ValueError(f"--positive {positive}: {path} has the classes {' and '.join(classes)}")
    chosen = positive or ("+" if set(classes) == {"+", "-"} else classes[1])
    if chosen == classes[1]:
        return codes, classes
    return {label: 1 - code for label, code in codes.items()}, (classes[1], classes[0])
