"""Every registered task keeps what it declares; the demo tasks are what their page says."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dnabench.tasks
from dnabench import TASKS
from dnabench.metrics import METRICS
from dnabench.types import IGNORED, N

FOLDER = Path(dnabench.tasks.__file__).parent / "demo_data"
ALL = sorted(TASKS)
PRESENT = [name for name in ALL if TASKS[name].data]  # in the tests' empty cache: the package's own


def test_the_packages_own_tasks_are_here_and_no_others():
    assert PRESENT == ["demo/cell_type", "demo/splice_junctions", "demo/yeast_genes"]


@pytest.mark.parametrize("name", PRESENT)
def test_counts_labels_letters_and_lengths_are_as_declared(name):
    task = TASKS[name]
    longest, classes = 0, set(range(len(task.classes)))
    for split, count in task.counts.items():
        seqs, y, ids = task.load(split)[:3]
        assert len(seqs) == len(y) == len(ids) == count > 0
        if task.kind == "per_base":
            assert y.dtype == np.int8 and set(np.unique(y)) - {IGNORED} == classes
            inside = np.arange(y.shape[1]) < seqs.lengths[:, None]
            assert (y[~inside] == IGNORED).all()
        else:
            assert y.dtype == np.int64 and set(np.unique(y)) == classes
        assert seqs.lengths.min() > 0 and seqs.codes.dtype == np.uint8 and seqs.codes.max() <= N
        assert ids.dtype.kind == "U" and len(set(ids)) == count
        longest = max(longest, int(seqs.lengths.max()))
    assert longest == task.length


@pytest.mark.parametrize("name", ALL)
def test_declarations_make_sense(name):
    task = TASKS[name]
    assert not task.counts or {"train", "test"} <= set(task.counts) <= {"train", "dev", "test"}
    assert task.kind not in ("binary", "multiclass") or (task.kind == "binary") == (
        len(task.classes) == 2
    )
    assert len(set(task.classes)) == len(task.classes) >= 2
    assert task.kind in METRICS[task.metric].kinds
    assert task.source and task.license
    assert task.name == name and task.suite and name.count("/") == 1
    assert not task.data or (len(task.data) == 16 and set(task.data) <= set("0123456789abcdef"))


@pytest.mark.parametrize("name", sorted(set(ALL) - set(PRESENT)))
def test_absent_data_say_how_to_get_them(name):
    with pytest.raises(FileNotFoundError, match=f"run `dnabench data fetch {name}`"):
        TASKS[name].load("train")


@pytest.mark.parametrize("name", PRESENT)
def test_no_sequence_is_in_two_splits(name):
    task = TASKS[name]
    texts = {s: {seqs[i] for i in range(len(seqs))} for s, seqs in sequences(task).items()}
    assert sum(map(len, texts.values())) == len(set().union(*texts.values()))


@pytest.mark.parametrize("name", PRESENT)
def test_loading_twice_gives_the_same(name):
    task = TASKS[name]
    for split in task.counts:
        a, b = task.load(split), task.load(split)
        np.testing.assert_array_equal(a.seqs.codes, b.seqs.codes)
        np.testing.assert_array_equal(a.y, b.y)
        np.testing.assert_array_equal(a.ids, b.ids)


def sequences(task):
    return {split: task.load(split).seqs for split in task.counts}


def per_class(name, split):
    task = TASKS[name]
    return dict(zip(task.classes, np.bincount(task.load(split).y).tolist(), strict=True))


@pytest.mark.parametrize(("split", "each"), [("train", 1000), ("dev", 100), ("test", 250)])
def test_cell_types_are_balanced(split, each):
    cells = ("GM12878", "HepG2", "K562", "hESCT0")
    assert per_class("demo/cell_type", split) == dict.fromkeys(cells, each)
    seqs = TASKS["demo/cell_type"].load(split).seqs
    assert set(seqs.lengths) == {200} and seqs.codes.max() < N and seqs.n_ambiguous == 0


def test_cell_type_is_split_by_chromosome():
    task = TASKS["demo/cell_type"]
    chromosomes = {s: {i.partition("_")[0] for i in task.load(s).ids} for s in task.counts}
    assert chromosomes["test"] == {"chr1"} and chromosomes["dev"] == {"chr2"}
    assert len(chromosomes["train"]) > 15 and not chromosomes["train"] & {"chr1", "chr2"}


def test_splice_junctions_are_stratified_and_have_no_dev_split():
    assert "dev" not in TASKS["demo/splice_junctions"].counts
    train, test = (per_class("demo/splice_junctions", s) for s in ("train", "test"))
    assert train == {"acceptor": 535, "donor": 543, "neither": 1322}
    assert test == {"acceptor": 134, "donor": 136, "neither": 330}
    for s in sequences(TASKS["demo/splice_junctions"]).values():
        assert set(s.lengths) == {60} and s.codes.max() < N


def test_no_splice_window_occurs_twice():
    seqs = sequences(TASKS["demo/splice_junctions"])
    texts = [s[i] for s in seqs.values() for i in range(len(s))]
    assert len(texts) == len(set(texts)) == 3000  # 3,186 less 186


def test_introns_begin_with_gt_and_end_with_ag_where_the_window_says_so():
    # the GT-AG rule: wrong bits, order of bases, labels or offset would break it
    task = TASKS["demo/splice_junctions"]
    share = {}
    for split in task.counts:
        seqs, y, *_ = task.load(split)
        texts = np.array([seqs[i] for i in range(len(seqs))])
        for c, name in enumerate(task.classes):
            of = texts[y == c]
            share[split, name] = (
                np.mean([t[30:32] == "GT" for t in of]),
                np.mean([t[28:30] == "AG" for t in of]),
            )
        assert share[split, "donor"][0] > 0.97 and share[split, "acceptor"][1] > 0.97
        assert max(share[split, "neither"]) < 0.12


@pytest.mark.parametrize("name", ["cell_type", "splice_junctions"])
def test_the_declared_hash_is_that_of_the_file_and_of_the_provenance(name):
    digest = hashlib.sha256((FOLDER / f"{name}.csv.gz").read_bytes()).hexdigest()
    assert TASKS[f"demo/{name}"].data == digest[:16]
    assert digest in (FOLDER / "PROVENANCE.md").read_text()


def test_the_demo_files_stay_small_and_their_bytes_hold_no_time():
    files = list(FOLDER.glob("*.csv.gz"))
    assert len(files) == 2 and sum(f.stat().st_size for f in files) < 1_500_000
    assert all(f.read_bytes()[4:8] == bytes(4) for f in files)  # the gzip header's mtime


def test_a_changed_file_is_refused(tmp_path):
    # in a process of its own: the loader may remember what it read
    code = (
        "import shutil, sys; from pathlib import Path; from dnabench.tasks import demo\n"
        "new = Path(sys.argv[1]); raw = (demo.FOLDER / 'cell_type.csv.gz').read_bytes()\n"
        "(new / 'cell_type.csv.gz').write_bytes(raw[:-1] + b'x'); demo.FOLDER = new\n"
        "from dnabench import TASKS; TASKS['demo/cell_type'].load('train')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.returncode and "ValueError" in done.stderr.splitlines()[-1]
    assert "cell_type.csv.gz" in done.stderr and "sha256" in done.stderr.lower()


def test_listing_tasks_imports_neither_torch_nor_pandas():
    code = "import sys; from dnabench import TASKS; list(TASKS); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "pyarrow"} & set(done.stdout.split())
