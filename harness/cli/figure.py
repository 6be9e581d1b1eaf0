"""`dnabench figure`: one picture of a store as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail, report_errors, split_commas

if TYPE_CHECKING:
    from dnabench.reports.table import Table

KINDS = ("cd", "strip", "pareto", "heatmap", "curves")
EXAMPLES = (
    "Examples: dnabench figure strip --to runs.pdf | dnabench figure cd --tasks nt --to ranks.svg "
    "| dnabench figure heatmap --x dilation --y kernel_size --to heat.png"
)


@report_errors
def figure(
    kind: Annotated[str, typer.Argument(help="cd, strip, pareto, heatmap or curves.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")] = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(help="File to write: .pdf, .svg or .png; KIND.pdf if none.")
    ] = None,
    tasks: Annotated[
        str, typer.Option("--tasks", "-t", help="Only these tasks or suites, commas between.")
    ] = "",
    models: Annotated[str, typer.Option("--models", "-m", help="Only these, commas between.")] = "",
    protocol: Annotated[str, typer.Option(help="Where the store has several.")] = "",
    limit: Annotated[str, typer.Option(help="Where the store has several.")] = "",
    x: Annotated[str, typer.Option(help="heatmap: option across.")] = "",
    y: Annotated[str, typer.Option(help="heatmap: option down.")] = "",
) -> None:
    """Draw average ranks, every run, scores against costs, a swept grid or learning curves."""
    from dnabench.reports.figures.style import UNDATED, save

    target = to or Path(f"{kind}.pdf")
    if kind not in KINDS:
        fail(f"no figure named {kind!r}; there are {', '.join(KINDS)}")
    if target.suffix.lower() not in UNDATED or not target.parent.is_dir():
        fail(f"--to {target}: name a .pdf, .svg or .png file in a folder that is there")
    if (kind == "heatmap") != bool(x and y):
        fail(
            "heatmap needs two options: --x dilation --y kernel_size"
            if kind == "heatmap"
            else f"--x and --y are for heatmap, not for {kind}"
        )
    table = _table(out, split_commas(tasks), split_commas(models), protocol, limit)
    save(_draw(kind, table, x, y), target, table.watermark)
    typer.echo(str(target))


def _table(out: Path, tasks: list[str], models: list[str], protocol: str, limit: str) -> Table:
    from dnabench.reports.table import tables
    from dnabench.reports.text.captions import title
    from dnabench.results.store import Store

    store = Store(out)
    records = list(store)
    for path, why in store.unreadable.items():
        typer.echo(f"warning: skipped {path}: not a record: {why}", err=True)
    if not records:
        fail(f"no records in {out}; make some: dnabench run --suite demo --out {out}")
    for name in models:
        if name not in (known := {r.trial.model for r in records}):
            fail(f"--models {name}: no record of it in {out}; there are {', '.join(sorted(known))}")
    for name in tasks:
        known = {w for r in records for w in (r.trial.task, r.trial.task.partition("/")[0])}
        if name not in known:
            fail(f"--tasks {name}: no record of it in {out}; there are {', '.join(sorted(known))}")
    chosen = [
        r
        for r in records
        if (not models or r.trial.model in models)
        and (not tasks or {r.trial.task, r.trial.task.partition("/")[0]} & set(tasks))
        and protocol in ("", r.trial.protocol)
        and limit in ("", f"{r.trial.limit:g}")
    ]
    found = tables(chosen)
    if len(found) != 1:
        there = "; ".join(title(t) for t in (found or tables(records)))
        fail(f"a figure is of one table; choose with --protocol and --limit from: {there}")
    return found[0]


def _draw(kind: str, table: Table, x: str, y: str) -> Callable[[], Any]:
    from dnabench.reports.figures import curves, heatmap, pareto, strips

    if kind == "heatmap":
        found = heatmap.heat(table, x, y)
        return lambda: heatmap.figure(found)
    if kind == "pareto":
        rows = _one_suite(pareto.suites(table), "has two models with all of its tasks")
        return lambda: pareto.both(table, rows)
    if kind == "cd":
        return _ranks(table)
    return lambda: (strips if kind == "strip" else curves).figure(table)


def _ranks(table: Table) -> Callable[[], Any]:
    from dnabench.reports.analysis import analyze
    from dnabench.reports.figures import cd, style

    suites = {s.suite: s for s in analyze(table, pairs=()).suites}
    suite = _one_suite(suites, "has two tasks that two models share")
    names = style.labels([table.columns[i] for i in suite.columns])
    if suite.note:
        typer.echo(f"note: {suite.note}", err=True)
    return lambda: cd.figure(names, suite.ranks, suite.critical_difference)


def _one_suite(found: dict[str, Any], what: str) -> Any:
    if not found:
        fail(f"no suite {what}; run more, or choose other --tasks and --models")
    if len(found) > 1:
        fail(f"a figure is of one suite; choose with --tasks from: {', '.join(found)}")
    return next(iter(found.values()))
