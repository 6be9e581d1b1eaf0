"""Profiles of marks along genes: probes/occupancy.py."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import dnabench

from dnabench.probes.blocks import ratio_intervals
from dnabench.probes.occupancy import BEFORE, BODY, bins, covered, edges, genes_in, profiles
from dnabench.tasks.io.annotation import read_annotation
from dnabench.tasks.io.regions import read_regions


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
        on = np.zeros(100_000, bool)
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
    for i in range(30):
        at = 3_000 * (i + 1) + 1
        genes.append(("chr1", at, at + 400 - 1, "+-"[i % 2]))
    for at in rng.integers(0, 99_000, 200).tolist():
        marks.append(("1", at, at + int(rng.integers(1, 300)), "m"))
    bed, gff = written(tmp_path, marks, genes)
    read = genes_in(read_annotation(gff))
    [found] = profiles(read_regions(bed), read, 400)
    each = slowly(marks, genes, 400)
    np.testing.assert_allclose(found.share, each.mean(0), atol=1e-12)
    assert found.mark == "marks" and found.regions == 200  # one name only: the file's
    assert np.isnan(found.interval).all() or (found.interval[:, 0] <= found.share).all()


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
    bed.write_text("chrX\t1\t5\n")
    assert "no region on a sequence with genes" in dnabench(*words).stderr
