"""tasks/io: archives, links, odd files and files read in pieces, as `data import` meets them."""

import gzip
import io
import itertools
import json
import tarfile
import zipfile

import numpy as np
import pytest
from import_cases import (
    BOTH,
    GUE,
    TEST,
    by_task,
    columns,
    csv,
    fasta,
    gue_tree,
    nt_fetched,
    parquet,
    put,
    rows,
    sequences,
)

from dnabench.tasks.io import chunks
from dnabench.tasks.io.imported import cached, open_split, task_folder
from dnabench.tasks.io.importing import import_tree, recognise
from dnabench.tasks.io.parsing import read_table

pytestmark = pytest.mark.usefixtures("own_cache")


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("test.csv", "", "the file is empty"),
        ("test.csv", "sequence,label\n", "no rows"),
        ("test.csv", "\n<!DOCTYPE html><html><title>Sign in</title>", "an HTML page, not data"),
        ("test.csv", gzip.compress(b"<html>quota</html>"), "an HTML page, not data"),
        ("test.fna", "<?xml version='1.0'?><Error/>", "an XML document"),
        ("test.csv", LFS, "a git-lfs pointer"),
        ("test.csv", '{"error": "Entry not found"}', "a server's error message"),
        ("test.csv.gz", gzip.compress(csv(rows(900)).encode())[:-900], "not a complete gzip file"),
        ("test.parquet", b"PAR1 and then nothing", "not a complete Parquet file"),
        ("test.parquet", b"sequence,label\nACGT,1\n", "not a Parquet file"),
        ("test.csv", csv(TEST) + "ACGT", ":8: 1 field, the header has 2"),
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


def test_a_parquet_row_of_blanks_loses_no_others(root):
    of = rows(40)
    own = columns(of)
    own["sequence"][7] = " "
    path = parquet(root / "GUE" / "mouse_0" / "train.parquet", **own)
    for split in ("dev", "test"):
        parquet(root / "GUE" / "mouse_0" / f"{split}.parquet", **columns(rows(20, 1)))
    assert import_tree(root)[0].error == f"{path}:row 8: empty sequence"
    own["sequence"][7] = "ACGT"
    own["label"] = [" " if i == 3 else "1" for i in range(40)]
    parquet(path, **own)
    assert import_tree(root)[0].error == f"{path}:row 4: empty label"


def test_parquet_may_hold_bytes(root):
    found = []
    for binary in (False, True):
        for seed, split in enumerate(("train", "dev", "test")):
            own = columns(rows(20, seed))
            if binary:
                own |= {k: [str(v).encode() for v in own[k]] for k in ("sequence", "label", "name")}
            parquet(root / "GUE" / "mouse_0" / f"{split}.parquet", **own)
        (one,) = import_tree(root)
        assert not one.error
        of_test = open_split("gue/mouse_0", "test")
        found.append((cached("gue/mouse_0").data, of_test.ids.tolist()))
    assert found[0] == found[1] and found[0][1][:2] == ["n0", "n1"]


def test_parquet_of_a_split_column_may_hold_bytes(tmp_path):
    own = columns(rows(4), split=[b"train", None, b"test", b"test"])
    assert chunks.values(parquet(tmp_path / "a.parquet", **own), "split") == ["test", "train"]
