"""`dnabench regimes`: what pretraining buys, against scratch and three controls."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from dnabench.cli.allowed import check_precisions
from dnabench.cli.config import Config
from dnabench.cli.errors import print_notes, split_commas
from dnabench.cli.execution import ExecutionOptions
from dnabench.cli.flags import with_flags
from dnabench.cli.options import DataOptions, GridOptions, Out
from dnabench.cli.pretrain import bp_named, pretraining_chosen
from dnabench.cli.report import report_on
from dnabench.cli.sweep import run_sweep

if TYPE_CHECKING:
    from dnabench.pretraining.recipes import Pretraining
    from dnabench.results.regimes import Regime
    from dnabench.results.store import Store
    from dnabench.sweep.regimes import Column, RegimesRequest
    from dnabench.types import Job, Resources


option = partial(typer.Option, rich_help_panel="Pretraining")


class PretrainingOptions(NamedTuple):
    """The flags that say what is pretrained, and what it is held against."""

    genomes: Annotated[
        list[str], option(help="What is pretrained on: human=hg38.fa,multi=hg38.fa+mm10.fa.")
    ] = []  # noqa: RUF012
    holdout: Annotated[list[str], option(help="Sequence to evaluate on: chr8, or FILE:chr8.")] = []  # noqa: RUF012
    exclude_task: Annotated[
        list[str], option(help="Keep windows clear of this task's test sequences: nt_reduced/h3.")
    ] = []  # noqa: RUF012
    budget: Annotated[str, option(help="Bp that each pretraining sees: 20M.")] = "20M"
    tokenizers: Annotated[list[str], option(help="char,bpe; default: each model's own.")] = []  # noqa: RUF012
    pretrain_seeds: Annotated[
        int, option(help="Pretrainings of each network; several are a verdict's units.", min=1)
    ] = 1
    controls: Annotated[
        list[str], option(help="same compute, shuffled, frozen random: all of them, some, or none.")
    ] = ["same compute", "shuffled", "frozen random"]  # noqa: RUF012
    pretrain_recipe: Annotated[str, option(help="As --recipe of pretrain.")] = "house"
    pretrain_length: Annotated[int, option(help="Bp of a window; 0 = the recipe's.", min=0)] = 0
    pretrain_set: Annotated[
        list[str],
        option(help="Recipe field of pretraining: batch=32, hidden_share=0.3; may be repeated."),
    ] = []  # noqa: RUF012
    looks: Annotated[
        int,
        option(help="Number of evaluations during training (checkpoints are saved then).", min=1),
    ] = 5

    def request(
        self, choice: GridOptions, reading: DataOptions,
        genomes: Mapping[str, Sequence[str]] | None = None,
    ) -> RegimesRequest:  # fmt: skip
        """What is asked for; `genomes` are name -> files, in place of the text of the flag."""
        from dnabench.sweep.regimes import RegimesRequest

        models, recipe = split_commas(choice.models), self.pretrain_recipe
        if not models:
            raise ValueError("--models is empty; name some, e.g. convnova-386k,gpn-smol")
        trust = choice.trust_remote_code
        how = _how(models, recipe, self.pretrain_length, self.pretrain_set, trust)
        return RegimesRequest(
            grid=choice.request(reading), holdout=self.holdout,
            genomes=_genomes(self.genomes) if genomes is None else genomes,
            exclude=split_commas(self.exclude_task), budget=bp_named(self.budget),
            tokenizers=split_commas(self.tokenizers), pretrain_seeds=self.pretrain_seeds,
            controls=[name for name in split_commas(self.controls) if name != "none"],
            looks=self.looks, how=how,
        )  # fmt: skip


@partial(with_flags, hidden=("regime", "sweep"), models=["convnova-386k"])
def regimes(
    choice: GridOptions,
    reading: DataOptions,
    pretraining: PretrainingOptions,
    execution: ExecutionOptions,
    out: Out = Path("runs"),
    config: Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is missing, and its cost; train nothing.")
    ] = False,
) -> None:  # fmt: skip
    """Compare scratch with pretraining, and with controls.

    Pretrains each model on each genome at one budget, fine-tunes over seeds, and prints scores,
    verdicts and cost. Controls: scratch with the same compute, pretraining on the first genome with
    its dinucleotides shuffled, and a linear head on frozen random weights. The same command again
    resumes where it was killed.
    """
    from dnabench.results.store import Store

    request = pretraining.request(choice, reading)
    if dry_run:
        _dry_run(request, Store(out))
        return
    jobs, failed = run_regimes(request, out, execution)
    typer.echo(_report(out, jobs))
    if failed:
        raise typer.Exit(1)


def run_regimes(
    request: RegimesRequest, out: Path, execution: ExecutionOptions
) -> tuple[list[Job], bool]:
    """Train what is missing; the trials, and whether some failed.

    Raises:
        KeyError, OSError, ValueError: as `columns_of`, `planned` and `run_sweep`.
        typer.Exit: as `run_sweep`.
    """
    from dnabench.executors import ELSEWHERE
    from dnabench.results.regimes import regimes, save_regime
    from dnabench.results.store import Store
    from dnabench.sweep.regimes_trials import jobs_of, planned, regime_of

    store, resources = Store(out), execution.resources()
    store.check_writable()
    columns = _columns(request, out)
    coming = planned(columns, request)
    notes, jobs, found, done = list[str](), [], [], store.done()
    if resources.executor not in ELSEWHERE:
        for column, planned_of in zip(columns, coming, strict=True):
            check_precisions(_left(column, planned_of, request, done), resources.devices)
    print_notes(_more_seeds(request))
    _pretrain(columns, resources)
    before = done - {trial_id for one in regimes(store) for trial_id in one.trials}
    for column in columns:
        own = jobs_of(column, request, notes.append)
        found.append(regime_of(column, columns, request, own, before))
        save_regime(store, found[-1])
        jobs += [job for some in own.values() for job in some]
    pairs = [] if any(job.trial.id in done for job in jobs) else _pairs(found)
    summary = run_sweep(
        request, jobs, list(dict.fromkeys(notes)), out, execution, to_stderr=True, declared=pairs
    )
    return jobs, bool(summary.failed)


def _left(
    column: Column, coming: list[Job], request: RegimesRequest, done: Collection[str]
) -> list[Job]:
    """The trials of a column that are not done; all that are `coming` if a network is missing."""
    from dnabench.sweep.regimes_trials import jobs_of

    if not all(one.card for one in column.kept):
        return coming
    own = jobs_of(column, request)
    return [job for some in own.values() for job in some if job.trial.id not in done]


def _columns(request: RegimesRequest, out: Path, drafts: Path | None = None) -> list[Column]:
    """The columns, under a bar that says what is done."""
    from dnabench.cli.bars import bar
    from dnabench.sweep.regimes import columns_of

    said = list[str]()
    with bar("reading genomes") as show:

        def told(what: str, done: int, total: int) -> None:
            show(description=what, completed=done, total=total)

        reading, shuffling = (partial(told, f"{w} genomes") for w in ("reading", "shuffling"))
        columns = columns_of(request, out, reading, shuffling, drafts, said.append)
    print_notes(list(dict.fromkeys(said)))
    return columns


def _more_seeds(request: RegimesRequest) -> list[str]:
    """A note where trials without pretraining have more seeds than the user gave."""
    from dnabench.sweep.regimes_trials import seeds_of

    given, taken = len(seeds_of(request, 0)), len(seeds_of(request))
    if given == taken:
        return []
    return [f"scratch and the controls without pretraining run with {taken} seeds, not {given}: "
            "as many as there are pretrainings, which are the units of a verdict"]  # fmt: skip


def _genomes(texts: Sequence[str]) -> dict[str, list[str]]:
    """Name -> files."""
    out: dict[str, list[str]] = {}
    for text in split_commas(texts):
        name, equals, files = text.partition("=")
        if not (name and equals and files) or name in out:
            raise ValueError(
                f"--genomes {text!r}: write a name of its own and files, human=hg38.fa or "
                "multi=hg38.fa+mm10.fa"
            )
        out[name] = files.split("+")
    return out


def _how(
    models: Sequence[str], recipe: str, length: int, settings: list[str], trust: bool
) -> Pretraining:
    """How networks are pretrained; ValueError for settings that one of the models does not take."""
    found = [pretraining_chosen(name, recipe, settings, length, trust) for name in models]
    for model, options, _ in found:
        if changed := [k for k, v in options.items() if v != model.options[k]]:
            raise ValueError(
                f"--pretrain-set {changed[0]}: an option of {model.name}; write --set, which "
                "counts in pretraining and fine-tuning alike"
            )
    return found[0][2]


def _pretrain(columns: Sequence[Column], resources: Resources) -> None:
    """Train the networks that are missing."""
    from dnabench.cli.bars import bar
    from dnabench.pretraining.pretrain import pretrain

    kept = [one for column in columns for one in column.kept]
    left = [one for one in kept if not one.card]
    for i, (training, folder) in enumerate(left, 1):
        name = f"pretraining {i} of {len(left)}: {folder.name}"
        print_notes([name])
        with bar("pretraining", total=training.steps) as show:
            pretrain(
                training, folder, resources._replace(device=resources.devices[0]),
                lambda done, _, row: show(completed=done),
            )  # fmt: skip


def _pairs(found: Sequence[Regime]) -> list[list[str]]:
    """What is asked before there are results: a regime against scratch, and against controls."""
    from dnabench.results.regimes import CONTROLS, PRETRAINED, SCRATCH

    out = []
    for one in found:
        same = [other for other in found if other.base == one.base and other is not one]
        asked = {SCRATCH, *CONTROLS} if one.kind == PRETRAINED else {SCRATCH}
        if one.kind != SCRATCH:
            out += [[one.name, other.name] for other in same if other.kind in asked]
    return out


def _dry_run(request: RegimesRequest, store: Store) -> None:
    """Print what is missing; byte pairs that a network would need are in a folder that goes."""
    from tempfile import TemporaryDirectory

    from tabulate import tabulate

    from dnabench.reports.grid import count
    from dnabench.sweep.regimes_trials import bp_of, planned

    done, bp, rows = store.done(), bp_of(request), []
    with TemporaryDirectory() as drafts:
        columns = _columns(request, store.folder, Path(drafts))
        for column, coming in zip(columns, planned(columns, request), strict=True):
            missing = sum(not one.card for one in column.kept)
            rows.append((
                column.model.name, column.tokenizer, column.regime, len(column.kept), missing,
                f"{missing * bp / 1e6:.4g}", len(coming),
                len(_left(column, coming, request, done)),
            ))  # fmt: skip
    print_notes(_more_seeds(request))
    heads = ("model", "tokenizer", "regime", "pretrainings", "missing", "Mbp to see", "trials",
             "to run")  # fmt: skip
    typer.echo(tabulate(rows, heads))
    typer.echo(
        f"\n{count(sum(r[4] for r in rows), 'pretraining')} of {bp / 1e6:.4g} Mbp and "
        f"{sum(r[7] for r in rows)} of {count(sum(r[6] for r in rows), 'trial')} to run"
    )


def _report(out: Path, jobs: Sequence[Job]) -> str:
    """The table of regimes, as `dnabench report --full` has it."""
    from dnabench.reports.regimes import tables_of
    from dnabench.reports.text.markdown_grid import grid

    return "\n\n".join(map(grid, tables_of(report_on(out, jobs).evidence)))
