"""Scores of variants: log p(alternative) - log p(reference), or what else they change.

M alleles, W bp of a window.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnabench.cache import replacing
from dnabench.pretraining.learner import opposite
from dnabench.probes.alleles import WRONG, Allele, Checked, Survey, alleles_of, on_genome, survey
from dnabench.probes.baselines import Baselines, Beside
from dnabench.probes.changes import Scorer
from dnabench.probes.known import Known
from dnabench.probes.labelled import check_labels
from dnabench.probes.likelihood import BASES, Likelihood, Told
from dnabench.probes.variant_files import Writer, writer_of
from dnabench.probes.variant_lines import lines_in
from dnabench.probes.variant_tables import (
    NEW,
    alleles_in,
    check_new,
    distances_in,
    is_table,
    read_table,
    write_scored,
)
from dnabench.tasks.io.packed import Genome
from dnabench.tasks.io.variants import ASSEMBLY, MANY
from dnabench.types import Array, Sequences

AT_ONCE = 1 << 22  # bp of windows that are scored together
NO_TOKEN = "every token that covers it has an N"


class Scored(NamedTuple):
    """An allele and its score, the mean of both strands; NaN = none, `why` says it."""

    allele: Allele
    said: str
    score: float
    why: str


def score_alleles(
    scorer: Scorer, genome: Genome, alleles: Sequence[Allele], known: Known | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> list[Scored]:  # fmt: skip
    """Score alternative alleles against the reference, in order.

    Windows begin W // 2 before the base and have N beyond the ends of a sequence. Of a masked model
    the score is log p(alternative) - log p(reference) at the hidden base, of others the difference
    of the windows' log-likelihoods (or answers, or the distance of their embeddings); the mean of
    both strands. Equal windows that are asked for the same base run once.

    Args:
        scorer: a language model, or a `changes.Change`.
        genome: packed.
        alleles: M.
        known: windows of earlier calls with the same scorer, which do not run again.
        progress: called with the share of the work done, in the end 1.

    Returns:
        M, those whose REF is not what the genome has without a score.
    """
    checked = list(on_genome(alleles, genome, scorer.source.length, scorer.indels))
    good = [i for i, one in enumerate(checked) if not one.why]
    scores = np.full(len(alleles), np.nan)
    found, known = [checked[i] for i in good], known or Known()
    if found and isinstance(scorer, Likelihood) and scorer.by_site:
        scores[good] = _at_bases(scorer, genome, found, known, progress)
    elif found:
        scores[good] = _of_windows(scorer, genome, found, known, progress)
    progress(1.0)
    return [
        Scored(allele, one.said, value, one.why or (NO_TOKEN if np.isnan(value) else ""))
        for allele, one, value in zip(alleles, checked, scores.tolist(), strict=True)
    ]


def _at_bases(
    likelihood: Likelihood, genome: Genome, found: Sequence[Checked], known: Known,
    progress: Callable[[float], object],
) -> Array:  # fmt: skip
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
        values = known.of(
            codes, str(index), partial(_sites, likelihood, index),
            partial(_half, progress, turned),
        )  # fmt: skip
        a, b = (BASES - 1 - alt, BASES - 1 - ref) if turned else (alt, ref)
        rows = np.arange(len(found))
        total += values[rows, a] - values[rows, b]
    return total / 2


def _sites(likelihood: Likelihood, index: int, codes: Array, told: Told) -> Array:
    return likelihood.sites(codes, index, told)


def _half(progress: Callable[[float], object], second: bool, share: float) -> None:
    """Of a strand's share of its windows that of both strands."""
    progress((share + second) / 2)


def _codes(letters: Sequence[str]) -> Array:
    return Sequences.parse(["".join(letters)]).codes.astype(np.int64)


def _of_windows(
    scorer: Scorer, genome: Genome, found: Sequence[Checked], known: Known,
    progress: Callable[[float], object],
) -> Array:  # fmt: skip
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
    values = known.of(every, "", scorer.windows, progress)
    values = values.reshape(2, 2, len(found), *values.shape[1:])  # strand, allele, M
    change = values[:, 1] - values[:, 0]
    return np.asarray((np.linalg.norm(change, axis=-1) if change.ndim > 2 else change).mean(0))


def _windows(genome: Genome, found: Sequence[Checked], length: int) -> Array:
    contigs = np.array([one.contig for one in found])
    return genome.around(contigs, np.array([one.at for one in found]) - length // 2, length)


class Labelled(NamedTuple):
    """What is known of alleles for `labelled.areas`, in the order of the file.

    Args:
        labels: of each allele; "" = none.
        chroms: sequence of each.
        groups: match group of each; "" = none.
        at: position of each, from 0.
        beside: what baselines say, or None.
    """

    labels: list[str]
    chroms: list[str]
    groups: list[str]
    at: list[int]
    beside: Beside | None


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
        header: whether the file had one.
        labelled: None where no label was asked for.
        region: of the file that was read; "" = all.
    """

    lines: int
    alleles: int
    scored: int
    said: Counter[str]
    why: Counter[str]
    passes: int
    scores: Array
    header: bool
    labelled: Labelled | None
    region: str

    @property
    def doubts(self) -> list[str]:
        """A sentence where so many REF fit neither strand that the genome may be the wrong one."""
        wrong, compared = self.said[WRONG], self.said.total()
        if wrong <= MANY * compared:
            return []
        return [f"{wrong / compared:.1%} of REF fit neither strand of the genome; {ASSEMBLY}"]


class Asked(NamedTuple):
    """What is read beside the variants.

    Args:
        label: a field of INFO, or a column; "" = nothing is.
        group: match groups, likewise.
        baselines: that look at labelled variants, or None.
        region: of an indexed VCF file, as of `variant_lines.lines_in`; "" = all.
    """

    label: str = ""
    group: str = ""
    baselines: Baselines | None = None
    region: str = ""


NOTHING = Asked()


class _Tally:
    """What `Done` needs, part by part."""

    def __init__(self, asked: Asked, before: int) -> None:
        self._asked, self._before, self.lines = asked, before, 0
        self._said, self._why = Counter[str](), Counter[str]()
        self._scores, self._beside = list[Array](), list[Beside]()
        self._of: tuple[list[Any], ...] = [], [], [], []

    def add(self, lines: int, scored: Sequence[Scored]) -> None:
        """Count lines and their alleles."""
        self.lines += lines
        self._scores.append(np.array([one.score for one in scored]))
        self._said.update(one.said for one in scored if one.said)
        self._why.update(one.why for one in scored if one.why)
        if self._asked.label:
            alleles = [one.allele for one in scored]
            for column, name in zip(self._of, ("label", "chrom", "group", "at"), strict=True):
                column.extend(getattr(one, name) for one in alleles)
            if self._asked.baselines:
                self._beside.append(self._asked.baselines(alleles))

    def done(self, passes: int, header: bool) -> Done:
        scores, labelled = np.concatenate(self._scores), None
        if self._asked.label:
            parts = [np.concatenate(column) for column in zip(*self._beside, strict=True)]
            labels, chroms, groups, at = self._of
            beside = Beside(*parts) if parts else None
            labelled = Labelled(labels, chroms, groups, at, beside)
        return Done(
            self.lines, len(scores), int(np.isfinite(scores).sum()), self._said, self._why,
            passes - self._before, scores, header, labelled, self._asked.region,
        )  # fmt: skip


def score_file(
    scorer: Scorer, file: Path, genome: Genome, to: Path, asked: Asked = NOTHING,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Done:  # fmt: skip
    """Score every allele of a file, in its order.

    Args:
        scorer: a language model, or a `changes.Change`.
        file: VCF, plain or gzipped, which is read as a stream, or Parquet with chrom, pos (from 1),
            ref and alt.
        genome: packed.
        to: .parquet with a row for each alternative allele (of Parquet, its rows and columns with
            the score), or .vcf or .vcf.gz with the score in INFO; is written whole or not at all.
        asked: labels and match groups that are kept for `labelled.areas`.
        progress: called with lines done and in all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `alleles.survey`, `variant_tables.read_table` and `labelled.check_labels`,
            before anything is scored; another ending of `to`.
    """
    if is_table(file):
        return _score_table(scorer, file, genome, to, asked, progress)
    read = survey(file, genome, asked.label, asked.group, asked.region)
    lines = lines_in(file, asked.region, genome)
    tally, most = _Tally(asked, scorer.passes), max(1, AT_ONCE // scorer.source.length)
    known = Known()
    with replacing(to) as out, writer_of(to, out, scorer) as writer:
        for texts, alleles in _chunks(lines, file, read, asked, writer, most):
            told = _part(tally.lines, len(texts), read.lines, progress)
            scored = score_alleles(scorer, genome, alleles, known, told)
            writer.write(texts, scored)
            tally.add(len(texts), scored)
    return tally.done(scorer.passes, read.header)


def _part(
    before: int, lines: int, total: int, progress: Callable[[int, int], object]
) -> Callable[[float], object]:
    """Takes the share of a part that is done, and says the lines of all."""
    return lambda share: progress(before + int(share * lines + 1e-6), total)


def _score_table(
    scorer: Scorer, file: Path, genome: Genome, to: Path, asked: Asked,
    progress: Callable[[int, int], object],
) -> Done:  # fmt: skip
    if not is_table(to):
        raise ValueError(f"--to {to}: {file} is a table; name a file that ends in .parquet")
    if asked.region:
        raise ValueError(
            f"--region {asked.region}: {file} is a table; regions are those of VCF files"
        )
    table = read_table(file, [name for name in (asked.label, asked.group) if name])
    check_new(table, file, NEW)
    alleles = alleles_in(table, file, genome, asked.label, asked.group)
    if asked.label:
        labels, chroms, groups = zip(*((a.label, a.chrom, a.group) for a in alleles), strict=True)
        check_labels(labels, chroms, groups if asked.group else ())
    tally, every, known = _Tally(asked, scorer.passes), list[Scored](), Known()
    step = max(1, AT_ONCE // scorer.source.length)
    for a in range(0, len(alleles), step):
        part = alleles[a : a + step]
        told = _part(a, len(part), len(alleles), progress)
        scored = score_alleles(scorer, genome, part, known, told)
        every += scored
        tally.add(len(scored), scored)
    with replacing(to) as out:
        write_scored(table, every, out)
    done = tally.done(scorer.passes, True)
    if done.labelled and done.labelled.beside and asked.baselines and not asked.baselines.starts:
        beside = done.labelled.beside._replace(distance=distances_in(table))
        done = done._replace(labelled=done.labelled._replace(beside=beside))
    return done


def _chunks(
    lines: Iterable[tuple[int, str]],
    vcf: Path,
    read: Survey,
    asked: Asked,
    writer: Writer,
    most: int,
) -> Iterator[tuple[list[tuple[int, str]], list[Allele]]]:
    """Lines and their alleles; those of one place stay together."""
    texts, alleles = list[tuple[int, str]](), list[Allele]()
    for number, text in lines:
        if text.startswith("#"):
            writer.header(text)
        elif text.strip():
            new = alleles_of(vcf, number, text, asked.label, read.flag, asked.group)
            if len(alleles) >= most and new[0][1:3] != alleles[-1][1:3]:
                yield texts, alleles
                texts, alleles = [], []
            texts.append((number, text))
            alleles += new
    yield texts, alleles
