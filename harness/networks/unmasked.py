"""What is said of a network that does not mask padding, so that its answers depend on the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dnabench.models.outside.loaded import of_dnabench
from dnabench.networks.network import Network
from dnabench.types import Array, Model, Sequences

FAR = {"fp32": 1e-4}  # of the largest value; what rounding does, in 16 bits and tf32:
ROUNDED = 2e-2
SOME = 256  # bp of the longest sequence that is asked for
SPECIAL = 8  # tokens of a sequence, beyond one a bp, at most
SAYS = (
    "{} does not mask padding everywhere: the answer to a sequence depends on the others of its "
    "batch, unless all have equally many tokens"
)


def unmasked(network: Network) -> str:
    """As `said_of_padding`, of the logits of a kept network."""

    def logits(seqs: Sequences) -> Array:
        other = seqs.reverse_complement() if network.task.pairs else None
        found = network.logits(seqs, other)
        inside = np.arange(found.shape[1]) < seqs.lengths[:, None]
        return found[inside] if network.task.kind == "per_base" else found

    return said_of_padding(network.model, network.recipe.precision, network.task.length, logits)


def said_of_padding(
    model: Model, precision: str, length: int, answers: Callable[[Sequences], Array]
) -> str:
    """Ask a network of a few random sequences, together and each alone.

    Args:
        model: those of dnabench mask padding, and are not asked.
        precision: of the network's arithmetic.
        length: bp of the longest sequence that it takes; the shortest has half as many, of SOME.
        answers: rows of numbers, sequence after sequence.

    Returns:
        What to say where answers differ by more than rounding; "" = they are alike, or the network
        does not read sequences of several lengths.
    """
    if model.custom_trainer or (of_dnabench(model.build) and not model.reference):
        return ""
    least, most = max(1, model.min_length), model.max_tokens - SPECIAL if model.max_tokens else SOME
    length = max(least, min(length, most, SOME))
    rng, lengths = np.random.default_rng(0), np.linspace(max(least, length // 2), length, 4)
    seqs = Sequences.parse(["".join(rng.choice(list("ACGT"), int(n))) for n in lengths])
    try:
        together = answers(seqs)
        alone = np.concatenate([answers(seqs.take(np.array([i]))) for i in range(len(seqs))])
    except Exception:  # code of others may raise anything; where one length is read, none is padded
        return ""
    far = FAR.get(precision, ROUNDED) * np.abs(alone).max(initial=1e-12)
    return "" if np.abs(together - alone).max() <= far else SAYS.format(model.name)
