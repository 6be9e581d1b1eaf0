"""Windows of a genome with a class for every base, from its annotation. L length in bp."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from dnabench.tasks.io.annotation import Annotation, Gene, read_annotation
from dnabench.tasks.io.fasta import encoded, names_of, records
from dnabench.tasks.io.masking import SHORTEST_INTRON, Account
from dnabench.types import IGNORED, A, Array, G, N, Sequences, Split, SplitName, T

EXON, DONOR, INTRON, ACCEPTOR = range(4)  # forward strand; on the reverse strand 4 more
REVERSE = 4
INTERGENIC = 8
CODON, STOPS = 3, {(T, A, A), (T, A, G), (T, G, A)}
ORGANELLES = frozenset(
    {"m", "mt", "mito", "mitochondrion", "chrm", "chrmt", "chrmito"}
    | {"c", "pt", "chloroplast", "plastid", "chrc", "chrpt"}
)
SHARE = 0.1  # of all bases, for dev and for test, where no chromosomes are named
GAP = 10  # N; windows do not cross a run of this many
CHUNK = 2**23  # bp of windows made at once

Observer = Callable[[str, int, int], None]  # sequence, bases done, bases in all


def silent(name: str, done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How a genome becomes labelled windows.

    Args:
        longest: bp of a window, L. A stretch without N is cut into windows end to end.
        shortest: bp; the rest at the end of a stretch is a window if it is at least this long.
            0 = a tenth of `longest`.
        dev: sequences of the dev split, by their names in FASTA or GFF; () = see `split_of`.
        test: sequences of the test split.
        leave_out: sequences to leave out; case does not matter.
        keep: genes = only windows with a base of a gene, all = the windows between genes too.
        exons: coding = the CDS, so that UTRs are intergenic; all = the exons, UTRs included.
        site: bp at either end of an intron that are labelled donor and acceptor.
        masked: types of GFF features whose bases are IGNORED.
        labels: bend = as BEND labels: a stop codon is intergenic, nothing is IGNORED for want of
            knowledge, and of overlapping genes the one with the longest CDS counts. certain = a
            stop codon is exon, and IGNORED are bases to which two genes give different classes and
            those before the first and after the last feature of a sequence.

    Raises:
        ValueError: for impossible lengths.
    """

    longest: int = 10_000
    shortest: int = 0
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    leave_out: Collection[str] = ORGANELLES
    keep: Literal["genes", "all"] = "genes"
    exons: Literal["coding", "all"] = "coding"
    site: int = 1
    masked: Collection[str] = ("transposable_element_gene", "pseudogene")
    labels: Literal["bend", "certain"] = "bend"

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest or not self.longest:
            raise ValueError(
                f"windows of {self.shortest} to {self.longest} bp; need 0 <= shortest <= longest"
            )
        if not 1 <= self.site <= SHORTEST_INTRON // 2:
            raise ValueError(f"site {self.site}; need 1 to {SHORTEST_INTRON // 2} bp")
        if both := set(self.dev) & set(self.test):
            raise ValueError(f"{sorted(both)[0]} is named for both dev and test; choose one")

    @property
    def least(self) -> int:
        """Shortest window, bp."""
        return self.shortest or max(1, self.longest // 10)


class Place(NamedTuple):
    """A sequence of the FASTA: its name in the annotation, length in bp and split."""

    name: str
    length: int
    split: SplitName


def cut(
    fasta: Path, gff: Path, cutting: Cutting, observe: Observer = silent,
    account: Account | None = None,
) -> Iterator[tuple[SplitName, Split]]:  # fmt: skip
    """The labelled windows, in chunks, in the order of the FASTA; see `import_genes`.

    `account` is filled with what has no label.
    """
    annotation = read_annotation(gff, cutting.exons == "coding", frozenset(cutting.masked))
    account = Account() if account is None else account
    account.left_out |= annotation.left_out
    places = _places(fasta, annotation, cutting)
    total, done, kept = sum(p.length for p in places.values()), 0, 0
    width = min(cutting.longest, max(p.length for p in places.values()))
    for line, header, body in records(fasta):
        place = places.get(header)
        if place is None:
            continue
        seq = encoded(f"{fasta}:{line}", place.name, body)
        y = labels(seq.codes, annotation, place.name, cutting)
        account.add(y, seq.codes, annotation, place.name)
        for part in _chunks(seq, y, place.name, cutting, width):
            kept += len(part.y)
            yield place.split, part
        done += place.length
        observe(place.name, done, total)
    if not kept:
        raise ValueError(
            f"{fasta}: no stretch of {cutting.least} bp without N contains a base of a gene; "
            "choose shorter windows"
        )


def labels(codes: Array, annotation: Annotation, name: str, cutting: Cutting) -> Array:
    """The class of every base of a sequence.

    Args:
        codes: uint8 (L,), of the sequence.
        annotation: its genes.
        name: of the sequence in the annotation.
        cutting: its site, exons and labels count.

    Returns:
        int8 (L,), 0..8 or IGNORED.
    """
    y = np.full(len(codes), INTERGENIC, np.int8)
    certain = cutting.labels == "certain"
    genes = annotation.genes.get(name, ())
    if not certain:  # the longest is written last
        known = genes if cutting.exons == "all" else (without_stop(g, codes) for g in genes)
        genes = sorted((g for g in known if g.exons), key=lambda g: (g.bp, g.name))
    claimed = np.zeros(len(codes), bool)
    for gene in genes:
        here = slice(gene.exons[0][0], gene.exons[-1][1])
        own = _gene_labels(gene, cutting.site)
        unclear = certain & claimed[here] & (y[here] != own)
        y[here] = np.where(unclear, IGNORED, own)
        claimed[here] = True
    first, last = annotation.span[name]
    if certain:
        y[:first] = y[last:] = IGNORED
    for start, end in annotation.masked.get(name, ()):
        y[start:end] = IGNORED
    y[codes == N] = IGNORED
    return y


def without_stop(gene: Gene, codes: Array) -> Gene:
    """The gene without its last codon, if that is a stop codon; an intron may part it.

    Args:
        gene: its exons are coding.
        codes: uint8 (L,), of the sequence.
    """
    left, out = CODON, []
    bases: list[int] = []
    for start, end in gene.exons if gene.reverse else gene.exons[::-1]:
        cut = min(left, end - start)
        at = range(start, start + cut) if gene.reverse else range(end - 1, end - 1 - cut, -1)
        bases += codes[list(at)].tolist()
        left -= cut
        if cut < end - start:
            out.append((start + cut, end) if gene.reverse else (start, end - cut))
    codon = [T - b for b in bases[::-1]] if gene.reverse else bases[::-1]
    if tuple(codon) not in STOPS:
        return gene
    return gene._replace(exons=tuple(out if gene.reverse else out[::-1]))


def split_of(
    lengths: dict[str, int], dev: Collection[str], test: Collection[str]
) -> dict[str, SplitName]:
    """The split of each sequence of a genome.

    Args:
        lengths: name -> bp.
        dev: names; if both dev and test are empty, the default rule applies: sequences in the
            order of the SHA-256 of their names go to test while they fit into 10 % of all bases,
            then to dev while they fit into 10 %, else to train. If test, then dev, stays empty, it
            gets the shortest sequence of train; dev only if two are left.
        test: names. If only one of the two is given, the other stays empty.

    Raises:
        ValueError: for fewer than two sequences, or when none is left for train or test.
    """
    if len(lengths) < 2:
        raise ValueError(
            f"only {', '.join(lengths) or 'no sequence'} has genes; "
            "splits are by sequence, so at least two are needed"
        )
    out: dict[str, SplitName] = dict.fromkeys(lengths, "train")
    named: tuple[tuple[SplitName, Collection[str]], ...] = (("dev", dev), ("test", test))
    out.update((name, split) for split, names in named for name in names)
    if not dev and not test:
        room: dict[SplitName, float] = dict.fromkeys(("test", "dev"), SHARE * sum(lengths.values()))
        for name in sorted(lengths, key=lambda n: hashlib.sha256(n.encode()).hexdigest()):
            fits = next((s for s in room if lengths[name] <= room[s]), None)
            if fits:
                out[name] = fits
                room[fits] -= lengths[name]
        for split in room:
            left = sorted((lengths[n], n) for n in out if out[n] == "train")
            if split not in out.values() and len(left) > 1:
                out[left[0][1]] = split
    for needed in ("train", "test"):
        if needed not in out.values():
            raise ValueError(f"no sequence is left for {needed}; name others for dev and test")
    return out


def _places(fasta: Path, annotation: Annotation, cutting: Cutting) -> dict[str, Place]:
    """Header -> place of the records that are used."""
    found: dict[str, tuple[str, list[str], int]] = {}  # header -> name, other names, bp
    names: list[str] = []
    lines: dict[str, int] = {}
    for line, header, body in records(fasta):
        aliases = names_of(header)
        names.append(aliases[0])
        length = sum(map(len, body))
        matches = [n for n in aliases if n in annotation.span]
        if not matches:
            continue
        name = matches[0]
        if name in lines:
            raise ValueError(
                f"{fasta}:{line}: a second sequence {name}; the first is in line {lines[name]}"
            )
        lines[name] = line
        end, at = annotation.last[name]
        if end > length:
            raise ValueError(
                f"{annotation.path}:{at}: a feature ends at {end}, but {name} has {length} bp in "
                f"{fasta}; both files must be of the same assembly"
            )
        excluded = {n.lower() for n in cutting.leave_out} & {n.lower() for n in aliases}
        if name in annotation.genes and not excluded:
            found[header] = name, aliases, length
    if not lines:
        raise ValueError(
            f"no sequence has the same name in both files: {fasta} has {_few(names)}, "
            f"{annotation.path} has {_few(annotation.span)}"
        )
    chosen = {"dev": cutting.dev, "test": cutting.test}
    called = {alias: name for name, aliases, _ in found.values() for alias in (*aliases, name)}
    for split, asked in chosen.items():
        for n in asked:
            if n not in called:
                raise ValueError(
                    f"{split} {n!r}: no such sequence with genes; there are "
                    f"{_few(list(called.values()))}"
                )
    dev, test = ([called[n] for n in asked] for asked in chosen.values())
    lengths = {name: length for name, _, length in found.values()}
    splits = split_of(lengths, dev, test)
    return {
        header: Place(name, length, splits[name]) for header, (name, _, length) in found.items()
    }


def _few(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - 20} more" if len(distinct) > 20 else ""
    return ", ".join(distinct[:20]) + more


def _gene_labels(gene: Gene, site: int) -> Array:
    """int8, one per base from the start of the first exon to the end of the last."""
    first = gene.exons[0][0]
    y = np.full(gene.exons[-1][1] - first, INTRON, np.int8)
    left, right = (ACCEPTOR, DONOR) if gene.reverse else (DONOR, ACCEPTOR)
    gaps = itertools.pairwise(gene.exons)
    for start, end in gene.exons:
        y[start - first : end - first] = EXON
    for (_, start), (end, _) in gaps:
        a, b = start - first, end - first
        if b - a < SHORTEST_INTRON:
            y[a:b] = IGNORED
        else:
            y[a : a + site], y[b - site : b] = left, right
    return np.where(y == IGNORED, y, y + REVERSE) if gene.reverse else y


def _chunks(seq: Sequences, y: Array, name: str, cutting: Cutting, width: int) -> Iterator[Split]:
    """The windows of a sequence that are kept, about CHUNK bp at a time."""
    starts, ends = _cut_up(seq.codes, cutting)
    if not len(starts):
        return
    counts = y != IGNORED if cutting.keep == "all" else (y != IGNORED) & (y != INTERGENIC)
    bounds = np.stack([starts, ends], axis=1).ravel()  # even: windows, odd: between them
    kept = np.logical_or.reduceat(np.append(counts, False), bounds)[::2]
    starts, ends = starts[kept], ends[kept]
    rows = max(1, CHUNK // width)
    for first in range(0, len(starts), rows):
        start, end = starts[first : first + rows], ends[first : first + rows]
        offsets = np.concatenate([[0], np.cumsum(end - start)])
        at = np.repeat(start - offsets[:-1], end - start) + np.arange(offsets[-1])
        padded = np.full((len(start), width), IGNORED, np.int8)
        padded[np.arange(width) < (end - start)[:, None]] = y[at]
        between = zip((start + 1).tolist(), end.tolist(), strict=True)
        ids = np.array([f"{name}:{a}-{b}" for a, b in between])
        yield Split(Sequences(seq.codes[at], offsets), padded, ids)


def _cut_up(codes: Array, cutting: Cutting) -> tuple[Array, Array]:
    """Starts and ends of windows, between runs of GAP or more N."""
    edge = np.diff(np.pad((codes == N).view(np.int8), 1))
    runs = np.stack([np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)], axis=1)
    runs = runs[runs[:, 1] - runs[:, 0] >= GAP]
    begins = np.concatenate([[0], runs[:, 1]])
    stops = np.concatenate([runs[:, 0], [len(codes)]])
    n = -(-(stops - begins) // cutting.longest)
    within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    starts = np.repeat(begins, n) + within * cutting.longest
    ends = np.minimum(starts + cutting.longest, np.repeat(stops, n))
    long_enough = ends - starts >= cutting.least
    return starts[long_enough], ends[long_enough]
