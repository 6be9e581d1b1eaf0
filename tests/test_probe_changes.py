"""Variants scored by embeddings and by fine-tuned networks: probes/changes.py."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from kept_cases import put, tiny_network  # noqa: F401
from test_genomes import fasta, own_cache
from test_pretraining import CASES, training
from test_probe_variants import allele, letters, rc, window

from dnabench.networks.embedding import Embedder, of_model
from dnabench.pretraining.pretrain import pretrain
from dnabench.probes.changes import embedding_change, output_change
from dnabench.probes.mutagenesis import answer_of, answers
from dnabench.probes.variants import score_alleles
from dnabench.tasks.io.packed import packed
from dnabench.types import Sequences

__all__ = ["own_cache"]  # a fixture
W = 60


SEQ = letters(100) + "CTATATATG" + letters(91, 2)


def both(seq, at, ref, alt):
    """The windows of both alleles; base W // 2 is the leftmost that may stand before the change."""
    changed = seq[:at] + alt + seq[at + len(ref) :]
    lost, gained = max(0, len(ref) - len(alt)), max(0, len(alt) - len(ref))
    if lost or gained:
        at = next(
            p for p in range(len(seq))
            if seq[: p + 1] + changed[p + 1 : p + 1 + gained] + seq[p + 1 + lost :] == changed
        )  # fmt: skip
    return window(seq, at, W), window(changed, at, W)


def cases(seq):
    """Two SNVs, one of them near an end; a deletion; two insertions, one of them in a repeat."""
    for at in (70, 3):
        yield at, seq[at], "CGTA"["ACGT".index(seq[at])]
    yield 149, seq[149:153], seq[149]
    yield 89, seq[89], seq[89] + "TT"
    yield 104, seq[104], seq[104] + "TA"


def test_the_change_of_an_answer_is_that_of_a_loop(tmp_path, put):  # noqa: F811
    network = tiny_network(tmp_path, put, "convnova-386k", "binary", W)[0]
    answer, seq = answer_of(network), SEQ
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    scorer = output_change(network, answer, "net")
    assert scorer.source.length == W and scorer.what.startswith("change of log odds")
    alleles = [allele(at, ref, alt) for at, ref, alt in cases(seq)]
    found = score_alleles(scorer, genome, alleles)
    assert not any(one.why for one in found) and seq[103:105] == "TA"
    assert both(seq, *list(cases(seq))[-1])[0] == window(seq, 100, W)  # the C before the repeat
    for one, (at, ref, alt) in zip(found, cases(seq), strict=True):
        a, b = both(seq, at, ref, alt)
        values = answers(network, Sequences.parse([a, b, rc(a), rc(b)]), answer)
        expected = (values[1] - values[0] + values[3] - values[2]) / 2
        assert one.score == pytest.approx(expected, abs=1e-5)
    assert np.ptp([one.score for one in found]) > 0
    scaled = output_change(network, answer._replace(mean=7.0, scale=10.0, name="x"), "net")
    assert scaled.unit == "the unit of x" and scorer.unit == "the answer's own units"
    with pytest.raises(ValueError, match="--length 99"):
        output_change(network, answer, "net", 99)


@pytest.mark.parametrize("name", [n for n in CASES if n not in ("dnabert2", "gena_lm")])
def test_the_distance_of_embeddings_is_that_of_a_loop(name, tmp_path):
    seq = SEQ
    genome = packed(fasta(tmp_path / "g.fa", {"chr1": seq}))
    source = of_model(name, "scratch", W, options=CASES[name])
    scorer = embedding_change(source, name)
    every = list(cases(seq))
    found = score_alleles(scorer, genome, [allele(*one) for one in (*every, every[0])])
    assert scorer.passes == 4 * len(every)  # equal windows run once
    embedder = Embedder(source._replace(key=""), 0, "mean")
    for one, (at, ref, alt) in zip(found, (*every, every[0]), strict=True):
        a, b = both(seq, at, ref, alt)
        x = embedder(Sequences.parse([a, b, rc(a), rc(b)])).astype(float)
        expected = (np.linalg.norm(x[1] - x[0]) + np.linalg.norm(x[3] - x[2])) / 2
        assert one.score == pytest.approx(expected, rel=1e-3, abs=1e-6) and one.score > 0


@pytest.mark.slow
def test_the_command(tmp_path):
    pretrain(training(tmp_path, steps=2, looks=1), tmp_path / "net")
    seq = (tmp_path / "g.fa").read_text().split("\n")[1]
    at = next(i for i in range(40, len(seq)) if seq[i] in "ACGT")
    other = "CGTA"["ACGT".index(seq[at])]
    head = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "v.vcf").write_text(f"{head}chr1\t{at + 1}\t.\t{seq[at]}\t{other}\t.\t.\t.\n")
    words = ["probe", "variants", tmp_path / "net", "--vcf", tmp_path / "v.vcf", "--device", "cpu"]
    words += ["--genome", tmp_path / "g.fa", "--score"]
    said = dnabench(*words, "embedding", "--to", tmp_path / "out.vcf")
    assert said.returncode == 0, said.stderr
    assert "in Euclidean distance" in said.stdout
    assert "DNABENCH_DISTANCE=" in (tmp_path / "out.vcf").read_text()
    assert "no kept network" in dnabench(*words, "output", "--to", tmp_path / "o.parquet").stderr
    assert "--score 'x'" in dnabench(*words, "x").stderr
    assert dnabench(*words, "likelihood", "--to", tmp_path / "l.parquet").returncode == 0
    assert pq.read_table(tmp_path / "l.parquet").num_rows == 1
