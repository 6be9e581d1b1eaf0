"""Build what a job trains: its tokenizer, its examples and its learner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnabench.cache import file_sha256
from dnabench.models.outside.loaded import of_dnabench
from dnabench.registry import MODELS
from dnabench.splits import streams
from dnabench.tokens.bpe import tokenizer_named
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.tokens.vocabulary import unknown_share
from dnabench.train.pool import Pool, cached_tokenizer
from dnabench.train.schedule import horizon
from dnabench.types import Job, Learner, Model, Resources, Sequences, Split, Task, Trial
from dnabench.weights import check_unchanged, fetch, load_regime

if TYPE_CHECKING:
    from dnabench.models.kernels.context import Kernels
    from dnabench.train.learner import Examples


MUCH_UNKNOWN, MOST_UNKNOWN = 0.01, 0.2  # shares of tokens: remarked, refused


def stores_features(trial: Trial) -> bool:
    """Whether its frozen features are stored on disk: a probe's, but not of random weights."""
    return trial.recipe.finetune == "probe" and trial.regime != "scratch"


def tokenizer_of(model: Model, options: Mapping[str, Any], train: Sequences) -> Tokenizer:
    """The tokenizer of a model without weights; byte pairs are learned from `train`."""
    if model.own_tokenizer is not None:
        own: Tokenizer = model.own_tokenizer()
        return own
    name, entries = model.tokenizer_name(options), int(options.get("vocabulary", 0))
    return tokenizer_named(name, vocabulary=entries, train=train)


def build_tokenizer(job: Job, train: Split, pool: Pool | None = None) -> Tokenizer:
    """A tokenizer by name, or BPE: from the user's file, the official one, or learned from `train`.

    With a pool, the ids of its sequences are stored on disk if the tokenizer comes from a file.
    ValueError for a file that changed since the run was planned, or cannot be read.
    """
    trial, model = job.trial, MODELS[job.trial.model]
    if model.own_tokenizer is not None or model.tokenizer_name(trial.options) != "bpe":
        return tokenizer_of(model, trial.options, train.seqs)
    file = Path(job.tokenizer) if job.tokenizer else None
    if file is not None:
        check_unchanged(file, str(trial.options["tokenizer"]))
    elif trial.regime.startswith("pretrained:"):
        file = fetch(model, trial.regime, tokenizer=True)
    vocabulary = int(trial.options["vocabulary"])
    tokenizer = tokenizer_named("bpe", vocabulary=vocabulary, train=train.seqs, file=file)
    # another training split learns another tokenizer, so only a file's ids are worth storing
    return (
        tokenizer
        if file is None or pool is None
        else cached_tokenizer(tokenizer, file_sha256(file)[:16], pool)
    )


def build_examples(
    job: Job, task: Task, train: Split, val: Split | None, whole: Split
) -> Examples:  # fmt: skip
    """What a network of the job learns from; the task gives no access to its data.

    `train` is the part of `whole` that is trained on, `val` what the protocol cut off. `whole` and
    `val` together are the same for every seed, so stored features of them serve all shares too.
    """
    from dnabench.train.learner import Examples

    trial, model = job.trial, MODELS[job.trial.model]
    shared = whole if stores_features(trial) else train
    splits = [shared] if val is None else [shared, val]
    parts = [seqs for split in splits for seqs in (split.seqs, split.other) if seqs is not None]
    pool = Pool(parts, both=trial.recipe.rc != "none")
    # per base, widths are needed too: they are not stored, and cost as much as ids
    tokenizer = build_tokenizer(job, train, None if task.kind == "per_base" else pool)
    key = json.dumps([trial.model, dict(trial.options), trial.regime])
    key = key if stores_features(trial) else ""
    own = horizon(trial.recipe, task, trial.limit, trial.train_share)
    return Examples(model, task, train, tokenizer, pool, key, own)


def as_read(task: Task, trial: Trial) -> Task:
    """The task with the length to which the trial's recipe cuts or pads its letters."""
    letters = MODELS[trial.model].tokenizer_name(trial.options) == "char"
    length = letters and trial.recipe.max_length
    return replace(task, length=length) if length else task


def unknown_tokens(examples: Examples) -> dict[str, Any]:
    """The share of training tokens that the vocabulary lacks, and what is said of it.

    Empty where the tokenizer has a token for everything. ValueError above 20 %.
    """
    tokenizer = examples.tokenizer
    if tokenizer is None or tokenizer.unknown < 0:
        return {}
    task, name = examples.task, examples.model.name
    share = unknown_share(tokenizer, tokenizer(examples.train.seqs, task.length, "mask"))
    says = f"{share:.2%} of the tokens of {task.name} are unknown to {name} ({tokenizer.name})"
    if share > MOST_UNKNOWN:
        raise ValueError(f"{says}: its vocabulary does not fit; take another model or tokenizer")
    found = {"unknown_tokens": round(share, 6), "tokenizer": tokenizer.name}
    return found | ({"contract": [says]} if share > MUCH_UNKNOWN else {})


def build_learner(
    job: Job, examples: Examples, resources: Resources, kernels: Kernels
) -> tuple[Learner, dict[str, Any]]:
    """What learns, and what a record says about its weights and what is wrong with the network.

    ValueError for weights that cannot be had or do not fit, and as `NetLearner`.
    """
    trial, model = job.trial, examples.model
    built = model.build(examples.task, trial.options)
    if model.custom_trainer:
        return built(examples.train, trial.recipe), {}
    from dnabench.train.adapt import with_head, without_head
    from dnabench.train.contract import quick_checks
    from dnabench.train.learner import NetLearner
    from dnabench.train.objectives import supervised

    found = unknown_tokens(examples)
    if trial.recipe.finetune == "probe" and model.load_official is not None:
        built = without_head(built)  # no pooler is loaded that nothing would use
    if loaded := load_regime(built, model, trial.regime, job.checkpoint, trial.options):
        found["weights"] = {"copied": loaded.copied, "unused": loaded.unused}
        if loaded.beside:
            found["contract"] = [*found.get("contract", ()), loaded.beside]
    built = with_head(built, model, examples.task, trial.options, trial.recipe)
    learner = NetLearner(
        built, examples, supervised(examples.task, trial.recipe, examples.train), trial.recipe,
        streams(trial.seed, trial.task), resources, kernels,
    )  # fmt: skip
    ours = of_dnabench(model.build) and not model.reference
    if not ours and (wrong := quick_checks(learner, examples)):
        found["contract"] = [*found.get("contract", ()), *wrong]
    return learner, found
