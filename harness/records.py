"""A trial, which is all that decides a number; its record, which is what it gave; their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from dnabench.recipes import Recipe
from dnabench.schema import RECORD, counted, known_fields, merged, nested, parse, trial_id, written


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: everything that decides the number, and nothing else."""

    model: str
    options: Mapping[str, Any]  # all of them, defaults included
    regime: str
    task: str
    data: str
    protocol: str
    recipe: Recipe
    seed: int
    limit: float = 0.0  # 0 = all examples; below 1 a share of each split; else a number
    metric: str = ""  # chooses the epoch; "" = the task's own under the protocol
    train_share: float = 1.0  # of the training examples that are trained on
    scored: Literal["test", "val"] = "test"  # val: a trial of tuning, which never reads test
    # fields of a newer version that decide the number: name, or `recipe.NAME` -> value
    unknown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tuning(self) -> bool:
        """Whether it is scored on validation alone, to choose settings by."""
        return self.scored == "val"

    @cached_property
    def id(self) -> str:
        """16 hex digits of SHA-256 over the fields: the same trial has the same id anywhere.

        The recipe's `source` and `differs` are left out, where a number comes from does not change
        it, and so is what a user's file is called: its bytes count.
        """
        recipe = {f.name: getattr(self.recipe, f.name) for f in fields(self.recipe)}
        return trial_id({f.name: getattr(self, f.name) for f in fields(self)} | {"recipe": recipe})


LONGEST_REASON = 200  # characters of `Record.reason`


def printable(text: str) -> str:
    r"""The text with what a terminal would obey, such as the escape character, written as \\x1b."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a trial gave: scores, or why there are none."""

    trial: Trial
    # split -> metric -> value
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    alternatives: Mapping[str, Any] = field(default_factory=dict)  # protocol -> what it would score
    curve: Sequence[Mapping[str, Any]] = field(default_factory=list)  # one entry an epoch
    best_epoch: int = 0  # from 1; the checkpoint that was scored
    n_params: int = 0
    n_examples: Mapping[str, int] = field(default_factory=dict)  # split -> N
    seconds: float = 0.0
    seconds_to_best: float = 0.0  # from the start of training until the best epoch was over
    examples_per_second: float = 0.0  # in training
    inference_per_second: float = 0.0  # sequences, predicting the test split; 0 = a probe
    peak_memory: int = 0  # bytes, of the process (CPU) or the device
    joules: float = 0.0  # of a device for this trial alone, in training; 0 = not known
    flops: int = 0  # of a forward pass of the longest sequence; 0 = not counted
    flags: Mapping[str, Any] = field(default_factory=dict)  # collapsed, truncated share, ...
    streams: Mapping[str, int] = field(default_factory=dict)  # the random streams' own seeds
    task: Mapping[str, Any] = field(default_factory=dict)  # `schema.About`, for reports
    # versions, commit, device, threads, forms of convolution
    where: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""  # traceback
    unknown: Mapping[str, Any] = field(default_factory=dict)  # of a newer version, as in the JSON

    @property
    def reason(self) -> str:
        """Class and reason of the error of a failed trial, a line of at most 200 characters."""
        line = printable((self.error.strip() or "?").splitlines()[-1])
        return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 3]}..."

    def to_json(self) -> str:
        """Keys sorted, floats in shortest exact form: equal records give equal bytes."""
        out = {"schema": RECORD, "id": self.trial.id, **asdict(self)}
        del out["unknown"]
        newer = {"trial": nested(out["trial"].pop("unknown"))}
        out["trial"] = written(out["trial"])
        return json.dumps(merged(merged(out, newer), self.unknown), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Inverse of `to_json`. Fields that the text lacks, being older, have their defaults.

        Fields that this version does not know are kept. The id is checked over the fields of the
        text; those that it need not count are no part of `Trial.unknown`.

        Raises:
            ValueError: when the text is no record, a field is missing or of another type, or the id
                does not match the fields; the message names the field.
        """
        d = parse(text)
        claimed = d.pop("id", None)
        trial = known_fields(Trial, d.get("trial"), "trial")
        recipe = known_fields(Recipe, trial.known["recipe"], "trial.recipe")
        out = known_fields(cls, d, "")
        unknown = trial.unknown | {f"recipe.{k}": v for k, v in recipe.unknown.items()}
        unknown = counted(trial.known | {"recipe": recipe.known}, unknown, claimed)
        own = Trial(**{**trial.known, "recipe": Recipe(**recipe.known), "unknown": unknown})
        vars(own)["id"] = claimed
        inside = trial.unknown | ({"recipe": recipe.unknown} if recipe.unknown else {})
        rest = out.unknown | ({"trial": inside} if inside else {})
        rest.pop("schema")
        return cls(**{**out.known, "trial": own, "unknown": rest})
