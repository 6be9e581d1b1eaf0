"""Profiles of marks along genes: probes/occupancy.py."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from test_genomes import fasta, own_cache

from dnabench.probes.blocks import ratio_intervals
from dnabench.probes.occupancy import (
    BEFORE,
    BODY,
    bins,
    covered,
    edges,
    genes_in,
    left_out,
    marks_of,
    profiles,
)
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.packed import packed
from dnabench.tasks.io.regions import read_regions

__all__ = ["own_cache"]  # a fixture


def written(tmp_path, marks, genes):
    """Marks (chrom, start, end, name) from 0, genes (chrom, first, last, strand) from 1."""
    bed, gff = tmp_path / "marks.bed", tmp_path / "g.gff3"
    bed.write_text("".join("\t".join(map(str, row)) + "\n" for row in marks))
    gff.write_text(
        "".join(
            f"{c}\tx\tCDS\t{a}\t{b}\t.\t{s}\t0\tID=c{i};Parent=t{i}\n"
            for i, (c, a, b, s) in enumerate(genes)
        )
    )
    return bed, gff


def slowly(marks, genes, flank):
    """Base by base; genes in bins of whole bases."""
    out = []
    for chrom, first, last, strand in genes:
        on = np.zeros(230_000, bool)
        for c, a, b, *_ in marks:
            on[a:b] |= c.removeprefix("chr") == chrom.removeprefix("chr")
        start, end = first - 1, last
        part = on[start - flank : end + flank]
        part = part if strand == "+" else part[::-1]
        sizes = (
            [flank // BEFORE] * BEFORE + [(end - start) // BODY] * BODY + [flank // BEFORE] * BEFORE
        )
        ends = np.cumsum(sizes)
        out.append([part[e - s : e].mean() for s, e in zip(sizes, ends, strict=True)])
    return np.array(out)


def test_profiles_are_those_of_a_loop_on_both_strands(tmp_path):
    rng = np.random.default_rng(0)
    genes, marks = [], []
    for i in range(75):  # in 23 blocks of 10 kbp
        at = 3_000 * (i + 1) + 1
        genes.append(("chr1", at, at + 400 - 1, "+-"[i % 2]))
    for at in rng.integers(0, 225_000, 500).tolist():
        marks.append(("1", at, at + int(rng.integers(1, 300)), "m"))
    bed, gff = written(tmp_path, marks, genes)
    read = genes_in(read_annotation(gff))
    [found] = profiles(read_regions(bed), read, 400)
    each = slowly(marks, genes, 400)
    np.testing.assert_allclose(found.share, each.mean(0), atol=1e-12)
    assert found.mark == "m" and found.regions == 500
    low, high = found.interval.T
    assert (low < found.share).all() and (found.share < high).all()


def test_strands_ends_and_overlaps(tmp_path):
    marks = [("chr1", 5_000, 5_100, "tss"), ("chr1", 5_050, 5_100, "tss"),
             ("chr2", 900, 1_000, "tss"), ("chr1", 0, 50, "other")]  # fmt: skip
    genes = [("chr1", 5_001, 5_400, "+"), ("chr2", 601, 1_000, "-")]
    bed, gff = written(tmp_path, marks, genes)
    one, other = profiles(read_regions(bed), genes_in(read_annotation(gff)), 1_000)
    # both genes have the mark over their first quarter and nowhere else
    expected = np.r_[np.zeros(BEFORE), np.ones(BODY // 4), np.zeros(BODY * 3 // 4 + BEFORE)]
    np.testing.assert_allclose(one.share, expected)
    assert other.mark == "other" and other.share.sum() == 0
    # behind the gene of chr2 lie 600 bp: the last bins are of one gene alone
    assert (edges(genes_in(read_annotation(gff)))[1] < 0).sum() == 8
    assert bins()[0] == ("before", -1000, -950) and bins()[-1] == ("behind", 950, 1000)


@pytest.mark.parametrize("said", ["##sequence-region chr1 1 5400", "region", "genome", ""])
def test_bins_beyond_the_end_of_a_sequence_are_left_out(said, tmp_path, own_cache):
    genes = [("chr1", 5_001, 5_400, "+"), ("chr2", 5_001, 5_400, "+")]
    bed, gff = written(tmp_path, [("chr1", 5_000, 5_100, "m"), ("2", 5_400, 6_400, "m")], genes)
    whole = "chr1\tx\tregion\t1\t5400\t.\t.\t.\tID=r\n"
    first = whole if said == "region" else f"{said}\n" if said.startswith("#") else ""
    gff.write_text(first + gff.read_text())
    genome = None
    if said == "genome":
        genome = packed(fasta(tmp_path / "g.fa", {"chr1": "A" * 5_400, "2": "C" * 9_000}))
    annotation = read_annotation(gff)
    read = genes_in(annotation, genome)
    [found] = profiles(read_regions(bed), read)
    # behind the gene of chr1 there is nothing: all that counts is chr2, which is covered
    np.testing.assert_allclose(found.share[-BEFORE:], 1.0 if said else 0.5)
    notes = [why for why, n in left_out(annotation, read, read_regions(bed)).items() if n]
    unknown = {"genome": [], "": ["(chr1, chr2)"]}.get(said, ["(chr2)"])
    assert len(notes) == len(unknown) and all(u in n for u, n in zip(unknown, notes, strict=True))


def test_a_gene_beyond_the_end_of_a_genome(tmp_path, own_cache):
    _, gff = written(tmp_path, [("chr1", 1, 2, "m")], [("chr1", 5_001, 5_400, "+")])
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": "A" * 5_300}))
    with pytest.raises(ValueError, match=r"ends at base 5,400, but the sequence has 5,300 bp"):
        genes_in(read_annotation(gff), genome)


def test_names_of_peaks_are_no_marks(tmp_path):
    peak = "chr1\t{0}\t{1}\tpeak{0}\t1\t.\t5\t3\t2\t10\n"
    rows = "".join(peak.format(i, i + 300) for i in (1, 1000, 2000))
    for name, text, marks in (
        ("h3.narrowPeak", rows, {"h3"}), ("h3.broadPeak", "chr1\t1\t9\ta\nchr1\t1\t5\ta\n", {"h3"}),
        ("h3.bed", "chr1\t1\t9\ta\nchr1\t1\t5\tb\n", {"h3"}),  # a name of its own each
        ("h3.bed", "chr1\t1\t9\ta\nchr1\t1\t5\tb\nchr1\t1\t5\ta\n", {"a", "b"}),
        ("h3.bed", "chr1\t1\t9\ta\nchr1\t1\t5\ta\n", {"a"}),
        ("h3.bed", "chr1\t1\t9\t.\nchr1\t1\t5\t.\n", {"h3"}),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        assert set(marks_of(read_regions(tmp_path / name)).tolist()) == marks


def test_what_does_not_take_part(tmp_path):
    genes = [("chr1", 5_001, 5_400, "+"), ("1", 5_001, 5_400, "+"), ("chr3", 1, 400, "-")]
    rows = [("1", 10, 20, "a"), ("1", 30, 40, "a"), ("chr1", 5_000, 5_400, "a"), ("X", 1, 9, "a")]
    bed, gff = written(tmp_path, [*rows, ("X", 5, 9, "lost"), ("X", 5, 9, "lost")], genes)
    annotation = read_annotation(gff)
    with pytest.raises(ValueError, match="no region of lost is on a sequence with genes"):
        profiles(read_regions(bed), genes_in(annotation))
    bed, gff = written(tmp_path, rows, genes)
    [found] = profiles(read_regions(bed), genes_in(annotation))
    # the exact name wins: one of three genes is covered
    np.testing.assert_allclose(found.share[BEFORE:-BEFORE], 1 / 3)
    notes = left_out(annotation, genes_in(annotation), read_regions(bed))
    assert [*notes.values()] == [1, 1, 3]
    assert "sequences with genes but without regions, not covered (chr3)" in notes
    twice = [("lcl|9", 1, 400, "+"), ("gb|9", 1, 400, "+")]
    bed, gff = written(tmp_path, [("9", 1, 5, "a"), ("9", 1, 5, "a")], twice)
    with pytest.raises(ValueError, match=r"'9' may be any of lcl\|9, gb\|9"):
        profiles(read_regions(bed), genes_in(read_annotation(gff)))
    both = "chr1\tx\tCDS\t{}\t.\t{}\t0\tID=c;Parent=t\n"
    gff.write_text(both.format("1\t90", "+") + both.format("200\t290", "-"))
    with pytest.raises(ValueError, match="no gene can be used; left out: 1 with parts on both"):
        genes_in(read_annotation(gff))


def test_bp_before_a_position():
    places = np.array([[2, 5], [7, 8]])
    assert covered(places, np.array([0, 2, 3.5, 5, 6, 8, 99])).tolist() == [0, 0, 1.5, 3, 3, 4, 4]


def test_intervals_are_those_of_a_mean_of_blocks():
    rng = np.random.default_rng(0)
    block, top = np.repeat(np.arange(200), 5), rng.random((1000, 3))
    low, high = ratio_intervals(block, top, np.ones((1000, 3)))[0]
    means = top[:, 0].reshape(200, 5).mean(1)
    assert high - low == pytest.approx(2 * 1.96 * means.std() / 200**0.5, rel=0.15)
    assert np.isnan(ratio_intervals(np.arange(5), top[:5], top[:5])).all()


def test_the_command_and_bad_input(tmp_path):
    genes = [("chr1", 12_000 * i + 1, 12_000 * i + 400, "+-"[i % 2]) for i in range(1, 30)]
    marks = [("chr1", 12_000 * i, 12_000 * i + 400, "ab"[i % 2]) for i in range(1, 30)]
    bed, gff = written(tmp_path, marks, genes)
    words = ["probe", "occupancy", "--bed", bed, "--gff", gff, "--to", tmp_path / "out"]
    said = dnabench(*words)
    assert said.returncode == 0, said.stderr
    assert "29 genes" in said.stdout and "of the gene (gene)" in said.stdout
    table = pq.read_table(tmp_path / "out" / "occupancy.parquet").to_pandas()
    assert len(table) == 2 * (2 * BEFORE + BODY)
    inner = table[(table["part"] == "gene") & (table["mark"] == "b")]
    np.testing.assert_allclose(inner["share"], 15 / 29)
    assert (inner["low"] < 15 / 29).all() and (inner["high"] > 15 / 29).all()
    assert json.loads((tmp_path / "out" / "occupancy.json").read_text())["genes"] == 29
    assert "1 sequence whose length is not known (chr1)" in said.stdout
    bed.write_text("chrX\t1\t5\n")
    assert "no region on a sequence with genes" in dnabench(*words).stderr
    # two genes at the ends of a short sequence: there is nothing before or behind them
    gff.write_text("##sequence-region chr1 1 800\n" + "".join(gff.read_text().splitlines(True)[:1]))
    gff.write_text(gff.read_text().replace("12001\t12400", "1\t800"))
    bed.write_text("1\t0\t400\nchr2\t1\t5\n")
    said = dnabench(*words)
    assert said.returncode == 0 and "Warning" not in said.stderr, said.stderr
    assert "blocks of 10 kbp with genes, bootstrapped, none from fewer than 20" in said.stdout
    assert "1 region on sequences without genes, left out" in said.stdout
    about = json.loads((tmp_path / "out" / "occupancy.json").read_text())
    [mark] = about["marks"]
    assert (mark["before"], mark["gene"], mark["behind"]) == (None, 0.5, None)
    table = pq.read_table(tmp_path / "out" / "occupancy.parquet").to_pylist()
    assert sum(row["share"] is None for row in table) == 2 * BEFORE
