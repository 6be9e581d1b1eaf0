"""The user's own data: every format gives the same task."""

import gzip
import pickle
import re
import shutil
import time

import numpy as np
import pytest

from dnabench.tasks.io.describing import describe, overlap
from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

SPLITS = ("train", "dev", "test")


def rows_of(n=60, classes=("neg", "pos"), seed=0):
    """n rows (sequence, label, split), half train, a quarter dev, a quarter test."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("ACGT"), rng.integers(5, 30))) for _ in range(n)]
    which = ["train", "train", "dev", "test"]
    return [(t, classes[i // 4 % len(classes)], which[i % 4]) for i, t in enumerate(texts)]


ROWS = rows_of()


def delimited(path, rows, header=("sequence", "label", "split"), sep=","):
    text = "".join(sep.join(map(str, row)) + "\n" for row in [header, *rows])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def fasta(path, rows):
    text = "".join(f">s{i}|{row[1]}\n{row[0]}\n" for i, row in enumerate(rows))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def parquet(path, rows, header=("sequence", "label", "split")):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table(dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))), path
    )
    return path


def directory(path, rows, extension, write):
    path.mkdir()
    for split in SPLITS:
        write(path / f"{split}.{extension}", [r[:2] for r in rows if r[2] == split])
    return path


def two(path, rows):
    return delimited(
        path, rows, header=("sequence", "label"), sep="\t" if "tsv" in path.name else ","
    )


WRITERS = {
    "csv": lambda d: delimited(d / "my.csv", ROWS),
    "csv.gz": lambda d: delimited(d / "my.csv.gz", ROWS),
    "tsv": lambda d: delimited(d / "my.tsv", ROWS, sep="\t"),
    "tsv.gz": lambda d: delimited(d / "my.tsv.gz", ROWS, sep="\t"),
    "parquet": lambda d: parquet(d / "my.parquet", ROWS),
    "dir csv": lambda d: directory(d / "my", ROWS, "csv", two),
    "dir tsv.gz": lambda d: directory(d / "my", ROWS, "tsv.gz", two),
    "dir fa": lambda d: directory(d / "my", ROWS, "fa", fasta),
    "dir fna.gz": lambda d: directory(d / "my", ROWS, "fna.gz", fasta),
    "dir fasta": lambda d: directory(d / "my", ROWS, "fasta", fasta),
}


def contents(task):
    return {
        s: (task.load(s).y.tolist(), [task.load(s).seqs[i] for i in range(task.counts[s])])
        for s in task.counts
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_data_is_the_same_task_in_every_format(kind, tmp_path):
    task = task_from_path(WRITERS[kind](tmp_path))
    assert (task.name, task.kind, task.metric) == ("data/my", "binary", "mcc")
    assert task.classes == ("neg", "pos") and list(task.counts) == list(SPLITS)
    for split in SPLITS:
        rows = [r for r in ROWS if r[2] == split]
        y, texts = contents(task)[split]
        assert texts == [r[0] for r in rows] and y == [int(r[1] == "pos") for r in rows]
        assert task.load(split).y.dtype == np.int64 and task.counts[split] == len(rows)
    assert task.length == max(len(r[0]) for r in ROWS)
    assert pickle.loads(pickle.dumps(task)).counts == task.counts


@pytest.mark.parametrize("write", [two, fasta], ids=["csv", "fasta"])
def test_without_a_test_split_a_fifth_of_each_class_is_set_aside(write, tmp_path):
    rows = [(t, y) for t, y, _ in rows_of(100, classes=("a", "b", "c"))]
    task = task_from_path(write(tmp_path / ("my.csv" if write is two else "my.fa"), rows))
    labels = [y for _, y in rows]
    test = np.bincount(task.load("test").y).tolist()
    assert test == [round(0.2 * labels.count(c)) for c in "abc"]
    assert task.kind == "multiclass" and sum(task.counts.values()) == 100
    assert "20 % of train in each class, set aside" in describe(task)
    again = task_from_path(tmp_path / ("my.csv" if write is two else "my.fa"))
    assert again.load("test").ids.tolist() == task.load("test").ids.tolist()


def test_csv_and_fasta_set_the_same_rows_aside(tmp_path):
    rows = [r[:2] for r in ROWS]
    a, b = two(tmp_path / "a.csv", rows), fasta(tmp_path / "a.fa", rows)
    assert contents(task_from_path(a)) == contents(task_from_path(b))


def test_a_directory_without_test_sets_it_aside_from_train_and_keeps_dev(tmp_path):
    path = directory(tmp_path / "my", ROWS, "csv", two)
    (path / "test.csv").unlink()
    task = task_from_path(path)
    assert task.counts == {"train": 24, "dev": 15, "test": 6}


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("H3_train.fasta", "H3_val.fasta", "H3_test.fasta"), (30, 15, 15)),
        (("train_reduced.fa", "x-valid.fa", "my.test.fna"), (30, 15, 15)),
        (("TRAIN.fa", "validation.fa", "Test.fa.gz"), (30, 15, 15)),
    ],
)
def test_the_split_is_a_word_of_the_file_name(names, counts, tmp_path):
    for split, name in zip(SPLITS, names, strict=True):
        fasta(tmp_path / name, [r for r in ROWS if r[2] == split])
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "._train.csv").write_bytes(b"\xff")
    (tmp_path / "constrained.csv").write_text("holds no split in its name")
    task = task_from_path(tmp_path)
    assert tuple(task.counts[s] for s in SPLITS) == counts


def test_header_case_extra_columns_blank_lines_and_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "my.csv"
    path.write_bytes(
        b"\xef\xbb\xbfSOURCE, Label ,Sequence,SPLIT\r\nx,1, acgu ,Train\r\n\r\n"
        b'"a, b",0,ACGN,VAL\r\nx,0,GGR,train\r\nx,1,TT,test\r\n\r\n'
    )
    task = task_from_path(path)
    assert task.counts == {"train": 2, "dev": 1, "test": 1} and task.length == 4
    assert [task.load("train").seqs[i] for i in range(2)] == ["ACGT", "GGN"]
    assert task.load("dev").seqs[0] == "ACGN"
    assert "IUPAC ambiguity letters read as N: 1" in describe(task)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_mark_and_every_line_end(end, mark, tmp_path):
    lines = [mark + "sequence,label,split", "ACGT,0,train", "GG,1,train", "T,0,test"]
    (tmp_path / "my.csv").write_bytes(end.join(lines).encode())
    task = task_from_path(tmp_path / "my.csv")
    assert contents(task) == {"train": ([0, 1], ["ACGT", "GG"]), "test": ([0], ["T"])}
    lines = [f"{mark}>a|0", "AC", "GT", ">b|0", "G", ">c|1", "T", ">d|1", "A"]
    (tmp_path / "my.fa").write_bytes(end.join(lines).encode())
    assert sum(task_from_path(tmp_path / "my.fa").counts.values()) == 4


@pytest.mark.parametrize("leak_check", [True, False])
def test_which_rows_are_set_aside_never_changes(leak_check, tmp_path):
    rng = np.random.default_rng(1)  # unrelated sequences: both ways draw the same
    rows = [("".join(rng.choice(list("ACGT"), 60)), y) for y in "01" * 20]
    path = two(tmp_path / "my.csv", rows)
    task = task_from_path(path, own=OwnData(leak_check=leak_check))
    rng = np.random.default_rng(0)  # row numbers of each class in turn, a fifth of each
    expected = [i + 1 for c in (0, 1) for i in rng.permutation(np.arange(c, 40, 2))[:4]]
    assert task.load("test").ids.tolist() == [f"test:{i}" for i in sorted(expected)]


def test_multi_line_fasta_and_a_bar_in_the_name(tmp_path):
    path = tmp_path / "my.fa"
    path.write_text("\n".join(f">chr{i}|x|{i % 2}\nAC\nGT{'A' * i}\n" for i in range(10)))
    with pytest.raises(ValueError, match=r"my.fa:1: header '>chr0\|x\|0' has 3 fields .*--header"):
        task_from_path(path)
    task = task_from_path(path, own=OwnData(header="id|-|label"))
    ids = [*task.load("train").ids, *task.load("test").ids]
    assert sorted(ids) == sorted(f"chr{i}" for i in range(10)) and task.length == 13


def test_ids_are_the_files_own_or_split_and_row(tmp_path):
    rows = [(f"n{i}", *r) for i, r in enumerate(ROWS)]
    named = task_from_path(
        delimited(tmp_path / "a.csv", rows, header=("ID", "sequence", "label", "split"))
    )
    assert named.load("dev").ids[0] == "n2"
    unnamed = task_from_path(delimited(tmp_path / "b.csv", ROWS))
    assert unnamed.load("dev").ids[:2].tolist() == ["dev:3", "dev:7"]


def test_repeated_fasta_names_fall_back_to_rows(tmp_path):
    path = tmp_path / "my.fa"
    path.write_text("".join(f">same|{i % 2}\nACGT{'A' * i}\n" for i in range(10)))
    assert set(task_from_path(path).load("train").ids) < {f"train:{i}" for i in range(1, 11)}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("0", "1"), ("0", "1")),
        (("10", "2", "x"), ("10", "2", "x")),
        (("1.0", "0.0"), ("0", "1")),
        (("b", "a", "C"), ("C", "a", "b")),
        (tuple(map(str, range(11))), tuple(map(str, range(11)))),
    ],
)
def test_integers_keep_their_order_and_words_are_sorted(labels, classes, tmp_path):
    rows = [("ACGT", y, s) for s in ("train", "test") for y in labels]
    task = task_from_path(delimited(tmp_path / "my.csv", rows))
    assert task.classes == classes
    got = [classes[i] for i in task.load("train").y]
    assert got == [
        str(int(float(y))) if "x" not in labels and y[0].isdigit() else y for y in labels
    ]


def test_parquet_labels_may_be_numbers(tmp_path):
    for values in ([0, 1] * 10, [0.0, 1.0] * 10, ["0", "1"] * 10):
        rows = [("ACGT" + "A" * i, y) for i, y in enumerate(values)]
        task = task_from_path(parquet(tmp_path / "my.parquet", rows, ("seq", "label")))
        assert task.classes == ("0", "1") and sum(task.counts.values()) == 20


def test_one_label_map_serves_all_splits(tmp_path):
    rows = [("A", "a", "train"), ("C", "b", "train"), ("G", "c", "train"), ("T", "b", "test")]
    task = task_from_path(delimited(tmp_path / "my.csv", rows))
    assert task.load("test").y.tolist() == [1] and task.kind == "multiclass"


def test_the_hash_follows_the_bytes_and_the_splits_only(tmp_path):
    a = directory(tmp_path / "a", ROWS, "csv", two)
    b = shutil.copytree(a, tmp_path / "b")
    assert task_from_path(a).data == task_from_path(b).data
    assert re.fullmatch("[0-9a-f]{16}", task_from_path(a).data)
    (b / "dev.csv").rename(b / "x"), (b / "test.csv").rename(b / "dev.csv")
    (b / "x").rename(b / "test.csv")
    assert task_from_path(a).data != task_from_path(b).data
    (a / "test.csv").write_text((a / "test.csv").read_text().lower().replace("sequence", "seq"))
    assert task_from_path(a).data != task_from_path(b).data


def test_names_and_metrics_can_be_chosen(tmp_path):
    path = delimited(tmp_path / "my data.v2.csv", ROWS)
    assert task_from_path(path).name == "data/my_data.v2"
    assert task_from_path(path, name="x").name == "data/x"
    task = task_from_path(path, name="lab/x", metric="accuracy")
    assert (task.name, task.metric) == ("lab/x", "accuracy")
    with pytest.raises(ValueError, match=r"no metric 'mmc' for a binary task; there are .*mcc"):
        task_from_path(path, metric="mmc")


def test_an_absent_split_is_named(tmp_path):
    task = task_from_path(two(tmp_path / "my.csv", [r[:2] for r in ROWS]))
    with pytest.raises(ValueError, match="no split 'dev' in this data, only train, test"):
        task.load("dev")


def test_describe_counts_what_test_shares_with_train(tmp_path):
    rows = [
        ("AAAA", "0", "train"), ("AAAA", "1", "train"), ("CCCC", "0", "train"),
        ("GGGG", "1", "train"), ("AAAA", "0", "test"), ("CCCC", "1", "test"),
        ("cccc", "0", "test"), ("GGGG", "1", "test"), ("TTTT", "1", "test"),
    ]  # fmt: skip
    task = task_from_path(delimited(tmp_path / "my.csv", rows))
    # AAAA has both labels in train, CCCC another one for one of its two test examples
    assert overlap(task.load("train"), task.load("test")) == (4, 2)
    text = describe(task)
    assert "test sequences that are also in train: 4 of 5, 2 of them with another label" in text
    assert "train sequences that have more than one label: 1" in text
    assert "test split: column split" in text and "binary, 2 classes, metric mcc" in text
    assert re.search(r"^all +4 +5$", text, re.MULTILINE)
    assert re.search(r"^0 +2 +2$", text, re.MULTILINE)


def test_thirty_thousand_sequences_of_500_bp_load_in_seconds(tmp_path):
    letters = np.frombuffer(b"ACGT", np.uint8)[
        np.random.default_rng(0).integers(0, 4, (30_000, 500))
    ]
    rows = [(row.tobytes().decode(), i % 2) for i, row in enumerate(letters)]
    for write in (two, fasta):
        path = write(tmp_path / ("my.csv" if write is two else "my.fa"), rows)
        start = time.process_time()
        task_from_path(path, own=OwnData(leak_check=False))
        assert time.process_time() - start < 5
