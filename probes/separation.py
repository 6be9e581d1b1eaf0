"""How far apart classes lie: silhouette and nearest neighbours, beside what composition says.

M regions, W bp of a window, D features, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnabench.probes.blocks import Interval, blocks_of, interval
from dnabench.probes.embed import Windows
from dnabench.types import Array, N

NEIGHBOURS = 10
FOLDS = 5
BIN = 0.02  # of the share of G and C
WORD = 4  # bp of the words that are counted
EVERY, MATCHED = "all", "GC-matched"


class Apart(NamedTuple):
    """How far apart the classes of M regions lie, with intervals from blocks drawn again.

    silhouette: mean over regions, by cosine distance. accuracy: mean of the classes' shares of
    regions whose NEIGHBOURS nearest, in other blocks, say the right class.
    """

    regions: str  # EVERY or MATCHED
    features: str
    n: int
    classes: int
    silhouette: float
    silhouette_interval: Interval
    accuracy: float
    accuracy_interval: Interval

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes


class Separated(NamedTuple):
    """The table, and for each region its silhouette, float64 (M,), and its neighbours' class."""

    rows: list[Apart]
    silhouettes: Array
    predicted: Array
    matched: Array  # bool (M,)


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


def neighbours(x: Array, kinds: Array, block: Array) -> Array:
    """The class that the nearest regions of other blocks say, (M,).

    Blocks are dealt into FOLDS; those of a fold are asked of the others.

    Raises:
        ValueError: fewer than FOLDS blocks.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict  # type: ignore[import-untyped]
    from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]

    found = len(np.unique(block))
    if found < FOLDS:
        raise ValueError(
            f"the regions lie in {found} stretches of 10 kbp; {FOLDS} or more are needed, so that "
            "neighbours on the genome do not answer for each other"
        )
    knn = KNeighborsClassifier(min(NEIGHBOURS, len(x) // 2), metric="cosine", algorithm="brute")
    folds = GroupKFold(FOLDS)
    return np.asarray(cross_val_predict(knn, x, kinds, groups=block, cv=folds))


def separation(windows: Windows, x: Array, seed: int = 0) -> Separated:
    """Compare classes by an embedding, by GC and by words, for all regions and GC-matched ones.

    Args:
        windows: M.
        x: float (M, D).
        seed: of matching and draws.

    Raises:
        ValueError: as `neighbours`.
    """
    gc, kinds = gc_of(windows.codes), windows.kinds
    block = blocks_of(windows.chrom, windows.start)
    sides = {
        "network": x, "GC": np.stack([gc, 1 - gc], 1),
        f"words of {WORD} bp": words_of(windows.codes),
    }  # fmt: skip
    some, rows = matched(gc, kinds, seed), list[Apart]()
    silhouettes, predicted = np.full(len(x), np.nan), np.array([""] * len(x), kinds.dtype)
    for name, mask in ((EVERY, np.ones(len(x), bool)), (MATCHED, some)):
        if len(np.unique(block[mask])) < FOLDS or not _enough(kinds[mask]):
            continue
        for features, values in sides.items():
            row, each, said = _apart(name, features, values[mask], kinds[mask], block[mask], seed)
            rows.append(row)
            if name == EVERY and features == "network":
                silhouettes, predicted = each, said
    if not rows:
        neighbours(x, kinds, block)  # says what is wrong
    return Separated(rows, silhouettes, predicted, some)


def _enough(kinds: Array) -> bool:
    return len(kinds) > 0 and int(np.unique(kinds, return_counts=True)[1].min()) > 1


def _apart(
    regions: str, features: str, x: Array, kinds: Array, block: Array, seed: int
) -> tuple[Apart, Array, Array]:
    from sklearn.metrics import silhouette_samples  # type: ignore[import-untyped]

    each = silhouette_samples(x, kinds, metric="cosine")
    said = neighbours(x, kinds, block)
    right, names = said == kinds, np.unique(kinds)
    own = kinds[:, None] == names

    def accuracy(weights: Array) -> Array:
        n = own.T.astype(np.float64) @ weights
        hits = (own & right[:, None]).T.astype(np.float64) @ weights
        with np.errstate(invalid="ignore"):
            return np.asarray(np.mean(hits / n, axis=0))

    row = Apart(
        regions, features, len(kinds), len(names), float(each.mean()),
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
