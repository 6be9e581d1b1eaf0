"""Folders of results as a whole: `dnabench store`."""

import hashlib
import itertools
import json
import signal
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import dnabench, planted_split, start
from test_store import full_after
from test_sweep import wait_for

from dnabench.results.merging import faults, merge
from dnabench.results.store import Store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two folders: seeds 0 and 1, and 1 and 2, of kmer; the networks are kept."""
    folder = tmp_path_factory.mktemp("stores")
    part = planted_split(60, 3)
    rows = [f"{part.seqs[i]},{part.y[i]}" for i in range(60)]
    (folder / "my.csv").write_text("\n".join(["sequence,label", *rows]) + "\n")
    for name, seeds in (("a", "0,1"), ("b", "1,2")):
        done = dnabench("run", "-m", "kmer", "--data", folder / "my.csv", "--seeds", seeds,
                        "--keep", "all", "--epochs", "2", "--out", folder / name)  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def ids(store):
    return {record.trial.id: record.trial.seed for record in store}


def test_two_folders_become_one(stores, tmp_path):
    target = tmp_path / "all"
    done = dnabench("store", "merge", stores / "a", stores / "b", "--out", target)
    assert done.returncode == 0, done.stderr
    assert "3 trials copied, 0 in place of failed ones, 1 already there, 0 conflicts" in done.stdout
    (duplicate,) = ids(Store(stores / "a")).keys() & ids(Store(stores / "b")).keys()
    assert f"duplicate: {duplicate}: {stores / 'b'} has it" in done.stdout
    a, b, both = Store(stores / "a"), Store(stores / "b"), Store(target)
    assert sorted(ids(both).values()) == [0, 1, 2] and ids(both) == ids(a) | ids(b)
    for trial_id in ids(both):
        source = a if trial_id in ids(a) else b
        for path in ("record_path", "predictions_path"):
            assert (getattr(both, path)(trial_id).read_bytes()
                    == getattr(source, path)(trial_id).read_bytes())  # fmt: skip
        assert both.has_network(trial_id)
    assert len(list((target / "configs").iterdir())) == 2
    assert not list(faults(both))
    again = dnabench("store", "merge", stores / "a", stores / "b", "--out", target)
    assert "0 trials copied" in again.stdout and "4 already there" in again.stdout
    assert len(list((target / "configs").iterdir())) == 2
    report = dnabench("report", "--out", target)
    assert report.returncode == 0 and "kmer" in report.stdout


def test_a_conflict_is_named_and_changes_nothing(stores, tmp_path):
    target = Store(tmp_path / "all")
    merge([Store(stores / "a")], target)
    trial_id = sorted(ids(target))[0]
    path = target.record_path(trial_id)
    record = json.loads(path.read_text())
    record["scores"]["test"]["mcc"] = 0.123
    path.write_text(json.dumps(record))
    before = path.read_bytes()
    done = dnabench("store", "merge", stores / "a", "--out", target.folder)
    says = f"conflict: {trial_id}: other scores in {stores / 'a'}"
    assert done.returncode == 1 and says in done.stdout
    assert "1 already there, 1 conflict" in done.stdout and path.read_bytes() == before


def test_a_finished_trial_takes_the_place_of_a_failed_one(stores, tmp_path):
    target = Store(tmp_path / "all")
    source = Store(stores / "a")
    merge([source], target)
    trial_id = sorted(ids(target))[0]
    path = target.record_path(trial_id)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "scores": {}, "error": "RuntimeError: no"}))
    found = merge([source], target)
    assert found.replaced == [trial_id] and not found.conflicts
    assert path.read_bytes() == source.record_path(trial_id).read_bytes()
    for old in (path, target.predictions_path(trial_id), target.network_path(trial_id)):
        assert old.exists() and old.with_name(f"{old.name}.replaced-1").exists()
    path.write_text("{")
    assert merge([source], target).conflicts == [(trial_id, source.folder)]
    assert path.read_text() == "{"


def test_a_trial_that_is_running_is_left_to_its_process(stores, tmp_path):
    source, target = Store(stores / "a"), Store(tmp_path / "all")
    target.check_writable()
    trial_id = sorted(ids(source))[0]
    with target.claim(trial_id) as claim:
        assert claim is not None
        found = merge([source], target)
    assert found.running == [trial_id] and len(found.copied) == 1
    assert merge([source], target).copied == [trial_id]


def test_check_names_what_is_wrong(stores, tmp_path):
    target = Store(tmp_path / "all")
    merge([Store(stores / "a"), Store(stores / "b")], target)
    good = dnabench("store", "check", "--out", target.folder)
    assert good.returncode == 0 and "3 records, 0 faults" in good.stdout
    one, two, three = sorted(ids(target))
    target.predictions_path(one).write_bytes(b"PK\x03\x04 no archive")
    target.predictions_path(two).unlink()
    target.record_path(three).write_text("{")
    (target.network_path(two) / "network.json").unlink()
    np.savez(target.folder / "predictions" / "0123456789abcdef.npz", logits=np.zeros(2))
    bad = dnabench("store", "check", "--out", target.folder)
    assert bad.returncode == 1 and "3 records, 5 faults" in bad.stdout
    for words in (
        f"{one}.npz: ", f"{two}.npz: the predictions of this trial are missing", f"{three}.json: ",
        "0123456789abcdef.npz: predictions of no finished trial", "a network without network.json",
    ):  # fmt: skip
        assert words in bad.stdout


def test_check_names_trials_whose_records_are_gone(stores, tmp_path):
    target = Store(tmp_path / "all")
    merge([Store(stores / "a")], target)
    (journal,) = target.folder.glob("journal-*.jsonl")
    with journal.open("a") as file:
        file.write('{"at": 1, "eve\n')  # cut off
    with journal.open("ab") as file:
        file.write(b"\xff\x00\n")  # of a damaged disk
    assert not list(faults(target))
    one = min(ids(target))
    target.record_path(one).unlink()
    target.predictions_path(one).unlink()
    (found,) = faults(target)
    assert found.path == journal
    assert found.why == f"1 trial ended and left no record here, such as {one}"
    assert found.way.endswith("if removed on purpose, move this away")
    journal.unlink()
    journal.mkdir()  # what cannot be read, also by root
    (found,) = faults(target)
    assert found.path == journal and found.way == "move it away, or give access to it"


def test_a_trial_that_ends_while_a_folder_is_checked_is_not_missing(stores, tmp_path):
    target = Store(tmp_path / "all")
    merge([Store(stores / "a")], target)
    one = next(iter(target))
    late = replace(one, trial=replace(one.trial, seed=99))
    answers = target.predictions(one.trial.id)
    assert not list(faults(target, lambda n: target.append(late, answers)))
    assert target.written(late.trial.id)


def test_export_has_a_row_for_each_record(stores, tmp_path):
    to = tmp_path / "records.parquet"
    done = dnabench("store", "export", "--out", stores / "a", "--to", to,
                    "--format", "parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    table, store = pq.read_table(to).to_pandas(), Store(stores / "a")
    assert dict(zip(table.id, table.seed, strict=True)) == ids(store)
    for record in store:
        row = table[table.id == record.trial.id].iloc[0]
        assert row["test.mcc"] == record.scores["test"]["mcc"]
        assert json.loads(row["recipe"])["epochs"] == record.trial.recipe.epochs
        assert json.loads(row["record"]) == json.loads(record.to_json())
    wrong = dnabench("store", "export", "--out", stores / "a", "--to", tmp_path / "x.csv")
    assert wrong.returncode == 2 and "ends in .parquet" in wrong.stderr
    wrong = dnabench("store", "export", "--out", stores / "a", "--format", "csv")
    assert wrong.returncode == 2 and "there is parquet alone" in wrong.stderr


@pytest.mark.parametrize("words", [["check"], ["compact"], ["merge", "none"], ["export"]])
def test_a_folder_that_is_none_is_said(words, tmp_path):
    words = [tmp_path / w if w == "none" else w for w in words]
    done = dnabench("store", *words, "--out", tmp_path / "none")
    assert done.returncode == 2 and "no folder of results" in done.stderr


def test_what_the_target_lacks_of_a_trial_is_copied(stores, tmp_path):
    source, target = Store(stores / "a"), Store(tmp_path / "all")
    merge([source], target)
    one, two = sorted(ids(target))
    target.predictions_path(one).unlink()
    target.remove_network(two)
    other = target.network_path(one) / "model.safetensors"
    other.write_bytes(b"its own")
    done = dnabench("store", "merge", stores / "a", "--out", target.folder)
    assert done.returncode == 0 and "0 trials copied" in done.stdout, done.stderr
    assert "2 already there, 0 conflicts" in done.stdout
    assert not list(faults(target)) and target.has_network(two)
    assert other.read_bytes() == b"its own"  # what is there stays
    for name in ("predictions_path", "network_path"):
        for trial_id in (one, two):
            assert getattr(target, name)(trial_id).exists()


def test_a_trial_that_failed_in_a_later_source_is_no_conflict(stores, tmp_path):
    finished, failed = Store(stores / "a"), Store(tmp_path / "failed")
    merge([finished], failed)
    trial_id = sorted(ids(finished))[0]
    path = failed.record_path(trial_id)
    path.write_text(json.dumps({**json.loads(path.read_text()), "scores": {}, "error": "no"}))
    target = tmp_path / "all"
    done = dnabench("store", "merge", finished.folder, failed.folder, "--out", target)
    assert done.returncode == 0, done.stdout
    assert "1 already there, 0 conflicts, 1 that failed in a source alone" in done.stdout
    assert f"failed: {trial_id}: in {failed.folder} it failed" in done.stdout
    assert not Store(target).read(trial_id).error
    both = merge([failed, finished], Store(tmp_path / "other"))
    assert both.replaced == [trial_id] and not both.conflicts and not both.failed


def test_a_merge_that_was_killed_leaves_a_valid_folder_and_goes_on(stores, tmp_path):
    sources = [stores / "a", stores / "b"]
    whole, target = Store(tmp_path / "whole"), Store(tmp_path / "all")
    merge([Store(path) for path in sources], whole)
    running = start("store", "merge", *sources, "--out", target.folder)
    wait_for(lambda: any((target.folder / "predictions").glob("*.npz")))
    running.send_signal(signal.SIGKILL)
    running.communicate()
    for fault in faults(target):
        assert "harmless" in fault.way or "a network without network.json" in fault.why
    merge([Store(path) for path in sources], target)
    assert not list(faults(target))
    for name in ("records", "predictions", "networks", "configs"):
        found, wanted = (
            {p.relative_to(store.folder): p.read_bytes()
             for p in (store.folder / name).rglob("[!.]*") if p.is_file()}
            for store in (target, whole)
        )  # fmt: skip
        assert found == wanted and found


def test_a_merge_that_fills_the_disk_leaves_no_record_without_its_files(
    stores, tmp_path, monkeypatch
):
    source = Store(stores / "a")
    for n in itertools.count():
        target = Store(tmp_path / str(n))
        with monkeypatch.context() as m, suppress(ValueError):
            full_after(n, m)
            merge([source], target)
            break
        for record in target:
            assert target.predictions(record.trial.id) and target.has_network(record.trial.id)
        for path in target.folder.glob("networks/*/network.json"):
            assert (path.parent / "model.safetensors").exists()
    assert n >= 8 and len(list(target)) == 2


def pretrained(folder, name, weights, ended=True):
    """A folder as `dnabench regimes` leaves one, with weights that no test reads."""
    to = folder / "pretrained" / name
    to.mkdir(parents=True)
    (to / "model.safetensors").write_bytes(weights)
    if ended:
        sha = hashlib.sha256(weights).hexdigest()
        (to / "network.json").write_text(json.dumps({"weights": sha}))
    return to


def test_networks_of_regimes_are_copied_or_named(tmp_path):
    a, b, target = tmp_path / "a", tmp_path / "b", tmp_path / "all"
    pretrained(a, "one", b"1")
    pretrained(b, "one", b"2")
    pretrained(b, "two", b"3")
    pretrained(b, "open", b"4", ended=False)
    (b / "pretrained" / "bpe-512-0.json").write_text("{}")
    said = []
    for _ in range(2):  # and again changes nothing
        said.clear()
        merge([Store(a), Store(b)], Store(target), said.append)
        there = target / "pretrained"
        assert (there / "one" / "model.safetensors").read_bytes() == b"1"
        assert (there / "two" / "model.safetensors").read_bytes() == b"3"
        assert (there / "two" / "network.json").is_file()
        assert (there / "bpe-512-0.json").is_file() and not (there / "open").exists()
        assert [line.partition(":")[0] for line in said] == [
            str(b / "pretrained" / "one"), str(b / "pretrained" / "open")
        ]  # fmt: skip
        assert "another pretraining" in said[0] and "has not ended" in said[1]
