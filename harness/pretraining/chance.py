"""What chance is, beside a language model: Markov chains of the genome and of each region.

B windows, L bp, k bases of context, K classes of regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnabench.pretraining.classes import CLASSES, INTERGENIC, classes_of
from dnabench.pretraining.markov import ORDERS, Markov, contexts, fit, mers_in, pieces
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array

REGION_ORDERS = tuple(range(9))  # of chains by class: 19 MB of counts
BY_REGION, FORWARD = "by region", "forward"
SPREAD = 4  # counts that are added to those of a context, as they are in the whole genome


@dataclass(frozen=True)
class ByClass:
    """A chain for each class of regions: a base from its class and the k bases before it.

    Args:
        order: k.
        logs: float32 (K, 4^k, 4), log probabilities in nats of A, C, G and T.
        plain: float32 (K, 4), those of order 0.
        where: BY_REGION, or FORWARD where all bases are of one class.
    """

    order: int
    logs: Array
    plain: Array
    where: str = BY_REGION

    def predict(self, codes: Array, kinds: Array) -> Array:
        """float32 (B, L, 4), log probabilities of each base.

        A base without context gets the frequencies of its class.

        Args:
            codes: uint8 (B, C + L), the bases and C before them.
            kinds: uint8 (B, L), index in CLASSES.
        """
        length = kinds.shape[1]
        context, known = (part[:, -length:] for part in contexts(codes, self.order))
        out = self.plain[kinds]
        out[known] = self.logs[kinds[known], context[known]]
        return np.asarray(out)


class Chance(NamedTuple):
    """What a language model is compared with.

    Args:
        chains: of the whole genome by ascending order, then those by class.
        bases: class -> how many bases of it were counted.
        majority: class -> its most frequent base.
    """

    chains: list[Markov | ByClass]
    bases: dict[str, int]
    majority: dict[str, str]


def name_of(chain: Markov | ByClass) -> str:
    """As in tables: "order 3", "order 3 by region", "order 0 forward"."""
    more = f" {chain.where}" if isinstance(chain, ByClass) else ""
    return f"order {chain.order}{more}"


def column(name: str) -> str:
    """The head of a chain's column: "Markov 3 by region"."""
    return f"Markov {name.removeprefix('order ')}"


def best_of(chance: Mapping[str, Mapping[str, float]], measure: str) -> str:
    """The name of the chain whose value of a measure is the lowest."""
    return min(chance, key=lambda name: chance[name][measure])


def majority_of(names: Sequence[str]) -> str:
    """The chain whose likeliest base is the majority base of a class, or of all."""
    own = f"order 0 {BY_REGION}", f"order 0 {FORWARD}"
    return next((name for name in names if name in own), "order 0")


def said_by(chain: Markov | ByClass, before: Array, kinds: Array) -> Array:
    """float32 (B, L, 4), log probabilities in nats of A, C, G and T.

    Args:
        chain: of any kind.
        before: uint8 (B, C + L), the bases and C before them.
        kinds: uint8 (B, L), index in CLASSES.
    """
    if isinstance(chain, ByClass):
        return chain.predict(before, kinds)
    return chain.predict(before)[:, -kinds.shape[1] :]


def chance_for(
    genome: Genome, held_out: Sequence[int], annotation: Annotation | None = None
) -> Chance:
    """What is fitted on all sequences but those that are evaluated.

    Chains of the whole genome, of orders 0 to 11 and both strands; with an annotation also chains
    for each class of regions, of orders 0 to 8 and the forward strand, without one the frequencies
    of the forward strand. Orders with more contexts than bp to count are left out.

    Args:
        genome: packed.
        held_out: numbers of the sequences that are not counted.
        annotation: None = all is of one class, the last.

    Raises:
        ValueError: every sequence is evaluated.
    """
    chains = chains_for(genome, held_out)
    rest = _rest(genome, held_out)
    bp = int(genome.lengths[rest].sum())
    orders = [k for k in REGION_ORDERS if k == 0 or len(CLASSES) * 4**k <= bp]
    counts = count(genome, rest, annotation, orders[-1] if annotation else 0)
    own = by_class(counts, orders if annotation else [0], BY_REGION if annotation else FORWARD)
    named = range(len(CLASSES)) if annotation else [INTERGENIC]
    most = own[0].plain.argmax(1)
    return Chance(
        [*chains, *own],
        {CLASSES[i]: int(counts[i].sum()) for i in named},
        {CLASSES[i]: "ACGT"[most[i]] for i in named},
    )


def chains_for(genome: Genome, held_out: Sequence[int]) -> list[Markov]:
    """Chains of the whole genome, fitted on all sequences but those that are evaluated.

    Their orders are 0 to 11, as long as there are fewer contexts than bp to count.
    """
    rest = _rest(genome, held_out)
    if not rest:
        raise ValueError(f"{genome.name}: every sequence is evaluated, none is left for the chains")
    bp = int(genome.lengths[rest].sum())
    return fit(genome, rest, [k for k in ORDERS if 4**k <= bp])


def _rest(genome: Genome, held_out: Sequence[int]) -> list[int]:
    out = set(held_out)
    return [i for i in range(len(genome.contigs)) if i not in out]


def count(
    genome: Genome, contigs: Sequence[int], annotation: Annotation | None, order: int
) -> Array:
    """int64 (K, 4^(k + 1)), k + 1-mers of the forward strand by the class of their last base.

    Args:
        genome: packed.
        contigs: numbers of the sequences that are counted.
        annotation: None = all is of one class, the last.
        order: k.
    """
    size, width = 4 ** (order + 1), order + 1
    counts = np.zeros(len(CLASSES) * size, np.int64)

    def kinds_of(i: int) -> Array:
        if annotation is None:
            return np.full(int(genome.lengths[i]), INTERGENIC, np.uint8)
        return classes_of(annotation, genome, i)

    for codes, kinds in pieces(genome, contigs, width, kinds_of):
        mers, whole = mers_in(codes, width)
        mers += kinds[width - 1 :].astype(np.int64) * size
        counts += np.bincount(mers[whole], minlength=len(counts))
    return np.asarray(counts.reshape(len(CLASSES), size))


def by_class(counts: Array, orders: Sequence[int], where: str = BY_REGION) -> list[ByClass]:
    """Chains of several orders from counts.

    To the counts of every context four are added, divided as in the sum of all classes, which has
    one added to every count itself. So a class without counts has the chain of the whole genome.

    Args:
        counts: of `count`.
        orders: that are wanted, at most that of the counts.
        where: of the chains.
    """
    longest = (counts.shape[1].bit_length() - 1) // 2

    def logs(order: int) -> Array:
        # summed over the bases before the last k + 1
        own = counts.reshape(len(counts), 4 ** (longest - order - 1), 4**order, 4).sum(1)
        whole = own.sum(0) + 1.0
        own = own + SPREAD * whole / whole.sum(-1, keepdims=True)
        out = np.log(own / own.sum(-1, keepdims=True))
        return np.asarray(out, np.float32)

    plain = logs(0)[:, 0]
    return [ByClass(order, logs(order), plain, where) for order in orders]
