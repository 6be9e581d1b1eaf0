"""Baselines for gene finders: the most frequent class, and codon usage in open reading frames.

N examples, L length in bp, M bp of all examples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dnabench.registry import MODELS
from dnabench.types import IGNORED, A, Array, G, Kind, Model, N, Recipe, Sequences, Split, T, Task

KINDS: tuple[Kind, ...] = ("binary", "multiclass", "per_base")
LEARNED = ("odds", "edges", "shares")  # what a gene finder's state holds
BINS = 16  # of an ORF's score
LONG_ORF = 300  # bp; codon usage is learned from open reading frames at least as long
_STOP = np.zeros(65, bool)
_STOP[[16 * T + 4 * A + A, 16 * T + 4 * A + G, 16 * T + 4 * G + A]] = True
_ATG, _UNKNOWN = 16 * A + 4 * T + G, 64


class Majority:
    """Predicts the class frequencies of the training split for every sequence.

    Args:
        train: labelled sequences.
        task: gives kind and K.
    """

    epochs = 1

    def __init__(self, train: Split, task: Task) -> None:
        self._train, self._k, self._per_base = train, task.n_outputs, task.kind == "per_base"
        self.n_params = task.n_outputs
        self._shares: Array | None = None  # log

    def train_epoch(self) -> float:
        """Count the classes; return the mean cross-entropy on the training examples or bases."""
        counts = _class_counts(self._train.y, self._k)
        self._shares = np.log((counts + 1) / (counts.sum() + self._k))
        return -float(counts @ self._shares / max(counts.sum(), 1))

    def predictor(self, split: Split) -> Callable[[], Array]:
        """A function that gives logits float32 (N, K), or (N, L, K), zeros beyond a sequence."""

        def predict() -> Array:
            assert self._shares is not None
            shape = split.y.shape[: 1 + self._per_base]
            out = np.broadcast_to(self._shares.astype(np.float32), (*shape, self._k)).copy()
            if self._per_base:
                out[~_inside(split)] = 0
            return out

        return predict

    def state(self) -> dict[str, Array]:
        """The logarithms of the shares."""
        assert self._shares is not None
        return {"shares": self._shares}

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set the shares."""
        self._shares = state["shares"]


class Orfs(NamedTuple):
    """The codons of one strand and frame, in order; their first bases are 3 bp apart.

    start: flat position of the codon's first base. codon: 0..63, or 64 where it contains an N.
    orf: number of the stretch it belongs to. inside: whether it is in an open reading frame.
    """

    start: Array
    codon: Array
    orf: Array
    inside: Array


class CodonStatistics:
    """Predicts classes from how coding the best reading frame of each strand looks.

    Args:
        train: labelled sequences.
        task: gives kind and K.
    """

    epochs = 1

    def __init__(self, train: Split, task: Task) -> None:
        self._train, self._k, self._per_base = train, task.n_outputs, task.kind == "per_base"
        self.n_params = 64 + 2 * (BINS - 1) + BINS**2 * task.n_outputs
        # log odds of the codons (65,), upper bin edges of the scores, log shares (BINS, BINS, K)
        self._learned: tuple[Array, Array, Array] | None = None

    def train_epoch(self) -> float:
        """Count codons, then classes; return the mean cross-entropy on the training split."""
        odds = codon_log_odds(self._train.seqs)
        scores = self._scores(self._train, odds)
        edges = np.stack([_edges(s) for s in scores])
        cells = _cells(scores, edges)
        y = self._train.y[_inside(self._train)] if self._per_base else self._train.y
        counted = y != IGNORED
        flat = cells[counted] * self._k + y[counted]
        counts = np.bincount(flat, minlength=BINS**2 * self._k).reshape(-1, self._k)
        prior = (counts.sum(0) + 1) / (counts.sum() + self._k)
        shares = np.log((counts + prior) / (counts.sum(1, keepdims=True) + 1))
        self._learned = odds, edges, shares
        return -float((counts * shares).sum() / max(counts.sum(), 1))

    def predictor(self, split: Split) -> Callable[[], Array]:
        """A function that gives logits float32 (N, K), or (N, L, K), zeros beyond a sequence."""

        def predict() -> Array:
            assert self._learned is not None
            odds, edges, shares = self._learned
            logits = shares[_cells(self._scores(split, odds), edges)].astype(np.float32)
            if not self._per_base:
                return logits
            out = np.zeros((*split.y.shape, self._k), np.float32)
            out[_inside(split)] = logits
            return out

        return predict

    def state(self) -> dict[str, Array]:
        """Log odds, edges and log shares, by name."""
        assert self._learned is not None
        return dict(zip(LEARNED, self._learned, strict=True))

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set them."""
        self._learned = state["odds"], state["edges"], state["shares"]

    def _scores(self, split: Split, odds: Array) -> tuple[Array, Array]:
        """Forward and reverse scores of every base, or of the best base of each sequence."""
        forward = orf_scores(split.seqs, odds)
        back = _turned(split.seqs)
        reverse = orf_scores(split.seqs.reverse_complement(), odds)[back]
        if self._per_base:
            return forward, reverse
        starts = split.seqs.offsets[:-1]
        return np.maximum.reduceat(forward, starts), np.maximum.reduceat(reverse, starts)


def codon_log_odds(seqs: Sequences) -> Array:
    """How much more frequent each codon is in long open reading frames than anywhere.

    Args:
        seqs: the training sequences; both strands are counted, labels are not used.

    Returns:
        float64 (65,), natural log of a ratio: the codon's share of the codons in open reading
        frames of LONG_ORF bp or more, over its share of all triplets. 0 for the last, triplets
        with an N. Counts start at 1, except for stop codons in frame, which do not occur.
    """
    coding, anywhere = np.ones(65), np.ones(65)
    for strand in (seqs, seqs.reverse_complement()):
        for one in _frames(strand):
            anywhere += np.bincount(one.codon, minlength=65)
            size = np.bincount(one.orf[one.inside], minlength=int(one.orf.max(initial=0)) + 1)
            long = one.inside & (3 * size[one.orf] >= LONG_ORF)
            coding += np.bincount(one.codon[long], minlength=65)
    odds = np.zeros(65)
    sense = ~_STOP[:64]
    odds[:64][sense] = np.log(coding[:64][sense] / coding[:64][sense].sum())
    odds[:64][sense] -= np.log(anywhere[:64][sense] / anywhere[:64].sum())
    return odds


def orf_scores(seqs: Sequences, odds: Array) -> Array:
    """How coding each base looks, on the given strand.

    An open reading frame goes from the first ATG, or the start of the sequence, to the first stop
    codon, included, or the end of the sequence; its score is the sum over its codons.

    Args:
        seqs: N sequences, M bp.
        odds: (65,), from `codon_log_odds`.

    Returns:
        float64 (M,), the highest score of the open reading frames that contain a base, at least 0;
        0 when none does.
    """
    best = np.zeros(len(seqs.codes))
    for one in _frames(seqs):
        total = np.bincount(one.orf[one.inside], weights=odds[one.codon[one.inside]])
        at, scores = one.start[one.inside], total[one.orf[one.inside]]
        for i in range(3):
            best[at + i] = np.maximum(best[at + i], scores)
    return best


def _frames(seqs: Sequences) -> list[Orfs]:
    """The three frames of this strand; no codon crosses the end of its sequence."""
    m = len(seqs.codes)
    owner = np.repeat(np.arange(len(seqs)), seqs.lengths)
    padded = np.concatenate([seqs.codes, np.full(2, N, np.uint8)]).astype(np.int64)
    codon = 16 * padded[:m] + 4 * padded[1 : m + 1] + padded[2:]
    unknown = (padded[:m] >= N) | (padded[1 : m + 1] >= N) | (padded[2:] >= N)
    codon[unknown] = _UNKNOWN
    whole = np.arange(m) + 3 <= seqs.offsets[1:][owner]
    places = (np.arange(frame, m, 3) for frame in range(3))
    return [_frame(at, codon[at], owner[at], whole[at]) for at in places]


def _frame(start: Array, codon: Array, owner: Array, whole: Array) -> Orfs:
    start, codon, owner = start[whole], codon[whole], owner[whole]
    new_sequence = np.diff(owner, prepend=-1) != 0
    after_stop = np.concatenate([[False], _STOP[codon[:-1]]])[: len(codon)]
    begins = new_sequence | after_stop
    orf = np.cumsum(begins) - 1
    # after a stop codon the reading frame opens at the first ATG
    opened = np.cumsum((codon == _ATG) | new_sequence)
    before = opened[begins] - ((codon == _ATG) | new_sequence)[begins]
    return Orfs(start, codon, orf, opened > before[orf])


def _edges(scores: Array) -> Array:
    """BINS - 1 upper edges: 0, then quantiles of the scores above 0."""
    higher = scores[scores > 0]
    if not len(higher):
        return np.zeros(BINS - 1)
    return np.concatenate([[0], np.quantile(higher, np.linspace(0, 1, BINS)[1:-1])])


def _cells(scores: tuple[Array, Array], edges: Array) -> Array:
    """The cell, of BINS x BINS, of each pair of scores."""
    row, column = (np.searchsorted(e, s, side="left") for e, s in zip(edges, scores, strict=True))
    return np.asarray(row * BINS + column)


def _turned(seqs: Sequences) -> Array:
    """Flat position of each base of `seqs` in their reverse complements."""
    ends = np.repeat(seqs.offsets[:-1] + seqs.offsets[1:] - 1, seqs.lengths)
    return np.asarray(ends - np.arange(len(seqs.codes)))


def _inside(split: Split) -> Array:
    """Which positions are inside a sequence, bool (N, L)."""
    return np.asarray(np.arange(split.y.shape[1]) < split.seqs.lengths[:, None])


def _class_counts(y: Array, k: int) -> Array:
    return np.bincount(y[y != IGNORED].ravel(), minlength=k)


def build_majority(task: Task, options: Mapping[str, Any]) -> Callable[[Split, Recipe], Majority]:
    """Predict the most frequent class of the training split for every example or base.

    Args:
        task: gives kind and K.
        options: none.

    Returns:
        A function (training split, recipe) -> learner of one epoch.

    Raises:
        ValueError: when the task has no classes.

    Accuracy:
        Deterministic. MCC is 0 by definition; accuracy is the share of that class.

    Source:
        Definition; every class counts one example more than it has.
    """
    _check(task, "majority")
    return lambda train, recipe: Majority(train, task)


def build_codon_statistics(
    task: Task, options: Mapping[str, Any]
) -> Callable[[Split, Recipe], CodonStatistics]:
    """Codon usage of open reading frames, on both strands.

    Each base has two scores: that of the best forward and of the best reverse open reading frame
    that contains it. Its class is the most frequent one among training bases with a similar pair
    of scores (16 x 16 bins). A sequence has the scores of its best bases.

    Args:
        task: gives kind and K.
        options: none.

    Returns:
        A function (training split, recipe) -> learner of one epoch.

    Raises:
        ValueError: when the task has no classes.

    Accuracy:
        Deterministic. Introns are not modelled: meant for genomes with few of them.

    Source:
        Ours. Learning codon usage from long open reading frames, without labels, is the idea of
        Glimmer (Salzberg et al. 1998, Nucleic Acids Res. 26:544).
    """
    _check(task, "codon_statistics")
    return lambda train, recipe: CodonStatistics(train, task)


def _check(task: Task, name: str) -> None:
    if task.kind not in KINDS:
        raise ValueError(
            f"{name} predicts classes ({', '.join(KINDS)}), and {task.name} is {task.kind}: leave "
            "out one of the two"
        )


_COMMON: dict[str, Any] = {
    "n_params": 0,
    "min_length": 1,
    "context": 1_000_000,
    "license": "Apache-2.0",
    "recipes": {"default": Recipe(epochs=1, source="house: counting, once")},
    "custom_trainer": True,
    "kinds": KINDS,
    "recipe_fields": (),
}
MODELS.add(
    Model(
        name="majority", family="majority", build=build_majority,
        source="the most frequent class of train", **_COMMON,
    )
)  # fmt: skip
MODELS.add(
    Model(
        name="codon_statistics", family="codon_statistics", build=build_codon_statistics,
        source="codon usage of open reading frames", **_COMMON,
    )
)  # fmt: skip
