"""`dnabench figure`: a figure of the records as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail, split_commas, warn
from dnabench.cli.options import Out, Shown
from dnabench.cli.report import records_in

if TYPE_CHECKING:
    from dnabench.reports.table import Table
    from dnabench.types import Record

SHARE = "train_share"  # `line` by the share of train
KINDS = {  # and a note below each, on what is shown
    "cd": "Average rank over tasks, 1 = best. A bar joins models that the Nemenyi test does not "
    "separate at alpha = 0.05.",
    "strip": "Dots: runs. Bar: mean. Line: 95 % t interval. In colour: the best mean.",
    "pareto": "Bars: 95 % interval from the noise of the seeds. Dashed line: models that no other "
    "beats in both score and cost.",
    "heatmap": "",
    "line": "Mark: mean over seeds. Bar: 95 % t interval over seeds. Dots: runs.",
    "curves": "Line: mean over seeds. Band: lowest to highest seed.",
}


def figure(
    kind: Annotated[str, typer.Argument(help="cd, strip, pareto, heatmap, line or curves.")],
    out: Out = Path("runs"),
    to: Annotated[
        Path | None, typer.Option(help="File to write: .pdf, .svg or .png; default KIND.pdf.")
    ] = None,
    tasks: Annotated[
        list[str],
        typer.Option("--tasks", "-t", help="Only these tasks or suites, comma-separated."),
    ] = [],  # noqa: B006
    models: Annotated[
        list[str], typer.Option("--models", "-m", help="Only these, comma-separated.")
    ] = [],  # noqa: B006
    protocol: Annotated[
        str, typer.Option(help="Protocol to draw; needed if the records have several.")
    ] = "",
    limit: Annotated[
        str, typer.Option(help="Limit to draw; needed if the records have several.")
    ] = "",
    train_share: Annotated[
        str, typer.Option(help="Training share to draw; needed if the records have several.")
    ] = "",
    metric: Shown = "",
    x: Annotated[
        str,
        typer.Option(help="heatmap, line: swept option on the x axis; line: or train_share."),
    ] = "",
    y: Annotated[str, typer.Option(help="heatmap: swept option on the y axis.")] = "",
) -> None:
    """Draw one figure from the results.

    Average ranks, every run, scores against cost, a swept grid, scores by a swept number or by the
    share of the training examples (learning curves), or curves of training.
    """
    from dnabench.reports.figures.style import UNDATED, save

    target = to or Path(f"{kind}.pdf")
    if kind not in KINDS:
        fail(f"no figure named {kind!r}; choose from {', '.join(KINDS)}")
    if target.suffix.lower() not in UNDATED or not target.parent.is_dir():
        fail(f"--to {target}: name a .pdf, .svg or .png file in an existing folder")
    if kind == "heatmap" and not (x and y):
        fail("heatmap needs two options: --x dilation --y kernel_size")
    if (x and kind not in ("heatmap", "line")) or (y and kind != "heatmap"):
        fail(f"--x is for heatmap and line, --y for heatmap, not for {kind}")
    share = train_share or ("all" if kind == "line" and x in ("", SHARE) else "")
    chosen = _chosen(out, split_commas(tasks), split_commas(models), metric)
    table = _table(chosen, protocol, limit, share, metric)
    draw, note = _line(table, x) if kind == "line" else _draw(kind, table, x, y)
    save(draw, target, table.watermark, note)
    typer.echo(str(target))


def _chosen(out: Path, tasks: list[str], models: list[str], metric: str) -> list[Record]:
    """The records of these tasks and models, checked by their predictions."""
    from dnabench.reports.columns import TUNED
    from dnabench.reports.grouping import suite_of
    from dnabench.reports.memo import Memo
    from dnabench.reports.regimes import with_regimes
    from dnabench.reports.tuning import with_tuned
    from dnabench.reports.validity import checked, left_out, unread
    from dnabench.results.regimes import regimes
    from dnabench.results.searches import searches

    store, records = records_in(out)
    records = with_regimes(with_tuned(records, searches(store)), regimes(store))
    names_of: dict[str, Callable[[Any], set[str]]] = {
        "--models": lambda r: {
            r.trial.model,
            *([f"{r.trial.model} {TUNED}"] if r.flags.get(TUNED) else []),
        },
        "--tasks": lambda r: {r.trial.task, suite_of(r)},
    }
    chosen = records
    for (flag, of), wanted in zip(names_of.items(), (models, tasks), strict=True):
        known = sorted(set().union(*map(of, records)))
        for name in wanted:
            if name not in known:
                fail(f"{flag} {name}: no record of it in {out}; choose from {', '.join(known)}")
        chosen = [r for r in chosen if not wanted or of(r) & {*wanted}]
    chosen = checked(chosen, store, Memo(store.folder / ".cache" / "report"), [metric])
    for text in (*unread(chosen), *left_out(chosen)):
        warn(f"note: {text}")
    return chosen


def _table(records: list[Record], protocol: str, limit: str, share: str, metric: str) -> Table:
    """The one table that the flags leave; share "all" = those of train side by side."""
    from dnabench.reports.grid import listed
    from dnabench.reports.shown import check_shown
    from dnabench.reports.table import across_shares, tables
    from dnabench.reports.text.captions import title

    own = [
        r for r in records
        if protocol in ("", r.trial.protocol) and limit in ("", f"{r.trial.limit:g}")
        and share in ("", "all", f"{r.trial.train_share:g}")
    ]  # fmt: skip
    check_shown(own, metric)
    found = across_shares(own, metric=metric) if share == "all" else []
    found = found or tables(own, metric=metric)
    if len(found) != 1:
        several = "; ".join(title(t) for t in (found or tables(records)))
        shares = {r.trial.train_share for r in own or records}
        flags = ["--protocol", "--limit", *(["--train-share"] if len(shares) > 1 else [])]
        fail(f"a figure shows one table; choose with {listed(flags)}: {several}")
    return found[0]


def _line(table: Table, x: str) -> tuple[Callable[[], Any], str]:
    """Scores by one number: that of --x, else the share of train, else the only one swept."""
    from dnabench.reports.figures import lines
    from dnabench.reports.trends import swept, trend

    known = [found for found in (trend(table, SHARE), *swept(table)) if found is not None]
    chosen = [found for found in known if x in ("", found.by)]
    if not x and chosen and chosen[0].by == SHARE:
        chosen = chosen[:1]
    if len(chosen) != 1:
        names = ", ".join(one.by for one in known)
        said = f"choose with --x: {names}" if known else "sweep one: --train-share 0.1,1"
        fail(f"a line needs scores at several values of one number{f' ({x})' if x else ''}; {said}")
    found = chosen[0]
    own = " Each seed draws its own examples, the same for every model." * (found.by == SHARE)
    return lambda: lines.figure(found), KINDS["line"] + own


def _draw(kind: str, table: Table, x: str, y: str) -> tuple[Callable[[], Any], str]:
    """The function that draws, and a note on what is shown."""
    from dnabench.reports.figures import curves, heatmap, pareto, strips

    if kind == "heatmap":
        found = heatmap.heat(table, x, y)
        label = pareto.label([row for row in table.rows if row.name in found.tasks])
        note = f"{label[0].upper()}{label[1:]} ({', '.join(found.tasks)}). Framed: the best."
        return lambda: heatmap.figure(found), note
    if kind == "pareto":
        rows = _one_suite(pareto.suites(table), "has two models with all of its tasks")
        return lambda: pareto.both(table, rows), KINDS[kind]
    if kind == "cd":
        return _ranks(table), KINDS[kind]
    return lambda: (strips if kind == "strip" else curves).figure(table), KINDS[kind]


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
        fail(f"a figure shows one suite; choose with --tasks: {', '.join(found)}")
    return next(iter(found.values()))
