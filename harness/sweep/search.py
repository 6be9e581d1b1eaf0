"""A search of settings: the same number of configurations of every model, from its space."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple

from dnabench.protocols import (
    FOLDS,
    check_tuning,
    folds_of,
    nested_seeds,
    protocol_for,
    protocol_named,
)
from dnabench.spaces import DROPOUT, HOUSE, Dimension, parse_dimension
from dnabench.sweep.grid import Request, grid, models_of, tasks_of
from dnabench.sweep.numbers import parse_seeds
from dnabench.sweep.settings import check_settings
from dnabench.types import Job, Model, Recipe, Trial

PER = ("task", "suite", "model")
SEARCHES = ("random", "grid", "tpe", "halving")
FIRST_TUNING_SEED = 1000  # of --tuning-seeds N, away from the seeds of --seeds N
USUAL_BUDGET = 16
MOST_DRAWS = 10  # for each configuration, where a space has few
Say = Callable[[str], object]
Group = tuple[str, str]  # a model and its regime: what is tuned


class Unit(NamedTuple):
    """What gets a choice of its own."""

    model: str
    regime: str
    tasks: tuple[str, ...]
    fold: int = -1  # of a protocol whose seeds are folds, each of which gets its own choice

    @property
    def group(self) -> Group:
        """The model and its regime."""
        return self.model, self.regime

    def has(self, trial: Trial) -> bool:
        """Whether a trial, of tuning or the final one, is of this unit."""
        return (
            (trial.model, trial.regime) == self.group and trial.task in self.tasks
            and self.fold in (-1, trial.seed, folds_of(trial.seed)[0])
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """The flags of `dnabench tune` that choose trials."""

    grid: Request
    # configurations of each model and regime, the default one among them; 0 = the usual number
    budget: int = 0
    hours: float = 0.0  # above 0: in place of `budget`, what the trials of each choice may take
    flops: float = 0.0  # likewise, in FLOP of training
    per: str = "task"  # what gets a choice of its own: a task, a suite, or a model
    tuning_seeds: str = "2"
    search: str = "random"
    search_seed: int = 0
    spaces: Sequence[str] = ()  # [model.]name=space

    @property
    def size(self) -> int:
        """The budget in configurations; 0 = it is in hours or FLOP."""
        return 0 if self.hours or self.flops else self.budget or USUAL_BUDGET

    @property
    def stepwise(self) -> bool:
        """Whether the next configuration depends on the records of those before."""
        return self.search in ("tpe", "halving") or bool(self.hours or self.flops)


class Configuration(NamedTuple):
    """Settings of one model that are tried; the default has none."""

    number: int  # 0 = the default; else the draw, the same quantiles for every model
    settings: tuple[str, ...]  # name=value
    jobs: tuple[Job, ...]  # trials of tuning: tasks x tuning seeds
    partial: bool = False  # trained for fewer epochs, to see whether more are worth it


class Plan(NamedTuple):
    """What a search runs before it chooses."""

    request: TuneRequest
    tried: dict[Group, list[Configuration]]  # the default first
    spaces: dict[str, dict[str, str]]  # model -> setting -> space
    tuning_seeds: list[int]
    seeds: list[int]
    # what was tried for each choice, where the next configuration depended on those before
    steps: Mapping[Unit, list[Configuration]] = MappingProxyType({})

    def units(self) -> list[Unit]:
        """What gets a choice of its own: a model, its regime, the tasks that share it, a fold."""
        parts = self.seeds if has_folds(self.request.grid) else [-1]
        return [
            Unit(*group, tasks, fold) for group, tried in self.tried.items()
            for tasks in _together(tried[0], self.request.per) for fold in parts
        ]  # fmt: skip

    def of(self, unit: Unit) -> list[Configuration]:
        """The configurations that were tried for a unit, the default first, with its trials."""
        if unit in self.steps:
            return self.steps[unit]
        return [
            one._replace(jobs=tuple(job for job in one.jobs if unit.has(job.trial)))
            for one in self.tried[unit.group]
        ]

    def seeded(self) -> Request:
        """The grid with the tuning seeds."""
        seeds = ",".join(map(str, self.tuning_seeds))
        return replace(self.request.grid, seeds=f"{seeds},", scored="val")

    @property
    def jobs(self) -> list[Job]:
        """All trials of tuning, the configurations of all models side by side."""
        rounds = itertools.zip_longest(*self.tried.values())
        return [job for some in rounds for one in some if one is not None for job in one.jobs]


def space_of(model: Model) -> dict[str, str]:
    """The space that a model declares, else the usual one of what it reads; {} = nothing to tune.

    A model with a trainer of its own has none unless it declares one.
    """
    if model.space or model.custom_trainer:
        return dict(model.space)
    usual = {name: text for name, text in HOUSE.items() if model.reads(name)}
    return usual | ({"dropout": DROPOUT} if "dropout" in model.options else {})


def asked_space(model: Model, request: TuneRequest) -> dict[str, str]:
    """The space of a model with what the user changed, without settings that the user fixed."""
    found = space_of(model)
    for owner, name, text in map(_parts, request.spaces):
        if owner in ("", model.name, *model.aliases) and _takes(model, name):
            found[name] = text
    fixed = {*request.grid.overrides}
    for setting in request.grid.settings:
        owner, _, name = setting.partition("=")[0].rpartition(".")
        if owner in ("", model.name, *model.aliases):
            fixed.add(name)
    return {name: text for name, text in found.items() if name not in fixed}


def _parts(text: str) -> tuple[str, str, str]:
    key, equals, space = text.partition("=")
    owner, _, name = key.rpartition(".")
    if not (equals and name and space):
        raise ValueError(f"--space {text!r}: write name=space, e.g. lr=log:1e-4..3e-3")
    return owner, name, space


def _takes(model: Model, name: str) -> bool:
    return name in model.options or (name in Recipe().numbers and model.reads(name))


def plan_search(request: TuneRequest, say: Say = lambda note: None) -> Plan:
    """Draw the configurations of every model and regime, and make their trials.

    Args:
        request: the models, tasks, budget and spaces.
        say: called with a line where a model has fewer configurations, or nothing to tune.

    Returns:
        For every model and regime the default and budget - 1 others; the default alone where the
        others depend on records. Draw k has the same quantiles
        for every model; one that repeats an earlier configuration of the model is left out and the
        next is taken.

    Raises:
        KeyError: as `grid`.
        ValueError: as `grid`; a protocol without validation scores, seeds that are in both lists,
            spaces or grids that cannot be searched.
    """
    tuning_seeds, seeds = _seeds(request)
    _check(request)
    models = models_of(request.grid)
    asked = [text.partition("=")[0] for text in request.spaces]
    check_settings(models, [f"{key}=" for key in asked])
    spaces = {model.name: asked_space(model, request) for model in models}
    draws = {model.name: _draws(model.name, spaces[model.name], request) for model in models}
    tried, seen = dict[Group, list[Configuration]](), set[str]()
    plan = Plan(request, tried, spaces, tuning_seeds, seeds)
    seeded = plan.seeded()
    _check_protocols(seeded)
    if request.stepwise:
        default = trials_of(seeded, dict.fromkeys(draws, ()), say, 0)
        tried |= {group: [Configuration(0, (), tuple(jobs))] for group, jobs in default.items()}
        return plan
    most = request.size + (request.search == "grid")  # one more: the grid is too large
    for number in itertools.count():
        full = {name for (name, _), mine in tried.items() if len(mine) == most}
        drawn = {k: next(of, None) if number else () for k, of in draws.items() if k not in full}
        chosen = {name: settings for name, settings in drawn.items() if settings is not None}
        found = trials_of(seeded, chosen, say, number)
        repeated = {group[0] for group, jobs in found.items() if jobs[0].trial.id in seen}
        for group, jobs in found.items():
            if group[0] not in repeated:  # of any regime, so that all have the same draws
                seen |= {job.trial.id for job in jobs}
                mine = Configuration(number, chosen[group[0]], tuple(jobs))
                tried.setdefault(group, []).append(mine)
        if not chosen:
            break
    for (name, regime), own in tried.items():
        if len(own) > request.size:
            raise ValueError(
                f"--search grid: the grid of {name} and its default are more than --budget "
                f"{request.size}; name fewer values, or give all models a larger budget"
            )
        if len(own) < request.size:
            say(f"{name} ({regime}): {len(own)} different configurations were found in its space")
    return plan


def final_jobs(plan: Plan, settings: Mapping[Group, Sequence[str]], tasks: Sequence[str] = ()) \
        -> list[Job]:  # fmt: skip
    """The ordinary trials of chosen settings: those that read test.

    Args:
        plan: of the search.
        settings: of each model and regime, () = the default; others are left out.
        tasks: names of those that are run; () = all.
    """
    request, found = plan.request.grid, list[Job]()
    for group, chosen in settings.items():
        own = [f"{group[0]}.{setting}" for setting in chosen]
        jobs = grid(replace(request, settings=[*request.settings, *own]))
        found += [
            job for job in jobs
            if _group(job) == group and (not tasks or job.trial.task in tasks)
        ]  # fmt: skip
    return found


def trials_of(
    request: Request, settings: Mapping[str, Sequence[str]], say: Say, number: int
) -> dict[Group, list[Job]]:
    """The trials of tuning of these models; their settings are added to the user's."""
    if not settings:
        return {}
    own = [f"{model}.{setting}" for model, chosen in settings.items() for setting in chosen]
    with_own = replace(request, settings=[*request.settings, *own])
    found: dict[Group, list[Job]] = {}
    for job in grid(with_own, say if not number else lambda why: None):
        if job.trial.model in settings:
            found.setdefault(_group(job), []).append(job)
    return found


def _group(job: Job) -> Group:
    return job.trial.model, job.trial.regime


def _draws(model: str, space: Mapping[str, str], request: TuneRequest) -> Iterator[tuple[str, ...]]:
    """The settings of draw 1, 2, ..."""
    known = {name: parse_dimension(name, text) for name, text in space.items()}
    if request.search == "grid":
        return iter(_grid_points(model, known))
    most, seed = MOST_DRAWS * request.size if known else 0, request.search_seed
    random = (drawn(known, seed, k) for k in range(1, most + 1))
    return itertools.chain(random, points(known, seed, most + 1))


def drawn(space: Mapping[str, Dimension], seed: int, number: int) -> tuple[str, ...]:
    """The settings of a draw, at the quantiles that it has for every model."""
    return tuple(f"{name}={d.at(quantile(seed, number, name))}" for name, d in space.items())


def points(space: Mapping[str, Dimension], seed: int, number: int) -> Iterator[tuple[str, ...]]:
    """All settings of a space without ranges, each once from a random one on; else none."""
    total = math.prod(d.size for d in space.values()) if space else 0
    start = int(quantile(seed, number, "") * total)
    for k in range(total):
        rest, found = (start + k) % total, list[str]()
        for name, d in space.items():
            rest, index = divmod(rest, d.size)
            found.append(f"{name}={d.value(index)}")
        yield tuple(found)


def quantile(seed: int, number: int, name: str) -> float:
    """Of a setting in a draw: uniform in [0, 1), and the same for all models."""
    digest = hashlib.sha256(f"tune/{seed}/{number}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _grid_points(model: str, space: Mapping[str, Dimension]) -> list[tuple[str, ...]]:
    if ranges := [name for name, d in space.items() if d.kind != "one"]:
        name = ranges[0]
        raise ValueError(
            f"--search grid: {name} of {model} is a range; list its values, --space "
            f"{name}=one:A,B,C, or fix it with --set {name}=VALUE"
        )
    points = list(itertools.product(*([f"{k}={v}" for v in d.values] for k, d in space.items())))
    return points


def _seeds(request: TuneRequest) -> tuple[list[int], list[int]]:
    """Those of tuning and those of the final runs; under folds some for each fold."""
    if has_folds(request.grid):
        return _seeds_of_folds(request)
    tuning, seeds = parse_seeds(request.tuning_seeds), parse_seeds(request.grid.seeds)
    if request.tuning_seeds.strip().isdigit():
        tuning = [FIRST_TUNING_SEED + k for k in tuning]
    if both := sorted({*tuning} & {*seeds}):
        raise ValueError(
            f"seed {both[0]} is in --tuning-seeds and in --seeds: the final runs need seeds that "
            "chose nothing"
        )
    return tuning, seeds


def has_folds(request: Request) -> bool:
    """Whether the seeds of the protocol are folds."""
    return protocol_named(request.protocol).validation == "fold"


def _seeds_of_folds(request: TuneRequest) -> tuple[list[int], list[int]]:
    text, seeds = request.tuning_seeds.strip(), parse_seeds(request.grid.seeds)
    if not (text.isdigit() and 0 < int(text) < FOLDS):
        raise ValueError(
            f"--tuning-seeds {text}: under {request.grid.protocol} each fold is tuned on others; "
            f"give how many of these, 1 to {FOLDS - 1}"
        )
    if wrong := [seed for seed in seeds if seed not in range(FOLDS)]:
        raise ValueError(f"--seeds: {wrong[0]} is no fold of {request.grid.protocol}; give 0-9")
    return [seed for fold in seeds for seed in nested_seeds(fold, int(text))], seeds


def _check(request: TuneRequest) -> None:
    _check_costs(request)
    if request.size == 1 or request.budget < 0:
        raise ValueError(f"--budget {request.budget}: give 2 configurations or more")
    if request.per not in PER:
        raise ValueError(f"--per {request.per!r}: choose from {', '.join(PER)}")
    if request.search not in SEARCHES:
        raise ValueError(f"--search {request.search!r}: choose from {', '.join(SEARCHES)}")
    if request.grid.sweeps:
        raise ValueError(f"--sweep {request.grid.sweeps[0]}: write --space for values to search")
    if len(request.grid.train_share) > 1:
        raise ValueError("--train-share: give one; each share needs a search of its own")


def _check_costs(request: TuneRequest) -> None:
    """Budgets in hours or FLOP, and the searches that need or refuse them."""
    for flag, given in (("--budget-hours", request.hours), ("--budget-flops", request.flops)):
        if not 0 <= given < math.inf:
            raise ValueError(f"{flag} {given:g}: give a number above 0")
    costs = bool(request.hours) + bool(request.flops)
    if costs + bool(request.budget) > 1:
        raise ValueError("--budget, --budget-hours and --budget-flops: give one of them")
    if request.search == "halving" and not costs:
        raise ValueError(
            "--search halving tries many configurations for a few epochs, so a budget of "
            "configurations would not be equal; give --budget-hours or --budget-flops"
        )
    if request.search == "grid" and costs:
        raise ValueError("--search grid takes every combination; give --budget, or --search random")
    if request.search == "tpe" and not find_spec("optuna"):
        raise ValueError("--search tpe needs optuna: pip install 'dnabench[tune]'")


def _together(default: Configuration, per: str) -> list[tuple[str, ...]]:
    """The tasks that get a choice together."""
    tasks = list(dict.fromkeys(job.trial.task for job in default.jobs))
    if per == "model":
        return [tuple(tasks)]
    if per == "task":
        return [(task,) for task in tasks]
    by_suite = sorted(tasks, key=lambda task: task.partition("/")[0])
    return [
        tuple(own) for _, own in itertools.groupby(by_suite, lambda task: task.partition("/")[0])
    ]


def _check_protocols(request: Request) -> None:
    for task in tasks_of(request):
        check_tuning(protocol_for(request.protocol, task))
