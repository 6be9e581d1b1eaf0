"""Scores of variants: log p(alternative) - log p(reference), or what else they change.

M alleles, W bp of a window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dnabench.cache import replacing
from dnabench.pretraining.learner import opposite
from dnabench.probes.alleles import Allele, Checked, Survey, alleles_of, on_genome, survey
from dnabench.probes.changes import Scorer
from dnabench.probes.likelihood import BASES, Likelihood
from dnabench.probes.variant_files import Writer, writer_of
from dnabench.tasks.io.annotation import lines_of
from dnabench.tasks.io.packed import Genome
from dnabench.types import Array, Sequences

AT_ONCE = 1 << 22  # bp of windows that are scored together
NO_TOKEN = "every token that covers it has an N"


class Scored(NamedTuple):
    """An allele and its score, the mean of both strands; NaN = none, `why` says it."""

    allele: Allele
    said: str
    score: float
    why: str


def score_alleles(scorer: Scorer, genome: Genome, alleles: Sequence[Allele]) -> list[Scored]:
    """Score alternative alleles against the reference, in order.

    Windows begin W // 2 before the base and have N beyond the ends of a sequence. Of a masked model
    the score is log p(alternative) - log p(reference) at the hidden base, of others the difference
    of the windows' log-likelihoods (or answers, or the distance of their embeddings); the mean of
    both strands. Equal windows that are asked for the same base run once.

    Args:
        scorer: a language model, or a `changes.Change`.
        genome: packed.
        alleles: M.

    Returns:
        M, those whose REF is not what the genome has without a score.
    """
    checked = list(on_genome(alleles, genome, scorer.source.length, scorer.indels))
    good = [i for i, one in enumerate(checked) if not one.why]
    scores = np.full(len(alleles), np.nan)
    found = [checked[i] for i in good]
    if found and isinstance(scorer, Likelihood) and scorer.by_site:
        scores[good] = _at_bases(scorer, genome, found)
    elif found:
        scores[good] = _of_windows(scorer, genome, found)
    return [
        Scored(allele, one.said, value, one.why or (NO_TOKEN if np.isnan(value) else ""))
        for allele, one, value in zip(alleles, checked, scores.tolist(), strict=True)
    ]


def _at_bases(likelihood: Likelihood, genome: Genome, found: Sequence[Checked]) -> Array:
    """Float64 (M,), of single bases."""
    length = likelihood.source.length
    forward, middle = _windows(genome, found, length), length // 2
    ref, alt = _codes([one.ref for one in found]), _codes([one.alt for one in found])
    total = np.zeros(len(found))
    for codes, index, turned in (
        (forward, middle, False), (opposite(forward), length - 1 - middle, True)
    ):  # fmt: skip
        codes = codes.copy()
        codes[:, index] = 0  # hidden: what is there does not tell windows apart
        first, inverse = distinct(codes)
        values = likelihood.sites(codes[first], index)[inverse]
        a, b = (BASES - 1 - alt, BASES - 1 - ref) if turned else (alt, ref)
        rows = np.arange(len(found))
        total += values[rows, a] - values[rows, b]
    return total / 2


def _codes(letters: Sequence[str]) -> Array:
    return Sequences.parse(["".join(letters)]).codes.astype(np.int64)


def _of_windows(scorer: Scorer, genome: Genome, found: Sequence[Checked]) -> Array:
    """Float64 (M,), from whole windows of both alleles."""
    length = scorer.source.length
    first = _windows(genome, found, length)
    second, half = first.copy(), length // 2
    for row, one in zip(second, found, strict=True):
        alt, behind = _codes([one.alt]), half + len(one.alt)
        row[half:behind] = alt
        rest = genome.around(
            np.array([one.contig]), np.array([one.at + len(one.ref)]), length - behind
        )
        row[behind:] = rest[0]
    both = np.concatenate([first, second])
    every = np.concatenate([both, opposite(both)])
    only, inverse = distinct(every)
    values = scorer.windows(every[only])
    values = values[inverse].reshape(2, 2, len(found), *values.shape[1:])  # strand, allele, M
    change = values[:, 1] - values[:, 0]
    return np.asarray((np.linalg.norm(change, axis=-1) if change.ndim > 2 else change).mean(0))


def _windows(genome: Genome, found: Sequence[Checked], length: int) -> Array:
    contigs = np.array([one.contig for one in found])
    return genome.around(contigs, np.array([one.at for one in found]) - length // 2, length)


def distinct(codes: Array) -> tuple[Array, Array]:
    """Of rows, the first of each kind, and the kind of each."""
    rows = np.ascontiguousarray(codes)
    _, first, inverse = np.unique(
        rows.view(f"V{rows.shape[1]}").ravel(), return_index=True, return_inverse=True
    )
    return first, inverse


class Done(NamedTuple):
    """What became of a file.

    Args:
        lines: variants.
        alleles: alternative alleles, M.
        scored: those with a score.
        said: how many have each REF, as `alleles.compare` says it.
        why: how many have no score, by reason.
        passes: windows that were run.
        scores: float64 (M,).
        labels: of each allele; "" = none.
        chroms: sequence of each.
        header: whether the file had one.
    """

    lines: int
    alleles: int
    scored: int
    said: Counter[str]
    why: Counter[str]
    passes: int
    scores: Array
    labels: list[str]
    chroms: list[str]
    header: bool


def score_vcf(
    scorer: Scorer, vcf: Path, genome: Genome, to: Path, label: str = "",
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Done:  # fmt: skip
    """Score every allele of a VCF file, in the order of the file.

    Args:
        scorer: a language model, or a `changes.Change`.
        vcf: plain or gzipped; it is read as a stream.
        genome: packed.
        to: .parquet with a row for each alternative allele, or .vcf with the score in INFO; is
            written whole or not at all.
        label: a field of INFO that is kept for `labelled.areas`.
        progress: called with lines done and in all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `alleles.survey`; another ending of `to`.
    """
    read = survey(vcf, genome, label)
    done = Done(read.lines, 0, 0, Counter(), Counter(), 0, np.zeros(0), [], [], read.header)
    parts, lines, before = list[Array](), 0, scorer.passes
    with replacing(to) as out, writer_of(to, out, scorer) as writer:
        for texts, alleles in _chunks(vcf, read, label, writer, scorer.source.length):
            scored = score_alleles(scorer, genome, alleles)
            writer.write(texts, scored)
            parts.append(np.array([one.score for one in scored]))
            done.said.update(one.said for one in scored if one.said)
            done.why.update(one.why for one in scored if one.why)
            if label:
                done.labels.extend(one.allele.label for one in scored)
                done.chroms.extend(one.allele.chrom for one in scored)
            lines += len(texts)
            progress(lines, read.lines)
    scores = np.concatenate(parts)
    return done._replace(
        alleles=len(scores), scored=int(np.isfinite(scores).sum()), scores=scores,
        passes=scorer.passes - before,
    )  # fmt: skip


def _chunks(
    vcf: Path, read: Survey, label: str, writer: Writer, length: int
) -> Iterator[tuple[list[tuple[int, str]], list[Allele]]]:
    """Lines and their alleles; those of one place stay together."""
    texts, alleles, most = list[tuple[int, str]](), list[Allele](), max(1, AT_ONCE // length)
    for number, text in lines_of(vcf):
        if text.startswith("#"):
            writer.header(text)
        elif text.strip():
            new = alleles_of(vcf, number, text, label, read.flag)
            if len(alleles) >= most and new[0][1:3] != alleles[-1][1:3]:
                yield texts, alleles
                texts, alleles = [], []
            texts.append((number, text))
            alleles += new
    yield texts, alleles
