"""The user's own data: bad input is one clear message that names its place."""

import gzip
import re

import pytest
from test_files import delimited, parquet, two

from dnabench.tasks.io.files import task_from_path
from dnabench.types import OwnData

BAD = {
    "letter": ("my.csv", "sequence,label\nACGT,0\nACGTXA,1\nA,0\nA,1\n",
               "my.csv:3: sequence has 'X' at position 4 (from 0); only A, C, G, T, U, N"),
    "letter after a blank line": ("my.csv", "sequence,label\n\nACGT,0\n\nAC-T,1\nA,0\nA,1\n",
                                  "my.csv:5: sequence has '-' at position 2 (from 0)"),
    "letter in a quoted file": ("my.csv", 'sequence,label\n"ACGT",0\n"AC*T",1\nA,0\nA,1\n',
                                "my.csv:3: sequence has '*' at position 2 (from 0)"),
    "letter in tsv": ("my.tsv", "sequence\tlabel\nAC T\t0\nACGT\t1\nA\t0\nA\t1\n",
                      "my.tsv:2: sequence has ' ' at position 2 (from 0)"),
    "letter in fasta": ("my.fa", ">a|0\nAC\nGT\n>b|1\nAC\nGQ\n>c|0\nA\n>d|1\nA\n",
                        "my.fa:4: sequence has 'Q' at position 3 (from 0)"),
    "letter in test": ("my.csv", "sequence,label,split\nA,0,train\nC,1,train\nJ,1,test\n",
                       "my.csv:4: sequence has 'J' at position 0 (from 0)"),
    "empty file": ("my.csv", "", "my.csv: the file is empty"),
    "blank file": ("my.csv", "\n \n", "my.csv: the file is empty"),
    "header only": ("my.csv", "sequence,label\n", "my.csv: no sequences, the file has no rows"),
    "no label column": ("my.csv", "sequence,y\nA,0\n",
                        "my.csv:1: no column 'label'; found sequence, y. The header must name"),
    "no header": ("my.csv", "ACGT,0\nACGT,1\n", "my.csv:1: no column 'sequence'; found ACGT, 0."),
    "column twice": ("my.csv", "sequence,label,label\nA,0,1\n",
                     "my.csv:1: two columns are named 'label'; remove one"),
    "one class": ("my.csv", "sequence,label\nA,x\nC,x\n",
                  "my.csv: every label is 'x'; a task needs two classes or more"),
    "one class, twice spelled": ("my.csv", "sequence,label\nA,0\nC,0.0\n",
                                 "my.csv: every label is 0; a task needs two classes or more"),
    "one value": ("my.csv", "sequence,label\nA,0.5\nC,0.50\n",
                  "my.csv: every label is 0.5; there is nothing to predict"),
    "negative": ("my.csv", "sequence,label\nA,1\nC,-1\nG,0\n",
                 "my.csv: labels are -1, 0, 1: not numbered from 0 or 1 without gaps; give --kind"),
    "gap": ("my.csv", "sequence,label\nA,0\nC,1\nG,3\n",
            "my.csv: labels are 0, 1, 3: not numbered from 0 or 1 without gaps; give --kind "
            "multiclass to take each as a class, or --kind regression"),
    "fraction": ("my.csv", "sequence,label\nA,0\nC,0.5\n",
                 "my.csv:3: label '0.5' is not a whole number, and there are only 2 different "
                 "labels (0, 0.5); give --kind regression to predict the number, or"),
    "exponent": ("my.tsv", "sequence\tlabel\nA\t1e-3\nC\t1\n",
                 "my.tsv:2: label '1e-3' is not a whole number, and there are only 2 different "
                 "labels (0.001, 1); give --kind regression"),
    "empty sequence": ("my.csv", "sequence,label\nA,0\n,1\n", "my.csv:3: empty sequence"),
    "empty fasta sequence": ("my.fa", ">a|0\nA\n>b|1\n>c|1\nC\n", "my.fa:3: empty sequence"),
    "empty label": ("my.csv", "sequence,label\nA,0\nC, \n", "my.csv:3: empty label"),
    "empty fasta label": ("my.fa", ">a|0\nA\n>b|\nC\n", "my.fa:3: empty label"),
    "empty id": ("my.csv", "id,sequence,label\na,A,0\n,C,1\n", "my.csv:3: empty id"),
    "short row": ("my.csv", "sequence,label\nA,0\nC\nG,1\n",
                  "my.csv:3: 1 field, the header has 2"),
    "long row": ("my.csv", "sequence,label\nA,0\nC,1,2\n",
                 "my.csv:3: 3 fields, the header has 2"),
    "ragged, quoted": ("my.csv", 'sequence,label\n"A",0\nC,1,2\n',
                       "my.csv:3: 3 fields, the header has 2"),
    "wrong separator": ("my.tsv", "sequence,label\nA,0\n", "my.tsv:1: no column 'sequence'; found"),
    "fasta without label": ("my.fa", ">a|0\nA\n>chr1:5-9\nC\n",
                            "my.fa:3: header '>chr1:5-9' has no '|label'; write '>name|label'"),
    "not fasta": ("my.fa", "\nACGT\n>a|0\nA\n",
                  "my.fa:2: a FASTA file begins with '>', not 'ACGT'"),
    "split word": ("my.csv", "sequence,label,split\nA,0,train\nC,1,learning\n",
                   "my.csv:3: split 'learning'; it must be train, dev (or val, valid, validation)"),
    "no train": ("my.csv", "sequence,label,split\nA,0,test\nC,1,test\n",
                 "my.csv: no row has split 'train'"),
    "class not in train": ("my.csv", "sequence,label,split\nA,a,train\nC,b,train\nG,c,test\n",
                           "my.csv: class 'c' has no training example, only examples in"),
    "twin ids": ("my.csv", "id,sequence,label\na,A,0\nb,C,1\na,G,1\n",
                 "my.csv:4: id 'a' occurs twice, first in"),
    "extension": ("my.doc", "sequence,label\nA,0\n",
                  "my.doc: unknown extension '.doc'; accepted are .csv .tsv .fa .fasta .fna (each"),
    "no twins to set aside": ("my.csv", "sequence,label\nA,a\nC,b\n",
        "my.csv: there is no test split, and no class has two different sequences"),
    "latin 1": ("my.csv", "sequence,label\nACGT,0\nACGT,é\n".encode("latin-1"),
                "my.csv:3: byte 0xe9 at offset 27 of the file is not UTF-8; save it as UTF-8"),
    "no gzip": ("my.csv.gz", "sequence,label\nA,0\n", "my.csv.gz: not a complete gzip file"),
    "cut gzip": ("my.fa.gz", gzip.compress(b">a|0\nACGT\n")[:-9],
                 "my.fa.gz: not a complete gzip file"),
    "no parquet": ("my.parquet", "sequence,label\nA,0\n", "my.parquet: not a Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_message_with_its_place(case, tmp_path):
    name, content, says = BAD[case]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/{says}")) as e:
        task_from_path(tmp_path / name)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [("ACGT", 0), ("AXGT", 1), ("A", 0), ("A", 1)],
            "row 2: sequence has 'X' at position 1 (from 0)",
        ),
        ([("ACGT", 0), (None, 1)], "row 2: empty sequence"),
        ([("ACGT", None), ("A", 1)], "row 1: empty label"),
        ([("ACGT", 0.5), ("A", 1.0)], "row 1: label '0.5' is not a whole number"),
    ],
)
def test_in_parquet_the_row_is_named(rows, says, tmp_path):
    path = parquet(tmp_path / "my.parquet", rows, ("sequence", "label"))
    with pytest.raises(ValueError, match=re.escape(f"{path}:{says}")):
        task_from_path(path)


def test_parquet_without_a_label_column(tmp_path):
    path = parquet(tmp_path / "my.parquet", [("A", 0)], ("sequence", "target"))
    with pytest.raises(
        ValueError, match=re.escape(f"{path}: no column 'label'; found sequence, target.")
    ):
        task_from_path(path)


def test_a_missing_path_is_named(tmp_path):
    for name in ("my.csv", "folder", "my.txt"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file or directory"):
            task_from_path(tmp_path / name)


def test_bad_directories(tmp_path):
    def fails(says):
        with pytest.raises(ValueError, match=re.escape(says)):
            task_from_path(tmp_path)

    fails(f"{tmp_path}: no file here has an accepted extension: .csv")
    two(tmp_path / "test.csv", [("A", 0), ("C", 1)])
    fails(f"{tmp_path}: no file here is named train; found test.csv")
    two(tmp_path / "train.csv", [("A", 0), ("C", 1)])
    two(tmp_path / "train.tsv", [("A", 0), ("C", 1)])
    fails("train.csv and train.tsv both claim the train split; remove or rename one")
    (tmp_path / "train.tsv").rename(tmp_path / "val_test.tsv")
    fails(f"{tmp_path}/val_test.tsv: the name says dev and test; a file holds one split")
    (tmp_path / "val_test.tsv").unlink()
    delimited(tmp_path / "dev.csv", [("A", 0, "dev"), ("A", 0, "test")])
    fails(f"{tmp_path}/dev.csv:3: split 'test' in a file named dev")


def test_a_long_sequence_in_a_file_without_quotes(tmp_path):
    rows = [("ACGT" * 50_000 + "A" * i, y) for i, y in enumerate("0101010101")]
    path = two(tmp_path / "my.csv", rows)
    assert task_from_path(path, own=OwnData(leak_check=False)).length == 200_009
    with pytest.raises(ValueError, match=r"all 10 examples are in 1 group.* --no-leak-check"):
        task_from_path(path)
