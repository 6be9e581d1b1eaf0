"""The command line: words in, calls out. No logic lives here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import dnabench
from dnabench.cli import audit_papers
from dnabench.cli.data import audits, data
from dnabench.cli.errors import fail, report_errors, split_commas
from dnabench.cli.figure import EXAMPLES, figure
from dnabench.cli.machine import NOT_OF_A_PLAN, PLAN_EXAMPLES, caches, doctor, plan_like
from dnabench.cli.published import published
from dnabench.cli.report import Out, compare, report, warn_unreadable
from dnabench.cli.reproduce import reproduce
from dnabench.cli.sweep import Compile, ExecutionOptions, Jobs, print_notes, resources_of, run_sweep
from dnabench.cli.tools import profile, tokenizer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Which DNA sequence model is better, by how much, and can you believe it?",
    epilog="First result: dnabench run --suite demo --seeds 3, then: dnabench report",
)
app.add_typer(data, name="data")
app.add_typer(audits, name="audit")
app.add_typer(tokenizer, name="tokenizer")
app.add_typer(published, name="published")
app.add_typer(caches, name="cache")
audits.command("published", epilog="Example: dnabench audit published --paper convnova")(
    audit_papers.published
)
audits.command("tables", epilog="Example: dnabench audit tables seeds.csv --to audit.json")(
    audit_papers.tables
)
app.command(
    epilog="Example: dnabench profile --models convnova-7.4m,hyenadna-large-1m,caduceus_ph-7.7m "
    "--lengths 1000,10000,100000"
)(profile)
app.command(
    epilog="Examples: dnabench report | dnabench report --full | dnabench report --format html | "
    "dnabench report --format latex --to table.tex"
)(report)
app.command(
    epilog="Examples: dnabench reproduce convnova/table13 -m legnet --dry-run | "
    "dnabench reproduce convnova/table12 -t h3k4me3 --seeds 10"
)(reproduce)
app.command(epilog="Example: dnabench compare convnova-386k kmer")(compare)
app.command(epilog=EXAMPLES)(figure)
app.command(epilog="Example: dnabench doctor --json")(doctor)
main = app
DEFAULT_MODELS = "kmer,cnn,convnova-386k"


def _version(show: bool) -> None:
    if show:
        typer.echo(f"dnabench {dnabench.__version__}")
        raise typer.Exit


def _config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Values of a TOML file become the defaults of this command's options."""
    if path is None:
        return None
    from dnabench.cli.config import read_config

    known = [o.removeprefix("--") for p in ctx.command.params for o in p.opts if o[:2] == "--"]
    if ctx.command.name == "plan":  # reads the file of a run; what only a run has changes nothing
        known += [name.replace("_", "-") for name in NOT_OF_A_PLAN]
    try:
        ctx.default_map = read_config(path, known)
    except (ValueError, KeyError, OSError) as e:
        fail(e.args[0] if isinstance(e, KeyError) else str(e))
    return path


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Which DNA sequence model is better, by how much, and can you believe it?"""


@app.command(
    epilog="Examples: dnabench run --suite demo --seeds 3 | dnabench run -m convnova-386k,kmer "
    "--data my.csv --seeds 10 | dnabench run --config sweep.toml --dry-run"
)
@report_errors
def run(
    models: Annotated[
        str, typer.Option("--models", "-m", help="Names with commas between, or all.")
    ] = DEFAULT_MODELS,
    preset: Annotated[
        str, typer.Option(help="smallest: of each family among --models only the smallest.")
    ] = "",
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Names with commas between.")] = "",
    suite: Annotated[
        str, typer.Option("--suite", "-s", help="All tasks of a suite, or --tasks of it.")
    ] = "",
    data: Annotated[
        str,
        typer.Option(help="Your own data: CSV, TSV, Parquet, FASTA, or a folder of such files."),
    ] = "",
    seeds: Annotated[str, typer.Option(help="How many (10) or which (0,3,7 or 2222,42-50).")] = "5",
    protocol: Annotated[str, typer.Option(help="How the checkpoint is chosen.")] = "honest/1",
    regime: Annotated[
        str,
        typer.Option(
            help="First weights: scratch, pretrained or checkpoint:PATH; for one model "
            "ntv2=pretrained, with commas between."
        ),
    ] = "scratch",
    recipe: Annotated[str, typer.Option(help="A recipe by name instead of the suite's.")] = "",
    limit: Annotated[str, typer.Option(help="Only N examples (200) or a share (0.1).")] = "0",
    epochs: Annotated[int, typer.Option(help="Instead of the recipe's; 0 = the recipe's.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Examples a step, globally; 0 = recipe's.")] = 0,
    precision: Annotated[
        str, typer.Option(help="fp32, tf32, bf16 or fp16 instead of the recipe's.")
    ] = "",
    rc: Annotated[str, typer.Option(help="none, augment or conjoin instead of recipe's.")] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A model option or recipe field: dilation=1, cnn.lr=0.01."),
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(help="One column a value: dilation=1,4.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    jobs: Jobs = "auto",
    threads: Annotated[int, typer.Option(help="Threads of each trial.")] = 1,
    micro_batch: Annotated[
        int, typer.Option(help="Examples in memory at once; 0 = the whole batch.")
    ] = 0,
    compile: Compile = "auto",
    executor: Annotated[str, typer.Option(help="local, or inline for a debugger.")] = "local",
    trial_timeout: Annotated[
        str, typer.Option(help="Stop a trial that runs longer: 3600, 30m, 2h; it counts as failed.")
    ] = "",
    out: Out = Path("runs"),
    config: Annotated[
        Path | None,
        typer.Option(
            callback=_config, is_eager=True, help="TOML file with these names; flags win."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the grid and what is done.")
    ] = False,
) -> None:
    """Fine-tune and score every model on every task at every seed; only what is missing runs."""
    from dnabench.sweep.grid import Request, grid, tasks_of

    changes = {"epochs": epochs, "batch": batch_size, "precision": precision, "rc": rc}
    request = Request(
        models=split_commas(models), preset=preset, tasks=split_commas(tasks), suite=suite,
        data=data, seeds=seeds, protocol=protocol, regime=regime, recipe=recipe, limit=limit,
        settings=set_ or [], sweeps=sweep or [],
        overrides={name: value for name, value in changes.items() if value},
    )  # fmt: skip
    notes: list[str] = []
    plan = grid(request, notes.append)
    if data:
        from dnabench.tasks.io.files import describe

        typer.echo(describe(tasks_of(request)[0]))
    if dry_run:
        _dry_run(plan, notes, out)
    else:
        how = ExecutionOptions(device, jobs, threads, micro_batch, executor, compile, trial_timeout)
        if run_sweep(request, plan, notes, out, how).failed:
            raise typer.Exit(1)


app.command("plan", epilog=PLAN_EXAMPLES)(
    plan_like(
        run,
        lambda w: resources_of(ExecutionOptions(*(w[name] for name in ExecutionOptions._fields))),
    )
)


def _dry_run(plan: Any, notes: list[str], out: Path) -> None:
    from tabulate import tabulate

    from dnabench.results.store import Store
    from dnabench.sweep.grid import label

    store = Store(out)
    rows = []
    for job in plan:
        record = store.read(job.trial.id)
        state = "missing" if record is None else "failed" if record.error else "done"
        rows.append((job.trial.task, job.trial.seed, job.trial.id, state, label(job.trial)))
    typer.echo(tabulate(rows, ("task", "seed", "trial", "state", "model")))
    n_done = sum(row[3] == "done" for row in rows)
    print_notes(notes)
    typer.echo(f"\n{len(rows)} trials: {n_done} done, {len(rows) - n_done} to run")
    warn_unreadable(store)


@app.command("list", epilog="Example: dnabench list models")
@report_errors
def list_(
    what: Annotated[str, typer.Argument(help="models, tasks, suites, protocols, recipes, metrics")],
) -> None:
    """Print what there is."""
    from dnabench.cli.listing import LISTINGS
    from dnabench.registry import explain_miss

    if what not in LISTINGS:
        fail(explain_miss("list", what, list(LISTINGS), f"there are {', '.join(LISTINGS)}"))
    typer.echo(LISTINGS[what]())
    for registry in (dnabench.MODELS, dnabench.TASKS):
        for what_, why in registry.broken.items():
            typer.echo(f"warning: {registry.noun}s: {what_} did not load: {why}", err=True)
