"""Every way to name a model, resolved in one place.

convnova, mymodel           of dnabench or a plugin
path/to/net.py:Name         a class or function of your own file
"""

from __future__ import annotations

from collections.abc import Callable

from dnabench.models.outside.file import FILE, model_in_file
from dnabench.registry import MODELS
from dnabench.types import Job, Model


def model_named(text: str, say: Callable[[str], object] = lambda note: None) -> Model:
    """The model that a user names; one from outside is then in MODELS under its own name.

    Args:
        text: a name, or a file and a name in it.
        say: called with what was understood, where that is not what was written.

    Raises:
        KeyError: an unknown name; the message suggests one.
        ValueError: a file that is missing or does not load, or has no such class or function.
    """
    if found := FILE.fullmatch(text):
        return MODELS.bring(model_in_file(found["path"], found["name"], text))
    return MODELS[text]


def model_of(job: Job) -> Model:
    """The model of a job, in a process that may not know it yet.

    Raises:
        ValueError: when its code is not that of the plan.
    """
    model = model_named(job.reference) if job.reference else MODELS[job.trial.model]
    planned, now = (o.get("code") for o in (job.trial.options, model.options))
    if planned != now:
        raise ValueError(
            f"the code of {model.name} changed: {planned} when the run was planned, {now} now; "
            "start the run again"
        )
    return model
