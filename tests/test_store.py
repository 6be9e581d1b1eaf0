"""results/store.py: whole records or none, whoever else writes; and what a record must survive."""

import io
import itertools
import json
import multiprocessing as mp
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dnabench import Recipe, Record, Trial
from dnabench.results.provenance import here
from dnabench.results.read_once import ReadOnce
from dnabench.results.store import Store
from dnabench.schema import trial_id


def trial(seed=0, **changes):
    fields = {
        "model": "cnn", "options": {}, "regime": "scratch", "task": "demo/x", "data": "0" * 16,
        "protocol": "honest/1", "recipe": Recipe(), "seed": seed,
    }  # fmt: skip
    return Trial(**{**fields, **changes})


def record(seed=0, error=""):
    return Record(trial=trial(seed), scores={"test": {"mcc": 0.1 + 0.2}}, error=error)


PREDICTIONS = {
    "logits": np.array([[0.5, -1.0]], np.float32), "labels": np.array([1]), "ids": np.array(["a"])
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs")
    store.check_writable()
    return store


def test_ids_of_trials_never_move():
    # sha256 of the canonical JSON below, by hand: an id may change only with a line in CHANGES.md
    text = (
        '{"data": "0000000000000000", "limit": 0.0, "model": "cnn", "options": {}, '
        '"protocol": "honest/1", "recipe": {"batch": 64, "clip": 1.0, "epochs": 20, "lr": 0.001, '
        '"lr_floor": 0.1, "optimizer": "adamw", "padding": "mask", "patience": 0, '
        '"precision": "fp32", "rc": "none", "schedule": "cosine", '
        '"warmup": 0.01, "weight_decay": 0.1}, "regime": "scratch", "seed": 0, "task": "demo/x"}'
    )
    import hashlib

    assert trial().id == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "change",
    [{"model": "kmer"}, {"options": {"k": 1}}, {"task": "demo/y"}, {"data": "1" * 16}, {"seed": 1},
     {"protocol": "last-epoch/1"}, {"recipe": Recipe(lr=2e-3)}, {"limit": 10}],
)  # fmt: skip
def test_every_field_is_in_the_id(change):
    assert trial(**change).id != trial().id


def test_where_a_recipe_comes_from_is_not_in_the_id():
    assert trial(recipe=Recipe(source="a paper")).id == trial().id


def test_a_record_round_trips_byte_for_byte(store):
    one = record()
    store.append(one, PREDICTIONS)
    text = store.record_path(one.trial.id).read_text()
    assert Record.from_json(text) == one and Record.from_json(text).to_json() == text
    assert json.loads(text)["schema"] == "dnabench.record/1"


def test_predictions_come_back_in_their_types(store):
    store.append(record(), PREDICTIONS)
    back = store.predictions(record().trial.id)
    assert all(np.array_equal(back[k], v) for k, v in PREDICTIONS.items())
    assert back["logits"].dtype == np.float32


def test_a_report_reads_predictions_once_as_far_as_memory_goes(store, monkeypatch):
    store.append(record(), PREDICTIONS)
    path, again = store.predictions_path(record().trial.id), ReadOnce(store.folder)
    monkeypatch.setattr(ReadOnce, "KEPT", 1)  # so one file is kept
    other = record(seed=9)
    again.append(other, PREDICTIONS)
    first = [again.predictions(x.trial.id) for x in (record(), other)]
    path.unlink()
    again.predictions_path(other.trial.id).write_bytes(b"damaged")
    assert again.predictions(record().trial.id)["logits"] is first[0]["logits"]
    with pytest.raises(ValueError, match=f"cannot read .*{other.trial.id}.npz"):
        again.predictions(other.trial.id)
    with (
        pytest.raises(ValueError, match=f"cannot read {path}: no such label"),
        again.open_predictions(record().trial.id),
    ):
        raise ValueError("no such label")  # as of a file that is read again


SHAPES = {
    "text": np.array(["a", "bc"]), "none": np.zeros((0, 2), np.float32), "one": np.array(1.5),
    "by_column": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_predictions_kept_in_memory_are_those_that_numpy_reads(store, version):
    path = store.predictions_path(record().trial.id)
    with zipfile.ZipFile(path, "w") as archive:
        for name, x in SHAPES.items():
            with archive.open(f"{name}.npy", "w") as f:
                np.lib.format.write_array(f, x, version)
    with np.load(path) as file:
        theirs = dict(file)
    ours = ReadOnce(store.folder).predictions(record().trial.id)
    assert list(ours) == list(theirs)
    for name, x in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (x.dtype, x.shape)
        assert (ours[name] == x).all()


@pytest.mark.parametrize(
    ("header", "says"),
    [({"shape": (9, 2), "descr": "<f4"}, "shorter than it says"),
     ({"shape": (0,), "descr": "|O"}, "holds Python objects"), (None, "magic")],
)  # fmt: skip
def test_what_is_no_array_is_not_kept_in_memory(store, header, says):
    path, start = store.predictions_path(record().trial.id), io.BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(start, header | {"fortran_order": False})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", start.getvalue() + b"few")
    with pytest.raises(ValueError, match=f"cannot read {path}: .*{says}.*; run the trial again"):
        ReadOnce(store.folder).predictions(record().trial.id)


def test_no_code_comes_out_of_predictions(store):
    """A pickle may run anything when it is loaded."""
    path = store.predictions_path(record().trial.id)
    np.savez(path, logits=np.array([print], object))
    for reader in (store, ReadOnce(store.folder)):
        with pytest.raises(ValueError, match=f"cannot read {path}"):
            reader.predictions(record().trial.id)
    np.save(path.with_suffix(".npy"), np.zeros(2))
    path.with_suffix(".npy").replace(path)
    with pytest.raises(ValueError, match=r"not an \.npz archive"):
        store.predictions(record().trial.id)


OLD = Path(__file__).parent / "record-1.json"


def test_a_record_of_schema_1_stays_readable():
    """Written by dnabench 0.1.0; whatever changes later, this file must load."""
    record = Record.from_json(OLD.read_text())
    assert record.trial.model == "kmer" and record.scores["test"]["mcc"] == 0.5
    assert json.loads(OLD.read_text())["id"] == record.trial.id


def test_a_record_from_before_a_field_was_added_is_readable():
    """A future field of Recipe: here one is taken out, and the id is that of the rest."""
    fields = json.loads(record().to_json())
    del fields["trial"]["recipe"]["patience"]
    fields["id"] = trial_id(fields["trial"])
    assert Record.from_json(json.dumps(fields)).trial.recipe == Recipe()


def test_a_record_that_was_edited_is_refused():
    with pytest.raises(ValueError, match="its fields give"):
        Record.from_json(record().to_json().replace('"seed": 0', '"seed": 1'))


@pytest.mark.parametrize(
    ("harm", "why"),
    [(lambda t: t[: len(t) // 2], "delimiter|Expecting|Unterminated"), (lambda t: "", "Expecting"),
     (lambda t: "[]", "not a dnabench.record/1"),
     (lambda t: t.replace("record/1", "record/9"), "record/1"),
     (lambda t: t.replace('"regime"', '"regimen"'), "missing in trial: regime")],
)  # fmt: skip
def test_a_harmed_record_is_named_skipped_and_kept(store, harm, why):
    store.append(record(0))
    store.append(record(1))
    path = store.record_path(record(0).trial.id)
    path.write_text(harm(path.read_text()))
    assert [r.trial.seed for r in store] == [1]
    assert list(store.unreadable) == [path] and path.exists()
    with pytest.raises(ValueError, match=why):
        Record.from_json(path.read_text())


def test_undecodable_bytes_are_named_too(store):
    store.append(record(0))
    path = store.record_path(record(0).trial.id)
    path.write_bytes(b"\xff\xfe\x00")
    assert list(store) == [] and list(store.unreadable) == [path]


def test_failed_trials_are_not_done(store):
    store.append(record(0))
    store.append(record(1, error="Traceback ..."))
    assert store.done() == {record(0).trial.id}
    store.append(record(1))
    assert len(store.done()) == 2 and len(list(store)) == 2


def test_a_crash_while_writing_leaves_the_old_record(store, monkeypatch):
    store.append(record(0, error="first"))

    def full_disk(fd):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", full_disk)
        with pytest.raises(ValueError, match=r"runs: No space left.*make room.*--out.*the same"):
            store.append(record(0), PREDICTIONS)
    (only,) = store
    assert only.error == "first"
    assert not [p for p in store.folder.rglob("*") if p.name.endswith(".tmp")]


def full_after(n, monkeypatch):
    """A disk that gets full after n times that something was written to it for good."""
    calls, fsync = itertools.count(), os.fsync

    def fail(fd):
        if next(calls) >= n:
            raise OSError(28, "No space left on device")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)


def test_the_file_that_others_look_for_comes_last(tmp_path, monkeypatch):
    """Wherever the disk gets full: no record without predictions, no card without weights."""
    files = dict.fromkeys(("network.json", "model.safetensors", "tokenizer.json"), b"1")
    one = record().trial.id
    for n in itertools.count():
        store = Store(tmp_path / str(n))
        with monkeypatch.context() as m, suppress(ValueError):
            full_after(n, m)
            store.save_network(one, files)
            store.append(record(), PREDICTIONS)
            break
        there = {path.name for path in store.network_path(one).iterdir()}
        assert there == files.keys() or not store.has_network(one)
        assert not store.written(one) or store.predictions(one)
    assert n >= 5


def test_a_card_goes_before_its_weights(store):
    store.save_network("x", {"network.json": b"{}"})
    (store.network_path("x") / "model.safetensors").mkdir()  # which cannot be unlinked
    with pytest.raises(ValueError, match="cannot write to"):
        store.remove_network("x")
    assert not store.has_network("x")


def test_what_a_killed_writer_left_is_removed_after_a_day(store):
    folders = ("records", "predictions", "tuning", "slurm/slurm-1", "ray", ".cache/records")
    for folder in folders:
        (store.folder / folder).mkdir(parents=True, exist_ok=True)
        for name, age in ((".old.npz.1f2e.tmp", 90_000), (".new.npz.1f2e.tmp", 60)):
            (store.folder / folder / name).touch()
            os.utime(store.folder / folder / name, (time.time() - age,) * 2)
    store.check_writable()
    left = [p.name for p in store.folder.rglob("*.tmp")]
    assert left == [".new.npz.1f2e.tmp"] * len(folders)


KILLED = """
import os, signal, sys
from dnabench.results import claims
from dnabench.results.store import Store
def die(*seen, **more):
    os.kill(os.getpid(), signal.SIGKILL)
store = Store(sys.argv[1])
if sys.argv[2] == "clock":
    os.stat = die  # the next look at a file
    claims.server_time(store.folder / "records")
else:
    claims.json.dump = die
    store.check_writable()
"""


@pytest.mark.parametrize("where", ["clock", "probe"])
def test_what_a_killed_look_at_the_folder_left_is_removed_too(store, where):
    words = [sys.executable, "-c", KILLED, str(store.folder), where]
    assert subprocess.run(words).returncode == -signal.SIGKILL
    left = [p for p in store.folder.rglob(".*") if p.is_file()]
    assert len(left) == (1 if where == "clock" else 2)
    for path in left:
        os.utime(path, (time.time() - 90_000,) * 2)
    store.check_writable()
    assert not any(p.exists() for p in left)


def test_a_folder_that_went_away_is_named_and_not_its_lock(store):
    shutil.rmtree(store.folder)
    says = rf"cannot write to {store.folder}: No such file"
    with pytest.raises(ValueError, match=says), store.claim("t"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*file/runs: .*name another folder"):
        Store(tmp_path / "file" / "runs").check_writable()


def hold(folder, trial_id, ready, seconds):
    with Store(folder).claim(trial_id) as mine:
        ready.put(mine is not None)
        time.sleep(seconds)


def test_a_claim_holds_against_other_processes_and_ends_with_its_holder(store):
    context = mp.get_context("spawn")
    ready = context.Queue()
    other = context.Process(target=hold, args=(store.folder, "t", ready, 60))
    other.start()
    assert ready.get(timeout=30) is True
    with store.claim("t") as mine, store.claim("u") as free:
        assert not mine and free
    other.kill()
    other.join()
    with store.claim("t") as mine:
        assert mine


def append_many(folder, seeds):
    store = Store(folder)
    for seed in seeds:
        store.append(record(seed), PREDICTIONS)


def test_many_writers_and_a_reader_never_see_half_a_record(store):
    context = mp.get_context("spawn")
    crew = [context.Process(target=append_many, args=(store.folder, range(100))) for _ in range(3)]
    for p in crew:
        p.start()
    while any(p.is_alive() for p in crew):
        list(store)
    assert not store.unreadable and len(list(store)) == 100
    (journal,) = store.folder.glob("journal*")  # one a host
    assert journal.name == f"journal-{socket.gethostname()}.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == 300 and all(json.loads(line)["event"] == "ended" for line in lines)


def test_a_config_is_kept(store):
    path = store.save_config({"seeds": "3"})
    assert json.loads(path.read_text()) == {"seeds": "3"}
    name = re.compile(rf"\d{{8}}T\d{{6}}-{re.escape(socket.gethostname())}-[0-9a-f]{{8}}\.json")
    assert name.fullmatch(path.name) and store.save_config({"seeds": "3"}) != path


def test_provenance_names_what_makes_numbers():
    import torch

    where = here()
    assert where["torch"] == torch.__version__ and where["python"] and where["cpu"]
    assert where["dnabench"] == "0.1.0" and len(where["commit"].rstrip("+")) in (0, 40)
