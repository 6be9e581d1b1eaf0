"""`dnabench reproduce`: a published table beside runs of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail, report_errors, split_commas
from dnabench.cli.report import warn_unreadable
from dnabench.cli.sweep import Compile, ExecutionOptions, Jobs, run_sweep


@report_errors
def reproduce(
    table: Annotated[str, typer.Argument(help="Such as convnova/table13.")],
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks", "-t", help="Only these, commas between; nt_reduced/h3 stands in for nt/h3."
        ),
    ] = "",
    models: Annotated[
        str, typer.Option("--models", "-m", help="Only these, by the paper's names or ours.")
    ] = "",
    seeds: Annotated[str, typer.Option(help="How many (10) or which (0,3,7 or 2222,42-50).")] = "5",
    protocol: Annotated[
        str, typer.Option(help="Instead of the one that repeats the table's choice of the epoch.")
    ] = "",
    regime: Annotated[
        str, typer.Option(help="First weights instead of the table's; as for run.")
    ] = "",
    limit: Annotated[str, typer.Option(help="Only N examples (200) or a share (0.1).")] = "0",
    epochs: Annotated[int, typer.Option(help="Instead of the recipe's; 0 = the recipe's.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A model option or recipe field: dilation_schedule=code."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    jobs: Jobs = "auto",
    threads: Annotated[int, typer.Option(help="Threads of each trial.")] = 1,
    micro_batch: Annotated[
        int, typer.Option(help="Examples in memory at once; 0 = the whole batch.")
    ] = 0,
    compile: Compile = "auto",
    executor: Annotated[str, typer.Option(help="local, or inline for a debugger.")] = "local",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")] = Path("runs"),
    format: Annotated[str, typer.Option("--format", "-f", help="md or csv.")] = "md",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, and why the rest cannot.")
    ] = False,
) -> None:
    """Run what is missing of a published table, and set every value beside ours."""
    from dnabench.cli.reproduction import Asked

    overrides = {"epochs": epochs} if epochs else {}
    asked = Asked(
        table=table, tasks=split_commas(tasks), models=split_commas(models), seeds=seeds,
        protocol=protocol, regime=regime, settings=set_ or [], limit=limit, overrides=overrides,
    )  # fmt: skip
    how = ExecutionOptions(device, jobs, threads, micro_batch, executor, compile)
    _answer(asked, how, out, format, dry_run)


def _answer(asked: Any, how: ExecutionOptions, out: Path, format: str, dry_run: bool) -> None:
    from dnabench.cli.reproduction import planned
    from dnabench.reports.papers.reproduction import compare
    from dnabench.reports.papers.reproduction_text import FORMATS, render
    from dnabench.results.store import Store

    if format not in FORMATS:
        fail(f"no format {format!r}; there are {', '.join(FORMATS)}")
    if (epochs := asked.overrides.get("epochs", 1)) < 1:
        fail(f"--epochs {epochs}: give a number above 0, or 0 for the recipe's")
    plan, store = planned(asked), Store(out)
    if dry_run:
        typer.echo(_dry_run(plan, store))
        warn_unreadable(store)
        return
    failed = bool(plan.jobs) and bool(run_sweep(asked, plan.jobs, [], out, how, aside=True).failed)
    ids = {i for wanted in plan.wanted for i in wanted.trials}
    records = {i: record for i in ids if (record := store.read(i)) is not None}
    typer.echo(render([compare(wanted, records) for wanted in plan.wanted], plan.about, format))
    if failed:
        raise typer.Exit(1)


def _dry_run(plan: Any, store: Any) -> str:
    """A line a cell: its trials and how many of them are done, or why there are none."""
    from tabulate import tabulate

    from dnabench.reports.papers.counterparts import obstacles

    done = {job.trial.id for job in plan.jobs if _done(store.read(job.trial.id))}
    rows = []
    for wanted in plan.wanted:
        v, n = wanted.value, len(wanted.trials)
        reasons = [*obstacles(v), *filter(None, [wanted.why_not])]
        state = f"{len(done & {*wanted.trials})} of {n} done" if n else "nothing to run"
        what = " ".join(filter(None, [v.model, v.params, v.variant]))
        rows.append((v.task, v.metric, what, wanted.model or "–", state, "; ".join(reasons)))
    heads = ("task", "metric", "published", "ours", "trials", "not comparable or not run, why")
    total = len(plan.jobs)
    left = f"{total} trials: {len(done)} done, {total - len(done)} to run"
    return f"{tabulate(rows, heads, disable_numparse=True)}\n\n{len(rows)} cells, {left}"


def _done(record: Any) -> bool:
    return record is not None and not record.error
