"""Whether models with changed settings can be built and trained: asked before any trial starts."""

import json
from collections.abc import Iterable
from typing import Any

from dnabench.models.outside.loaded import of_dnabench
from dnabench.registry import MODELS
from dnabench.sweep.grid import label
from dnabench.types import Job, Trial


def check_buildable(jobs: Iterable[Job], micro_batch: int = 0) -> None:
    """ValueError for options with which no model can be built, such as an even kernel size.

    Likewise for a micro-batch or `norm_batch` that its batch norms, or their lack, rule out. Models
    of dnabench are built without numbers, each once, where such settings are not the usual ones:
    others need no check, and those of a user's code may do anything. PyTorch is imported only where
    there is something to build.
    """
    kinds: dict[str, Job] = {}
    for job in jobs:
        model, trial = MODELS[job.trial.model], job.trial
        ours = of_dnabench(model.build) and not model.reference
        recipe = trial.recipe
        in_parts = recipe.norm_batch > 0 or 0 < micro_batch < recipe.batch
        if ours and (_changed(trial) or in_parts):
            parts = [recipe.norm_batch, recipe.batch, recipe.finetune] if in_parts else []
            key = [trial.model, dict(trial.options), trial.task, recipe.max_length, *parts]
            kinds.setdefault(json.dumps(key, sort_keys=True), job)
    for job in kinds.values():
        if why := _refused(job, micro_batch):
            raise ValueError(why)


def _changed(trial: Trial) -> bool:
    """Whether the options are other than those of the model, or of its recipe for the task."""
    model = MODELS[trial.model]
    _, own = model.recipe_for(trial.task.partition("/")[0]).for_task(trial.task)
    usual: dict[str, Any] = {**model.options, **own}
    return any(usual.get(name) != value for name, value in trial.options.items())


def _refused(job: Job, micro_batch: int) -> str:
    """Why a model cannot be trained; "" if it can, or if that is not known without numbers."""
    import torch

    from dnabench.sweep.trial import task_of
    from dnabench.train.build import as_read
    from dnabench.train.ghost import Ghost

    trial = job.trial
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            net = MODELS[trial.model].build(as_read(task_of(job), trial), trial.options)
    except ValueError as e:
        return f"{label(trial)} on {trial.task} cannot be built: {e}"
    except Exception:  # what is raised without numbers need not be raised with them
        return ""
    try:
        if isinstance(net, torch.nn.Module):
            Ghost(net, trial.recipe, trial.model, micro_batch)
    except ValueError as e:
        return str(e)
    return ""
