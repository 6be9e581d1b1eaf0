"""`dnabench data ...` and `dnabench audit data`: what the tasks are made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dnabench.cli.errors import fail, report_errors, split_commas
from dnabench.registry import TASKS

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Get, check and audit data.")
audits = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look for what misleads.")
Tasks = Annotated[list[str], typer.Argument(help="Tasks or whole suites: gue/mouse_0 demo.")]


@audits.callback()
def group() -> None:
    """Look for what misleads."""


def named(names: list[str], present: bool = False) -> list[str]:
    """Tasks by name, a suite standing for all of its tasks.

    Args:
        names: of tasks, aliases or suites.
        present: of a suite only the tasks whose data are here.

    Raises:
        KeyError: an unknown name; the message suggests.
        ValueError: a suite of which nothing is here.
    """
    from dnabench.sweep.grid import suites

    found = []
    for name in names:
        members = suites().get(name, ())
        here = [t for t in members if TASKS[t].data or not present]
        if members and not here:
            raise ValueError(f"nothing of {name} is here; `dnabench data fetch {name}` gets it")
        found += here if members else [TASKS[name].name]
    return list(dict.fromkeys(found))


@data.command("list", epilog="Examples: dnabench data list | dnabench data list gue")
@report_errors
def list_(
    names: Annotated[list[str] | None, typer.Argument(help="Tasks or suites; all if none.")] = None,
) -> None:
    """Print which tasks' data are here, with the published counts beside those found."""
    from tabulate import tabulate

    rows = []
    for name in named(names) if names else TASKS:
        task = TASKS[name]
        both = [
            "/".join(str(counts.get(s, "-")) for s in ("train", "dev", "test"))
            for counts in (task.counts if task.data else {}, task.official or task.counts)
        ]
        rows.append((task.name, task.data or "not here", *both, task.license))
    heads = ("task", "data", "train/dev/test here", "published", "licence")
    typer.echo(tabulate(rows, heads, disable_numparse=True))


@data.command("import", epilog="Example: dnabench data import ~/GUE")
@report_errors
def import_(
    folder: Annotated[
        Path, typer.Argument(help="A tree of files in a known layout, or an archive.")
    ],
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Only these, commas between.")] = "",
    genome: Annotated[
        Path | None, typer.Option(help="GRCh38 FASTA, for bend/gene_finding only.")
    ] = None,
) -> None:
    """Take the files you have, task by task, into the cache, and say what is missing."""
    from dnabench.tasks.io.importing import import_tree, report

    if genome is not None:
        from dnabench.tasks.bend import import_files

        done = import_files(folder, genome)
        typer.echo(f"bend/gene_finding: {dict(done.counts)}, {dict(done.notes)}")
        return
    with _bar() as show:
        found = import_tree(
            folder, split_commas(tasks), lambda task, n, total: show(task, n, total)
        )
    typer.echo("\n".join(report(folder, found)))
    if not found or any(one.error for one in found):
        raise typer.Exit(1)


@data.command(epilog="Example: dnabench data fetch nt/h3 gue/mouse_0")
@report_errors
def fetch(
    tasks: Tasks,
    folder: Annotated[Path | None, typer.Option(help="For the files; the cache if none.")] = None,
    revision: Annotated[str, typer.Option(help="40 hex digits, instead of the pinned one.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Only what is in caches.")] = False,
) -> None:
    """Download tasks at pinned revisions, check them, and import them."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, below
    from dnabench.tasks.io.fetching import fetch_and_import
    from dnabench.tasks.io.importing import report

    with _bar() as show:
        outcomes = fetch_and_import(named(tasks), show, folder, revision)
    imported = [one.imported for one in outcomes if one.imported is not None]
    if imported:
        typer.echo("\n".join(report(folder or Path("cache"), imported)))
    for one in outcomes:
        if one.error:
            typer.echo(f"{one.task}: {one.error}", err=True)
    if any(one.error for one in outcomes):
        raise typer.Exit(1)


@data.command(epilog="Example: dnabench data verify gue")
@report_errors
def verify(tasks: Tasks) -> None:
    """Compare data with what is published of them: counts, labels, lengths, letters, checksums."""
    from dnabench.tasks.io.verifying import counts_in_words, verify

    differ = False
    for name in named(tasks, present=True):
        found = verify(TASKS[name])
        differ = differ or bool(found)
        said = counts_in_words(TASKS[name], TASKS[name].counts)
        typer.echo(f"{name}: {'as published' if not found else ''}")
        found += [f"note: {said}"] if said else []
        for line in found:
            typer.echo(f"  {line}")
    if differ:
        raise typer.Exit(1)


@data.command(epilog="Example: dnabench data genes --fasta g.fa --gff g.gff3 --name fly")
@report_errors
def genes(
    fasta: Annotated[Path, typer.Option(help="Genome, plain or .gz.")],
    gff: Annotated[Path, typer.Option(help="GFF3 or GTF of it, plain or .gz.")],
    name: Annotated[str, typer.Option(help="The task becomes genes/NAME.")],
    length: Annotated[int, typer.Option(help="bp of a window at most.")] = 10_000,
    dev: Annotated[str, typer.Option(help="Sequences of dev, commas between.")] = "",
    test: Annotated[str, typer.Option(help="Sequences of test, commas between.")] = "",
    exons: Annotated[str, typer.Option(help="coding (the CDS) or all.")] = "coding",
    keep: Annotated[str, typer.Option(help="genes: windows with a gene; all.")] = "genes",
) -> None:
    """Make a per-base gene finding task of any annotated genome, split by chromosome."""
    from dnabench.tasks.genes import import_genes
    from dnabench.tasks.io.gene_windows import Cutting

    if exons not in ("coding", "all") or keep not in ("genes", "all"):
        fail(f"--exons {exons} --keep {keep}: exons are coding or all, keep is genes or all")
    cutting = Cutting(
        longest=length, dev=tuple(split_commas(dev)), test=tuple(split_commas(test)),
        exons=exons, keep=keep,  # type: ignore[arg-type]
    )  # fmt: skip
    task = import_genes(name, fasta, gff, cutting)
    counts = "/".join(str(task.counts.get(s, "-")) for s in ("train", "dev", "test"))
    typer.echo(f"{task.name}: {counts} windows (train/dev/test), the longest {task.length:,} bp")


@data.command("audit", epilog="Example: dnabench data audit gue/prom_core_tata")
@audits.command("data", epilog="Example: dnabench audit data gue --fail-on leaked-share>0.01")
@report_errors
def audit(
    tasks: Tasks,
    genome: Annotated[Path | None, typer.Option(help="FASTA to look the windows up in.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit 1 where it holds: 'train-test-duplicates>0'."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for <task>.json and audit.html.")] = None,
) -> None:
    """Copies, near copies, conflicting labels and shortcuts, within and between the splits.

    An audit is kept in the cache: `dnabench report` then shows scores without the copied examples.
    """
    import json

    from dnabench.reports.text.audit import html, markdown, overview
    from dnabench.tasks.audit.audit import audit, keep
    from dnabench.tasks.audit.conditions import fail_on as holding

    documents, held = [], []
    with _bar() as show:
        for name in named(tasks, present=True):
            audited = audit(
                TASKS[name], genome, lambda what, share: show(what, round(100 * share), 100)
            )
            keep(audited)
            found = audited.to_json()
            documents.append(json.loads(found))
            held += holding(documents[-1], fail_on or [])
            if to is not None:
                to.mkdir(parents=True, exist_ok=True)
                (to / f"{name.replace('/', '_')}.json").write_text(found, encoding="utf-8")
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


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], Any]]:
    """A bar on stderr that follows (what, done, total); it pulses where the total is not known."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        line = progress.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            progress.update(line, description=what, completed=done, total=total or None)

        yield show
