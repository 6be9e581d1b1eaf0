"""Train a language model on genomes, step by step, so that a killed training goes on."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabench.cache import replacing
from dnabench.models.language import language_model, language_of
from dnabench.pretraining.folder import CHECKPOINT, CURVE, KEPT, check_folder, only_one
from dnabench.pretraining.ranks import ALONE, Ranks, device_here, joined, ranks_here
from dnabench.pretraining.recipes import check_warmup
from dnabench.pretraining.saving import save
from dnabench.pretraining.training import Training
from dnabench.protocols import protocol_named
from dnabench.results.checkpoints import damage
from dnabench.results.provenance import here
from dnabench.splits import streams
from dnabench.train.kept import code_digest
from dnabench.types import ONE_CPU, Resources, Split

if TYPE_CHECKING:
    from dnabench.pretraining.learner import WindowLearner
    from dnabench.train.loop import FitResult


def pretrain(
    training: Training, folder: Path, resources: Resources = ONE_CPU,
    told: Callable[[int, int, Mapping[str, Any]], None] = lambda done, total, row: None,
) -> dict[str, Any]:  # fmt: skip
    """Train and write the folder of a pretrained network.

    A training that was killed goes on from its last evaluation and on one CPU machine ends with the
    same bytes. While it runs the folder has checkpoint.pt, and metrics.jsonl with a line an
    evaluation; with `Training.keep_looks` also steps/N, a folder with the network after N steps.
    One that begins with weights is evaluated before its first step, too. Of several processes that
    torchrun started each reads its part of every batch, and the first one writes.

    Args:
        training: what is trained.
        folder: made if missing.
        resources: where.
        told: called with steps done, steps in all, and the last evaluation.

    Returns:
        The card, network.json.

    Raises:
        ValueError: the folder holds another training, or one that has ended; processes that do not
            train the same; a warm-up that lasts as long as the training, or longer.
        FloatingPointError: the loss is not finite.

    Accuracy:
        With another number of processes sums round differently; dropout zeroes other values.
    """
    from dnabench.pretraining.learner import windows_split
    from dnabench.train.loop import fit

    check_warmup(training.how, training.steps)
    said, started = training.said(), time.monotonic()
    watched = windows_split(training.watched())
    resources = resources._replace(device=device_here(resources.device))
    first = ranks_here().rank == 0
    with only_one(folder) if first else nullcontext(), joined(resources.device) as ranks:
        check_folder(folder)
        ranks.check_same(hashlib.sha256(json.dumps(said).encode()).digest(), resources.device)
        learner = learner_of(training, resources, ranks)
        saved = _Saved(folder, said, learner, told, training, ranks, watched)
        learner.step_ended = saved.step_ended
        protocol = replace(protocol_named("honest/1"), checkpoint="last")
        course = fit(learner, learner.objective, protocol, {"val": watched}, saved=saved)
        card = saved.card(course, time.monotonic() - started)
        if first:
            save(folder, card, learner.net.state_dict(), training.tokenizer)
            saved.file.unlink(missing_ok=True)
    return card


def learner_of(
    training: Training, resources: Resources = ONE_CPU, ranks: Ranks = ALONE
) -> WindowLearner:
    """A new network that learns."""
    import torch

    from dnabench.pretraining.learner import WindowLearner
    from dnabench.pretraining.objectives import Causal, Masked
    from dnabench.pretraining.recompute import recompute
    from dnabench.pretraining.vocabulary import vocabulary_of

    seeds, how = streams(training.seed, "pretraining"), training.how
    torch.manual_seed(seeds.init)
    net = language_model(training.model, training.options, training.how.length)
    if training.start:
        training.start.load(net)
    vocabulary = vocabulary_of(
        training.model, training.options, training.tokenizer, resources.device, how.random
    )
    with torch.no_grad():
        ids = torch.zeros(1, training.model.min_length + 8, dtype=torch.long)
        outputs = net.eval()(ids, None).shape[-1]
    kind = Causal if language_of(training.model).causal else Masked
    objective = kind(vocabulary, outputs, how.small_weight, seeds.order)
    if isinstance(objective, Masked):
        objective.hiding = training.hiding
    if training.recompute:
        recompute(net.backbone, training.model.name)
    recipe = replace(how.recipe, max_steps=training.steps)
    return WindowLearner(
        net, training.model, training.tokenizer, training.sources, objective, recipe,
        training.every, seeds, resources=resources, ranks=ranks,
    )  # fmt: skip


def _code() -> dict[str, str]:
    """What else a checkpoint must have been made by, to end with the same numbers."""
    import torch

    return {"version of torch": torch.__version__, "code": code_digest(("dnabench.pretraining",))}


class _Saved:
    """Checkpoint and curve in the folder; a `train.loop.Saved`."""

    def __init__(
        self, folder: Path, said: Mapping[str, Any], learner: WindowLearner,
        told: Callable[[int, int, Mapping[str, Any]], None], training: Training,
        ranks: Ranks, watched: Split,
    ) -> None:  # fmt: skip
        self.file, self._folder, self._learner, self._told = (
            folder / CHECKPOINT, folder, learner, told
        )  # fmt: skip
        self._said = json.loads(json.dumps({**said, **_code()}))
        self._card, self._training = said, training
        self._steps, self._budget = training.steps, training.budget
        self._row, self.before, self._watched = dict[str, Any](), 0.0, watched
        self._begun: dict[str, Any] | None = None  # held-out scores of the weights it began with
        self._started, self._ranks = time.monotonic(), ranks
        self._bp = training.how.recipe.batch * training.how.length  # of a step
        self._rates, self._since = list[float](), self._started

    def card(self, course: FitResult, seconds: float) -> dict[str, Any]:
        """network.json, but for the weights; `seconds` are those of this process."""
        training = self._training
        begun = {**training.start.said(), "scores": self._begun} if training.start else None
        return {
            **self._card, "command": training.command, "where": here(),
            "seconds": round(self.before + seconds, 1), "scores": course.curve[-1],
            "n_params": self._learner.n_params, "source": training.how.source,
            "license": training.licence, "processes": self._ranks.size,
            "reference": training.model.reference, **({"start": begun} if begun else {}),
        }  # fmt: skip

    def _keep(self, course: FitResult) -> None:
        """The network as it is now, in a folder of its own; the last one is the training's."""
        step = self._flat(course.curve[-1])["step"]
        if step < self._steps:
            card = self.card(course, time.monotonic() - self._started)
            card |= {"steps": step, "bp": step * self._bp, "of_steps": self._steps}
            folder = self._folder / KEPT / str(step)
            folder.mkdir(parents=True, exist_ok=True)
            save(folder, card, self._learner.net.state_dict(), self._training.tokenizer)

    def step_ended(self, done: int, total: int) -> None:
        self._told(done, total, self._row)

    def go_on(self, course: FitResult) -> None:
        if self.file.is_file():
            self._read(course)
        elif self._training.start:
            self._begin(course)
        self._ranks.wait()  # before the first one writes it anew
        self._since = time.monotonic()

    def _begin(self, course: FitResult) -> None:
        """Evaluate the weights that it begins with."""
        predictions = self._learner.predictor(self._watched)()
        scores = self._learner.objective.scores(self._watched, predictions)
        if self._training.start and not math.isfinite(scores["loss"]):
            raise FloatingPointError(
                f"the held-out loss of {self._training.start.weights} is {scores['loss']} before "
                "the first step; these weights predict nothing here"
            )
        self._begun, self._row = {"val": scores}, {"epoch": 0, "val": scores}
        if not self._ranks.rank:
            self._write_curve(course)
        self._told(0, self._steps, self._row)

    def _read(self, course: FitResult) -> None:
        import torch

        if damage(self.file):
            raise ValueError(f"{self.file} is damaged; delete it to begin this training anew")
        state = torch.load(self.file, weights_only=True, map_location="cpu")
        begun = json.loads(state["said"])
        keys = begun.keys() | self._said.keys()
        other = sorted(key for key in keys if begun.get(key) != self._said.get(key))
        if other:
            raise ValueError(
                f"{self.file.parent} has an unfinished training that differs in "
                f"{', '.join(other)}; give the command that began it, or another folder with --to"
            )
        self._learner.go_on(state["learner"])
        course.curve[:], self.before = state["curve"], state["seconds"]
        self._rates, self._begun = state["rates"], state.get("begun")
        course.best_epoch = len(course.curve)
        course.criterion = float(course.best_epoch)
        self._row = course.curve[-1]
        if not self._ranks.rank:
            self._write_curve(course)

    def epoch_ended(self, course: FitResult) -> None:
        before, self._row = len(self._rates), course.curve[-1]
        steps = min(self._learner.every, self._steps - before * self._learner.every)
        self._rates.append(steps * self._bp / max(self._learner.trained - self._since, 1e-9))
        if not self._ranks.rank:
            if self._training.keep_looks:
                self._keep(course)
            self._save(course)
        self._since = time.monotonic()

    def _save(self, course: FitResult) -> None:
        import torch

        seconds = self.before + time.monotonic() - self._started
        state = {
            "learner": self._learner.training_state(), "curve": course.curve, "seconds": seconds,
            "said": json.dumps(self._said), "budget": self._budget, "rates": self._rates,
            "begun": self._begun,
        }  # fmt: skip
        with replacing(self.file) as file:
            torch.save(state, file)
        self._write_curve(course)
        self._told(self._flat(self._row)["step"], self._steps, self._row)

    def _write_curve(self, course: FitResult) -> None:
        with replacing(self._folder / CURVE) as file:
            if self._begun:
                line = {"step": 0, **_held(self._begun)}
                file.write(f"{json.dumps(line)}\n".encode())
            for row, rate in zip(course.curve, self._rates, strict=True):
                line = {**self._flat(row), "bp_per_s": round(rate, 1)}
                file.write(f"{json.dumps(line)}\n".encode())

    def _flat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        step = min(row["epoch"] * self._learner.every, self._steps)
        return {"step": step, "loss": row["loss"], **_held(row)}


def _held(row: Mapping[str, Any]) -> dict[str, float]:
    """Held-out scores by their names in the curve."""
    return {f"held_out_{name}": value for name, value in row["val"].items()}
