"""VCF with a genome: windows of both alleles, and one network that answers their difference."""

import gzip
import re
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import dnabench, planted_task

from dnabench import MODELS, Recipe, Sequences, Split
from dnabench.splits import streams
from dnabench.sweep.grid import incompatibility
from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.files import task_from_path
from dnabench.train.learner import Examples, NetLearner
from dnabench.train.objectives import Supervised
from dnabench.types import Model, OwnData

BASES = 20_000
LETTERS = "ACGT"


def text_of(seed):
    return "".join(np.random.default_rng(seed).choice(list(LETTERS), BASES))


TEXTS = {"1": text_of(1), "2": text_of(2)[:9_000] + "N" * 50 + text_of(2)[9_050:]}
CHANGES = [("A", "G"), ("C", "T"), ("-", "GATTACA"), ("ACGTAC", "-"), ("AC", "GGT")]


def variants(n, seed=0):
    """(chrom, POS, REF, ALT) of substitutions, insertions and deletions, far from N and ends."""
    rng, out = np.random.default_rng(seed), []
    for i, at in enumerate(rng.choice(np.arange(200, 8_000), n, replace=False).tolist()):
        chrom = "12"[i % 2]
        ref, alt = TEXTS[chrom][at], LETTERS[(LETTERS.index(TEXTS[chrom][at]) + 1) % 4]
        if i % 5 == 3:
            alt = ref + "GATTACA"
        if i % 5 == 4:
            ref, alt = TEXTS[chrom][at : at + 6], ref
        out.append((f"chr{chrom}", at + 1, ref, alt))
    return out


def write(folder, rows, info=lambda i: f"DP=9;CLASS={'ab'[i % 2]}", name="v.vcf"):
    with gzip.open(folder / "g.fa.gz", "wt") as file:
        file.write("".join(f">{name}\n{text}\n" for name, text in TEXTS.items()))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    lines += [f"{c}\t{p}\t.\t{r}\t{a}\t30\tPASS\t{info(i)}" for i, (c, p, r, a) in enumerate(rows)]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def options(folder, **more):
    given = {"label": ("CLASS",), "length": 60, **more}
    return OwnData(genome=str(folder / "g.fa.gz"), **given)


def examples(task):
    splits = [task.load(split) for split in task.counts]
    return {
        str(name): (s.seqs[i], s.other[i], task.classes[s.y[i]])
        for s in splits for i, name in enumerate(s.ids)
    }  # fmt: skip


def test_both_windows_are_the_genome_with_and_without_the_change(tmp_path):
    rows = variants(40)
    task = task_from_path(write(tmp_path, rows), own=options(tmp_path))
    found = examples(task)
    assert len(found) == 40 and task.pairs and task.length == 60
    for i, (chrom, pos, ref, alt) in enumerate(rows):
        text, at = TEXTS[chrom[3:]], pos - 1
        changed = text[:at] + alt + text[at + len(ref) :]
        expected = text[at - 30 : at + 30], changed[at - 30 : at + 30], "ab"[i % 2]
        assert found[f"{chrom}:{pos}:{ref}>{alt}"] == expected
    assert "variants: 40 in v.vcf, windows of 60 bp of both alleles" in describe(task)


def test_what_cannot_be_used_is_counted_apart(tmp_path):
    good = variants(30)
    chrom, pos, ref = good[0][:3]
    other = "ACGT"[("ACGT".index(ref) + 2) % 4]
    rows = [*good, (chrom, pos, other, ref), good[5], ("chr1", 10, TEXTS["1"][9], "T"),
            ("chr2", 9_040, "N", "T"), ("chr9", 5, "A", "C"), (chrom, pos, ref, "A,C"),
            (chrom, pos, ref, "<DEL>"), (chrom, pos, ref, ref + "A" * 40),
            ("chr1", 7_000, TEXTS["1"][6_999], "ACGT"[TEXTS["1"][6_999] == "A"])]  # fmt: skip
    path = write(tmp_path, rows, lambda i: "DP=1" if i == 38 else f"CLASS={'ab'[i % 2]}")
    notes = task_from_path(path, own=options(tmp_path)).notes
    text = "\n".join(notes)
    assert "variants: 30 in v.vcf" in text
    for reason in (
        "1 variant whose REF is not what the genome has there (line 33)",
        "1 variant that came before (line 34)",
        "1 variant with a window beyond the end of the sequence (line 35)",
        "1 variant with N in the window (line 36)",
        "1 variant on sequences that are not in the genome (chr9) (line 37)",
        "1 variant with several alternative alleles; split them: bcftools norm -m- (line 38)",
        "1 variant whose alleles are not written in letters (line 39)",
        "1 variant with an allele that is longer than half a window (line 40)",
        "1 variant without a label (line 41)",
    ):
        assert f"left out: {reason}" in text
    assert any("warning: 2.9% of the variants have another REF" in note for note in notes)


def test_a_variant_with_two_labels_or_no_change_is_left_out(tmp_path):
    rows = variants(30)
    same = (*rows[7][:3], rows[7][2])
    rows += [rows[0], rows[1], same]
    path = write(tmp_path, rows, lambda i: f"CLASS={'ab'[i % 2]}" if i != 31 else "CLASS=a")
    text = "\n".join(task_from_path(path, own=options(tmp_path)).notes)
    assert "variants: 29 in v.vcf" in text
    assert "left out: 1 variant that came before (line 33)" in text
    assert "2 variants that are there again with another label (the first in line 4)" in text
    assert "1 variant whose ALT is their REF (line 35)" in text
    assert "another assembly" not in text


def test_a_sequence_under_two_names_has_each_variant_once(tmp_path):
    rows = variants(30)
    bare = [(chrom.removeprefix("chr"), *rest) for chrom, *rest in rows[:2]]
    path = write(tmp_path, rows + bare, lambda i: "CLASS=" + ("a" if i == 31 else "ab"[i % 2]))
    text = "\n".join(task_from_path(path, own=options(tmp_path)).notes)
    assert "variants: 29 in v.vcf" in text
    assert "left out: 1 variant that came before (line 33)" in text
    assert "2 variants that are there again with another label (the first in line 4)" in text


def test_a_dot_is_no_label_in_a_file_of_labels_either(tmp_path):
    path = write(tmp_path, variants(30))
    (tmp_path / "labels.txt").write_text("x\ny\n" * 14 + ".\nx\n")
    own = options(tmp_path, label=(), labels=str(tmp_path / "labels.txt"))
    task = task_from_path(path, own=own)
    assert task.classes == ("x", "y")
    assert "left out: 1 variant without a label (line 31)" in task.notes


def test_one_bare_field_does_not_turn_classes_into_a_flag(tmp_path):
    path = write(tmp_path, variants(30), lambda i: "CLASS" if i == 4 else f"CLASS={'ab'[i % 2]}")
    with pytest.raises(ValueError, match=r"v.vcf:7: INFO has CLASS without .* line 3 has CLASS=a"):
        task_from_path(path, own=options(tmp_path))


def test_labels_are_a_field_a_column_a_flag_or_a_file(tmp_path):
    rows = variants(30)
    field = examples(task_from_path(write(tmp_path, rows), own=options(tmp_path)))
    flag = write(tmp_path, rows, lambda i: "DP=1" + ";BAD" * (i % 2), "flag.vcf")
    found = examples(task_from_path(flag, own=options(tmp_path, label=("BAD",))))
    assert {k: "ab"[int(y)] for k, (*_, y) in found.items()} == {
        k: y for k, (*_, y) in field.items()
    }
    (tmp_path / "labels.txt").write_text("".join(f"{'xy'[i % 2]}\n" for i in range(30)))
    own = options(tmp_path, label=(), labels=str(tmp_path / "labels.txt"))
    assert Counter(y for *_, y in examples(task_from_path(flag, own=own)).values()) == {
        "x": 15, "y": 15}  # fmt: skip
    numbers = write(tmp_path, rows, lambda i: f"BETA={i / 7:.3f}", "beta.vcf")
    task = task_from_path(numbers, own=options(tmp_path, label=("BETA",)))
    assert task.kind == "regression" and task.classes == ("BETA",)


@pytest.mark.parametrize(
    ("text", "own", "says"),
    [
        ("chr1\t5\t.\tA\n", {}, ":1: 4 tab-separated columns, VCF has 8 or more"),
        ("chr1\t-1\t.\tA\tC\t.\t.\tCLASS=a\n", {}, ":1: POS '-1' is no position"),
        (
            "chr1\t0\t.\tA\tC\t.\t.\tCLASS=a\nchr1\t5\t.\tA\tC\t.\t.\tCLASS=a\n",
            {},
            "1 variant whose POS is 0, the telomere",
        ),
        ("#x\n", {}, "no variants, the file has only a header"),
        ("chr1\t300\t.\tA\tC\t.\t.\tX=1\n", {}, "no variant has that field of INFO; there are X"),
        ("chr1\t300\t.\tA\tC\t.\t.\tX=1\n", {"label": ()}, r"say where the label .*INFO \(X\)"),
        ("chr1\t5\t.\tA\tC\t.\t.\tCLASS=a\n", {}, "no variant can be used; left out: 1 variant"),
        ("chr1\t5\t.\tA\tC\t.\t.\tX=a\n", {"genome": ""}, "need the genome they are on"),
        ("chr1\t5\t.\tA\tC\t.\t.\tX=a\n", {"length": 0}, "need a window of 2 bp or more"),
        ("chr1\t5\t.\tA\tC\t.\t.\tX=a\n", {"negatives": "n.vcf"}, "leave out --negatives"),
    ],
)
def test_other_files_are_refused(tmp_path, text, own, says):
    path = write(tmp_path, [])
    path.write_text(text)
    given = options(tmp_path, **{k: v for k, v in own.items() if k != "genome"})
    with pytest.raises(ValueError, match=says):
        task_from_path(path, own=OwnData(**{**vars(given), **own}))


def learner(task, split, model, recipe):
    torch.manual_seed(0)
    chosen = {**MODELS[model].options, **MODELS[model].reduced}
    net = MODELS[model].build(task, chosen)
    made = Examples(MODELS[model], task, split)
    return NetLearner(net, made, Supervised(task), recipe, streams(0, task.name))


@pytest.mark.parametrize("recipe", [
    Recipe(epochs=1, batch=16), Recipe(epochs=1, batch=16, rc="conjoin"),
    Recipe(epochs=1, batch=16, rc="augment"), Recipe(epochs=1, batch=16, finetune="probe"),
])  # fmt: skip
@pytest.mark.parametrize("model", ["cnn", "dnabert"])
def test_the_answer_is_the_difference_of_one_network(tmp_path, model, recipe):
    task = task_from_path(write(tmp_path, variants(40)), own=options(tmp_path))
    split = task.load("train")
    one = learner(task, split, model, recipe)
    one.train_epoch()
    answers = one.predictor(split)()
    first, second = (
        one.predictor(Split(seqs, split.y, split.ids))() for seqs in (split.seqs, split.other)
    )
    np.testing.assert_allclose(answers, second - first, rtol=1e-4, atol=1e-5)
    assert np.abs(answers).max() > 0
    swapped = one.predictor(split._replace(seqs=split.other, other=split.seqs))()
    np.testing.assert_allclose(swapped, -answers, rtol=1e-4, atol=1e-5)


def test_the_kmer_baseline_counts_the_difference(tmp_path):
    task = task_from_path(write(tmp_path, variants(40)), own=options(tmp_path))
    split = task.load("train")
    made = MODELS["kmer"].build(task, MODELS["kmer"].options)(split, Recipe())
    made.train_epoch()
    same = split._replace(other=split.seqs)
    alone = [
        made.predictor(Split(seqs, split.y, split.ids))() for seqs in (split.seqs, split.other)
    ]
    intercept = made.predictor(same)()
    np.testing.assert_allclose(
        made.predictor(split)(), alone[1] - alone[0] + intercept, rtol=1e-4, atol=1e-5
    )


def test_a_trainer_of_single_sequences_is_left_out():
    task = planted_task(pairs=True)
    own = Model(
        name="mine", family="x", build=lambda *_: None, n_params=0, min_length=1, context=100,
        source="here", license="CC0-1.0", custom_trainer=True,
    )  # fmt: skip
    assert "reads one sequence of an example, there are two" in incompatibility(own, task)
    assert not incompatibility(own, planted_task(pairs=False))
    assert not incompatibility(MODELS["kmer"], task)


def test_a_motif_that_appears_is_learned_end_to_end(tmp_path):
    rng, rows, labels = np.random.default_rng(0), [], []
    for i, at in enumerate(range(200, 19_500, 65)):
        chrom, ref = "1", TEXTS["1"][at]
        alt = ref + ("TATAAAAG" if i % 2 else "".join(rng.permutation(list("TATAAAAG"))))
        rows.append((f"chr{chrom}", at + 1, ref, alt))
        labels.append("ab"[i % 2])
    path = write(tmp_path, rows, lambda i: f"CLASS={labels[i]}")
    words = ("--data", path, "--genome", tmp_path / "g.fa.gz", "--label-column", "CLASS",
             "--length", "60", "--out", tmp_path / "runs", "--executor", "inline")  # fmt: skip
    cache = tmp_path / "cache"
    done = dnabench("run", "-m", "cnn", "--seeds", "1", "--epochs", "5", "--set", "lr=0.01", *words,
                    cache=cache)  # fmt: skip
    assert done.returncode == 0 and "f(alternative) - f(reference)" in done.stdout, done.stderr
    (score,) = re.findall(r"test mcc (-?[\d.]+)", done.stderr)
    assert float(score) > 0.7
    shown = dnabench("report", "--out", tmp_path / "runs", cache=cache)
    assert shown.returncode == 0 and f"\ndata/v  MCC       {score}" in shown.stdout


def test_sequences_of_a_pair_stay_together():
    seqs, other = Sequences.parse(["ACGT", "GGGG", "CC"]), Sequences.parse(["A", "C", "G"])
    split = Split(seqs, np.arange(3), np.array(["a", "b", "c"]), other=other)
    part = split.take(np.array([2, 0]))
    assert [part.seqs[0], part.other[0]] == ["CC", "G"] and part.other[1] == "A"
