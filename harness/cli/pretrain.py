"""`dnabench pretrain`: a language model from genomes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dnabench.cli.bars import bar
from dnabench.cli.errors import split_commas
from dnabench.cli.flags import with_flags
from dnabench.cli.network_flags import Device, Trust
from dnabench.cli.options import names_of
from dnabench.cli.pretrain_job import going_on_later, job_options, submit
from dnabench.cli.pretrain_said import Speed, described, say_cost, say_plan, say_result

if TYPE_CHECKING:
    from dnabench.pretraining.planning import Budget, Cost
    from dnabench.pretraining.recipes import Pretraining
    from dnabench.pretraining.training import Training
    from dnabench.types import Model, Resources

data = partial(typer.Option, rich_help_panel="Windows")
machine = partial(typer.Option, rich_help_panel="Machine")


class DataFlags(NamedTuple):
    """Which windows are drawn and held out."""

    holdout: Annotated[list[str], data(help="Sequence to evaluate on: chr8, or FILE:chr8.")] = []  # noqa: RUF012
    regions: Annotated[
        list[str],
        data(
            help="Draw half of the windows around genes: "
            "GFF:exons=256,promoters=1000; one for each genome."
        ),
    ] = []  # noqa: RUF012
    exclude_task: Annotated[
        list[str], data(help="Keep windows clear of this task's test sequences: nt_reduced/h3.")
    ] = []  # noqa: RUF012
    weight: Annotated[
        list[float], data(help="How often a genome is drawn from, one for each; default: by size.")
    ] = []  # noqa: RUF012
    stride: Annotated[
        int,
        data(help="Read every window in turn, one each so many bp; 0 = windows at random.", min=0),
    ] = 0
    most_n: Annotated[float, data(help="Share of N that a window may have; held-out ones too.")] = (
        0.1
    )
    licence: Annotated[
        list[str],
        data(help="Licence of a genome, for the network's card; one for each, or none."),
    ] = []  # noqa: RUF012


class MachineFlags(NamedTuple):
    """Where it is trained; none of it changes a number, but by rounding."""

    device: Device = "auto"
    micro_batch: Annotated[
        int, machine(help="Windows in memory at once; 0 = the whole batch.", min=0)
    ] = 0
    recompute: Annotated[
        bool, machine("--recompute", help="Activation checkpointing: less memory, slower.")
    ] = False
    executor: Annotated[str, machine(help="local, or slurm: one job of Slurm.")] = "local"
    set_resource: Annotated[
        list[str], machine(help="Option of sbatch: gres=gpu:1,time=8:00:00; may be repeated.")
    ] = []  # noqa: RUF012
    tensorboard: Annotated[
        bool, machine("--tensorboard", help="Write the curve for TensorBoard too.")
    ] = False
    keep_looks: Annotated[
        bool, machine("--keep-looks", help="Keep the network of each evaluation, in TO/steps/N.")
    ] = False


Settings = Annotated[
    list[str],
    typer.Option(
        "--set", help="Option or recipe field: batch=32, hidden_share=0.3; may be repeated."
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--regime",
        help="Weights to begin with: scratch, pretrained or checkpoint:PATH (a folder of this "
        "command, or a file). To go on from weights, a smaller learning rate than the recipe's is "
        "usual: --set lr=0.0001.",
    ),
]
Trained = Annotated[
    str, typer.Option("--recipe", help="house, convnova, gpn, hyenadna, caduceus, bert ...")
]
Looks = Annotated[
    int,
    typer.Option(help="Number of evaluations during training (checkpoints are saved then).", min=1),
]


@with_flags
def pretrain(
    model: Annotated[
        str, typer.Argument(help="A model with a language-model head.",
                            autocompletion=names_of("models"), show_default=False),
    ],
    genome: Annotated[
        list[Path], typer.Option(help="FASTA file, plain or .gz; may be repeated.")
    ],
    to: Annotated[Path, typer.Option(help="Folder to write; a training in it resumes.")],
    data: DataFlags,
    machine: MachineFlags,
    budget: Annotated[
        str, typer.Option(help="Bp that are seen: 20M, 1.5G; alike for every tokenizer. Or "
                          "10ksteps, 1e18FLOP, 2.5h.")
    ] = "20M",
    recipe: Trained = "house",
    length: Annotated[int, typer.Option(help="Bp of a window; 0 = the recipe's.", min=0)] = 0,
    regime: Weights = "scratch",
    set_: Settings = [],  # noqa: B006
    looks: Looks = 20,
    seed: Annotated[int, typer.Option(help="Seed of weights, windows and hidden tokens.")] = 0,
    trust_remote_code: Trust = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take, and train nothing.")
    ] = False,
) -> None:  # fmt: skip
    """Train a language model on genomes.

    Hidden bases or tokens are predicted, or the next one by a causal model. The folder can be
    fine-tuned with `dnabench run --regime checkpoint:DIR`, or trained further here with the same
    flag. A training that was stopped resumes with the same command. Several GPUs, one process
    each: torchrun --nproc-per-node 2 -m dnabench pretrain ...
    """
    from dnabench.host.machine import device_named
    from dnabench.pretraining.language_nets import check_trust
    from dnabench.pretraining.planning import bought, budget_named, measured
    from dnabench.pretraining.ranks import device_here, joined
    from dnabench.types import Resources

    length_of_training = budget_named(budget)
    chosen = pretraining_chosen(model, recipe, set_, length, trust_remote_code)
    check_trust(model, trust_remote_code, chosen[1])
    job = job_options(machine.executor, machine.set_resource)
    if job and not plan:
        check = partial(_check, to, chosen, regime, genome, data, looks, seed, length_of_training)
        submit(to, job, check)
        return
    device = device_here(device_named(machine.device))
    resources = Resources(device=device, micro_batch=machine.micro_batch)
    with joined(device) as ranks:
        first = ranks.rank == 0  # of torchrun's processes, the one that speaks
        training = _gathered(chosen, regime, genome, data, looks, seed, first)
        training = replace(training, recompute=machine.recompute, keep_looks=machine.keep_looks)

        def measure() -> Cost:
            with bar("measuring", shown=first):
                return measured(training, resources, ranks)

        training = bought(length_of_training, training, to, measure)
        if first:
            say_plan(training)
        if plan:
            cost = measure()
            if first:
                say_cost(training, cost)
            return
        _train(training, to, resources, first, machine.tensorboard)


def _check(
    to: Path, chosen: tuple[Model, dict[str, Any], Pretraining], regime: str,
    genomes: list[Path], data: DataFlags, looks: int, seed: int, budget: Budget,
) -> None:  # fmt: skip
    """What a job would find wrong: the folder, weights, genomes, sequences, regions, warm-up."""
    from dnabench.pretraining.folder import check_folder
    from dnabench.pretraining.planning import bought, measured

    check_folder(to)
    training = _gathered(chosen, regime, genomes, data, looks, seed, first=True)
    training.watched()  # an error if there are none
    if budget.unit != "h":  # which are measured where it is trained
        bought(budget, training, to, partial(measured, training))


def _gathered(
    chosen: tuple[Model, dict[str, Any], Pretraining], regime: str, genomes: list[Path],
    data: DataFlags, looks: int, seed: int, first: bool,
) -> Training:  # fmt: skip
    """All that is trained on; its length is that of one step."""
    from dnabench.pretraining.gathering import gathered, unsaid

    with bar("reading", shown=first) as show:
        return gathered(
            *chosen, genomes, 1, holdout=data.holdout, regions=data.regions,
            exclude=split_commas(data.exclude_task), weights=data.weight, looks=looks, seed=seed,
            stride=data.stride, most_n=data.most_n, licences=data.licence, regime=regime,
            command=shlex.join(["dnabench", *sys.argv[1:]]),
            progress=lambda done, total: show(completed=done, total=total),
            told=typer.echo if first else unsaid,
        )  # fmt: skip


def _train(
    training: Training, to: Path, resources: Resources, first: bool, tensorboard: bool
) -> None:
    from dnabench.pretraining.board import Board
    from dnabench.pretraining.pretrain import pretrain as train

    board = Board(to) if tensorboard and first else None
    with bar("training", total=training.steps, shown=first) as show, going_on_later(to):
        known: Mapping[str, Any] = {}
        speed = Speed(training.how.recipe.batch * training.how.length)

        def told(done: int, _: int, row: Mapping[str, Any]) -> None:
            nonlocal known
            show(completed=done, description=described(row) + speed.said(done))
            if board and row and row is not known:
                board.update()
            known = row

        card = train(training, to, resources, told)
    if first:
        _draw(to, card)
        say_result(card, to)


def _draw(folder: Path, card: Mapping[str, Any]) -> None:
    """The course of the training as loss.png."""
    from dnabench.pretraining.figures import loss_figure
    from dnabench.pretraining.folder import CURVE
    from dnabench.reports.figures.style import save

    rows = [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]
    save(lambda: loss_figure(rows, card["bp"] / card["steps"]), folder / "loss.png")


def pretraining_chosen(
    name: str, recipe: str, settings: list[str], length: int, trust: bool = False
) -> tuple[Model, dict[str, Any], Pretraining]:
    """The model, all its options, and how it is trained; `trust` as for `model_named`."""
    from dnabench.models.outside.references import model_named
    from dnabench.pretraining.recipes import pretraining_named
    from dnabench.sweep.settings import check_once, check_settings, chosen, own_key, typed

    check_once(settings)
    model, how = model_named(name, trust=trust), pretraining_named(recipe)
    numbers, rest = dict[str, Any](), list[str]()
    for setting in settings:
        named, equals, value = setting.partition("=")
        key = own_key(named, model)  # MODEL.hidden_share, too
        if equals and key in how.numbers:
            numbers[key] = typed(setting, value, how.numbers[key])
        else:
            rest.append(setting)
    check_settings([model], rest, how.numbers)
    options, fields = chosen(model, rest)
    _check_hidden(model, options, numbers)
    how = how.changed(numbers)
    no_part = {"epochs", "max_steps", "patience", "rc", "finetune", "head"}
    if ignored := sorted(no_part & fields.keys()):
        raise ValueError(
            f"--set {ignored[0]}: --budget says how long is trained; that field has no part in it"
        )
    how = replace(how, recipe=replace(how.recipe, **fields), length=length or how.length)
    return model, options, how


def _check_hidden(model: Model, options: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    """ValueError for numbers of hidden tokens that have no part in how the model is trained."""
    from dnabench.models.language import language_of
    from dnabench.pretraining.recipes import HIDDEN
    from dnabench.tokens.tokenizers import named_tokenizer

    hidden = [name for name in numbers if name.startswith(HIDDEN)]
    if hidden and language_of(model).causal:
        raise ValueError(
            f"--set {hidden[0]}: {model.name} predicts the next token and none is hidden; leave it "
            "out"
        )
    tokenizer = named_tokenizer(model, options) if hidden else None
    fixed = [name for name in hidden if name.removeprefix(HIDDEN) not in ("share", "passes")]
    if fixed and tokenizer is not None and tokenizer.spaced:
        raise ValueError(
            f"--set {fixed[0]}: of overlapping {tokenizer.spaced}-mers {tokenizer.spaced} "
            "neighbours are hidden together, all as masks, since others would show their bases; "
            "leave it out"
        )


def bp_named(text: str) -> float:
    """The bp that --budget says, of a command that takes no other unit."""
    from dnabench.pretraining.planning import budget_named

    found = budget_named(text)
    if found.unit != "bp":
        raise ValueError(f"--budget {text!r}: write the bp to see as 20M, 1.5G or 300000")
    return found.amount
