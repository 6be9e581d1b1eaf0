"""`dnabench audit ...`: problems in data and in tables of results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli import audit_papers
from dnabench.cli.bars import bar
from dnabench.cli.data import MaybeTasks, data, named
from dnabench.cli.errors import fail
from dnabench.cli.flags import with_flags
from dnabench.cli.help import command, group
from dnabench.cli.options import DataOptions

audit = group("audit", "Check data and tables for problems.")
EXAMPLES = "gue/prom_core_tata", "gue --to audit", "--data my.csv --fail-on 'leaked>0'"


@command(data, "audit", *EXAMPLES)
@command(audit, "data", *EXAMPLES)
@with_flags
def audit_data(
    reading: DataOptions,
    tasks: MaybeTasks = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Your own file or folder; may be repeated.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit with status 1 if this holds: leaked>0, leaked-share>0.05, "
                     "train-test-duplicates>0, shortcut-gc>=0.5; a wrong name lists all."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for a JSON file per task and audit.html.")
    ] = None,
) -> None:  # fmt: skip
    """Find copies, conflicting labels and shortcuts in data.

    Exact and near duplicates are found within and between the splits. From then on `dnabench
    report` also shows scores without the duplicated test examples. `dnabench audit data` is the
    same as `dnabench data audit`.
    """
    from dnabench.registry import TASKS
    from dnabench.reports.text.audit import html, markdown, overview
    from dnabench.sweep.tasks import as_each_needs
    from dnabench.tasks.audit.audit import audit, keep
    from dnabench.tasks.audit.conditions import fail_on as holding
    from dnabench.tasks.io.reading import on_genome

    paths = reading.paths(data or [])
    if not (tasks or paths):
        fail("name tasks or suites, or your own files: --data FILE")
    documents, held = [], []
    chosen = [TASKS[name] for name in named(tasks or [], present=True)]
    own = reading.own()
    if not any(on_genome(Path(path)) for path in paths):
        own = replace(own, genome="")  # sequences of other files are looked up in the genome
    chosen += [task for task, _ in as_each_needs(tuple(dict.fromkeys(paths)), own).values()]
    with bar("", total=1) as show:
        for task in chosen:
            audited = audit(
                task, Path(reading.genome) if reading.genome else None,
                lambda what, share: show(description=what, completed=share),
            )  # fmt: skip
            keep(audited)
            found = audited.to_json()
            documents.append(json.loads(found))
            held += holding(documents[-1], fail_on or [])
            if to is not None:
                to.mkdir(parents=True, exist_ok=True)
                (to / f"{task.name.replace('/', '_')}.json").write_text(found, encoding="utf-8")
    typer.echo("\n".join(map(markdown, documents)))
    if len(documents) > 1:
        typer.echo(overview(documents))
    if to is not None:
        page = '<!doctype html><meta charset="utf-8"><title>dnabench audit</title>'
        (to / "audit.html").write_text(page + html(documents), encoding="utf-8")
        typer.echo(f"{to}/audit.html")
    for line in held:
        typer.echo(line, err=True)
    if held:
        raise typer.Exit(1)


command(
    audit, "published", "", "--paper convnova", "--to findings.json --fail-on-findings"
)(audit_papers.published)  # fmt: skip
command(
    audit, "tables", "seeds.csv", "seeds.csv --to audit.json",
    "seeds.csv --printed table.csv --fail-on-findings",
)(audit_papers.tables)  # fmt: skip
