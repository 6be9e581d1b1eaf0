"""What `dnabench pretrain` says: the plan, what it costs, its progress and its result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from dnabench.pretraining.planning import Cost
    from dnabench.pretraining.starting import Start
    from dnabench.pretraining.training import Training
    from dnabench.types import Recipe


def say_plan(training: Training) -> None:
    """What is trained on what, before it starts."""
    from dnabench.pretraining.training import EVALUATED
    from dnabench.reports.grid import count

    how, said = training.how, training.said()
    hidden = "next tokens" if said["objective"] == "causal" else f"{how.hiding.share:.0%} hidden"
    typer.echo(
        f"{training.model.name}, {hidden}, {said['vocabulary']}: "
        f"{count(training.steps, 'step')} of {how.recipe.batch} windows of "
        f"{how.length:,} bp, {said['bp'] / 1e6:,.1f} Mbp\n"
        f"  {_rates(how.recipe, training.steps)}"
    )
    if training.unused_rows:
        need = training.tokenizer.rows
        typer.echo(
            f"  the embedding has {need + training.unused_rows:,} rows, of which {need} are used; "
            f"--set vocabulary={need} leaves out the others"
        )
    for one in training.sources:
        genome, held = one.genome, len(one.held)
        parts = [f"{genome.bp / 1e6:,.2f} Mbp", f"{one.covered / genome.bp:.0%} to train on"]
        named, few = ", ".join(one.holdout), min(held, EVALUATED)
        loss = f"the loss is of {few:,} of its {count(held, 'window')}"
        parts += [f"{named} held out, {loss}"] * bool(held)
        weight = f", at weight {how.small_weight:g} in the loss" * (how.small_weight != 1)
        parts += [f"{genome.small / genome.bp:.0%} soft-masked{weight * bool(genome.small)}"]
        parts += ["half of the windows around genes"] * (one.regions is not None)
        tiles = 0 if one.tiles is None else len(one.tiles)
        parts += [f"{count(tiles, 'window')} in turn, one every {one.stride:,} bp"] * bool(tiles)
        typer.echo(f"  {genome.name}: {'; '.join(parts)}")
    if training.start:
        _say_start(training, training.start)


def _say_start(training: Training, start: Start) -> None:
    """Which weights are read, which begin anew, and whether they saw what is held out."""
    from dnabench.pretraining.saving import elsewhere, seen_in
    from dnabench.tasks.io.genome import few
    from dnabench.weights import begun_with, licence_begun_with, trainings_of

    head = [name for name in start.read if name.startswith("head.")]
    typer.echo(
        f"  begins with {start.weights}: {len(start.read) - len(head)} tensors of the trunk read, "
        f"{len(head)} of the head; network.json will name them"
    )
    if start.anew:
        typer.echo(f"  the file lacks the head, which begins anew: {', '.join(start.anew)}")
    if start.unused:
        typer.echo(f"  not used: {few(start.unused)}")
    known = start.pretraining or {}
    parts = trainings_of(known)
    if not parts or begun_with(known):
        first = begun_with(known) or start.weights
        typer.echo(f"  licence of {first}: {licence_begun_with(known) if parts else start.licence}")
        typer.echo(
            f"warning: what {first} was trained on is not known here, "
            "so it may have seen what is held out",
            err=True,
        )
    for one in training.sources if parts else ():
        numbers = [one.genome.number(name) for name in one.holdout]
        seen = seen_in(known, one.genome, numbers)
        if seen:
            what = f"these weights were trained on {', '.join(seen)} of {one.genome.name}, held out"
            typer.echo(f"warning: {what} here", err=True)
        if numbers and (also := elsewhere(known, one.genome)):
            typer.echo(
                f"warning: these weights were {also} what is held out of {one.genome.name}",
                err=True,
            )


def _rates(recipe: Recipe, steps: int) -> str:
    """The learning rates of a training, in words."""
    from dnabench.reports.grid import count
    from dnabench.train.schedule import learning_rate

    warm = math.ceil(recipe.warmup if recipe.warmup >= 1 else recipe.warmup * steps)
    highest = learning_rate(min(warm, steps - 1), steps, recipe)
    begins = f"learning rate {highest:.3g} after {count(warm, 'step')} of warm-up"
    return f"{begins}, then {recipe.schedule}"


def say_cost(training: Training, cost: Cost) -> None:
    """Time and memory of the whole training."""
    from dnabench.forecast.estimate import duration
    from dnabench.host.disk import size
    from dnabench.reports.grid import count

    parts = [
        f"{count(training.steps, 'step')} of {1e3 * cost.step:,.0f} ms",
        f"{count(training.evaluations, 'evaluation')} of {cost.evaluation:,.1f} s",
    ]
    # bytes: a checkpoint has weights and two moments, and there is the network, or one a look
    disk = 16 + 4 * (training.looks - 1) * training.keep_looks
    seconds = cost.seconds(training.steps, training.evaluations)
    batch = training.how.recipe.batch
    typer.echo(
        f"would take {duration(seconds)} here: {', '.join(parts)}; "
        f"{batch * training.how.length / cost.step:,.0f} bp/s\n"
        f"memory {size(cost.peak)}; {cost.params:,} parameters, on disk {size(disk * cost.params)} "
        "while it runs"
    )


class Speed:
    """How fast this process trains, evaluations included; `bp` are those of a step."""

    def __init__(self, bp: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._bp, self._clock = bp, clock
        self._first: tuple[int, float] | None = None

    def said(self, done: int) -> str:
        """In words, after so many steps; "" at first, which a resumed training begins late."""
        now = self._clock()
        first, since = self._first = self._first or (done, now)
        if done == first or now == since:
            return ""
        return f", {(done - first) * self._bp / (now - since):,.0f} bp/s"


def described(row: Mapping[str, Any]) -> str:
    """The last evaluation, for the bar."""
    if not row:
        return "training"
    return f"held out {row['val']['loss']:.3f} nats, {row['val']['accuracy']:.1%}"


def say_result(card: Mapping[str, Any], folder: Path) -> None:
    """What the training ended with, and what comes next."""
    from dnabench.pretraining.saving import reference_of

    model = f"{reference_of(card)}{_settings(card)}"
    val, seen = card["scores"]["val"], card["bp"] / max(card["seconds"], 1e-9)
    begun = card.get("start", {}).get("scores")
    before = f"; {begun['val']['loss']:.4f} before the first step" if begun else ""
    each = f", {val['bits_per_base']:.3f} a base" if "bits_per_base" in val else ""
    typer.echo(
        f"held out: {val['loss']:.4f} nats{' a token' * bool(each)} ({val['bits']:.3f} bits{each}, "
        f"perplexity {val['perplexity']:.3f}), {val['accuracy']:.1%} right{before}; "
        f"{seen:,.0f} bp/s\n"
        f"next: dnabench run -m {model} --regime checkpoint:{folder} ..."
    )


def _settings(card: Mapping[str, Any]) -> str:
    """The options that a network of this shape needs, as flags."""
    from dnabench.models.outside.references import model_named
    from dnabench.pretraining.saving import reference_of

    own = "code" in card["options"]
    usual = model_named(reference_of(card), trust=own).options
    changed = {k: v for k, v in card["options"].items() if v != usual[k]}
    flags = "".join(f" --set {name}={value}" for name, value in changed.items())
    return flags + " --trust-remote-code" * own
