"""`dnabench doctor`, `cache` and `plan`: the machine, what it keeps, what a grid would take."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail, report_errors, split_commas

caches = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What is kept on disk.")
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the records.")]
OutToo = Annotated[Path | None, typer.Option("--out", "-o", help="A folder of records too.")]
Json = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
PLAN_EXAMPLES = (
    "Examples: dnabench plan --suite demo --seeds 10 | dnabench plan --config sweep.toml --json"
)
NOT_OF_A_PLAN = ("dry_run", "executor", "compile", "trial_timeout")  # of the flags of `run`


@report_errors
def doctor(
    out: Out = Path("runs"),
    online: Annotated[bool, typer.Option("--online", help="Ask the hub too.")] = False,
    as_json: Json = False,
) -> None:
    """What this machine has, what follows, and the way out of what is broken (then exit 1)."""
    from dnabench.host.doctor import examine

    found = examine(out, online)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in found], indent=1))
    else:
        for finding in found:
            mark = {"ok": "ok    ", "note": "note  ", "broken": "BROKEN"}[finding.state]
            way_out = f" -> {finding.way_out}" if finding.way_out else ""
            typer.echo(f"{mark}  {finding.topic}: {finding.says}{way_out}")
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(1)


@caches.callback()
def group() -> None:
    """What is kept on disk."""


@caches.command("list", epilog="Examples: dnabench cache list | dnabench cache list --out runs")
@report_errors
def list_(
    out: OutToo = None,
    as_json: Json = False,
) -> None:
    """Print everything dnabench keeps beside records: size, last use, what it is."""
    from tabulate import tabulate

    from dnabench.cache import cache_folder, room
    from dnabench.host.disk import entries, size

    found = entries(out)
    if as_json:
        rows = [{**entry._asdict(), "path": str(entry.path)} for entry in found]
        typer.echo(json.dumps(rows, indent=1))
        return
    lines = [
        (e.name, size(e.bytes), _day(e.used), "" if e.ours else "only listed", e.what, e.path)
        for e in found
    ]
    typer.echo(tabulate(lines, ("name", "size", "last use", "", "what", "where")))
    ours = [e for e in found if e.ours]
    total = size(sum(e.bytes for e in ours))
    free = room(cache_folder())
    typer.echo(f"\n{total} in {len(ours)} entries of {cache_folder()}; {size(free)} of disk free")


@caches.command(epilog="Examples: dnabench cache clear fetched | dnabench cache clear --all --yes")
@report_errors
def clear(
    names: Annotated[
        list[str] | None, typer.Argument(help="Of `cache list`; tasks, or task:gue, for several.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is dnabench's own.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    out: OutToo = None,
) -> None:
    """Remove what can be made or fetched again; records never, and nothing that is in use."""
    from dnabench.host.disk import clear as cleared
    from dnabench.host.disk import entries, named, size

    if bool(names) == everything:
        fail("name what to clear, as `dnabench cache list` does, or write --all")
    found = entries(out)
    chosen = [e for e in found if e.ours] if everything else named(names or [], found)
    if not chosen:
        typer.echo("nothing to clear")
        return
    if not yes:
        for entry in chosen:
            typer.echo(f"{entry.name}: {size(entry.bytes)}, {entry.path}")
        if not sys.stdin.isatty():
            fail("nobody is there to be asked; write --yes to remove these")
        typer.confirm(f"remove {len(chosen)} entries?", abort=True)
    done = cleared(chosen)
    for entry, why in done:
        if why:
            typer.echo(f"{entry.name} stays: {why}", err=True)
    gone = [entry for entry, why in done if not why]
    typer.echo(f"{len(gone)} removed, {size(sum(e.bytes for e in gone))}")
    if len(gone) < len(done):
        raise typer.Exit(1)


def request_from(flags: Mapping[str, Any]) -> Any:
    """The `plan.Request` of the flags of `dnabench run`, by the names of its parameters."""
    from dnabench.sweep.grid import Request

    changes = {
        "epochs": flags["epochs"], "batch": flags["batch_size"],
        "precision": flags["precision"], "rc": flags["rc"],
    }  # fmt: skip
    return Request(
        models=split_commas(flags["models"]), preset=flags["preset"],
        tasks=split_commas(flags["tasks"]),
        suite=flags["suite"], data=flags["data"], seeds=flags["seeds"],
        protocol=flags["protocol"], regime=flags["regime"], recipe=flags["recipe"],
        limit=flags["limit"], settings=flags["set_"] or [], sweeps=flags["sweep"] or [],
        overrides={name: value for name, value in changes.items() if value},
    )  # fmt: skip


def plan_like(
    run: Callable[..., Any],
    resources_of: Callable[[Mapping[str, Any]], Any],
    request_of: Callable[[Mapping[str, Any]], Any] = request_from,
) -> Callable[..., None]:
    """The command `plan`: the flags of `run`, but for those that mean nothing here, and two more.

    Args:
        run: the function behind `dnabench run`.
        resources_of: gives `run.Resources` of the flags.
        request_of: gives `plan.Request` of them.
    """
    known = inspect.signature(run, eval_str=True).parameters
    more = inspect.signature(_flags_of_plan, eval_str=True).parameters

    @report_errors
    def plan(**flags: Any) -> None:
        """What a run with these flags would take, from a few real steps of each model."""
        for name in NOT_OF_A_PLAN:
            flags.setdefault(name, known[name].default)
        _plan(request_of(flags), resources_of(flags), flags)

    flags = [*(p for name, p in known.items() if name not in NOT_OF_A_PLAN), *more.values()]
    plan.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    plan.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return plan


def _flags_of_plan(
    probe_seconds: Annotated[float, typer.Option(help="Of each probe, about.")] = 4.0,
    as_json: Json = False,
) -> None:
    """Beside those of `run`."""


def _plan(request: Any, resources: Any, flags: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from dnabench.cache import room
    from dnabench.forecast.estimate import plan, summary, table
    from dnabench.host.machine import free_memory
    from dnabench.results.store import Store
    from dnabench.sweep.grid import grid

    out, seconds = Path(flags["out"]), flags["probe_seconds"]
    if not seconds > 0:
        fail(f"--probe-seconds {seconds}: must be above 0")
    jobs = grid(request, lambda why: typer.echo(f"note: {why}", err=True))
    done = {r.trial.id: r.seconds for r in Store(out) if not r.error}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("probing", total=None)
        found = plan(
            jobs, resources, done, seconds, lambda job, n: bar.update(line, total=n, advance=1)
        )
    memory, disk = free_memory(), room(out)
    if flags["as_json"]:
        document = found._asdict() | {"free_memory": memory, "free_disk": disk}
        rows = [row._asdict() | {"sizes": row.sizes._asdict()} for row in found.rows]
        document |= {"rows": rows, "resources": resources._asdict(), "peak": found.peak}
        typer.echo(json.dumps(document, indent=1))
    else:
        typer.echo("\n".join([table(found), "", *summary(found, memory, disk)]))
    if any(row.error for row in found.rows):
        raise typer.Exit(1)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
