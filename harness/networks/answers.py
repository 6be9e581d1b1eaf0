"""From logits to what a user reads: classes, probabilities and margins; intervals of a genome.

N rows, K task outputs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.networks.calibration import probabilities
from dnabench.networks.card import Card
from dnabench.tasks.io.labels import STANDARDISED
from dnabench.types import Array

Columns = dict[str, "Array | Sequence[str]"]
DIGITS = 6  # of a probability in text


def temperature_of(card: Card, calibrated: bool) -> float:
    """What logits are divided by.

    Raises:
        ValueError: when calibration is asked for and there is none.
    """
    if not calibrated:
        return 1.0
    if card.temperature is None:
        why = "a regression has no probabilities" if card.kind == "regression" else (
            f"{card.record.trial.protocol} had no validation examples to fit a temperature on"
        )  # fmt: skip
        raise ValueError(f"--calibrated: {why}; leave it out")
    return card.temperature


def unit_of(card: Card) -> str:
    """What logits of a regression are where they are not in the unit of the labels, or ""."""
    notes = card.record.task.get("notes", ()) if card.kind == "regression" else ()
    scale = card.task.get("scale", ())
    exact = ", ".join(
        f"{name} {mean:.9g} and {sd:.9g}"
        for name, (mean, sd) in zip(card.task["classes"], scale, strict=False)
    )
    for note in notes:
        if note.startswith(STANDARDISED):
            said = note.removeprefix(STANDARDISED).lstrip("; ")
            said = f"mean and standard deviation in train: {exact}" if exact else said
            return (
                "values are standardised as the labels were: multiply by the standard deviation "
                f"and add the mean for the unit of the labels; {said}"
            )
    return ""


def columns(card: Card, logits: Array, temperature: float = 1.0) -> Columns:
    """The answers to N sequences, or bases, by name of column.

    Args:
        card: of the network.
        logits: (N, K).
        temperature: from `temperature_of`.

    Returns:
        Classes: `class`, `margin` (the probability of the class minus the next), `p_<class>` of
        each. Labels: `labels` (those above 0.5, with ";" between), `p_<label>`. Of pairs both have
        `effect_<class>` too, the logit f(second) - f(first). Regression: the values, of pairs
        their difference, named as the task names them and in the unit of the labels; in that of
        `unit_of` where a network was kept before its card had their standard deviation.
    """
    names = card.task["classes"]
    if card.kind == "regression":
        values = logits.astype(np.float64)
        if len(scale := np.array(card.task.get("scale", ()))):
            values = scale[:, 0] + scale[:, 1] * values
        return {name: values[:, k] for k, name in enumerate(names)}
    p = probabilities(card.kind, logits, temperature)
    each: Columns = {f"p_{name}": p[:, k] for k, name in enumerate(names)}
    if card.task.get("pairs"):
        each |= {f"effect_{name}": logits[:, k] for k, name in enumerate(names)}
    if card.kind == "multilabel":
        have = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in p > 0.5]
        return {"labels": have, **each}
    top = np.partition(p, -2, axis=1)
    best: Columns = {"class": np.array(names)[logits.argmax(1)], "margin": top[:, -1] - top[:, -2]}
    return {**best, **each}


def beside(places: Columns, found: Columns, pairs: bool) -> Columns:
    """Columns that name the rows, then the answers.

    An answer that is called as a column of `places` is, such as a target `pos` of variants, becomes
    `predicted_pos`, of pairs `effect_pos`.
    """
    out = dict(places)
    for name, values in found.items():
        taken = {*places, *(found.keys() - {name})}
        while name in taken:
            name = f"{'effect' if pairs else 'predicted'}_{name}"
        out[name] = values
    return out


class Runs(NamedTuple):
    """Stretches of neighbouring bases with one value: M of them, of one sequence.

    start, end: int64 (M,), bp from 0, end excluded. value: float64 (M,), a class or a rounded
    probability. score: float64 (M,), mean over the bases.
    """

    name: str
    start: Array
    end: Array
    value: Array
    score: Array

    def take(self, which: slice) -> Runs:
        """Some of them."""
        return Runs(self.name, *(column[which] for column in self[1:]))


class Joiner:
    """Joins bases of equal value to runs, across the tiles in which they come."""

    def __init__(self) -> None:
        self._open: Runs | None = None  # one run, which the next tile may continue

    def add(self, name: str, start: int, values: Array, scores: Array) -> list[Runs]:
        """The bases of a tile, (N,); gives the runs that have ended."""
        values, scores = values.astype(np.float64), scores.astype(np.float64)
        edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
        ends = np.append(edges[1:], len(values))
        means = np.add.reduceat(scores, edges) / (ends - edges)
        runs = Runs(name, start + edges, start + ends, values[edges], means)
        before, out = self._open, list[Runs]()
        goes_on = before and before.name == name and before.end[0] == start
        if before and goes_on and before.value[0] == runs.value[0]:
            long, more = before.end[0] - before.start[0], runs.end[0] - runs.start[0]
            mean = (before.score[0] * long + runs.score[0] * more) / (long + more)
            runs.start[0], runs.score[0] = before.start[0], mean
        elif before:
            out.append(before)
        if len(edges) > 1:
            out.append(runs.take(slice(None, -1)))
        self._open = runs.take(slice(-1, None))
        return out

    def rest(self) -> list[Runs]:
        """The last run."""
        last, self._open = self._open, None
        return [last] if last else []


def interval_lines(runs: Runs, classes: Sequence[str] = ()) -> bytes:
    """Lines of BED (name, start, end, class, 1000 times the mean probability) or of bedGraph.

    Args:
        runs: of one sequence.
        classes: the names that values stand for; () = bedGraph, values as they are.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import csv

    names = pa.DictionaryArray.from_arrays(np.zeros(len(runs.start), np.int32), [runs.name])
    columns = {"name": names.cast(pa.string()), "start": runs.start, "end": runs.end}
    if classes:
        columns["class"] = np.array(classes)[runs.value.astype(int)]
        columns["score"] = np.rint(1000 * runs.score).astype(int)
    else:
        columns["value"] = runs.value
    options = csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    out = io.BytesIO()
    csv.write_csv(pa.table(columns), out, options)
    return out.getvalue()


def rounded(card: Card, found: Columns) -> Columns:
    """The answers of `columns` as text shows them.

    Probabilities and effects have six decimals, the values of a regression a millionth of the
    labels' standard deviation.
    """
    scale = zip(card.task["classes"], card.task.get("scale", ()), strict=False)
    decimals = {name: DIGITS - math.floor(math.log10(sd)) for name, (_, sd) in scale}
    return {
        name: np.round(v, decimals.get(name, DIGITS))
        if isinstance(v, np.ndarray) and v.dtype.kind == "f"
        else v
        for name, v in found.items()
    }
