"""The folders that people have are recognised, read right, and named where they are wrong."""

import gzip

import pytest
from import_cases import (
    BOTH,
    GUE,
    TEST,
    TRAIN,
    by_task,
    columns,
    csv,
    fasta,
    gue_tree,
    nt_fetched,
    nt_plain,
    parquet,
    put,
    rows,
    sequences,
)

from dnabench import TASKS
from dnabench.tasks.io.imported import cached, open_split
from dnabench.tasks.io.importing import import_tree, missing, recognise, report
from dnabench.tasks.io.verifying import verify

pytestmark = pytest.mark.usefixtures("own_cache")


def check_split(task, split, of):
    got = open_split(task, split)
    assert [got.seqs[i] for i in range(len(got.y))] == [seq for seq, _ in of]
    assert got.y.tolist() == [label for _, label in of]
    return got


def nt_named(folder):
    for split, of in BOTH.items():
        put(folder / f"H3/H3_{split}.fasta", fasta(of))


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
    assert "there is no train split; 13,468 examples were published" in got.problems
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
    assert "train has 12 examples, 6,478 were published" in got.problems
    assert got.problems[:3] == tuple(verify(TASKS["gue/mouse_0"]))[:3]


@pytest.mark.parametrize(
    ("label", "words"),
    [("2", "'2' is not a class of gue/mouse_0"), ("-1", "'-1'"), ("0.5", "'0.5'"), ("x", "'x'"),
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
