"""Spreadsheets, texts of sequences, files of positives and negatives, folders of classes."""

import gzip
import json
import re
import zipfile

import numpy as np
import pytest
from conftest import dnabench

from dnabench.tasks.io.describing import describe
from dnabench.tasks.io.files import task_from_path
from dnabench.tasks.io.sheets import never_computed
from dnabench.types import OwnData

RNG = np.random.default_rng(0)
TEXTS = ["".join(RNG.choice(list("ACGT"), 60)) for _ in range(40)]
LABELS = [i % 2 for i in range(40)]


def content(task):
    """(sequence, class) of every example."""
    splits = [task.load(split) for split in task.counts]
    return sorted((s.seqs[i], task.classes[int(s.y[i])]) for s in splits for i in range(len(s.y)))


EXPECTED = sorted((text, str(y)) for text, y in zip(TEXTS, LABELS, strict=True))


def excel(path, sheets):
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("python_calamine")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def open_document(path, rows):
    """The smallest spreadsheet of OpenDocument."""
    pytest.importorskip("python_calamine")

    def cell(value):
        if isinstance(value, str):
            kind = 'office:value-type="string"'
        else:
            kind = f'office:value-type="float" office:value="{value}"'
        return f"<table:table-cell {kind}><text:p>{value}</text:p></table:table-cell>"

    body = "".join(f"<table:table-row>{''.join(map(cell, r))}</table:table-row>" for r in rows)
    spaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "table", "text")
    )
    mime = "application/vnd.oasis.opendocument.spreadsheet"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", mime)
        file.writestr(
            "META-INF/manifest.xml",
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
            f'><manifest:file-entry manifest:full-path="/" manifest:media-type="{mime}"/>'
            "</manifest:manifest>",
        )
        file.writestr(
            "content.xml",
            f'<?xml version="1.0"?><office:document-content{spaces}><office:body>'
            f'<office:spreadsheet><table:table table:name="one">{body}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path


ROWS = [["Sequence", "label", "gene"], *([t, y, 0.5] for t, y in zip(TEXTS, LABELS, strict=True))]


def test_a_sheet_is_read_as_a_csv_file_is(tmp_path):
    for path in (
        excel(tmp_path / "a.xlsx", {"one": ROWS}),
        open_document(tmp_path / "a.ods", ROWS),
    ):
        task = task_from_path(path)
        assert content(task) == EXPECTED and "ignored columns: gene" in task.notes


def test_the_splits_may_be_spreadsheets(tmp_path):
    excel(tmp_path / "train.xlsx", {"one": ROWS[:31]})
    open_document(tmp_path / "test.ods", [ROWS[0], *ROWS[31:]])
    task = task_from_path(tmp_path)
    assert content(task) == EXPECTED and task.counts == {"train": 30, "test": 10}


def test_one_of_several_sheets_is_named(tmp_path):
    path = excel(tmp_path / "a.xlsx", {"notes": [["x"]], "data": ROWS, "more": ROWS[:20]})
    with pytest.raises(ValueError, match=r"3 sheets; say which: --sheet 'notes' \(notes, data, mo"):
        task_from_path(path)
    with pytest.raises(ValueError, match=r"no sheet 'dta'; there are notes, data, more"):
        task_from_path(path, own=OwnData(sheet="dta"))
    one, two = (task_from_path(path, own=OwnData(sheet=name)) for name in ("data", "more"))
    assert content(one) == EXPECTED and one.data != two.data


def test_a_bad_cell_is_named_by_its_row(tmp_path):
    rows = [*ROWS[:9], ["AC GT*", 1, ""], *ROWS[9:]]
    with pytest.raises(ValueError, match=r"a.xlsx:row 10: sequence has ' ' at position 2"):
        task_from_path(excel(tmp_path / "a.xlsx", {"one": rows}))


def test_formulas_that_were_never_computed_are_refused_and_computed_ones_read(tmp_path):
    rows = [[t, f"=1*{y}" if i % 2 else y, g] for i, (t, y, g) in enumerate(ROWS)]
    path = excel(tmp_path / "a.xlsx", {"notes": [["=1+1"]], "data": [ROWS[0], *rows[1:]]})
    with pytest.raises(ValueError, match=r"cell B2 holds a formula .*it and 19 more are empty"):
        task_from_path(path, own=OwnData(sheet="data"))
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    sheet = parts["xl/worksheets/sheet2.xml"].decode()
    computed = re.sub(r"<f>1\*(\d)</f><v ?/>|<f>1\*(\d)</f><v></v>",
                      lambda m: f"<f>1*{m[1] or m[2]}</f><v>{m[1] or m[2]}</v>", sheet)  # fmt: skip
    assert computed != sheet
    with zipfile.ZipFile(path, "w") as file:
        for name, data in (parts | {"xl/worksheets/sheet2.xml": computed}).items():
            file.writestr(name, data)
    assert content(task_from_path(path, own=OwnData(sheet="data"))) == EXPECTED  # other sheets' do
    assert never_computed(path.read_bytes(), "notes") == ["A1"]
    empty = re.sub(r'(<c r="\w+")[^>]*><f', r'\1 t="str"><f', sheet)  # a text may be empty
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("xl/worksheets/sheet2.xml", empty)
    assert never_computed(path.read_bytes(), "data") == []


@pytest.mark.parametrize("name", ["a.xlsx", "a.ods"])
def test_what_is_no_spreadsheet_or_made_to_fill_memory_is_refused(name, tmp_path):
    pytest.importorskip("python_calamine")
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match="not a spreadsheet"):
        task_from_path(tmp_path / name)
    with (
        zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("content.xml", "w") as member,
    ):
        for _ in range(40):
            member.write(b"A" * (1 << 23))
    with pytest.raises(ValueError, match=r"bytes unpack to 335,544,320, more than 67,108,864;"):
        task_from_path(tmp_path / name)


def test_a_text_of_sequences_takes_its_labels_from_a_file(tmp_path):
    path, labels = tmp_path / "a.txt", tmp_path / "labels.txt"
    path.write_text("\n".join(TEXTS) + "\n\n")
    labels.write_text("\r\n".join(map(str, LABELS)) + "\r\n")
    task = task_from_path(path, own=OwnData(labels=str(labels)))
    assert content(task) == EXPECTED
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write(path.read_text())
    zipped = task_from_path(tmp_path / "a.txt.gz", own=OwnData(labels=str(labels)))
    assert content(zipped) == EXPECTED
    labels.write_text("\n".join(str(1 - y) for y in LABELS))
    assert task_from_path(path, own=OwnData(labels=str(labels))).data != task.data
    (tmp_path / "a.fa").write_text("".join(f">x y|z\n{t}\n" for t in TEXTS))
    labels.write_text("\n".join(map(str, LABELS)))
    fasta = task_from_path(tmp_path / "a.fa", own=OwnData(labels=str(labels)))
    assert content(fasta) == EXPECTED


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("0\n1\n", r"labels.txt: 2 labels, but \S+a.txt has 40 sequences"),
        ("0\n\n" * 20, r"labels.txt: 39 labels, but"),
        ("0\n \n" * 19 + "0\n\n1\n", r"labels.txt: 41 labels, but"),
        ("\n" + "1\n" * 39, r"labels.txt:1: empty label"),
        ("NA\n" + "1\n" * 39, r"a.txt:1: label 'NA' looks like a missing value"),
        (None, r"has no labels; give them: --labels FILE .*--positives FILE --negatives FILE"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, says, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    if labels is not None:
        (tmp_path / "labels.txt").write_text(labels)
    own = OwnData() if labels is None else OwnData(labels=str(tmp_path / "labels.txt"))
    with pytest.raises(ValueError, match=says):
        task_from_path(tmp_path / "a.txt", own=own)


def halves(folder):
    """The same positives and negatives in several formats: format -> path -> ..."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for label, name in ((1, "pos"), (0, "neg")):
        texts = [t for t, y in zip(TEXTS, LABELS, strict=True) if y == label]
        (folder / f"{name}.txt").write_text("\n".join(texts))
        (folder / f"{name}.fa").write_text("".join(f">s|{i} k\n{t}\n" for i, t in enumerate(texts)))
        (folder / f"{name}.csv").write_text("seq,gene\n" + "".join(f"{t},g\n" for t in texts))
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps({"seq": t}) for t in texts))
        pq.write_table(pa.table({"sequence": texts}), folder / f"{name}.parquet")


def test_positives_and_negatives_are_two_files_of_any_format(tmp_path):
    halves(tmp_path)
    for one in ("txt", "fa", "csv", "jsonl", "parquet"):
        for two in (one, "fa"):
            own = OwnData(negatives=str(tmp_path / f"neg.{two}"))
            task = task_from_path(tmp_path / f"pos.{one}", own=own)
            assert content(task) == EXPECTED and task.classes == ("0", "1"), (one, two)
    swapped = OwnData(negatives=str(tmp_path / "pos.fa"))
    other = task_from_path(tmp_path / "neg.fa", own=swapped)
    assert content(other) == sorted((t, str(1 - y)) for t, y in zip(TEXTS, LABELS, strict=True))
    again = task_from_path(tmp_path / "pos.fa", own=OwnData(negatives=str(tmp_path / "neg.fa")))
    assert other.data != again.data


def test_the_flags_of_positives_and_negatives_belong_together(tmp_path):
    halves(tmp_path)
    run = ("run", "-m", "kmer", "--seeds", "1", "--dry-run", "-o", tmp_path / "out")
    both = ("--positives", tmp_path / "pos.fa", "--negatives", tmp_path / "neg.fa")
    cache = tmp_path / "cache"
    done = dnabench(*run, *both, cache=cache)
    assert done.returncode == 0 and "data/pos: binary" in done.stdout, done.stderr
    assert "positive class: 1" in done.stdout and "1 trial: 0 done, 1 to run" in done.stdout
    done = dnabench(*run, *both[:2], cache=cache)
    assert done.returncode == 2 and "give the others, too: --negatives FILE" in done.stderr
    done = dnabench(*run, *both, "--data", tmp_path / "pos.csv", cache=cache)
    assert done.returncode == 2 and "give one file of positives" in done.stderr
    with pytest.raises(ValueError, match="the same file is of positives and of negatives"):
        task_from_path(both[1], own=OwnData(negatives=str(both[1])))
    with pytest.raises(ValueError, match="goes with one file of positives, not with a folder"):
        task_from_path(tmp_path, own=OwnData(negatives=str(both[3])))


def test_flags_that_would_be_ignored_are_refused(tmp_path):
    halves(tmp_path)
    fasta, other = tmp_path / "pos.fa", str(tmp_path / "neg.fa")
    csv = tmp_path / "a.csv"
    rows = [f"{t},{i % 2},{'test' if i > 20 else 'train'}" for i, t in enumerate(TEXTS)]
    csv.write_text("sequence,label,split\n" + "\n".join(rows) + "\n")
    for path, own, says in (
        (fasta, OwnData(negatives=other, sheet="x"), "--sheet x is for spreadsheets"),
        (fasta, OwnData(negatives=other, labels="l.txt"), "positives and negatives have theirs"),
        (tmp_path / "a.bed", OwnData(labels="l.txt"), "positives and negatives have theirs"),
        (tmp_path, OwnData(labels="l.txt"), "--labels goes with one file of sequences, not with"),
        (tmp_path / "a.bed", OwnData(label=("y",)), "--label-column y: .* positives or negatives"),
        (fasta, OwnData(label=("y",), negatives=other), "--label-column y: .* leave one of them"),
        (fasta, OwnData(label=("y",), labels="l.txt"), "the labels come from --labels l.txt"),
        (fasta, OwnData(label=("y",)), "--label-column y is for tables and variants; in FASTA"),
        (csv, OwnData(header="id|label"), r"id\|label is for FASTA, and this is a table; leave it"),
        (csv, OwnData(length=50), "--length 50 is for regions .* and variants"),
        (csv, OwnData(negatives_seed=3), "--negatives-seed 3 is for regions"),
        (fasta, OwnData(sequence="x"), "--sequence-column x is for tables, and this is FASTA"),
        (fasta, OwnData(id="x"), "--id-column x is for tables; in FASTA --header"),
        (fasta, OwnData(split="x"), "--split-column x is for tables; in FASTA --header"),
        (tmp_path / "a.bed", OwnData(header="id|-"), "--header .* and this is regions"),
        (tmp_path / "a.vcf", OwnData(sheet="x"), "--sheet x is for spreadsheets .* is variants"),
        (tmp_path / "a.bed", OwnData(negatives="n.bed", negatives_seed=1), "--negatives names"),
        (csv, OwnData(split="part", split_by="gene"), "--split-column: the split is by --split-by"),
        (csv, OwnData(split="part", dev_groups=("a",)), "--split-column: .* or --dev-groups"),
        (csv, OwnData(test_groups=("a",), split_seed=1), "--split-seed: .* --test-groups names"),
        (csv, OwnData(split_by="homology", test_groups=("a",)), "--test-groups: groups of"),
        (csv, OwnData(split_by="homology", leak_check=False), "--split-by homology: --no-leak"),
        (csv, OwnData(identity=0.8, leak_check=False), "--identity: --no-leak-check looks for"),
        (csv, OwnData(split_seed=2), r"--split-seed 2 .* bring one \(column split\); leave it"),
        (csv, OwnData(positive="1", kind="regression"), "a regression task has no positive"),
    ):
        with pytest.raises(ValueError, match=says):
            task_from_path(path, own=own)
    (tmp_path / "neg.csv").write_text("sequence\n" + "".join(f"{t}\n" for t in TEXTS[:20]))
    mixed = OwnData(negatives=str(tmp_path / "neg.csv"), header="id|-")
    assert task_from_path(fasta, own=mixed).counts  # a flag of one of both files is used


def fasta(path, texts, head):
    path.write_text("".join(f">{head(i)}\n{text}\n" for i, text in enumerate(texts)))
    return path


@pytest.mark.parametrize(
    ("head", "header"),
    [("s{i}|pos|{split} x", ""), ("s{i}|{split}", ""), ("g|s{i}|pos|{split}", "-|id|label|split"),
     ("{split}|s{i}", "split|id")],
)  # fmt: skip
def test_headers_give_split_and_id_where_the_label_comes_from_elsewhere(head, header, tmp_path):
    def written(name, texts, k):
        return fasta(
            tmp_path / name, texts, lambda i: head.format(i=k + i, split=("test", "train")[i > 4])
        )

    one, two = written("pos.fa", TEXTS[1::2], 0), written("neg.fa", TEXTS[::2], 100)
    own = OwnData(negatives=str(two), header=header)
    task = task_from_path(one, own=own)
    assert content(task) == EXPECTED and task.counts == {"train": 30, "test": 10}
    assert {*task.load("test").ids} == {f"s{i + k}" for i in range(5) for k in (0, 100)}
    (tmp_path / "l.txt").write_text("a\nb\n" * 20)
    own = OwnData(labels=str(tmp_path / "l.txt"), header=header)
    task = task_from_path(written("all.fa", TEXTS, 0), own=own)
    assert task.counts == {"train": 35, "test": 5} and task.classes == ("a", "b")


@pytest.mark.parametrize(
    ("head", "header", "says"),
    [
        (
            "s{i}|test|pos",
            "",
            r"pos.fa:1: header '>s0\|test\|pos' is not id\|label\|split, and a he",
        ),
        ("a|b|s{i}|test", "", r"pos.fa:1: header .*say what is between the bars: --header"),
        ("s{i}|pos", "id|-|split", r"pos.fa:1: header '>s0\|pos' is not id\|-\|split; say what"),
        ("s{i}|pos", "id|id", "name each field once"),
    ],
)
def test_headers_that_may_hold_a_split_are_not_thrown_away(head, header, says, tmp_path):
    one = fasta(tmp_path / "pos.fa", TEXTS[1::2], lambda i: head.format(i=i))
    two = fasta(tmp_path / "neg.fa", TEXTS[::2], lambda i: head.format(i=i))
    with pytest.raises(ValueError, match=says):
        task_from_path(one, own=OwnData(negatives=str(two), header=header))


def test_a_split_of_only_one_of_the_two_files_is_refused(tmp_path):
    halves(tmp_path)
    rows = [f"{text},{'test' if i < 5 else 'train'}\n" for i, text in enumerate(TEXTS[1::2])]
    (tmp_path / "pos.csv").write_text("seq,split\n" + "".join(rows))
    own = OwnData(negatives=str(tmp_path / "neg.csv"))
    with pytest.raises(ValueError, match=r"neg.csv: no split, but \S+pos.csv has one"):
        task_from_path(tmp_path / "pos.csv", own=own)
    drawn = OwnData(negatives=str(tmp_path / "neg.csv"), split="none")
    assert content(task_from_path(tmp_path / "pos.csv", own=drawn)) == EXPECTED


def test_labels_of_one_file_are_not_taken_for_two(tmp_path):
    halves(tmp_path)
    words = ("run", "-m", "kmer", "--data", tmp_path / "pos.txt", "--data", tmp_path / "neg.txt")
    done = dnabench(*words, "--labels", "l.txt", "--dry-run", cache=tmp_path / "cache")
    assert done.returncode == 2 and "--labels l.txt: it has the labels of one file" in done.stderr


def class_tree(folder):
    for i, (text, y) in enumerate(zip(TEXTS, LABELS, strict=True)):
        place = folder / ("test" if i % 4 > 1 else "train") / "ab"[y]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i}.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("holdout/a/1.txt", r"holdout: .*'holdout' is none; rename it to test or dev, or move it"),
        ("train/c/1.fa", r"train/c/1.fa: a class is a folder of .txt files .* this is a file .fa"),
        ("train/a/x0.seq", r"train/a/x0.seq: a class is .* file .seq; rename or convert it, or"),
        ("train/a/more/1.txt", r"train/a/more: .* this is a folder in a class"),
        ("test/all.csv", r"test/all.csv: .* this is a file .csv"),
        ("dev/c/.hidden", r"dev/c: .* this is an empty folder"),
    ],
)
def test_nothing_in_folders_of_classes_is_passed_over(name, says, tmp_path):
    tree = class_tree(tmp_path / "t")
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text("ACGT")
    with pytest.raises(ValueError, match=says):
        task_from_path(tree)


def test_texts_in_folders_of_classes_may_be_gzipped(tmp_path):
    plain = task_from_path(class_tree(tmp_path / "t"))
    for path in sorted((tmp_path / "t").rglob("*.txt"))[::2]:
        with gzip.open(f"{path}.gz", "wt") as file:
            file.write(path.read_text())
        path.unlink()
    zipped = task_from_path(tmp_path / "t")
    assert content(zipped) == content(plain)
    assert {*zipped.load("train").ids} == {*plain.load("train").ids}


def test_class_folders_are_read_as_their_authors_lay_them_out(tmp_path):
    for i, (text, y) in enumerate(zip(TEXTS, LABELS, strict=True)):
        folder = tmp_path / "enhancers" / ("test" if i % 4 == 3 or i % 8 == 0 else "train")
        folder /= ("negative", "positive")[y]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.txt").write_text(text)
    task = task_from_path(tmp_path / "enhancers")
    assert task.classes == ("negative", "positive") and task.name == "data/enhancers"
    assert content(task) == [(t, ("negative", "positive")[int(y)]) for t, y in EXPECTED]
    assert task.counts == {"train": 25, "test": 15}
    assert "positive/1" in task.load("train").ids and "test split: folder test" in describe(task)
    (tmp_path / "enhancers" / "train" / "positive" / "1.txt").write_text("")
    with pytest.raises(ValueError, match=r"positive/1.txt: the file is empty"):
        task_from_path(tmp_path / "enhancers")
    (tmp_path / "enhancers" / "train" / "positive" / "1.txt").write_text("ACGZ")
    with pytest.raises(ValueError, match=r"train/positive/1.txt: sequence has 'Z' at position 3"):
        task_from_path(tmp_path / "enhancers")
