"""How much each base adds to a kept network's answer: integrated gradients.

L bp of a sequence, K bases that are not N, S shuffled sequences.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.networks.network import Network
from dnabench.pretraining.shuffling import runs_of, shuffled_parts
from dnabench.probes.mutagenesis import LONGEST, Answer, answers
from dnabench.probes.seqlets import Seqlet, null_of, seqlets
from dnabench.probes.soft_letters import SoftAnswer
from dnabench.tasks.io.unlabelled import read_parts, whole_sequences
from dnabench.types import Array, Sequences

SHUFFLES, STEPS = 4, 32
LEAST_RUN = 4  # bp without N, of which there may be another order
LEAST_NULL = 10_000  # windows of shuffled sequences, for a threshold of one in a thousand
AT_ONCE = 1 << 14  # bp that are run together
APART = 1e-3  # of the answer in two ways, as a share of its size or of 1


class How(NamedTuple):
    """How attributions are computed.

    Args:
        shuffles: sequences with the same dinucleotides that each is compared with, S.
        steps: points of the path from one to the other.
        seed: of the shuffling.
    """

    shuffles: int = SHUFFLES
    steps: int = STEPS
    seed: int = 0


class Attributed(NamedTuple):
    """The attribution of one sequence.

    Args:
        values: float64 (L,), in the units of the answer; NaN at N and at the first and last base of
            each run between N, which are the same in all shuffled sequences and so add nothing.
        answer: to the sequence.
        baseline: to the shuffled ones, their mean.
    """

    values: Array
    answer: float
    baseline: float

    @property
    def error(self) -> float:
        """The sum of all values minus what it should be, answer - baseline."""
        return float(np.nansum(self.values)) - (self.answer - self.baseline)


def attribution(
    network: Network, codes: Array, answer: Answer, how: How | None = None, number: int = 0
) -> Attributed:
    """Integrated gradients of one answer, from shuffled sequences to this one.

    A base's value is what its letter adds to the answer, in place of those that shuffled sequences
    have there; all values together are the answer minus the mean answer to the shuffled ones.

    Args:
        network: a kept one that reads letters, loaded in fp32; strands are read as in its training.
        codes: uint8 (L,), letters A0 C1 G2 T3 N4.
        answer: of `mutagenesis.answer_of`.
        how: None = as usual.
        number: of the sequence; with the seed it decides what is random.

    Raises:
        ValueError: captum is not installed; as `SoftAnswer`; a network in another precision; a
            sequence that the network cannot read, or without LEAST_RUN bases between N.

    Source:
        Sundararajan et al. 2017, arXiv 1703.01365, by captum, Gauss-Legendre points. Shuffled
        sequences: Altschul and Erickson 1985, Mol. Biol. Evol. 2:526.
    """
    import torch

    from dnabench.train.precision import Arithmetic, differentiable

    try:
        from captum.attr import IntegratedGradients
    except ModuleNotFoundError:
        raise ValueError(
            "attributions need captum and logomaker: pip install 'dnabench[attribution]'"
        ) from None
    how = how or How()
    _check(network, codes, "the sequence")
    soft = SoftAnswer(network, codes, answer)
    others = [mixed(codes, [how.seed, number, i]) for i in range(how.shuffles)]
    network.net.eval()
    x = soft.shares(codes)[None].repeat(how.shuffles, 1, 1)
    baselines = torch.stack([soft.shares(one) for one in others])
    with Arithmetic("fp32", network.device).products(), differentiable(network.net):
        found = IntegratedGradients(soft).attribute(
            x, baselines=baselines, n_steps=how.steps, method="gausslegendre",
            internal_batch_size=max(how.shuffles, AT_ONCE // len(codes)),
        )  # fmt: skip
        with torch.no_grad():
            own, theirs = float(soft(x[:1])[0]), soft(baselines).double().cpu().numpy()
    unscaled = answer._replace(mean=0.0, scale=1.0)
    plain = float(answers(network, _one(codes), unscaled)[0])
    if abs(own - plain) > APART * max(1.0, abs(plain)):
        raise ValueError(
            f"{network.model.name} answers {plain:.4g}, and {own:.4g} to the same letters as "
            "numbers; please report this, and use `dnabench probe mutagenesis`"
        )
    values = np.full(len(codes), np.nan)
    values[soft.known] = answer.scale * found.detach().double().sum(-1).mean(0).cpu().numpy()
    values[runs_of(codes) - [0, 1]] = np.nan
    both = (answer.mean + answer.scale * one for one in (own, float(theirs.mean())))
    return Attributed(values, *both)


def mixed(codes: Array, seed: list[int]) -> Array:
    """The sequence with its dinucleotides shuffled between N, which stay where they are."""
    return shuffled_parts(codes, np.random.default_rng(seed))


def _check(network: Network, codes: Array, name: str) -> None:
    """ValueError for what has no attribution."""
    if network.recipe.precision != "fp32":
        raise ValueError(
            f"attributions are computed in fp32, and this network is to run in "
            f"{network.recipe.precision}; load it with precision='fp32'"
        )
    network.check(_one(codes), [name])
    if np.diff(runs_of(codes)).max(initial=0) < LEAST_RUN:
        raise ValueError(
            f"{name} has no {LEAST_RUN} bases in a row that are not N, so that there is nothing to "
            "shuffle; leave it out"
        )


def _one(codes: Array) -> Sequences:
    return Sequences(codes, np.array([0, len(codes)]))


class Found(NamedTuple):
    """One sequence of a file, its attribution and its seqlets."""

    name: str
    codes: Array
    attributed: Attributed
    seqlets: list[Seqlet]


def attribution_of_file(
    network: Network, file: Path, answer: Answer, how: How | None = None,
    progress: Callable[[int], object] = lambda bp: None,
) -> tuple[list[Found], Array]:  # fmt: skip
    """Attributions and seqlets of every sequence of a file.

    Of each sequence a shuffled copy is attributed as well, of few sequences several: what they
    reach is the null of the seqlets.

    Args:
        network: a kept one.
        file: as `tasks.io.unlabelled.read_parts` takes it.
        answer: of `answer_of`.
        how: None = as usual.
        progress: called with the bp done since the last call, shuffled ones included.

    Returns:
        The sequences, and the null, float64 (M,).

    Raises:
        ValueError, OSError: as `attribution` and reading.
    """
    how, done = how or How(), list[tuple[str, Array]]()
    for part in whole_sequences(read_parts(file), LONGEST):
        for name, _, codes, _ in part.segments():
            _check(network, codes, name)
            done.append((name, codes))
    first, null = list[Attributed](), list[Array]()
    for i, (_, codes) in enumerate(done):
        first.append(attribution(network, codes, answer, how, i))
        progress(len(codes))
    windows = sum(int(np.isfinite(one.values).sum()) for one in first)
    copies = max(1, -(-LEAST_NULL // max(1, windows)))
    for i, (_, codes) in enumerate(done):
        for copy in range(copies):
            other = mixed(codes, [how.seed, i, copy, 1])
            null.append(attribution(network, other, answer, how, len(done) + i).values)
            progress(len(codes))
    sizes = null_of(null)
    return [
        Found(name, codes, one, seqlets(codes, one.values, sizes))
        for (name, codes), one in zip(done, first, strict=True)
    ], sizes
