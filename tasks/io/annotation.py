"""The genes of a GFF3 or GTF file.

Positions are from 0 with exclusive ends, as in BED; those in the files are from 1 and inclusive.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dnabench.tasks.io.lines import lines_of

WHOLE = {"region", "chromosome", "supercontig", "scaffold", "contig", "biological_region"}
CODING = {"CDS", "stop_codon"}  # in GTF the CDS excludes the stop codon, in GFF3 it includes it
_KEY = {
    "gff3": {key: re.compile(rf"(?:^|;) *{key}=([^;]+)") for key in ("ID", "Parent", "gene_id")},
    "gtf": {key: re.compile(rf'\b{key} "?([^";]+)') for key in ("transcript_id", "gene_id")},
}
_TRANS = re.compile(r"\bexception[= ]\"?trans[-_ ]splic", re.IGNORECASE)
ONCE = {"gene", "mRNA", "transcript"}  # an ID of these names one place of a sequence
_SEQUENCE = re.compile(r"##sequence-region\s+(\S+)\s+\d+\s+(\d+)\s*$")

Interval = tuple[int, int]


class Gene(NamedTuple):
    """The transcript that represents a gene.

    exons: start and end of each, ascending, neither touching nor overlapping.
    line: of its first exon in the file.
    phase: bases before the first whole codon, as the file says of its first CDS.
    """

    name: str
    transcript: str
    reverse: bool
    exons: tuple[Interval, ...]
    line: int
    phase: int = 0

    @property
    def bp(self) -> int:
        """Of all exons."""
        return sum(end - start for start, end in self.exons)


@dataclass
class Annotation:
    """The contents of a GFF file, by sequence name.

    genes: ascending by start. masked: places without a label; why: the reason of each, a type of
    features that was asked for, or one of left_out. span: start of the first and end of the last
    feature. bp: length of a sequence where the file says it. last: (end, line) of the feature with
    the largest end. left_out: reason -> genes without a place for their introns, whose exons are
    masked.
    """

    path: Path
    genes: dict[str, list[Gene]] = field(default_factory=dict)
    masked: dict[str, list[Interval]] = field(default_factory=dict)
    why: dict[str, list[str]] = field(default_factory=dict)
    span: dict[str, Interval] = field(default_factory=dict)
    bp: dict[str, int] = field(default_factory=dict)
    last: dict[str, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def mask(self, name: str, place: Interval, why: str) -> None:
        """Give the bases of a place no label."""
        self.masked.setdefault(name, []).append(place)
        self.why.setdefault(name, []).append(why)


def read_annotation(
    path: Path, coding: bool = True, masked: frozenset[str] = frozenset()
) -> Annotation:
    """The protein-coding genes of a GFF3 or GTF file, plain or gzipped.

    A gene has CDS lines. It is represented by its transcript with the longest CDS, the first by
    name if several are equally long. In GFF3 a transcript is the first Parent of a CDS, a gene the
    topmost Parent of that; a CDS without Parent is its own gene. In GTF both are attributes. Genes
    that are trans-spliced, go over the origin of a circular sequence, or have parts on both strands
    are masked, not read: what is between their exons is no intron. Sequences at the end of the
    file are not read.

    Args:
        path: the file; the attributes of its CDS lines tell the format.
        coding: exons are the CDS, including the stop codon; otherwise the exon lines, with UTRs.
        masked: types of features whose positions are kept.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line in neither format, with file, line and reason; a file without CDS.
    """
    out, reader, circular = Annotation(path), _Reader(path, coding), dict[str, int]()
    for number, text in lines_of(path):
        if text.strip() == "##FASTA" or text.startswith(">"):
            break
        if said := _SEQUENCE.match(text):
            out.bp[said[1]] = max(out.bp.get(said[1], 0), int(said[2]))
        if not text.strip() or text.startswith("#"):
            continue
        name, kind, start, end, strand, phase, attributes = feature_of(path, number, text)
        if kind in WHOLE:
            if start == 0 and kind != "biological_region":
                out.bp[name] = max(out.bp.get(name, 0), end)
            if "Is_circular=true" in attributes:
                circular[name] = end
            continue
        length = circular.get(name, end)
        places, end = _around(start, end, length), min(end, length)
        first, last = out.span.get(name, (start, end))
        out.span[name] = min(first, start), max(last, end)
        out.last[name] = max(out.last.get(name, (0, 0)), (end, number))
        if kind in masked:
            out.mask(name, (start, end), kind)
        reader.add(number, name, kind, places, strand, attributes, phase)
    out.genes = reader.genes()
    for reason, name, gene, exons in reader.left_out:
        known = out.left_out.setdefault(reason, [])
        known += [gene] if gene not in known[-1:] else []
        for exon in exons:
            out.mask(name, exon, reason)
    return out


def _around(start: int, end: int, length: int) -> list[Interval]:
    """The parts of a feature that goes on at base 1 behind the end of a circular sequence."""
    if end <= length:
        return [(start, end)]
    if start >= length:
        return [(start - length, end - length)]
    return [(start, length), (0, end - length)]


def feature_of(path: Path, number: int, text: str) -> tuple[str, str, int, int, str, str, str]:
    """Sequence, type, start, end, strand, phase and attributes of a line; ValueError for others."""
    fields = text.split("\t")
    if len(fields) != 9:
        raise ValueError(
            f"{path}:{number}: {len(fields)} tab-separated column{'s' * (len(fields) != 1)}, GFF3 "
            f"and GTF have 9: {text[:60]!r}"
        )
    name, _, kind, first, last, _, strand, phase, attributes = fields
    if not (first.isdigit() and last.isdigit()):
        raise ValueError(f"{path}:{number}: start {first!r} and end {last!r} must be whole numbers")
    start, end = int(first) - 1, int(last)
    if not 0 <= start < end:
        raise ValueError(
            f"{path}:{number}: start {first}, end {last}; positions are from 1, start before end"
        )
    return name, kind, start, end, strand, phase, attributes


class _Reader:
    """Collects the lines that make up genes."""

    def __init__(self, path: Path, coding: bool) -> None:
        self._path, self._coding = path, coding
        self._format = ""
        self._kinds: set[str] = set()
        self._parents: dict[str, str] = {}  # of what has both, GFF3
        self._named: dict[str, str] = {}  # transcript -> gene, GTF
        # (sequence, transcript, reverse) -> CDS, exons, first line
        self._cds: dict[tuple[str, str, bool], list[Interval]] = defaultdict(list)
        self._exons: dict[tuple[str, str, bool], list[Interval]] = defaultdict(list)
        self._lines: dict[tuple[str, str, bool], int] = {}
        self._phases: dict[tuple[tuple[str, str, bool], Interval], int] = {}  # of a CDS
        self._once: dict[tuple[str, str, str], tuple[Interval, int]] = {}  # kind, ID -> place, line
        self._odd: dict[tuple[str, str], str] = {}  # sequence, transcript -> why it is left out
        self._trans = set[str]()  # IDs of trans-spliced genes and transcripts
        self.left_out: list[tuple[str, str, str, tuple[Interval, ...]]] = []

    def add(
        self, number: int, name: str, kind: str, places: list[Interval], strand: str,
        attributes: str, phase: str = "0",
    ) -> None:  # fmt: skip
        self._kinds.add(kind)
        makes_exons = kind in CODING or (kind == "exon" and not self._coding)
        if makes_exons:
            self._format = self._format or _format(attributes)
        elif kind != "exon" and _format(attributes) == "gff3":
            parent, own = (_found("gff3", key, attributes) for key in ("Parent", "ID"))
            if parent and own:
                self._parents[own] = parent.split(",")[0]
            if own and _TRANS.search(attributes):
                self._trans.add(own)
            elif own and kind in ONCE:
                self._check_once(number, name, kind, own, places[0])
        elif kind == "transcript" and not _TRANS.search(attributes):
            own = _found("gtf", "transcript_id", attributes)
            self._check_once(number, name, kind, own, places[0])
        if not makes_exons:
            return
        if strand not in ("+", "-"):
            raise ValueError(
                f"{self._path}:{number}: strand {strand!r} of a {kind}; it must be + or -"
            )
        for transcript in self._transcripts(number, kind, attributes):
            key = name, transcript, strand == "-"
            self._lines.setdefault(key, number)
            (self._cds if kind in CODING else self._exons)[key] += places
            if kind == "CDS":
                self._phases[key, places[0]] = int(phase) if phase in ("1", "2") else 0
            if _TRANS.search(attributes):
                self._odd[name, transcript] = "trans-spliced"
            elif len(places) > 1:
                self._odd[name, transcript] = "over the origin of a circular sequence"

    def _check_once(self, number: int, name: str, kind: str, own: str, place: Interval) -> None:
        """ValueError for two genes of one ID: their exons could not be told apart."""
        (start, end), line = self._once.setdefault((name, kind, own), (place, number))
        if line != number and (place[0] >= end or place[1] <= start):
            apart = max(place[0] - end, start - place[1])
            raise ValueError(
                f"{self._path}:{number}: the {kind} ID={own} is also in line {line}, {apart:,} bp "
                "away; an ID stands for one gene: give the second another ID, also in its parts"
            )

    def genes(self) -> dict[str, list[Gene]]:
        if not self._cds:
            found = ", ".join(sorted(self._kinds)[:12]) or "nothing"
            raise ValueError(
                f"{self._path}: no CDS lines, which define genes; the types here are {found}"
            )
        for name, transcript, reverse in self._cds:
            if (name, transcript, not reverse) in self._cds:
                self._odd.setdefault((name, transcript), "with parts on both strands")
            if self._trans & set(self._lineage(transcript)):
                self._odd[name, transcript] = "trans-spliced"
        best: dict[tuple[str, str], tuple[int, str, Gene]] = {}
        for key, cds in self._cds.items():
            name, transcript, reverse = key
            merged = _merged(cds)
            rank = -sum(end - start for start, end in merged), transcript
            exons = merged if self._coding else _merged([*cds, *self._exons.get(key, ())])
            gene = self._gene(transcript)
            if why := self._odd.get((name, transcript)):
                self.left_out.append((why, name, gene, exons))
                continue
            first = max(cds, key=lambda part: part[1]) if reverse else min(cds)
            phase = self._phases.get((key, first), 0)
            one = Gene(gene, transcript, reverse, exons, self._lines[key], phase)
            known = best.get((name, gene))
            if known is None or rank < known[:2]:
                best[name, gene] = *rank, one
        out: dict[str, list[Gene]] = defaultdict(list)
        for (name, _), (*_, one) in best.items():
            out[name].append(one)
        return {name: sorted(genes, key=lambda g: (g.exons, g.name)) for name, genes in out.items()}

    def _transcripts(self, number: int, kind: str, attributes: str) -> list[str]:
        if self._format == "gtf":
            transcript = self._get("transcript_id", attributes)
            gene = self._get("gene_id", attributes)
            if not transcript or not gene:
                raise ValueError(
                    f"{self._path}:{number}: a {kind} without transcript_id and gene_id: "
                    f"{attributes[:60]!r}"
                )
            self._named[transcript] = gene
            return [transcript]
        found = self._get("Parent", attributes) or self._get("ID", attributes)
        if not found:
            raise ValueError(
                f"{self._path}:{number}: a {kind} with neither Parent= nor ID=: {attributes[:60]!r}"
            )
        return found.split(",")

    def _gene(self, transcript: str) -> str:
        return self._named[transcript] if self._format == "gtf" else self._lineage(transcript)[-1]

    def _lineage(self, transcript: str) -> list[str]:
        """The transcript, what it is a part of, and so on up to the gene."""
        out = [transcript]
        while (parent := self._parents.get(out[-1])) and parent not in out:
            out.append(parent)
        return out

    def _get(self, key: str, attributes: str) -> str:
        return _found(self._format, key, attributes)


def _found(form: str, key: str, attributes: str) -> str:
    found = _KEY[form][key].search(attributes)
    return found.group(1).strip() if found else ""


def _format(attributes: str) -> str:
    key = attributes.strip().split(" ")[0]
    return "gff3" if "=" in key or not _KEY["gtf"]["gene_id"].search(attributes) else "gtf"


def _merged(intervals: list[Interval]) -> tuple[Interval, ...]:
    """Ascending; touching or overlapping intervals are merged."""
    out: list[Interval] = []
    for start, end in sorted(intervals):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        else:
            out.append((start, end))
    return tuple(out)
