"""results/index.py: what Parquet files say of records is what their JSON files say, or not used."""

import json
import multiprocessing as mp
import os
import random
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabench import Recipe, Record, Trial
from dnabench.results import index
from dnabench.results import rows as rows_module
from dnabench.results.read_once import ReadOnce
from dnabench.results.rows import Unread
from dnabench.results.store import Store
from dnabench.sweep.state import state_of
from dnabench.sweep.stored import Grid
from dnabench.types import Job

N = 300
HERE = Path(__file__).parent


def record(seed, score=0.5, error=""):
    trial = Trial(
        model=f"model{seed % 3}", options={"width": 64}, regime="scratch", task="demo/x",
        data="0" * 16, protocol="honest/1", recipe=Recipe(), seed=seed,
    )  # fmt: skip
    curve = [{"epoch": 1, "loss": float("inf")}, {"epoch": 2, "loss": score, "val": {"mcc": 0.1}}]
    return Record(
        trial=trial, scores={"test": {"mcc": score}}, error=error, curve=curve, seconds=1.5,
        task={"kind": "binary", "length": 60, "metric": "mcc"}, where={"device": "cpu"},
        peak_memory=2**30, flags={"collapsed": False, "none": None},
    )  # fmt: skip


def put(folder, one):
    """As `Store.append`, without waiting for the disk."""
    path = Path(folder) / "records" / f"{one.trial.id}.json"
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(one.to_json())
    draft.replace(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "SETTLED", float("-inf"))
    (tmp_path / "records").mkdir()
    for seed in range(N):
        put(tmp_path, record(seed, error="E: x" if seed == 7 else ""))
    return tmp_path


def by_json(folder):
    """What the JSON files say, one by one."""
    store = Store(folder)
    found = (store.read(p.stem) for p in (Path(folder) / "records").glob("[!.]*.json"))
    return {r.trial.id: r for r in found if r is not None}


def by_index(folder):
    return {r.trial.id: r for r in Store(folder)}


def kept(folder):
    return sorted((Path(folder) / ".cache" / "records").glob("*.parquet"))


def agree(folder):
    """A new store, which has nothing but files, says what the JSON files say; how many it read."""
    read, load = [], Store._load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_load", lambda self, i: read.append(i) or load(self, i))
        found, done = by_index(folder), Store(folder).done()
    truth = by_json(folder)
    assert found == truth and done == {i for i, r in truth.items() if not r.error}
    for i in list(found)[:5]:
        assert found[i].to_json() == (folder / "records" / f"{i}.json").read_text()
    return len(set(read))


def test_what_is_kept_equals_the_files_and_is_not_read_again(folder):
    for name in ("record-1.json", "record-future.json"):  # older, and with fields that are unknown
        text = (HERE / name).read_text()
        (folder / "records" / f"{Record.from_json(text).trial.id}.json").write_text(text)
    assert agree(folder) == N + 2 and len(kept(folder)) == 1
    assert agree(folder) == 0


@pytest.mark.parametrize("indexed", [False, True])
def test_a_record_is_the_same_by_any_way_and_whole(folder, indexed, monkeypatch):
    store = Store(folder)
    if indexed:
        store.done()
        assert len(kept(folder)) == 1
    monkeypatch.chdir(folder)
    found = list(Store("."))
    one = found[5]
    put(folder, replace(one, scores={}, curve=[]))  # another run of a trial that was read
    monkeypatch.chdir("/")
    found[5], one = next(iter(store.records({one.trial.id}))), found[5]
    assert one.scores["test"]["mcc"] == one.curve[1]["loss"] == 0.5
    truth = [store.read(r.trial.id) for r in found]
    assert found == truth and [r.to_json() for r in found] == [r.to_json() for r in truth]
    assert json.dumps([asdict(r) for r in found], sort_keys=True) == json.dumps(
        [asdict(r) for r in truth], sort_keys=True
    )
    assert all(type(r.curve) is list for r in found)


def test_a_report_parses_curves_when_it_needs_them(folder):
    """Other records have lists. A curve is that of the record, whatever becomes of the files."""
    Store(folder).done()
    truth = [Store(folder).read(r.trial.id) for r in Store(folder)]
    found = list(ReadOnce(folder))
    shutil.rmtree(folder / ".cache")
    for path in (folder / "records").iterdir():
        path.unlink()
    one, other = found[5].curve, truth[5].curve
    assert isinstance(one, Unread) and type(other) is list
    assert one == other and other == one and list(one) == other and one[-1] == other[-1]
    assert one and len(one) == 2 and one != [] and not Unread("[]")
    assert found == truth and [r.to_json() for r in found] == [r.to_json() for r in truth]
    assert json.dumps([asdict(r) for r in found]) == json.dumps([asdict(r) for r in truth])


def test_the_texts_of_a_file_are_read_in_groups(folder, monkeypatch):
    """Each once, in order of the records; the groups are of several files."""
    for module in (index, rows_module):
        monkeypatch.setattr(module, "GROUP", 32)
    monkeypatch.setattr(index, "MADE", 40)
    monkeypatch.setattr(index, "AT_ONCE", 128)
    Store(folder).done()
    n_groups = sorted(pq.ParquetFile(path).num_row_groups for path in kept(folder))
    groups, read = [], index.read_texts
    monkeypatch.setattr(index, "read_texts", lambda *at: groups.append(at) or read(*at))
    assert agree(folder) == 0
    assert n_groups == [2, 4, 4] and len(groups) == len(set(groups)) == 10


def test_small_folders_keep_nothing(folder):
    for path in sorted((folder / "records").iterdir())[index.LEAST - 1 :]:
        path.unlink()
    assert agree(folder) == index.LEAST - 1 and not (folder / ".cache").exists()


@pytest.mark.parametrize("same_times", [False, True])
def test_an_edited_record_counts_as_it_is_now(folder, same_times):
    agree(folder)
    path = folder / "records" / f"{record(3).trial.id}.json"
    was = path.stat()
    path.write_text(path.read_text().replace('"mcc": 0.5', '"mcc": 0.9'))
    if same_times:
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert path.stat().st_size == was.st_size
    assert agree(folder) == 1 and by_index(folder)[path.stem].scores["test"]["mcc"] == 0.9


def test_removed_new_and_spoiled_records_are_noticed(folder):
    agree(folder)
    paths = sorted((folder / "records").iterdir())
    paths[0].unlink()
    paths[1].write_text("{")
    put(folder, record(N))
    (folder / "records" / "folder.json").mkdir()
    shutil.copy(paths[2], folder / "records" / "copy.json")
    agree(folder)
    store = Store(folder)
    list(store)
    why = {path.name: reason for path, reason in store.unreadable.items()}
    assert why.keys() == {paths[1].name, "folder.json", "copy.json"}
    assert "a copy" in why["copy.json"] and "directory" in why["folder.json"]
    assert [row.id for row in store.rows()] == sorted(
        (row.id for row in store.rows()), key=lambda i: (store.written(i), i)
    )


def test_what_is_known_of_files_that_are_no_records_is_kept_too(folder):
    for seed in range(N, 2 * N):
        (folder / "records" / f"{seed}.json").write_text("{}")
    assert agree(folder) == 2 * N and agree(folder) == 0
    store = Store(folder)
    assert len(list(store)) == N and len(store.unreadable) == N


@pytest.mark.parametrize(
    "harm",
    [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PAR1" * 100,
     lambda b: b[:200] + bytes(x ^ 255 for x in b[200:260]) + b[260:]],
    ids=["torn", "empty", "other", "bits"],
)  # fmt: skip
def test_a_damaged_file_is_not_used(folder, harm):
    agree(folder)
    (path,) = kept(folder)
    path.write_bytes(harm(path.read_bytes()))
    assert agree(folder) == N and agree(folder) == 0  # another file has it now


def test_files_may_be_removed_while_they_are_used(folder):
    agree(folder)
    store = Store(folder)
    _, records = store.listing()
    shutil.rmtree(folder / ".cache")
    spoiled, removed, closed = sorted((folder / "records").iterdir())[:3]
    spoiled.write_text("{")
    removed.unlink()
    closed.unlink()
    closed.mkdir()
    assert {r.trial.id: r for r in records} == by_json(folder)
    assert len(by_json(folder)) == N - 3 and store.unreadable.keys() == {spoiled, closed}
    assert "directory" in store.unreadable[closed]


def test_a_folder_may_be_looked_at_while_its_records_are_gone_through(folder, monkeypatch):
    monkeypatch.setattr(index, "SETTLED", 1e18)  # all are read from JSON
    monkeypatch.setattr(index, "MADE", 10)
    store, found = Store(folder), []
    for one in store:
        found.append(one)
        if len(found) == 5:
            put(folder, record(N - 1))
            store.done()
    assert len(found) == N


@pytest.mark.parametrize("lost", [False, True])
def test_the_state_of_a_folder_is_of_one_moment(folder, lost, monkeypatch):
    one, listed, store = record(3), index.Index.rows, Store(folder)

    def rows(self, *args):
        found = listed(self, *args)
        if store.written(one.trial.id):
            store.set_aside(one.trial.id)
            if lost:
                shutil.rmtree(folder / ".cache")
        return found

    monkeypatch.setattr(index.Index, "rows", rows)
    state = state_of(store, Grid({one.trial.id: Job(one.trial)}, {}, {}))
    assert not state.failed and len(state.waiting if lost else state.done) == 1


@pytest.mark.parametrize("where", [".cache", ".cache/records"])
def test_nothing_is_kept_nor_made_where_nothing_can_be_written(folder, where, monkeypatch):
    (folder / where).parent.mkdir(exist_ok=True)
    (folder / where).write_text("in the way")
    monkeypatch.setattr(index, "texts_of", None)
    assert agree(folder) == N and agree(folder) == N


def test_files_that_cannot_be_opened_are_not_kept(folder):
    shutil.rmtree(folder / "records")
    for n in range(N):
        (folder / "records" / f"d{n}.json").mkdir(parents=True)
    for _ in range(2):
        store = Store(folder)
        assert not list(store) and len(store.unreadable) == N and not kept(folder)


def test_what_a_table_cannot_hold_is_read_from_json(folder):
    (folder / "records" / "\udcff.json").write_text("{")  # a name that is not UTF-8
    odd = record(N)
    put(folder, replace(odd, seconds=2**60 + 1))
    put(folder, replace(record(N + 1), where={"device": "\ud800"}))
    assert agree(folder) == N + 3 and agree(folder) == 1  # the name
    assert by_index(folder)[odd.trial.id].seconds == 2**60 + 1


def test_no_error_of_arrow_is_seen(folder, monkeypatch):
    def fails(*args, **options):
        raise pa.ArrowNotImplementedError("this file system")

    for name in ("write_table", "ParquetFile"):
        with monkeypatch.context() as patch:
            patch.setattr(pq, name, fails)
            assert agree(folder) == N
            Store(folder).compact()
            assert agree(folder) == N


def test_a_file_that_could_still_change_in_the_same_tick_is_not_kept(folder, monkeypatch):
    monkeypatch.setattr(index, "SETTLED", 60e9)
    assert agree(folder) == N and not kept(folder)


def test_other_code_does_not_use_what_this_code_kept(folder, monkeypatch):
    agree(folder)
    monkeypatch.setattr(index, "code", lambda: "another")
    assert agree(folder) == N and len(kept(folder)) == 2


def test_many_files_become_one_without_what_no_longer_counts(folder, monkeypatch):
    monkeypatch.setattr(index, "MOST", 3)
    monkeypatch.setattr(index, "LEAST", 10)
    for some in range(5):
        for seed in range(some * 10, some * 10 + 10):
            put(folder, record(seed, 0.25 + some / 10))
        list(Store(folder))
        assert len(kept(folder)) <= 3
    assert agree(folder) == 0
    list(Store(folder))
    n, rows = Store(folder).compact()
    assert n > 1 and rows == N and len(kept(folder)) == 1 and agree(folder) == 0


def test_files_without_a_row_that_counts_are_removed(folder, monkeypatch):
    monkeypatch.setattr(index, "MOST", 2)
    for n in range(8):
        for path in (folder / "records").iterdir():
            path.chmod(0o640 if n % 2 else 0o644)
        agree(folder)
        assert len(kept(folder)) <= 2
    list(Store(folder))
    for path in (folder / "records").iterdir():
        path.chmod(0o600)
    Store(folder).compact()
    assert len(kept(folder)) == 1 and agree(folder) == 0


def test_compact_takes_nothing_from_what_other_code_kept(folder, monkeypatch):
    load = Store._load
    with monkeypatch.context() as patch:  # it reads all scores otherwise
        patch.setattr(index, "code", lambda: "00000000")
        patch.setattr(Store, "_load", lambda self, i: replace(load(self, i), scores={}))
        assert not any(r.scores for r in Store(folder))
    put(folder, record(N))
    assert Store(folder).compact() == (2, N + 1)
    assert agree(folder) == 0 and len(kept(folder)) == 1


def test_files_that_have_to_stay_are_not_copied(folder, monkeypatch):
    monkeypatch.setattr(index, "MOST", 2)
    monkeypatch.setattr(index, "LEAST", 10)
    unlink, mine = Path.unlink, []

    def sticky(path, *args, **options):  # as in a folder where each may remove only their own
        if path.suffix == ".parquet" and path.name not in mine:
            raise PermissionError(1, "Operation not permitted")
        unlink(path, *args, **options)

    monkeypatch.setattr(Path, "unlink", sticky)
    for some in range(6):
        for seed in range(some * 10, some * 10 + 10):
            put(folder, record(seed, 0.25 + some / 10))
        agree(folder)
    assert [rows(path) for path in kept(folder)].count(N) == 1  # that of the first reading
    mine.extend(path.name for path in kept(folder) if rows(path) < N)
    with pytest.raises(ValueError, match="not permitted"):
        Store(folder).compact()
    assert sorted(map(rows, kept(folder))) == [50, N] and agree(folder) == 0


def rows(path):
    return pq.ParquetFile(path).metadata.num_rows


def read_until(ended, folder, to, host):
    index.SETTLED, index.LEAST, index.MOST, index.HOST = 0.0, 5, 2, host
    seen, last = [], False
    while not last:
        last = ended.is_set()
        found = by_index(folder)
        seen.append(len(found))
        for one in found.values():  # a record is written with its seed's score, then with 0.9
            assert one.scores["test"]["mcc"] in (0.5, 0.9)
    to.put(seen)


def test_processes_share_it_while_records_come_change_and_go(folder):
    context = mp.get_context("fork")
    to, ended = context.Queue(), context.Event()
    readers = [context.Process(target=read_until, args=(ended, folder, to, host))
               for host in ("one", "one", "two")]  # fmt: skip
    for reader in readers:
        reader.start()
    random.seed(0)
    for seed in range(N, N + 150):
        put(folder, record(seed))
        put(folder, record(random.randrange(N), 0.9))
        time.sleep(0.01)
    ended.set()
    seen = [to.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(60)
        assert reader.exitcode == 0
    assert all(n == sorted(n) and n[-1] == N + 150 for n in seen)  # nothing is lost in between
    agree(folder)
