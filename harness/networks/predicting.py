"""Predict a file of sequences with a kept network, in parts, into a table or intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dnabench.networks import answers
from dnabench.networks.calibration import probabilities
from dnabench.networks.field import Field, field_of
from dnabench.networks.network import Network
from dnabench.networks.region_file import region_logits
from dnabench.networks.tiles import Tile, joined, tiles, together, windows
from dnabench.networks.unmasked import unmasked
from dnabench.reports.grid import count
from dnabench.sequences import N
from dnabench.spreadsheets import table_as_text
from dnabench.tasks.io.regions import is_regions
from dnabench.tasks.io.unlabelled import Part, known_format, read_parts, whole_sequences
from dnabench.tasks.io.variants import is_variants, unlabelled_variants
from dnabench.types import Array, Sequences

_Rows = tuple[answers.Columns, Sequences, "Sequences | None"]
TILE = 1 << 15  # bp of a stretch; more memory, and less of it read twice, above


@dataclasses.dataclass(frozen=True)
class Asked:
    """How to predict a file.

    window, stride: bp, for a network of sequences on longer ones; 0 = each sequence as a whole.
    calibrated: divide logits by the temperature. genome: FASTA, which the variants of a VCF or the
    regions of a BED file lie on.
    graph: the class whose probability a bedGraph
    shows; "" = intervals of the predicted class.
    """

    window: int = 0
    stride: int = 0
    calibrated: bool = False
    graph: str = ""
    genome: str = ""


def predict_file(
    network: Network, file: Path, out: IO[bytes], form: str, asked: Asked | None = None,
    say: Callable[[str], object] = lambda note: None,
    progress: Callable[[int], object] = lambda bp: None,
) -> int:  # fmt: skip
    """Predict every sequence of a file.

    Args:
        network: as loaded.
        file: as `tasks.io.unlabelled.read_parts` takes it; of a network of pairs also a VCF, of
            one that answers single sequences as a whole also BED, narrowPeak or broadPeak.
        out: where the answers go, part by part.
        form: csv or parquet; bed or bedgraph for a network that answers each base.
        asked: None = the defaults.
        say: called with what a reader must know, e.g. that long sequences were cut.
        progress: called with the bp that were predicted since the last call.

    Returns:
        How many sequences, windows or intervals were written.

    Raises:
        ValueError, OSError: as reading and predicting; another form than the task's; a class that
            is not the task's.
    """
    asked = asked or Asked()
    per_base = network.task.kind == "per_base"
    forms = ("bed", "bedgraph") if per_base else ("csv", "parquet")
    if form not in forms:
        what = "each base" if per_base else "whole sequences"
        raise ValueError(
            f"{form}: this network answers {what}; name a file that ends in .{' or .'.join(forms)}"
        )
    if asked.graph and form != "bedgraph":
        raise ValueError(f"--class {asked.graph}: only a .bedgraph shows one class; leave it out")
    if remark := unmasked(network):
        say(remark)
    if per_base:
        if is_regions(file):
            raise ValueError(
                f"{file}: this network answers each base of sequences: write those of the regions "
                f"to a FASTA file, bedtools getfasta -fi GENOME -bed {file.name}"
            )
        _no_genome(network, file, asked)
        if asked.window or asked.stride:
            raise ValueError(
                "--window: this network answers each base, however long a sequence is; leave it out"
            )
        return _intervals(network, file, out, form, asked, say, progress)
    return _table(network, file, out, form, asked, say, progress)


def _table(
    network: Network, file: Path, out: IO[bytes], form: str, asked: Asked,
    say: Callable[[str], object], progress: Callable[[int], object],
) -> int:  # fmt: skip
    temperature, n = answers.temperature_of(network.card, asked.calibrated), 0
    if not network.card.task.get("scale") and (unit := answers.unit_of(network.card)):
        say(unit)
    with closing(_Table(out, form)) as table:
        for places, logits in _answered(network, file, asked, say, progress):
            found = answers.columns(network.card, logits, temperature)
            if form == "csv":
                found = answers.rounded(network.card, found)
            table.write(answers.beside(places, found, network.task.pairs))
            n += len(logits)
    return n


def _answered(
    network: Network, file: Path, asked: Asked,
    say: Callable[[str], object], progress: Callable[[int], object],
) -> Iterator[tuple[answers.Columns, Array]]:  # fmt: skip
    """Columns that name the rows, and their logits."""
    if is_regions(file):
        network.check_pairs(False)
        if asked.window or asked.stride:
            raise ValueError(
                f"--window: windows of regions are cut as in training; leave it out, or give other "
                f"ones as FASTA: bedtools getfasta -s -fi GENOME -bed {file.name}"
            )
        yield from region_logits(network, file, asked.genome, say, progress)
        return
    unknown = 0
    for places, seqs, other in (_pairs if network.task.pairs else _rows)(network, file, asked, say):
        for one in filter(None, (seqs, other)):
            network.check(one, list(map(str, places["id"])))
        unknown += int((np.add.reduceat(seqs.codes < N, seqs.offsets[:-1]) == 0).sum())
        yield places, network.prepared(seqs, other)()
        progress(len(seqs.codes))
    if unknown:
        say(f"{count(unknown, 'row')} of N alone: nothing can be predicted of them")


def _pairs(
    network: Network, file: Path, asked: Asked, say: Callable[[str], object]
) -> Iterator[_Rows]:
    """Of a network that reads two sequences an example."""
    if asked.window or asked.stride:
        raise ValueError(
            f"--window: this network reads pairs, of a VCF in windows of {network.task.length} bp "
            "as trained; leave it out"
        )
    if not is_variants(file):
        _no_genome(network, file, asked)
        for part in read_parts(file, pairs=True, say=say):
            yield {"id": part.ids}, part.seqs, part.other
    elif not asked.genome:
        raise ValueError(f"{file}: variants need the genome they are on: --genome FASTA")
    else:
        found = unlabelled_variants(file, Path(asked.genome), network.task.length, say)
        for names, first, second in found:
            yield dict(names), first, second


def _no_genome(network: Network, file: Path, asked: Asked) -> None:
    if is_variants(file):
        network.check_pairs(True)
    if asked.genome:
        known_format(file)
        raise ValueError(
            f"--genome: variants of a VCF lie on a genome, and regions of a BED file; {file} is "
            "neither: leave it out"
        )


def _rows(
    network: Network, file: Path, asked: Asked, say: Callable[[str], object]
) -> Iterator[_Rows]:
    """Columns that name the rows, and the sequences."""
    _no_genome(network, file, asked)
    parts = read_parts(file, say=say)
    if asked.window or asked.stride:
        length = asked.window or network.task.length
        if not 0 < length <= network.longest:
            raise ValueError(f"--window {length}: the network reads {network.longest} bp at most")
        for names, starts, seqs in windows(parts, length, asked.stride or length):
            ends = np.array(starts) + seqs.lengths
            yield {"id": names, "start": np.array(starts), "end": ends}, seqs, None
        return
    for part in whole_sequences(parts, network.longest):
        yield {"id": part.ids}, part.seqs, None


class _Table:
    """A CSV or Parquet file that grows."""

    def __init__(self, out: IO[bytes], form: str) -> None:
        self._out, self._form = out, form
        self._writer: Any = None

    def write(self, found: answers.Columns) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import csv, parquet

        csv_ = self._form != "parquet"
        rows = table_as_text(pa.table(found)) if csv_ else pa.table(found)
        if self._writer is None:
            make: Any = parquet.ParquetWriter if self._form == "parquet" else _csv_writer(csv)
            self._writer = make(self._out, rows.schema)
        self._writer.write_table(rows)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _csv_writer(csv: Any) -> Callable[[IO[bytes], Any], Any]:
    options = csv.WriteOptions(quoting_style="needed")
    return lambda out, schema: csv.CSVWriter(out, schema, write_options=options)


def _intervals(
    network: Network, file: Path, out: IO[bytes], form: str, asked: Asked,
    say: Callable[[str], object], progress: Callable[[int], object],
) -> int:  # fmt: skip
    classes, runs, n = list(network.task.classes), answers.Joiner(), 0
    shown = asked.graph or classes[-1]
    if shown not in classes:
        raise ValueError(f"--class {shown!r}: the classes are {', '.join(classes)}")
    temperature = answers.temperature_of(network.card, asked.calibrated)

    def write(found: list[answers.Runs]) -> None:
        nonlocal n
        for one in found:
            out.write(answers.interval_lines(one, () if form == "bedgraph" else classes))
            n += len(one.start)

    names = set[str]()
    for tile, logits in base_logits(network, read_parts(file, say=say), say):
        if tile.start == 0 and tile.name in names:
            raise ValueError(
                f"{file}: two sequences are named {tile.name}, and intervals have nothing but the "
                "name: give each its own"
            )
        names.add(tile.name)
        p = probabilities("per_base", logits, temperature)
        if form == "bedgraph":
            values = np.round(p[:, classes.index(shown)], 3)
            write(runs.add(tile.name, tile.start, values, values))
        else:
            write(runs.add(tile.name, tile.start, logits.argmax(1), p.max(1)))
        progress(tile.size)
    write(runs.rest())
    return n


def base_logits(
    network: Network, parts: Iterator[Part], say: Callable[[str], object] = lambda note: None
) -> Iterator[tuple[Tile, Array]]:
    """The logits of every base, stretch by stretch, in the order of the sequences.

    Args:
        network: per base.
        parts: of a file.
        say: called when long sequences cannot be read exactly as a whole.

    Yields:
        The stretch, and float32 (its bp, K). A stretch has as many bp around it as its outputs
        depend on, so they are those of the whole sequence, to rounding. A network that sees all
        of its input reads sequences whole that are no longer than those it was trained on; of
        longer ones it gets as many bp as that, and the middle half is taken.
    """
    cut = tiling(network)
    for group in together(tiles(parts, cut.size, cut.around, cut.whole)):
        if cut.note and any(len(t.codes) > t.size for t in group):
            say(cut.note)
            cut = cut._replace(note="")
        seqs = joined([tile.codes for tile in group])
        network.check(seqs, [tile.name for tile in group])
        logits = network.prepared(seqs)()
        for tile, rows in zip(group, logits, strict=True):
            yield tile, rows[tile.lead : tile.lead + tile.size]


class Tiling(NamedTuple):
    """Bp of a stretch, and around it; in what they differ from the sequence as a whole.

    whole: bp up to which a sequence is not cut.
    """

    size: int
    around: int
    note: str = ""
    whole: int = 0


def _field(net: Any) -> Field | None:
    """Measured on the CPU: how far a network sees is the same on any device."""
    device = next(net.parameters()).device
    try:
        return field_of(net.cpu())
    finally:
        net.to(device)


def tiling(network: Network) -> Tiling:
    """How long sequences are cut for a network; see `base_logits`."""
    half = max(network.task.length // 2, 1)
    if network.model.custom_trainer:
        what = "this model reads a sequence as a whole"
    else:
        words = network.tokenizer.name if network.tokenizer else network.model.tokenizer
        field = _field(network.net) if words == "char" else None
        if field is not None:
            pooled = network.recipe.rc == "conjoin" and not field.every_base
            note = (
                "on the second strand, pooling begins at the end of each stretch of a sequence, "
                "not at the sequence's: bases differ slightly from the whole"
            )
            return Tiling(TILE, field.beyond, note if pooled else "")
        what = "this network sees all of its input"
    return Tiling(
        half, half // 2,
        f"{what}, so longer sequences were cut into stretches of {half:,} bp with {half // 2:,} bp "
        "around each; their bases see no further", network.task.length,
    )  # fmt: skip
