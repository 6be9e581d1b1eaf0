"""Scores of variants without a network: composition, a Markov chain, distance to a gene's start.

M alleles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnabench.pretraining.classes import genes_of
from dnabench.pretraining.learner import opposite
from dnabench.pretraining.markov import Markov, fit
from dnabench.probes.alleles import Allele, on_genome
from dnabench.probes.changes import Scorer
from dnabench.probes.labelled import Areas, areas, codes_of, rates_elsewhere
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.separation import gc_of
from dnabench.tasks.io.annotation import Annotation, Gene
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N, Sequences

ORDER = 6  # of the Markov chain
MOST = 100_000_000  # bp that it is fitted on
PURINES = (0, 2)  # A and G: such variants are read on the other strand


class Beside(NamedTuple):
    """What is known of M alleles without a network; NaN, or -1 of the context, where nothing is.

    Args:
        gc: float64 (M,), share of G and C in the window.
        markov: float64 (M,), log p(alternative) - log p(reference) of a chain, in nats, the mean of
            both strands; of single bases.
        context: int64 (M,), number of the bases before and behind and the substitution, both
            strands alike: 96 kinds.
        distance: float64 (M,), bp to the nearest start of a gene.
    """

    gc: Array
    markov: Array
    context: Array
    distance: Array


class Baselines:
    """Scores variants of a genome without a network.

    The chain is fitted on the longest sequences, as many as have MOST bp together, or the longest
    alone, both strands alike.

    Args:
        genome: packed.
        length: bp of the window whose G and C count.
        starts: of `starts_of`; without it there are no distances.
    """

    def __init__(
        self, genome: Genome, length: int, starts: Mapping[int, Array] | None = None
    ) -> None:
        self._genome, self._length, self.starts = genome, length, starts or {}
        order = np.argsort(-genome.lengths, kind="stable")
        n = max(1, int(np.searchsorted(np.cumsum(genome.lengths[order]), MOST, "right")))
        (self._chain,) = fit(genome, order[:n].tolist(), [ORDER])

    def __call__(self, alleles: Sequence[Allele]) -> Beside:
        """Look at M alleles, in order; those whose REF is not what the genome has get nothing."""
        found = list(on_genome(alleles, self._genome, self._length, True))
        n = len(found)
        out = Beside(np.full(n, np.nan), np.full(n, np.nan), np.full(n, -1), np.full(n, np.nan))
        good = np.array([i for i, one in enumerate(found) if not one.why], np.int64)
        if not len(good):
            return out
        contig, at = (np.array([getattr(found[i], x) for i in good]) for x in ("contig", "at"))
        around = self._genome.around(contig, at - self._length // 2, self._length)
        out.gc[good] = gc_of(around)
        out.distance[good] = self._distances(contig, at)
        one = np.array([len(found[i].ref) == len(found[i].alt) == 1 for i in good])
        good, contig, at = good[one], contig[one], at[one]
        if len(good):
            alt = Sequences.parse(["".join(found[i].alt for i in good)]).codes
            around = self._genome.around(contig, at - ORDER, 2 * ORDER + 1)
            out.markov[good] = log_ratios(self._chain, around, alt)
            out.context[good] = contexts(around[:, ORDER - 1 : ORDER + 2], alt)
        return out

    def _distances(self, contig: Array, at: Array) -> Array:
        out = np.full(len(at), np.nan)
        for number, starts in self.starts.items():
            own = contig == number
            out[own] = nearest(starts, at[own])
        return out


def starts_of(annotation: Annotation, genome: Genome) -> dict[int, Array]:
    """Starts of genes on the sequences of a genome, int64, ascending, from 0.

    A gene begins with the first base of the exons that the annotation was read with.

    Raises:
        ValueError: no sequence of the genome has a gene.
    """
    out = dict[int, Array]()
    for i in range(len(genome.contigs)):
        genes = genes_of(annotation, genome, i)
        if genes:
            out[i] = first_bases(genes)
    if not out:
        raise ValueError(f"{annotation.path} has no gene on a sequence of {genome.name}")
    return out


def first_bases(genes: Sequence[Gene]) -> Array:
    """int64, ascending, from 0: where genes begin, in reading direction."""
    return np.sort([g.exons[-1][1] - 1 if g.reverse else g.exons[0][0] for g in genes])


def nearest(starts: Array, at: Array) -> Array:
    """int64 (M,), bp from each place to the nearest of ascending starts."""
    right = np.searchsorted(starts, at)
    both = starts[np.stack([right - 1, right]).clip(0, len(starts) - 1)]
    return np.asarray(np.abs(both - at).min(0))


def log_ratios(chain: Markov, around: Array, alt: Array) -> Array:
    """What a chain makes of substitutions: log p(alternative) - log p(reference) in nats.

    Only the k + 1 terms with the base in them change, so that the difference is that of the windows
    and, just as well, that of the base given those on both sides. The mean of both strands.

    Args:
        chain: of order k.
        around: uint8 (M, 2 k + 1), the reference with the base in the middle.
        alt: uint8 (M,).

    Returns:
        float64 (M,).
    """
    k, other = chain.order, around.copy()
    other[:, k] = alt
    total = np.zeros(len(around))
    for sign, codes in ((-0.5, around), (0.5, other)):
        for one in (codes, opposite(codes)):
            logs = chain.predict(one)[:, k:].astype(np.float64)
            asked = one[:, k:].astype(np.int64)
            each = np.take_along_axis(logs, np.where(asked < N, asked, 0)[..., None], 2)[..., 0]
            total += sign * np.where(asked < N, each, 0).sum(1)
    return total


def contexts(three: Array, alt: Array) -> Array:
    """int64 (M,), a number for the bases beside and the substitution; -1 where a base is N.

    Args:
        three: uint8 (M, 3), the reference with a base on each side.
        alt: uint8 (M,).
    """
    turned = np.isin(three[:, 1], PURINES)
    codes = np.where(turned[:, None], opposite(three), three).astype(np.int64)
    to = np.where(turned & (alt < N), 3 - alt.astype(np.int64), alt)
    number = ((codes[:, 0] * 4 + codes[:, 1]) * 4 + codes[:, 2]) * 4 + to
    return np.where((codes == N).any(1) | (to == N), -1, number)


def chain_direction(scorer: Scorer, direction: str) -> str:
    """What the chain's score is in class 1: as the network's, where both are log ratios.

    Distances of embeddings and changes of answers say nothing of the sign of a log ratio; the chain
    is then low in class 1.
    """
    return direction if isinstance(scorer, Likelihood) else "minus"


def compared(
    scores: Array, direction: str, labels: Sequence[str], chroms: Sequence[str],
    groups: Sequence[str], beside: Beside, at: Sequence[int] = (),
) -> dict[str, Areas | str]:  # fmt: skip
    """Areas of what needs no network, of the variants that the network scored.

    Args:
        scores: float64 (M,), of the network; NaN = none.
        direction: of the chain's score, as of `chain_direction`. High in class 1 are G and C, and
            the share of class 1 among the same substitutions in the same context on other
            chromosomes; low is the distance.
        labels: of each variant.
        chroms: sequence of each.
        groups: match groups, as of `labelled.areas`.
        beside: of the variants.
        at: their positions, likewise.

    Returns:
        By name; a sentence where there are none.
    """
    used = np.isfinite(scores) & (codes_of(labels) >= 0)
    rates = np.full(len(scores), np.nan)
    if used.any():
        rates[used] = rates_elsewhere(
            beside.context[used], codes_of(labels)[used] == 1, np.array(chroms)[used].tolist()
        )
    out = dict[str, Areas | str]()
    single, context = "of single bases alone", "needs variants of several sequences"
    if used.any() and (beside.context[used] < 0).all():
        context = single
    for name, values, high, why in (
        ("GC of the window", beside.gc, "plus", ""),
        ("context of 3 bp", rates, "plus", context),
        (f"Markov chain of order {ORDER}", beside.markov, direction, single),
        ("distance to a start", beside.distance, "minus", "needs --gff, or a column tss_dist"),
    ):
        own = np.where(used, values, np.nan)
        try:
            out[name] = areas(own, labels, chroms, high, groups, at)
        except ValueError as e:
            said = [why, str(e)] if np.isfinite(own).any() or not why else [why]
            out[name] = "; ".join(filter(None, said))
    return out
