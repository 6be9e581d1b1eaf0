"""Whether probabilities can be believed: calibration on test, beside the score."""

import numpy as np

from dnabench.metrics import probabilities, squared_distance
from dnabench.reports.cells import Cell, summary_of
from dnabench.reports.grid import Grid, fixed
from dnabench.reports.table import Table
from dnabench.types import Array

BINS = 15
ECE, BRIER = "ece", "brier"  # keys of a record's test scores, lower is better
FLIPS = "strand_flips"  # share of examples whose class is another on the other strand
KINDS = ("binary", "multiclass")


def calibration(y: Array, logits: Array) -> dict[str, float]:
    """Expected calibration error and Brier score of class probabilities.

    Args:
        y: int (N,), class indices.
        logits: (N, K); their softmax are the probabilities.

    Returns:
        ece: mean distance of confidence and accuracy over BINS bins of confidence of equal width,
        weighted by their examples. brier: see `metrics.brier`.

    Source: Guo et al. 2017, ICML (ECE).
    """
    p = probabilities(np.asarray(logits, float))
    sure, right = p.max(1), p.argmax(1) == y
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, sure - right, BINS)
    return {ECE: float(np.abs(gaps).sum() / len(y)), BRIER: float(squared_distance(y, p).mean())}


def calibration_section(table: Table) -> Grid:
    """A line a task, two or three columns a model: means over the runs that have them."""
    rows, shown = [], {ECE: "ECE", BRIER: "Brier"}
    if any(FLIPS in run.scores["test"] for row in table.rows for c in row.cells for run in c.runs):
        shown[FLIPS] = "strand flips"
    for row in table.rows:
        cells = [_mean(cell, name) for cell in row.cells for name in shown]
        if any(cells):
            rows.append([row.name, *(x or "–" for x in cells)])
    heads = ["task", *(f"{c.name}: {what}" for c in table.columns for what in shown.values())]
    note = (
        f"Lower is better; means over seeds. ECE: expected calibration error, {BINS} bins. Brier: "
        "squared distance of the class probabilities from the outcome, 0 to 2. None is tested."
    )
    if FLIPS in shown:
        note += (
            " Strand flips: the share of test examples whose class is another one when their "
            "reverse complement is read, on tasks whose labels do not depend on the strand."
        )
    return Grid("Calibration", heads, rows, [note])


def _mean(cell: Cell, name: str) -> str:
    found = summary_of(cell.runs, lambda run: run.scores["test"].get(name))
    return fixed(found.mean, 3) if found.n else ""
