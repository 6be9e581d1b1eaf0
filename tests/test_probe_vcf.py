"""VCF files packed by bgzip, read as a stream or by region, and genomes without an index."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest
from test_genomes import fasta, own_cache
from test_probe_variants import HEADER, letters, net, put_vcf, source
from typer.testing import CliRunner

from dnabench.cli import main
from dnabench.probes.alleles import COMPLEMENT, OTHERS, PALINDROMIC, SWAPPED, UNKNOWN, WRONG
from dnabench.probes.labelled import areas
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.variant_lines import lines_in
from dnabench.probes.variants import Asked, score_file
from dnabench.tasks.io.packed import packed

__all__ = ["net", "own_cache"]  # fixtures
SEQS = {"chr1": letters(900, 1), "chr2": letters(400, 2)}


def other(base):
    return "ACGT"[("ACGT".index(base) + 1) % 4]


def rows_of(chr_="chr", info="."):
    return [
        (f"{chr_}{c}", p, ".", seq[p - 1], other(seq[p - 1]), ".", ".", info)
        for c, seq, places in ((1, SEQS["chr1"], range(10, 890, 40)), (2, SEQS["chr2"], (30, 200)))
        for p in places
    ]  # fmt: skip


def indexed(tmp_path, rows, csi=False, name="v.vcf"):
    plain = put_vcf(tmp_path / name, rows)
    return Path(pysam.tabix_index(str(plain), preset="vcf", force=True, csi=csi))


@pytest.fixture
def genome(tmp_path):
    return packed(fasta(tmp_path / "x.fa", SEQS))


@pytest.fixture
def likelihood():
    return Likelihood(source("convnova-386k"))


def scored(likelihood, vcf, genome, to, region=""):
    done = score_file(likelihood, vcf, genome, to, Asked(region=region))
    return done, pq.read_table(to).to_pylist()


@pytest.mark.parametrize("csi", [False, True])
@pytest.mark.parametrize("chr_", ["chr", ""])
def test_a_region_is_its_part_of_the_file(chr_, csi, tmp_path, genome, likelihood):
    vcf = indexed(tmp_path, rows_of(chr_), csi)
    whole, every = scored(likelihood, vcf, genome, tmp_path / "a.parquet")
    done, part = scored(likelihood, vcf, genome, tmp_path / "b.parquet", "chr1:90-130")
    assert (whole.lines, done.lines, done.region) == (24, 2, "chr1:90-130")
    inside = [r for r in every if r["chrom"] == f"{chr_}1" and 90 <= r["pos"] <= 130]
    assert [r["pos"] for r in part] == [90, 130] and len(inside) == 2
    for a, b in zip(part, inside, strict=True):
        assert {**a, "line": 0, "score": 0} == {**b, "line": 0, "score": 0}
        assert a["score"] == pytest.approx(b["score"], abs=1e-6)
    assert [r["line"] for r in part] == [4, 5]  # behind the three of the header
    score_file(likelihood, vcf, genome, tmp_path / "c.vcf", Asked(region="1:90-130"))
    lines = (tmp_path / "c.vcf").read_text().splitlines()
    assert [x for x in lines if not x.startswith("##INFO=<ID=DNABENCH")][:3] == HEADER.splitlines()
    assert len([x for x in lines if not x.startswith("#")]) == 2


def test_a_file_of_many_blocks_is_read_to_its_end(tmp_path, genome, likelihood):
    rng = np.random.default_rng(0)
    rows = [(*r[:7], "".join(rng.choice(list("abcdefgh"), 9_000))) for r in rows_of()]
    vcf = indexed(tmp_path, rows)
    assert vcf.stat().st_size > 50_000 and vcf.read_bytes().count(b"BC\x02\x00") >= 4  # BGZF
    done, found = scored(likelihood, vcf, genome, tmp_path / "a.parquet")
    assert done.lines == len(rows) == 24 and found[-1]["chrom"] == "chr2"
    score_file(likelihood, vcf, genome, tmp_path / "out.vcf")
    body = [x for x in (tmp_path / "out.vcf").read_text().splitlines() if not x.startswith("#")]
    assert [x.split("\t")[7].partition(";")[0] for x in body] == [r[7] for r in rows]
    vcf.write_bytes(vcf.read_bytes()[:40_000])
    (tmp_path / "out.vcf").write_text("mine")
    with pytest.raises(ValueError, match="not a complete gzip file"):
        score_file(likelihood, vcf, genome, tmp_path / "out.vcf")
    assert (tmp_path / "out.vcf").read_text() == "mine"


def no_index(vcf):
    Path(f"{vcf}.tbi").unlink()


def old_index(vcf):
    os.utime(f"{vcf}.tbi", (1, 1))


def other_index(vcf):
    Path(f"{vcf}.tbi").write_bytes(b"no index")


def plain_gzip(vcf):
    text = gzip.decompress(vcf.read_bytes())
    vcf.write_bytes(gzip.compress(text))
    os.utime(f"{vcf}.tbi")


def removed(vcf):
    vcf.unlink()


@pytest.mark.parametrize(
    ("broken", "region", "message"),
    [
        (no_index, "chr1:1-9", "has no index; pack it with bgzip and make one: tabix -p vcf v.vcf"),
        (old_index, "chr1:1-9", "v.vcf.gz.tbi is older than the file; make it again"),
        (other_index, "chr1:1-9", "cannot be read .* pack it with bgzip and"),
        (plain_gzip, "chr1:90-130", "cannot be read .* pack it with bgzip and"),
        (removed, "chr1:1-9", "no such file"), (None, "chr1:11-49", "no variants, none in chr1:11"),
        (None, "chr1:5-901", "chr1 has bases 1 to 900"), (None, "chr1", "write chr1:101-200"),
        (None, "chr3:1-9", "no sequence 'chr3'; it has chr1, chr2"),
    ],
)  # fmt: skip
def test_regions_that_cannot_be_read(broken, region, message, tmp_path, genome, likelihood):
    vcf = indexed(tmp_path, rows_of())
    if broken:
        broken(vcf)
    (tmp_path / "out.parquet").write_text("mine")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        score_file(likelihood, vcf, genome, tmp_path / "out.parquet", Asked(region=region))
    assert (tmp_path / "out.parquet").read_text() == "mine"


def test_a_sequence_without_variants_is_named(tmp_path, genome):
    vcf = indexed(tmp_path, rows_of()[:-2])
    with pytest.raises(ValueError, match="has no variants on that sequence; it has chr1"):
        list(lines_in(vcf, "chr2:1-9", genome))


def test_without_pysam_only_regions_are_refused(tmp_path, genome):
    vcf = indexed(tmp_path, rows_of())
    code = (
        "import sys; sys.modules['pysam'] = None\n"
        "from pathlib import Path\n"
        "from dnabench.probes.variant_lines import lines_in\n"
        "from dnabench.tasks.io.packed import packed\n"
        f"g, v = packed(Path({str(tmp_path / 'x.fa')!r})), Path({str(vcf)!r})\n"
        "print(len(list(lines_in(v, '', g))))\n"
        "next(lines_in(v, 'chr1:1-9', g))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["27"]
    assert "--region needs pysam: pip install 'dnabench[vcf]'" in done.stderr


def test_a_genome_needs_no_index(tmp_path, likelihood):
    plain = fasta(tmp_path / "x.fa", SEQS)
    zipped = tmp_path / "y.fa.gz"
    pysam.tabix_compress(str(plain), str(zipped))
    vcf = put_vcf(tmp_path / "v.vcf", rows_of())
    results = [
        [r["score"] for r in scored(likelihood, vcf, packed(path), tmp_path / "o.parquet")[1]]
        for path in (plain, zipped)
    ]
    assert results[0] == results[1] and None not in results[0]
    assert not [*tmp_path.glob("*.fai"), *tmp_path.glob("*.gzi")]
    with pytest.raises(FileNotFoundError, match=r"z\.fa"):
        packed(tmp_path / "z.fa")


def test_labels_and_groups_may_stand_in_info(tmp_path, genome, likelihood):
    rows = rows_of()
    infos = [f"Y={i % 2};G=g{i // 2}" for i in range(22)] + ["Y=.", "G=g1"]
    vcf = put_vcf(tmp_path / "v.vcf", [(*r[:7], x) for r, x in zip(rows, infos, strict=True)])
    done = score_file(likelihood, vcf, genome, tmp_path / "o.parquet", Asked("Y", "G"))
    assert done.labelled.labels == [*"01" * 11, ".", ""]
    assert done.labelled.groups == [*(f"g{i // 2}" for i in range(22)), "", "g1"]
    found = areas(done.scores, *done.labelled[:2], groups=done.labelled.groups)
    assert (found.variants, found.positive, found.unlabelled, found.groups) == (22, 11, 2, 11)
    before = likelihood.passes
    bad = tmp_path / "bad.vcf"
    for info, message in (
        ("Y=2", "--labels: '2' is neither 0 nor 1"),
        ("Y=1;G=g0", "match group g0: on several chromosomes"),
    ):
        infos[-2] = info  # of chr2
        put_vcf(bad, [(*r[:7], x) for r, x in zip(rows, infos, strict=True)])
        with pytest.raises(ValueError, match=message):
            score_file(likelihood, bad, genome, tmp_path / "o.parquet", Asked("Y", "G"))
    put_vcf(bad, [(*r[:7], "Y=1.0") for r in rows])
    with pytest.raises(ValueError, match="24 of 24 labelled variants are of class 1"):
        score_file(likelihood, bad, genome, tmp_path / "o.parquet", Asked("Y"))
    assert likelihood.passes == before  # nothing was scored
    for asked, message in ((Asked("Z"), "--labels Z: INFO has Y, G"),
                           (Asked("Y", "H"), "--groups H: INFO has Y, G")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            score_file(likelihood, vcf, genome, tmp_path / "o.parquet", asked)


def test_flags_that_say_nothing_are_refused(tmp_path, genome):
    vcf = put_vcf(tmp_path / "v.vcf", rows_of())
    for more, message in (
        (["--groups", "G"], "--groups G: nothing is compared without --labels"),
        (["--direction", "plus"], "--direction plus: nothing is compared without --labels"),
        (["--labels", "Y", "--direction", "up"], "--direction 'up': write minus, plus, abs"),
        (["--to", vcf], "that is the file of variants; name another"),
    ):
        words = ["variants", "gpn", "--vcf", vcf, "--genome", tmp_path / "x.fa", *more]
        said = CliRunner().invoke(main, ["probe", *map(str, words)])
        assert said.exit_code and message in said.output


def test_what_was_scored_is_kept_where_nothing_can_be_compared(tmp_path, genome, net):
    rows = [(*r[:7], f"Y={i % 2}") for i, r in enumerate(rows_of())]
    rows = [(*r[:4], "<DEL>", *r[5:]) if r[7] == "Y=1" else r for r in rows]
    vcf, out = put_vcf(tmp_path / "v.vcf", rows), tmp_path / "out.parquet"
    words = ["variants", net, "--vcf", vcf, "--genome", tmp_path / "x.fa", "--labels", "Y", "--to",
             out, "--device", "cpu"]  # fmt: skip
    said = CliRunner().invoke(main, ["probe", *map(str, words)])
    assert said.exit_code and "0 of 12 scored variants are of class 1" in said.output
    assert json.loads((tmp_path / "out.parquet.json").read_text())["scored"] == 12
    assert pq.read_table(out).num_rows == 24


def test_each_fault_of_a_file_is_said_once_and_no_line_is_lost(tmp_path, net):
    """Every kind of REF, names without chr, ends, N, overlaps, no header, no index: one command."""
    a, b = letters(400), "ACGTNNNNACGT" + letters(100, 4)
    path = fasta(tmp_path / "x.fa", {"chr1": a, "chr2": b})
    turned = {"A": "C", "C": "A", "G": "T", "T": "G"}  # neither the base nor its complement
    pairs = {"A": "T", "C": "G", "G": "C", "T": "A"}
    rows = [
        *(("1", p, a[p - 1], turned[a[p - 1]]) for p in (1, 200, 400)),  # without chr, both ends
        ("chr1", 401, "A", "C"), ("chr9", 5, "A", "C"), ("chr2", 6, "A", "C"),
        ("chr1", 199, a[198:201], a[198]), ("chr1", 200, a[199], turned[a[199]]),  # overlap
        ("chr1", 50, turned[a[49]], a[49]), ("chr1", 60, pairs[a[59]], a[59]),
        ("chr1", 70, pairs[a[69]], pairs[turned[a[69]]]),
        ("chr1", 80, turned[a[79]], pairs[turned[a[79]]]),
    ]  # fmt: skip
    vcf = put_vcf(tmp_path / "v.vcf", [(c, p, ".", r, x, *"...") for c, p, r, x in rows], "")
    words = ["probe", "variants", net, "--vcf", vcf, "--genome", path, "--device", "cpu", "--to",
             tmp_path / "o.parquet"]  # fmt: skip
    said = CliRunner().invoke(main, [*map(str, words)])
    assert not said.exit_code, f"{said.output} {said.exception}"
    assert not Path(f"{path}.fai").exists()
    lines = [line.strip() for line in said.output.splitlines()]
    assert sum("has no header; its columns are read as those of VCF" in x for x in lines) == 1
    assert sum("4 of 12 alternative alleles of 12 variants scored" in x for x in lines) == 1
    assert sum("% of REF fit neither strand of the genome; it may be of" in x for x in lines) == 1
    reasons = [x for x in lines if x.startswith("no score: ")]
    assert len(reasons) == len({*reasons}) and sum(int(x.split()[2][:-1]) for x in reasons) == 8
    faults = [f"REF: {OTHERS[kind]}" for kind in (SWAPPED, PALINDROMIC, COMPLEMENT, WRONG, UNKNOWN)]
    for fault in (*faults, "beyond the end of its seq", "not in the genome", "of several bases"):
        assert sum(fault in x for x in reasons) == 1, (fault, reasons)
    table = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [(r["chrom"], r["pos"], r["ref"], r["alt"]) for r in table] == rows
    scores = [r["score"] for r in table if r["score"] is not None]
    assert f"scores: half lie below {np.median(scores):.3f}, 5 % below" in said.output
    drawn = tmp_path / "o.parquet.png"
    assert lines[-1].endswith(", ".join([f"{drawn.with_suffix('.json')}", f"{drawn}"]))
    assert drawn.stat().st_size > 1000
    put_vcf(vcf, [("chr1", 401, ".", "A", "C", *"...")], "")
    said = CliRunner().invoke(main, [*map(str, words)])
    assert "0 of 1 alternative allele of 1 variant" in said.output
    assert "half lie below" not in said.output
    assert not drawn.exists()  # it was of other variants
    assert [r["score"] is None for r in table] == [False] * 3 + [True] * 4 + [False] + [True] * 4
    assert [bool(r["reason"]) for r in table] == [r["score"] is None for r in table]
