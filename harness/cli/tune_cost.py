"""What a search of settings will take: trials, time, memory and disk space."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dnabench.cli.bars import bar
from dnabench.cli.errors import print_notes
from dnabench.cli.execution import ExecutionOptions

if TYPE_CHECKING:
    from dnabench.results.store import Store
    from dnabench.sweep.search import Group, Plan
    from dnabench.types import Job

PROBE = 2.0  # seconds of measuring a model, about


def cost_text(plan: Plan, store: Store, execution: ExecutionOptions) -> str:
    """A table of the trials that a search takes, then their time, memory and disk space."""
    from tabulate import tabulate

    from dnabench.reports.grid import count
    from dnabench.sweep.search import final_jobs

    done = store.done()
    rows: list[tuple[object, ...]] = []
    left: list[Job] = []
    total = final_at_most = 0
    for group, tried in plan.tried.items():
        jobs = [job for one in tried for job in one.jobs]
        missing = [job for job in jobs if job.trial.id not in done]
        final = final_jobs(plan, {group: ()})
        space = plan.spaces[group[0]]
        rows.append((
            *group, "by records" if plan.request.stepwise else plan.size_of(group), len(jobs),
            len(jobs) - len(missing), 2 * len(final),
            " ".join(f"{k}={v}" for k, v in space.items()) or "nothing",
        ))  # fmt: skip
        final_at_most += 2 * len(final)
        total += len(jobs)
        left += missing
    heads = ("model", "regime", "configurations", "trials", "done", "final at most", "space")
    if plan.request.stepwise:
        said = [
            f"{search_text(plan)}; {count(total, 'trial')} of the default first",
            _search_costs(plan),
            f"then {final_at_most} final trials at most, those of the default among them",
        ]
    else:
        said = [
            f"{count(total, 'trial')} of tuning, {len(left)} of them to run; then {final_at_most} "
            "final trials at most, those of the default among them"
        ]
    said += _costs(plan, left, store, execution)
    return "\n".join([tabulate(rows, heads), "", *said])


def _search_costs(plan: Plan) -> str:
    """What a search in steps may take, as far as its budget says it."""
    request, n = plan.request, len(plan.units())
    each = f"for each of {n} choices" if n > 1 else "for one choice"
    if request.size:
        return (
            f"then {request.size - 1} other configurations {each}, whose settings follow from "
            "records"
        )
    if request.hours:
        total, of = f"{n * request.hours:g} h", f"{request.hours:g} h {each}"
    else:
        total, of = f"{n * request.flops:.3g} FLOP", f"{request.flops:.3g} {each}"
    return (
        f"about {total} for the search itself, {of}, the default among them; the configuration "
        "that reaches a budget may exceed it"
    )


def search_text(plan: Plan) -> str:
    """What a search tries, in a line."""
    from dnabench.results.searches import budget_text

    models = [name for name, _ in plan.tried]
    seeds = ", ".join(map(str, plan.tuning_seeds))
    if plan.request.stepwise:
        return (
            f"{plan.request.search}, {budget_text(plan.request)} of each model and regime, for "
            f"each {plan.request.per}, tuning seeds {seeds}"
        )
    counts = ", ".join(
        f"{plan.size_of((name, regime))} of {name}" + f" ({regime})" * (models.count(name) > 1)
        for name, regime in plan.tried
    )  # fmt: skip
    return f"{counts} configurations, {len(plan.jobs)} trials with tuning seeds {seeds}"


def _costs(plan: Plan, left: list[Job], store: Store, execution: ExecutionOptions) -> list[str]:
    """Of these trials of tuning and the final ones that are missing, as `dnabench plan` finds it.

    Measured with the default settings, at the batch size of each configuration.
    """
    from dnabench.cache import room
    from dnabench.forecast.estimate import busy_text, duration, memory_text
    from dnabench.forecast.estimate import plan as estimate
    from dnabench.host.disk import size
    from dnabench.host.machine import free_memory, seen_here
    from dnabench.sweep.search import final_jobs

    defaults: dict[tuple[Group, str], Job] = {
        (group, job.trial.task): job
        for group, tried in plan.tried.items() for job in tried[0].jobs
    }  # fmt: skip
    done = store.done()
    jobs: list[Job] = []
    for job in left:
        default = defaults[(job.trial.model, job.trial.regime), job.trial.task]
        own = {k: getattr(job.trial.recipe, k) for k in ("batch", "epochs", "max_steps")}
        recipe = replace(default.trial.recipe, **own)
        jobs.append(default._replace(trial=replace(default.trial, recipe=recipe)))
    final = final_jobs(plan, dict.fromkeys(plan.tried, ()))
    missing = [job for job in final if job.trial.id not in done]
    jobs += [*missing, *(missing if not left else final)]  # of the default, and as many of another
    if not jobs:
        return []
    resources, aside = execution.measured_here()
    print_notes(aside)
    with bar("measuring") as show:
        found = estimate(
            jobs, resources, {}, PROBE, lambda job, n: show(total=n, advance=1)
        )  # fmt: skip
    failed = [f"{row.model} on {row.task} failed: {row.error}" for row in found.rows if row.error]
    steps = " without the search beyond the default" * plan.request.stepwise
    return [
        f"about {duration(found.seconds)} of work{steps}, {duration(found.elapsed)} from start to "
        f"end with --jobs {resources.workers // len(resources.devices)}; at most "
        f"{size(found.disk)} on disk, {size(room(store.folder))} are free; measured with the "
        "default settings at each configuration's batch size and epochs",
        *busy_text(found),
        *memory_text(found, min(map(free_memory, seen_here(resources.devices)))),
        *failed,
    ]
