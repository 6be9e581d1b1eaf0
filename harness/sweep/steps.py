"""Searches step by step: budgets in hours or FLOP, TPE, and successive halving.

The next configuration follows from the records of those before, in their order, and from the seed.
So a search that was killed proposes the same ones again and finds their trials in the store.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dnabench.models.outside.references import model_of
from dnabench.results.searches import values
from dnabench.spaces import Dimension, parse_dimension
from dnabench.sweep.draws import MOST_DRAWS, drawn, points
from dnabench.sweep.search import Configuration, Plan, Say, TuneRequest, Unit, trials_in, trials_of
from dnabench.sweep.tuning import candidate, forward_flops
from dnabench.types import Job, Record, Trial

ETA = 3  # of so many configurations one is trained longer
PARTS = (9, 3, 1)  # what the epochs are divided by, step by step
STARTUP = 5  # draws before TPE has something to learn from
MOST = 1000  # configurations of a unit
AT_ONCE = 16  # that are proposed together, where they do not depend on each other
PASSES = 3  # of the work of a forward pass is a step of training
Run = Callable[[Sequence[Job]], Mapping[str, Record]]


def search_steps(plan: Plan, run: Run, say: Say = lambda note: None) -> Plan:
    """Try configurations until the budget of every model, regime and unit of tasks is spent.

    Args:
        plan: with the default configurations.
        run: runs trials that have no record and gives the records of all of them, by id.
        say: called with a line where a space has no more configurations, or nothing but the
            default was trained for all its epochs.

    Returns:
        The plan with what counts: the configurations in their order until what their trials cost
        reaches the budget. The last one may exceed it.

    Raises:
        ValueError: a model whose FLOP are not counted, under a budget in FLOP.
    """
    searches = [_Unit(plan, unit, say) for unit in plan.units()]
    records = dict(run([job for one in searches for job in one.tried[0].jobs]))
    while new := [one for search in searches for one in search.propose(records)]:
        records |= run([job for one in new for job in one.jobs])
    steps = {search.unit: search.counted(records) for search in searches}
    for search in searches:
        if why := search.alone(steps[search.unit]):
            say(f"{search.name}: {why}")
    return plan._replace(steps=steps)


@dataclass
class _Unit:
    """The search of one model and regime on the tasks that share a choice."""

    plan: Plan
    unit: Unit
    say: Say
    tried: list[Configuration] = field(default_factory=list)
    number: int = 0  # of the last draw
    exhausted: bool = False  # nothing new is found in the space

    def __post_init__(self) -> None:
        (default,) = self.plan.tried[self.unit.group]
        own = tuple(job for job in default.jobs if self.unit.has(job.trial))
        self.tried.append(default._replace(jobs=own))
        self.seen, self.taken = {trials_in(own)}, set[tuple[str, ...]]()
        found = self.plan.spaces[self.unit.model].items()
        self.space = {name: parse_dimension(name, text) for name, text in found}

    @property
    def name(self) -> str:
        model, regime, tasks, fold = self.unit
        return f"{model} ({regime}) on {', '.join(tasks)}" + f", fold {fold}" * (fold >= 0)

    @property
    def request(self) -> TuneRequest:
        return self.plan.request

    def propose(self, records: Mapping[str, Record]) -> list[Configuration]:
        """The next configurations, which have no records yet; none when the search is over."""
        n = self._room(records)
        if not n or not self.space:
            return []
        if self.request.search == "halving":
            new = [self._promoted(records) or self._drawn() or self._promoted(records)]
        elif self.request.search == "tpe" and len(self.tried) > STARTUP:
            new = [self._learned(records)]
        else:
            if self.request.search == "tpe":
                n = min(n, STARTUP + 1 - len(self.tried))
            new = [self._drawn() for _ in range(n)]
        found = [one for one in new if one is not None]
        self.tried += found
        return found

    def alone(self, counted: Sequence[Configuration]) -> str:
        """Why only the default can be chosen, of those that count; "" = others can be, too."""
        if not self.space or sum(not one.partial for one in counted) > 1:
            return ""
        others = len({one.number for one in counted}) - 1
        larger = "" if self.exhausted else "; give a larger budget"
        if others:
            return (
                f"only the default was trained for all its epochs, {others} other configurations "
                f"for a part of theirs, so nothing else can be chosen{larger}"
            )
        return "" if self.exhausted else f"the budget was spent on its default settings{larger}"

    def _room(self, records: Mapping[str, Record]) -> int:
        """How many configurations the budget has room for, as far as is known; 0 = it is spent."""
        if self.request.size:
            return min(AT_ONCE, max(0, self.request.size - len(self.tried)))
        costs = self._costs(records)
        left = (self.request.hours or self.request.flops) - math.fsum(costs)
        if left <= 0 or len(costs) >= MOST:
            return 0
        mean = math.fsum(costs) / len(costs)
        return max(1, min(AT_ONCE, int(left / mean / 2))) if mean else 1

    def _costs(self, records: Mapping[str, Record]) -> list[float]:
        """Of each configuration, in the unit of the budget.

        A failed trial costs as much as the dearest one: its record does not say. Where all fail, a
        few are tried.
        """
        of = hours_of if self.request.hours else flops_of
        ended = {
            job.trial.id: of(records[job.trial.id]) for one in self.tried for job in one.jobs
            if not records[job.trial.id].error
        }  # fmt: skip
        if self.request.flops and ended and not all(ended.values()):
            raise ValueError(
                f"{self.name}: its FLOP are not counted; give --budget-hours, or leave it out"
            )
        unknown = 0.0 if len(self.tried) <= STARTUP else math.inf
        dearest = max(ended.values(), default=unknown)
        return [
            math.fsum(ended.get(job.trial.id, dearest) for job in one.jobs) for one in self.tried
        ]

    def counted(self, records: Mapping[str, Record]) -> list[Configuration]:
        """Those that were begun within the budget, in their order."""
        budget = self.request.hours or self.request.flops
        if not budget:
            return self.tried
        costs = self._costs(records)
        return [one for k, one in enumerate(self.tried) if not k or math.fsum(costs[:k]) < budget]

    def _drawn(self) -> Configuration | None:
        """The next draw, for the fewest epochs under halving; None if nothing new is found.

        After repeats it is any configuration that was not tried, where the space is finite.
        """
        if self.exhausted:
            return None
        seed = self.request.search_seed
        for _ in range(MOST_DRAWS):
            self.number += 1
            if (new := self._new(drawn(self.space, seed, self.number))) is not None:
                return self._first(new)
        for settings in points(self.space, seed, self.number):
            if (new := self._new(settings)) is not None:
                return self._first(new)
        self.exhausted = True
        self.say(f"{self.name}: {len(self.seen)} different configurations were found in its space")
        return None

    def _first(self, new: Configuration) -> Configuration:
        """What is trained first of a configuration: under halving, a part of its epochs."""
        return self._part(new, PARTS[0] if self.request.search == "halving" else 1) or new

    def _new(self, settings: tuple[str, ...]) -> Configuration | None:
        """A configuration of these settings, unless it was tried."""
        if settings in self.taken:
            return None
        self.taken.add(settings)
        jobs = self._jobs(settings)
        if (trials := trials_in(jobs)) in self.seen:
            return None
        self.seen.add(trials)
        return Configuration(self.number, settings, jobs)

    def _jobs(self, settings: tuple[str, ...]) -> tuple[Job, ...]:
        of = {self.unit.model: settings}
        found = trials_of(self.plan.seeded(), of, lambda why: None, self.number)
        return tuple(job for job in found[self.unit.group] if self.unit.has(job.trial))

    def _part(self, whole: Configuration, divisor: int) -> Configuration | None:
        """A configuration for a part of its epochs; None if that is all of them, or it has none."""
        jobs = tuple(job._replace(trial=_shorter(job, divisor)) for job in whole.jobs)
        if jobs == whole.jobs or not model_of(whole.jobs[0]).reads("epochs"):
            return None
        return whole._replace(jobs=jobs, partial=True)

    def _promoted(self, records: Mapping[str, Record]) -> Configuration | None:
        """The best of those that were trained for few epochs, for more; None = draw another.

        Where nothing new can be drawn, one of each step is, however few reached it.
        """
        reached: dict[int, list[Configuration]] = {}
        last: dict[int, int] = {}  # number -> step; it is among those tried once for each step
        for one in self.tried[1:]:
            last[one.number] = last.get(one.number, -1) + 1
            reached.setdefault(last[one.number], []).append(one)
        for step in sorted(reached, reverse=True):
            here = [one for one in reached[step] if one.partial]
            scores = dict(zip((x.number for x in here), self._values(here, records), strict=True))
            known = [n for n, score in scores.items() if not math.isnan(score)]
            most = max(self.exhausted, len(here) // ETA)
            best = sorted(known, key=lambda n: (-scores[n], n))[:most]
            for n in best:
                if last[n] == step:
                    one = next(x for x in here if x.number == n)
                    whole = one._replace(jobs=self._jobs(one.settings), partial=False)
                    more = self._part(whole, PARTS[step + 1]) or whole
                    return whole if more.jobs == one.jobs else more
        return None

    def _values(
        self, some: Sequence[Configuration], records: Mapping[str, Record]
    ) -> list[float]:  # fmt: skip
        """How good configurations are on validation, whole or not; more is better."""
        metrics = {r.trial.task: str(r.task["metric"]) for r in records.values() if not r.error}
        own = [candidate(one, self.unit.tasks, records, metrics) for one in some]
        return values([replace(c, partial=False) for c in own], metrics)

    def _learned(self, records: Mapping[str, Record]) -> Configuration | None:
        """What TPE proposes after those tried, after repeats a draw; None if there is no other."""
        study = self._study(records)
        kinds = {name: _distribution(d) for name, d in self.space.items()}
        self.number += 1
        for _ in range(MOST_DRAWS):
            found = study.ask(kinds).params
            settings = tuple(f"{name}={_written(d, found[name])}" for name, d in self.space.items())
            if (new := self._new(settings)) is not None:
                return new
        return self._drawn()

    def _study(self, records: Mapping[str, Record]) -> Any:
        """A study of optuna with what was drawn so far and its scores, in that order."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        text = f"tpe/{self.request.search_seed}/{len(self.tried)}/{self.name}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        kinds = {name: _distribution(d) for name, d in self.space.items()}
        for one, value in zip(self.tried, self._values(self.tried, records), strict=True):
            if one.number and not math.isnan(value):
                given = dict(setting.split("=", 1) for setting in one.settings)
                params = {name: _read(d, given[name]) for name, d in self.space.items()}
                study.add_trial(
                    optuna.create_trial(params=params, distributions=kinds, value=value)
                )
        return study


def hours_of(record: Record) -> float:
    """How long a trial took."""
    return record.seconds / 3600


def flops_of(record: Record) -> float:
    """FLOP of a trial's training, 0 = not counted: three forward passes of each example it reads.

    A probe on stored features takes one pass over each example.
    """
    passes = 1 if record.trial.recipe.finetune == "probe" else PASSES
    return float(forward_flops(record)) * passes


def _shorter(job: Job, divisor: int) -> Trial:
    recipe = job.trial.recipe
    steps = recipe.max_steps and max(1, recipe.max_steps // divisor)
    epochs = max(1, recipe.epochs // divisor)
    return replace(job.trial, recipe=replace(recipe, epochs=epochs, max_steps=steps))


def _distribution(d: Dimension) -> Any:
    """The same values, as optuna has them."""
    from optuna import distributions as has

    if d.kind == "one":
        return has.CategoricalDistribution(d.values)
    if d.kind == "int":
        return has.IntDistribution(int(d.low), int(d.high))
    return has.FloatDistribution(d.low, d.high, log=d.kind == "log")


def _read(d: Dimension, text: str) -> str | int | float:
    """A value as it was written, within the bounds: it was rounded."""
    if d.kind == "one":
        return text
    return int(text) if d.kind == "int" else min(max(float(text), d.low), d.high)


def _written(d: Dimension, value: Any) -> str:
    return d.written(value) if isinstance(value, float) else str(value)
