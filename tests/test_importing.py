"""The folders that people have are recognised, read right, and named where they are wrong."""

import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HERE

from dnabench import TASKS
from dnabench.tasks.io import chunks
from dnabench.tasks.io.imported import Writer, cached, open_split, task_folder
from dnabench.tasks.io.importing import import_tree, missing, recognise, report
from dnabench.tasks.io.parsing import read_table
from dnabench.tasks.io.verifying import verify
from dnabench.types import Sequences, Split

SHARED = HERE.parent.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def sequences(n, seed=0, length=30):
    rng = np.random.default_rng(seed)
    return ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, length))]]


def rows(n, seed=0, classes=2):
    return [(seq, i % classes) for i, seq in enumerate(sequences(n, seed))]


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content)
    return path


def csv(of, header="sequence,label"):
    return "\n".join([header, *(f"{seq},{label}" for seq, label in of)]) + "\n"


def fasta(of):
    return "".join(f">chr1:{i}|{label}\n{seq}\n" for i, (seq, label) in enumerate(of))


def parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


def columns(of, **more):
    return {"sequence": [s for s, _ in of], "name": [f"n{i}" for i in range(len(of))],
            "label": [y for _, y in of], **more}  # fmt: skip


def check_split(task, split, of):
    got = open_split(task, split)
    assert [got.seqs[i] for i in range(len(got.y))] == [seq for seq, _ in of]
    assert got.y.tolist() == [label for _, label in of]
    return got


def by_task(imported):
    assert len({i.task for i in imported}) == len(imported)
    return {i.task: i for i in imported}


TRAIN, DEV, TEST = rows(12, 1), rows(4, 2), rows(6, 3)
BOTH = {"train": TRAIN, "test": TEST}


def nt_named(folder):
    for split, of in BOTH.items():
        put(folder / f"H3/H3_{split}.fasta", fasta(of))


def nt_plain(folder):
    for split, of in BOTH.items():
        put(folder / f"nt/H3/{split}.fna", fasta(of))


def nt_gzipped(folder):
    for split, of in BOTH.items():
        put(folder / f"H3/{split}.fa.gz", gzip.compress(fasta(of).encode()))


def nt_parquet(folder):
    for split, of in BOTH.items():
        parquet(folder / f"nt/H3/{split}.parquet", **columns(of))


def nt_converted(folder):
    for split, of in BOTH.items():
        parquet(folder / f"nt/H3/{split}/0000.parquet", **columns(of))


def nt_shards(folder):
    name = "datasets--InstaDeepAI--nucleotide_transformer_downstream_tasks"
    home = folder / name / "snapshots" / ("0" * 40) / "H3"
    for part in (0, 1):
        some = TRAIN[part * 6 : part * 6 + 6]
        parquet(home / f"train-0000{part}-of-00002.parquet", **columns(some))
    parquet(home / "test-00000-of-00001.parquet", **columns(TEST))


def nt_flat(folder):
    for split, of in BOTH.items():
        put(folder / f"nt/H3_{split}.csv", csv(of))


def nt_alone(folder):
    text = "".join(f"{s},{y},{split}\n" for split, of in BOTH.items() for s, y in of)
    put(folder / "nt/h3.csv", "sequence,label,split\n" + text)


def nt_fetched(folder):
    for split, of in BOTH.items():
        put(folder / f"nt/h3/H3/{split}.fna", fasta(of))


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (nt_named, "FASTA"), (nt_plain, "FASTA"), (nt_gzipped, "FASTA"), (nt_parquet, "Parquet"),
        (nt_converted, "Parquet"), (nt_shards, "Parquet"), (nt_flat, "CSV"),
        (nt_alone, "column split"), (nt_fetched, "FASTA"),
    ],
)  # fmt: skip
def test_every_way_to_keep_an_nt_task_gives_the_same_data(tmp_path, root, make, layout):
    nt_plain(tmp_path / "usual")
    usual = import_tree(tmp_path / "usual")[0]
    home = root / "nt" if make in (nt_named, nt_gzipped) else root
    make(home)
    found, left = recognise(root)
    assert [(f.task, f.layout, set(f.files)) for f in found] == [("nt/h3", layout, set(BOTH))]
    assert left == []
    (got,) = import_tree(root)
    assert (got.task, got.layout, got.error, got.counts) == (
        "nt/h3",
        layout,
        "",
        {"train": 12, "test": 6},
    )
    assert got.data == usual.data == cached("nt/h3").data
    for split, of in BOTH.items():
        check_split("nt/h3", split, of)


GUE = {
    "gue/emp_h3": "EMP/H3", "gue/prom_core_tata": "prom/prom_core_tata", "gue/mouse_0": "mouse/0",
    "gue/tf_0": "tf/0", "gue/splice_reconstructed": "splice/reconstructed",
    "gue/virus_covid": "virus/covid",
}  # fmt: skip


def gue_tree(folder):
    for i, (task, path) in enumerate(GUE.items()):
        for split, n in (("train", 12), ("dev", 4), ("test", 6)):
            of = rows(n, i, len(TASKS[task].classes))
            put(folder / path / f"{split}.csv", csv(of))


@pytest.mark.parametrize("inside", ["GUE", "downloads", "."])
def test_a_gue_tree_is_imported_in_one_call(root, inside):
    gue_tree(root / inside)
    got = by_task(import_tree(root))
    assert set(got) == set(GUE) and not any(i.error for i in got.values())
    for i, task in enumerate(GUE):
        assert got[task].counts == {"train": 12, "dev": 4, "test": 6}
        check_split(task, "dev", rows(4, i, len(TASKS[task].classes)))
    left = missing(list(got.values()))
    assert len(left) == 28 - 6 and "gue/mouse_1" in left and "gue/mouse_0" not in left
    assert all(name.startswith("gue/") for name in left)


@pytest.mark.parametrize(("folder", "task"), [("mouse/0", "gue/mouse_0"), ("EMP/H3", "gue/emp_h3")])
def test_the_folders_above_the_one_that_is_named_help_too(root, folder, task):
    gue_tree(root)
    assert [i.task for i in import_tree(root / folder)] == [task]
    assert [i.task for i in import_tree(root / folder / "test.csv")] == [task]


GB = "genomic_benchmarks/human_ensembl_regulatory"


def class_tree(folder, classes, n=3):
    for split in ("train", "test"):
        for c, name in enumerate(classes):
            for i, seq in enumerate(sequences(n, 10 * c + (split == "test"))):
                put(folder / split / name / f"{i}.txt", seq + "\n")


def test_class_folders_have_one_label_map_in_sorted_order(root):
    classes = TASKS[GB].classes
    assert list(classes) == sorted(classes)
    class_tree(root / "human_ensembl_regulatory", classes[::-1])  # made in another order
    (got,) = import_tree(root)
    assert (got.task, got.layout) == (GB, "class folders of .txt")
    for split in ("train", "test"):
        data = open_split(GB, split)
        assert data.y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert data.ids.tolist() == [f"{c}/{i}" for c in classes for i in range(3)]
        seeds = [10 * (2 - c) + (split == "test") for c in range(3)]
        assert [data.seqs[i] for i in range(9)] == [s for seed in seeds for s in sequences(3, seed)]


def test_a_class_that_one_split_lacks_does_not_shift_the_others(root):
    classes = TASKS[GB].classes
    class_tree(root / "human_ensembl_regulatory", classes)
    for path in (root / "human_ensembl_regulatory/test" / classes[0]).iterdir():
        path.unlink()
    (got,) = import_tree(root)
    assert open_split(GB, "test").y.tolist() == [1, 1, 1, 2, 2, 2]
    assert f"test: class {classes[0]!r} has no example" in got.problems


def test_a_folder_that_is_no_class_is_an_error(root):
    class_tree(root / "human_ensembl_regulatory", ("enhancer", "0"))
    (got,) = import_tree(root)
    assert "'0'" in got.error and "enhancer" in got.error and cached(GB) is None


def test_the_csv_form_of_genomic_benchmarks_is_read(root):
    put(root / "human_nontata_promoters/test.csv", csv(TEST, "seq,label"))
    (got,) = import_tree(root)
    assert got.task == "genomic_benchmarks/human_nontata_promoters" and got.counts == {"test": 6}
    check_split(got.task, "test", TEST)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_one_file_with_a_column_task_holds_many_tasks(root, ending):
    home = root / "nucleotide_transformer_downstream_tasks_revised"
    tasks = {"H3K4me3": 0, "enhancers": 1, "H2AFZ": 2, "unheard_of": 3}
    for split, n in (("train", 12), ("test", 6)):
        mixed = [(*row, task) for task, seed in tasks.items() for row in rows(n, seed)]
        if split == "test":
            mixed = mixed[::2] + mixed[1::2]  # rows of a task need not stand together
        if ending == "parquet":
            kept = columns([m[:2] for m in mixed], task=[m[2] for m in mixed])
            parquet(home / f"data/{split}-00000-of-00001.parquet", **kept)
        else:
            text = "".join(f"{seq},{y},{task}\n" for seq, y, task in mixed)
            put(home / f"{split}.csv", "sequence,label,task\n" + text)
    got = by_task(import_tree(root))
    assert set(got) == {"nt_revised/h3k4me3", "nt_revised/enhancers", "nt_revised/h2afz"}
    for task, seed in (("nt_revised/h3k4me3", 0), ("nt_revised/enhancers", 1)):
        assert got[task].layout == "column task" and not got[task].error
        check_split(task, "train", rows(12, seed))
        assert len(open_split(task, "test").y) == 6


def test_names_that_others_use_are_known(root):
    for folder in ("promoter_non_tata", "enhancer", "splice_sites_acceptor"):
        put(root / "nt" / folder / "test.fna", fasta(TEST))
    expected = ["nt/enhancers", "nt/promoter_no_tata", "nt/splice_sites_acceptors"]
    assert [i.task for i in import_tree(root)] == expected


def test_a_reduced_set_is_never_taken_for_the_official_task(root):
    for name in ("H3", "H4"):  # H4 is no task of nt_reduced
        put(root / f"nt_histone_reduced/{name}/train_reduced.csv", csv(TRAIN))
        put(root / f"nt_histone_reduced/{name}/test.csv", csv(TEST))
    found, left = recognise(root)
    assert [(f.task, set(f.files)) for f in found] == [("nt_reduced/h3", {"train", "test"})]
    assert {path.parent.name for path in left} == {"H4"}


def test_files_that_could_be_several_tasks_are_a_question_and_not_a_guess(root):
    put(root / "H3/train.csv", csv(TRAIN))
    put(root / "H3/test.csv", csv(TEST))
    found, left = recognise(root)
    assert found == [] and len(left) == 2
    got = by_task(import_tree(root))
    assert set(got) == {"nt/h3", "nt_reduced/h3"}
    for i in got.values():
        assert "nt/h3 or nt_reduced/h3" in i.error and "named after the suite" in i.error
    assert cached("nt/h3") is None
    (chosen,) = import_tree(root, only=["nt/h3"])
    assert chosen.counts == {"train": 12, "test": 6} and cached("nt_reduced/h3") is None


def test_files_named_after_no_task_are_the_one_task_that_is_asked_for(root):
    put(root / "mine/train.csv", csv(TRAIN))
    put(root / "mine/test.csv", csv(TEST))
    assert import_tree(root) == []
    assert "nothing here was recognised" in report(root, [])[0]
    (got,) = import_tree(root, only=["nt/promoter_tata"])
    assert got.counts == {"train": 12, "test": 6} and got.task == "nt/promoter_tata"
    with pytest.raises(KeyError, match="no task named 'nt/h33'"):
        import_tree(root, only=["nt/h33"])


def test_one_bad_task_does_not_stop_the_others_and_keeps_its_old_data(root):
    gue_tree(root)
    import_tree(root)
    before = cached("gue/mouse_0")
    bad = [*TRAIN[:5], ("ACGT!CGT", 0), *TRAIN[5:]]
    path = put(root / "mouse/0/train.csv", csv(bad))
    got = by_task(import_tree(root))
    assert got["gue/mouse_0"].error == (
        f"{path}:7: sequence has '!' at position 4 (from 0); only A, C, G, T, U, N and the IUPAC "
        "ambiguity letters are DNA"
    )
    assert cached("gue/mouse_0") == before
    assert [t for t, i in got.items() if not i.error] == sorted(set(GUE) - {"gue/mouse_0"})
    assert "gue/mouse_0: not imported: " in "\n".join(report(root, list(got.values())))


def test_iupac_letters_become_n_and_are_counted(root):
    put(root / "nt/H3/test.fna", fasta([("ACGTRYACGT", 0), ("ACGNACGT", 1), ("acguacgu", 0)]))
    (got,) = import_tree(root)
    assert got.notes["not_acgt"]["test"] == {"rows": 2, "letters": 3, "iupac": 2}
    text = "\n".join(report(root, [got]))
    assert "test: 2 rows have letters other than ACGT, 3 in all; 2 IUPAC letters became N" in text
    check_split("nt/h3", "test", [("ACGTNNACGT", 0), ("ACGNACGT", 1), ("ACGTACGT", 0)])


def test_a_test_split_alone_is_imported_and_what_lacks_is_said(root):
    put(root / "nt/H3/test.fna", fasta(TEST))
    (got,) = import_tree(root)
    assert got.error == "" and got.counts == {"test": 6}
    assert "there is no train split; published are 13,468 examples" in got.problems
    assert "without train no model can be run on it" in got.problems
    with pytest.raises(FileNotFoundError, match="no train split"):
        open_split("nt/h3", "train")


def test_data_with_fewer_splits_do_not_replace_the_others_unasked(root):
    nt_plain(root / "all")
    put(root / "some/nt/H3/test.fna", fasta(rows(9, 8)))
    import_tree(root / "all")
    before = cached("nt/h3")
    (refused,) = import_tree(root / "some")
    assert "no train split, the cache has" in refused.error and "Name nt/h3" in refused.error
    assert cached("nt/h3") == before
    assert import_tree(root / "some", only=["nt/h3"])[0].counts == {"test": 9}


def test_a_task_found_twice_is_read_where_it_is_complete_and_that_is_said(root):
    nt_plain(root / "b")
    put(root / "a/nt/H3/test.fna", fasta(rows(9, 8)))
    (got,) = import_tree(root)
    assert got.counts == {"train": 12, "test": 6}
    assert f"also found, and not read: {root / 'a/nt/H3/test.fna'}" in got.problems


def test_two_files_that_claim_a_split_are_an_error(root):
    put(root / "nt/H3/train.fna", fasta(TRAIN))
    put(root / "nt/H3/H3_train.fasta", fasta(TRAIN))
    (got,) = import_tree(root)
    assert "H3_train.fasta and train.fna all claim the train split" in got.error


def test_counts_that_are_not_the_published_ones_are_named(root):
    gue_tree(root)
    got = by_task(import_tree(root))["gue/mouse_0"]
    assert "train has 12 examples, published are 6,478" in got.problems
    assert got.problems[:3] == tuple(verify(TASKS["gue/mouse_0"]))[:3]


@pytest.mark.parametrize(
    ("label", "words"),
    [("2", "'2' is no class of gue/mouse_0"), ("-1", "'-1'"), ("0.5", "'0.5'"), ("x", "'x'"),
     ("", "empty label"), ("NA", "'NA'")],
)  # fmt: skip
def test_a_label_that_is_no_class_is_named_with_file_and_line(root, label, words):
    of = [*TRAIN[:3], (TRAIN[0][0], label), *TRAIN[3:]]
    path = put(root / "mouse/0/train.csv", csv(of))
    (got,) = import_tree(root)
    assert got.error.startswith(f"{path}:5: ") and words in got.error


def test_labels_may_be_names_or_whole_numbers_written_as_fractions(root):
    names = TASKS["gue/mouse_0"].classes
    of = [(TRAIN[0][0], names[1]), (TRAIN[1][0], names[0].upper()), (TRAIN[2][0], "1.0")]
    put(root / "mouse/0/test.csv", csv(of))
    assert import_tree(root)[0].error == ""
    assert open_split("gue/mouse_0", "test").y.tolist() == [1, 0, 1]


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("test.csv", "", "the file is empty"),
        ("test.csv", "sequence,label\n", "no rows"),
        ("test.csv", "\n<!DOCTYPE html><html><title>Sign in</title>", "an HTML page, not data"),
        ("test.csv", gzip.compress(b"<html>quota</html>"), "an HTML page, not data"),
        ("test.fna", "<?xml version='1.0'?><Error/>", "an XML document"),
        ("test.csv", LFS, "a pointer of git-lfs"),
        ("test.csv", '{"error": "Entry not found"}', "a server's error message"),
        ("test.csv.gz", gzip.compress(csv(rows(900)).encode())[:-900], "not a complete gzip file"),
        ("test.parquet", b"PAR1 and then nothing", "not a complete Parquet file"),
        ("test.parquet", b"sequence,label\nACGT,1\n", "not a Parquet file"),
        ("test.csv", csv(TEST) + "ACGT", ":8: 1 fields, the header has 2"),
        ("test.csv", "a,b\nACGT,1\n", "no column 'sequence'"),
        ("test.fna", ">one|1\nACGT\n>two\nACGT\n", ":3: header '>two' has no '|label'"),
        ("test.fna", "ACGT\n>one|1\nACGT\n", "begins with '>'"),
        ("test.fna", ">one|1\nACGT\n>two|1\n", ":3: empty sequence"),
        ("test.csv", b"sequence,label\nACGT,1\nAC\xff,1\n", "not UTF-8"),
    ],
)
def test_what_is_no_data_is_named_as_what_it_is(root, name, content, words):
    path = put(root / "mouse/0" / name, content)
    (got,) = import_tree(root)
    assert str(path) in got.error and words in got.error, got.error
    assert cached("gue/mouse_0") is None and not list(task_folder("gue/mouse_0").glob(".writing*"))


def test_a_parquet_file_that_ends_early_is_named(root):
    path = parquet(root / "mouse/0/test.parquet", **columns(rows(3000)))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    (got,) = import_tree(root)
    assert "not a complete Parquet file" in got.error and str(path) in got.error


def test_an_empty_field_of_parquet_is_named_with_its_row(root):
    of = columns(rows(12))
    of["sequence"][7] = None
    path = parquet(root / "mouse/0/test.parquet", **of)
    assert import_tree(root)[0].error == f"{path}:row 8: empty sequence"


@pytest.mark.parametrize(
    ("name", "kind"), [("GUE.zip", "zip"), ("gue.tar.gz", "tar"), ("x.tgz", "tar")]
)
def test_an_archive_is_imported_like_the_tree_in_it(tmp_path, root, name, kind):
    gue_tree(tmp_path / "plain")
    path = root / name
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as z:
            for file in (tmp_path / "plain").rglob("*.csv"):
                z.write(file, file.relative_to(tmp_path / "plain"))
    else:
        with tarfile.open(path, "w:gz") as t:
            t.add(tmp_path / "plain", "GUE")
    got = by_task(import_tree(path))
    assert set(got) == set(GUE) and not any(i.error for i in got.values())
    assert got["gue/mouse_0"].origin.startswith(f"{path}/")  # and not where it was unpacked
    assert next(iter(got["gue/mouse_0"].notes["files"])).startswith(f"{path}/")
    assert [i.task for i in import_tree(root)] == ([] if name == "x.tgz" else sorted(GUE))
    assert not list((tmp_path / "cache").glob("unpacked-*"))


def test_an_archive_that_was_unpacked_beside_itself_is_not_unpacked_again(root):
    gue_tree(root / "GUE")
    (root / "GUE.zip").write_bytes(b"PK\x03\x04 and nothing more")
    got = import_tree(root)
    assert {i.task for i in got} == set(GUE) and not any(
        "also found" in p for i in got for p in i.problems
    )


def test_an_archive_in_a_tree_that_is_bad_does_not_stop_the_others(root):
    gue_tree(root)
    with tarfile.open(root / "human_nontata_promoters.tar", "w") as t:
        info = tarfile.TarInfo("../../escaped.txt")
        info.size = 4
        t.addfile(info, io.BytesIO(b"ACGT"))
    got = by_task(import_tree(root))
    assert "'../../escaped.txt' leaves the folder" in got["human_nontata_promoters.tar"].error
    assert len(got) == 7 and not list(root.parent.rglob("escaped.txt"))
    with pytest.raises(
        ValueError, match=r"human_nontata_promoters.tar: member '../../escaped.txt'"
    ):
        import_tree(root / "human_nontata_promoters.tar")


@pytest.mark.parametrize("inside", ["human_nontata_promoters/", ""])
def test_archives_of_genomic_benchmarks_are_known_by_their_official_names(root, inside):
    with zipfile.ZipFile(root / "human_nontata_promoters_v0.zip", "w") as z:
        for split, label, i in itertools.product(("train", "test"), ("negative", "positive"), "ab"):
            z.writestr(f"{inside}{split}/{label}/{i}.txt", "ACGTACGTAC")
    for path in (root, root / "human_nontata_promoters_v0.zip"):
        (got,) = import_tree(path)
        assert got.task == "genomic_benchmarks/human_nontata_promoters" and not got.error
        assert got.counts == {"train": 4, "test": 4}


def test_an_error_inside_an_archive_names_the_archive(root):
    with zipfile.ZipFile(root / "GUE.zip", "w") as z:
        z.writestr("mouse/0/test.csv", csv([("ACXT", 1)]))
    (got,) = import_tree(root / "GUE.zip")
    assert got.error.startswith(f"{root}/GUE.zip/mouse/0/test.csv:2: sequence has 'X'")


def test_links_to_folders_are_not_followed_and_links_to_files_are_read(root):
    put(root / "blobs/abc", fasta(TEST))
    (root / "nt/H3").mkdir(parents=True)
    (root / "nt/H3/test.fna").symlink_to(root / "blobs/abc")
    (root / "nt/H3/loop").symlink_to(root)
    assert [i.counts for i in import_tree(root)] == [{"test": 6}]


def test_what_fetching_noted_is_the_origin(root):
    nt_fetched(root)
    stamp = json.dumps({"place": "InstaDeepAI/nt@abc", "sha256": "0"})
    for split in BOTH:
        put(root / f"nt/h3/H3/.{split}.fna.origin.json", stamp)
    assert import_tree(root)[0].origin == "InstaDeepAI/nt@abc"
    assert cached("nt/h3").origin == "InstaDeepAI/nt@abc"


def test_files_of_the_suites_with_readers_of_their_own_are_imported_too(root):
    for word, n in (("Train", 8), ("Val", 2), ("Test", 4)):
        of = "".join(f">r{i}\n{seq}\n" for i, seq in enumerate(sequences(n, n, 249)))
        put(root / f"flies/Sequences_{word}.fa", of)
        table = "".join(f"{i / 7}\t{-i / 3}\n" for i in range(n))
        head = "Dev_log2_enrichment\tHk_log2_enrichment\n"
        put(root / f"flies/Sequences_activity_{word}.txt", head + table)
    found, left = recognise(root)
    assert [f.task for f in found] == ["deepstarr/enhancer_activity"] and left == []
    (got,) = import_tree(root)
    assert got.error == "" and got.counts == {"train": 8, "dev": 2, "test": 4}
    y = open_split("deepstarr/enhancer_activity", "test").y
    np.testing.assert_allclose(y[:, 0], np.arange(4) / 7, rtol=1e-6)
    assert any("train has 8 examples" in problem for problem in got.problems)


def test_progress_is_told_task_by_task(root):
    gue_tree(root)
    told = []
    import_tree(root, observe=lambda *words: told.append(words))
    assert told == [*((task, i, 6) for i, task in enumerate(sorted(GUE))), ("", 6, 6)]


ODD = {
    "plain": csv(rows(40)),
    "carriage returns": csv(rows(40)).replace("\n", "\r\n"),
    "old Mac": csv(rows(40)).replace("\n", "\r"),
    "byte order mark": "\ufeff" + csv(rows(40)),
    "blank lines": csv(rows(40)).replace("\n", "\n\n"),
    "no last newline": csv(rows(40)).rstrip(),
    "spaces": csv(rows(40)).replace(",", " , "),
    "semicolons": csv(rows(40)).replace(",", ";"),
    "quotes": csv(rows(20)) + "".join(f'"{seq}","{y}"\n' for seq, y in rows(20, 5)),
    "more columns": "id,label,x,sequence\n" + "".join(f"{s[:9]},{y},,{s}\n" for s, y in rows(40)),
    "fasta": fasta(rows(40)),
    "fasta of many lines": fasta([(f"{s}\n{s}\n\n{s}", y) for s, y in rows(40)]),
    "fasta with returns": fasta(rows(40)).replace("\n", "\r\n"),
    "fasta of bars": "".join(f">a|b {i} | {y} \n{s}\n" for i, (s, y) in enumerate(rows(40))),
}  # fmt: skip


@pytest.mark.parametrize("block", [40, 100, 1000, 1 << 23])
@pytest.mark.parametrize("name", ODD)
def test_reading_in_pieces_is_reading_the_whole(tmp_path, monkeypatch, name, block):
    monkeypatch.setattr(chunks, "BLOCK", block)
    for zipped in (False, True):
        path = tmp_path / (("x.fa" if "fasta" in name else "x.csv") + ".gz" * zipped)
        raw = ODD[name].encode()
        path.write_bytes(gzip.compress(raw) if zipped else raw)
        whole, pieces = read_table(path), list(chunks.tables(path))
        assert len(pieces) > (block < 1000 and name not in ("old Mac",)), len(pieces)
        for field in ("sequences", "labels", "ids"):
            parts = [getattr(piece, field) for piece in pieces]
            got = None if None in parts else [value for part in parts for value in part]
            assert got == getattr(whole, field), field
        lines = [line for piece in pieces for line in piece.lines]
        np.testing.assert_array_equal(lines, whole.lines)


def test_a_bad_row_far_down_is_found_at_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "BLOCK", 200)
    for name, line in (("x.csv", 62), ("x.fa", 121)):
        of = [*rows(60), ("ACG-T", 1), *rows(60)]
        path = put(tmp_path / name, csv(of) if name == "x.csv" else fasta(of))
        with pytest.raises(ValueError, match=rf"{name}:{line}: sequence has '-' at position 3"):
            for table in chunks.tables(path):
                table.encode(np.arange(len(table.labels)))


def fresh(code, *words, **env):
    env = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_imported_task_is_there_in_the_next_process(root):
    nt_plain(root)
    import_tree(root)
    code = (
        "import sys; from dnabench import TASKS; t = TASKS['nt/h3']; s = t.load('test');"
        "print(dict(t.counts), t.data, t.length, s.seqs[2], s.y.tolist());"
        "assert not {'pyarrow', 'torch', 'h5py'} & set(sys.modules)"
    )
    assert fresh(code).split("\n")[0] == (
        f"{{'train': 12, 'test': 6}} {cached('nt/h3').data} 30 {TEST[2][0]} [0, 1, 0, 1, 0, 1]"
    )


def written(task, **splits):
    with Writer(task, "here") as writer:
        for split, (texts, y) in splits.items():
            ids = np.array([f"{split}{i}" for i in range(len(texts))])
            writer.add(split, Split(Sequences.parse(texts), y, ids))


def test_verify_names_every_difference():
    task = TASKS["gue/mouse_0"]
    assert verify(task) == [
        f"gue/mouse_0: nothing is imported, there is no {task_folder(task.name)}/manifest.json; "
        "`dnabench data fetch gue/mouse_0` gets them"
    ]
    texts = [*sequences(299, 4, 101), "ACG"]
    texts[5] = "N" * 101
    y = np.zeros(300, np.int64)
    y[4] = 2
    written(task.name, train=(texts, y), test=(sequences(4), np.arange(4) % 2))
    assert verify(task, length=100) == [
        "train has 300 examples, published are 6,478",
        "there is no dev split; published are 810 examples",
        "test has 4 examples, published are 810",
        "train: 1 sequences have no letter but N",
        "train: the last sequence has 3 bp, most have 101: is it cut off?",
        "train: 1 examples have label 2, there are 0 to 1",
        f"train: class {task.classes[1]!r} has no example",
        "the longest sequence has 101 bp, the longest published 100",
    ]
    (codes,) = task_folder(task.name).glob("*/train.codes.bin")
    codes.write_bytes(codes.read_bytes()[::-1])
    (problem,) = verify(task)
    assert str(codes) in problem and "sha256" in problem


def test_verify_reads_the_demo_tasks_too():
    assert verify(TASKS["demo/cell_type"]) == []


def test_verify_looks_at_labels_of_every_kind():
    many = TASKS["deepsea/chromatin_profile"]
    y = np.zeros((3, many.n_outputs), np.uint8)
    y[1, 5] = 7
    written(many.name, test=(sequences(3), y))
    assert "test: 1 labels are neither 0 nor 1" in verify(many)
    written(many.name, test=(sequences(3), y[:, :5]))
    assert f"test: the labels are (3, 5), not (3, {many.n_outputs})" in verify(many)
    fly = TASKS["deepstarr/enhancer_activity"]
    written(fly.name, test=(sequences(3), np.array([[0, np.nan]] * 3, np.float32)))
    assert "test: 3 labels are not finite" in verify(fly)
    genes = TASKS["bend/gene_finding"]
    y = np.array([[0, 1, 9], [1, 2, 3]], np.int8)
    written(genes.name, test=(["ACG", "A"], y))
    found = verify(genes)
    assert "test: 1 labels are not 0 to 8" in found
    assert "test: 2 labels stand beyond the end of a sequence" in found


def test_a_file_with_another_checksum_than_the_published_is_named(root, monkeypatch):
    from dataclasses import replace

    from dnabench.tasks._declare import ORIGINS

    nt_plain(root)
    import_tree(root)
    here = cached("nt/h3").notes["files"][str(root / "nt/H3/test.fna")]
    for sha, n in ((here, 0), ("f" * 64, 1)):
        changed = replace(ORIGINS["nt/h3"], sha256={"H3/test.fna": sha})
        monkeypatch.setitem(ORIGINS, "nt/h3", changed)
        assert sum("test.fna: sha256" in problem for problem in verify(TASKS["nt/h3"])) == n


def shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path


def test_the_real_files_import_with_the_official_counts():
    got = by_task(import_tree(shared("gue")))
    assert {t: list(i.counts.values()) for t, i in got.items()} == {
        "gue/mouse_0": [6478, 810, 810],
        "gue/mouse_2": [2620, 328, 328],
        "gue/prom_300_tata": [4904, 613, 613],
        "gue/prom_core_tata": [4904, 613, 613],
        "gue/tf_0": [32378, 1000, 1000],
    }
    assert not any(i.error or i.problems for i in got.values())
    assert all(verify(TASKS[task]) == [] for task in got)
    table = read_table(shared("gue/prom/prom_core_tata/train.csv"))
    data = open_split("gue/prom_core_tata", "train")
    assert [data.seqs[i] for i in range(4904)] == [s.upper() for s in table.sequences]
    assert data.y.tolist() == list(map(int, table.labels))


def test_the_real_test_files_read_as_many_rows_as_they_should():
    (h3,) = import_tree(shared("nt"))
    assert (h3.task, h3.counts) == ("nt/h3", {"test": 1497})
    (promoters,) = import_tree(shared("genomic_benchmarks"))
    assert promoters.counts == {"test": 9034}
    assert promoters.notes["not_acgt"] == {"test": {"rows": 1, "letters": 1, "iupac": 0}}
    assert "test: 1 row has letters other than ACGT, 1 in all" in "\n".join(
        report(Path("x"), [promoters])
    )


def test_the_real_reduced_set_is_a_task_of_its_own():
    got = by_task(import_tree(shared("nt_histone_reduced")))
    assert got["nt_reduced/h3"].counts == {"train": 3964, "test": 1497}
    assert not any(i.error for i in got.values()) and cached("nt/h3") is None
