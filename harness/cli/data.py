"""`dnabench data ...`: get, check and list data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dnabench.cli.bars import bar
from dnabench.cli.errors import fail, split_commas
from dnabench.cli.help import command, group
from dnabench.cli.options import names_of
from dnabench.cli.table import Rows, print_table

data = group("data", "Download, import and check data.")
completing = names_of("suites", "tasks")
Tasks = Annotated[
    list[str],
    typer.Argument(help="Tasks or suites, e.g. gue/mouse_0 demo.", autocompletion=completing),
]

MaybeTasks = Annotated[
    list[str] | None,
    typer.Argument(help="Tasks or suites, e.g. gue/mouse_0 demo.", autocompletion=completing),
]


def named(names: list[str], present: bool = False) -> list[str]:
    """Task names, with every suite replaced by its tasks.

    Args:
        names: of tasks, aliases or suites.
        present: take only those tasks of a suite whose data have been imported.

    Raises:
        KeyError: an unknown name; the message suggests.
        ValueError: a suite without imported data.
    """
    from dnabench.registry import TASKS
    from dnabench.sweep.tasks import suites

    found = []
    for name in names:
        members = suites().get(name, ())
        here = [t for t in members if TASKS[t].data or not present]
        if members and not here:
            raise ValueError(f"no data of {name} here; get them: dnabench data fetch {name}")
        found += here if members else [TASKS[name].name]
    return list(dict.fromkeys(found))


@command(data, "list", "", "gue", "nt/h3 demo")
def list_(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks or suites; all by default.", autocompletion=completing),
    ] = None,
) -> None:
    """List tasks with their data, found and published counts."""
    from dnabench.registry import TASKS

    rows: Rows = []
    for name in named(names) if names else TASKS:
        task = TASKS[name]
        both = [
            "/".join(str(counts.get(s, "-")) for s in ("train", "dev", "test"))
            for counts in (task.counts if task.data else {}, task.official or task.counts)
        ]
        rows.append((task.name, task.data or "not here", *both, task.license))
    heads = ("task", "data", "train/dev/test here", "published", "licence")
    print_table(heads, rows)


@command(data, "import", "~/GUE", "GUE.zip -t gue/mouse_0,gue/mouse_1", "bend --genome hg38.fa.gz")
def import_(
    folder: Annotated[
        Path, typer.Argument(help="Folder or archive in a layout that its authors distribute.")
    ],
    tasks: Annotated[
        list[str],
        typer.Option("--tasks", "-t", help="Only these, comma-separated.",
                     autocompletion=names_of("tasks")),
    ] = [],  # noqa: B006
    genome: Annotated[
        Path | None, typer.Option(help="GRCh38 FASTA; for bend/gene_finding only.")
    ] = None,
) -> None:  # fmt: skip
    """Import files you have, and say which are missing."""
    from dnabench.tasks.io.importing import import_tree, report

    if genome is not None:
        from dnabench.tasks.bend import import_files

        try:
            done = import_files(folder, genome)
        except (KeyError, RuntimeError, IndexError, OverflowError) as e:  # of the readers
            fail(f"{folder}: a file is damaged: {type(e).__name__}: {e}")
        typer.echo(f"bend/gene_finding: {dict(done.counts)}, {dict(done.notes)}")
        return
    with bar("") as show:
        found = import_tree(
            folder, split_commas(tasks),
            lambda task, n, total: show(description=task, completed=n, total=total or None),
        )  # fmt: skip
    typer.echo("\n".join(report(folder, found)))
    if not found or any(one.error for one in found):
        raise typer.Exit(1)


@command(data, "fetch", "nt/h3 gue/mouse_0", "deepstarr", "gue --folder downloads")
def fetch(
    tasks: Tasks,
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the files; default: the cache.")
    ] = None,
    revision: Annotated[
        str, typer.Option(help="Commit (40 hex digits) instead of the pinned one.")
    ] = "",
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only files that are in a cache.")
    ] = False,
) -> None:
    """Download tasks at pinned revisions, check and import them."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, below
    from dnabench.tasks.io.fetching import fetch_and_import
    from dnabench.tasks.io.importing import report

    with bar("") as show:
        outcomes = fetch_and_import(
            named(tasks),
            lambda what, n, total: show(description=what, completed=n, total=total or None),
            folder, revision,
        )  # fmt: skip
    imported = [one.imported for one in outcomes if one.imported is not None]
    if imported:
        typer.echo("\n".join(report(folder or Path("cache"), imported)))
    for one in outcomes:
        if one.error:
            typer.echo(f"{one.task}: {one.error}", err=True)
    if any(one.error for one in outcomes):
        raise typer.Exit(1)


@command(data, "verify", "gue", "nt/h3", "nt gue")
def verify(tasks: Tasks) -> None:
    """Compare data with their published counts and contents."""
    from dnabench.registry import TASKS
    from dnabench.tasks.io.verifying import as_published, counts_in_words, verify

    differ = False
    for name in named(tasks, present=True):
        found = verify(TASKS[name])
        differ = differ or bool(found)
        said = counts_in_words(TASKS[name], TASKS[name].counts)
        typer.echo(f"{name}: {'' if found else as_published(TASKS[name])}")
        found += [f"note: {said}"] if said else []
        for line in found:
            typer.echo(f"  {line}")
    if differ:
        raise typer.Exit(1)


@command(
    data, "genes", "--fasta fly.fa.gz --gff fly.gff3.gz --name fly",
    "--fasta worm.fa --gff worm.gtf --name worm --dev chrIV --test chrV,chrX",
    "--fasta fly.fa.gz --gff fly.gff3.gz --name fly --length 2000 --exons all",
)  # fmt: skip
def genes(
    fasta: Annotated[Path, typer.Option(help="Genome in FASTA, plain or .gz.")],
    gff: Annotated[Path, typer.Option(help="Its annotation in GFF3 or GTF, plain or .gz.")],
    name: Annotated[str, typer.Option(help="The task will be called genes/NAME.")],
    length: Annotated[int, typer.Option(help="Longest window in bp.")] = 10_000,
    dev: Annotated[str, typer.Option(help="Comma-separated chromosomes for validation.")] = "",
    test: Annotated[str, typer.Option(help="Comma-separated chromosomes for testing.")] = "",
    exons: Annotated[str, typer.Option(help="coding (CDS only) or all.")] = "coding",
    keep: Annotated[str, typer.Option(help="genes (windows with a gene) or all.")] = "genes",
    labels: Annotated[
        str,
        typer.Option(help="bend (stop codons are non-coding, the longer of two overlapping genes "
                     "counts) or certain (ignore overlaps and unannotated ends)."),
    ] = "bend",
) -> None:  # fmt: skip
    """Make a gene finding task from an annotated genome.

    The splits are whole chromosomes.
    """
    from dnabench.reports.grid import count
    from dnabench.tasks.genes import import_genes
    from dnabench.tasks.io.gene_windows import Cutting
    from dnabench.tasks.io.imported import cached
    from dnabench.tasks.io.splice_sites import LEAST

    chosen = {"exons": (exons, "coding", "all"), "keep": (keep, "genes", "all"),
              "labels": (labels, "bend", "certain")}  # fmt: skip
    for option, (given, one, other) in chosen.items():
        if given not in (one, other):
            fail(f"--{option} {given}: give --{option} {one} or {other}")
    cutting = Cutting(
        longest=length, dev=tuple(split_commas(dev)), test=tuple(split_commas(test)),
        exons=exons, keep=keep, labels=labels,  # type: ignore[arg-type]
    )  # fmt: skip
    task = import_genes(name, fasta, gff, cutting)
    counts = "/".join(str(task.counts.get(s, "-")) for s in ("train", "dev", "test"))
    typer.echo(f"{task.name}: {counts} windows (train/dev/test), the longest {task.length:,} bp")
    here = cached(task.name)
    for why, genes in here.notes.get("left_out", {}).items() if here else ():
        more = ", ..." if len(genes) > 5 else ""
        n = count(len(genes), "gene")
        typer.echo(f"masked, not read: {n}, {why}: {', '.join(genes[:5])}{more}")
    masked = here.notes.get("masked", {}) if here else {}
    if masked:
        typer.echo("bases without a label:")
        rows: Rows = [(why, n or "", f"{bases:,}") for why, (n, bases) in masked.items()]
        print_table(("reason", "places", "bases"), rows)
    shares = here.notes["splice_sites"] if here else {}
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    if any(share < LEAST for share in shares.values()):
        said += f"; below {LEAST:.0%} the annotation may be of another genome or strand"
    if said:
        typer.echo(f"labelled splice sites with the bases of one (GT, AG): {said}")
