"""Alleles of a VCF file against the genome they are said to be on. Positions are from 0."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.probes.labelled import check_labels
from dnabench.probes.variant_lines import lines_in
from dnabench.tasks.io.genome import few
from dnabench.tasks.io.packed import Genome
from dnabench.tasks.io.vcf import columns_of, flag_in_all, info_of
from dnabench.types import Array, Sequences

SAME, SWAPPED, COMPLEMENT = "same", "swapped", "complement"
PALINDROMIC, WRONG, UNKNOWN = "palindromic", "wrong", "unknown"
SEVERAL = -2
OTHERS = {
    SWAPPED: "ALT is what the genome has: the alleles are swapped",
    COMPLEMENT: "the genome has the complement: alleles of the other strand",
    PALINDROMIC: "the alleles are each other's complement: swapped, or of the other strand",
    WRONG: "the genome has something else",
    UNKNOWN: "the genome has N there",
}
_OPPOSITE = str.maketrans("ACGT", "TGCA")


class Allele(NamedTuple):
    """An alternative allele of a line.

    at: of the first base of `ref`; -1 = a telomere, POS 0. label: "" = it has none. group:
    of matched variants, likewise.
    """

    line: int
    chrom: str
    at: int
    id: str
    ref: str
    alt: str
    label: str
    group: str = ""


class Checked(NamedTuple):
    """An allele on the genome.

    said: how REF compares with it, SAME or a key of OTHERS; "" = there is nothing to compare. why:
    it has no score; "" = it may have one. The other fields are left-normalised.
    """

    said: str
    why: str
    contig: int = -1
    at: int = 0
    ref: str = ""
    alt: str = ""


class Survey(NamedTuple):
    """A VCF file that was read once. flag: whether the label is a flag. header: it has one."""

    lines: int
    header: bool
    flag: bool


def survey(
    path: Path, genome: Genome, label: str = "", group: str = "", region: str = ""
) -> Survey:
    """Read all lines before anything is scored.

    Args:
        path: VCF, plain or gzipped (also by bgzip).
        genome: packed.
        label: a field of INFO; "" = none.
        group: likewise.
        region: as of `variant_lines.lines_in`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line that is not VCF, no variant, no sequence of the genome, no such field, a
            label that is a flag in some lines and has a value in others, a match group without a
            value; as `labelled.check_labels`.
    """
    lines, header, wanted = 0, False, {name for name in (label, group) if name}
    first = dict[bool, tuple[int, str]]()  # line and value of the label, as a flag and with a value
    chroms, fields = dict[str, None](), dict[str, None]()
    said = list[tuple[str | None, str, str]]()  # label, sequence, match group
    for number, text in lines_in(path, region, genome):
        if text.startswith("#") or not text.strip():
            header |= text.startswith("#CHROM")
            continue
        row, lines = columns_of(path, number, text), lines + 1
        chroms[row[0]] = None
        if label:
            info = info_of(row[7])
            if label in info:
                flag_in_all(path, number, label, info[label], first)
            if group in info and info[group] is None:
                raise ValueError(
                    f"{path}:{number}: INFO has {group} without a value; write {group}=NAME, or "
                    f"{group}=. where a variant has no match group"
                )
            said.append((info.get(label, ""), row[0], _group_in(info, group)))
            fields |= dict.fromkeys(info)
    if not lines:
        what = f"none in {region}" if region else "the file has only a header"
        raise ValueError(f"{path}: no variants, {what}")
    for name in sorted(wanted - fields.keys()):
        flag_of = "--labels" if name == label else "--groups"
        raise ValueError(f"{path}: {flag_of} {name}: INFO has {few([*fields]) or 'no field'}")
    check_known(chroms, path, genome)
    flag = True in first
    if label:
        labels, on, groups = zip(*said, strict=True)
        check_labels([_label_of(v, flag) for v in labels], on, groups if group else ())
    return Survey(lines, header, flag)


def _label_of(value: str | None, flag: bool) -> str:
    """The label of a line: of a flag 1, or 0 where it is missing."""
    return "1" if value is None else "0" if flag and not value else value


def _group_in(info: Mapping[str, str | None], group: str) -> str:
    own = info.get(group) or ""
    return "" if own == "." else own


def alleles_of(
    path: Path, number: int, text: str, label: str, flag: bool, group: str = ""
) -> list[Allele]:
    """The alternative alleles of a line, in order."""
    row, said, own = columns_of(path, number, text), "", ""
    if label:
        info = info_of(row[7])
        said, own = _label_of(info.get(label, ""), flag), _group_in(info, group)
    return [
        Allele(number, row[0], int(row[1]) - 1, row[2], row[3].upper(), alt.upper(), said, own)
        for alt in row[4].split(",")
    ]


@lru_cache(maxsize=4)
def _numbers(genome: tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]) -> Mapping[str, int]:
    out = dict[str, int]()
    for i, others in enumerate(genome[1]):
        for name in others:
            out[name] = SEVERAL if name in out else i
    return out | {name: i for i, name in enumerate(genome[0])}


def check_known(chroms: Collection[str], path: Path, genome: Genome) -> None:
    """ValueError when the genome has none of these sequences of a file."""
    if not set(chroms) & numbers(genome).keys():
        raise ValueError(
            f"no sequence has the same name in both files: the genome {genome.name} has "
            f"{few(genome.contigs)}, {path} has {few(chroms)}"
        )


def numbers(genome: Genome) -> Mapping[str, int]:
    """Sequences of a genome by all of their names; SEVERAL for an alias that several have."""
    return _numbers((genome.contigs, genome.aliases))


def compare(ref: str, alt: str, has: str, has_of_alt: str) -> str:
    """How REF compares with what the genome has in its place, and in the place of ALT.

    `has_of_alt` is shorter than ALT where the sequence ends in it, and an N there may be any base.
    """
    if has == ref:
        return SAME
    hidden = "N" in has_of_alt and any(_may_be(x, has_of_alt) for x in (alt, opposite_of(alt)))
    if "N" in has or hidden:
        return UNKNOWN
    swapped = has_of_alt == alt
    turned = opposite_of(ref) == has or opposite_of(alt) == has_of_alt
    if swapped and turned:
        return PALINDROMIC
    return SWAPPED if swapped else COMPLEMENT if turned else WRONG


def _may_be(letters: str, has: str) -> bool:
    same = len(letters) == len(has)
    return same and all(b in (a, "N") for a, b in zip(letters, has, strict=True))


def opposite_of(letters: str) -> str:
    """The reverse complement."""
    return letters.translate(_OPPOSITE)[::-1]


def left_normalised(at: int, ref: str, alt: str, before: str) -> tuple[int, str, str]:
    """The same change as far left and as short as can be.

    Args:
        at: of the first base of `ref`.
        ref: as the genome has it.
        alt: another allele.
        before: the bases just before `at`; the change moves at most that far.

    Source:
        Tan et al. 2015, Bioinformatics 31:2202.
    """
    while True:
        if ref and alt and ref[-1] == alt[-1]:
            ref, alt = ref[:-1], alt[:-1]
        elif not (ref and alt) and before:
            at, ref, alt, before = at - 1, before[-1] + ref, before[-1] + alt, before[:-1]
        else:
            break
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        at, ref, alt = at + 1, ref[1:], alt[1:]
    return at, ref, alt


def on_genome(
    alleles: Sequence[Allele], genome: Genome, window: int, indels: bool
) -> Iterator[Checked]:
    """Each allele, compared and left-normalised, in order.

    Args:
        alleles: of a file.
        genome: packed.
        window: bp.
        indels: whether changes of several bases can be scored.
    """
    known, half = numbers(genome), window - window // 2
    for one in alleles:
        contig = known.get(one.chrom, -1)
        why = _unreadable(one, half)
        if contig < 0:
            why = "its sequence is not in the genome"
        if contig == SEVERAL:
            why = "its name may be that of several sequences of the genome"
        if one.at < 0 and not why:
            why = "POS 0, the telomere before the first base"
        if why:
            yield Checked("", why)
            continue
        if one.at + len(one.ref) > genome.lengths[contig]:
            yield Checked(WRONG, "beyond the end of its sequence")
            continue
        wide = min(max(len(one.ref), len(one.alt)), int(genome.lengths[contig]) - one.at)
        has = letters_at(genome, contig, one.at, wide)
        said = compare(one.ref, one.alt, has[: len(one.ref)], has[: len(one.alt)])
        if said != SAME:
            yield Checked(said, f"REF: {OTHERS[said]}")
            continue
        at, ref, alt = left_normalised(one.at, one.ref, one.alt, "")
        if len(ref) != 1 or len(alt) != 1:
            if not indels:
                yield Checked(said, "of several bases, for causal models only")
                continue
            before = letters_at(genome, contig, max(one.at - window, 0), min(one.at, window))
            at, ref, alt = left_normalised(one.at, one.ref, one.alt, before)
        yield Checked(said, "" if "N" not in ref else "REF has N", contig, at, ref, alt)


def _unreadable(one: Allele, most: int) -> str:
    if not one.alt or one.alt.strip("ACGT") or not one.ref or one.ref.strip("ACGTN"):
        return "alleles that are not written in letters"
    if one.alt == one.ref:
        return "ALT is REF"
    if max(len(one.ref), len(one.alt)) > most:
        return "an allele longer than half a window"
    return ""


def letters_at(genome: Genome, contig: int, at: int, length: int) -> str:
    """Bases of a sequence; N beyond its ends."""
    codes: Array = genome.around(np.array([contig]), np.array([at]), length)
    return Sequences(codes[0], np.array([0, length]))[0]
