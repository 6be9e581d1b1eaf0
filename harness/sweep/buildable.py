"""Whether models with changed options can be built: asked before any trial starts."""

import json
from collections.abc import Iterable
from typing import Any

from dnabench.models.outside.loaded import of_dnabench
from dnabench.registry import MODELS
from dnabench.sweep.grid import label
from dnabench.types import Job, Trial


def check_buildable(jobs: Iterable[Job]) -> None:
    """ValueError for options with which no model can be built, such as an even kernel size.

    Models of dnabench are built without numbers, each once, where options are not the usual ones:
    others need no check, and those of a user's code may do anything. PyTorch is imported only where
    there is something to build.
    """
    kinds: dict[str, Job] = {}
    for job in jobs:
        model, trial = MODELS[job.trial.model], job.trial
        ours = of_dnabench(model.build) and not model.reference
        if ours and _changed(trial):
            key = [trial.model, dict(trial.options), trial.task, trial.recipe.max_length]
            kinds.setdefault(json.dumps(key, sort_keys=True), job)
    for job in kinds.values():
        if why := _refused(job):
            raise ValueError(f"{label(job.trial)} on {job.trial.task} cannot be built: {why}")


def _changed(trial: Trial) -> bool:
    """Whether the options are other than those of the model, or of its recipe for the task."""
    model = MODELS[trial.model]
    _, own = model.recipe_for(trial.task.partition("/")[0]).for_task(trial.task)
    usual: dict[str, Any] = {**model.options, **own}
    return any(usual.get(name) != value for name, value in trial.options.items())


def _refused(job: Job) -> str:
    """Why a model cannot be built; "" if it can, or if that is not known without numbers."""
    import torch

    from dnabench.sweep.trial import task_of
    from dnabench.train.build import as_read

    trial = job.trial
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            MODELS[trial.model].build(as_read(task_of(job), trial), trial.options)
    except ValueError as e:
        return str(e)
    except Exception:  # what is raised without numbers need not be raised with them
        return ""
    return ""
