"""Every way to name a model, resolved in one place.

`convnova` or `mymodel` is one of dnabench or a plugin, `path/to/net.py:Name` a class or function of
the user's own file, `hf:ORG/NAME`, `hf:ORG/NAME@REVISION` or `hf:./folder` one of transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dnabench.models.outside.file import FILE, model_in_file
from dnabench.models.outside.hub import PREFIX, REPOSITORY
from dnabench.registry import MODELS
from dnabench.types import Job, Model

FIXED = {
    "code": "the code", "files": "the configuration or tokenizer", "revision": "a file",
}  # fmt: skip


def model_named(
    text: str, say: Callable[[str], object] = lambda note: None, trust: bool = False
) -> Model:
    """The model that a user names; one from outside is then in MODELS under its own name.

    Args:
        text: see the module.
        say: called with what was understood, where that is not what was written.
        trust: whether code of a repository may be run.

    Raises:
        KeyError: an unknown name; the message suggests one.
        ValueError: a file that is missing or does not load, or has no such class or function; a
            model of transformers that cannot be had or used.
    """
    if found := FILE.fullmatch(text):
        return MODELS.bring(model_in_file(found["path"], found["name"], text))
    on_hub = REPOSITORY.fullmatch(text.removeprefix(PREFIX))
    if on_hub and (ours := _port_of(on_hub["repo"])):
        say(f"{text} is {ours.name} here: dnabench's code with the weights of {on_hub['repo']}")
        revision = f"@{on_hub['revision']}" * bool(on_hub["revision"])
        return MODELS.bring(replace(ours, usual_regime=f"pretrained{revision}"))
    if text.startswith(PREFIX):
        from dnabench.models.outside.pretrained import model_of_hub

        return MODELS.bring(model_of_hub(text, trust))
    if on_hub and text not in MODELS:
        raise KeyError(f"no model named {text!r}; of the Hugging Face hub it is -m hf:{text}")
    return MODELS[text]


def _port_of(repo: str) -> Model | None:
    """The model of dnabench that reads the official weights of a repository."""
    ports = [m for m in map(MODELS.__getitem__, MODELS) if m.weights and m.weights.repo == repo]
    return min(ports, key=lambda m: len(m.name)) if ports else None


def model_of(job: Job) -> Model:
    """The model of a job, in a process that may not know it yet.

    Raises:
        ValueError: when its files are not those of the plan.
    """
    trial = job.trial
    if not job.reference:
        return MODELS[trial.model]
    trust = job.reference.startswith(PREFIX) and "code" in trial.options
    model = model_named(job.reference, trust=trust)
    for name, what in FIXED.items():
        planned, now = trial.options.get(name), model.options.get(name)
        if planned != now:
            raise ValueError(
                f"{what} of {model.name} changed: {planned} when the run was planned, {now} now; "
                "start the run again"
            )
    return model
