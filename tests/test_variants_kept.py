"""Kept networks of variant effects: the stored logits again, from pairs, tables and VCF files."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import dnabench
from kept_cases import job_of, kept, task_of_kind, tiny_network
from test_variants import TEXTS, options, variants, write

import dnabench as db
from dnabench import MODELS
from dnabench.networks.answers import beside
from dnabench.networks.predicting import Asked, predict_file
from dnabench.probes.mutagenesis import answer_of
from dnabench.sweep.grid import Request, grid
from dnabench.sweep.trial import task_of
from dnabench.tasks.io import variants as reader

LABELS = {"binary": lambda i: f"CLASS={'ab'[i % 2]}", "regression": lambda i: f"CLASS={i / 7:.3f}"}


def network_of(folder, model="cnn", kind="binary", label="CLASS", **recipe):
    """A network that was kept, its task and the predictions of its test split."""
    path = write(folder, variants(40), lambda i: LABELS[kind](i).replace("CLASS", label))
    own = replace(options(folder), label=(label,))
    (job,) = grid(Request(models=[model], data=str(path), own=own, seeds="1"))
    trial = job_of(MODELS[model], task_of(job), **recipe).trial
    network, _, stored = kept(job._replace(trial=trial), folder / "runs")
    return network, task_of(job), stored


def answers(network, file, **asked):
    out, said = io.BytesIO(), []
    predict_file(network, file, out, "csv", Asked(**asked), said.append)
    return list(csv.DictReader(io.StringIO(out.getvalue().decode()))), said


FORMS = [
    ("cnn", {}), ("cnn", {"rc": "conjoin"}), ("dnabert", {"finetune": "probe"}),
    ("convnova-386k", {"padding": "mask"}), ("ntv2-50m", {"finetune": "lora"}), ("kmer", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "recipe", "kind"),
    [(model, recipe, kind) for model, recipe in FORMS for kind in LABELS
     if kind in MODELS[model].kinds],
)  # fmt: skip
def test_a_kept_network_gives_the_stored_effects(model, recipe, kind, tmp_path):
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
    out = io.BytesIO()
    predict_file(network, path, out, "parquet", Asked(genome=str(tmp_path / "g.fa.gz")))
    places = pq.read_table(io.BytesIO(out.getvalue())).column("pos")
    assert places.type == pa.int64() and str(places[0]) == found[0]["pos"]
    path.write_text("#CHROM\n")
    with pytest.raises(ValueError, match="no variants, the file has only a header"):
        answers(network, path, genome=str(tmp_path / "g.fa.gz"))


def test_a_genome_of_another_assembly_is_said(tmp_path):
    network, *_ = network_of(tmp_path)
    rows = [(c, p + 7, r, a) for c, p, r, a in variants(100) if len(r + a) == 2]
    agree = sum(TEXTS[c[3:]][p - 1] == r for c, p, r, _ in rows)
    assert 0 < agree < len(rows) / 2
    path = write(tmp_path, rows)
    found, said = answers(network, path, genome=str(tmp_path / "g.fa.gz"))
    assert len(found) == agree
    wrong = 1 - agree / len(rows)
    assert said[-1].startswith(f"{wrong:.1%} of the variants have another REF than the genome; it ")


def test_names_of_variants_are_kept(tmp_path):
    network, *_ = network_of(tmp_path)
    genome, path = str(tmp_path / "g.fa.gz"), write(tmp_path, variants(6), name="n.vcf")
    bare, _ = answers(network, path, genome=genome)
    assert "variant" not in bare[0]
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for i, row in enumerate(rows[2:]):
        row[2] = "." if i == 1 else f"rs{i};x"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    found, _ = answers(network, path, genome=genome)
    assert list(found[0])[:6] == ["id", "chrom", "pos", "ref", "alt", "variant"]
    by_place = {(row[0], row[1]): row[2] for row in rows[2:]}
    assert {(row["chrom"], row["pos"]): row["variant"] for row in found} == by_place
    assert [{**row, "variant": ""} for row in found] == [{**row, "variant": ""} for row in bare]


def test_what_does_not_go_with_pairs_is_refused(put, tmp_path):
    network, task, _ = network_of(tmp_path)
    test, genome = task.load("test"), str(tmp_path / "g.fa.gz")
    files = {"a.csv": "sequence\nACGT\n", "r.csv": "id,reference\nx,ACGT\n", "a.fa": ">a\nACGT\n"}
    files["long.csv"] = f"id,reference,alternative\nx,{'ACGT' * 16},{'ACGA' * 16}\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name, asked, says in (
        ("v.vcf", {}, "variants need the genome they are on: --genome FASTA"),
        ("v.vcf", {"window": 60, "genome": genome}, "--window: this network reads pairs"),
        ("v.vcf", {"graph": "a", "genome": genome}, "--class a: only a .bedgraph"),
        ("a.csv", {"genome": genome}, "--genome: variants of a VCF lie on a genome"),
        ("a.csv", {}, "no column 'reference'; found sequence"),
        ("r.csv", {}, "no column 'alternative'; found id, reference"),
        ("long.csv", {}, "x has 64 bp; .* reads 60 at most: give that much of both sequences"),
        ("a.fa", {}, "FASTA has one sequence an entry, and this network reads two"),
    ):
        with pytest.raises(ValueError, match=says):
            answers(network, tmp_path / name, **asked)
    with pytest.raises(ValueError, match=r"answers f\(second\) - f\(first\): give a VCF"):
        network.logits(test.seqs)
    with pytest.raises(ValueError, match="1 second sequences for 2 first ones"):
        network.logits(["ACGT" * 15] * 2, ["ACGT" * 15])
    with pytest.raises(ValueError, match="`dnabench predict` gives its effects of variants"):
        answer_of(network)
    single = kept(job_of(MODELS["cnn"], put(task_of_kind("binary"))), tmp_path / "one")[0]
    base = tiny_network(tmp_path / "base", put)[0]
    with pytest.raises(ValueError, match=r"one sequence, .*on a VCF, and `dnabench probe v"):
        answers(single, tmp_path / "v.vcf", genome=genome)
    with pytest.raises(ValueError, match=r"one sequence, .*trained on a VCF$"):
        predict_file(base, tmp_path / "v.vcf", io.BytesIO(), "bed", Asked(genome=genome))
    (tmp_path / "x.bed").write_text("chr1\t500\t560\n")
    with pytest.raises(ValueError, match=r"an example is two sequences, .*: give a VCF"):
        answers(network, tmp_path / "x.bed", genome=genome)
    for one, form in ((single, "csv"), (base, "bed")):
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


def test_effects_that_are_numbers_are_0_of_equal_alleles_and_opposite_of_swapped_ones(tmp_path):
    """In the unit of the label, whose mean is far from 0 here, as the guide says of all answers."""
    network, task, stored = network_of(tmp_path, kind="regression")
    train, test = task.load("train"), task.load("test")
    ((centre, sd),) = network.task.scale
    values = {f"{chrom}:{at}:{ref}>{alt}": i / 7
              for i, (chrom, at, ref, alt) in enumerate(variants(40))}  # fmt: skip
    labels = np.array([values[name] for name in train.ids])
    assert centre == 0 and sd == pytest.approx(labels.std(), abs=1e-3)
    np.testing.assert_allclose(train.y[:, 0] * sd, labels, atol=1e-3)
    rows = [("a", test.seqs[0], test.other[0]), ("b", test.other[0], test.seqs[0]),
            ("c", test.seqs[0], test.seqs[0])]  # fmt: skip
    text = "".join(",".join(row) + "\n" for row in [("id", "reference", "alternative"), *rows])
    (tmp_path / "p.csv").write_text(text)
    found, _ = answers(network, tmp_path / "p.csv")
    a, b, c = (float(row["CLASS"]) for row in found)
    assert a == pytest.approx(sd * stored["logits"][0, 0], abs=1e-5 * sd) and abs(a) > 1e-5
    assert b == pytest.approx(-a, abs=1e-5 * sd) and c == 0
    assert any("0, no effect, stays 0; standard deviation in train: CLASS" in n for n in task.notes)


def test_an_effect_called_as_a_column_of_places_loses_neither(tmp_path):
    network, task, stored = network_of(tmp_path, kind="regression", label="pos")
    assert network.task.classes == ("pos",)
    test = task.load("test")
    ((mean, sd),) = network.task.scale
    effects = mean + sd * stored["logits"].reshape(-1).astype(float)
    expected = dict(zip(map(str, test.ids), effects, strict=True))
    found, _ = answers(network, tmp_path / "v.vcf", genome=str(tmp_path / "g.fa.gz"))
    rows = {row["id"]: row for row in found}
    for name, effect in expected.items():
        assert name.split(":")[1] == rows[name]["pos"]
        assert abs(float(rows[name]["effect_pos"]) - effect) < 4e-6 * sd
    places = {"id": ["a"], "pos": ["7"]}
    both = beside(places, {"id": [1.0], "effect_id": [2.0], "x": [3.0]}, pairs=True)
    assert both == {**places, "effect_effect_id": [1.0], "effect_id": [2.0], "x": [3.0]}
    assert list(beside(places, {"id": [1.0]}, pairs=False)) == ["id", "pos", "predicted_id"]


def test_rows_have_the_names_of_their_lines(tmp_path):
    """Also where a file has chr1 and 1, which are one sequence of the genome."""
    network, *_ = network_of(tmp_path)
    rows = variants(40)
    bare = rows[3][0].removeprefix("chr")
    path = write(tmp_path, [*rows[:3], (bare, *rows[3][1:]), *rows[4:], (bare, *rows[5][1:])],
                 lambda i: "CLASS=a")  # fmt: skip
    found, said = answers(network, path, genome=str(tmp_path / "g.fa.gz"))
    named = {row["id"]: row["chrom"] for row in found}
    chrom, at, ref, alt = rows[3][:4]
    assert bare != chrom and named[f"{bare}:{at}:{ref}>{alt}"] == bare
    assert {*named.values()} > {bare, chrom} and len(found) == 40
    assert any("1 variant that came before" in note for note in said), said


def test_an_exported_network_of_effects_says_that_it_reads_one_allele(tmp_path):
    network, task, stored = network_of(tmp_path)
    with pytest.warns(UserWarning, match=r"one allele's window: the effect is f\(alternative\)"):
        done = db.export(network, tmp_path / "a.pt2", format="torch-export")
    extra = {"dnabench.json": ""}
    program = torch.export.load(done.path, extra_files=extra).module()
    assert "f(alternative) - f(reference)" in json.loads(extra["dnabench.json"])["reading"]
    test = task.load("test")
    first, second = (
        program(ids, torch.ones(ids.shape))
        for ids in (
            torch.tensor([["ACGTN".index(letter) for letter in one] for one in seqs])
            for seqs in (test.seqs, test.other)
        )
    )
    np.testing.assert_allclose((second - first).detach(), stored["logits"], atol=1e-5)
