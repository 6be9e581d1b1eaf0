"""The trials of regimes of training, and what is kept of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from dnabench.protocols import protocol_named
from dnabench.registry import TASKS
from dnabench.results.regimes import COMPUTE, CONTROLS, FROZEN, SCRATCH, Regime
from dnabench.shares import part_of_train
from dnabench.splits import cut, streams
from dnabench.sweep.effects import check_effect
from dnabench.sweep.grid import grid
from dnabench.sweep.numbers import parse_seeds
from dnabench.sweep.regimes import STRIDE, Column, RegimesRequest, digest, identity
from dnabench.tasks.io.once import own_task
from dnabench.types import Array, Job, OwnData
from dnabench.weights import differing

Say = Callable[[str], object]


def seeds_of(request: RegimesRequest, pretraining: int | None = None) -> list[int]:
    """Seeds of the fine-tunings of a pretraining; of None, those of trials without one.

    Those are at least as many as pretrainings, since as many units stand on either side.
    """
    seeds = parse_seeds(request.grid.seeds)
    if pretraining is not None:
        return [seed + STRIDE * pretraining for seed in seeds]
    more = (seed for seed in range(STRIDE) if seed not in seeds)
    return seeds + [next(more) for _ in range(request.pretrain_seeds - len(seeds))]


def jobs_of(
    column: Column, request: RegimesRequest, say: Say = lambda note: None
) -> dict[int | None, list[Job]]:  # fmt: skip
    """The trials of a column by the seed of the pretraining; None = of none.

    Raises:
        KeyError, ValueError: as `grid`; a pretrained network that is not there.
    """
    if not column.kept:
        return {None: _from_scratch(column, request, say)}
    found = dict[int | None, list[Job]]()
    for k, kept in enumerate(column.kept):
        regime = f"{column.model.name}=checkpoint:{kept.folder}"
        found[k] = _grid(column, request, regime, seeds_of(request, k), say)
    return found


def planned(columns: Sequence[Column], request: RegimesRequest) -> list[list[Job]]:
    """The trials of each column before its networks are there, with ids that will be others.

    Raises:
        KeyError, ValueError: as `grid`; a recipe that gives a task a network of other options than
            those that are pretrained; a setting that does nothing in any column.
    """
    coming = replace(request, grid=replace(request.grid, to_come=True))
    found = [_coming(column, coming) if column.kept else jobs_of(column, request)[None]
             for column in columns]  # fmt: skip
    trials = [job.trial for own in found for job in own]
    check_effect(trials, [column.model for column in columns], request.grid.settings)
    return found


def _coming(column: Column, request: RegimesRequest) -> list[Job]:
    seeds = [seed for k in range(len(column.kept)) for seed in seeds_of(request, k)]
    jobs = _grid(column, request, f"{column.model.name}=checkpoint:{column.kept[0].folder}", seeds)
    pretrained = column.kept[0].training.options
    for trial in (job.trial for job in jobs):
        if differing(column.model, pretrained, trial.options):
            own = differing(column.model, trial.options, pretrained)
            raise ValueError(
                f"{column.model.name} would be pretrained with other options than its recipe for "
                f"{trial.task} has; write {' '.join(own)}, which count in both, or --recipe default"
            )
    return jobs


def _grid(
    column: Column, request: RegimesRequest, regime: str, seeds: Sequence[int],
    say: Say = lambda note: None, *settings: str,
) -> list[Job]:  # fmt: skip
    """As `grid`; a setting that does nothing here may do something in another column: it is said.

    `planned` refuses one that does nothing in all.
    """
    name = column.model.name

    def said(note: str) -> None:
        say(note if note.startswith(name) else f"{name}: {note}")

    return grid(
        replace(
            request.grid, models=[column.model.reference or column.model.name], regime=regime,
            settings=[*column.settings, *settings], seeds="".join(f"{seed}," for seed in seeds),
        ),
        said, searched=(),
    )  # fmt: skip


def _from_scratch(column: Column, request: RegimesRequest, say: Say) -> list[Job]:
    scratch, seeds = f"{column.model.name}=scratch", seeds_of(request)
    if column.kind == FROZEN:
        return _grid(column, request, scratch, seeds, say, f"{column.model.name}.finetune=probe")
    jobs = _grid(column, request, scratch, seeds, say)
    return jobs if column.kind == SCRATCH else [_longer(job, bp_of(request)) for job in jobs]


def bp_of(request: RegimesRequest) -> int:
    """Bp that a pretraining sees."""
    step = request.how.recipe.batch * request.how.length
    return max(1, math.ceil(request.budget / step)) * step


def _longer(job: Job, bp: float) -> Job:
    """The trial with so many more epochs that at least so many bp more are read, all of them."""
    trial, recipe = job.trial, job.trial.recipe
    if recipe.max_steps:
        raise ValueError(
            f"{trial.model} on {trial.task}: its recipe counts steps, not epochs; write --epochs "
            f"N, or leave {COMPUTE!r} out of --controls"
        )
    epochs = recipe.epochs + math.ceil(bp / bp_of_epoch(job))
    longer = replace(trial, recipe=replace(recipe, epochs=epochs, patience=0))
    return job._replace(trial=longer, size=job.size * epochs / recipe.epochs)


def bp_of_epoch(job: Job) -> int:
    """Bp of the training examples of a trial, of both sequences of pairs.

    Where sequences lose their end, a token that is read counts as 1 bp.
    """
    trial, most = job.trial, job.trial.recipe.max_length
    data = trial.data, trial.task, job.path, job.own
    lengths = _lengths(data, trial.protocol, trial.seed, trial.limit, trial.train_share)
    return max(1, int((lengths.clip(max=most) if most else lengths).sum()))


@lru_cache(maxsize=1024)
def _lengths(
    data: tuple[str, str, str, OwnData], protocol: str, seed: int, limit: float, share: float
) -> Array:  # fmt: skip
    """Bp of each sequence that a trial trains on, int64 (N,)."""
    _, name, path, own = data
    task, how = own_task(path, own) if path else TASKS[name], protocol_named(protocol)
    at = streams(seed, name, how).cut
    train = part_of_train(cut(task, how, at, limit)[0], share, task, at)
    other = [] if train.other is None else [train.other.lengths]
    return np.concatenate([train.seqs.lengths, *other])


def regime_of(
    column: Column, columns: Sequence[Column], request: RegimesRequest,
    jobs: Mapping[int | None, Sequence[Job]], before: Collection[str] = (),
) -> Regime:  # fmt: skip
    """The column as it is kept with its records, once its networks are trained.

    Args:
        column: which.
        columns: all of the command; those of the same model and tokenizer are its controls.
        request: of the command.
        jobs: as `jobs_of` gives them.
        before: trials that other commands have run.
    """
    cards = {str(k): kept.card for k, kept in enumerate(column.kept)}
    bp = bp_of(request) if column.kept or column.kind == COMPUTE else 0
    controls = {
        other.kind: _column_id(other, request) for other in columns
        if column.kept and other is not column and other.kind in CONTROLS
        and (other.model.name, other.settings) == (column.model.name, column.settings)
    }  # fmt: skip
    trials = {job.trial.id: k for k, own in jobs.items() for job in own}
    return Regime(
        id=_column_id(column, request), model=column.model.name, tokenizer=column.tokenizer,
        base=_column_id(column._replace(kind=SCRATCH, regime=SCRATCH, kept=()), request),
        regime=column.regime, kind=column.kind, bp=bp,
        trials=trials, ordinary=[trial_id for trial_id in trials if trial_id in before],
        seconds={k: card["seconds"] for k, card in cards.items() if card}, controls=controls,
    )  # fmt: skip


def _column_id(column: Column, request: RegimesRequest) -> str:
    """Over all that decides a column but tasks and seeds."""
    grid, more = request.grid, bp_of(request) if column.kind == COMPUTE else 0
    settings = [s.partition(":")[0] + Path(s).name if s.startswith("tokenizer=bpe:") else s
                for s in column.settings]  # fmt: skip
    kept = identity(replace(column.kept[0].training, seed=0)) if column.kept else ""
    said = [column.model.name, settings, column.regime, column.kind, kept, more, grid.recipe]
    return digest([*said, sorted(grid.overrides.items()), grid.metric])
