"""Regimes of training that were compared: what each column is, and its trials.

runs/regimes/<id>.json      one column; a later command adds trials to it
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dnabench.cache import json_files, write_json
from dnabench.results.store import Store

FOLDER, PRETRAININGS = "regimes", "pretrained"  # of columns, and of what was pretrained for them
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
        seconds: pretraining, seed -> seconds; of another pretraining of the same seed, as on
            another machine, it is seed-2 and so on.
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
    _write(path, joined(read_regime(path), regime) if path.is_file() else regime)
    return path


def add_regime(store: Store, regime: Regime, at: int) -> None:
    """Add the trials of a column of another folder to those that are here, if they are not yet.

    Args:
        store: is written.
        regime: of another folder.
        at: when it was written there, in nanoseconds since 1970.

    Raises:
        ValueError: the file of the column here is none; names it.
    """
    path = store.folder / FOLDER / f"{regime.id}.json"
    if not path.is_file():
        _write(path, regime, at)
        return
    there = read_regime(path)
    if (both := joined(regime, there)) != there:
        _write(path, both, max(at, path.stat().st_mtime_ns))


def joined(before: Regime, after: Regime) -> Regime:
    """One column of two with the same id: the trials of both; what both have is of the second."""
    return replace(
        after, trials={**before.trials, **after.trials},
        seconds=_seconds(before.seconds or {}, after.seconds or {}) or after.seconds,
        controls={**(before.controls or {}), **(after.controls or {})} or after.controls,
        ordinary=list(dict.fromkeys([*after.ordinary, *before.ordinary])),
    )  # fmt: skip


def _seconds(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Those of all pretrainings; two of one seed took different times."""
    out = dict(after)
    for key, seconds in before.items():
        seed = key.partition("-")[0]
        if seconds not in [x for k, x in out.items() if k.partition("-")[0] == seed]:
            names = [seed, *(f"{seed}-{n}" for n in range(2, len(out) + 3))]
            out[next(name for name in names if name not in out)] = seconds
    return out


def _write(path: Path, regime: Regime, at: int = 0) -> None:
    write_json(path, {"schema": SCHEMA, **asdict(regime)}, at)


def regimes(store: Store) -> list[Regime]:
    """The columns of a folder, the newest last; files of the same column are one.

    Raises:
        ValueError: a file that is none; names it.
    """
    out: dict[str, Regime] = {}
    for path in json_files(store.folder / FOLDER):
        one = read_regime(path)
        out[one.id] = joined(out.pop(one.id), one) if one.id in out else one
    return list(out.values())


def read_regime(path: Path) -> Regime:
    """The column that a file has.

    Raises:
        ValueError: it has none; names it.
    """
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
