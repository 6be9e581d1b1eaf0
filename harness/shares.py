"""`--train-share`: training on a part of the training examples; validation and test stay whole.

N training examples. For one seed the part of a share is within that of any larger share, and it is
the same for every model.
"""

import hashlib
import math

import numpy as np

from dnabench.splits import by_class, numbered, same_sequence
from dnabench.types import Array, Split, Task

LEAST = 2  # training examples
OFF = 2.0  # times as many examples as asked for, or as few, are no longer that share


def part_of_train(train: Split, share: float, task: Task, seed: int) -> Split:
    """The part that a trial trains on.

    Args:
        train: after the validation was cut off.
        share: above 0, at most 1.
        task: of the examples.
        seed: of the cut, from `streams`; another seed draws another part.

    Raises:
        ValueError: too few examples would be left, or too few of a class, or the groups of related
            examples are too large for that share.
    """
    if share == 1:
        return train
    check_share(share, len(train.y), task)
    digest = hashlib.sha256(f"share/{task.name}/{seed}".encode()).digest()
    used = enters_at(train, int.from_bytes(digest[:4], "big")) <= share
    part, wanted = train.take(np.flatnonzero(used)), share * len(train.y)
    n, lost = len(part.y), absent(task, train, part)
    one_class = train.y.ndim == 1 and lost and len(np.unique(part.y)) == 1
    if one_class or not wanted / OFF <= n <= wanted * OFF:
        groups = len(np.unique(np.asarray(train.clusters)))
        only = f", none of {lost[0]}" if one_class else ""
        try_ = math.ceil(1000 * (n if n > wanted else 2 * wanted) / len(train.y)) / 1000
        raise ValueError(
            f"--train-share {share:g}: that is {wanted:,.3g} of the {len(train.y):,} training "
            f"examples of {task.name}, but these are in {groups:,} groups of related examples "
            f"({task.clusters or 'clusters'}), which stay whole: the nearest are {n:,}{only}; try "
            f"{min(1, try_):g} or more"
        )
    return part


def enters_at(train: Split, seed: int) -> Array:
    """The share from which on each example is trained on.

    Each class is drawn on its own. Copies of a sequence, and the groups of `Split.clusters` where
    there are any, enter together; the class of a group is that of its first example. A group enters
    when half of it fits, the first of a class always, and none before groups that hold twice as
    many examples, so that a large group does not fill a small share.

    Returns:
        float64 (N,), 0 <= share < 1.
    """
    known = train.clusters is not None
    group = numbered(train.clusters) if known else same_sequence(train.seqs)
    _, first, sizes = np.unique(group, return_index=True, return_counts=True)
    rng = np.random.default_rng(seed)
    enters = np.zeros(len(first))
    for rows in by_class(train.y[first]):
        order = rng.permutation(rows)
        size = sizes[order]
        order = order[np.argsort(np.maximum(np.cumsum(size), 2 * size), kind="stable")]
        size = sizes[order]
        enters[order[1:]] = ((np.cumsum(size) - size / 2) / size.sum())[1:]
    out: Array = enters[group]
    return out


def check_share(share: float, n: int, task: Task) -> None:
    """Raise ValueError if a share of n training examples is fewer than two, or than the classes."""
    classes = task.n_outputs if task.kind in ("binary", "multiclass") else 1
    least = max(LEAST, classes)
    if share == 1 or share * n >= least:
        return
    enough = math.ceil(1000 * least / max(n, least)) / 1000
    what = f"its {classes} classes" if classes == least else f"the {least} that training needs"
    raise ValueError(
        f"--train-share {share:g}: of the {n:,} training examples of {task.name} {share * n:.2g} "
        f"would be left, fewer than {what}; give {enough:g} or more for this task, or leave it out"
    )


def absent(task: Task, train: Split, part: Split) -> list[str]:
    """Names of the classes that train has and the part lacks; of labels, those without a 1."""
    if task.kind == "regression":
        return []
    lost = _present(task, train) & ~_present(task, part)
    return [task.classes[i] for i in np.flatnonzero(lost)]


def _present(task: Task, split: Split) -> Array:
    if task.kind == "multilabel":
        return np.asarray((split.y > 0).any(0))
    return np.isin(np.arange(task.n_outputs), split.y)
