"""From a published table to the trials that repeat it: `dnabench reproduce convnova/table13`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnabench.protocols import protocol_named
from dnabench.registry import MODELS, TASKS, explain_miss
from dnabench.reports.papers.counterparts import (
    EPOCHS,
    PAPER,
    TABLES,
    Counterpart,
    counterpart,
    protocol_of,
    regime_of,
    tasks_of,
)
from dnabench.reports.papers.published import About, Value, named, values
from dnabench.reports.papers.reproduction import Wanted
from dnabench.sweep.grid import Job, Request, grid, incompatibility, parse_limit, parse_seeds
from dnabench.types import Recipe
from dnabench.weights import regimes

STAND_INS = ("_reduced", "_revised")  # suites whose tasks may be run in the place of the suite's


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a call of `dnabench reproduce` asks for, in the words of its flags."""

    table: str  # convnova/table1
    tasks: Sequence[str] = ()  # of the table, or such as nt_reduced/h3 for nt/h3; () = all
    models: Sequence[str] = ()  # as the paper calls them or as we do; () = all
    seeds: str = "5"
    protocol: str = ""  # "" = that of the table
    regime: str = ""  # "" = that of the cell
    settings: Sequence[str] = ()
    limit: str = "0"
    overrides: Mapping[str, Any] = field(default_factory=dict)  # recipe field -> value


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The cells of a table and what has to be run for them."""

    about: About
    wanted: tuple[Wanted, ...]
    jobs: tuple[Job, ...]


def planned(asked: Asked) -> Planned:
    """Find the cells, and the trials of each.

    Args:
        asked: what to reproduce.

    Returns:
        A cell for every published value that was asked for, also where nothing can be run: then it
        says why. Jobs are in the order of the cells, none of them twice.

    Raises:
        KeyError: an unknown table, task, model, protocol or setting; the message suggests.
        ValueError: a table without scores, bad seeds, limit, regime or settings.
    """
    about = named(asked.table)
    if about.paper != PAPER or about.table not in TABLES:
        raise ValueError(
            f"{about.name} cannot be reproduced here; there are {PAPER}/table"
            f"{', '.join(TABLES[:-1])} and {TABLES[-1]}"
        )
    parse_seeds(asked.seeds)
    parse_limit(asked.limit)
    if asked.protocol:
        protocol_named(asked.protocol)
    cells = _chosen(values(about.paper, about.table), asked)
    mates = [counterpart(value) for value, _ in cells]
    _check_settings(asked.settings, [mate.preset for mate in mates if mate.preset])
    weights = _regimes(asked.regime, [mate.preset for mate in mates if mate.preset])
    wanted, jobs = [], {}
    for (value, tasks), mate in zip(cells, mates, strict=True):
        regime = weights.get(mate.preset, weights.get("", "")) or regime_of(value)
        mine, why_not = _jobs(asked, value, tasks, mate, regime)
        jobs.update({job.trial.id: job for job in mine})
        name = _label(asked, mate, regime)
        trials = tuple(job.trial.id for job in mine)
        wanted.append(Wanted(value=value, trials=trials, model=name, why_not=why_not))
    return Planned(about=about, wanted=tuple(wanted), jobs=tuple(jobs.values()))


def _chosen(found: Sequence[Value], asked: Asked) -> list[tuple[Value, tuple[str, ...]]]:
    """The values that were asked for, each with the tasks of ours that it is about."""
    tasks = dict.fromkeys(v.task for v in found)
    instead = dict(_task(name, list(tasks)) for name in asked.tasks)
    models = [_model(name, found) for name in asked.models]
    out = []
    for v in found:
        mine = counterpart(v).preset
        if (instead and v.task not in instead) or (models and not {v.model, mine} & {*models}):
            continue
        own = instead.get(v.task, v.task)
        out.append((v, tasks_of(v) if own == v.task else (own,)))
    return out


def _task(name: str, known: Sequence[str]) -> tuple[str, str]:
    """(task of the table, task to run in its place)."""
    suites = dict.fromkeys(task.partition("/")[0] for task in known)
    for full in (name, *(f"{suite}/{name}" for suite in suites if "/" not in name)):
        full = TASKS[full].name if full in TASKS else full
        suite, slash, rest = full.partition("/")
        for ending in ("", *STAND_INS):
            task = suite.removesuffix(ending) + slash + rest
            if task in known and (task == full or full in TASKS):
                return task, full
    near = [*known, *(task.partition("/")[2] for task in known)]
    raise KeyError(explain_miss("task of the table", name, near, f"it has {_some(known)}"))


def _model(name: str, found: Sequence[Value]) -> str:
    ours = [counterpart(v).preset for v in found]
    known = list(dict.fromkeys(filter(None, [*(v.model for v in found), *ours])))
    full = MODELS[name].name if name in MODELS and name not in known else name
    if full not in known:
        where = f"it has {', '.join(known)}"
        raise KeyError(explain_miss("model of the table", name, known, where))
    return full


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _jobs(
    asked: Asked, value: Value, tasks: Sequence[str], mate: Counterpart, regime: str
) -> tuple[list[Job], str]:
    """The trials of a cell, or why there are none."""
    if not mate.preset or not regime:
        return [], ""
    model = MODELS[mate.preset]
    absent = [task for task in tasks if not {"train", "test"} <= TASKS[task].counts.keys()
              or not TASKS[task].data]  # fmt: skip
    if absent:
        some = f"{absent[0]} and {len(absent) - 1} more" if len(absent) > 1 else absent[0]
        return [], (
            f"the data of {some} are not here: `dnabench data fetch {absent[0]}`, or `dnabench "
            "data import FOLDER`"
        )
    incompatible = [incompatibility(model, TASKS[task]) for task in tasks]
    if any(incompatible):
        return [], next(filter(None, incompatible))
    epochs = EPOCHS.get(value.suite, 0)
    asis = Request(
        models=[mate.preset],
        tasks=list(tasks),
        seeds=asked.seeds,
        protocol=asked.protocol or protocol_of(value),
        regime=regime,
        limit=asked.limit,
        settings=[f"{k}={v}" for k, v in mate.options.items()],
        overrides={"epochs": epochs} if epochs else {},
    )
    changed = {**asis.overrides, **asked.overrides}
    mine = [s for s in asked.settings if _knows(mate.preset, s)]
    try:
        return grid(_with(asis, mine, changed)), ""
    except ValueError as e:
        problem = e
    try:
        grid(asis)
    except ValueError:
        return [], str(problem)
    raise problem  # without the user's settings it can be planned, so they are at fault


def _with(request: Request, settings: Sequence[str], overrides: Mapping[str, Any]) -> Request:
    return replace(request, settings=[*request.settings, *settings], overrides=overrides)


def _knows(preset: str, setting: str) -> bool:
    """Whether it names an option of the model or a recipe field that the model reads."""
    model, key = MODELS[preset], setting.partition("=")[0]
    owner, dot, option = key.rpartition(".")
    mine = not dot or owner in (model.name, *model.aliases)
    of_recipe = option in Recipe.__dataclass_fields__ and model.reads(option)
    return mine and option != "source" and (option in model.options or of_recipe)


def _check_settings(settings: Sequence[str], presets: Sequence[str]) -> None:
    """Every setting must mean something to one of the models."""
    for setting in settings:
        key, equals, _ = setting.partition("=")
        if not equals:
            raise ValueError(f"{setting!r} is no setting; write name=value, e.g. lr=0.001")
        if not any(_knows(preset, setting) for preset in presets):
            options = {o for preset in presets for o in MODELS[preset].options}
            fields = {f for f in Recipe.__dataclass_fields__ if f != "source"}
            known = sorted(options | fields)
            here = f"here are {', '.join(known)}"
            raise KeyError(explain_miss("option", key.rpartition(".")[2], known, here))


def _regimes(text: str, presets: Sequence[str]) -> dict[str, str]:
    """Our model -> regime; "" -> that of the others."""
    if not text:
        return {}
    chosen = {MODELS[m].name if m else "": regime for m, regime in regimes(text).items()}
    unknown = [name for name in chosen if name and name not in presets]
    if unknown:
        raise ValueError(
            f"--regime {unknown[0]}=...: the cells that were asked for have no {unknown[0]}; "
            f"they have {', '.join(dict.fromkeys(presets))}"
        )
    return chosen


def _label(asked: Asked, mate: Counterpart, regime: str) -> str:
    """Our model, what of its options is not as usual, and the first weights."""
    if not mate.preset or not regime:
        return mate.preset
    usual = MODELS[mate.preset].options
    settings = [f"{k}={v}" for k, v in mate.options.items() if usual.get(k) != v]
    settings += [s for s in asked.settings if _knows(mate.preset, s)]
    return f"{' '.join([mate.preset, *settings])} ({regime.partition(':')[0]})"
