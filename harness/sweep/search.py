"""A search of settings: the same number of configurations of every model, from its space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple

from dnabench.protocols import check_tuning, folds_of, protocol_for
from dnabench.sweep.draws import draws
from dnabench.sweep.grid import Request, grid, models_of
from dnabench.sweep.own_spaces import asked_space, check_named, check_trained
from dnabench.sweep.settings import check_settings
from dnabench.sweep.tasks import tasks_of
from dnabench.sweep.tuning_seeds import has_folds, seeds_of
from dnabench.types import Job, Trial

PER = ("task", "suite", "model")
SEARCHES = ("random", "grid", "tpe", "halving")
USUAL_BUDGET = 16
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
    spaces: Sequence[str] = ()  # [model.]name=space, or the name alone of one that is declared

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
    # the default first; others have the trials of those units alone in which they are new
    tried: dict[Group, list[Configuration]]
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
        parts = [part_of(one, unit) for one in self.tried[unit.group]]
        return [one for one in parts if one.jobs]

    def seeded(self) -> Request:
        """The grid with the tuning seeds."""
        seeds = ",".join(map(str, self.tuning_seeds))
        return replace(self.request.grid, seeds=f"{seeds},", scored="val")

    def size_of(self, group: Group) -> str:
        """How many configurations a model has; of tasks that differ the fewest and the most."""
        found = {len(self.of(unit)) for unit in self.units() if unit.group == group}
        return " to ".join(map(str, sorted({min(found), max(found)})))

    @property
    def jobs(self) -> list[Job]:
        """All trials of tuning, the configurations of all models side by side."""
        rounds = itertools.zip_longest(*self.tried.values())
        return [job for some in rounds for one in some if one is not None for job in one.jobs]


def plan_search(request: TuneRequest, say: Say = lambda note: None) -> Plan:
    """Draw the configurations of every model and regime, and make their trials.

    Args:
        request: the models, tasks, budget and spaces.
        say: called with a line where a model has fewer configurations, or nothing to tune.

    Returns:
        For every model and regime the default and budget - 1 others; the default alone where the
        others depend on records. Draw k has the same quantiles
        for every model; where all its trials for a choice are those of an earlier configuration,
        it is left out there and the next is taken.

    Raises:
        KeyError: as `grid`.
        ValueError: as `grid`; a protocol without validation scores, seeds that are in both lists,
            spaces or grids that cannot be searched.
    """
    tuning_seeds, seeds = seeds_of(request)
    _check(request)
    models = models_of(request.grid)
    asked = [text.partition("=")[0] for text in request.spaces]
    check_settings(models, [f"{key}=" for key in asked])
    check_named(models, request)
    spaces = {model.name: asked_space(model, request) for model in models}
    drawn = {name: draws(name, space, request) for name, space in spaces.items()}
    tried = dict[Group, list[Configuration]]()
    plan = Plan(request, tried, spaces, tuning_seeds, seeds)
    seeded = plan.seeded()
    _check_protocols(seeded)
    if request.stepwise:
        default = trials_of(seeded, dict.fromkeys(drawn, ()), say, 0)
        tried |= {group: [Configuration(0, (), tuple(jobs))] for group, jobs in default.items()}
        check_trained(models, tried, request)
        return plan
    _draw(plan, drawn, say)
    check_trained(models, tried, request)
    _check_sizes(plan, say)
    return plan


def part_of(one: Configuration, unit: Unit) -> Configuration:
    """A configuration with the trials of a unit alone."""
    return one._replace(jobs=tuple(job for job in one.jobs if unit.has(job.trial)))


def trials_in(jobs: Iterable[Job]) -> frozenset[str]:
    """The same for configurations that are one: with the same trials on every task of a choice."""
    return frozenset(job.trial.id for job in jobs)


def _draw(plan: Plan, draws: Mapping[str, Iterator[tuple[str, ...]]], say: Say) -> None:
    """Fill `plan.tried`: the default, then draws until every unit has as many as the budget."""
    request, seeded = plan.request, plan.seeded()
    most = request.size + (request.search == "grid")  # one more: the grid is too large
    seen = dict[Unit, set[frozenset[str]]]()
    for number in itertools.count():
        full = {unit.model for unit in seen}
        full -= {unit.model for unit, mine in seen.items() if len(mine) < most}
        drawn = {k: next(of, None) if number else () for k, of in draws.items() if k not in full}
        chosen = {name: settings for name, settings in drawn.items() if settings is not None}
        if not chosen:
            break
        found = {
            group: Configuration(number, chosen[group[0]], tuple(jobs))
            for group, jobs in trials_of(seeded, chosen, say, number).items()
        }
        if number:
            _add(found, plan, seen, most)
            continue
        plan.tried.update({group: [default] for group, default in found.items()})
        seen = {u: {trials_in(part_of(found[u.group], u).jobs)} for u in plan.units()}


def _add(
    found: Mapping[Group, Configuration], plan: Plan, seen: Mapping[Unit, set[frozenset[str]]],
    most: int,
) -> None:  # fmt: skip
    """Add a draw of each model, for the units that have room and where it repeats no other.

    A repeat in one regime of a model is left out in all of them, so that they have the same draws.
    """
    own = {unit: trials_in(part_of(found[unit.group], unit).jobs)
           for unit in seen if unit.group in found}  # fmt: skip
    repeated = {(u.model, u.tasks, u.fold) for u, trials in own.items() if trials in seen[u]}
    new: dict[Group, set[str]] = {}
    for unit, trials in own.items():
        if (unit.model, unit.tasks, unit.fold) not in repeated and len(seen[unit]) < most:
            seen[unit].add(trials)
            new.setdefault(unit.group, set()).update(trials)
    for group, mine in new.items():
        jobs = tuple(job for job in found[group].jobs if job.trial.id in mine)
        plan.tried[group].append(found[group]._replace(jobs=jobs))


def _check_sizes(plan: Plan, say: Say) -> None:
    """Raise for a grid larger than the budget, and say where a space has fewer configurations."""
    size, said = plan.request.size, dict[Group, dict[int, list[str]]]()
    for unit in plan.units():
        n = len(plan.of(unit))
        if n > size:
            raise ValueError(
                f"--search grid: the grid of {unit.model} and its default are more than --budget "
                f"{size}; name fewer values, or give all models a larger budget"
            )
        said.setdefault(unit.group, {}).setdefault(n, []).extend(unit.tasks)
    for (name, regime), counts in said.items():
        for n, tasks in counts.items():
            on = f" on {', '.join(dict.fromkeys(tasks))}" * (len(counts) > 1)
            if n < size:
                say(f"{name} ({regime}): {n} different configurations were found in its space{on}")


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
        jobs = grid(request, searched=own)
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
    found: dict[Group, list[Job]] = {}
    for job in grid(request, say if not number else lambda why: None, own):
        if job.trial.model in settings:
            found.setdefault(_group(job), []).append(job)
    return found


def _group(job: Job) -> Group:
    return job.trial.model, job.trial.regime


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
