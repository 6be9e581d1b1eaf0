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
    without a better criterion; 0 = never. With `saved` it goes on where an earlier attempt ended,
    and ends with the same bytes.

    Returns:
        The curve (loss and all metrics of the watched splits, per epoch; `val_loss` too, where
        the protocol chooses by it) and the chosen epoch; the earliest of equals.

    Raises:
        ValueError: when the protocol chooses on a split that is not watched.
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
        out.curve.append(row)
        progress(epoch, learner.epochs)
        if chooser and not by_loss and objective.metric not in row[chooser]:
            raise ValueError(
                f"{objective.metric} is undefined on {chooser}, so no epoch can be chosen by it: a "
                "class is missing there; choose another metric or add examples"
            )
        criterion = float(epoch)
        if chooser:
            score = row["val_loss"] if by_loss else row[chooser][objective.metric]
            criterion = -score if by_loss else objective.sign * score
        if criterion > out.criterion:
            out.criterion, out.best_epoch = criterion, epoch
            out.chosen = learner.state() if chooser else None
        if saved is not None:
            saved.epoch_ended(out)
    if out.chosen is not None:
        learner.restore(out.chosen)
        out.chosen = None
    return out


def check_finite(predictions: Array, split: str, epoch: int) -> None:
    """Raise FloatingPointError for a prediction that is not finite.

    The loss of an epoch is from before its last update, so it may be finite where they are not.
    """
    if n := int((~np.isfinite(predictions)).sum()):
        raise FloatingPointError(
            f"{n:,} of {predictions.size:,} predictions of {split} are not finite after epoch "
            f"{epoch}; {ADVICE}"
        )
