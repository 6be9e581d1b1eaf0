"""Kept networks of variant effects: the stored logits again, from pairs, tables and VCF files."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import dnabench
from kept_cases import job_of, kept, task_of_kind, tiny_network
from test_variants import options, variants, write

from dnabench import MODELS
from dnabench.networks.predicting import Asked, predict_file
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import task_of
from dnabench.tasks.io import variants as reader

LABELS = {"binary": lambda i: f"CLASS={'ab'[i % 2]}", "regression": lambda i: f"CLASS={i / 7:.3f}"}


def network_of(folder, model="cnn", kind="binary", **recipe):
    """A network that was kept, its task and the predictions of its test split."""
    path = write(folder, variants(40), LABELS[kind])
    (job,) = grid(Request(models=[model], data=str(path), own=options(folder), seeds="1"))
    trial = job_of(MODELS[model], task_of(job), **recipe).trial
    network, _, stored = kept(job._replace(trial=trial), folder / "runs")
    return network, task_of(job), stored


def answers(network, file, **asked):
    out, said = io.BytesIO(), []
    predict_file(network, file, out, "csv", Asked(**asked), said.append)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode()))), said


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize(
    ("model", "recipe"),
    [("cnn", {}), ("cnn", {"rc": "conjoin"}), ("dnabert", {"finetune": "probe"}),
     ("convnova-386k", {"padding": "mask"}), ("ntv2-50m", {"finetune": "lora"}), ("kmer", {})],
)  # fmt: skip
def test_a_kept_network_gives_the_stored_effects(model, recipe, kind, tmp_path):
    if kind not in MODELS[model].kinds:
        pytest.skip(f"{model} learns no {kind}")
    network, task, stored = network_of(tmp_path, model, kind, **recipe)
    test = task.load("test")
    effects = network.logits(test.seqs, test.other)
    np.testing.assert_allclose(effects, stored["logits"], atol=1e-5, rtol=1e-4)
    assert np.ptp(effects) > 0 and network.task.pairs


def test_a_vcf_and_a_table_of_pairs_get_the_stored_effects(tmp_path, monkeypatch):
    network, task, stored = network_of(tmp_path, rc="conjoin")
    test = task.load("test")
    tables = [list(map(str, test.ids)), list(test.seqs), list(test.other)]
    names = ["id", "reference", "alternative"]
    pq.write_table(pa.table(dict(zip(names, tables, strict=True))), tmp_path / "p.parquet")
    rows = [names, *zip(*tables, strict=True)]
    (tmp_path / "p.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    vcf = tmp_path / "v.vcf"
    vcf.write_text("".join(  # without labels, without what stands behind ALT of a call
        line if line[0] == "#" else "\t".join([*line.split("\t")[:5], ".", ".", ".\tGT\t0/1\n"])
        for line in vcf.read_text().splitlines(keepends=True)
    ))  # fmt: skip
    expected = {str(i): row for i, row in zip(test.ids, stored["logits"], strict=True)}
    monkeypatch.setattr(reader, "AT_ONCE", 60 * 7)
    for file, asked in (
        ("p.csv", {}), ("p.parquet", {}), ("v.vcf", {"genome": str(tmp_path / "g.fa.gz")}),
    ):  # fmt: skip
        found, _ = answers(network, tmp_path / file, **asked)
        assert len(found) == (40 if asked else len(expected))
        by_id = {row["id"]: row for row in found}
        for name, logits in expected.items():
            row = by_id[name]
            effects = [float(row["effect_a"]), float(row["effect_b"])]
            np.testing.assert_allclose(effects, logits, atol=2e-6)
            assert row["class"] == "ab"[int(np.argmax(logits))]
            if asked:
                assert name == f"{row['chrom']}:{row['pos']}:{row['ref']}>{row['alt']}"


def test_variants_that_cannot_be_used_are_said(tmp_path):
    network, *_ = network_of(tmp_path)
    path = write(tmp_path, [*variants(5), ("chr1", 5, "A", "C"), ("chr9", 5, "A", "C")])
    found, said = answers(network, path, genome=str(tmp_path / "g.fa.gz"))
    assert len(found) == 5 and len(said) == 2
    assert "on sequences that are not in the genome (chr9) (line 9)" in said[1]
    path.write_text("#CHROM\n")
    with pytest.raises(ValueError, match="no variants, the file has only a header"):
        answers(network, path, genome=str(tmp_path / "g.fa.gz"))


def test_what_does_not_go_with_pairs_is_refused(put, tmp_path):
    network, task, _ = network_of(tmp_path)
    test, genome = task.load("test"), str(tmp_path / "g.fa.gz")
    files = {"a.csv": "sequence\nACGT\n", "r.csv": "id,reference\nx,ACGT\n", "a.fa": ">a\nACGT\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name, asked, says in (
        ("v.vcf", {}, "variants need the genome they are on: --genome FASTA"),
        ("v.vcf", {"window": 60, "genome": genome}, "--window: this network reads pairs"),
        ("v.vcf", {"graph": "a", "genome": genome}, "--class a: only a .bedgraph"),
        ("a.csv", {"genome": genome}, "--genome: variants of a VCF lie on a genome"),
        ("a.csv", {}, "no column 'reference'; found sequence"),
        ("r.csv", {}, "no column 'alternative'; found id, reference"),
        ("a.fa", {}, "FASTA has one sequence an entry, and this network reads two"),
    ):
        with pytest.raises(ValueError, match=says):
            answers(network, tmp_path / name, **asked)
    with pytest.raises(ValueError, match=r"answers f\(second\) - f\(first\): give a VCF"):
        network.logits(test.seqs)
    with pytest.raises(ValueError, match="1 second sequences for 2 first ones"):
        network.logits(["ACGT" * 15] * 2, ["ACGT" * 15])
    single = kept(job_of(MODELS["cnn"], put(task_of_kind("binary"))), tmp_path / "one")[0]
    for one, form in ((single, "csv"), (tiny_network(tmp_path / "base", put)[0], "bed")):
        with pytest.raises(ValueError, match="--genome: variants of a VCF lie on a genome"):
            predict_file(one, tmp_path / "a.csv", io.BytesIO(), form, Asked(genome=genome))
    with pytest.raises(ValueError, match="an example is one sequence, and pairs were given"):
        answers(single, tmp_path / "v.vcf")


def test_effects_by_command(tmp_path):
    path, cache = write(tmp_path, variants(60)), tmp_path / "cache"
    own = ("--genome", tmp_path / "g.fa.gz", "--label-column", "CLASS", "--length", "60")
    done = dnabench("run", "-m", "cnn", "--data", path, *own, "--seeds", "1", "--epochs", "1",
                    "--keep", "best", "--out", tmp_path / "runs", "--executor", "inline",
                    cache=cache)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (kept_in,) = (tmp_path / "runs" / "networks").iterdir()
    out = tmp_path / "effects.csv"
    done = dnabench("predict", kept_in, path, "--genome", tmp_path / "g.fa.gz", "--to", out,
                    cache=cache)  # fmt: skip
    assert done.returncode == 0 and f"{out}: 60 rows" in done.stdout, done.stderr
    with np.load(next(Path(tmp_path / "runs").rglob("*.npz"))) as stored:
        expected = dict(zip(stored["ids"].tolist(), stored["logits"].tolist(), strict=True))
    for row in csv.DictReader(io.StringIO(out.read_text())):
        if row["id"] in expected:
            effects = [float(row["effect_a"]), float(row["effect_b"])]
            np.testing.assert_allclose(effects, expected.pop(row["id"]), atol=2e-6)
    assert not expected
