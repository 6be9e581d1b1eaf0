"""After a search: its records, what they choose, and the trials that then read test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dnabench.cache import read_json
from dnabench.pretraining.saving import CARD, LANGUAGE
from dnabench.results.searches import Candidate, Choice, Search, choose
from dnabench.sweep.search import Configuration, Plan, final_jobs
from dnabench.types import Job, Record
from dnabench.weights import begun_with, trainings_of


@dataclass(frozen=True)
class Chosen:
    """The choices of a search, and the ordinary trials that follow from them."""

    search: Search
    jobs: list[Job]  # of the default and of the chosen configurations, each once


def chosen_of(plan: Plan, records: Mapping[str, Record]) -> Chosen:
    """Choose for every model, regime and unit by the mean validation score over tuning seeds.

    Args:
        plan: of the search.
        records: of its trials, by id.

    Raises:
        ValueError: a model none of whose configurations ended on some task.
    """
    metrics = {r.trial.task: str(r.task["metric"]) for r in records.values() if not r.error}
    choices, jobs = list[Choice](), dict[str, Job]()
    default = {group: final_jobs(plan, {group: ()}) for group in plan.tried}
    for unit in plan.units():
        tasks, group = unit.tasks, unit.group
        own = tuple(candidate(one, tasks, records, metrics) for one in plan.of(unit))
        try:
            best = choose(own, metrics)
        except ValueError as e:
            raise ValueError(f"{group[0]} on {', '.join(tasks)}: {e}") from None
        defaults = {_place(job): job for job in default[group] if unit.has(job.trial)}
        tuned = {
            _place(job): job for job in final_jobs(plan, {group: best.settings}, tasks)
        } if best.number else defaults  # fmt: skip
        pairs = [(defaults[at], tuned[at]) for at in defaults]
        jobs |= {job.trial.id: job for pair in pairs for job in pair}
        choices.append(
            Choice(
                model=group[0], regime=group[1], tasks=tasks, candidates=own, chosen=best.number,
                final={a.trial.id: b.trial.id for a, b in pairs}, fold=unit.fold,
            )
        )  # fmt: skip
    request = plan.request
    search = Search(
        budget=request.size, hours=request.hours, flops=request.flops, search=request.search,
        search_seed=request.search_seed,
        per=request.per, tuning_seeds=tuple(plan.tuning_seeds), seeds=tuple(plan.seeds),
        spaces=plan.spaces, metrics=metrics, choices=tuple(choices),
        by_hand=tuple(request.spaces), pretraining=_pretraining(plan),
    )  # fmt: skip
    return Chosen(search, list(jobs.values()))


def _pretraining(plan: Plan) -> dict[str, dict[str, float | str]]:
    """What the cards of networks of `dnabench pretrain` say that the searched ones took.

    All trainings of a network that went on from others count; "began_with" names weights of which
    nothing is known.
    """
    out = dict[str, dict[str, float | str]]()
    for (_, regime), tried in plan.tried.items():
        if not (file := tried[0].jobs[0].checkpoint):
            continue
        card = read_json(Path(file).parent / CARD)
        if isinstance(card, dict) and card.get("schema") == LANGUAGE:
            parts, unknown = trainings_of(card), begun_with(card)
            out[regime] = {
                name: math.fsum(part.get(name, 0) for part in parts) for name in ("bp", "seconds")
            }
            out[regime] |= {"began_with": unknown} if unknown else {}
    return out


def candidate(
    tried: Configuration, tasks: Sequence[str], records: Mapping[str, Record],
    metrics: Mapping[str, str],
) -> Candidate:  # fmt: skip
    """A configuration with its scores on some tasks; a trial without one counts as failed."""
    mine = [job.trial for job in tried.jobs if job.trial.task in tasks]
    ended = [records[t.id] for t in mine if t.id in records and not records[t.id].error]
    scores = {task: list[float]() for task in tasks}
    for record in ended:
        task = record.trial.task
        value = record.scores["val"].get(metrics[task])
        scores[task] += [] if value is None else [value]
    return Candidate(
        number=tried.number, settings=tried.settings,
        scores={task: tuple(found) for task, found in scores.items()},
        trials=tuple(t.id for t in mine), failed=len(mine) - sum(map(len, scores.values())),
        n_params=max((r.n_params for r in ended), default=0),
        flops=float(sum(map(forward_flops, ended))),
        seconds=math.fsum(r.seconds for r in ended), partial=tried.partial,
        same={t.task: replace(t, seed=0).id for t in mine},
    )  # fmt: skip


def forward_flops(record: Record) -> int:
    """FLOP of a forward pass of every example that a training read, 0 = not counted.

    A probe computes the features of each example once, however many epochs its head is trained,
    unless they have no room in memory.
    """
    n, recipe = record.n_examples["train"], record.trial.recipe
    probe = recipe.finetune == "probe" and not record.flags.get("features_anew")
    return record.flops * (n if probe else recipe.examples_in(n, len(record.curve)))


def _place(job: Job) -> tuple[str, int]:
    return job.trial.task, job.trial.seed
