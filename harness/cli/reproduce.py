"""`dnabench reproduce`: a published table compared with our runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dnabench.cli.errors import fail
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import GridOptions, Out
from dnabench.cli.report import warn_unreadable
from dnabench.cli.sweep import run_sweep

if TYPE_CHECKING:
    from dnabench.cli.reproduction import ReproducePlan, ReproduceRequest
    from dnabench.results.store import Store


@with_flags
def reproduce(
    table: Annotated[str, typer.Argument(help="A table, such as convnova/table13.")],
    tasks: Annotated[
        list[str],
        typer.Option(
            "--tasks", "-t", help="Only these, comma-separated; nt_reduced/h3 replaces nt/h3."
        ),
    ] = [],  # noqa: B006
    models: Annotated[
        list[str], typer.Option("--models", "-m", help="Only these, named as in the paper or here.")
    ] = [],  # noqa: B006
    seeds: Annotated[str, typer.Option(help="How many (10) or which (0,3,7 or 2222,42-50).")] = "5",
    protocol: Annotated[
        str, typer.Option(help="Instead of the one that chooses the epoch as the paper did.")
    ] = "",
    regime: Annotated[
        str, typer.Option(help="Initial weights instead of the paper's; as for run.")
    ] = "",
    limit: Annotated[str, typer.Option(help="Only N examples (200) or a share (0.1).")] = "0",
    epochs: Annotated[int, typer.Option(help="Instead of the recipe's; 0 = the recipe's.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A model option or recipe field: dilation_schedule=code."),
    ] = None,
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008
    out: Out = Path("runs"),
    format: Annotated[str, typer.Option("--format", "-f", help="md or csv.")] = "md",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and why the rest cannot.")
    ] = False,
) -> None:
    """Rerun a published table and compare every value.

    Finished trials are kept: only missing ones run.
    """
    from dnabench.cli.reproduction import ReproduceRequest

    grid = GridOptions(
        models=models, tasks=tasks, seeds=seeds, protocol=protocol, regime=[regime],
        limit=limit, epochs=epochs, set_=set_ or [],
    ).request()  # fmt: skip
    _reproduce(ReproduceRequest(table=table, grid=grid), execution, out, format, dry_run)


def _reproduce(
    request: ReproduceRequest, execution: ExecutionOptions, out: Path, format: str, dry_run: bool
) -> None:
    from dnabench.cli.reproduction import plan_reproduction
    from dnabench.reports.papers.reproduction import compare
    from dnabench.reports.papers.reproduction_text import FORMATS, render
    from dnabench.results.store import Store

    if format not in FORMATS:
        fail(f"no format {format!r}; choose from {', '.join(FORMATS)}")
    if (epochs := request.grid.overrides.get("epochs", 1)) < 1:
        fail(f"--epochs {epochs}: give a number above 0, or 0 for the recipe's")
    plan, store = plan_reproduction(request), Store(out)
    if dry_run:
        typer.echo(_dry_run(plan, store))
        warn_unreadable(store)
        return
    failed = plan.jobs and run_sweep(request, plan.jobs, [], out, execution, to_stderr=True).failed
    ids = {i for cell in plan.cells for i in cell.trials}
    records = {i: record for i in ids if (record := store.read(i)) is not None}
    typer.echo(render([compare(cell, records) for cell in plan.cells], plan.about, format))
    if failed:
        raise typer.Exit(1)


def _dry_run(plan: ReproducePlan, store: Store) -> str:
    """A line a cell: its trials and how many of them are done, or why there are none."""
    from tabulate import tabulate

    from dnabench.reports.grid import count
    from dnabench.reports.papers.matching import obstacles
    from dnabench.reports.papers.reproduction_text import name_of

    stored = ((job.trial.id, store.read(job.trial.id)) for job in plan.jobs)
    done = {i for i, record in stored if record is not None and not record.error}
    rows = []
    for cell in plan.cells:
        v, n = cell.value, len(cell.trials)
        reasons = "; ".join(filter(None, [*obstacles(v), cell.why_not]))
        state = f"{len(done & {*cell.trials})} of {n} done" if n else "nothing to run"
        rows.append((v.task, v.metric, name_of(v), cell.model or "–", state, reasons))
    heads = ("task", "metric", "published", "ours", "trials", "why not comparable or not run")
    total = len(plan.jobs)
    counts = f"{count(len(rows), 'cell')}, {count(total, 'trial')}: {len(done)} done, "
    counts += f"{total - len(done)} to run"
    return f"{tabulate(rows, heads, disable_numparse=True)}\n\n{counts}"
