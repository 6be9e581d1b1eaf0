"""DeepSTARR: FASTA and table of the Zenodo record, paired by order; refusals; a training."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import completed
from scipy.stats import pearsonr

from dnabench.registry import MODELS
from dnabench.tasks import deepstarr
from dnabench.types import N

HEADER = [
    "Dev_log2_enrichment", "Hk_log2_enrichment",
    "Dev_log2_enrichment_scaled", "Hk_log2_enrichment_scaled",
    "Dev_log2_enrichment_quantile_normalized", "Hk_log2_enrichment_quantile_normalized",
]  # fmt: skip
SIZES = {"train": 70, "dev": 30, "test": 40}


def made(n, seed, length=249):
    """Sequences, and activities that depend on them: GC content and A content."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]
    gc = np.isin(letters, ["G", "C"]).mean(1)
    return ["".join(row) for row in letters], np.stack([10 * gc, -7 * gc + 3], 1)


def other_strand(sequence):
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def write(folder, split, sequences, y, header=HEADER, newline="\n"):
    """As the record has them: two lines a sequence; a table with six columns and no names."""
    word = deepstarr.WORDS[split]
    names = [f"chr2L_{i}_{i + 248}_+_{split}" for i in range(len(sequences))]
    lines = [
        line for pair in zip(names, sequences, strict=True) for line in (">" + pair[0], pair[1])
    ]
    (folder / f"Sequences_{word}.fa").write_text(newline.join(lines) + newline)
    rows = [header] + [[repr(float(v)) for v in (*row, 1, 2, 3, 4)] for row in y]
    text = newline.join("\t".join(row) for row in rows) + newline
    (folder / f"Sequences_activity_{word}.txt").write_text(text)
    return names


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepstarr")
    parts = {split: made(n, seed) for seed, (split, n) in enumerate(SIZES.items())}
    half = SIZES["test"] // 2  # both strands of every window, as in the record
    parts["test"][0][half:] = map(other_strand, parts["test"][0][:half])
    parts["test"][1][half:] = parts["test"][1][:half]
    names = {split: write(folder, split, *part) for split, part in parts.items()}
    return folder, parts, names


def whole(files):
    out = {}
    for split, part in deepstarr.read(files):
        out.setdefault(split, []).append(part)
    return out


@pytest.mark.parametrize("chunk", [deepstarr.CHUNK, 16])
def test_sequences_and_activities_are_paired_by_order(record, monkeypatch, chunk):
    folder, parts, names = record
    monkeypatch.setattr(deepstarr, "CHUNK", chunk)
    found = whole(deepstarr.recognise(folder))
    assert list(found) == ["train", "dev", "test"]
    for split, (sequences, y) in parts.items():
        pieces = found[split]
        assert len(pieces) == -(-len(y) // chunk)
        assert [p.seqs[i] for p in pieces for i in range(len(p.y))] == sequences
        stored = np.concatenate([p.y for p in pieces])
        assert stored.dtype == np.float32 and stored.shape == (SIZES[split], 2)
        np.testing.assert_allclose(stored, y, rtol=1e-6)
        assert [i for p in pieces for i in p.ids] == names[split]


def test_columns_are_found_by_name_and_line_ends_do_not_matter(tmp_path):
    sequences, _ = made(4, 7)
    quoted = [f'"{name}"' for name in (*HEADER[2:4], *HEADER[:2], *HEADER[4:])]
    write(tmp_path, "test", sequences, np.zeros((4, 2)), header=quoted, newline="\r\n")
    ((part,),) = whole(deepstarr.recognise(tmp_path)).values()
    np.testing.assert_array_equal(part.y, np.tile([1, 2], (4, 1)))
    assert part.seqs[2] == sequences[2]


def error(folder, *of):
    with pytest.raises(ValueError) as caught:
        list(deepstarr.read(deepstarr.recognise(folder)))
    assert all(str(text) in str(caught.value) for text in (folder, *of)), str(caught.value)


def test_wrong_files_are_named_with_the_place(tmp_path):
    sequences, y = made(4, 8)
    write(tmp_path, "test", sequences, y[:3])
    error(tmp_path, "4 sequences", "3 rows")
    write(tmp_path, "test", sequences, y, header=["Dev", *HEADER[1:]])
    error(tmp_path, "Sequences_activity_Test.txt:1", "Dev_log2_enrichment")
    y[2, 1] = np.nan
    write(tmp_path, "test", sequences, y)
    error(tmp_path, "Sequences_activity_Test.txt:4", "Hk_log2_enrichment", "nan")
    write(tmp_path, "test", ["ACGT", "AC!T", "A", "C"], np.zeros((4, 2)))
    error(tmp_path, "chr2L_1_249_+_test", "'!'", "position 2")
    (tmp_path / "Sequences_activity_Test.txt").write_text(
        "\t".join(HEADER) + "\n1\tx\t1\t1\t1\t1\n"
    )
    error(tmp_path, "Sequences_activity_Test.txt", "'x'")
    (tmp_path / "Sequences_Test.fa").write_text("<html>no such record</html>")
    (tmp_path / "Sequences_activity_Test.txt").write_text(
        "\t".join(HEADER) + "\n" + "1\t" * 5 + "1\n"
    )
    error(tmp_path, "Sequences_Test.fa", "<html>")


def test_a_folder_without_the_files_is_not_recognised(tmp_path):
    assert deepstarr.recognise(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="Sequences_Train"):
        deepstarr.import_files(tmp_path)
    (tmp_path / "Sequences_Test.fa").write_text(">a\nACGT\n")  # without its table
    assert deepstarr.recognise(tmp_path) is None


def test_ambiguous_letters_become_n_and_are_counted(tmp_path):
    write(tmp_path, "test", ["ACRT", "NACG"], np.zeros((2, 2)))
    ((part,),) = whole(deepstarr.recognise(tmp_path)).values()
    assert part.seqs.codes.tolist() == [0, 1, N, 3, N, 0, 1, 2]
    assert part.seqs.ambiguous.tolist() == [1, 0]


@pytest.mark.slow
def test_it_is_imported_and_trained_by_the_real_command(record, tmp_path):
    folder, parts, _ = record
    env = {**os.environ, "DNABENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    code = (
        "import sys; from pathlib import Path\n"
        "from dnabench.tasks.io.importing import import_tree\n"
        "(got,) = import_tree(Path(sys.argv[1])); print(got.error or got.counts, got.task)\n"
        "print(len(got.notes['not_as_published']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{SIZES} {deepstarr.NAME}\n6\n"
    words = (
        f"run -m convnova-386k -t {deepstarr.NAME} --seeds 1 --epochs 2 --limit 40 "
        f"--out {tmp_path / 'runs'}"
    )
    run = completed([sys.executable, "-m", "dnabench", *words.split()], env)
    assert run.returncode == 0, run.stdout + run.stderr
    (predictions,) = (tmp_path / "runs" / "predictions").glob("*.npz")
    with np.load(predictions) as stored:
        assert stored["logits"].shape == (40, 2)
        _, times = np.unique(stored["copies"], return_counts=True)
        assert times.tolist() == [2] * 20  # the strands of a window are drawn together
        known = {tuple(row) for row in parts["test"][1].astype(np.float32).tolist()}
        assert {tuple(row) for row in stored["labels"].tolist()} <= known
        y, predicted = stored["labels"].T, stored["logits"].T
    (path,) = (tmp_path / "runs" / "records").glob("*.json")
    found = json.loads(path.read_text())
    recipe, wanted = found["trial"]["recipe"], MODELS["convnova-386k"].recipes["deepstarr"]
    assert (recipe["source"], recipe["differs"]) == (wanted.source, wanted.differs)
    assert (recipe["batch"], recipe["horizon"], recipe["epochs"]) == (512, "train", 2)
    scores = found["scores"]["test"]
    for k, group in enumerate(("Dev", "Hk")):  # apart, as the authors print them
        assert scores[f"pearson:{group}"] == pytest.approx(
            pearsonr(y[k], predicted[k])[0], abs=1e-6
        )
        assert f"spearman:{group}" in scores and f"r2:{group}" in scores
    assert scores["pearson"] == pytest.approx(scores["pearson:groups"])
    printed = dnabench("report", "--out", tmp_path / "runs", env=env)
    for group, r in (("Dev", scores["pearson:Dev"]), ("Hk", scores["pearson:Hk"])):
        assert [deepstarr.NAME, "Pearson", "r", group, f"{r:.3f}"] in map(str.split, printed)
    lines = dnabench("report", "--out", tmp_path / "runs", "--format", "csv", env=env)
    found = {(d["metric"], d["group"]): float(d["mean"]) for d in csv.DictReader(lines)}
    assert found["pearson", "Dev"] == scores["pearson:Dev"]
    assert found["pearson", ""] == scores["pearson"] and len(found) == 1 + 4 * 3


def dnabench(*words, env):
    argv = [sys.executable, "-m", "dnabench", *map(str, words)]
    done = completed(argv, env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
