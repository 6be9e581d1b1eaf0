"""How much context a prediction uses: what changes as the bases around a position are shown.

P positions, C contexts, K outputs, W bp of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit, softmax
from torch import Tensor

from dnabench.networks.network import Network
from dnabench.pretraining.learner import as_sequences, opposite
from dnabench.probes.likelihood import BASES, Likelihood
from dnabench.reports.grid import count
from dnabench.tasks.io.packed import Genome
from dnabench.tasks.io.regions import Regions
from dnabench.tokens.tokenizers import TOKENIZERS, Tokenizer
from dnabench.types import Array, N

LONGEST, STEP = 2_000, 10  # bp
AHEAD = 100  # contexts that are looked at together
STILL = 1e-4  # sum of the variances of the K probabilities
NEAR = 0.02  # total variation
AT_ONCE = 1 << 18  # bp of windows that are run together
FLANKS = ("none", "shuffled")
WORDS = 840  # bp of a window in which words of 1 to 8 bp stand whole


class Asked(NamedTuple):
    """A network that is asked about one base.

    Args:
        name: of the network.
        how: what is asked, in words.
        classes: names of the K probabilities.
        trained: bp of the windows it was trained on; 0 = that is not known.
        least: bp of the shortest window that it reads.
        most: of the longest.
        causal: whether it sees the bases before a position alone.
        multiple: of bp on each side, which keeps words of several bases in frame.
        ask: from windows uint8 (S, W) and the index of the base to probabilities float64 (S, K).
    """

    name: str
    how: str
    classes: tuple[str, ...]
    trained: int
    least: int
    most: int
    causal: bool
    multiple: int
    ask: Callable[[Array, int], Array]


def of_language(likelihood: Likelihood) -> Asked:
    """A language model: the probabilities of A, C, G and T at the hidden base, or the next one.

    Raises:
        ValueError: one of byte pairs, which has no token for one base; a causal one whose next
            token is not a letter.
    """
    source = likelihood.source
    if likelihood.causal and not likelihood.letters:
        raise ValueError(
            f"{source.name} predicts the next of {source.tokenizer.name}; the context of a base "
            "needs a causal network of dnabench that predicts letters, such as hyenadna, or a "
            "masked one"
        )
    if not (likelihood.by_site or likelihood.causal):
        raise ValueError(
            f"{source.name} predicts {source.tokenizer.name} tokens of many lengths, none of which "
            "stands for a base; the context of a base needs tokens of one base or of one length"
        )
    ask = _following(likelihood) if likelihood.causal else _hidden(likelihood)
    how = "the next base" if likelihood.causal else likelihood.asks
    return Asked(
        source.name, how, tuple("ACGT"), source.trained, max(1, source.model.min_length),
        source.longest, likelihood.causal, _frame(source.tokenizer), ask,
    )  # fmt: skip


def _frame(tokenizer: Tokenizer) -> int:
    """Bp of words that stand end to end, from the first base of a window on; else 1."""
    codes = np.random.default_rng(0).integers(0, BASES, (1, WORDS)).astype(np.uint8)
    widths = tokenizer(as_sequences(codes), WORDS, "mask").widths
    if tokenizer.spaced or widths is None:
        return 1
    found = np.unique(widths[widths > 0])
    return int(found[0]) if len(found) == 1 else 1


def _hidden(likelihood: Likelihood) -> Callable[[Array, int], Array]:
    return lambda codes, index: np.asarray(softmax(likelihood.sites(codes, index), axis=1))


def _following(likelihood: Likelihood) -> Callable[[Array, int], Array]:
    def ask(codes: Array, index: int) -> Array:
        out, place = np.full((len(codes), BASES), 1 / BASES), likelihood.lead + index - 1
        if place < 0:  # nothing stands before the base
            return out

        def read_off(rows: Array, logits: Tensor) -> None:
            found = likelihood.log_probabilities(logits[:, place])
            out[rows] = found.exp().cpu().numpy()

        likelihood.all_bases(codes[:, : index + 1], read_off)
        return out

    return ask


def of_network(network: Network) -> Asked:
    """A fine-tuned network with an answer for each base; the base is not hidden.

    Raises:
        ValueError: one with an answer for a whole sequence.
    """
    task = network.task
    if task.kind != "per_base":
        raise ValueError(
            f"this network of {task.name} has one answer for a sequence; the context of a base "
            "needs a language model, or a network with an answer for each base"
        )
    classes = tuple(map(str, network.card.task["classes"]))

    def ask(codes: Array, index: int) -> Array:
        logits = network.logits(as_sequences(codes))[:, index].astype(np.float64)
        return np.asarray(softmax(logits, axis=1) if logits.shape[1] > 1 else expit(logits))

    name = network.card.record.trial.model
    tokenizer = network.tokenizer or TOKENIZERS[network.model.tokenizer]
    return Asked(
        name, "the class of the base", classes, task.length, max(1, network.model.min_length),
        network.longest, False, _frame(tokenizer), ask,
    )  # fmt: skip


def contexts_of(asked: Asked, longest: int = LONGEST, step: int = STEP) -> Array:
    """The contexts that a network reads, int64 (C,): bp around a base, on both sides together.

    Of a causal model they are the bp before it. From 0 on in steps, which are a whole number of
    words on each side.

    Raises:
        ValueError: fewer than two contexts.
    """
    sides = 1 if asked.causal else 2
    unit = sides * asked.multiple
    step = -(-step // unit) * unit
    found = np.arange(0, longest + 1, step)
    found = found[(found + 1 >= asked.least) & (found + 1 <= asked.most)]
    if len(found) < 2:
        raise ValueError(
            f"--longest {longest} in steps of {step} leaves {len(found)} contexts; {asked.name} "
            f"reads {asked.least} to {asked.most:,} bp: take a larger --longest"
        )
    return found


class Places(NamedTuple):
    """The positions that are asked about, from 0, and how many were left out by reason."""

    chrom: list[str]
    at: Array
    strand: Array
    contig: Array
    left_out: dict[str, int]

    def take(self, rows: slice) -> Places:
        """Some of them."""
        return Places(
            self.chrom[rows], self.at[rows], self.strand[rows], self.contig[rows], self.left_out
        )


def places_of(regions: Regions, genome: Genome, reach: int) -> Places:
    """The middle of each region that has all of its context on its sequence.

    Args:
        regions: of a BED file; strand . is read as +.
        genome: packed.
        reach: bp that are needed on either side.

    Raises:
        ValueError: a sequence that the genome lacks, or no position left.
    """
    contig = genome.numbers(regions.chrom)
    at, ends = regions.middle, genome.lengths[contig]
    beyond = at >= ends
    if beyond.any():
        i = int(np.argmax(beyond))
        raise ValueError(
            f"{regions.path}:{regions.line[i]}: base {at[i]:,} of {regions.chrom[i]}, which has "
            f"{ends[i]:,} bp in {genome.name}"
        )
    whole = (at - reach >= 0) & (at + reach < ends)
    letter = genome.around(contig, at, 1)[:, 0]
    good = whole & (letter < N)
    left_out = {
        f"less than {reach:,} bp from an end of the sequence": int((~whole).sum()),
        "N": int((whole & (letter == N)).sum()),
    }
    if not good.any():
        raise ValueError(
            f"{regions.path}: none of {count(len(at), 'position')} is a base with {reach:,} bp on "
            "both sides; take a smaller --longest"
        )
    chrom = [genome.contigs[i] for i in contig[good].tolist()]
    return Places(chrom, at[good], regions.strand[good], contig[good], left_out)


def shares(
    asked: Asked, genome: Genome, places: Places, contexts: Array, seed: int = 0,
    progress: Callable[[float], object] = lambda done: None,
) -> Iterator[tuple[Places, dict[str, Array]]]:  # fmt: skip
    """Probabilities at every context, some positions at a time.

    With flanks `none` the network reads the context alone, so that its own padding lies beyond;
    with `shuffled` it reads the longest window, in which the bases beyond the context are those of
    each side in random order, the same for all contexts.

    Args:
        asked: the network.
        genome: packed.
        places: P.
        contexts: of `contexts_of`.
        seed: of the shuffling.
        progress: called with the positions done since the last call, which may be parts of one.

    Returns:
        Positions, and by FLANKS float64 (positions, C, K); 5' of the position's strand lies left.
    """
    longest = int(contexts[-1])
    before = longest if asked.causal else longest // 2
    after = 0 if asked.causal else longest // 2
    at_once = max(1, AT_ONCE // (longest + 1))
    cost = contexts + longest + 2  # bp that are read of each: alone, and between shuffled flanks
    for a in range(0, len(places.at), at_once):
        part = places.take(slice(a, a + at_once))
        minus = part.strand == "-"
        first = part.at - np.where(minus, after, before)
        windows = genome.around(part.contig, first, longest + 1)
        windows[minus] = opposite(windows[minus])
        rngs = [np.random.default_rng([seed, a + i]) for i in range(len(windows))]
        mixed = np.stack([_shuffled(w, before, r) for w, r in zip(windows, rngs, strict=True)])
        out = {name: np.empty((len(windows), len(contexts), len(asked.classes))) for name in FLANKS}
        for j, context in enumerate(contexts.tolist()):
            left = context if asked.causal else context // 2
            shown = slice(before - left, before + 1 + (0 if asked.causal else left))
            out["none"][:, j] = asked.ask(windows[:, shown], left)
            whole = mixed.copy()
            whole[:, shown] = windows[:, shown]
            out["shuffled"][:, j] = asked.ask(whole, before)
            progress(len(windows) * cost[j] / cost.sum())
        yield part, out


def _shuffled(window: Array, middle: int, rng: np.random.Generator) -> Array:
    left, right = rng.permutation(window[:middle]), rng.permutation(window[middle + 1 :])
    return np.concatenate([left, window[middle : middle + 1], right])


def variances(probabilities: Array) -> Array:
    """Of each context and the AHEAD - 1 behind it, the population variance summed over K.

    Args:
        probabilities: float64 (P, C, K).

    Returns:
        float64 (P, C - AHEAD + 1), of contexts in steps; with fewer than AHEAD (P, 0).
    """
    if probabilities.shape[1] < AHEAD:
        return np.zeros((len(probabilities), 0))
    return np.asarray(sliding_window_view(probabilities, AHEAD, axis=1).var(-1).sum(-1))


def still(probabilities: Array, contexts: Sequence[int] | Array) -> Array:
    """The first context whose AHEAD rows, its own and those behind it, hardly vary any more.

    A lasting change later than AHEAD contexts is not seen.

    Args:
        probabilities: float64 (P, C, K).
        contexts: C.

    Returns:
        float64 (P,); NaN where there is none.

    Source:
        Büdenbender 2025, thesis, University of Cologne, 3.1.1.
    """
    found = variances(probabilities) < STILL
    if not found.shape[1]:
        return np.full(len(found), np.nan)
    first = np.asarray(contexts)[found.argmax(1)]
    return np.where(found.any(1), first, np.nan)


def distances(probabilities: Array) -> Array:
    """Total variation (P, C) of each context's probabilities to those of the longest."""
    apart = np.abs(probabilities - probabilities[:, -1:]).sum(2)
    return np.asarray(apart if probabilities.shape[2] == 1 else apart / 2)


def last(probabilities: Array, contexts: Sequence[int] | Array) -> Array:
    """The smallest context from which on total variation to the longest is NEAR at most.

    Args:
        probabilities: float64 (P, C, K).
        contexts: C.

    Returns:
        float64 (P,). The longest context itself means that the prediction may go on to change: such
        positions are censored.
    """
    far = distances(probabilities) > NEAR
    behind = far.shape[1] - far[:, ::-1].argmax(1)  # the first after the last that is far
    return np.asarray(contexts, float)[np.where(far.any(1), behind, 0)]
