"""One trial, in one straight line: load, cut, build, fit, read the test split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.metrics import score, score_groups
from dnabench.models.kernels.context import Kernels
from dnabench.protocols import metric_for, protocol_named
from dnabench.registry import MODELS, TASKS
from dnabench.results.provenance import here
from dnabench.splits import cut, limited, streams
from dnabench.sweep.grid import keeps_features
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.train.meter import Meter, flops
from dnabench.train.pool import Pool, remembering
from dnabench.types import (
    IGNORED,
    ONE_CPU,
    Array,
    Job,
    Learner,
    Progress,
    Record,
    Resources,
    Split,
    Task,
    Trial,
)
from dnabench.weights import check_unchanged, fetch_tokenizer, file_hash, load_regime


def run_trial(
    job: Job, resources: Resources = ONE_CPU, progress: Progress = lambda done, total: None
) -> tuple[Record, dict[str, Array]]:
    """Load, cut, build, fit, then read the test split: once, unless the protocol looks at it.

    Args:
        job: what to run.
        resources: where.
        progress: called with (epochs done, epochs in all).

    Returns:
        The record, and the test predictions: logits float32 (N, K), labels int64 (N,), ids (N,). Of
        a per-base task a row of logits and labels is a base that counts, one sequence after the
        other, and `bases` int64 (N,) says how many each has.

    Raises:
        ValueError: data that changed since the grid was made, sequences too short for the model.
        FloatingPointError: a loss that is not finite.

    Accuracy:
        The same trial gives the same bytes, but for times, on one machine with one thread count.
    """
    import torch

    from dnabench.train.loop import fit, task_metrics
    from dnabench.train.losses import flat

    kernels = Kernels()
    meter, trial, task = Meter(resources.device, kernels), job.trial, _unchanged(task_of(job), job)
    protocol = protocol_named(trial.protocol)
    seeds = streams(trial.seed, trial.task, protocol)
    task = replace(task, metric=metric_for(protocol, task))
    train, val = cut(task, protocol, seeds.cut, trial.limit)
    _check_fits(trial, task, train)
    torch.manual_seed(seeds.init)
    blind = replace(task, load=_sealed)  # models and loop get the task, but none of its data
    learner, loaded = _learner(job, blind, train, _pool(trial, train, val), resources, kernels)
    watch = {"val": val} if val is not None else {}
    if protocol.looks_at_test:
        watch["test"] = limited(task.load("test"), trial.limit)
    fitted = meter.train(
        partial(fit, learner, blind, protocol, watch, trial.recipe.patience), progress
    )
    test = watch["test"] if "test" in watch else limited(task.load("test"), trial.limit)
    labels, logits = flat(task.kind, test.y, meter.predict(learner.predictor(test)))
    scores = {
        "test": score(labels, logits, task_metrics(task))
        | score_groups(labels, logits, task.metric, task.groups)
    }
    if "val" in watch:
        scores["val"] = dict(fitted.curve[fitted.best_epoch - 1]["val"])
    sizes = {"train": len(train.y), **{k: len(s.y) for k, s in {**watch, "test": test}.items()}}
    record = Record(
        trial=trial,
        scores=scores,
        alternatives=_alternatives(fitted.curve, trial, task),
        curve=fitted.curve,
        best_epoch=fitted.best_epoch,
        n_params=learner.n_params,
        n_examples=sizes,
        **meter.fields(len(train.y), _read_anew(trial, test), fitted.best_epoch),
        flags={
            **_flags(task, logits, learner, trial),
            **loaded,
            **_letters({"train": train, **watch, "test": test}),
        },
        streams=seeds._asdict(),
        task=_about(task, sizes["test"]),
        where=_where(job, resources) | _how(learner, kernels),
        flops=flops(trial, blind),
    )
    arrays = {"logits": logits, "labels": labels, "ids": np.asarray(test.ids, dtype=str)}
    if task.kind == "per_base":
        arrays["bases"] = (test.y != IGNORED).sum(1)
    return record, arrays


def _read_anew(trial: Trial, test: Split) -> int:
    """Sequences that the network reads to predict: none in a probe, which has their features."""
    return 0 if trial.recipe.finetune == "probe" else len(test.y)


@lru_cache(maxsize=8)
def _task_at(name: str, path: str) -> Task:
    if not path:
        return TASKS[name]
    from dnabench.tasks.io.files import task_from_path

    return task_from_path(Path(path))


def task_of(job: Job) -> Task:
    """The task of a job, of the user's own files too."""
    return _task_at(job.trial.task, job.path)


def _unchanged(task: Task, job: Job) -> Task:
    if task.data != job.trial.data:
        raise ValueError(
            f"the data of {task.name} changed: {job.trial.data} when the run was planned, "
            f"{task.data} now; start the run again"
        )
    return task


def _check_fits(trial: Trial, task: Task, train: Split) -> None:
    model, shortest = MODELS[trial.model], int(train.seqs.lengths.min())
    if shortest < model.min_length:
        raise ValueError(
            f"{trial.model} needs sequences of {model.min_length} bp or more; the shortest of "
            f"{task.name} has {shortest} bp: leave out one of the two"
        )
    if task.length > model.context:
        raise ValueError(
            f"{trial.model} reads {model.context} bp at most; the longest of {task.name} has "
            f"{task.length} bp: leave out one of the two"
        )


def _pool(trial: Trial, train: Split, val: Split | None) -> Pool:
    """What the cut of any seed divides: the same for all of them."""
    own = [train.seqs] if val is None else [train.seqs, val.seqs]
    return Pool(own, both=trial.recipe.rc != "none")


def _learner(
    job: Job, task: Task, train: Split, pool: Pool, resources: Resources, kernels: Kernels
) -> tuple[Learner, dict[str, Any]]:
    """The learner, and what is to be known of its weights and tokenizer."""
    trial, model = job.trial, MODELS[job.trial.model]
    built = model.build(task, trial.options)
    if model.custom_trainer:
        return built(train, trial.recipe), {}
    from dnabench.train.loop import NetLearner

    loaded = load_regime(built, model, trial.regime, job.checkpoint)
    seeds = streams(trial.seed, trial.task)
    learner = NetLearner(
        built, model, task, train, trial.recipe, seeds, resources.device, resources.micro_batch,
        _tokenizer(job, task, train, pool), resources.compile, pool,
        json.dumps([trial.model, dict(trial.options), trial.regime])
        if keeps_features(trial) else "", kernels,
    )  # fmt: skip
    return learner, {} if loaded is None else {"weights": loaded._asdict()}


def _tokenizer(job: Job, task: Task, train: Split, pool: Pool) -> Tokenizer:
    """By name; BPE from the user's file, the official one, or learned from the training split."""
    trial, model = job.trial, MODELS[job.trial.model]
    name = str(trial.options.get("tokenizer", model.tokenizer)).partition(":")[0]
    if name != "bpe":
        return tokenizer_named(name)
    file = Path(job.tokenizer) if job.tokenizer else None
    if file is not None:
        check_unchanged(file, str(trial.options["tokenizer"]))
    if file is None and trial.regime.startswith("pretrained:"):
        file = fetch_tokenizer(model, trial.regime)
    vocabulary = int(trial.options["vocabulary"])
    tokenizer = tokenizer_named(name, vocabulary=vocabulary, train=train.seqs, file=file)
    # another training split learns another one; widths are not kept, and cost as much as ids
    if file is None or task.kind == "per_base":
        return tokenizer
    return remembering(tokenizer, file_hash(file), pool)


def _sealed(split: str) -> Split:
    raise PermissionError(f"training may not read the {split} split; what it may see it is given")


def _alternatives(curve: Sequence[Mapping[str, Any]], trial: Trial, task: Task) -> dict[str, Any]:
    """What the protocols that do not choose on test would have scored from the same run.

    Nothing where their runs would have been others: without an official dev split they train on
    less, with early stopping they end elsewhere.
    """
    looked = "test" in curve[0]
    if not looked or "val" not in curve[0] or trial.recipe.patience:
        return {}
    chosen = max(curve, key=lambda row: row["val"][task.metric])
    rows = {"last-epoch/1": curve[-1], "honest/1": chosen}
    return {name: {"epoch": row["epoch"], "test": row["test"]} for name, row in rows.items()}


def _letters(splits: Mapping[str, Split]) -> dict[str, Any]:
    return {"ambiguous_letters": {name: split.seqs.n_ambiguous for name, split in splits.items()}}


def _flags(task: Task, logits: Array, learner: Learner, trial: Trial) -> dict[str, Any]:
    """Collapsed: every example, or base, is given the same answer."""
    classes = task.kind in ("binary", "multiclass", "per_base")
    answers = logits.argmax(1)[:, None] if classes else logits
    flags: dict[str, Any] = {"collapsed": bool((answers == answers[0]).all())}
    if trial.recipe.finetune != "full":
        flags["n_learned"] = getattr(learner, "n_learned", 0)
    micro = getattr(learner, "micro_batch", trial.recipe.batch)
    if micro < trial.recipe.batch:
        flags["micro_batch"] = micro
    return flags | getattr(learner, "notes", {})


def _how(learner: Learner, kernels: Kernels) -> dict[str, Any]:
    """What of this machine the numbers, or the seconds, came from."""
    frozen = getattr(learner, "frozen", None)
    found = {
        "convolution": dict(sorted(kernels.used.items())),
        "features": "read" if frozen and frozen.read else "",
    }
    return {name: value for name, value in found.items() if value}


def _about(task: Task, n_test: int) -> dict[str, Any]:
    """What a report must know of the task, without its data at hand."""
    return {
        "kind": task.kind, "classes": list(task.classes), "metric": task.metric,
        "suite": task.suite, "family": task.family, "length": task.length, "n_test": n_test,
    }  # fmt: skip


def _where(job: Job, resources: Resources) -> dict[str, Any]:
    import torch

    device = resources.device
    if device.startswith("cuda"):
        device = f"{device} ({torch.cuda.get_device_name(device)})"
    return {**here(), "device": device, "threads": resources.threads, "path": job.path}
