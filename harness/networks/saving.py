"""From a trained learner to the files of a kept network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dnabench.networks.calibration import fit_temperature
from dnabench.networks.card import CARD, TOKENIZER, WEIGHTS, Card
from dnabench.networks.rebuilding import check_rebuilt
from dnabench.registry import MODELS
from dnabench.tokens.tokenizers import Tokenizer
from dnabench.types import Array, Learner, Model, Record, Split, Task, Trial
from dnabench.weights import begun_with, licence_begun_with

if TYPE_CHECKING:
    from torch import Tensor


class Trained(NamedTuple):
    """What a trial leaves behind, at the checkpoint that was scored.

    tokenizer: None = the model needs none. validation: labels and logits as
    `train.losses.flat` gives them; None = the protocol has no validation split. few: a
    few of test, to check what is kept with, as a split. pretraining: see `card.Card`.
    """

    learner: Learner
    tokenizer: Tokenizer | None
    task: Task
    record: Record
    validation: tuple[Array, Array] | None
    few: Split
    pretraining: Mapping[str, Any] | None = None


def network_files(trained: Trained, keep: str) -> dict[str, bytes]:
    """File name -> content of a kept network; network.json is the last.

    Raises:
        ValueError: a learner whose `state` is not arrays by name; files that would make another
            network, see `check_rebuilt`.
    """
    from safetensors.torch import save

    record, task, trial = trained.record, trained.task, trained.record.trial
    model, files = MODELS[trial.model], dict[str, bytes]()
    tensors, backbone = tensors_of(trained.learner, model, trial)
    files[WEIGHTS] = save(tensors)
    words = trained.tokenizer.text() if trained.tokenizer and trained.tokenizer.text else ""
    if words:
        files[TOKENIZER] = words.encode()
    fitted = trained.validation and fit_temperature(task.kind, *trained.validation)
    card = Card(
        record=record, keep=keep, backbone=backbone, strands=trial.recipe.rc,
        pretraining=trained.pretraining,
        weights=hashlib.sha256(files[WEIGHTS]).hexdigest(),
        tokenizer=TOKENIZER if words else "", temperature=fitted or None,
        task={
            "name": task.name, "kind": task.kind, "classes": list(task.classes),
            "metric": task.metric, "length": task.length, "opposite": list(task.opposite),
            **({"pairs": True} if task.pairs else {}),
            **({"scale": [list(pair) for pair in task.scale]} if task.scale else {}),
            **({"whole_regions": True} if task.whole_regions else {}),
        },
        licenses={"model": model.license, "weights": _license(model, trial, trained.pretraining)},
    )  # fmt: skip
    check_rebuilt(card, tensors, trained.learner, trained.tokenizer, trained.few)
    return files | {CARD: card.to_json().encode()}


def _license(model: Model, trial: Trial, pretraining: Mapping[str, Any] | None) -> str:
    """Of the weights that training began with, and of those that their pretraining began with."""
    if trial.regime.startswith("pretrained:") and model.weights is not None:
        return model.weights.license
    if pretraining and (first := begun_with(pretraining)):
        return f"not stated; pretraining began with {first}: {licence_begun_with(pretraining)}"
    return {"scratch": ""}.get(trial.regime, "not stated")


def tensors_of(learner: Any, model: Model, trial: Trial) -> tuple[dict[str, Tensor], str]:
    """The tensors to store, and the regime of those that are left out."""
    import torch

    if model.custom_trainer:
        state = learner.state()
        named = isinstance(state, Mapping) and all(
            isinstance(k, str) and isinstance(v, np.ndarray) for k, v in state.items()
        )
        if not named:
            raise ValueError(
                f"{model.name} cannot be kept: the state() of its learner is not a dict of arrays"
            )
        arrays = {k: np.array(v, order="C") for k, v in state.items()}
        return {k: torch.from_numpy(v) for k, v in arrays.items()}, ""
    tensors = merged(learner.net)
    if trial.recipe.finetune == "probe" and trial.regime.startswith("pretrained:"):
        return {k: v for k, v in tensors.items() if k.startswith("head.")}, trial.regime
    return tensors, ""


def merged(net: Any) -> dict[str, Tensor]:
    """All tensors of a network, copied to the CPU, with low-rank additions added to their layers.

    Accuracy:
        W + B A is rounded once more than W x + B A x; the logits move in their last digits.
    """
    state = net.state_dict()
    tensors = {
        name.replace(".base_layer.", "."): value.detach().cpu().clone().contiguous()
        for name, value in state.items()
        if ".lora_" not in name
    }
    for layer in net.modules():
        if hasattr(layer, "get_delta_weight"):
            place = layer.get_base_layer().weight.data_ptr()
            shared = [name for name, value in state.items() if value.data_ptr() == place]
            for adapter in layer.active_adapters:
                added = layer.get_delta_weight(adapter).detach().cpu()
                for name in shared:  # a layer in two places has two names
                    tensors[name.replace(".base_layer.", ".")] += added
    return tensors
