"""tasks/io/imported.py: what is written to the cache is what is read, whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dnabench.tasks.io.imported import Writer, cached, check, open_split, task_folder
from dnabench.types import IGNORED, Sequences, Split

NAME = "tests/cached"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def split(n=40, seed=0, ids=None, y=None):
    """n random sequences of 0 to 60 bp and more."""
    rng = np.random.default_rng(seed)
    texts = ["".join(rng.choice(list("ACGTNR"), rng.integers(1, 60))) for _ in range(n)]
    y = np.arange(n, dtype=np.int64) % 2 if y is None else y
    return Split(Sequences.parse(texts), y, np.array(ids or [f"name {i}" for i in range(n)]))


def write(*parts, name=NAME, origin="here"):
    with Writer(name, origin) as writer:
        for which, part in parts:
            writer.add(which, part)
    return writer.result


def pieces(part, size):
    n = len(part.y)
    return [part.take(np.arange(i, min(i + size, n))) for i in range(0, n, size)]


def assert_same(a, b):
    for x, y in ((a.seqs.codes, b.seqs.codes), (a.seqs.offsets, b.seqs.offsets),
                 (a.seqs.ambiguous, b.seqs.ambiguous), (a.y, b.y), (a.ids, b.ids)):  # fmt: skip
        np.testing.assert_array_equal(x, y)
        assert x.dtype.kind == y.dtype.kind


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_what_is_written_in_pieces_is_read_whole(size):
    train, test = split(), split(13, seed=1)
    whole = write(("train", train), ("test", test), name="tests/whole")
    result = write(*(("train", p) for p in pieces(train, size)), ("test", test))
    assert result == whole == cached(NAME)  # the pieces change no hash
    assert result.counts == {"train": 40, "test": 13} and result.origin == "here"
    assert result.length == max(train.seqs.lengths.max(), test.seqs.lengths.max())
    assert_same(open_split(NAME, "train"), train)
    assert_same(open_split(NAME, "test"), test)
    assert open_split(NAME, "train").y.dtype == np.int64 and check(NAME) == []


def test_pieces_that_begin_inside_an_array_are_written_right():
    train = split()
    cut = Sequences(train.seqs.codes, train.seqs.offsets[10:21], train.seqs.ambiguous[10:20])
    write(("test", Split(cut, train.y[10:20], train.ids[10:20])))
    assert_same(open_split(NAME, "test"), train.take(np.arange(10, 20)))


def test_every_kind_of_label_keeps_its_type():
    rng = np.random.default_rng(0)
    labels = {
        "tests/multilabel": rng.integers(0, 2, (40, 5)).astype(np.uint8),
        "tests/regression": rng.normal(size=(40, 2)).astype(np.float32),
    }
    for name, y in labels.items():
        write(*(("train", p) for p in pieces(split(y=y), 9)), name=name)
        assert open_split(name, "train").y.dtype == y.dtype
        np.testing.assert_array_equal(open_split(name, "train").y, y)


def test_labels_of_bases_are_filled_up_to_the_longest_sequence():
    seqs = [Sequences.parse(["ACG", "A"]), Sequences.parse(["ACGTA"])]
    y = [
        np.array([[0, 1, 2], [3, IGNORED, IGNORED]], np.int8),
        np.array([[4, 5, 6, 7, 8]], np.int8),
    ]
    ids = [np.array(["a", "longer"]), np.array(["c"])]
    write(*(("train", Split(*of)) for of in zip(seqs, y, ids, strict=True)))
    got, fill = open_split(NAME, "train"), IGNORED
    expected = [[0, 1, 2, fill, fill], [3, fill, fill, fill, fill], [4, 5, 6, 7, 8]]
    assert got.y.dtype == np.int8 and got.y.tolist() == expected
    assert got.ids.tolist() == ["a", "longer", "c"] and check(NAME) == []


def test_the_hash_is_of_sequences_and_labels_and_of_nothing_else():
    part = split()
    data = write(("train", part)).data
    renamed = part._replace(ids=np.array([f"other {i}" for i in range(40)]))
    assert write(("train", renamed), origin="there").data == data
    flipped = part.y.copy()
    flipped[3] ^= 1
    codes = part.seqs.codes.copy()
    codes[5] = (codes[5] + 1) % 4
    changed = (
        ("train", part._replace(y=flipped)),
        ("train", part._replace(seqs=Sequences(codes, part.seqs.offsets))),
        ("train", part.take(np.arange(40)[::-1])),
        ("test", part),
    )
    hashes = [write(one).data for one in changed]
    assert len({data, *hashes}) == 5 and all(len(h) == 16 for h in hashes)


def test_names_that_repeat_become_row_numbers_and_a_note():
    part = split(6, ids=["a", "b", "c", "d", "e", "b"])  # in different pieces
    result = write(*(("train", p) for p in pieces(part, 2)), ("test", split(3)))
    assert open_split(NAME, "train").ids.tolist() == [f"train:{i}" for i in range(1, 7)]
    assert open_split(NAME, "test").ids.tolist() == ["name 0", "name 1", "name 2"]
    assert result.notes["repeated_names"] == ["train"] and check(NAME) == []


def test_similar_names_do_not_count_as_repeated():
    ids = [f"{a}{b}" for a in ("x", "xx", "xé", "éx", "") for b in range(2000)]
    part = Split(Sequences.parse(["A"] * 10_000), np.zeros(10_000, np.int64), np.array(ids))
    assert "repeated_names" not in write(("train", part)).notes
    np.testing.assert_array_equal(open_split(NAME, "train").ids, ids)


def test_letters_other_than_acgt_are_counted():
    seqs = Sequences.parse(["ACGT", "NNA", "ARA", "CCNRY"])
    notes = write(("test", Split(seqs, np.zeros(4, np.int64), np.array(list("abcd"))))).notes
    assert notes["not_acgt"] == {"test": {"rows": 3, "letters": 6, "iupac": 3}}


def test_changing_what_was_read_changes_no_file():
    part = split()
    write(("train", part))
    open_split(NAME, "train").seqs.codes[:] = 3
    open_split(NAME, "train").y[:] = 9
    assert_same(open_split(NAME, "train"), part)


def test_a_map_that_is_open_outlives_new_data():
    part = split()
    write(("train", part))
    old = open_split(NAME, "train")
    write(("train", split(seed=5)))
    assert_same(old, part)
    folders = [p for p in task_folder(NAME).iterdir() if p.is_dir()]
    assert len(folders) == 1  # the old data are gone from the disk


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_leaves_what_was_there(error):
    part = split()
    before = write(("train", part))
    with pytest.raises(error), Writer(NAME, "elsewhere") as writer:
        writer.add("train", split(seed=3))
        raise error
    assert writer.result is None and cached(NAME) == before and check(NAME) == []
    assert_same(open_split(NAME, "train"), part)
    assert not list(task_folder(NAME).glob(".writing-*"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (lambda p: ("train", p._replace(ids=p.ids[1:])), "39 ids"),
        (lambda p: ("train", p._replace(y=p.y.astype(np.float32))), "float32"),
        (lambda p: ("validation", p), "validation"),
        (lambda p: ("train", p._replace(seqs=Sequences(p.seqs.codes + 3, p.seqs.offsets))), "code"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(bad, words):
    before = write(("train", split()))
    with pytest.raises(ValueError, match=words), Writer(NAME, "x") as writer:
        writer.add("train", split(seed=1))
        writer.add(*bad(split(seed=2)))
    assert cached(NAME) == before


def test_a_writer_without_examples_is_an_error_and_changes_nothing():
    before = write(("train", split()))
    with pytest.raises(ValueError, match=r"tests/cached: folder/x holds no examples"):
        write(origin="folder/x")
    assert cached(NAME) == before


CHILD = """
import sys, time
import numpy as np
from dnabench.tasks.io.imported import Writer
from dnabench.types import Sequences, Split
def part(n, letter):
    return Split(Sequences.parse([letter * 50] * n), np.zeros(n, np.int64),
                 np.array([str(i) for i in range(n)]))
"""


def child(code, *words, **kwargs):
    argv = [sys.executable, "-c", CHILD + code, *map(str, words)]
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


def test_a_killed_process_leaves_what_was_there():
    before = write(("train", split()))
    code = (
        f"w = Writer({NAME!r}, 'x').__enter__(); w.add('train', part(500, 'A')); "
        "print('half', flush=True); time.sleep(60)"
    )
    process = child(code)
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cached(NAME) == before and check(NAME) == []
    (left,) = task_folder(NAME).glob(".writing-*")
    write(("train", split()))
    assert left.exists()  # it could still be someone's
    for path in (*left.iterdir(), left):
        os.utime(path, (time.time() - 100_000,) * 2)
    write(("train", split()))
    assert not left.exists()


def test_many_processes_may_write_one_task_at_once():
    code = (
        "for i in range(8):\n"
        f"    with Writer({NAME!r}, sys.argv[1]) as w: w.add('train', part(20 + i, sys.argv[1]))\n"
    )
    processes = [child(code, letter) for letter in "ACGT"]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    here = cached(NAME)
    assert check(NAME) == [] and here.origin in "ACGT" and here.counts == {"train": 27}
    assert open_split(NAME, "train").seqs[0] == here.origin * 50
    assert len([p for p in task_folder(NAME).iterdir() if p.is_dir()]) == 1


def test_no_room_is_said_with_place_and_way_out_and_leaves_what_was_there():
    before = write(("train", split()))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        f"with Writer({NAME!r}, 'x') as w: w.add('train', part(500, 'A'))"
    )
    process = child(code)
    _, err = process.communicate(timeout=60)
    last = err.splitlines()[-1]
    assert last.startswith("ValueError: cannot write the data of tests/cached to ")
    assert "DNABENCH_CACHE" in last and "too large" in last
    assert cached(NAME) == before and check(NAME) == []


def test_nothing_imported_is_said_with_the_way_out():
    assert cached(NAME) is None
    with pytest.raises(FileNotFoundError, match="dnabench data fetch tests/cached"):
        open_split(NAME, "train")
    assert "nothing is imported" in check(NAME)[0]


def test_a_split_that_was_not_there_is_named_with_what_was():
    write(("test", split()), origin="nt/H3/test.fna")
    with pytest.raises(FileNotFoundError, match=r"no train split: nt/H3/test.fna held only test"):
        open_split(NAME, "train")


def test_other_data_than_those_planned_for_are_refused():
    old = write(("train", split())).data
    new = write(("train", split(seed=1))).data
    assert len(open_split(NAME, "train", new).y) == 40
    with pytest.raises(ValueError, match=f"imported again and have changed .{new}, not {old}"):
        open_split(NAME, "train", old)


@pytest.mark.parametrize("array", ["codes", "offsets", "y", "ids", "ambiguous"])
def test_a_changed_byte_is_found(array):
    write(("train", split()), ("test", split(seed=1)))
    (path,) = task_folder(NAME).glob(f"*/test.{array}.bin")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    (problem,) = check(NAME)
    assert str(path) in problem and "sha256" in problem and f"import {NAME} again" in problem


def test_a_file_that_is_cut_off_or_gone_is_said_by_reading_and_by_checking():
    part = split()
    write(("train", part))
    (path,) = task_folder(NAME).glob("*/train.codes.bin")
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    expected = f"{len(raw) - 1} bytes, not {len(raw)}"
    with pytest.raises(ValueError, match=expected):
        open_split(NAME, "train")
    assert expected in check(NAME)[0]
    path.unlink()
    with pytest.raises(ValueError, match=r"train.codes.bin.*import it again"):
        open_split(NAME, "train")
    assert "the file is gone" in check(NAME)[0]
    write(("train", part))  # the same content: its folder must be made anew
    assert check(NAME) == []
    assert_same(open_split(NAME, "train"), part)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "dnabench.data/99"}', "{}"])
def test_a_broken_manifest_is_nothing_imported_and_explained(text):
    write(("train", split()))
    path = task_folder(NAME) / "manifest.json"
    path.write_text(text)
    assert cached(NAME) is None
    (problem,) = check(NAME)
    assert str(path) in problem and f"import {NAME} again" in problem


def test_a_manifest_with_another_hash_than_its_arrays_is_found():
    write(("train", split()))
    path = task_folder(NAME) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"data": "0" * 16}))
    assert any("says 0000000000000000" in problem for problem in check(NAME))


@pytest.mark.parametrize("name", ["plain", "../up/x", "a/../b", "/etc/x", "a/b/c", "a/.b", ""])
def test_a_name_that_is_no_suite_and_task_is_refused(name):
    with pytest.raises(ValueError, match="suite/task"):
        Writer(name, "x")


def test_the_default_folder_is_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(task_folder("nt/h3")) == "/home/somebody/.cache/dnabench/tasks/nt/h3"
