"""Embeddings of regions of a genome, each read with the bases around it.

M regions, W bp of a window, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import read_json
from dnabench.models.outside.references import model_named
from dnabench.networks.embed_file import source_of
from dnabench.networks.embedding import Embedder, Source, of_model
from dnabench.pretraining.classes import CLASSES, classes_of
from dnabench.pretraining.language_nets import WINDOW, check_own_weights, longest_of
from dnabench.pretraining.learner import as_sequences
from dnabench.pretraining.saving import CARD, LANGUAGE, reference_of
from dnabench.tasks.io.annotation import Annotation
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.tasks.io.regions import Regions
from dnabench.types import Array, N

AT_ONCE = 1 << 15  # bp of windows that are embedded together
CUT_OUT = (
    "what its head sees of whole sequences, `dnabench embed --pool own` writes for a FASTA file: "
    "bedtools getfasta -s -fi GENOME -bed REGIONS"
)
MOST_N = 0.1  # share of a window


@dataclass(frozen=True)
class Windows:
    """Regions and the windows that are read for them.

    Args:
        chrom: of each region, M, as the genome names it.
        start: int64 (M,), from 0.
        end: int64 (M,), exclusive.
        codes: uint8 (M, W), with the region in the middle and N beyond the ends of a sequence.
        kinds: class of each.
        left_out: regions that are not among them, by reason.
    """

    chrom: Sequence[str]
    start: Array
    end: Array
    codes: Array
    kinds: Array
    left_out: dict[str, int]

    @property
    def first(self) -> Array:
        """int64 (M,), base of the window at which the region begins."""
        return np.asarray(self.codes.shape[1] // 2 - (self.end - self.start) // 2)

    @property
    def inside(self) -> Array:
        """Bool (M, W), the bases of the window that are the region's own."""
        return _inside(self.codes.shape[1], self.start, self.end)

    @property
    def own(self) -> Array:
        """uint8 (M, W), the codes of the region, and N around it."""
        return np.where(self.inside, self.codes, np.uint8(N))


def _inside(length: int, start: Array, end: Array) -> Array:
    first = (length // 2 - (end - start) // 2)[:, None]
    place = np.arange(length)
    return np.asarray((place >= first) & (place < first + (end - start)[:, None]))


def language_source(
    name: str, length: int, regime: str = "pretrained", device: str = "cpu", code: str = "",
    trust: bool = False, options: dict[str, Any] | None = None, said: str = "--length {}",
) -> tuple[Source, int]:  # fmt: skip
    """A network whose embeddings are wanted, and the bp of its windows.

    Args:
        name: folder of `dnabench pretrain` or of a kept network, or a model.
        length: bp of the windows; 0 = those a language model was trained on, else WINDOW.
        regime: of a model.
        device: for a kept network.
        code: the model again, where a kept network's code is a file.
        trust: whether code that an hf: model brings may be run.
        options: of a model, those that are not its defaults.
        said: how messages name `length`.

    Raises:
        KeyError, ValueError, OSError: as `source_of`.
        ValueError: longer windows than the network can read; a regime of a folder, or code of what
            is no kept network.
    """
    card, folder = read_json(Path(name) / CARD), Path(name).is_dir()
    if folder:
        check_own_weights(name, regime)
    language = isinstance(card, dict) and card.get("schema") == LANGUAGE
    if code and (language or not folder):
        raise ValueError(f"--model {code}: {name} is no kept network; leave it out")
    if language:
        trained, own = int(card["length"]), dict(card["options"])
        model = reference_of(card)
        longest = max(trained, longest_of(model_named(model, trust=trust), own))
        if length > longest:
            raise ValueError(f"{said.format(length)}: {name} reads {longest:,} bp at most")
        if card["tokenizer"]:
            own["tokenizer"] = "bpe"
        length = length or trained
        found = of_model(model, f"checkpoint:{name}", length, trust, own)
        return found._replace(trained=trained), length
    if not folder:
        limit = model_named(name, trust=trust).context
        if length > limit:
            raise ValueError(f"{said.format(length)}: {name} reads {limit:,} bp at most")
    ones = as_sequences(np.zeros((1, length or WINDOW), np.uint8))
    source = source_of(name, ones, regime, device, code, trust, options or {})
    if length > source.length:
        raise ValueError(f"{said.format(length)}: {name} reads {source.length:,} bp at most")
    length = length or min(WINDOW, source.length)
    return source._replace(length=length), length


def windows_of(
    regions: Regions, genome: Genome, length: int, kinds: Sequence[str | None], most: int,
    seed: int = 0,
) -> Windows:  # fmt: skip
    """The windows of regions.

    Args:
        regions: M of them or more.
        genome: packed.
        length: W.
        kinds: class of each region; "" = it has none, None = the annotation lacks its sequence:
            both are left out.
        most: regions; more are drawn from.
        seed: of that draw.

    Raises:
        ValueError: a sequence that the genome lacks, a region that is not on it or longer than a
            window, fewer than two classes.
    """
    contig = genome.numbers(regions.chrom)
    for wrong, why in (
        (regions.end > genome.lengths[contig], "ends beyond its sequence"),
        (
            regions.end - regions.start > length,
            f"is longer than a window of {length:,} bp; cut it, or give a larger --length",
        ),
    ):
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(
                f"{regions.path}:{regions.line[i]}: {regions.chrom[i]}:{regions.start[i]}-"
                f"{regions.end[i]} {why}"
            )
    absent, named = np.array([kind is None for kind in kinds]), np.array([k or "" for k in kinds])
    half = (regions.end - regions.start) // 2
    codes = genome.around(contig, regions.start + half - length // 2, length)
    nothing = (codes == N) | ~_inside(length, regions.start, regions.end)
    unclear, empty = named == "", ((codes == N).mean(1) > MOST_N) | nothing.all(1)
    rows = np.flatnonzero(~unclear & ~empty)
    left_out = {
        "of several kinds, or of none": int((unclear & ~absent).sum()),
        "on sequences that the annotation lacks": int(absent.sum()),
        f"more than {MOST_N:.0%} N in the window, or nothing else in the region": int(
            (empty & ~unclear).sum()
        ),
        "drawn from (--most)": max(0, len(rows) - most),
    }
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    if len(np.unique(named[rows])) < 2:
        raise ValueError(
            f"{regions.path}: {len(rows):,} regions, {_classes(named[rows])}; two classes or more "
            "are compared: write them in column 4, or give --gff"
            + "".join(f"; left out: {n:,}, {why}" for why, n in left_out.items() if n)
        )
    chrom = [genome.contigs[i] for i in contig[rows].tolist()]
    return Windows(
        chrom, regions.start[rows], regions.end[rows], codes[rows], named[rows], left_out
    )


def _classes(kinds: Array) -> str:
    names = np.unique(kinds).tolist()
    return f"of {len(names)} classes ({few(names)})" if names else "of no class"


def kinds_of(annotation: Annotation, genome: Genome, regions: Regions) -> list[str | None]:
    """The class of each region: that of all of its bases; "" where they are of several.

    Coding bases are of one class for each strand. None: the annotation has nothing on the sequence.
    """
    out: list[str | None] = [""] * len(regions.start)
    for name in dict.fromkeys(regions.chrom.tolist()):
        contig, here = genome.number(name), np.flatnonzero(regions.chrom == name).tolist()
        if not annotation.span.keys() & {genome.contigs[contig], *genome.aliases[contig]}:
            for i in here:
                out[i] = None
            continue
        each = classes_of(annotation, genome, contig)
        each = np.where(each < 3, 0, np.where(each < 6, 3, each))
        for i in here:
            own = each[regions.start[i] : regions.end[i]]
            if len(own) and (own == own[0]).all():
                out[i] = CLASSES[own[0]].split(",")[0]
    return out


def embeddings(
    source: Source, windows: Windows, layer: int = 0, device: str = "cpu",
    progress: Callable[[int], object] = lambda regions: None,
) -> Array:  # fmt: skip
    """The mean embedding of the bases of each region, and of both strands of its window.

    Args:
        source: the network.
        windows: M.
        layer: output of that block, from 1; 0 = of the whole backbone.
        device: where it runs.
        progress: called with the regions done since the last call.

    Returns:
        float32 (M, D).

    Raises:
        ValueError: as `networks.embedding.Embedder`.
    """
    # nothing is stored: a row for each base would fill the cache
    embedder = Embedder(source._replace(key=""), layer, "none", "mean", device, CUT_OUT)
    codes, parts = windows.codes, list[Array]()
    length, inside = codes.shape[1], windows.inside
    at_once = max(1, AT_ONCE // length)
    for a in range(0, len(codes), at_once):
        part = slice(a, a + at_once)
        n = len(codes[part])
        each = embedder(as_sequences(codes[part])).reshape(n, length, -1)
        own = inside[part]
        parts.append(np.einsum("nwd,nw->nd", each, own / own.sum(1, keepdims=True)))
        progress(n)
    return np.concatenate(parts).astype(np.float32)
