"""How well a language model knows kinds of regions of a genome, beside what chance knows.

B windows, L bp.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.cache import read_json, replacing
from dnabench.models.language import entries, language_of
from dnabench.pretraining.blocks import BLOCK, Sums, blocks_of, ratio_intervals
from dnabench.pretraining.chance import ByClass, majority_of, name_of, said_by
from dnabench.pretraining.classes import CLASSES, INTERGENIC, classes_of
from dnabench.pretraining.hiding import Hiding
from dnabench.pretraining.language_nets import LanguageNet, tokens_of
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.markov import Markov
from dnabench.pretraining.saving import Pretrained
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N

BATCH = 64
PROTOCOLS = {"mask": Hiding(as_mask=1.0, as_random=0.0), "thesis": Hiding()}
# what tells evaluations of one name apart
KEYS = ("genome", "sequences", "regions", "seed", "protocol", "weights", "options", "length")


def score(
    net: Pretrained | LanguageNet, genome: Genome, contigs: Sequence[int],
    annotation: Annotation | None,
    chains: Sequence[Markov | ByClass], *, protocol: str = "mask", seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sums:  # fmt: skip
    """Ask for bases of sequences, window by window, end to end.

    Args:
        net: that reads single letters.
        genome: packed.
        contigs: numbers of the sequences.
        annotation: None = all is of one class, the last.
        chains: scored on the same bases, from the bases before each, also those of the window
            before.
        protocol: a key of PROTOCOLS: mask = all bases that are asked for are hidden; thesis =
            80/10/10.
        seed: of what is hidden.
        progress: called with windows done and in all.

    Raises:
        ValueError: a network of words; no window without N.
    """
    letters = letters_of(net)
    if not letters:
        raise ValueError(
            f"{net.name}: {net.model.name} predicts {net.tokenizer.name} tokens, not bases; its "
            "loss cannot be compared with that of bases, and pretraining.words scores it"
        )
    length = net.length
    names = ("network", *map(name_of, chains))
    out, ask = Sums(names, {}), _asker(net, letters, protocol, seed)
    for tiles in tiled(genome, contigs, annotation, length, chains, progress):
        codes = tiles.codes
        asked, logs = ask(codes)
        asked = asked & (codes != N)
        said = [said_by(chain, tiles.before, tiles.kinds)[asked] for chain in chains]
        values = _values(codes[asked], [logs[asked], *said])
        out.add(tiles.kinds[asked], tiles.small[asked], tiles.block[asked], values)
        out.windows += len(codes)
    out.blocks = blocks_of(genome, contigs)
    if not out.totals:
        raise ValueError(f"{genome.name}: no base could be scored in windows of {length} bp")
    return out


def letters_of(net: Pretrained | LanguageNet) -> tuple[int, ...]:
    """The entries of A, C, G and T among the logits, and of N; () where tokens are no letters.

    Of a network of transformers they are the tokenizer's ids, without N, if each base is a token.
    """
    found = entries(net.model, net.options)
    if found or net.model.own_tokenizer is None:
        return found
    codes = np.random.default_rng(0).integers(0, N, (1, 512)).astype(np.uint8)
    ids = net.tokenizer(as_sequences(codes), 512, "mask").ids[0]
    ids = ids[~np.isin(ids, net.tokenizer.specials)]
    if len(ids) != codes.size or len(np.unique(ids)) != N:
        return ()
    return tuple(int(ids[np.argmax(codes[0] == base)]) for base in range(N))


class Tiles(NamedTuple):
    """Windows of one sequence, and what is known of each of their bases.

    Args:
        codes: uint8 (B, L).
        small: bool (B, L), whether soft-masked.
        kinds: uint8 (B, L), index in CLASSES.
        block: int64 (B, L), counted through all sequences.
        before: uint8 (B, k + L), the windows with the bases before them that chains of order up to
            k read; N before the first of a sequence.
    """

    codes: Array
    small: Array
    kinds: Array
    block: Array
    before: Array


def tiled(
    genome: Genome, contigs: Sequence[int], annotation: Annotation | None, length: int,
    chains: Sequence[Markov | ByClass], progress: Callable[[int, int], None],
) -> Iterator[Tiles]:  # fmt: skip
    """The windows of sequences, end to end, without what is left at the end of each sequence.

    Args:
        genome: packed.
        contigs: numbers of the sequences.
        annotation: None = all is of one class, the last.
        length: L.
        chains: that will read them.
        progress: called with windows done and in all.
    """
    total, done, blocks = sum(int(genome.lengths[i]) // length for i in contigs), 0, 0
    for i in contigs:
        bp = int(genome.lengths[i])
        kinds = np.full(bp, INTERGENIC, np.uint8)
        if annotation is not None:
            kinds = classes_of(annotation, genome, i)
        starts = np.arange(0, bp - length + 1, length)
        for a in range(0, len(starts), BATCH):
            at = starts[a : a + BATCH]
            codes, small = genome.windows(genome.starts[i] + at, length)
            before = _with_context(codes, genome, int(genome.starts[i]), at, chains)
            place = at[:, None] + np.arange(length)
            yield Tiles(codes, small, kinds[place], blocks + place // BLOCK, before)
            done += len(at)
            progress(done, total)
        blocks += -(-bp // BLOCK)  # blocks do not go over the end of a sequence


def _with_context(
    codes: Array, genome: Genome, first: int, at: Array, chains: Sequence[Markov | ByClass]
) -> Array:
    """The windows with the bases before them that the longest chain reads; N before the first."""
    k = max((chain.order for chain in chains), default=0)
    before = np.full((len(codes), k), N, np.uint8)
    inner = at >= k
    if k and inner.any():
        before[inner] = genome.windows(first + at[inner] - k, k)[0]
    return np.concatenate([before, codes], 1)


def _values(codes: Array, said: Sequence[Array]) -> Array:
    """(S, 1 + 2 x names): one, then right and loss of each."""
    letter, each = codes.astype(np.int64), np.arange(len(codes))
    columns: list[Array] = [np.ones(len(codes))]
    for logs in said:
        columns += [logs.argmax(1) == letter, -logs[each, letter].astype(np.float64)]
    return np.stack(columns, 1).astype(np.float64)


def _asker(
    net: Pretrained | LanguageNet, letters: tuple[int, ...], protocol: str, seed: int
) -> Callable[[Array], tuple[Array, Array]]:
    """From codes (B, L): which bases are asked for, and log probabilities (B, L, 4) of letters."""
    import torch

    from dnabench.pretraining.objectives import Causal, Masked
    from dnabench.pretraining.vocabulary import vocabulary_of
    from dnabench.train.precision import Arithmetic

    causal = language_of(net.model).causal
    vocabulary = vocabulary_of(net.model, net.options, net.tokenizer, "cpu")
    made = (Causal if causal else Masked)(vocabulary, 0)
    if isinstance(made, Masked):
        made.hiding = PROTOCOLS[protocol]
    drawn = torch.Generator().manual_seed(seed)
    device = next(net.net.parameters()).device
    arithmetic = Arithmetic("fp32", str(device))

    @torch.inference_mode()
    def ask(codes: Array) -> tuple[Array, Array]:
        encoded = tokens_of(net, codes)
        ids = torch.from_numpy(encoded.ids).long()
        wanted, read = made.asked(ids, torch.ones_like(ids, dtype=torch.bool), drawn)
        with arithmetic.products():
            logits = net.net(read.to(device), None).float().cpu()[..., list(letters[:4])]
        logs, asked = logits.log_softmax(-1), wanted >= 0
        if causal:  # the answer for a base stands at the one before it
            logs, asked = (torch.roll(part, 1, 1) for part in (logs, asked))
        bases = slice(None) if encoded.widths is None else encoded.widths[0] > 0
        return asked.numpy()[:, bases], logs.numpy()[:, bases]

    return ask


def table(sums: Sums, by_class: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each class, then for soft-masked bases, others and all.

    Each has the bases asked for, and of the network accuracy, cross-entropy in nats and perplexity,
    the first two with 99 % intervals from blocks of 10 kbp drawn again, None where fewer than 20
    blocks hold such bases; of the chains the same without. "majority" is the accuracy of naming
    the base that is most frequent in the class of each base, where regions were counted, and of
    the most frequent one of the forward strand otherwise. A row of several classes has the sums of
    what each base's own class predicts. The thesis's interval of the accuracy is
    2.58 sqrt(p (1 - p) / windows).

    Args:
        sums: of `score`.
        by_class: whether there are rows of classes.
        seed: of the blocks that are drawn.
    """
    rows = sums.rows(CLASSES if by_class else ())
    return [{"region": name, **_row(sums, by_block, seed)} for name, by_block in rows]


def _row(sums: Sums, by_block: Array, seed: int) -> dict[str, Any]:
    n, *rest = by_block.sum(0)
    right, loss = np.array(rest[::2]) / n, np.array(rest[1::2]) / n
    p = float(right[0])
    chance = {
        name: {"accuracy": float(right[i]), "loss": float(loss[i])}
        for i, name in enumerate(sums.names) if i
    }  # fmt: skip
    intervals = ratio_intervals(by_block[:, :3], seed)
    majority = chance[majority_of([*chance])]["accuracy"] if chance else None
    return {
        "bases": int(n), "accuracy": p, "accuracy_interval": intervals[0],
        "thesis_interval": of_windows(p, sums.windows), "loss": float(loss[0]),
        "loss_interval": intervals[1], "perplexity": float(np.exp(loss[0])),
        "blocks": len(by_block), "majority": majority, "chance": chance,
    }  # fmt: skip


def of_windows(p: float, windows: int) -> float:
    """Half the 99 % interval of an accuracy that the thesis prints: 2.58 sqrt(p (1 - p) / windows).

    Source:
        Büdenbender 2025, thesis, University of Cologne, tables 1 and 2.
    """
    return 2.58 * math.sqrt(p * (1 - p) / windows)


def file_of(
    folder: Path, about: Mapping[str, Any], numbers: Sequence[int], before: str = ""
) -> Path:
    """Where an evaluation is written: in no file of another one.

    evaluation-PROTOCOL-NUMBERS.json, or, if that holds another evaluation (see KEYS), the same with
    eight digits of a hash of what tells them apart.

    Args:
        folder: of the network, or another.
        about: as for `write`.
        numbers: of the sequences.
        before: begins the name.
    """
    stem = f"{before}evaluation-{about['protocol']}-{'-'.join(map(str, numbers))[:40]}"
    usual = folder / f"{stem}.json"
    if not usual.exists():
        return usual
    known = read_json(usual)
    if isinstance(known, dict):  # older files are of a folder's own network and windows
        known = {**about, "length": about["trained"], **known}
        if all(known[key] == about[key] for key in KEYS):
            return usual
    text = json.dumps([about[key] for key in KEYS])
    return folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"


def write(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], file: Path) -> None:
    """Write the table as JSON."""
    with replacing(file) as out:
        out.write(json.dumps({**about, "rows": list(rows)}, indent=1).encode())
