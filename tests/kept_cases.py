"""What tests of kept networks share: tasks of every kind, and trials whose networks are kept."""

import dataclasses

import numpy as np
import pytest
from conftest import planted_split, planted_task

from dnabench import MODELS, TASKS, Trial
from dnabench.networks.network import load_network
from dnabench.networks.saving import network_files
from dnabench.results.store import Store
from dnabench.sweep.trial import run_trial
from dnabench.types import Job

SIZES = {"train": 24, "dev": 16, "test": 16}


def labelled(split, kind, classes=3):
    """A planted split with labels of another kind."""
    n, length = len(split.y), int(split.seqs.lengths.max())
    if kind == "per_base":
        rows = split.seqs.padded(length) % classes
        return split._replace(y=rows.astype(np.int8))
    if kind in ("multilabel", "regression"):
        x = np.random.default_rng(n).random((n, classes)).astype(np.float32)
        return split._replace(y=np.round(x) if kind == "multilabel" else x)
    return split


def task_of_kind(kind, length=80, **changes):
    """A small task; per base the classes of the other strand are those of this one."""
    metric = {"per_base": "mcc", "multilabel": "auroc_mean", "regression": "pearson"}.get(
        kind, "mcc"
    )
    classes = 2 if kind == "binary" else 3

    def load(split):
        part = planted_split(SIZES[split], len(split), length, classes)
        return labelled(part, kind, classes)

    return planted_task(
        classes=classes, length=length, kind=kind, metric=metric, counts=SIZES, load=load,
        opposite=tuple(range(classes)) if kind == "per_base" else (), name=f"planted/{kind}",
        **changes,
    )  # fmt: skip


@pytest.fixture
def put(monkeypatch):
    """Put a task in the registry for one test."""
    list(TASKS)

    def register(task):
        monkeypatch.setitem(TASKS._entries, task.name, task)
        return task

    return register


def job_of(model, task, options=None, regime="scratch", **recipe):
    """A trial of one epoch at a model's reduced options."""
    recipe = dataclasses.replace(model.recipes["default"], **{"epochs": 1, **recipe})
    options = {**model.options, **model.reduced, **(options or {})}
    return Job(
        Trial(
            model=model.name, options=options, regime=regime, task=task.name, data=task.data,
            protocol="honest/1", recipe=recipe, seed=0,
        )
    )  # fmt: skip


def kept(job, folder, keep="all", load=True):
    """Run it, keep its network, perhaps load that; (network, record, predictions)."""
    trained, store = [], Store(folder)
    record, predictions = run_trial(job, keep=trained.append)
    store.save_network(job.trial.id, network_files(trained[0], keep))
    store.append(record, predictions)
    network = load_network(store.network_path(job.trial.id)) if load else None
    return network, record, predictions


def flat(task, logits):
    """Logits as predictions store them: per base, a row a base."""
    return logits.reshape(-1, task.n_outputs) if task.kind == "per_base" else logits


def smallest():
    """The smallest model of each family."""
    from dnabench.sweep.grid import Request, models_of

    return [m.name for m in models_of(Request(models=["all"], preset="smallest"))]


def tiny_network(folder, put, model="unet", kind="per_base", length=80, options=None, **recipe):
    """A kept network of a small task."""
    task = put(task_of_kind(kind, length))
    return kept(job_of(MODELS[model], task, options, **recipe), folder)
