"""One trial, in one straight line: load, cut, build, fit, read the test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from dnabench.host.machine import device_label
from dnabench.metrics import METRICS, score
from dnabench.models.kernels.context import Kernels
from dnabench.models.outside.references import model_of
from dnabench.networks.saving import Trained
from dnabench.pretraining.overlap import behind, with_pretraining
from dnabench.protocols import check_tuning, metric_for, protocol_named
from dnabench.registry import MODELS, TASKS
from dnabench.results.checkpoints import Place
from dnabench.results.provenance import here
from dnabench.shares import absent, part_of_train
from dnabench.splits import cut, limited, only_class, streams
from dnabench.tasks.audit.kmers import either_strand, fingerprints, numbered
from dnabench.tasks.audit.near import merged
from dnabench.tasks.io.once import own_task
from dnabench.train.build import as_read, build_examples, build_learner
from dnabench.train.flops import tokens_of_longest
from dnabench.train.meter import Meter, flops
from dnabench.types import (
    IGNORED,
    ONE_CPU,
    Array,
    Job,
    Learner,
    Progress,
    Protocol,
    Record,
    Resources,
    Split,
    SplitName,
    Task,
    Trial,
)

if TYPE_CHECKING:
    from dnabench.train.checkpoint import Checkpoint

COMPARED = 8  # test sequences of which a network must give the same logits to be kept


def run_trial(
    job: Job, resources: Resources = ONE_CPU,
    progress: Progress = lambda done, total: None,
    keep: Callable[[Trained], object] | None = None, place: Place | None = None,
) -> tuple[Record, dict[str, Array]]:  # fmt: skip
    """Load, cut, build, fit, then read the test split: once, unless the protocol looks at it.

    A trial of tuning is scored on validation, and the test split cannot be loaded.

    Args:
        job: what to run.
        resources: where.
        progress: called with (epochs done, epochs in all).
        keep: called in the end with what was trained.
        place: of the checkpoint from which the trial goes on if it was killed; None = none is kept.

    Returns:
        The record, and the test predictions, none of a trial of tuning: logits float32 (N, K),
        labels int64 (N,), ids (N,).
        For a per-base task each row of logits and labels is a base that counts, one sequence after
        the other, and `bases` int64 (N,) gives the number of rows of each sequence. `clusters` and
        `copies` int64 (N,), where there are some, have equal numbers for related examples: those of
        the task, and copies of a sequence on either strand.

    Raises:
        ValueError: data that changed since the run was planned, sequences too short for the model,
            a trial with fields of a newer version, a trial of tuning without validation.
        FloatingPointError: a loss or a prediction that is not finite.

    Accuracy:
        The same trial gives the same bytes, except for times, on one machine with one thread count;
        with `resources.deterministic` on every machine of the same processor or GPU and libraries,
        without it not always on a GPU.
    """
    import torch

    from dnabench.train.checkpoint import checkpoint_of
    from dnabench.train.loop import fit
    from dnabench.train.losses import flat
    from dnabench.train.objectives import supervised

    _check_known(job.trial)
    _bring_model(job, resources)
    kernels = Kernels(deterministic=resources.deterministic)
    meter, trial = Meter(resources.device, kernels, shared=resources.workers > 1), job.trial
    task, protocol = _as_scored(job)
    seeds = streams(trial.seed, trial.task, protocol)
    whole, val = cut(task, protocol, seeds.cut, trial.limit, trial.tuning)
    train = part_of_train(whole, trial.train_share, task, seeds.cut)
    sealed = replace(as_read(task, trial), load=_sealed)  # models and the loop cannot load its data
    _check_fits(trial, sealed, whole)
    torch.manual_seed(seeds.init)
    objective = supervised(sealed, trial.recipe, train)
    examples = build_examples(job, sealed, train, val, whole)
    learner, loaded = build_learner(job, examples, resources, kernels)
    watch = {"val": val} if val is not None else {}
    if protocol.looks_at_test:
        watch["test"] = limited(task.load("test"), trial.limit)
    saved = checkpoint_of(job, resources, place, learner, meter)
    course = partial(fit, learner, objective, protocol, watch, trial.recipe.patience, saved=saved)
    fitted = meter.train(course, progress)
    last = watch.get(trial.scored) or limited(task.load("test"), trial.limit)
    labels, logits = _predicted(trial, task, learner, last, meter, fitted.best_epoch)
    scores: dict[str, Any] = {trial.scored: score(labels, logits, objective.metrics, task.groups)}
    if "val" in watch:
        scores["val"] = dict(fitted.curve[fitted.best_epoch - 1]["val"])
    splits = {"train": train, **watch, trial.scored: last}
    read = 0 if trial.recipe.finetune == "probe" else len(last.y)  # a probe has their features
    ambiguous = {name: split.seqs.n_ambiguous for name, split in splits.items()}
    found = {"ambiguous_letters": ambiguous} | _of_test(job, task, learner, last, logits, loaded)
    if lost := absent(task, whole, train):
        found["absent_classes"] = lost
    record = Record(
        trial=trial, scores=scores, alternatives=_alternatives(fitted.curve, trial, task, watch),
        curve=fitted.curve, best_epoch=fitted.best_epoch, n_params=learner.n_params,
        n_examples={name: len(split.y) for name, split in splits.items()},
        **meter.fields(_n_read(trial, train, fitted.curve), read, fitted.best_epoch),
        flags=_flags(task, logits, learner, trial, saved, val) | found,
        streams=seeds._asdict(), task=_about(task, 0 if trial.tuning else len(last.y)),
        where=_where(job, resources, learner, kernels, saved), flops=_flops(trial, examples, last),
    )  # fmt: skip
    if keep is not None:
        known = val and flat(task.kind, val.y, learner.predictor(val)())
        few = last.take(np.arange(min(COMPARED, len(last.seqs))))
        keep(Trained(learner, examples.tokenizer, sealed, record, known, few, behind(job)))
    if trial.tuning:
        return record, {}
    arrays = {"logits": logits, "labels": labels, "ids": np.asarray(last.ids, dtype=str)}
    return record, arrays | _related(task, last)


def _bring_model(job: Job, resources: Resources) -> None:
    """Have the model known; what its file, or one before it, set for all of PyTorch is undone."""
    import torch

    model_of(job)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    torch.set_num_threads(resources.threads)


def _n_read(trial: Trial, train: Split, curve: Sequence[Any]) -> int:
    """Examples that training read in all of its epochs, of which `max_steps` may end the last."""
    return trial.recipe.examples_in(len(train.y), len(curve))


def _predicted(
    trial: Trial, task: Task, learner: Learner, last: Split, meter: Meter, epoch: int
) -> tuple[Array, Array]:
    """Labels and predictions of the split that is scored."""
    from dnabench.train.loop import check_finite
    from dnabench.train.losses import flat

    predictions = meter.predict(learner.predictor(last))
    check_finite(predictions, trial.scored, epoch)
    return flat(task.kind, last.y, predictions)


def _flops(trial: Trial, examples: Any, test: Split) -> int:
    """Of a forward pass of the task's length, or of the longest test sequence in words."""
    tokens = tokens_of_longest(examples.tokenizer, test.seqs, examples.task.length, trial.recipe)
    return flops(trial, examples.task, tokens)


def task_of(job: Job) -> Task:
    """The task of a job, also one of the user's own files."""
    return own_task(job.path, job.own) if job.path else TASKS[job.trial.task]


def _unchanged(task: Task, job: Job) -> Task:
    if task.data != job.trial.data:
        raise ValueError(
            f"the data of {task.name} changed: {job.trial.data} when the run was planned, "
            f"{task.data} now; start the run again"
        )
    return task


def _check_known(trial: Trial) -> None:
    if trial.unknown:
        names = ", ".join(sorted(trial.unknown))
        raise ValueError(
            f"trial {trial.id} needs a newer version of dnabench: this one does not know {names}, "
            "which the number depends on; update dnabench and run the trial there"
        )


def _check_fits(trial: Trial, task: Task, train: Split) -> None:
    model, shortest, why = MODELS[trial.model], int(train.seqs.lengths.min()), ""
    if shortest < model.min_length:
        needs = f"needs sequences of {model.min_length} bp or more"
        why = f"{needs}; the shortest of {task.name} has {shortest} bp"
    elif task.length > model.context:
        why = f"reads {model.context} bp at most; the longest of {task.name} has {task.length} bp"
    if why:
        raise ValueError(f"{trial.model} {why}: leave out one of the two")


def _as_scored(job: Job) -> tuple[Task, Protocol]:
    """The task under the metric of the trial; of a trial of tuning, without its test split."""
    trial, task = job.trial, _unchanged(task_of(job), job)
    protocol = protocol_named(trial.protocol)
    task = replace(task, metric=trial.metric or metric_for(protocol, task))
    if trial.tuning:
        check_tuning(protocol)
        task = replace(task, load=partial(_without_test, task.load))
    return task, protocol


def _without_test(load: Callable[[SplitName], Split], split: SplitName) -> Split:
    if split == "test":
        raise PermissionError("a trial of tuning may not read the test split")
    return load(split)


def _sealed(split: str) -> Split:
    raise PermissionError(f"training may not read the {split} split; it gets what it may see")


def _alternatives(
    curve: Sequence[Mapping[str, Any]], trial: Trial, task: Task, watch: Mapping[str, Split]
) -> dict[str, Any]:
    """What the protocols that do not choose on test would have scored in the same run.

    Empty where their runs would have differed: without an official dev split they train on less,
    with early stopping they end elsewhere. Without honest/1 where validation has one class, or the
    metric in no epoch.
    """
    if not {"test", "val"} <= watch.keys() or trial.recipe.patience:
        return {}
    sign = METRICS[task.metric].sign
    rows = {"last-epoch/1": curve[-1]}
    defined = [row for row in curve if task.metric in row["val"]]
    if defined and not only_class(watch["val"], task):
        rows["honest/1"] = max(defined, key=lambda row: sign * row["val"][task.metric])
    return {name: {"epoch": row["epoch"], "test": row["test"]} for name, row in rows.items()}


def _flags(
    task: Task, logits: Array, learner: Learner, trial: Trial, saved: Checkpoint | None,
    val: Split | None,
) -> dict[str, Any]:  # fmt: skip
    """Collapsed: every example, or base, gets the same answer."""
    classes = task.kind in ("binary", "multiclass", "per_base")
    answers = logits.argmax(1)[:, None] if classes else logits
    flags: dict[str, Any] = {"collapsed": bool((answers == answers[0]).all())}
    chosen = trial.tuning or protocol_named(trial.protocol).checkpoint == "best-val"
    if chosen and (one := only_class(val, task)):
        flags["one_class_validation"] = one  # only under a limit: else it is refused
    if trial.recipe.finetune != "full":
        flags["n_learned"] = getattr(learner, "n_learned", 0)
    micro = getattr(learner, "micro_batch", trial.recipe.batch)
    if micro < trial.recipe.batch:
        flags["micro_batch"] = micro
    flags |= saved.flags if saved is not None else {}
    return flags | getattr(learner, "notes", {})


def _of_test(
    job: Job, task: Task, learner: Learner, test: Split, logits: Array, loaded: dict[str, Any]
) -> dict[str, Any]:
    """Flags that need the test split: what pretraining saw of it, and its other strand."""
    if job.trial.tuning:
        return loaded
    said = with_pretraining(loaded, job, test.seqs, test.other)
    return said | _strand_flips(task, learner, test, logits)


def _strand_flips(task: Task, learner: Learner, test: Split, logits: Array) -> dict[str, float]:
    """The share of test examples whose class is another one on the other strand; both of pairs.

    Nothing where labels depend on the strand, or features of one strand were read.
    """
    classes = task.kind in ("binary", "multiclass")
    if not (task.symmetric and classes) or getattr(learner, "frozen", None) is not None:
        return {}
    second = None if test.other is None else test.other.reverse_complement()
    turned = test._replace(seqs=test.seqs.reverse_complement(), other=second)
    other = learner.predictor(turned)()
    return {"strand_flips": float((other.argmax(1) != logits.argmax(1)).mean())}


def _related(task: Task, test: Split) -> dict[str, Array]:
    """Which test examples resampling must draw together."""
    seqs = [test.seqs] if test.other is None else [test.seqs, test.other]
    copies = numbered(np.concatenate([either_strand(*fingerprints(one)) for one in seqs]))
    if test.other is not None:
        copies = _of_pairs(copies, len(test.ids))
    found = {"bases": (test.y != IGNORED).sum(1)} if task.kind == "per_base" else {}
    if test.clusters is not None:
        found["clusters"] = test.clusters.astype(np.int64)
    return found | ({"copies": copies} if int(copies.max()) + 1 < len(copies) else {})


def _of_pairs(copies: Array, n: int) -> Array:
    """Numbers of pairs that share either sequence, directly or in a chain: int64 (n,).

    Where one chain has more than half of the pairs, as where each promoter stands beside many
    enhancers, hardly anything is left to draw and intervals would be far too narrow: then pairs
    that share the sequence of one side, that which is shared more, if no half shares one there.

    Args:
        copies: int64 (2n,), equal for copies among the first sequences and then the second.
        n: pairs.
    """
    either = merged(np.tile(np.arange(n), 2), copies)[:n]
    sides = [np.unique(own, return_inverse=True)[1] for own in (copies[:n], copies[n:])]
    sides.sort(key=lambda own: int(own.max()))
    fit = (found for found in (either, *sides) if 2 * np.bincount(found).max() <= n)
    return next(fit, np.arange(n))


def _about(task: Task, n_test: int) -> dict[str, Any]:
    """What a report needs to know of the task when its data are not at hand."""
    groups = task.groups.items()
    return {
        "kind": task.kind, "classes": list(task.classes), "metric": task.metric,
        "suite": task.suite, "family": task.family, "length": task.length, "n_test": n_test,
        **{k: v for k in ("clusters", "reported") if (v := getattr(task, k))},
        **({"notes": list(task.notes)} if task.notes else {}),
        **({"groups": {k: s.indices(task.n_outputs) for k, s in groups}} if groups else {}),
    }  # fmt: skip


def _where(
    job: Job, resources: Resources, learner: Learner, kernels: Kernels, saved: Checkpoint | None
) -> dict[str, Any]:
    """The machine, and what else decides rounding or seconds."""
    import torch

    device, frozen = resources.device, getattr(learner, "frozen", None)
    if device.startswith("cuda"):
        device = f"{device_label(device)} ({torch.cuda.get_device_name(device)})"
    where = {**here(), "device": device, "threads": resources.threads, "path": job.path}
    if resources.deterministic:
        where["deterministic"] = True
    if kernels.used:
        where["convolution"] = dict(sorted(kernels.used.items()))
    where |= saved.where if saved is not None else {}
    return where | ({"features": "read"} if frozen and frozen.read else {})
