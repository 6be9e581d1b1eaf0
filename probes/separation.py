"""How far apart classes lie: silhouette and nearest neighbours, beside what composition says.

M regions, W bp of a window, D features, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.probes.blocks import Interval, blocks_of, interval
from dnabench.probes.embed import Windows
from dnabench.tasks.io.genome import few
from dnabench.types import Array, N

NEIGHBOURS = 10
FOLDS = 5
BIN = 0.02  # of the share of G and C
WORD = 4  # bp of the words that are counted
EVERY, MATCHED = "all", "GC-matched"


class Apart(NamedTuple):
    """How far apart the classes of M regions lie, with intervals from blocks drawn again.

    silhouette: mean over regions, by cosine distance. accuracy: mean of the classes' shares of
    regions whose nearest, in other blocks, say the right class. neighbours: how many are asked.
    """

    regions: str  # EVERY or MATCHED
    features: str
    n: int
    classes: int
    neighbours: int
    silhouette: float
    silhouette_interval: Interval
    accuracy: float
    accuracy_interval: Interval

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes


class Separated(NamedTuple):
    """The table, and for each region its silhouette, float64 (M,), and its neighbours' class.

    unmatched: why there are no rows of MATCHED; "" = there are.
    """

    rows: list[Apart]
    silhouettes: Array
    predicted: Array
    matched: Array  # bool (M,)
    unmatched: str


Folds = Sequence[tuple[Array, Array]]


def gc_of(codes: Array) -> Array:
    """The share of G and C among the bases of windows uint8 (M, W): float64 (M,)."""
    known = (codes < N).sum(1)
    return np.asarray(((codes == 1) | (codes == 2)).sum(1) / np.maximum(known, 1))


def words_of(codes: Array) -> Array:
    """Shares of the words of WORD bp and of their reverse complements, float64 (M, 4^WORD)."""
    both = np.stack([codes, np.where(codes < N, 3 - codes, N)[:, ::-1]])
    width = codes.shape[1] - WORD + 1
    value, known = np.zeros((2, len(codes), width), np.int64), np.ones((2, len(codes), width), bool)
    for j in range(WORD):
        part = both[..., j : j + width]
        value, known = value * 4 + (part & 3), known & (part < N)
    row = np.arange(len(codes))[:, None]
    key = (row * 4**WORD + value)[known]
    counts = np.bincount(key, minlength=len(codes) * 4**WORD).reshape(len(codes), -1)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def matched(gc: Array, kinds: Array, seed: int = 0) -> Array:
    """Bool (M,): as many regions of every class in each bin of GC, drawn at random."""
    names, of = np.unique(kinds, return_inverse=True)
    bins, rng = np.floor(gc / BIN).astype(np.int64), np.random.default_rng(seed)
    out = np.zeros(len(gc), bool)
    for one in np.unique(bins):
        rows = [np.flatnonzero((bins == one) & (of == k)) for k in range(len(names))]
        least = min(map(len, rows))
        for each in rows:
            out[rng.permutation(each)[:least]] = True
    return out


def comparable(windows: Windows) -> Windows:
    """The regions of classes with two regions or more; the others are counted as left out.

    Raises:
        ValueError: fewer than two such classes, or as `folds_of`.
    """
    names, counts = np.unique(windows.kinds, return_counts=True)
    alone = names[counts < 2].tolist()
    if (n := len(names) - len(alone)) < 2:
        one = f"; only one region: {few(alone)}" if alone else ""
        raise ValueError(
            f"{n} class{' has' if n == 1 else 'es have'} two regions or more, and two such classes "
            f"are needed; column 4 of the BED file, or --gff, gives the class of a region{one}"
        )
    rows = np.flatnonzero(~np.isin(windows.kinds, alone))
    left_out = dict(windows.left_out)
    if alone:
        left_out[f"the only region of its class ({few(alone)})"] = len(alone)
    out = Windows(
        [windows.chrom[i] for i in rows.tolist()], windows.start[rows], windows.end[rows],
        windows.codes[rows], windows.kinds[rows], left_out,
    )  # fmt: skip
    folds_of(out)
    return out


def folds_of(windows: Windows, rows: Array | None = None) -> Folds:
    """Which regions answer and which are asked, by fold: indices among the rows.

    Blocks are dealt into FOLDS; those of a fold are asked of the others, without the regions whose
    window shares a base with a window of the fold.

    Args:
        windows: M.
        rows: int64, those that take part; None = all.

    Raises:
        ValueError: fewer than FOLDS blocks, or no region left to answer.
    """
    from sklearn.model_selection import GroupKFold  # type: ignore[import-untyped]

    rows = np.arange(len(windows.start)) if rows is None else rows
    _, chrom = np.unique(np.asarray(windows.chrom)[rows], return_inverse=True)
    start, width = windows.start[rows], windows.codes.shape[1]
    block = blocks_of(chrom, start)
    found = len(np.unique(block))
    if found < FOLDS:
        raise ValueError(
            f"the regions lie in {found} stretches of 10 kbp; {FOLDS} or more are needed, so that "
            "neighbours on the genome do not answer for each other"
        )
    first = start - windows.first[rows]
    place = chrom.astype(np.int64) * (int(first.max()) - int(first.min()) + width) + first
    out = []
    for others, asked in GroupKFold(FOLDS).split(start, groups=block):
        held = np.sort(place[asked])
        i = np.searchsorted(held, place[others])
        before, behind = held[(i - 1).clip(0)], held[i.clip(None, len(held) - 1)]
        apart = np.minimum(np.abs(place[others] - before), np.abs(place[others] - behind))
        answer = others[apart >= width]
        if not len(answer):
            raise ValueError(
                f"the windows of {width:,} bp of a fifth of the regions overlap those of all "
                "others, so that none is left to answer; take a smaller --length, or regions "
                "farther apart"
            )
        out.append((answer, asked))
    return out


def neighbours(x: Array, kinds: Array, folds: Folds) -> tuple[Array, int]:
    """The class that the nearest regions of other folds say, (M,), and how many were asked.

    They are NEIGHBOURS, or half of those that answer in the smallest fold.
    """
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]

    k = max(1, min(NEIGHBOURS, min(len(answer) for answer, _ in folds) // 2))
    knn = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    return np.asarray(cross_val_predict(knn, x, kinds, cv=folds)), k


def separation(windows: Windows, x: Array, seed: int = 0) -> Separated:
    """Compare classes by an embedding, by GC and by words, for all regions and GC-matched ones.

    Args:
        windows: M.
        x: float (M, D).
        seed: of matching and draws.

    Raises:
        ValueError: as `folds_of`, for all regions.
    """
    own, kinds = windows.own, windows.kinds
    gc = gc_of(own)
    block = blocks_of(windows.chrom, windows.start)
    sides = {
        "network": x, "GC": np.stack([gc, 1 - gc], 1),
        f"words of {WORD} bp": words_of(own),
    }  # fmt: skip
    some, unmatched = matched(gc, kinds, seed), ""
    parts = [(EVERY, np.arange(len(x)), folds_of(windows))]
    try:
        parts.append((MATCHED, np.flatnonzero(some), _matched_folds(windows, some)))
    except ValueError as e:
        unmatched = f"no GC-matched rows: {e}"
    each = {
        (name, features): _apart(
            name, features, values[mask], kinds[mask], block[mask], folds, seed
        )
        for name, mask, folds in parts for features, values in sides.items()
    }  # fmt: skip
    _, silhouettes, predicted = each[EVERY, "network"]
    rows = [row for row, *_ in each.values()]
    return Separated(rows, silhouettes, predicted, some, unmatched)


def _matched_folds(windows: Windows, some: Array) -> Folds:
    smallest = min(int((some & (windows.kinds == name)).sum()) for name in np.unique(windows.kinds))
    if smallest < 2:
        raise ValueError(
            f"at equal GC there are {smallest} regions of every class; 2 or more are needed"
        )
    return folds_of(windows, np.flatnonzero(some))


def _apart(
    regions: str, features: str, x: Array, kinds: Array, block: Array, folds: Folds, seed: int
) -> tuple[Apart, Array, Array]:
    from sklearn.metrics import silhouette_samples  # type: ignore[import-untyped]

    each = silhouette_samples(x, kinds, metric="cosine")
    said, k = neighbours(x, kinds, folds)
    right, names = said == kinds, np.unique(kinds)
    own = kinds[:, None] == names

    def accuracy(weights: Array) -> Array:
        n = own.T.astype(np.float64) @ weights
        hits = (own & right[:, None]).T.astype(np.float64) @ weights
        with np.errstate(invalid="ignore"):
            return np.asarray(np.mean(hits / n, axis=0))

    row = Apart(
        regions, features, len(kinds), len(names), k, float(each.mean()),
        interval(block, lambda w: (each @ w) / w.sum(0), seed=seed),
        float(accuracy(np.ones((len(kinds), 1)))[0]), interval(block, accuracy, seed=seed),
    )  # fmt: skip
    return row, each, said


def components(x: Array, n: int = 2) -> tuple[Array, Sequence[float]]:
    """The first principal components, float64 (M, n), and the share of variance of each."""
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]

    found = PCA(n, svd_solver="full")
    return np.asarray(found.fit_transform(np.asarray(x, np.float64))), [
        float(share) for share in found.explained_variance_ratio_
    ]


def umap_of(x: Array, seed: int = 0) -> Array:
    """Two coordinates by UMAP with cosine distance, float64 (M, 2).

    Raises:
        ValueError: umap-learn is not installed.

    Source:
        McInnes et al. 2018, arXiv 1802.03426.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no Tensorflow; a fixed seed runs on one thread
        try:
            from umap import UMAP
        except ModuleNotFoundError:
            raise ValueError("--umap needs umap-learn: pip install 'dnabench[umap]'") from None
        found = UMAP(metric="cosine", random_state=seed, n_jobs=1).fit_transform(x)
    return np.asarray(found, np.float64)
