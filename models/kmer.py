"""The k-mer baseline: logistic regression on k-mer counts, which a deep model has to beat.

N examples, F features, K task outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dnabench.registry import MODELS
from dnabench.types import Array, Model, Recipe, Sequences, Split, Task
from dnabench.types import N as ANY_BASE

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of scikit-learn; small = strong regularization
OPTIONS = {"k_min": 2, "k_max": 6}  # chosen on validation: docs/benchmarks/tuning.md


def counts(seqs: Sequences, k: int) -> Any:
    """How often every k-mer occurs in every sequence.

    Args:
        seqs: N sequences; k-mers that contain an N are not counted.
        k: bp, 1..12.

    Returns:
        scipy.sparse CSR float64 (N, 4**k); columns are numbers in base 4 with digits A=0, C=1,
        G=2, T=3, first base most significant. A sequence shorter than k has an empty row.
    """
    from scipy.sparse import csr_matrix

    n = len(seqs.codes) - k + 1
    if n <= 0:
        return csr_matrix((len(seqs), 4**k))
    word, known = np.zeros(n, np.int64), np.ones(n, bool)
    for i in range(k):
        base = seqs.codes[i : i + n]
        word = word * 4 + base
        known &= base < ANY_BASE
    row = np.repeat(np.arange(len(seqs)), seqs.lengths)[:n]
    known &= np.arange(n) + k <= seqs.offsets[1:][row]  # ends inside its own sequence
    hits = (np.ones(int(known.sum())), (row[known], word[known]))
    return csr_matrix(hits, shape=(len(seqs), 4**k))


class KmerRegression:
    """Logistic regression on k-mer frequencies; each "epoch" is a fit with a weaker penalty.

    So the protocol that chooses the epoch of a network chooses the penalty here, by the same rule
    and on the same examples. Each fit starts from the weights of the one before.

    Args:
        train: labelled sequences.
        n_outputs: K.
        k_min: bp of the shortest k-mer, at least 1.
        k_max: bp of the longest, k_min..8.
        balanced: whether each class counts alike, however many examples it has.
    """

    epochs = len(STRENGTHS)

    def __init__(
        self, train: Split, n_outputs: int, k_min: int, k_max: int, balanced: bool = False
    ) -> None:
        self._ks, self._train, self._n_outputs = range(k_min, k_max + 1), train, n_outputs
        self.n_params = (sum(4**k for k in self._ks) + 1) * n_outputs
        self._n_fits, self._x = 0, None  # of train, computed in the first epoch
        self._weights: dict[str, Array] = {}
        self._balanced = balanced

    @property
    def notes(self) -> dict[str, Any]:
        """The weights of the classes, unless they are all 1."""
        return {"class_weights": self._class_weights().tolist()} if self._balanced else {}

    def train_epoch(self) -> float:
        """Fit with the next weaker penalty; return the mean cross-entropy on the training split."""
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

        y = self._train.y
        if self._x is None:
            if len(np.unique(y)) < self._n_outputs:
                raise ValueError(f"kmer needs examples of all {self._n_outputs} classes in train")
            self._x = self._scaled(self._train)
        model = LogisticRegression(
            C=STRENGTHS[self._n_fits], max_iter=500, warm_start=True, tol=1e-4,
            class_weight="balanced" if self._balanced else None,
        )  # fmt: skip
        if "coef" in self._weights:
            model.coef_, model.intercept_ = (self._weights[w].copy() for w in ("coef", "intercept"))
        model.fit(self._x, y)
        self._weights |= {"coef": model.coef_, "intercept": model.intercept_}
        self._n_fits += 1
        logits = self._logits(self._x).astype(np.float64)
        top = logits.max(1, keepdims=True)
        log_total = top[:, 0] + np.log(np.exp(logits - top).sum(1))
        losses = log_total - logits[np.arange(len(y)), y]
        return float(np.mean(losses * self._class_weights()[y] if self._balanced else losses))

    def predictor(self, split: Split) -> Callable[[], Array]:
        """Count the split's k-mers once; the returned function gives logits float32 (N, K)."""
        x = self._features(split)
        return lambda: self._logits(x @ self._scale())

    def state(self) -> dict[str, Array]:
        """The weights: coef, intercept and scale."""
        return dict(self._weights)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Set the weights."""
        self._weights = dict(state)

    def _class_weights(self) -> Array:
        from sklearn.utils.class_weight import compute_class_weight  # type: ignore[import-untyped]

        y, classes = self._train.y, np.arange(self._n_outputs)
        return np.asarray(compute_class_weight("balanced", classes=classes, y=y))

    def _features(self, split: Split) -> Any:
        """k-mer frequencies, of pairs second minus first: scipy.sparse CSR (N, F)."""
        from scipy.sparse import diags, hstack

        def frequencies(seqs: Sequences) -> Any:
            places = [np.maximum(seqs.lengths - k + 1, 1) for k in self._ks]
            parts = zip(self._ks, places, strict=True)
            return hstack([diags(1 / n) @ counts(seqs, k) for k, n in parts], format="csr")

        if split.other is None:
            return frequencies(split.seqs)
        return frequencies(split.other) - frequencies(split.seqs)

    def _scaled(self, train: Split) -> Any:
        """Frequencies over their root mean square on the training split."""
        x = self._features(train)
        rms = np.sqrt(np.asarray(x.multiply(x).mean(0)).ravel())
        self._weights["scale"] = np.where(rms > 0, 1 / np.where(rms > 0, rms, 1), 0)
        return x @ self._scale()

    def _scale(self) -> Any:
        from scipy.sparse import diags

        return diags(self._weights["scale"])

    def _logits(self, x: Any) -> Array:
        z = x @ self._weights["coef"].T + self._weights["intercept"]
        if z.shape[1] == 1:  # two classes: scikit-learn keeps the log-odds of the second only
            z = np.concatenate([np.zeros_like(z), z], axis=1)
        return np.asarray(z, np.float32)


def build(task: Task, options: Mapping[str, Any]) -> Callable[[Split, Recipe], KmerRegression]:
    """Logistic regression on k-mer frequencies.

    Args:
        task: gives K.
        options: k_min, k_max (bp, 1..8).

    Returns:
        A function (training split, recipe) -> learner. Of the recipe it reads `class_weight` alone.
        It has six epochs, C = 1e-5 ... 1, so "last-epoch" is C = 1, scikit-learn's default.

    Raises:
        ValueError: when k is out of range, or a class does not occur in the split.

    Accuracy:
        Deterministic: seeds differ only in the validation split, and where the task has a dev
        split all seeds give the same score.

    Source:
        scikit-learn's LogisticRegression (L2, lbfgs). Ours: frequencies of 2..6-mers scaled by
        their root mean square on the training split; the penalty is chosen by the protocol.
    """
    k_min, k_max = int(options["k_min"]), int(options["k_max"])
    if not 1 <= k_min <= k_max <= 8:
        raise ValueError(f"need 1 <= k_min <= k_max <= 8; got {k_min} and {k_max}")

    def learner(train: Split, recipe: Recipe) -> KmerRegression:
        balanced = recipe.class_weight != "none"
        return KmerRegression(train, task.n_outputs, k_min, k_max, balanced)

    return learner


MODELS.add(
    Model(
        name="kmer",
        family="kmer",
        build=build,
        options=OPTIONS,
        space={"k_min": "int:1..4", "k_max": "int:4..7"},
        n_params=0,
        min_length=1,
        context=1_000_000,
        source="scikit-learn LogisticRegression",
        license="Apache-2.0",
        recipes={"default": Recipe(epochs=len(STRENGTHS), source="house: one penalty an epoch")},
        custom_trainer=True,
        pairs=True,
        kinds=("binary", "multiclass"),
        recipe_fields=("class_weight",),
    )
)
