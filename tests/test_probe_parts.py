"""Parts of a file of variants: what runs once, how bars move, and files packed as by bgzip."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pysam
import pytest
from test_genomes import fasta, own_cache
from test_probe_variants import letters, put_vcf, source

from dnabench.probes.changes import Change, Windows
from dnabench.probes.context import Asked as Position
from dnabench.probes.context import Places, shares
from dnabench.probes.dependency import dependency
from dnabench.probes.known import Known
from dnabench.probes.likelihood import Likelihood
from dnabench.probes.variants import score_file
from dnabench.tasks.io.packed import packed
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture
SEQ = letters(400)


def rows_of(places):
    other = dict(zip("ACGT", "CGTA", strict=True))
    return [("chr1", p + 1, ".", SEQ[p], other[SEQ[p]], ".", ".", ".") for p in places]


@pytest.fixture
def genome(tmp_path):
    return packed(fasta(tmp_path / "x.fa", {"chr1": SEQ}))


def scorers():
    yield Likelihood(source("convnova-386k"))
    yield Likelihood(source("hyenadna-tiny-1k"))
    yield Change(Windows("sum", 24), "", "", "", "X", lambda c: c.astype(float) ** 2)


@pytest.mark.parametrize("k", range(3))
def test_a_place_that_comes_again_in_another_part_does_not_run_again(
    k, tmp_path, genome, monkeypatch
):
    once, again = [*range(30, 60)], [*range(30, 60), *range(100, 110), *range(30, 60)]
    scorer = [*scorers()][k]
    put_vcf(tmp_path / "a.vcf", rows_of([*once, *range(100, 110)]))
    whole = score_file(scorer, tmp_path / "a.vcf", genome, tmp_path / "a.parquet")
    monkeypatch.setattr("dnabench.probes.variants.AT_ONCE", 24 * 10)  # ten alleles in a part
    put_vcf(tmp_path / "b.vcf", rows_of(again))
    table = pa.table({name: [str(r[i]) for r in rows_of(again)] for i, name in
                      ((0, "chrom"), (3, "ref"), (4, "alt"))})  # fmt: skip
    table = table.append_column("pos", pa.array([p + 1 for p in again]))
    pq.write_table(table, tmp_path / "b.parquet")
    for name in ("b.vcf", "b.parquet"):
        done = score_file(scorer, tmp_path / name, genome, tmp_path / "out.parquet")
        assert done.passes == whole.passes
        assert done.scores[:40] == pytest.approx(whole.scores, abs=1e-5)
        assert (done.scores[40:] == done.scores[:30]).all()


def test_as_many_windows_are_remembered_as_told():
    known, ran = Known(most=3), []

    def run(codes, told):
        ran.append(len(codes))
        told(len(codes))
        return codes.astype(float)

    codes = np.eye(5, 6, dtype=np.uint8)[::-1]  # as they are sorted
    assert (known.of(codes, "", run) == codes).all() and ran == [5]
    assert (known.of(codes[2:], "", run) == codes[2:]).all() and ran == [5]
    known.of(codes[2:], "another base", run)
    assert ran == [5, 3]
    assert (known.of(codes[[0, 0]], "", run) == codes[[0, 0]]).all() and ran == [5, 3, 1]


@pytest.mark.parametrize("k", range(3))
def test_the_bar_of_variants_moves_within_a_part(k, tmp_path, genome, monkeypatch):
    monkeypatch.setattr("dnabench.probes.likelihood.CPU_TOKENS", 24 * 4)
    monkeypatch.setattr("dnabench.probes.changes.AT_ONCE", 24 * 4)
    put_vcf(tmp_path / "v.vcf", rows_of(range(20, 80)))
    seen = []
    score_file([*scorers()][k], tmp_path / "v.vcf", genome, tmp_path / "o.vcf",
               progress=lambda n, of: seen.append((n, of)))  # fmt: skip
    lines = [n for n, _ in seen]
    assert lines == sorted(lines) and seen[-1] == (60, 60) and len({*lines}) > 15


def test_the_bar_of_a_map_moves_within_it(monkeypatch):
    monkeypatch.setattr("dnabench.probes.likelihood.CPU_TOKENS", 24 * 4)
    seen = []
    codes = Sequences.parse([SEQ[:24]]).codes
    dependency(Likelihood(source("hyenadna-tiny-1k")), codes, seen.append, whole=True)
    assert sum(seen) == pytest.approx(24) and max(seen) < 2


def test_the_bar_of_contexts_moves_with_every_context(genome):
    def ask(codes, index):
        return np.full((len(codes), 4), 0.25)

    asked = Position("net", "", tuple("ACGT"), 24, 1, 50, False, 1, ask)
    n, seen = 6, []
    places = Places(
        ["chr1"] * n, np.arange(100, 100 + n), np.array(["+"] * n), np.zeros(n, int), {}
    )
    contexts = np.arange(0, 21, 4)
    parts = [len(p.at) for p, _ in shares(asked, genome, places, contexts, progress=seen.append)]
    assert parts == [n] and len(seen) == len(contexts) and sum(seen) == pytest.approx(n)
    assert seen == sorted(seen)  # longer contexts cost more


def test_a_packed_file_is_what_bgzip_makes(tmp_path, genome):
    rng = np.random.default_rng(0)
    rows = [(*r[:7], "X=" + "".join(rng.choice(list("abcdefgh"), 4_000)))
            for r in rows_of(range(20, 80))]  # fmt: skip
    scorer = Likelihood(source("convnova-386k"))
    put_vcf(tmp_path / "v.vcf", rows)
    score_file(scorer, tmp_path / "v.vcf", genome, tmp_path / "plain.vcf")
    to = tmp_path / "packed.vcf.gz"
    score_file(scorer, tmp_path / "v.vcf", genome, to)
    text = (tmp_path / "plain.vcf").read_bytes()
    data = to.read_bytes()
    assert gzip.decompress(data) == text and len(text) > 3 * 0xFF00
    assert data.endswith(bytes.fromhex("1f8b08040000000000ff0600424302001b0003" + "00" * 9))
    pysam.tabix_index(str(to), preset="vcf", force=True)
    with pysam.TabixFile(str(to)) as file:
        (row,) = file.fetch("chr1", 70, 71)
    assert row.split("\t")[1] == "71" and row.encode() in text
    with pytest.raises(ValueError, match=r"ends in .parquet, .vcf or .vcf.gz"):
        score_file(scorer, tmp_path / "v.vcf", genome, tmp_path / "o.txt")
