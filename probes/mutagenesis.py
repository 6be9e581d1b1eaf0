"""Saturation mutagenesis: what each substitution in a sequence does to a network's answer.

N sequences, L length in bp, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dnabench.cache import replacing
from dnabench.networks.answers import unit_of
from dnabench.networks.network import Network
from dnabench.probes.figures import mutagenesis_figure
from dnabench.probes.places import Place, place_of, placed, positions
from dnabench.reports.figures.style import save
from dnabench.sequences import letters_of
from dnabench.tasks.io.unlabelled import read_parts, whole_sequences
from dnabench.types import Array, N, Sequences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASES = 4
LONGEST = 1 << 32  # bp of a sequence that is read
AT_ONCE = 1 << 20  # bp of mutants that are predicted together
JOINED = 2  # bp between bases of one stretch
COLUMNS = [
    ("id", "string"), ("chrom", "string"), ("position", "int64"), ("strand", "string"),
    ("reference", "string"), ("alternative", "string"), ("change", "double"),
]  # fmt: skip


class Answer(NamedTuple):
    """One number of a network's answer.

    name: in words. output: its index among K; -1 = of two classes, the second against the first.
    mean, scale: of a regression whose labels were standardised, their mean and standard deviation
    in train, which give the unit of the labels.
    """

    name: str
    output: int
    mean: float = 0.0
    scale: float = 1.0

    @property
    def unit(self) -> str:
        """Of what changes, in words."""
        return "the answer's own units" if self.scale == 1 else f"the unit of {self.name}"

    def text(self, value: float, sign: str = "") -> str:
        """A value or a change with as many digits as a thousandth of `scale` needs."""
        return f"{value:{sign}.{max(0, 3 - math.floor(math.log10(self.scale)))}f}"


class Stretch(NamedTuple):
    """Neighbouring bases that matter: 0-based, the end is not in it.

    letters: in the order in which the network reads them.
    """

    start: int
    end: int
    letters: str
    importance: float  # mean over its bases


def answer_of(network: Network, output: str = "") -> Answer:
    """The number that is followed.

    Args:
        network: with an answer for the whole sequence.
        output: a class, a label or a value by its name; "" = of two classes the second against the
            first, of one value that value.

    Returns:
        Classes: the log odds, in nats, of the class against all others; labels: the logit; values:
        the value, in the unit of the labels. A network kept before its card had the standard
        deviation gives standardised values, and the name says so.

    Raises:
        ValueError: per base or pairs; a name that is none, or none where there are several.
    """
    task = network.task
    if task.pairs:
        raise ValueError(
            "this network answers the difference of two sequences, and probes need one answer for "
            "a sequence; `dnabench predict` gives its effects of variants"
        )
    if task.kind == "per_base":
        raise ValueError("this network has an answer for each base; give one for whole sequences")
    names = list(network.card.task["classes"])
    if output and output not in names:
        raise ValueError(f"--output {output!r}: this network has {', '.join(names)}")
    if task.kind == "binary" and output in ("", names[1]):
        return Answer(f"log odds of {names[1]}", -1)
    if not output and len(names) > 1:
        raise ValueError(f"--output: choose one of {', '.join(names)}")
    chosen = names.index(output) if output else 0
    if task.kind == "regression":
        if task.scale:
            return Answer(names[chosen], chosen, *task.scale[chosen])
        return Answer(f"{names[chosen]}{', standardised' * bool(unit_of(network.card))}", chosen)
    what = "logit" if task.kind == "multilabel" else "log odds"
    return Answer(f"{what} of {names[chosen]}", chosen)


def answers(network: Network, seqs: Sequences, answer: Answer) -> Array:
    """Float64 (N,); of a regression in the unit that `answer` has."""
    logits = network.logits(seqs).astype(np.float64)
    own = logits[:, answer.output]
    if network.task.kind in ("regression", "multilabel"):
        return np.asarray(answer.mean + answer.scale * own)
    rest = np.delete(logits, answer.output, axis=1)
    most = rest.max(1)
    return np.asarray(own - most - np.log(np.exp(rest - most[:, None]).sum(1)))


def mutagenesis(
    network: Network, codes: Array, answer: Answer,
    progress: Callable[[int], object] = lambda bp: None,
) -> tuple[float, Array]:  # fmt: skip
    """Replace every base by each of the three others.

    Args:
        network: a kept one; strands are read as in its training.
        codes: uint8 (L,), letters A0 C1 G2 T3 N4.
        answer: of `answer_of`.
        progress: called with the bases done since the last call.

    Returns:
        The answer to the sequence, and float64 (L, 4), the change for A, C, G and T at each base: 0
        for the base itself, NaN at N.

    Raises:
        ValueError: a sequence that the network cannot read.
    """
    whole = Sequences(codes, np.array([0, len(codes)]))
    network.check(whole, ["the sequence"])
    was = float(answers(network, whole, answer)[0])
    changes = np.full((len(codes), BASES), np.nan)
    known = np.flatnonzero(codes < N)
    changes[known, codes[known]] = 0.0
    at_once = max(1, AT_ONCE // (len(codes) * (BASES - 1)))
    for start in range(0, len(known), at_once):
        part = known[start : start + at_once]
        where = np.repeat(part, BASES - 1)
        new = (codes[where] + np.tile(np.arange(1, BASES), len(part))) % BASES
        many = np.repeat(codes[None], len(where), axis=0)
        many[np.arange(len(where)), where] = new
        mutants = Sequences(many.ravel(), np.arange(len(where) + 1) * len(codes))
        changes[where, new] = answers(network, mutants, answer) - was
        progress(len(part))
    return was, changes


def importance(changes: Array) -> Array:
    """How much each base holds the answer up: minus the mean change of its three substitutions.

    Returns:
        float64 (L,); NaN at N.
    """
    return np.asarray(-changes.sum(1) / (BASES - 1))


def stretches(codes: Array, values: Array, most: int = 5) -> list[Stretch]:
    """The stretches of bases that hold the answer up most.

    A base counts from half of the largest importance on; bases at most JOINED + 1 apart are of one
    stretch.

    Args:
        codes: uint8 (L,).
        values: (L,), of `importance`.
        most: stretches, by the sum of their importance.
    """
    values = np.nan_to_num(values)
    if values.max(initial=0) <= 0:
        return []
    high = np.flatnonzero(values >= values.max() / 2)
    parts = np.split(high, np.flatnonzero(np.diff(high) > JOINED + 1) + 1)
    found = [(int(p[0]), int(p[-1]) + 1) for p in parts]
    found.sort(key=lambda p: -values[p[0] : p[1]].sum())
    return [
        Stretch(a, b, letters_of(codes[a:b]), float(values[a:b].mean())) for a, b in found[:most]
    ]


def table_rows(name: str, codes: Array, changes: Array) -> dict[str, Array | Sequence[str]]:
    """A row for each substitution, by column; letters are those of the strand that is read."""
    where, new = np.nonzero(~np.isnan(changes) & (np.arange(BASES) != codes[:, None]))
    letters, place = np.array(list("ACGT")), place_of(name, len(codes))
    return {
        "id": [name] * len(where), "chrom": [place.chromosome] * len(where),
        "position": positions(place, where), "strand": [place.strand] * len(where),
        "reference": letters[codes[where]], "alternative": letters[new],
        "change": changes[where, new],
    }  # fmt: skip


def graph_lines(name: str, values: Array) -> Iterator[str]:
    """Lines of bedGraph, in order: the importance of each base that is not N."""
    place = place_of(name, len(values))
    where = np.flatnonzero(~np.isnan(values))
    where = where if place.strand == "+" else where[::-1]
    for at, i in zip(positions(place, where), where, strict=True):
        yield f"{place.chromosome}\t{at}\t{at + 1}\t{values[i]:.6g}\n"


class Shown(NamedTuple):
    """A sequence that is drawn: its name, the answer to it, and its stretches, as in the files."""

    name: str
    place: Place
    answer: float
    stretches: list[Stretch]


class Mutated(NamedTuple):
    """What was done to a file. first: the sequences that are drawn."""

    sequences: int
    first: list[Shown]


def mutagenesis_of_file(
    network: Network, file: Path, answer: Answer, folder: Path, figures: int,
    progress: Callable[[int], object] = lambda bp: None,
) -> Mutated:  # fmt: skip
    """Mutate every sequence of a file: see `mutagenesis_of`.

    Args:
        network: a kept one.
        file: as `tasks.io.unlabelled.read_parts` takes it.
        answer: of `answer_of`.
        folder: to write.
        figures: sequences that are drawn.
        progress: called with the bases done since the last call.

    Raises:
        ValueError, OSError: as reading and predicting.
    """
    parts = whole_sequences(read_parts(file), LONGEST)
    named = ((name, codes) for part in parts for name, _, codes, _ in part.segments())
    return mutagenesis_of(network, named, answer, folder, figures, progress)


def mutagenesis_of(
    network: Network, named: Iterable[tuple[str, Array]], answer: Answer, folder: Path,
    figures: int, progress: Callable[[int], object] = lambda bp: None,
) -> Mutated:  # fmt: skip
    """Mutate sequences into mutagenesis.parquet, importance.bedgraph and figures.

    Args:
        network: a kept one.
        named: sequences, a name and codes uint8 (L,) each; of a name such as `chr1:101-300`
            positions are those on the chromosome, see `place_of`.
        answer: of `answer_of`.
        folder: is made; the files of an earlier call are replaced, each whole or not at all.
        figures: sequences that are drawn, as figure-1.png, figure-2.png, ...
        progress: called with the bases done since the last call.

    Raises:
        ValueError, OSError: as reading and predicting.
    """
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    done, first = 0, list[Shown]()
    table, graph = folder / "mutagenesis.parquet", folder / "importance.bedgraph"
    drawn: list[Callable[[], Figure]] = []
    schema = pa.schema(COLUMNS)
    with (
        replacing(table) as out, replacing(graph) as lines,
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
    ):  # fmt: skip
        for name, codes in named:
            if len(codes) > network.longest:
                raise ValueError(
                    f"{name} has {len(codes):,} bp, this network reads {network.longest:,} at "
                    "most: cut out the part that you ask about"
                )
            network.check(Sequences(codes, np.array([0, len(codes)])), [name])
            was, changes = mutagenesis(network, codes, answer, progress)
            values = importance(changes)
            writer.write_table(pa.table(table_rows(name, codes, changes), schema=schema))
            lines.write("".join(graph_lines(name, values)).encode())
            done += 1
            if len(first) < figures:
                place = place_of(name, len(codes))
                found = [Stretch(*placed(place, one.start, one.end), *one[2:])
                         for one in stretches(codes, values)]  # fmt: skip
                first.append(Shown(name, place, was, found))
                drawn.append(partial(mutagenesis_figure, name, answer.name, codes, changes))
    for old in folder.glob("figure-*.png"):
        old.unlink()
    for i, draw in enumerate(drawn, 1):
        save(draw, folder / f"figure-{i}.png")
    return Mutated(done, first)
