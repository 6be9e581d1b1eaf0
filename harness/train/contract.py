"""What a network must do to be compared fairly, checked on the network itself.

N examples, K task outputs.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from dnabench.models.outside.hub import PREFIX
from dnabench.train.frozen import Frozen
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.types import Array, Model, Split, Task

SOME = 8  # examples that a check looks at
FAR = 1.5  # times the loss of guessing
ATOL, RTOL = 2e-5, 1e-4  # float32 rounding in another batch
PADDING = (
    "a score depends on padding: multiply by `mask` before every operation that reads neighbours, "
    "and average over it"
)
OF_OTHERS = (
    "a score depends on padding, which {} does not mask everywhere, and so on the other sequences "
    "of its batch: give sequences of equally many tokens, or take another architecture, such as "
    "bert, esm or llama"
)
NEIGHBOURS = (
    "a score depends on the other sequences of its batch: use no statistics of the batch when "
    "predicting (eval mode)"
)
NOT_FINITE = "scores are not finite: look for a division by 0, a logarithm, or 16 bits"
RANDOM = (
    "the same sequences score differently when they are read again: draw and change nothing when "
    "predicting (F.dropout needs training=self.training)"
)
SIXTEEN = (
    "its parameters are {}, so that small steps are lost: keep them in float32; --precision bf16 "
    "computes in 16 bits"
)
FIRST_LOSS = (
    "the first loss is more than 1.5 times that of guessing: draw the head's weights smaller, or "
    "divide what it reads by its size"
)

PROBABILITIES = (
    "the answers to each sequence add up to 1, as after a softmax: return what goes into it, since "
    "the loss takes the softmax itself"
)


class Difference(NamedTuple):
    """How far scores lie apart that should be equal."""

    largest: float
    within: bool  # rounding


def apart(a: Array, b: Array) -> Difference:
    """Compare logits (N, K) of the same sequences."""
    return Difference(float(np.abs(a - b).max(initial=0)), bool(np.allclose(a, b, RTOL, ATOL)))


def alone(learner: NetLearner, split: Split) -> Array:
    """The logits of each sequence in a batch of its own, in the order of the split."""
    every = range(len(split.y))
    return np.concatenate([predicted(learner, split.take(np.array([i]))) for i in every])


def padding(learner: NetLearner, split: Split) -> Difference:
    """Sequences of different lengths, together and each in a batch of its own."""
    return apart(predicted(learner, split), alone(learner, split))


def why_apart(learner: NetLearner, split: Split, model: Model) -> str:
    """What is wrong with a model's network where scores lie apart."""
    logits = predicted(learner, split)
    if not np.isfinite(logits).all():
        return NOT_FINITE
    if not apart(logits, predicted(learner, split)).within:
        return RANDOM
    return why_beside_others(learner, split, model)


def why_beside_others(learner: NetLearner, split: Split, model: Model) -> str:
    """What makes scores depend on the batch: padding, where there is any, or its statistics."""
    if not learner.pads(split):
        return NEIGHBOURS
    return OF_OTHERS.format(model.family) if model.reference.startswith(PREFIX) else PADDING


def sixteen_bits(net: Any) -> str:
    """What is wrong with parameters of 16 bits; "" = there are none."""
    found = sorted(
        {str(p.dtype) for p in net.parameters() if p.dtype in (torch.float16, torch.bfloat16)}
    )
    return (
        SIXTEEN.format(" and ".join(name.removeprefix("torch.") for name in found)) if found else ""
    )


def are_probabilities(task: Task, logits: Array) -> bool:
    """Whether the logits (N, K) of classes have been through a softmax."""
    sums = bool(np.allclose(logits.sum(1), 1, atol=1e-4))
    return task.kind in ("binary", "multiclass") and sums and bool((logits >= 0).all())


def guessing(task: Task) -> float:
    """The loss of equal probabilities; NaN for regression."""
    if task.kind == "regression":
        return math.nan
    return math.log(2 if task.kind == "multilabel" else task.n_outputs)


def quick_checks(learner: NetLearner, examples: Examples) -> list[str]:
    """The three cheapest checks, on a few training examples: padding, neighbours, first loss.

    The network is not changed, and no random number of the trial is drawn. It runs in float32:
    16 bits round differently on a GPU for every number of sequences. Where it has 16 bits alone, as
    the kernels of flash-attn, readings are not compared.

    Returns:
        What is wrong and what to do, a sentence each. Padding is looked at where the examples
        differ in length. Of a probe its features are looked at, but not those per base, and once
        for all trials that share them.

    Raises:
        ValueError: logits of another shape than (N, K); parameters that the first forward makes.
    """
    try:
        with learner.in_float32():
            return _quick_checks(learner, examples)
    except (AssertionError, RuntimeError):
        if learner.recipe.precision not in ("bf16", "fp16"):
            raise
    return _quick_checks(learner, examples, exact=False)


def _quick_checks(learner: NetLearner, examples: Examples, exact: bool = True) -> list[str]:
    task, few, model = examples.task, _few(examples.train), examples.model
    if learner.frozen is not None:
        look = exact and task.kind != "per_base"
        return _of_features(learner, learner.frozen, model) if look else []
    wrong = [says] if (says := sixteen_bits(learner.net)) else []
    made = {*learner.net.parameters()}
    with torch.random.fork_rng(devices=[]):
        logits = predicted(learner, few)
        check_made(learner.net, made, model.name)
        _check_shape(examples, logits, few)
        if exact and not apart(logits, alone(learner, few)).within:
            wrong.append(why_apart(learner, few, model))
    if task.kind == "per_base":
        return wrong
    if are_probabilities(task, logits):
        wrong.append(PROBABILITIES)
    loss = Supervised(task).mean_loss(few, logits)
    if loss > FAR * guessing(task):
        wrong.append(FIRST_LOSS)
    return wrong


def _of_features(learner: NetLearner, frozen: Frozen, model: Model) -> list[str]:
    """What is wrong with features of a frozen backbone, in units of the largest.

    Sequences are those of the pool, the same for all trials that share features; of pairs both.
    """

    def look() -> dict[str, Array]:
        m = len(frozen.pool.seqs)
        few = _few(Split(frozen.pool.seqs, np.zeros(m), np.arange(m)))
        with torch.random.fork_rng(devices=[]):
            together = frozen.fresh(few.seqs)
            one = [frozen.fresh(few.seqs.take(np.array([i]))) for i in range(len(few.y))]
        size = max(float(np.abs(together).max()), 1e-12)
        right = apart(together / size, np.concatenate(one) / size).within
        return {"says": np.array([] if right else [why_beside_others(learner, few, model)], str)}

    says: list[str] = frozen.once("checks", look)["says"].tolist()
    return says


def check_made(net: Any, made: set[Any], name: str) -> None:
    """ValueError for parameters that are not among those `made` before the first forward."""
    if late := [key for key, p in net.named_parameters() if p not in made]:
        raise ValueError(
            f"{name} makes {', '.join(late[:5])} in its first forward, where no optimiser learns "
            "them: make them in __init__"
        )


def _few(train: Split) -> Split:
    """Some of the training examples, the shortest and the longest among them."""
    order = np.argsort(train.seqs.lengths, kind="stable")
    picked = np.unique(np.linspace(0, len(order) - 1, min(SOME, len(order))).astype(int))
    return train.take(order[picked])


def predicted(learner: NetLearner, split: Split) -> Array:
    """The logits as learned so far."""
    return learner.predictor(split)()


def _check_shape(examples: Examples, logits: Array, split: Split) -> None:
    task, n = examples.task, len(split.y)
    wanted = (n, *([task.length] * (task.kind == "per_base")), task.n_outputs)
    if logits.shape != wanted:
        raise ValueError(
            f"{examples.model.name} answers {n} sequences with logits of shape {logits.shape}; "
            f"{task.name} needs {wanted}: (sequences, n_outputs), for a per-base task (sequences, "
            "length, n_outputs)"
        )
