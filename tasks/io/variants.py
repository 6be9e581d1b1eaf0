"""Variants of a VCF file and a genome: windows of both alleles, labelled, as a table.

M variants. Positions are from 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.sequences import letters_of
from dnabench.tasks.io.genome import chromosomes, few
from dnabench.tasks.io.left_out import LeftOut
from dnabench.tasks.io.lines import lines_of
from dnabench.tasks.io.plain import read_lines
from dnabench.tasks.io.table import Table, check_table
from dnabench.tasks.io.vcf import COLUMNS, columns_of, flag_in_all, info_of
from dnabench.types import Array, OwnData, Sequences

AT_ONCE = 1 << 22  # bp of the windows that are predicted at once, about
MANY = 0.02  # share of variants with another REF than the genome, above which that is warned of
ASSEMBLY = "it may be of another assembly, with which a quarter of all bases agree by chance"
OTHER_REF = "whose REF is not what the genome has there"


class Variant(NamedTuple):
    """A line of the file. at: of the first base of `ref`, from 0. label: "" = it has none.

    name: of the column ID, . = it has none.
    """

    line: int
    chrom: str
    at: int
    ref: str
    alt: str
    label: str
    name: str = "."


class _Row(NamedTuple):
    variant: Variant
    chrom: str  # of all variants on this sequence, where the file has chr1 and 1
    start: int
    end: int
    first: str
    second: str


def is_variants(path: Path) -> bool:
    """Whether the extension is that of a VCF file."""
    return path.name.lower().removesuffix(".gz").endswith(".vcf")


def variant_table(path: Path, own: OwnData) -> Table:
    """The windows of both alleles: `sequences` has the reference's, `second` the alternative's.

    The variant is in the middle, from base `length // 2`; both windows have the same length and
    begin at the same base. Variants that cannot be used are left out and counted, those whose REF
    is not the genome's apart.

    Args:
        path: VCF, plain or gzipped.
        own: the genome, the length of windows, and the label: a field of INFO, the column ID, QUAL
            or FILTER, or a file with the label of each line.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file cannot be read, or no variant can be used.
    """
    if not own.genome:
        raise ValueError(f"{path}: variants need the genome they are on: --genome FASTA")
    if own.length < 2:
        raise ValueError(f"--length {own.length}: variants need a window of 2 bp or more")
    if own.negatives:
        raise ValueError(f"{path}: variants have labels; leave out --negatives")
    left_out = LeftOut("variant")
    variants = _usable(_read(path, own), left_out)
    found = _on_genome(path, variants, Path(own.genome), own.length, left_out)
    rows = sorted((row for part in found for row in part), key=lambda row: row.variant.line)
    return _table(path, rows, len(variants), left_out, own)


def unlabelled_variants(
    path: Path, genome: Path, length: int, say: Callable[[str], object]
) -> Iterator[tuple[dict[str, Array | list[str]], Sequences, Sequences]]:
    """The windows of both alleles, as `variant_table` cuts them, of variants to predict on.

    Memory grows with the number of variants, not with their windows or the genome.

    Args:
        path: VCF, plain or gzipped; nothing behind ALT is looked at.
        genome: FASTA.
        length: bp of a window, 2 or more.
        say: called in the end with what was left out.

    Yields:
        Columns id, chrom, pos (from 1), ref and alt, and variant, the column ID, unless that is .
        in every line; the reference's windows, the alternative's.
        The sequences of the genome follow each other, and on each the variants as in the file.

    Raises:
        FileNotFoundError, ValueError: as `variant_table`.
    """
    left_out = LeftOut("variant")
    variants = _usable([_variant(line, row, "?") for line, row in _lines(path)], left_out)
    named = any(one.name not in (".", "") for one in variants)
    for rows in _on_genome(path, variants, genome, length, left_out):
        found = [row.variant for row in rows]
        names: dict[str, Array | list[str]] = {
            "id": list(map(_id, found)), "chrom": [v.chrom for v in found],
            "pos": np.array([v.at + 1 for v in found], np.int64),
            "ref": [v.ref for v in found], "alt": [v.alt for v in found],
        }  # fmt: skip
        if named:
            names["variant"] = [v.name for v in found]
        first, second = (row.first for row in rows), (row.second for row in rows)
        yield names, Sequences.parse(first), Sequences.parse(second)
    for note in (*left_out.said(), *_doubts(left_out, len(variants))):
        say(note)


def _doubts(left_out: LeftOut, usable: int) -> list[str]:
    """A sentence where so many have another REF that the genome may be the wrong one."""
    wrong = left_out.n[OTHER_REF]
    if wrong <= MANY * usable:
        return []
    return [f"{wrong / usable:.1%} of the variants have another REF than the genome; {ASSEMBLY}"]


def _on_genome(
    path: Path, variants: Sequence[Variant], genome: Path, length: int, left_out: LeftOut
) -> Iterator[list[_Row]]:
    """Windows, those of up to AT_ONCE bp together."""
    by_name, known, any_used = dict[str, list[Variant]](), set[str](), False
    for one in variants:
        by_name.setdefault(one.chrom, []).append(one)
    for chromosome in chromosomes(genome, by_name):
        known.update(chromosome.names)
        here = [v for name in chromosome.names for v in by_name[name]]
        if len(chromosome.names) > 1:  # chr1 and 1: the same variant may be there under both
            named = {v.line: v for v in here}
            alike = [named[line]._replace(chrom=chromosome.names[0]) for line in sorted(named)]
            here = [named[v.line] for v in _usable(alike, left_out)]
        text, n = letters_of(chromosome.codes), max(AT_ONCE // length, 1)
        for i in range(0, len(here), n):
            rows = _windows(text, chromosome.names[0], here[i : i + n], length, left_out)
            if rows:
                any_used = True
                yield rows
    missing = sorted({*by_name} - known)
    lost = np.array([v.line for name in missing for v in by_name[name]], np.int64)
    left_out.drop(f"on sequences that are not in the genome ({few(missing, 3)})", lost)
    if not any_used:
        raise ValueError(f"{path}: no variant can be used; {'; '.join(left_out.said())}")


def _read(path: Path, own: OwnData) -> list[Variant]:
    """Every line of the file, with its label."""
    labels = read_lines(Path(own.labels))[0] if own.labels else None
    fields = list(_lines(path))
    if labels is not None and len(labels) != len(fields):
        raise ValueError(
            f"{own.labels}: {len(labels):,} label{'s' * (len(labels) != 1)}, but {path} has "
            f"{len(fields):,} variant{'s' * (len(fields) != 1)}; give a label a line, in their "
            "order and without a header"
        )
    if labels is None:
        labels = _labels(path, fields, own)
    return [
        _variant(number, row, "" if label == "." else label)
        for (number, row), label in zip(fields, labels, strict=True)
    ]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and COLUMNS of every variant; those of samples are not read."""
    found = False
    for number, text in lines_of(path):
        if text.startswith("#") or not text.strip():
            continue
        found = True
        yield number, columns_of(path, number, text)
    if not found:
        raise ValueError(f"{path}: no variants, the file has only a header")


def _variant(line: int, row: Sequence[str], label: str) -> Variant:
    at, ref, alt = int(row[1]) - 1, row[3].upper(), row[4].upper()
    return Variant(line, row[0], at, ref, alt, label, row[2])


def _labels(path: Path, lines: Sequence[tuple[int, list[str]]], own: OwnData) -> list[str]:
    """The field of INFO, or the column; of a flag, whether it is there. "" or . = none."""
    rows = [row for _, row in lines]
    if len(own.label) != 1:
        found = dict.fromkeys(key for row in rows[:1000] for key in info_of(row[7]))
        raise ValueError(
            f"{path}: say where the label of a variant is: --label-column NAME, a field of INFO "
            f"({few(list(found)) or 'there is none'}) or ID, QUAL, FILTER; or --labels FILE"
        )
    (name,) = own.label
    if name.upper() in ("ID", "QUAL", "FILTER"):
        return [row[COLUMNS.index(name.upper())] for row in rows]
    fields = [info_of(row[7]) for row in rows]
    if not any(name in one for one in fields):
        found = dict.fromkeys(key for one in fields[:1000] for key in one)
        raise ValueError(
            f"{path}: --label-column {name}: no variant has that field of INFO; there are "
            f"{few(list(found))}"
        )
    first = dict[bool, tuple[int, str]]()
    for (number, _), one in zip(lines, fields, strict=True):
        if name in one:
            flag_in_all(path, number, name, one[name], first)
    if True in first:  # a flag
        return [str(int(name in one)) for one in fields]
    return [one.get(name) or "" for one in fields]


def _usable(read: Sequence[Variant], left_out: LeftOut) -> list[Variant]:
    """Variants with one alternative allele of letters and a label, each once."""
    seen, out = set[tuple[object, ...]](), []
    dropped: dict[str, list[int]] = {}
    labels: dict[tuple[object, ...], set[str]] = {}
    for one in read:
        labels.setdefault(one[1:5], set()).add(one.label)
    for one in read:
        key, why = one[1:5], ""
        if "," in one.alt:
            why = "with several alternative alleles; split them: bcftools norm -m-"
        elif not one.alt or one.alt.strip("ACGT") or not one.ref or one.ref.strip("ACGTN"):
            why = "whose alleles are not written in letters"
        elif one.alt == one.ref:
            why = "whose ALT is their REF"
        elif one.at < 0:
            why = "whose POS is 0, the telomere before the first base"
        elif not one.label:
            why = "without a label"
        elif len(labels[key] - {""}) > 1:
            why = "that are there again with another label"
        elif key in seen:
            why = "that came before"
        if why:
            dropped.setdefault(why, []).append(one.line)
            continue
        seen.add(key)
        out.append(one)
    for why, lines in dropped.items():
        left_out.drop(why, np.array(lines, np.int64))
    return out


def _windows(
    text: str, name: str, variants: Sequence[Variant], length: int, left_out: LeftOut
) -> list[_Row]:
    """Windows of both alleles on a sequence; what cannot be used is counted."""
    out, half = list[_Row](), length // 2
    dropped: dict[str, list[int]] = {}
    for one in variants:
        start, behind = one.at - half, one.at + len(one.ref)
        right = length - half - len(one.alt)
        first, why = text[max(start, 0) : start + length], ""
        second = text[max(start, 0) : one.at] + one.alt + text[behind : behind + max(right, 0)]
        if text[one.at : behind] != one.ref:
            why = OTHER_REF
        elif len(one.ref) > length - half or right < 0:
            why = "with an allele that is longer than half a window"
        elif start < 0 or len(first) < length or len(second) < length:
            why = "with a window beyond the end of the sequence"
        elif "N" in first or "N" in second:
            why = "with N in the window"
        if why:
            dropped.setdefault(why, []).append(one.line)
        else:
            out.append(_Row(one, name, start, start + length, first, second))
    for why, lines in dropped.items():
        left_out.drop(why, np.array(lines, np.int64))
    return out


def _id(v: Variant) -> str:
    return f"{v.chrom}:{v.at + 1}:{v.ref}>{v.alt}"


def _table(path: Path, rows: Sequence[_Row], usable: int, left_out: LeftOut, own: OwnData) -> Table:
    ids = [_id(row.variant._replace(chrom=row.chrom)) for row in rows]
    digest = hashlib.sha256()
    for name, row in zip(ids, rows, strict=True):
        digest.update(f"{name} {row.variant.label} {row.first} {row.second}\n".encode())
    notes = [
        f"variants: {len(rows):,} in {path.name}, windows of {own.length} bp of both alleles; a "
        "model answers f(alternative) - f(reference)",
        *left_out.said(),
        *(f"warning: {doubt}" for doubt in _doubts(left_out, usable)),
    ]
    others = {
        "chrom": [row.chrom for row in rows],
        "start": [str(row.start) for row in rows],
        "end": [str(row.end) for row in rows],
    }
    table = Table(
        path, [row.first for row in rows], [row.variant.label for row in rows], None, ids,
        np.array([row.variant.line for row in rows], np.int64), sha256=digest.hexdigest(),
        others=others, notes=tuple(notes), second=[row.second for row in rows],
    )  # fmt: skip
    check_table(table)
    return table
