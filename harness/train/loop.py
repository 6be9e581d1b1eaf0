"""The training loop: epochs, validation, and the choice of the checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Interface

import numpy as np

from dnabench.train.objectives import Objective
from dnabench.types import Array, Learner, Progress, Protocol, Split

CHOOSES_ON = {"best-val": "val", "least-val-loss": "val", "best-test": "test", "last": ""}
ADVICE = "lower the learning rate (--set lr=...) or look for extreme values in the model"


@dataclass
class FitResult:
    """The course of a training. The learner itself holds the chosen checkpoint."""

    curve: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0  # from 1
    criterion: float = -math.inf  # of the best epoch, the more the better
    chosen: Any = None  # what the learner had learned by then; None = nothing chooses


class Saved(Interface):
    """What lets a training that was killed go on."""

    def go_on(self, course: FitResult) -> None:
        """Put learner and course where an earlier attempt left them, if there was one."""

    def epoch_ended(self, course: FitResult) -> None:
        """Keep both if it is time."""


def fit(
    learner: Learner, objective: Objective, protocol: Protocol, watch: Mapping[str, Split],
    patience: int = 0, progress: Progress = lambda done, total: None, saved: Saved | None = None,
) -> FitResult:  # fmt: skip
    """Train `learner` in place and leave it at the checkpoint that the protocol chooses.

    The splits of `watch` are scored after every epoch: "val", and "test" only when the protocol
    looks at test. No other split can be reached from here. Training stops after `patience` epochs
    without a better criterion; 0 = never. An epoch whose predictions have no metric, such as a
    correlation of equal ones, is worse than any other. With `saved` it goes on where an earlier
    attempt ended, and ends with the same bytes.

    Returns:
        The curve (loss and all metrics of the watched splits, per epoch; `val_loss` too, where
        the protocol chooses by it) and the chosen epoch; the earliest of equals.

    Raises:
        ValueError: when the protocol chooses on a split that is not watched, or by a metric that is
            undefined there: for its labels, or after every epoch.
        FloatingPointError: when the training loss is not finite, or a prediction.
    """
    by_loss = protocol.checkpoint == "least-val-loss"
    chooser = CHOOSES_ON[protocol.checkpoint]
    if chooser and chooser not in watch:
        raise ValueError(f"protocol {protocol.name} chooses on {chooser}, and there is none")
    predictors = {name: learner.predictor(split) for name, split in watch.items()}
    out = FitResult()
    if saved is not None:
        saved.go_on(out)
    while (ended := len(out.curve)) < learner.epochs:
        if patience and ended - out.best_epoch >= patience:
            break
        epoch = ended + 1
        row: dict[str, Any] = {"epoch": epoch, "loss": learner.train_epoch()}
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(
                f"the training loss is {row['loss']} after epoch {epoch}; {ADVICE}"
            )
        for name, predict in predictors.items():
            predictions = predict()
            check_finite(predictions, name, epoch)
            row[name] = objective.scores(watch[name], predictions)
            if by_loss and name == chooser:
                row["val_loss"] = objective.mean_loss(watch[name], predictions)
            elif name == chooser and objective.metric not in row[name]:
                _check_labels(objective, watch[name], predictions, name)
        out.curve.append(row)
        progress(epoch, learner.epochs)
        criterion = float(epoch)
        if chooser:
            sign = -1 if by_loss else objective.sign
            score = row["val_loss"] if by_loss else row[chooser].get(objective.metric)
            criterion = -math.inf if score is None else sign * score
        if criterion > out.criterion or not out.best_epoch:
            out.criterion, out.best_epoch = criterion, epoch
            out.chosen = learner.state() if chooser else None
        if saved is not None:
            saved.epoch_ended(out)
    if out.criterion == -math.inf and chooser and not by_loss:
        raise ValueError(
            f"{objective.metric} is undefined on {chooser} after each of {len(out.curve)} epochs, "
            "so none can be chosen by it: every prediction there is the same; train for more "
            "epochs, with another learning rate (--set lr=...), or choose another --metric"
        )
    if out.chosen is not None:
        learner.restore(out.chosen)
        out.chosen = None
    return out


def _check_labels(objective: Objective, split: Split, predictions: Array, name: str) -> None:
    """Raise ValueError for a metric that no predictions would have on these labels."""
    other = np.asarray(np.random.default_rng(0).normal(size=predictions.shape), np.float32)
    if objective.metric in objective.scores(split, other):
        return
    values = np.issubdtype(split.y.dtype, np.floating)
    raise ValueError(
        f"{objective.metric} is undefined on {name}, so no epoch can be chosen by it: "
        f"{'all values are the same' if values else 'a class is missing'} there; choose another "
        "metric or add examples"
    )


def check_finite(predictions: Array, split: str, epoch: int) -> None:
    """Raise FloatingPointError for a prediction that is not finite.

    The loss of an epoch is from before its last update, so it may be finite where they are not.
    """
    if n := int((~np.isfinite(predictions)).sum()):
        raise FloatingPointError(
            f"{n:,} of {predictions.size:,} predictions of {split} are not finite after epoch "
            f"{epoch}; {ADVICE}"
        )
