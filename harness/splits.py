"""Random streams, the validation cut, and `--limit`: who sees which example, decided by a seed.

N examples. A share of a class is rounded to whole examples, at least one where the class has two.
Copies of a sequence may be on either strand; their class is that of the first copy.
"""

import hashlib
import itertools
import math
from typing import NamedTuple

import numpy as np

from dnabench.protocols import FOLDS, check_protocol, folds_of, protocol_named
from dnabench.types import IGNORED, Array, Protocol, Sequences, Split, Task, Trial

VALIDATION_SHARE = 0.1


class Streams(NamedTuple):
    """Seeds of the three random streams of a trial.

    init: weights. order: batches, dropout and strand flips. cut: the validation examples, the same
    for every model; under some protocols the trial's own seed.
    """

    init: int
    order: int
    cut: int


def streams(seed: int, task: str, protocol: Protocol | None = None) -> Streams:
    """Three independent 32-bit seeds; `cut` depends on the task too, none on the model.

    Under a protocol that says what seed k holds out, `cut` is k itself.
    """
    words = (f"init/{seed}", f"order/{seed}", f"cut/{task}/{seed}")
    digests = (hashlib.sha256(w.encode()).digest() for w in words)
    out = Streams(*(int.from_bytes(d[:4], "big") for d in digests))
    named = protocol is not None and protocol.validation in ("random-tenth", "fold")
    return out._replace(cut=seed) if named else out


def same_sequence(seqs: Sequences) -> Array:
    """Number the distinct sequences, a sequence and its reverse complement being the same.

    Returns:
        int64 (N,), numbers from 0 in the order in which they first appear.
    """
    numbers: dict[bytes, int] = {}
    bounds = list(itertools.pairwise(seqs.offsets.tolist()))
    here, there = seqs.codes.tobytes(), seqs.reverse_complement().codes.tobytes()
    keys = (min(here[a:b], there[a:b]) for a, b in bounds)
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def held_out(split: Split, share: float, seed: int, together: bool = False) -> Array:
    """Pick a share of every class's distinct sequences at random, with all their copies.

    Args:
        split: to pick from.
        share: 0..1.
        seed: of the draw.
        together: pick whole groups of `Split.clusters`, until they hold that share of the
            examples; a group that would hold too many stays. The class of a group is that of its
            first example.

    Returns:
        bool (N,), True where picked.
    """
    whole = together and split.clusters is not None
    group = numbered(split.clusters) if whole else same_sequence(split.seqs)
    _, first, sizes = np.unique(group, return_index=True, return_counts=True)
    return stratified(split.y[first], share, seed, sizes if whole else None)[group]


def numbered(values: Array | None) -> Array:
    """Number the distinct values from 0 in the order in which they first appear: int64 (N,)."""
    found = np.unique(np.asarray(values), return_index=True, return_inverse=True)
    _, first, number = found
    out: Array = np.argsort(np.argsort(first))[number]
    return out


def stratified(y: Array, share: float, seed: int, sizes: Array | None = None) -> Array:
    """Pick a share of every class at random; y as in `Split`, labels that are no classes being one.

    Args:
        y: labels.
        share: 0..1.
        seed: of the draw.
        sizes: int (N,), examples that each row stands for, where the share is one of these.

    Returns:
        bool (N,), True where picked.
    """
    rng = np.random.default_rng(seed)
    picked = np.zeros(len(y), bool)
    for rows in by_class(y):
        order = rng.permutation(rows)
        n = len(rows) if sizes is None else int(sizes[rows].sum())
        room = max(round(share * n), 1 if len(rows) > 1 else 0)
        if sizes is None:
            picked[order[:room]] = True
            continue
        for row in order:
            if sizes[row] <= room:
                picked[row] = True
                room -= int(sizes[row])
        if not picked[rows].any() and len(rows) > 1:
            picked[min(order, key=sizes.__getitem__)] = True
    return picked


def class_on_one_side(split: Split, picked: Array) -> int | None:
    """A class that a cut puts on one side whole, though it has two different sequences or more.

    Args:
        split: that was cut.
        picked: bool (N,), one side.

    Returns:
        The lowest such class; None where there is none, or labels are no classes.
    """
    for label in np.unique(split.y) if split.y.ndim == 1 else ():
        rows = np.flatnonzero(split.y == label)
        whole = picked[rows].all() or not picked[rows].any()
        if whole and same_sequence(split.seqs.take(rows)).any():
            return int(label)
    return None


def random_tenth(n: int, seed: int) -> Array:
    """Pick a tenth of n rows at random, whatever they hold; rounded up.

    Returns:
        bool (n,), True where picked.

    Source:
        The rows that `Dataset.train_test_split(test_size=0.1, seed=seed)` of Hugging Face's
        datasets (2.x to 5.2) calls "test", which Caduceus validates on.
    """
    picked = np.zeros(n, bool)
    picked[np.random.default_rng(seed).permutation(n)[: math.ceil(n * VALIDATION_SHARE)]] = True
    return picked


def folds(split: Split, n: int, seed: int) -> Array:
    """Deal the examples into folds: each class evenly, all copies of a sequence into one.

    The numbers of distinct sequences in any two of the n folds, in all and of each class, differ by
    at most one.

    Returns:
        int64 (N,), 0..n-1.
    """
    group = same_sequence(split.seqs)
    _, first = np.unique(group, return_index=True)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(rows) for rows in by_class(split.y[first])])
    fold = np.empty(len(order), np.int64)
    fold[order] = np.arange(len(order)) % n
    return fold[group]


def by_class(y: Array) -> list[Array]:
    """The rows of each class; a kind of task without classes has one of all rows."""
    if y.ndim > 1:
        return [np.arange(len(y))]
    return [np.flatnonzero(y == label) for label in np.unique(y)]


def size_under(limit: float, n: int) -> int:
    """How many of n examples, about, a limit keeps; see `limited`."""
    return round(n * limit) if 0 < limit < 1 else min(n, int(limit) or n)


class Sizes(NamedTuple):
    """How many examples a trial uses for training, validation and test."""

    train: int
    val: int
    test: int


def expected_sizes(task: Task, trial: Trial) -> Sizes:
    """The sizes of a trial's splits without reading them, up to rounding where train is cut.

    A trial of tuning has no test examples; under folds, it leaves one out beside its validation.
    """
    counts = {split: size_under(trial.limit, n) for split, n in task.counts.items()}
    validation = protocol_named(trial.protocol).validation
    train, test = counts["train"], counts["test"]
    if "dev" in counts and validation.startswith("dev"):
        held = counts["dev"]
    else:
        held = 0 if validation == "dev-or-none" else round(train * VALIDATION_SHARE)
        apart = 2 if validation == "fold" and trial.tuning else 1
        train -= apart * held
    return Sizes(round(trial.train_share * train), held, 0 if trial.tuning else test)


def limited(split: Split, limit: float) -> Split:
    """A fixed stratified subset, for trying things out.

    A limit of 0 keeps all; below 1 it is a share; from 1 a number of examples, of which every class
    gets its proportion (so a class may round the number up or down).
    """
    n = len(split.y)
    share = limit if limit < 1 else limit / n
    if not limit or share >= 1:
        return split
    return split.take(np.flatnonzero(stratified(split.y, share, seed=0)))


def cut(
    task: Task, protocol: Protocol, seed: int, limit: float = 0, tuning: bool = False
) -> tuple[Split, Split | None]:
    """The training and the validation examples of a trial. The test split is not read.

    Args:
        task: its official dev split is the validation, unless the protocol always cuts train.
        protocol: says what validation is, see `protocols.VALIDATION`.
        seed: of the cut, from `streams`.
        limit: see `limited`; applied to each official split before the cut.
        tuning: of a trial of tuning; under folds, one of them is then in neither part.

    Raises:
        ValueError: a seed or a task that the protocol cannot take, too few examples for a cut, and
            as `check_validation`.
    """
    check_protocol(protocol, task, seed, tuning)
    train = limited(task.load("train"), limit)
    if has_dev(task, protocol):
        val = limited(task.load("dev"), limit)
        check_validation(val, task, protocol, limit, tuning)
        return train, val
    if protocol.validation == "dev-or-none":
        return train, None
    held = _held(train, task, protocol, seed)
    rest = ~held
    if protocol.validation == "fold" and tuning:
        rest &= _fold(train, task) != folds_of(seed)[0]
    val = train.take(np.flatnonzero(held))
    check_validation(val, task, protocol, limit, tuning)
    return train.take(np.flatnonzero(rest)), val


def has_dev(task: Task, protocol: Protocol) -> bool:
    """Whether the validation is the task's own dev split."""
    return "dev" in task.counts and protocol.validation.startswith("dev")


def check_validation(
    val: Split, task: Task, protocol: Protocol, limit: float = 0, tuning: bool = False
) -> None:
    """Raise ValueError where an epoch, or a setting, is to be chosen on examples of one class.

    MCC is 0 there whatever a network answers, so the first epoch would win, and accuracy is highest
    where it answers that class alone. Under a limit, for trying things out, all are taken, and
    flags of the records and the report say so.
    """
    if limit or not (tuning or protocol.checkpoint == "best-val"):
        return
    if name := only_class(val, task):
        what = "bases" if task.kind == "per_base" else "examples"
        way_out = "" if tuning else ", or write --protocol last-epoch, which chooses no epoch"
        raise ValueError(
            f"{task.name}: the validation split has one class alone, {name!r} "
            f"({(val.y != IGNORED).sum():,} {what}), so no {'setting' if tuning else 'epoch'} can "
            "be chosen on it; bring another dev split (a split column, a file dev, or "
            f"--split-by COLUMN --dev-groups NAME){way_out}"
        )


def only_class(split: Split | None, task: Task) -> str:
    """The class of all examples of a split, "" where there are several; per-base: of all bases.

    Also "" of multilabel and regression tasks: their metrics are undefined there, or (errors) as
    good as elsewhere; and of no split.
    """
    if split is None:
        return ""
    y = split.y[split.y != IGNORED]
    if task.kind in ("multilabel", "regression") or not y.size or y.min() != y.max():
        return ""
    return str(task.classes[int(y[0])])


def _fold(train: Split, task: Task) -> Array:
    """The fold of each row, the same for all models."""
    digest = hashlib.sha256(f"folds/{task.name}".encode()).digest()
    return folds(train, FOLDS, int.from_bytes(digest[:4], "big"))


def _held(train: Split, task: Task, protocol: Protocol, seed: int) -> Array:
    """Which rows of train become validation: bool (N,), neither none nor all."""
    remedy = "run it with --protocol honest"
    kind, whole = protocol.name.split("/")[0], protocol.together and train.clusters is not None
    if protocol.validation == "fold":
        held: Array = _fold(train, task) == folds_of(seed)[1]
        lack = f"train has fewer than {FOLDS} different sequences"
    elif protocol.validation == "random-tenth":
        held = random_tenth(len(train.y), seed)
        lack = "train has one example"
    else:
        held = held_out(train, VALIDATION_SHARE, seed, protocol.together)
        lack, remedy = "no class has two different sequences in train", "a dev split"
        if whole and (n := len(np.unique(np.asarray(train.clusters)))) < len(train.y):
            lack = f"train is {n:,} group{'s' * (n > 1)} of examples that stay together"
            remedy = f"a dev split (--dev-groups), or use --protocol {kind}/1"
    if not held.any() or held.all():
        raise ValueError(
            f"{task.name}: {lack}, so no validation can be cut off; add examples or {remedy}"
        )
    if whole and (lost := class_on_one_side(train, held)) is not None:
        raise ValueError(
            f"{task.name}: class {task.classes[lost]!r} cannot be in both train and a validation "
            f"cut off it: {in_groups(train, lost)} stays on one side; bring a dev split (a "
            "split column, a file dev, or --split-by COLUMN --dev-groups NAME), or cut at random "
            f"with --protocol {kind}/1"
        )
    return held


def in_groups(split: Split, label: int) -> str:
    """In words, how many examples of a class there are, in how many groups."""
    rows = split.y == label
    n = len(np.unique(np.asarray(split.clusters)[rows]))
    one = "one group of related examples, which" if n == 1 else f"{n:,} groups, each of which"
    return f"its {int(rows.sum()):,} examples are in {one}"
