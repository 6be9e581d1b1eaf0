"""`dnabench tune`: the same budget of configurations for every model, chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.config import Config
from dnabench.cli.errors import print_notes
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import DataOptions, GridOptions, Out
from dnabench.cli.report import report_on
from dnabench.cli.sweep import run_sweep
from dnabench.cli.tune_cost import cost_text, search_text

if TYPE_CHECKING:
    from dnabench.results.searches import Search
    from dnabench.sweep.search import Plan, TuneRequest
    from dnabench.sweep.tuning import Chosen
    from dnabench.types import Job, Record


@partial(with_flags, hidden=("sweep",))
def tune(
    choice: GridOptions,
    reading: DataOptions,
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    config: Config = None,
    budget: Annotated[
        int,
        typer.Option(help="Configurations of each model and regime, with its default; 16 if no "
                     "other budget is given.", show_default=False),
    ] = 0,
    budget_hours: Annotated[
        float,
        typer.Option(help="Instead: hours that their trials may take, for each choice; a cheaper "
                     "model tries more.", show_default=False),
    ] = 0.0,
    budget_flops: Annotated[
        float,
        typer.Option(help="Instead: FLOP that their training may take, such as 1e15.",
                     show_default=False),
    ] = 0.0,
    per: Annotated[
        str, typer.Option(help="What gets settings of its own: each task, suite or model.")
    ] = "task",
    tuning_seeds: Annotated[
        str, typer.Option(help="Seeds of the search: how many (from 1000 on) or which (7,8).")
    ] = "2",
    search: Annotated[
        str,
        typer.Option(help="random; grid: every combination of spaces one:A,B; tpe, which learns "
                     "from scores; halving, under hours or FLOP."),
    ] = "random",
    search_seed: Annotated[int, typer.Option(help="Seed of the draw of configurations.")] = 0,
    space: Annotated[
        list[str],
        typer.Option(help="Values to search: lr=log:1e-4..3e-3, dropout=range:0..0.3, "
                     "k_max=int:4..7, cnn.batch=one:32,64; or a name of `list spaces`: rc."),
    ] = [],  # noqa: B006
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print its trials and their time, memory and disk space, as "
                     "`dnabench plan` does; run nothing."),
    ] = False,
) -> None:  # fmt: skip
    """Tune every model with the same budget, then test.

    Settings are chosen on validation: the trials of the search never read test. The chosen settings
    and the default ones then run with the seeds of --seeds, as ordinary trials. The same command
    again resumes where it was killed.
    """
    from dnabench.results.store import Store
    from dnabench.sweep.search import TuneRequest

    notes = list[str]()
    request = TuneRequest(
        grid=choice.request(reading), budget=budget, hours=budget_hours, flops=budget_flops,
        per=per, tuning_seeds=tuning_seeds, search=search, search_seed=search_seed, spaces=space,
    )  # fmt: skip
    if dry_run:
        typer.echo(cost_text(_planned(request, notes, execution), Store(out), execution))
        print_notes(notes)
        return
    chosen, failed = run_search(request, out, execution)
    typer.echo(_report(out, chosen.jobs))
    if failed:
        raise typer.Exit(1)


def run_search(
    request: TuneRequest, out: Path, execution: ExecutionOptions
) -> tuple[Chosen, list[Record]]:
    """Search, choose on validation, write that down, and test; finished trials stay.

    Args:
        request: the models, tasks, budget and spaces.
        out: results folder.
        execution: where to run.

    Returns:
        The choices and the ordinary trials, and the records of the trials that failed.

    Raises:
        KeyError, ValueError: as `plan_search`, `chosen_of` and `run_sweep`.
        ValueError: settings of the default, or a micro-batch, with which no network can be trained.
        typer.Exit: as `run_sweep`.
    """
    from dnabench.executors.local import workers_kept
    from dnabench.results.searches import save_search
    from dnabench.results.store import Store
    from dnabench.sweep.steps import search_steps
    from dnabench.sweep.tuning import chosen_of

    notes = list[str]()
    plan, store = _planned(request, notes, execution), Store(out)
    notes.append(f"search: {search_text(plan)}")
    records: dict[str, Record] = {}

    def ran(jobs: Sequence[Job]) -> dict[str, Record]:
        ids = {job.trial.id for job in jobs}
        if not request.stepwise or not ids <= store.done():
            run_sweep(request, jobs, notes, out, execution, to_stderr=True, searched=True)
            notes.clear()
        found = {r.trial.id: r for r in store.records(ids)}
        records.update(found)
        return found

    with workers_kept():
        if request.stepwise:
            plan = search_steps(plan, ran, lambda note: print_notes([note]))
        else:
            ran(plan.jobs)
        chosen = chosen_of(plan, records)
        print_notes(_choices(chosen.search))
        save_search(store, chosen.search)  # before test is read: if it stops, it is told as tuned
        final = run_sweep(request, chosen.jobs, [], out, execution, to_stderr=True)
    failed = [record for record in records.values() if record.error]
    return chosen, [*failed, *final.failed]


def _planned(request: TuneRequest, notes: list[str], execution: ExecutionOptions) -> Plan:
    """The search; ValueError where what is fixed cannot be trained: searched values fail later."""
    from dnabench.sweep.buildable import check_buildable
    from dnabench.sweep.search import plan_search

    plan = plan_search(request, notes.append)
    defaults = (job for tried in plan.tried.values() for job in tried[0].jobs)
    check_buildable(defaults, execution.micro_batch)
    return plan


def _choices(search: Search) -> list[str]:
    """A line for each choice."""
    from dnabench.reports.tuning import fold_text
    from dnabench.reports.tuning_all import names_of

    names = names_of(search.choices)
    return [
        f"{names[c.model, c.regime]} on {', '.join(c.tasks)}{fold_text(c)}: chose "
        + (" ".join(c.best.settings) or "the default")
        for c in search.choices
    ]


def _report(out: Path, jobs: Sequence[Job]) -> str:
    """Default against tuned, as `dnabench report --full` has it."""
    from dnabench.reports.text.markdown_grid import grid
    from dnabench.reports.tuning import TITLES

    found = report_on(out, jobs)
    sections = [s for e in found.evidence for s in e.sections if s.title in TITLES]
    return "\n\n".join(map(grid, sections))
