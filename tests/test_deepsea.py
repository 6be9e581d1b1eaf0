"""DeepSEA: both file formats give the same bases and labels, in slabs; groups; a training."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
from conftest import completed
from sklearn.metrics import roc_auc_score

from dnabench.areas import auroc_mean
from dnabench.metrics import score
from dnabench.registry import MODELS, TASKS
from dnabench.tasks import deepsea
from dnabench.types import A, C, G, N, T

h5py = pytest.importorskip("h5py", reason="DeepSEA's train.mat is HDF5: pip install h5py")
LETTERS = np.array(list("AGCT"))  # the channels of the paper


def made(n, seed):
    """One-hot (N, 4, 1000), labels (N, 919) and the sequences, written by the paper's rule."""
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, 4, (n, 1000))
    x = (channel[:, None] == np.arange(4)[:, None]).astype(np.uint8)
    y = (rng.random((n, 919)) < 0.3).astype(np.uint8)
    return x, y, ["".join(row) for row in LETTERS[channel]]


def write_hdf5(path, x, y, **options):
    """As MATLAB 7.3: axes in reverse order, 512 bytes of its own before the HDF5 file."""
    with h5py.File(path, "w", userblock_size=512) as f:
        f.create_dataset("trainxdata", data=x.transpose(2, 1, 0), **options)
        f.create_dataset("traindata", data=y.T, **options)
    with path.open("r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def write_level5(path, x, y, prefix, compressed=True):
    arrays = {f"{prefix}xdata": x, f"{prefix}data": y}
    scipy.io.savemat(path, arrays, do_compression=compressed)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deepsea") / "deepsea_train"
    folder.mkdir()
    parts = {"train": made(90, 0), "dev": made(30, 1), "test": made(40, 2)}
    write_hdf5(folder / "train.mat", *parts["train"][:2], chunks=True, compression="gzip")
    write_level5(folder / "valid.mat", *parts["dev"][:2], "valid")
    write_level5(folder / "test.mat", *parts["test"][:2], "test", compressed=False)
    return folder, parts


def together(files):
    """Every split as a whole, from its chunks."""
    out = {}
    for split, part in deepsea.read(files):
        out.setdefault(split, []).append(part)
    return {
        split: (
            [p.seqs[i] for p in parts for i in range(len(p.y))],
            np.concatenate([p.y for p in parts]),
            [i for p in parts for i in p.ids],
            len(parts),
        )
        for split, parts in out.items()
    }


@pytest.mark.parametrize("slab", [deepsea.SLAB, 4000 * 7])
def test_both_formats_give_back_sequences_and_labels_in_order(bundle, monkeypatch, slab):
    folder, parts = bundle
    monkeypatch.setattr(deepsea, "SLAB", slab)
    files = deepsea.recognise(folder)
    assert set(files) == {"train", "dev", "test"}
    found = together(files)
    for split, (_, y, sequences) in parts.items():
        assert found[split][0] == sequences
        np.testing.assert_array_equal(found[split][1], y)
        assert found[split][1].dtype == np.uint8
        assert found[split][2] == [str(i + 1) for i in range(len(y))]
        assert (found[split][3] > 1) == (slab < deepsea.SLAB or slab == 28_000)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, bool])
def test_scipy_reads_the_older_files_as_we_do(tmp_path, dtype):
    x, y, _ = made(5, 3)
    write_level5(tmp_path / "test.mat", x.astype(dtype), y.astype(dtype), "test")
    theirs = scipy.io.loadmat(tmp_path / "test.mat")
    ours = together({"test": (tmp_path / "test.mat",)})["test"]
    order = theirs["testxdata"].argmax(1)
    assert ours[0] == ["".join(row) for row in LETTERS[order]]
    np.testing.assert_array_equal(ours[1], theirs["testdata"])


def test_rebuilt_files_have_the_rows_first(tmp_path):
    x, y, sequences = made(6, 4)
    for layout in (x, x.transpose(0, 2, 1)):
        with h5py.File(tmp_path / "test.mat", "w") as f:
            f["testxdata"], f["testdata"] = layout, y
        found = together(deepsea.recognise(tmp_path))["test"]
        assert found[0] == sequences
        np.testing.assert_array_equal(found[1], y)


def test_the_channels_are_a_g_c_t_and_what_is_not_one_hot_is_n():
    columns = np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1],
         [0, 0, 0, 0], [1, 1, 0, 0], [2, 0, 0, 0], [1, 0, 3, 0]]
    )  # fmt: skip
    wanted = [A, G, C, T, N, N, N, N]
    for dtype in (np.uint8, np.int16, np.float64):
        assert deepsea.one_hot_codes(columns.astype(dtype), 1).tolist() == wanted
        assert deepsea.one_hot_codes(columns.T.astype(dtype), 0).tolist() == wanted
    soft = np.array([[0.25, 0.25, 0.25, 0.25], [1, 0.5, 0, 0], [1, -1, 0, 0], [np.nan, 1, 0, 0]])
    assert deepsea.one_hot_codes(soft, 1).tolist() == [N] * 4


def test_groups_are_summed_up_over_their_columns():
    rng = np.random.default_rng(0)
    y = (rng.random((60, 919)) < 0.3).astype(np.uint8)
    logits = rng.normal(size=(60, 919)).astype(np.float32)
    logits[:, :125] += 20 * y[:, :125]  # DNase is perfect
    logits[:, 815:] -= 20 * y[:, 815:]  # histone marks are all wrong
    y[:, 700] = 0  # a factor that no example has, as one of the official test split
    found = score(y, logits, ["auroc_mean", "auroc_median"], deepsea.GROUPS)
    dhs, tf, hm, mean = (found[f"auroc_mean:{g}"] for g in ("dhs", "tf", "hm", "groups"))
    assert dhs == 1 and hm == 0 and 0.45 < tf < 0.55
    assert found["auroc_mean"] == auroc_mean(y, logits)
    assert auroc_mean(y, logits) == pytest.approx((125 + 689 * tf) / 918, abs=1e-9)
    assert mean == pytest.approx((1 + tf) / 3, abs=1e-12)
    columns = [roc_auc_score(y[:, k], logits[:, k]) for k in range(125, 815) if y[:, k].any()]
    assert found["auroc_mean:tf"] == pytest.approx(np.mean(columns), abs=1e-12)
    assert found["auroc_median:tf"] == pytest.approx(np.median(columns), abs=1e-12)
    assert found["auroc_median:tf"] != pytest.approx(found["auroc_mean:tf"], abs=1e-4)
    assert TASKS[deepsea.NAME].reported == "auroc_median" and TASKS[deepsea.NAME].metric == (
        "auroc_mean"  # which chooses epochs
    )
    sizes = {g: s.stop - s.start for g, s in deepsea.GROUPS.items()}
    assert sizes == {"dhs": 125, "tf": 690, "hm": 104}  # Zhou and Troyanskaya 2015
    prefixes = [name.partition("_")[0] for name in deepsea.CLASSES]
    assert [prefixes[k] for k in (0, 124, 125, 814, 815, 918)] == ["dhs"] * 2 + ["tf"] * 2 + [
        "hm"
    ] * 2


def error(path):
    with pytest.raises(ValueError) as caught:
        list(deepsea.read({"test": (path,)}))
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_wrong_files_are_named(tmp_path):
    path, (x, y, _) = tmp_path / "test.mat", made(6, 5)
    path.write_bytes(b"<!DOCTYPE html><html>" + b" " * 200)
    assert "<!DOCTYPE" in error(path)
    write_level5(path, x, y, "test")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "too early" in error(path)
    path.write_bytes(whole[:500] + bytes(500) + whole[1000:])
    assert "damaged" in error(path)
    write_level5(path, x, y[:4], "test")
    assert "differ in length" in error(path)
    write_level5(path, x[:, :, :900], y, "test")
    assert "(6, 4, 900)" in error(path)
    y[3, 7] = 5
    write_level5(path, x, y, "test")
    assert "label 7 of row 3" in error(path)
    write_hdf5(path, x, y)
    assert "label 7 of row 3" in error(path)
    write_hdf5(path, x[:, :, :900], y)
    assert "(900, 4, 6)" in error(path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    assert "HDF5" in error(path)
    with h5py.File(path, "w") as f:
        f["other"] = y
    assert "found other" in error(path)
    assert deepsea.recognise(tmp_path) is None  # somebody else's test.mat


def test_a_folder_without_the_files_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.mat"):
        deepsea.import_files(tmp_path)


def test_it_is_imported_and_trained_by_the_real_command(bundle, tmp_path):
    folder, parts = bundle
    env = {**os.environ, "DNABENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    code = (
        "import sys; from pathlib import Path\n"
        "from dnabench.tasks.io.importing import import_tree\n"
        "(got,) = import_tree(Path(sys.argv[1])); print(got.error or got.counts, got.task)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder.parent], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    counts = {split: len(p[1]) for split, p in parts.items()}
    assert done.stdout == f"{counts} {deepsea.NAME}\n"
    words = (
        f"run -m convnova-386k -t {deepsea.NAME} --seeds 1 --epochs 1 --limit 24 "
        f"--out {tmp_path / 'runs'}"
    )
    run = completed([sys.executable, "-m", "dnabench", *words.split()], env)
    assert run.returncode == 0, run.stdout + run.stderr
    (predictions,) = (tmp_path / "runs" / "predictions").glob("*.npz")
    with np.load(predictions) as stored:
        assert stored["logits"].shape == (24, 919) and set(np.unique(stored["labels"])) == {0, 1}
        own = stored["labels"], stored["logits"]
        scores = score(*own, ["auroc_mean", "auroc_median"], deepsea.GROUPS)
    assert len(scores) == 10 and all(0 < value < 1 for value in scores.values())
    (record,) = (tmp_path / "runs" / "records").glob("*.json")
    found = json.loads(record.read_text())
    assert scores.items() <= found["scores"]["test"].items()
    recipe, wanted = found["trial"]["recipe"], MODELS["convnova-386k"].recipes["deepsea"]
    assert (recipe["source"], recipe["differs"]) == (wanted.source, wanted.differs)
    assert (recipe["lr"], recipe["weight_decay"], recipe["epochs"]) == (1e-3, 0.1, 1)
