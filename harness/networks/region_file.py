"""What a network answers to the regions of a file on their genome, in the order of the file.

M regions, K task outputs or features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from dnabench.networks.answers import Columns
from dnabench.networks.card import Card
from dnabench.networks.network import Network
from dnabench.tasks.io.region_windows import Account, Windows, unlabelled_windows, window_ids
from dnabench.tasks.io.regions import Regions, read_regions
from dnabench.types import Array, Sequences

ROWS = 1 << 15  # that are written at once


def region_logits(
    network: Network, file: Path, genome: str,
    say: Callable[[str], object], progress: Callable[[int], object],
) -> Iterator[tuple[Columns, Array]]:  # fmt: skip
    """The logits of every region that can be used; see `region_rows`."""

    def answers(seqs: Sequences, places: Sequence[str]) -> Array:
        network.check(seqs, places)
        return network.prepared(seqs)()

    yield from region_rows(
        network.card, network.longest, answers, file, genome, "predicted", say, progress
    )


def region_rows(
    card: Card, longest: int, answers: Callable[[Sequences, Sequence[str]], Array], file: Path,
    genome: str, what: str, say: Callable[[str], object], progress: Callable[[int], object],
) -> Iterator[tuple[Columns, Array]]:  # fmt: skip
    """What a network answers to every region that can be used.

    Windows are as long as the longest sequence in training, or the regions as they are where
    training read them so. They are cut, turned and left out as in training. Memory grows with the
    number of regions and the longest sequence of the genome.

    Args:
        card: of a network of whole sequences, no pairs.
        longest: bp that the network reads at most.
        answers: from N sequences, and where each is from, to (N, K).
        file: BED, narrowPeak or broadPeak, plain or gzipped.
        genome: FASTA.
        what: is done with them, for messages.
        say: called with how the file was read and what was left out.
        progress: called with the bp that were answered since the last call.

    Yields:
        Columns id (the window, named as in training), chrom, start and end (of the region, as in
        the file), strand and name where the file has any; float32 (rows, K).

    Raises:
        FileNotFoundError, ValueError: as `region_table`; a region that is too short or too long.
    """
    if not genome:
        raise ValueError(f"{file}: regions need the genome they are on: --genome FASTA")
    regions, length = read_regions(file), window_length(card, longest)
    account, m = Account(regions), len(regions.start)
    values = np.zeros((m, 0), np.float32)
    start, end, chrom = np.full(m, -1), np.full(m, -1), regions.chrom.copy()
    for name, found, seqs in unlabelled_windows(account, Path(genome), length):
        _check_longest(regions, found, longest)
        places = [f"{file}:{line}: the region" for line in regions.line[found.row].tolist()]
        rows = answers(seqs, places)
        values = values if values.size else np.zeros((m, rows.shape[1]), np.float32)
        values[found.row] = rows
        start[found.row], end[found.row], chrom[found.row] = found.start, found.end, name
        progress(len(seqs.codes))
    for note in account.said(what, length):
        say(note)
    usable = np.flatnonzero(end >= 0)
    strand = np.where(regions.strand == "-", "-", "+")
    stranded = bool((strand[usable] == "-").any())
    for i in range(0, len(usable), ROWS):
        part = usable[i : i + ROWS]
        windows = Windows(part, start[part], end[part], strand[part])
        yield _columns(regions, chrom[part], windows, stranded), values[part]


def window_length(card: Card, longest: int) -> int:
    """Bp of a window; 0 = regions are read as they are, as the training data were."""
    return 0 if card.task.get("whole_regions") or _whole_in_words(card) else longest


def _whole_in_words(card: Card) -> bool:
    """Whether the record of a network says so that was kept before its card did."""
    notes: list[str] = card.record.task.get("notes", [])
    said = (note for note in notes if note.startswith("positives: "))
    return any(note.endswith(", as long as they are") for note in said)


def _check_longest(regions: Regions, found: Windows, most: int) -> None:
    """Refuse regions as they are that are longer than those of the training."""
    bp = found.end - found.start
    for i in np.flatnonzero(bp > most)[:1]:
        raise ValueError(
            f"{regions.path}:{regions.line[found.row[i]]}: the region has {bp[i]:,} bp; this "
            f"network was trained on regions as long as they are and reads {most:,} at most: "
            "shorten it"
        )


def _columns(regions: Regions, chrom: Array, found: Windows, stranded: bool) -> Columns:
    _, start, end, strand = (column.tolist() for column in found)
    rows = found.row
    out: Columns = {
        "id": window_ids(chrom.tolist(), start, end, strand, stranded),
        "chrom": regions.chrom[rows], "start": regions.start[rows], "end": regions.end[rows],
    }  # fmt: skip
    if (regions.strand != ".").any():
        out["strand"] = regions.strand[rows]
    if len(regions.names):
        out["name"] = [regions.names[i] for i in rows]
    return out
