"""network.json: what a kept network is, how it was trained, and what is needed to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnabench.cache import read_json
from dnabench.results.store import KEPT, REPLACED
from dnabench.types import Kind, Record, Split, Task

NETWORK = "dnabench.network/1"
CARD, WEIGHTS, TOKENIZER = "network.json", "model.safetensors", "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What stands beside the weights of a kept network.

    Args:
        record: of the trial that trained it: model, options, recipe, protocol, scores, versions.
        task: name, kind, classes, metric, length in bp, opposite, pairs where an example is two
            sequences, scale where labels were standardised, and whole_regions where regions were
            read as they are; see `types.Task`.
        weights: SHA-256 of model.safetensors.
        tokenizer: file beside it; "" = the model's name for it says all.
        backbone: the official weights that the file leaves out, as a trial's regime names them;
            "" = it has all.
        strands: none, augment or conjoin, see `types.Recipe`.
        temperature: from validation; None = there was none, or a regression.
        licenses: of the model's code and of the weights that training began with, and of those that
            their pretraining began with.
        keep: what `run --keep` said.
        pretraining: behind the weights that training began with, see `weights.pretraining_of`.
    """

    record: Record
    task: Mapping[str, Any]
    weights: str
    tokenizer: str = ""
    backbone: str = ""
    strands: str = "none"
    temperature: float | None = None
    licenses: Mapping[str, str]
    keep: str = "all"
    pretraining: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Kind:
        """Of the task."""
        return self.task["kind"]  # type: ignore[no-any-return]

    def to_json(self) -> str:
        """Keys sorted; equal cards give equal bytes."""
        own = {name: value for name, value in vars(self).items() if name != "record"}
        if self.pretraining is None:
            del own["pretraining"]
        record = json.loads(self.record.to_json())
        out = {"schema": NETWORK, "id": self.record.trial.id, **own, "record": record}
        return json.dumps(out, sort_keys=True, indent=1)

    def task_without_data(self) -> Task:
        """The task as a model's `build` needs it."""
        t = self.task
        return Task(
            name=t["name"], kind=t["kind"], classes=tuple(t["classes"]), metric=t["metric"],
            length=t["length"], opposite=tuple(t["opposite"]), counts={}, load=_no_data,
            data=self.record.trial.data, source="a kept network", license="",
            pairs=t.get("pairs", False), scale=tuple(map(tuple, t.get("scale", ()))),
        )  # fmt: skip


def _no_data(split: str) -> Split:
    raise ValueError(f"a kept network has no data, so no {split} split either")


def is_kept(path: Path | str) -> bool:
    """Whether a path is the folder of a kept network, or its network.json."""
    folder = Path(path)
    found = read_json(folder if folder.name == CARD else folder / CARD)
    return isinstance(found, dict) and found.get("schema") == NETWORK


def card_of(path: Path | str) -> tuple[Path, Card]:
    """The folder and the card of a kept network.

    Args:
        path: that folder, or its network.json.

    Raises:
        FileNotFoundError: there is none; the message names those below the folder.
        ValueError: the file is not a card that this version can read.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == CARD else folder
    file = folder / CARD
    if not file.is_file():
        below = sorted(p.parent for p in folder.glob(f"**/{CARD}")) if folder.is_dir() else []
        below = [p for p in below if not any(word in p.name for word in (KEPT, REPLACED))]
        listed = ", ".join(map(str, below[:3])) + (", ..." if len(below) > 3 else "")
        hint = f"there are {listed}" if below else "`dnabench run --keep best` makes some"
        raise FileNotFoundError(f"{folder}: no kept network here, which has a {CARD}; {hint}")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        schema = found.pop("schema", None)
        if schema != NETWORK:
            raise ValueError(f"its schema is {schema!r}, not {NETWORK}")
        record = Record.from_json(json.dumps(found.pop("record")))
        if found.pop("id") != record.trial.id:
            raise ValueError("its id is not that of its record")
        return folder, Card(record=record, **found)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"{file}: not a card of a network that this version can read: {e}") from e
