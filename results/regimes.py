"""Regimes of training that were compared: what each column is, and its trials.

runs/regimes/<id>.json      one column; a later command adds trials to it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dnabench.cache import replacing
from dnabench.results.store import Store

FOLDER = "regimes"
SCHEMA = "dnabench.regime/1"
SCRATCH, COMPUTE, FROZEN = "scratch", "same compute", "frozen random"
PRETRAINED, SHUFFLED = "pretrained", "shuffled"
CONTROLS = (COMPUTE, SHUFFLED, FROZEN)


@dataclass(frozen=True, kw_only=True)
class Regime:
    """A model with a tokenizer, and how its weights come about.

    Args:
        id: 12 hex digits over all that decides it but tasks and seeds.
        base: id of the same without pretraining; its own for SCRATCH.
        model: name.
        tokenizer: name.
        regime: as tables name it: SCRATCH, COMPUTE, FROZEN, or the genome.
        kind: SCRATCH, PRETRAINED or one of CONTROLS.
        trials: trial id -> seed of the pretraining that it began with; None = of none.
        bp: that a pretraining sees; of COMPUTE those that are seen by more epochs instead.
        seconds: pretraining, seed -> seconds.
        controls: kind -> id of the column that it is held against.
        ordinary: those of the trials that other commands had run before; they are in an ordinary
            column, too.
    """

    id: str
    base: str
    model: str
    tokenizer: str
    regime: str
    kind: str
    trials: Mapping[str, int | None]
    bp: int = 0
    seconds: Mapping[str, float] | None = None
    controls: Mapping[str, str] | None = None
    ordinary: Sequence[str] = ()

    @property
    def label(self) -> str:
        """What stands after the model in the name of its column."""
        return f"{self.tokenizer} {self.regime}"

    @property
    def name(self) -> str:
        """Of its column, as long as no other column has it."""
        return f"{self.model} {self.label}"

    @property
    def nested(self) -> bool:
        """Whether several pretrainings are its units."""
        return len({*self.trials.values()} - {None}) > 1


def save_regime(store: Store, regime: Regime) -> Path:
    """Write a column, with the trials that its file has already."""
    path = store.folder / FOLDER / f"{regime.id}.json"
    if path.is_file():
        before = _read(path)
        regime = replace(
            regime, trials={**before.trials, **regime.trials},
            seconds={**(before.seconds or {}), **(regime.seconds or {})},
            controls={**(before.controls or {}), **(regime.controls or {})},
            ordinary=sorted({*before.ordinary, *regime.ordinary}),
        )  # fmt: skip
    with replacing(path, sync=True) as f:
        f.write(json.dumps({"schema": SCHEMA, **asdict(regime)}, indent=1, sort_keys=True).encode())
    return path


def regimes(store: Store) -> list[Regime]:
    """The columns of a folder, the newest last.

    Raises:
        ValueError: a file that is none; names it.
    """
    paths = list((store.folder / FOLDER).glob("[!.]*.json"))
    return [_read(path) for path in sorted(paths, key=lambda p: (p.stat().st_mtime_ns, p.name))]


def _read(path: Path) -> Regime:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("schema") != SCHEMA:
            raise ValueError("of another version")
        return Regime(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ValueError(
            f"{path} is no regime of `dnabench regimes` ({e}); move it away, and the same command "
            "writes it again"
        ) from None
