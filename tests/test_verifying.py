"""tasks/io/verifying.py, imported tasks in other processes, and the real files where they are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HERE
from import_cases import TEST, by_task, nt_plain, sequences

from dnabench import TASKS
from dnabench.tasks.io.imported import Writer, cached, open_split, task_folder
from dnabench.tasks.io.importing import import_tree, report
from dnabench.tasks.io.parsing import read_table
from dnabench.tasks.io.verifying import verify
from dnabench.types import Sequences, Split

pytestmark = pytest.mark.usefixtures("own_cache")


SHARED = HERE.parent.parent / "shared" / "data"


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
        "run `dnabench data fetch gue/mouse_0`"
    ]
    texts = [*sequences(299, 4, 101), "ACG"]
    texts[5] = "N" * 101
    y = np.zeros(300, np.int64)
    y[4] = 2
    written(task.name, train=(texts, y), test=(sequences(4), np.arange(4) % 2))
    assert verify(task, length=100) == [
        "train has 300 examples, 6,478 were published",
        "there is no dev split; 810 examples were published",
        "test has 4 examples, 810 were published",
        "train: 1 sequence is all N",
        "train: the last sequence has 3 bp, most have 101: is it truncated?",
        "train: 1 example has label 2; labels are 0 to 1",
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
    assert "test: 1 label is neither 0 nor 1" in verify(many)
    written(many.name, test=(sequences(3), y[:, :5]))
    assert f"test: the labels are (3, 5), not (3, {many.n_outputs})" in verify(many)
    fly = TASKS["deepstarr/enhancer_activity"]
    written(fly.name, test=(sequences(3), np.array([[0, np.nan]] * 3, np.float32)))
    assert "test: 3 labels are not finite" in verify(fly)
    genes = TASKS["bend/gene_finding"]
    y = np.array([[0, 1, 9], [1, 2, 3]], np.int8)
    written(genes.name, test=(["ACG", "A"], y))
    found = verify(genes)
    assert "test: 1 label is not 0 to 8" in found
    assert "test: 2 labels are beyond the end of a sequence" in found


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
