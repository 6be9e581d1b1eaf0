"""How well a masked network of words knows kinds of regions of a genome, beside what chance knows.

Words are tokens of one or more bases that do not overlap: byte pairs, or the 6-mers of the
Nucleotide Transformer. B windows, T tokens, L bp, V words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from dnabench.models.language import language_of
from dnabench.pretraining.blocks import Sums, blocks_of, ratio_intervals
from dnabench.pretraining.chance import ByClass, name_of, said_by
from dnabench.pretraining.classes import CLASSES
from dnabench.pretraining.evaluate import PROTOCOLS, Tiles, tiled
from dnabench.pretraining.language_nets import LanguageNet, tokens_of
from dnabench.pretraining.markov import Markov
from dnabench.pretraining.objectives import Masked
from dnabench.pretraining.saving import Pretrained
from dnabench.pretraining.vocabulary import vocabulary_of
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.packed import Genome
from dnabench.train.precision import Arithmetic
from dnabench.types import Array, N

# a word in several is of the first of them
REGIONS = ("CDS +", "CDS -", "intron", "promoter", "intergenic")
_REGION = np.array([0, 0, 0, 1, 1, 1, 2, 3, 4], np.uint8)  # of each of CLASSES
assert len(_REGION) == len(CLASSES)
# sums of words: how many, their bases, how many lie in several regions, right answers, nats; then
# nats of each chain
COLUMNS = ("tokens", "bases", "mixed", "right", "nats")
TOKENS, BASES, MIXED, RIGHT, NATS = range(5)
AT_ONCE = 1 << 26  # logits in memory


def check_words(net: Pretrained | LanguageNet, protocol: str = "mask") -> None:
    """Whether `score_words` can score a network.

    Raises:
        ValueError: why not: a causal one, tokens that overlap or are single bases, or another
            protocol than that in which all words asked for are hidden.
    """
    name, who = net.tokenizer.name, f"{net.name}: {net.model.name}"
    if language_of(net.model).causal:
        beside = ". metrics.jsonl in that folder has its bits per base on held-out windows"
        beside *= bool(net.card)
        raise ValueError(
            f"{who} predicts the next of {name} tokens, and where a token ends depends on the "
            "bases after it; evaluate scores next bases, hidden bases and hidden words" + beside
        )
    if net.tokenizer.spaced:
        raise ValueError(
            f"{who} predicts {name} tokens, which overlap: a hidden one is seen in its neighbours, "
            "and each base lies in several; evaluate scores letters, byte pairs and 6-mers that "
            "do not overlap"
        )
    if not vocabulary_of(net.model, net.options, net.tokenizer, "cpu").words:
        raise ValueError(
            f"{who} predicts {name} tokens of one base each, which are neither words nor the "
            "letters of dnabench; evaluate scores networks with a tokenizer char... and those of "
            "words, so pretrain with one of these (--set tokenizer=, or a larger vocabulary)"
        )
    if protocol != "mask":
        raise ValueError(
            f"--protocol {protocol}: {who} predicts words, and some of them would be read as they "
            "are; write --protocol mask"
        )


def score_words(
    net: Pretrained | LanguageNet, genome: Genome, contigs: Sequence[int],
    annotation: Annotation | None,
    chains: Sequence[Markov | ByClass], *, seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sums:  # fmt: skip
    """Ask for 15 % of the words of sequences, all hidden, window by window, end to end.

    A word is asked for if it has no N. The network's probabilities are those of words without N.
    A word lies in the block of its first base and in the first of REGIONS in which a base of it
    lies; it is soft-masked if at least half its bases are.

    Args:
        net: that `check_words` lets through.
        genome: packed.
        contigs: numbers of the sequences.
        annotation: None = all is of one region, the last.
        chains: scored on the bases of the same words, each from the bases before it, also those of
            the same word and of the window before; those by class take the class of each base.
        seed: of what is hidden.
        progress: called with windows done and in all.

    Returns:
        Sums whose totals have the COLUMNS, then the nats of each chain; classes are indices in
        REGIONS.

    Raises:
        ValueError: as `check_words`; no window with a word that can be asked for.
    """
    check_words(net)
    out = Sums(("network", *map(name_of, chains)), {})
    ask = _asker(net, seed)
    for tiles in tiled(genome, contigs, annotation, net.length, chains, progress):
        words = ask(tiles.codes)
        start = np.cumsum(words.widths) - words.widths
        region = _REGION[tiles.kinds].ravel()
        first, last = np.minimum.reduceat(region, start), np.maximum.reduceat(region, start)
        small = 2 * np.add.reduceat(tiles.small.ravel().astype(np.int64), start) >= words.widths
        n = np.add.reduceat((tiles.codes == N).ravel().astype(np.int64), start)
        asked = words.asked & (n == 0)
        of_chains = [np.add.reduceat(loss, start) for loss in _chain_losses(tiles, chains)]
        columns = [
            np.ones(len(start)), words.widths, first != last, words.right, words.loss, *of_chains
        ]  # fmt: skip
        values = np.stack(columns, 1).astype(np.float64)[asked]
        block = tiles.block.ravel()[start[asked]]
        out.add(first[asked], small[asked], block, values)
        out.windows += len(tiles.codes)
    out.blocks = blocks_of(genome, contigs)
    if not out.totals:
        raise ValueError(f"{genome.name}: no word could be scored in windows of {net.length} bp")
    return out


class _Words(NamedTuple):
    """The words of windows, those of the first window first; their bases are those of the windows.

    Args:
        widths: int64 (S,), bp.
        asked: bool (S,).
        right: bool (S,), False where not asked.
        loss: float64 (S,), nats, 0 where not asked.
    """

    widths: Array
    asked: Array
    right: Array
    loss: Array


def _asker(net: Pretrained | LanguageNet, seed: int) -> Callable[[Array], _Words]:
    """From codes (B, L) to their words, some of them hidden from the network and asked for."""
    vocabulary = vocabulary_of(net.model, net.options, net.tokenizer, "cpu")
    made = Masked(vocabulary, 0)
    made.hiding = PROTOCOLS["mask"]
    drawn = torch.Generator().manual_seed(seed)
    device = next(net.net.parameters()).device
    arithmetic = Arithmetic("fp32", str(device))
    known = vocabulary.known.nonzero().ravel()  # ids of words, ascending

    @torch.inference_mode()
    def ask(codes: Array) -> _Words:
        encoded = tokens_of(net, codes)
        ids, size = torch.from_numpy(encoded.ids).long(), encoded.ids.shape[1]
        seen = torch.arange(size) < torch.from_numpy(encoded.tokens)[:, None]
        wanted, read = made.asked(ids, seen, drawn)
        mask = None if encoded.lengths is None else seen.float()
        right, loss = torch.zeros(ids.shape, dtype=torch.bool), torch.zeros(ids.shape).double()
        rows = max(1, AT_ONCE // (size * net.tokenizer.size))
        for a in range(0, len(ids), rows):
            part = slice(a, a + rows)
            padding = None if mask is None else mask[part].to(device)
            with arithmetic.products():
                logits = net.net(read[part].to(device), padding).float().cpu()
            at = wanted[part] >= 0
            logs = logits[at][:, known].log_softmax(-1)
            word = torch.searchsorted(known, wanted[part][at])
            right[part][at] = logs.argmax(-1) == word
            loss[part][at] = -logs.gather(1, word[:, None])[:, 0].double()
        assert encoded.widths is not None  # `check_words`
        has = encoded.widths > 0
        return _Words(
            encoded.widths[has].astype(np.int64), (wanted >= 0).numpy()[has],
            right.numpy()[has], loss.numpy()[has],
        )  # fmt: skip

    return ask


def _chain_losses(tiles: Tiles, chains: Sequence[Markov | ByClass]) -> list[Array]:
    """Of each chain float64 (B x L,), nats of every base; of an N they mean nothing."""
    letter = np.minimum(tiles.codes, N - 1).astype(np.int64)[..., None]
    said = (said_by(chain, tiles.before, tiles.kinds) for chain in chains)
    return [-np.take_along_axis(logs, letter, 2).ravel().astype(float) for logs in said]


def table_of_words(sums: Sums, by_region: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each region, then for soft-masked words, others and all.

    Each has the words asked for, their bases, how many of them have bases in several regions
    ("mixed"), and of the network the accuracy (of words), the loss in nats a word and in nats a
    base, the sum of the losses over the sum of the bases. Accuracy and nats a base have 99 %
    intervals from blocks of 10 kbp drawn again, None where fewer than 20 blocks hold such words. Of
    the chains: nats a base on the same bases.

    Args:
        sums: of `score_words`.
        by_region: whether there are rows of regions.
        seed: of the blocks that are drawn.
    """
    rows = sums.rows(REGIONS if by_region else ())
    return [{"region": name, **_row(sums, by_block, seed)} for name, by_block in rows]


def _row(sums: Sums, by_block: Array, seed: int) -> dict[str, Any]:
    total = by_block.sum(0)
    tokens, bases, nats = total[TOKENS], total[BASES], total[NATS]
    (accuracy,) = ratio_intervals(by_block[:, [TOKENS, RIGHT]], seed)
    (per_base,) = ratio_intervals(by_block[:, [BASES, NATS]], seed)
    of_chains = zip(sums.names[1:], total[len(COLUMNS) :], strict=True)
    return {
        "tokens": int(tokens), "bases": int(bases), "mixed": int(total[MIXED]),
        "accuracy": float(total[RIGHT] / tokens), "accuracy_interval": accuracy,
        "loss": float(nats / tokens), "nats_per_base": float(nats / bases),
        "nats_per_base_interval": per_base, "blocks": len(by_block),
        "chance": {name: {"nats_per_base": float(loss / bases)} for name, loss in of_chains},
    }  # fmt: skip
