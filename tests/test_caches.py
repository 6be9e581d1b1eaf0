"""host/disk.py on caches made by the real writer, and `dnabench cache` as a user types it."""

import fcntl
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import dnabench, planted_split

from dnabench.host.disk import clear, entries, named, size, users_of
from dnabench.tasks.io.imported import Writer, array_path, task_folder

LONG_AGO = time.time() - 100_000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two imported tasks of one suite, downloads, a probe's choices, and unknown."""
    home = tmp_path / "cache"
    monkeypatch.setenv("DNABENCH_CACHE", str(home))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("gue/mouse_0", "gue/mouse_1"):
        with Writer(name, "here") as writer:
            for seed, split in enumerate(("train", "test")):
                writer.add(split, planted_split(40, seed))
    for folder in ("fetched/gue", "convolution", "audits", "unpacked-x1", "my-own"):
        (home / folder).mkdir(parents=True)
        (home / folder / "file").write_bytes(b"x" * 10_000)
        os.utime(home / folder / "file", (LONG_AGO, LONG_AGO))
    return home


def by_name(out=None):
    return {entry.name: entry for entry in entries(out)}


def test_everything_is_listed_with_its_size_and_last_use(cache, tmp_path):
    found = by_name()
    assert list(found)[:2] == ["task:gue/mouse_0", "task:gue/mouse_1"]
    assert set(found) >= {"fetched", "convolution", "audits", "unpacked-x1", "my-own"}
    assert 10_000 <= found["fetched"].bytes < 30_000
    assert found["fetched"].used == pytest.approx(LONG_AGO, abs=1)
    assert found["task:gue/mouse_0"].used == pytest.approx(time.time(), abs=600)
    assert [name for name, entry in found.items() if not entry.ours and name != "hub"] == ["my-own"]
    (tmp_path / "runs" / ".cache").mkdir(parents=True)
    assert "intervals" in by_name(tmp_path / "runs") and "intervals" not in by_name()


def test_a_cache_that_is_not_there_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("DNABENCH_CACHE", str(tmp_path / "nowhere"))
    assert [entry.name for entry in entries()] in ([], ["hub"])
    assert not (tmp_path / "nowhere").exists()


def test_names_stand_for_one_or_many(cache):
    found = entries()
    assert [e.name for e in named(["tasks"], found)] == ["task:gue/mouse_0", "task:gue/mouse_1"]
    assert len(named(["task:gue", "task:gue/mouse_1"], found)) == 2
    assert [e.name for e in named(["fetched"], found)] == ["fetched"]
    with pytest.raises(KeyError, match="no cache named 'fetch'; did you mean fetched"):
        named(["fetch"], found)


def test_clearing_takes_the_whole_and_nothing_else(cache):
    gone = named(["task:gue/mouse_0", "convolution", "unpacked-x1"], entries())
    assert clear(gone) == [(entry, "") for entry in gone]
    assert set(by_name()) - {"hub"} == {"task:gue/mouse_1", "fetched", "audits", "my-own"}
    assert not [p for p in cache.rglob("*") if "removing" in p.name]
    assert clear(gone[:1]) == [(gone[0], "")]  # somebody was faster


def test_what_is_not_ours_stays(cache):
    (entry,) = named(["my-own"], entries())
    ((_, why),) = clear([entry])
    assert "dnabench does not remove it" in why and (cache / "my-own" / "file").exists()


def test_what_another_process_holds_stays(cache):
    lock = task_folder("gue/mouse_0") / ".lock"
    with lock.open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        ((_, why),) = clear([by_name()["task:gue/mouse_0"]])
    assert f"another process holds {lock}" in why and "task:gue/mouse_0" in by_name()
    assert clear([by_name()["task:gue/mouse_0"]])[0][1] == ""


def test_what_is_being_written_stays(cache):
    (task_folder("gue/mouse_0") / ".writing-ab").mkdir()
    (cache / "unpacked-x1" / "fresh").write_text("")
    for name in ("task:gue/mouse_0", "unpacked-x1"):
        ((_, why),) = clear([by_name()[name]])
        assert "was written" in why and "try again" in why and name in by_name()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says who maps a file")
def test_what_another_process_maps_stays(cache):
    home = task_folder("gue/mouse_1")
    (folder,) = (p for p in home.iterdir() if p.is_dir())
    path = array_path(folder, "train", "codes")
    code = f"import mmap; f = open({str(path)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); "
    code += "f.close(); print('mapped', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    try:
        assert child.stdout.readline() == "mapped\n"
        assert users_of(home) == [child.pid] and users_of(cache / "fetched") == []
        ((_, why),) = clear([by_name()["task:gue/mouse_1"]])
        assert f"in use by process {child.pid}" in why and path.exists()
    finally:
        child.communicate("\n")
    assert clear([by_name()["task:gue/mouse_1"]])[0][1] == ""


def test_links_are_removed_and_not_followed(cache, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    np.save(precious / "a.npy", np.zeros(9000))
    (cache / "fetched" / "link").symlink_to(precious)
    assert by_name()["fetched"].bytes < 30_000
    assert clear([by_name()["fetched"]])[0][1] == ""
    assert (precious / "a.npy").exists() and "fetched" not in by_name()


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.23 kB"), (999_600, "1 MB"), (45.6e6, "45.6 MB"),
     (2e9, "2 GB"), (3.5e12, "3.5 TB")],
)  # fmt: skip
def test_sizes(n, text):
    assert size(n) == text


def test_the_command_lists_and_clears(cache, tmp_path):
    runs = tmp_path / "runs"
    for name in ("records", ".cache"):
        (runs / name).mkdir(parents=True)
        (runs / name / "0123456789abcdef.json").write_text("{}")
    listed = dnabench("cache", "list", "--out", runs)
    assert listed.returncode == 0 and "task:gue/mouse_0" in listed.stdout
    assert {e["name"] for e in json.loads(dnabench("cache", "list", "--json").stdout)} >= {
        "fetched", "convolution"
    }  # fmt: skip
    asked = dnabench("cache", "clear", "fetched")
    assert asked.returncode == 2 and "pass --yes" in asked.stderr and (cache / "fetched").exists()
    unclear = dnabench("cache", "clear")
    assert unclear.returncode == 2 and "name the entries to clear" in unclear.stderr
    done = dnabench("cache", "clear", "--all", "--yes", "--out", runs)
    assert done.returncode == 0 and "7 removed" in done.stdout, done.stderr
    assert (runs / "records" / "0123456789abcdef.json").exists() and not (runs / ".cache").exists()
    assert [p.name for p in cache.iterdir()] in (["tasks", "my-own"], ["my-own", "tasks"])


def test_the_command_says_what_stays(cache):
    with (task_folder("gue/mouse_0") / ".lock").open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = dnabench("cache", "clear", "tasks", "--yes")
    assert done.returncode == 1 and "task:gue/mouse_0 was kept: another process" in done.stderr
    assert "1 removed" in done.stdout
