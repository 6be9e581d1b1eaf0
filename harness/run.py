"""From jobs to records on disk: one trial in one straight line, and the sweep over them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dnabench.bpe import tokenizer_named
from dnabench.executors import EXECUTORS, Event, Progress
from dnabench.meter import Meter, flops
from dnabench.metrics import score, score_groups
from dnabench.plan import Job
from dnabench.protocols import metric_for, protocol_named
from dnabench.registry import MODELS, TASKS
from dnabench.results.provenance import here
from dnabench.results.store import Store
from dnabench.splits import cut, limited, streams
from dnabench.tokenizers import Tokenizer
from dnabench.types import IGNORED, Array, Learner, Record, Split, Task, Trial
from dnabench.weights import check_unchanged, fetch, fetch_tokenizer, load_regime


class Resources(NamedTuple):
    """How trials are run; none of it decides a number, but for rounding.

    device: "cpu", "cuda", "cuda:1". workers: processes at once. threads: of each.
    micro_batch: examples in memory at once, 0 = the recipe's whole batch. compile: "auto" or "off".
    """

    device: str = "cpu"
    workers: int = 1
    threads: int = 1
    micro_batch: int = 0
    executor: str = "local"
    compile: str = "off"


HERE = Resources()


class Outcome(NamedTuple):
    """What became of a job: this call ran it ("ended", "failed") or somebody else did."""

    kind: Literal["ended", "failed", "busy", "already"]
    record: Record | None = None


def run_trial(
    job: Job, resources: Resources = HERE, progress: Progress = lambda done, total: None
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

    from dnabench.fit import fit, task_metrics
    from dnabench.losses import flat
    from dnabench.models._convolve import chosen, forget

    meter, trial, task = Meter(resources.device), job.trial, _task(job)
    forget()
    protocol = protocol_named(trial.protocol)
    seeds = streams(trial.seed, trial.task, protocol)
    task = replace(task, metric=metric_for(protocol, task))
    train, val = cut(task, protocol, seeds.cut, trial.limit)
    _check_fits(trial, task, train)
    torch.manual_seed(seeds.init)
    blind = replace(task, load=_sealed)  # models and loop get the task, but none of its data
    learner, loaded = _learner(job, blind, train, resources)
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
        **meter.fields(len(train.y), len(test.y), fitted.best_epoch),
        flags={
            **_flags(task, logits, learner, trial),
            **loaded,
            **_letters({"train": train, **watch, "test": test}),
        },
        streams=seeds._asdict(),
        task=_about(task, sizes["test"]),
        where=_where(job, resources) | ({"convolution": forms} if (forms := chosen()) else {}),
        flops=flops(trial, blind),
    )
    arrays = {"logits": logits, "labels": labels, "ids": np.asarray(test.ids, dtype=str)}
    if task.kind == "per_base":
        arrays["bases"] = (test.y != IGNORED).sum(1)
    return record, arrays


@lru_cache(maxsize=8)
def _task_at(name: str, path: str) -> Task:
    if not path:
        return TASKS[name]
    from dnabench.tasks.files import task_from_path

    return task_from_path(Path(path))


def _task(job: Job) -> Task:
    task = _task_at(job.trial.task, job.path)
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


def _learner(
    job: Job, task: Task, train: Split, resources: Resources
) -> tuple[Learner, dict[str, Any]]:
    """The learner, and what is to be known of its weights and tokenizer."""
    trial, model = job.trial, MODELS[job.trial.model]
    built = model.build(task, trial.options)
    if model.own_learner:
        return built(train, trial.recipe), {}
    from dnabench.fit import NetLearner

    loaded = load_regime(built, model, trial.regime, job.checkpoint)
    seeds = streams(trial.seed, trial.task)
    tokenizer = _tokenizer(job, train)
    learner = NetLearner(
        built, model, task, train, trial.recipe, seeds, resources.device, resources.micro_batch,
        tokenizer, resources.compile,
    )  # fmt: skip
    return learner, {} if loaded is None else {"weights": loaded._asdict()}


def _tokenizer(job: Job, train: Split) -> Tokenizer:
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
    return tokenizer_named(name, vocabulary=vocabulary, train=train.seqs, file=file)


def fetch_weights(jobs: Sequence[Job]) -> list[str]:
    """Download what the jobs will load, once and before any of them; what could not be had.

    Those jobs then fail with the same message, the others run.
    """
    problems = []
    for name, regime in {(job.trial.model, job.trial.regime): None for job in jobs}:
        if regime.startswith("pretrained:"):
            model = MODELS[name]
            try:
                fetch(model, regime)
                if model.weights is not None and model.weights.tokenizer:
                    fetch_tokenizer(model, regime)
            except ValueError as e:
                problems.append(str(e))
    return problems


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


def work(job: Job, progress: Progress, folder: str, resources: Resources) -> Outcome:
    """Run a job that nobody else runs or ran, and store what it gave, errors included."""
    store, trial_id = Store(folder), job.trial.id
    with store.claim(trial_id) as mine:
        if not mine:
            return Outcome("busy")
        record = store.read(trial_id)
        if record is not None and not record.error:
            return Outcome("already", record)
        store.log("started", trial_id)
        predictions: dict[str, Array] | None = None
        try:
            record, predictions = run_trial(job, resources, progress)
        except Exception:
            record = _failure(job, resources, traceback.format_exc())
        store.append(record, predictions)
        return Outcome("failed" if record.error else "ended", record)


def _failure(job: Job, resources: Resources, error: str) -> Record:
    return Record(trial=job.trial, error=error, where={**here(), "device": resources.device})


@dataclass
class Summary:
    """What a sweep did: the jobs by what became of them."""

    ended: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    already: list[Record] = field(default_factory=list)  # done before, or meanwhile by others


Observer = Callable[[Event, Job, "Outcome | None"], None]


def run(
    jobs: Sequence[Job],
    store: Store,
    resources: Resources = HERE,
    observe: Observer = lambda event, job, outcome: None,
    summary: Summary | None = None,
) -> Summary:
    """Run the jobs that the store does not have; jobs that failed before are tried again.

    Args:
        jobs: the grid.
        store: where records are and go.
        resources: how many at once, and where.
        observe: told of everything that happens.
        summary: filled as the sweep goes, for a caller that may be interrupted.

    Returns:
        What became of every job. A job that another process runs is waited for, and taken over
        when that process dies.

    Raises:
        ValueError: when the store's folder cannot be written.
    """
    store.check_writable()
    out = Summary() if summary is None else summary
    done = {r.trial.id: r for r in store if not r.error}
    out.already += [done[job.trial.id] for job in jobs if job.trial.id in done]
    left = [job for job in jobs if job.trial.id not in done]
    task = partial(work, folder=str(store.folder), resources=resources)
    while left:
        busy: list[Job] = []
        for event in EXECUTORS[resources.executor](
            task, left, resources.workers, resources.threads
        ):
            job = left[event.job]
            outcome = _outcome(event, job, store, resources)
            observe(event, job, outcome)
            if outcome is not None and outcome.record is not None:
                getattr(out, outcome.kind).append(outcome.record)
            elif outcome is not None:
                busy.append(job)
        left = _wait_for_others(busy, store, out)
    return out


def _outcome(event: Event, job: Job, store: Store, resources: Resources) -> Outcome | None:
    if event.kind == "returned":
        return event.value  # type: ignore[no-any-return]
    if event.kind != "died":
        return None
    code = event.value
    reason = f"signal {-code}, often out of memory" if code and code < 0 else f"exit status {code}"
    with store.claim(job.trial.id) as mine:
        if not mine:
            return Outcome("busy")
        record = store.read(job.trial.id)
        if record is not None and not record.error:  # it died after its last act
            return Outcome("ended", record)
        record = _failure(job, resources, f"RuntimeError: the worker process died ({reason})")
        store.append(record)
        return Outcome("failed", record)


def _wait_for_others(busy: Sequence[Job], store: Store, out: Summary) -> list[Job]:
    """Wait until another process has finished one of these or let go of it; the rest is left."""
    left = list(busy)
    while left and len(left) == len(busy):
        time.sleep(0.5)
        for job in busy:
            record = store.read(job.trial.id)
            if record is not None and not record.error:
                out.already.append(record)
                left.remove(job)
                continue
            with store.claim(job.trial.id) as free:
                if free:
                    return left
    return left
