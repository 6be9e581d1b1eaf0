"""`dnabench pretrain`: a language model from genomes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dnabench.cli.errors import fail
from dnabench.cli.options import names_of
from dnabench.cli.predict import Device

if TYPE_CHECKING:
    from dnabench.pretraining.pretrain import Training
    from dnabench.pretraining.recipes import Pretraining
    from dnabench.types import Model

UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def pretrain(
    model: Annotated[
        str, typer.Argument(help="A model with a language-model head.",
                            autocompletion=names_of("models"), show_default=False),
    ],
    genome: Annotated[
        list[Path], typer.Option(help="FASTA file, plain or .gz; may be repeated.")
    ],
    to: Annotated[Path, typer.Option(help="Folder to write; the same one goes on.")],
    budget: Annotated[
        str, typer.Option(help="Bp that are seen: 20M, 1.5G; alike for every tokenizer.")
    ] = "20M",
    holdout: Annotated[
        list[str], typer.Option(help="Sequence to evaluate on: chr8, or FILE:chr8.")
    ] = [],  # noqa: B006
    regions: Annotated[
        list[str],
        typer.Option(help="Draw half of the windows around genes: GFF:exons=256,promoters=1000; "
                     "one for each genome."),
    ] = [],  # noqa: B006
    exclude_task: Annotated[
        list[str], typer.Option(help="Leave out what a task's test split has: nt_reduced/h3.")
    ] = [],  # noqa: B006
    recipe: Annotated[
        str, typer.Option(help="house, convnova, gpn, hyenadna, caduceus, bert ...")
    ] = "house",
    length: Annotated[int, typer.Option(help="Bp of a window; 0 = the recipe's.", min=0)] = 0,
    set_: Annotated[
        list[str], typer.Option("--set", help="Option or recipe field: batch=32; may be repeated.")
    ] = [],  # noqa: B006
    looks: Annotated[int, typer.Option(help="Evaluations on held-out windows.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Of weights, windows and hidden tokens.")] = 0,
    device: Device = "auto",
    micro_batch: Annotated[
        int, typer.Option(help="Windows in memory at once; 0 = the whole batch.", min=0)
    ] = 0,
) -> None:  # fmt: skip
    """Train a language model on genomes.

    Hidden bases or tokens are predicted, or the next one by a causal model. The folder can be
    fine-tuned with `dnabench run --regime checkpoint:DIR`. A training that was stopped goes on
    with the same command.
    """
    from dnabench.cli.bars import bar
    from dnabench.host.machine import device_named
    from dnabench.pretraining.gathering import gathered
    from dnabench.pretraining.pretrain import pretrain as train
    from dnabench.types import Resources

    with bar("reading") as show:
        training = gathered(
            *pretraining_chosen(model, recipe, set_, length), genome, bp_named(budget),
            holdout=holdout, regions=regions, exclude=exclude_task, looks=looks, seed=seed,
            command=shlex.join(["dnabench", *sys.argv[1:]]),
            progress=lambda done, total: show(completed=done, total=total), told=typer.echo,
        )  # fmt: skip
    resources = Resources(device=device_named(device), micro_batch=micro_batch)
    _say_plan(training)
    with bar("training", total=training.steps) as show:
        card = train(
            training, to, resources,
            lambda done, _, row: show(completed=done, description=_described(row)),
        )  # fmt: skip
    _draw(to, card)
    _say_result(card, to)


def _draw(folder: Path, card: Mapping[str, Any]) -> None:
    """The course of the training as loss.png."""
    from dnabench.pretraining.figures import loss_figure
    from dnabench.pretraining.pretrain import CURVE
    from dnabench.reports.figures.style import save

    rows = [json.loads(line) for line in (folder / CURVE).read_text().splitlines()]
    save(lambda: loss_figure(rows, card["bp"] / card["steps"]), folder / "loss.png")


def _described(row: Mapping[str, Any]) -> str:
    if not row:
        return "training"
    return f"held out {row['val']['loss']:.3f} nats, {row['val']['accuracy']:.1%}"


def _say_result(card: dict[str, Any], folder: Path) -> None:
    val, seen = card["scores"]["val"], card["bp"] / max(card["seconds"], 1e-9)
    typer.echo(
        f"held out: {val['loss']:.4f} nats ({val['bits']:.3f} bits, perplexity "
        f"{val['perplexity']:.3f}), {val['accuracy']:.1%} right; {seen:,.0f} bp/s\n"
        f"next: dnabench run -m {card['model']}{_settings(card)} --regime checkpoint:{folder} ..."
    )


def _settings(card: Mapping[str, Any]) -> str:
    """The options that a network of this shape needs, as flags."""
    from dnabench.models.outside.references import model_named

    usual = model_named(card["model"]).options
    changed = {k: v for k, v in card["options"].items() if v != usual[k]}
    return "".join(f" --set {name}={value}" for name, value in changed.items())


def pretraining_chosen(
    name: str, recipe: str, settings: list[str], length: int
) -> tuple[Model, dict[str, Any], Pretraining]:
    """The model, all its options, and how it is trained."""
    from dataclasses import replace

    from dnabench.models.outside.references import model_named
    from dnabench.pretraining.recipes import pretraining_named
    from dnabench.sweep.settings import check_settings, chosen

    model, how = model_named(name), pretraining_named(recipe)
    check_settings([model], settings)
    options, fields = chosen(model, settings)
    if ignored := sorted({"epochs", "max_steps", "patience", "rc", "finetune"} & fields.keys()):
        fail(f"--set {ignored[0]}: --budget says how long is trained; that field has no part in it")
    how = replace(how, recipe=replace(how.recipe, **fields), length=length or how.length)
    return model, options, how


def bp_named(text: str) -> float:
    """The bp that --budget says."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "")
    try:
        value = float(number) * UNITS.get(unit, 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e15:
        fail(f"--budget {text!r}: write the bp to see as 20M, 1.5G or 300000")
    return value


def _say_plan(training: Training) -> None:
    """What is trained on what, before it starts."""
    from dnabench.pretraining.pretrain import EVALUATED

    how, said = training.how, training.said()
    hidden = "next tokens" if said["objective"] == "causal" else f"{how.hiding.share:.0%} hidden"
    typer.echo(
        f"{training.model.name}, {hidden}, {said['vocabulary']}: {training.steps:,} steps of "
        f"{how.recipe.batch} windows of {how.length:,} bp, {said['bp'] / 1e6:,.1f} Mbp"
    )
    for one in training.sources:
        genome, held = one.genome, len(one.held)
        parts = [f"{genome.bp / 1e6:,.2f} Mbp", f"{one.places / genome.bp:.0%} to train on"]
        named, few = ", ".join(one.holdout), min(held, EVALUATED)
        parts += [f"{named} held out, the loss is of {few:,} of its {held:,} windows"] * bool(held)
        parts += [f"{genome.small / genome.bp:.0%} soft-masked"]
        parts += ["half of the windows around genes"] * (one.regions is not None)
        typer.echo(f"  {genome.name}: {'; '.join(parts)}")
