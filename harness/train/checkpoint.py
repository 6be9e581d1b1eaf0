"""The checkpoint of a trial that is being trained: from where it goes on after it was killed.

A file holds all that training changes, as `torch.save` writes it, and what it was made from. It is
read as plain tensors and numbers; no code in it is run.
"""

from __future__ import annotations

import copy
import json
import pickle
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dnabench.cache import file_sha256, replacing
from dnabench.models.kernels.convolve import processor
from dnabench.registry import MODELS
from dnabench.results.checkpoints import Place, damage, remove_unfinished
from dnabench.results.provenance import here, version_of
from dnabench.train.frozen import built_by
from dnabench.train.kept import code_digest, edited
from dnabench.train.learner import NetLearner
from dnabench.train.loop import FitResult
from dnabench.train.meter import Meter
from dnabench.types import Job, Resources

CODE = ("dnabench.models", "dnabench.sweep.trial")  # and all that they import
LIBRARIES = ("torch", "numpy", "transformers", "peft")
SHARE = 20  # at most one part in so many of the time is spent on writing
REST = 5.0  # seconds, at least, between two that are written because the process may be ended soon


class Checkpoint:
    """The checkpoint of one training, read once and then written at the ends of epochs.

    While the process may be ended soon, it is written after a step, every few seconds.
    One that is damaged, or was made from anything else, is not used; so is one that does not fit.

    Args:
        place: where, and when.
        made_from: of `made_from`; the code counts beside it.
        learner: what is trained.
        meter: the clocks of the trial.
    """

    def __init__(
        self, place: Place, made_from: Mapping[str, Any], learner: NetLearner, meter: Meter
    ) -> None:
        self._place, self._from, self._learner, self._meter = place, made_from, learner, meter
        self._since, self._rest = time.monotonic(), 0.0  # when the last ended; seconds after it
        self._attempts: list[dict[str, Any]] = []  # that ended early: host and last epoch kept
        self._course = FitResult()
        self.unused = ""  # why the checkpoint that was there is not used
        learner.after_step = self._step_ended

    @property
    def where(self) -> dict[str, Any]:
        """What a record says of attempts that ended early."""
        return {"resumed": self._attempts} if self._attempts else {}

    @property
    def flags(self) -> dict[str, str]:
        """What a record says of a checkpoint that could not be used."""
        return {"checkpoint": self.unused} if self.unused else {}

    def go_on(self, course: FitResult) -> None:
        """Put learner, clocks and course where the last attempt left them, if it left a file."""
        path, self._course = self._place.path, course
        remove_unfinished(path)
        if not path.exists():
            return
        try:
            found, why = self._read()
            if not why:
                before = copy.deepcopy(self._learner.training_state())
                try:
                    self._learner.go_on(found["learner"])
                except (RuntimeError, ValueError, KeyError, TypeError) as e:
                    self._learner.go_on(before)
                    why = f"it does not fit ({_first_line(e)})"
        except (OSError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as e:
            why = f"it cannot be read ({_first_line(e)})"
        if why:
            self.unused = f"{why}; the trial starts anew"
            _say(f"{path} is not used: {self.unused}")
            return
        course.curve = json.loads(found["curve"])
        for name in ("best_epoch", "criterion", "chosen"):
            setattr(course, name, found[name])
        self._meter.restore(found["meter"])
        epochs, within = len(course.curve), found["learner"]["epoch"]
        step = {"step": found["learner"]["step"]} if within else {}
        self._attempts = [*found["attempts"], {"epoch": epochs, **step, "host": here()["host"]}]
        also = f" and step {step['step']}" if step else ""
        _say(f"going on after epoch {epochs}{also}, from {path}")

    def epoch_ended(self, course: FitResult) -> None:
        """Write a checkpoint if it is time. A full disk, or a trial that was lost, writes none."""
        pause = self._place.every and max(self._place.every, self._rest)
        soon = max(REST, self._rest) if self._place.soon() else pause
        self._write_after(min(pause, soon))

    def _step_ended(self) -> None:
        if self._place.soon():
            self._write_after(max(REST, self._rest))

    def _write_after(self, pause: float) -> None:
        begun = time.monotonic()
        if begun - self._since < pause or not self._place.mine():
            return
        self._since = begun
        if edited(CODE):
            _say("the code was edited since this process began, so no checkpoint is written")
            return
        try:
            with replacing(self._place.path, sync=True) as file:
                torch.save(self._state(), file)
        except (OSError, RuntimeError) as e:  # PyTorch makes a RuntimeError of a full disk
            _say(f"{self._place.path} was not written: {_reason(e)}; the trial goes on")
        self._since = time.monotonic()
        self._rest = SHARE * (self._since - begun)

    def _state(self) -> dict[str, Any]:
        course = self._course
        return {
            "from": {**self._from, "code": code_digest(CODE)},
            "learner": self._learner.training_state(), "meter": self._meter.state(),
            "attempts": self._attempts, "curve": json.dumps(course.curve),
            "best_epoch": course.best_epoch, "criterion": float(course.criterion),
            "chosen": course.chosen,
        }  # fmt: skip

    def _read(self) -> tuple[dict[str, Any], str]:
        """The content, and why it is not used."""
        if why := damage(self._place.path):
            return {}, why
        found = torch.load(self._place.path, map_location="cpu", weights_only=True)
        mine = {**self._from, "code": code_digest(CODE)}
        for name in sorted({*mine, *found["from"]}):
            then, now = found["from"].get(name, ""), mine.get(name, "")
            if then != now:
                return {}, f"it was made with {name} {str(then)[:80]}, here it is {str(now)[:80]}"
        return found, ""


def steps_in(path: Path) -> int:
    """After how many steps a checkpoint was written; 0 = there is none that can be read."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(found["learner"]["step"])
    except (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError):
        return 0


def checkpoint_of(
    job: Job, resources: Resources, place: Place | None, learner: Any, meter: Meter
) -> Checkpoint | None:
    """The checkpoint of a trial; None where none is kept, as of learners without gradients."""
    if place is None or place.every < 0 or not isinstance(learner, NetLearner):
        return None
    return Checkpoint(place, made_from(job, resources), learner, meter)


def made_from(job: Job, resources: Resources) -> dict[str, Any]:
    """What decides the numbers of a training beside dnabench's own code.

    Under `deterministic` also the processor or GPU; otherwise a trial may go on on another machine
    of the same kind of device, which rounds differently, as the record says.
    """
    found: dict[str, Any] = {
        "trial": job.trial.id, **{name: version_of(name) for name in LIBRARIES},
        "device": resources.device.partition(":")[0], "threads": resources.threads,
        "micro_batch": resources.micro_batch, "compile": resources.compile,
        "deterministic": resources.deterministic,
    }  # fmt: skip
    if resources.deterministic:
        cuda = found["device"] == "cuda"
        found["processor"] = torch.cuda.get_device_name(resources.device) if cuda else processor()
    build: Any = MODELS[job.trial.model].build
    if not built_by(build):  # the code of a plugin, or may be
        while isinstance(build, partial):
            build = build.func
        file = Path(getattr(build, "__globals__", {}).get("__file__") or "")
        found["model"] = file_sha256(file)[:16] if file.is_file() else ""
    return found


def checkpoint_bytes(learner: Any) -> int:
    """Bytes of a checkpoint, with the weights of the best epoch; 0 = none is kept."""
    if not isinstance(learner, NetLearner):
        return 0
    state = learner.training_state()
    return _bytes(state) + _bytes(state["learned"])


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def _reason(error: BaseException) -> str:
    """Why a file was not written: what the system said, which PyTorch covers by an error of its."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return (cause.strerror or "") if isinstance(cause, OSError) else _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else ''}"


def _say(text: str) -> None:
    """A line of the worker's own: in its log, or on the terminal."""
    sys.stderr.write(f"note: checkpoint: {text}\n")
