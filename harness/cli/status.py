"""`dnabench status`: how far the trials of a folder are."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.options import Json, Out

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dnabench.sweep.state import Running, State

AGAIN = 5.0  # seconds between two looks
FEWEST = 5  # lines of running or failed trials on any terminal
BESIDE = 8  # lines that are no trials


def status(
    out: Out = Path("runs"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every 5 seconds until all have ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show how far the trials of a folder are, and where they run."""
    from rich.console import Console

    from dnabench.results.store import Store
    from dnabench.sweep.state import state_of
    from dnabench.sweep.stored import stored_grid

    store = Store(out)
    state = state_of(store, stored_grid(store))
    if as_json:
        typer.echo(json.dumps(_document(state), indent=1))
        return
    console = Console()
    if not watch:
        console.print(_view(state, console.height if console.is_terminal else 0))
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(_view(state, console.height), refresh=True)
            if not (state.running or state.silent or state.waiting):
                return
            time.sleep(AGAIN)
            state = state_of(store, stored_grid(store))


def _document(state: State) -> dict[str, Any]:
    def running(some: Sequence[Running]) -> list[dict[str, Any]]:
        return [{"trial": one.job.trial.id, **one.holder._asdict()} for one in some]

    return {
        "done": [r.trial.id for r in state.done],
        "failed": [{"trial": r.trial.id, "reason": r.reason} for r in state.failed],
        "running": running(state.running), "silent": running(state.silent),
        "waiting": [job.trial.id for job in state.waiting], "seconds_left": state.seconds,
        "checkpoints": state.checkpoints,
    }  # fmt: skip


def _view(state: State, height: int) -> RenderableType:
    """Counts, then tables as long as a terminal of that height has room; 0 = whole."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_counts(state))]
    tables = (
        ("running", [_line(one) for one in state.running]),
        ("not heard of", [_line(one) for one in state.silent]),
        ("failed", [_failure(record) for record in state.failed]),
    )
    shown = [(head, rows) for head, rows in tables if rows]
    room = max(FEWEST, (height - BESIDE) // max(1, len(shown)) - 3) if height else 10**9
    for head, rows in shown:
        parts.append(_table(head, rows[:room], len(rows) - len(rows[:room])))
    return Group(*parts)


def _counts(state: State) -> str:
    from dnabench.reports.grid import count
    from dnabench.sweep.progress import clock

    counts = {
        "done": len(state.done), "running": len(state.running), "not heard of": len(state.silent),
        "failed": len(state.failed), "waiting": len(state.waiting),
    }  # fmt: skip
    found = [f"{n} {what}" for what, n in counts.items() if n or what != "not heard of"]
    text = f"{count(sum(counts.values()), 'trial')}: {', '.join(found)}"
    if kept := len(state.checkpoints):
        text += f" ({kept} with a checkpoint)"
    if state.seconds:
        return f"{text}; about {clock(state.seconds)} left"
    if (state.waiting or state.silent) and not state.running:
        return f"{text}; no worker is running"
    return text


def _line(one: Running) -> tuple[str, ...]:
    from dnabench.sweep.progress import clock, name_of

    host, _, _ = one.holder.host.rpartition("-")
    where = ", ".join(filter(None, [host or one.holder.host, one.holder.batch_job]))
    since = clock(one.seconds(time.time()))
    return one.job.trial.id, name_of(one.job), where, since, clock(one.holder.beat)


def _failure(record: Any) -> tuple[str, ...]:
    trial = record.trial
    return trial.id, f"{trial.model} {trial.task} seed {trial.seed}", record.reason


def _table(head: str, rows: Sequence[tuple[str, ...]], more: int) -> RenderableType:
    """One line a trial: what does not fit is cut at its right."""
    from rich.table import Table
    from rich.text import Text

    heads = (head, "what", "why") if len(rows[0]) == 3 else (head, "what", "where", "for", "silent")
    table = Table(*heads, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for k, column in enumerate(table.columns):
        column.no_wrap, column.overflow = True, "ellipsis"
        if heads[k] not in ("what", "where", "why"):
            column.min_width = max(len(row[k]) for row in [heads, *rows])
    for row in rows:
        table.add_row(*map(Text, row))
    if more:
        table.add_row(f"and {more} more")
    return table
