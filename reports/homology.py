"""Scores by how near the nearest training sequence is, where the data have an audit."""

from collections.abc import Mapping

import numpy as np

from dnabench.metrics import METRICS
from dnabench.reports.grid import Grid, fixed
from dnabench.reports.outputs import HOMOLOGY, group_scores
from dnabench.reports.table import Table
from dnabench.tasks.audit.audit import Audit, kept, leak_free_mask
from dnabench.types import Array, Trial

LEAST = 20  # test examples of a bin that gets a score
BINS = {"exact": "identical", "rc": "reverse complement", "near": "near copy", "": "none found"}


def on_part_of_train(trial: Trial) -> bool:
    """Whether the copies in train that an audit finds may not be among what was trained on."""
    return trial.train_share < 1 or bool(trial.limit)


def by_homology(audit: Audit, metric: str, arrays: Mapping[str, Array]) -> dict[str, float]:
    """The score of each bin of the test examples, as `metric:homology: BIN`.

    Args:
        audit: of the same data.
        metric: a key of METRICS.
        arrays: labels, logits and ids of the whole test split, and bases per base.

    Returns:
        Nothing for runs on a part of the split, and for bins of fewer than LEAST examples or of one
        class. Bins: an identical sequence in train or dev, else its reverse complement, else one
        that is alike (`Audit.settings`), else none that was found.
    """
    whole = len(arrays["ids"]) == audit.splits["test"]["examples"]
    out = {}
    for how, name in BINS.items() if whole else ():
        mask = leak_free_mask(audit)
        if how:
            mask = np.zeros_like(mask)
            mask[list(audit.leaked[how])] = True
        if mask.sum() < LEAST:
            continue
        rows = mask.repeat(arrays["bases"]) if "bases" in arrays else mask
        y, logits = arrays["labels"][rows], arrays["logits"][rows]
        if y.ndim > 1 or len(np.unique(y)) > 1:
            out[f"{metric}:{HOMOLOGY}{name}"] = float(METRICS[metric].function(y, logits))
    return {name: x for name, x in out.items() if np.isfinite(x)}


def homology_section(table: Table) -> Grid:
    """A line a task and bin that has a score."""
    lines = []
    for row in table.rows:
        scores = {
            one.group.removeprefix(HOMOLOGY): one.cells for one in group_scores(row)
            if one.group.startswith(HOMOLOGY) and one.metric == row.metric
        }  # fmt: skip
        audit = kept(row.task, row.data) if scores else None
        if audit is None:
            continue
        sizes = {name: len(audit.leaked.get(how, ())) for how, name in BINS.items()}
        sizes[BINS[""]] = int(leak_free_mask(audit).sum())
        lines += [
            [row.name, name, f"{sizes[name]:,}", row.heading,
             *(fixed(s.mean, table.digits) for s in scores[name])]
            for name in BINS.values() if name in scores
        ]  # fmt: skip
    heads = ["task", "nearest in train", "examples", "metric", *(c.name for c in table.columns)]
    note = (
        "Test examples by the nearest sequence of train and dev that an audit found; means over "
        f"seeds, of bins of at least {LEAST} examples and two classes. A model that leads in the "
        "copies alone has learned them. Bins differ in their examples: compare models, not lines."
    )
    return Grid("By homology to train", heads, lines, [note])
