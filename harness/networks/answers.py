"""From logits to what a user reads: classes, probabilities and margins; intervals of a genome.

N rows, K task outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from dnabench.networks.calibration import probabilities
from dnabench.networks.card import Card
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


def columns(card: Card, logits: Array, temperature: float = 1.0) -> Columns:
    """The answers to N sequences, or bases, by name of column.

    Args:
        card: of the network.
        logits: (N, K).
        temperature: from `temperature_of`.

    Returns:
        Classes: `class`, `margin` (the probability of the class minus the next), `p_<class>` of
        each. Labels: `labels` (those above 0.5, with ";" between), `p_<label>`. Regression: the
        values, named as the task names them.
    """
    names = card.task["classes"]
    if card.kind == "regression":
        return {name: logits[:, k].astype(np.float64) for k, name in enumerate(names)}
    p = probabilities(card.kind, logits, temperature)
    each: Columns = {f"p_{name}": p[:, k] for k, name in enumerate(names)}
    if card.kind == "multilabel":
        have = [";".join(n for n, yes in zip(names, row, strict=True) if yes) for row in p > 0.5]
        return {"labels": have, **each}
    top = np.partition(p, -2, axis=1)
    best: Columns = {"class": np.array(names)[logits.argmax(1)], "margin": top[:, -1] - top[:, -2]}
    return {**best, **each}


class Run(NamedTuple):
    """Neighbouring bases with one value: `start` and `end` in bp, from 0, end excluded."""

    name: str
    start: int
    end: int
    value: float  # a class, or a rounded probability
    score: float  # mean over the bases


class Runs:
    """Joins bases of equal value to intervals, across the tiles in which they come."""

    def __init__(self) -> None:
        self._open: Run | None = None

    def add(self, name: str, start: int, values: Array, scores: Array) -> Iterator[Run]:
        """The bases of a tile, (N,); gives the intervals that have ended."""
        edges = np.flatnonzero(np.diff(values)) + 1
        bounds = [0, *edges.tolist(), len(values)]
        sums = np.add.reduceat(scores, bounds[:-1])
        for i, (a, b) in enumerate(pairwise(bounds)):
            run = Run(name, start + a, start + b, float(values[a]), float(sums[i]) / (b - a))
            before = self._open
            if before and (before.name, before.end, before.value) == (name, run.start, run.value):
                long, more = before.end - before.start, b - a
                mean = (before.score * long + run.score * more) / (long + more)
                self._open = Run(name, before.start, run.end, run.value, mean)
                continue
            if before:
                yield before
            self._open = run

    def rest(self) -> Iterator[Run]:
        """The last interval."""
        if self._open:
            yield self._open
        self._open = None


def bed_lines(runs: Iterator[Run], classes: Sequence[str]) -> str:
    """BED: name, start, end, class, and 1000 times the mean probability as the score."""
    return "".join(
        f"{r.name}\t{r.start}\t{r.end}\t{classes[int(r.value)]}\t{round(1000 * r.score)}\n"
        for r in runs
    )


def bedgraph_lines(runs: Iterator[Run]) -> str:
    """The bedGraph lines of one class's probability."""
    return "".join(f"{r.name}\t{r.start}\t{r.end}\t{r.value:g}\n" for r in runs)


def plain(found: Mapping[str, Array | Sequence[str]]) -> Columns:
    """The columns with probabilities rounded as text shows them."""
    return {
        name: np.round(v, DIGITS) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
        for name, v in found.items()
    }
