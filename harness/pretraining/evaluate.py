"""How well a language model knows kinds of regions of a genome, beside what chance knows.

B windows, L bp.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import replacing
from dnabench.models.language import entries, language_of
from dnabench.pretraining.classes import CLASSES, classes_of
from dnabench.pretraining.hiding import Hiding
from dnabench.pretraining.markov import ORDERS, Markov, fit
from dnabench.pretraining.saving import Pretrained
from dnabench.pretraining.windows import Drawn
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, N

BLOCK = 10_000  # bp of a genome that are resampled together
DRAWS = 2_000
LEVEL = 0.99
BATCH = 64
PROTOCOLS = {"mask": Hiding(as_mask=1.0, as_random=0.0), "thesis": Hiding()}
ALL, SMALL, OTHER = "all", "soft-masked", "not soft-masked"


@dataclass(frozen=True)
class Scored:
    """Bases of a genome that were asked for, S of them.

    Args:
        place: int64 (S,), in bp of the sequences that were evaluated, one behind the other.
        kind: uint8 (S,), index in CLASSES.
        small: bool (S,), soft-masked.
        loss: by name, float64 (S,), cross-entropy in nats: of the network, of each chain.
        right: by name, bool (S,).
        windows: how many were read.
    """

    place: Array
    kind: Array
    small: Array
    loss: Mapping[str, Array]
    right: Mapping[str, Array]
    windows: int


def score(
    net: Pretrained, genome: Genome, contigs: Sequence[int], annotation: Path | None,
    chains: Sequence[Markov], *, protocol: str = "mask", seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:  # fmt: skip
    """Ask for bases of sequences, window by window, end to end.

    Args:
        net: that reads single letters.
        genome: packed.
        contigs: numbers of the sequences.
        annotation: GFF3 or GTF; None = all is of one class, the last.
        chains: scored on the same bases.
        protocol: a key of PROTOCOLS: mask = all bases that are asked for are hidden; thesis =
            80/10/10.
        seed: of what is hidden.
        progress: called with windows done and in all.

    Raises:
        ValueError: a network of words; no window without N.
    """
    length, parts, done = net.length, list[dict[str, Any]](), 0
    letters = entries(net.model, net.options)
    if not letters:
        raise ValueError(
            f"{net.folder}: {net.model.name} predicts {net.tokenizer.name} tokens, not bases; its "
            "loss cannot be compared with that of bases"
        )
    total = sum(int(genome.lengths[i]) // length for i in contigs)
    ask, offset = _asker(net, letters, protocol, seed), 0
    for i in contigs:
        bp = int(genome.lengths[i])
        kinds = np.full(bp, len(CLASSES) - 1, np.uint8)
        if annotation is not None:
            kinds = classes_of(annotation, genome, i)
        starts = np.arange(0, bp - length + 1, length)
        for a in range(0, len(starts), BATCH):
            at = starts[a : a + BATCH]
            drawn = Drawn(*genome.windows(genome.starts[i] + at, length))
            place = at[:, None] + np.arange(length)
            parts.append(_batch(drawn, offset + place, kinds[place], ask, chains))
            done += len(at)
            progress(done, total)
        offset += -(-bp // BLOCK) * BLOCK  # blocks do not go over the end of a sequence
    if not any(len(part["place"]) for part in parts):
        raise ValueError(f"{genome.name}: no base could be scored in windows of {length} bp")
    return _joined(parts, done)


def _asker(
    net: Pretrained, letters: tuple[int, ...], protocol: str, seed: int
) -> Callable[[Array], tuple[Array, Array]]:
    """From codes (B, L): which bases are asked for, and log probabilities (B, L, 4) of letters."""
    import torch

    from dnabench.pretraining.objectives import Causal, Masked
    from dnabench.pretraining.vocabulary import vocabulary_of

    causal = language_of(net.model).causal
    vocabulary = vocabulary_of(net.model, net.options, net.tokenizer, "cpu")
    made = (Causal if causal else Masked)(vocabulary, 0)
    if isinstance(made, Masked):
        made.hiding = PROTOCOLS[protocol]
    drawn = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def ask(codes: Array) -> tuple[Array, Array]:
        ids = torch.from_numpy(codes).long()
        wanted, read = made.asked(ids, torch.ones_like(ids, dtype=torch.bool), drawn)
        logits = net.net(read, None).float()[..., list(letters[:4])]
        logs, asked = logits.log_softmax(-1), wanted >= 0
        if causal:  # the answer for a base stands at the one before it
            logs, asked = (torch.roll(part, 1, 1) for part in (logs, asked))
        return asked.numpy(), logs.numpy()

    return ask


def _batch(
    drawn: Drawn, place: Array, kind: Array, ask: Callable[[Array], tuple[Array, Array]],
    chains: Sequence[Markov],
) -> dict[str, Any]:  # fmt: skip
    codes = drawn.codes
    asked, logs = ask(codes)
    asked = asked & (codes != N)
    letter = codes[asked].astype(np.int64)
    said = {"network": logs[asked]}
    said |= {f"order {c.order}": c.predict(codes)[asked] for c in chains}
    each = np.arange(len(letter))
    return {
        "place": place[asked], "kind": kind[asked], "small": drawn.small[asked],
        "loss": {name: -values[each, letter].astype(np.float64) for name, values in said.items()},
        "right": {name: values.argmax(1) == letter for name, values in said.items()},
    }  # fmt: skip


def _joined(parts: Sequence[dict[str, Any]], windows: int) -> Scored:
    def one(key: str) -> Array:
        return np.concatenate([part[key] for part in parts])

    def by_name(key: str) -> dict[str, Array]:
        names = parts[0][key]
        return {name: np.concatenate([part[key][name] for part in parts]) for name in names}

    return Scored(
        one("place"), one("kind"), one("small"), by_name("loss"), by_name("right"), windows
    )


def table(scored: Scored, seed: int = 0) -> list[dict[str, Any]]:
    """A row for each class, then for soft-masked bases, others and all.

    Each has the bases asked for, and of the network accuracy, cross-entropy in nats and perplexity
    with 99 % intervals from blocks of 10 kbp drawn again; of majority and chains the same without.
    The thesis's interval of the accuracy is 2.58 sqrt(p (1 - p) / windows).
    """
    masks = {name: scored.kind == i for i, name in enumerate(CLASSES)}
    masks |= {SMALL: scored.small, OTHER: ~scored.small, ALL: np.ones(len(scored.kind), bool)}
    block = scored.place // BLOCK
    rng = np.random.default_rng(seed)
    draws = _draws(int(block.max()) + 1, np.unique(block), rng)
    return [
        {"region": name, **_row(scored, mask, block, draws)}
        for name, mask in masks.items() if mask.any()
    ]  # fmt: skip


def _draws(size: int, present: Array, rng: np.random.Generator) -> Array:
    """(DRAWS, blocks), how often each block is drawn."""
    out = np.zeros((DRAWS, size))
    out[:, present] = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), DRAWS)
    return out


def _row(scored: Scored, mask: Array, block: Array, draws: Array) -> dict[str, Any]:
    n, where = int(mask.sum()), block[mask]
    each = np.bincount(where, minlength=draws.shape[1])
    drawn = draws @ each

    def interval(values: Array) -> list[float]:
        sums = draws @ np.bincount(where, values, draws.shape[1])
        low, high = (1 - LEVEL) / 2, (1 + LEVEL) / 2
        with np.errstate(invalid="ignore"):
            found = np.nanquantile(sums / drawn, [low, high])
        return [float(x) for x in found]

    right, loss = scored.right["network"][mask], scored.loss["network"][mask]
    p = float(right.mean())
    chance = {
        name: {"accuracy": float(scored.right[name][mask].mean()),
               "loss": float(scored.loss[name][mask].mean())}
        for name in scored.loss if name != "network"
    }  # fmt: skip
    return {
        "bases": n, "accuracy": p, "accuracy_interval": interval(right.astype(float)),
        "thesis_interval": of_windows(p, scored.windows),
        "loss": float(loss.mean()), "loss_interval": interval(loss),
        "perplexity": float(np.exp(loss.mean())), "chance": chance,
    }  # fmt: skip


def of_windows(p: float, windows: int) -> float:
    """Half the 99 % interval of an accuracy that the thesis prints: 2.58 sqrt(p (1 - p) / windows).

    Source:
        Büdenbender 2025, thesis, University of Cologne, tables 1 and 2.
    """
    return 2.58 * math.sqrt(p * (1 - p) / windows)


def chains_for(genome: Genome, held_out: Sequence[int]) -> list[Markov]:
    """Chains fitted on all sequences but those that are evaluated.

    Their orders are 0 to 11, as long as there are fewer contexts than bp to count.
    """
    rest = [i for i in range(len(genome.contigs)) if i not in set(held_out)]
    if not rest:
        raise ValueError(f"{genome.name}: every sequence is evaluated, none is left for the chains")
    bp = int(genome.lengths[rest].sum())
    return fit(genome, rest, [k for k in ORDERS if 4**k <= bp])


def write(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], file: Path) -> None:
    """Write the table as JSON."""
    with replacing(file) as out:
        out.write(json.dumps({**about, "rows": list(rows)}, indent=1).encode())
