"""Fetching against a real server on loopback: what works, and what every trouble is called."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import planted_split
from fileserver import FileServer
from hub import REVISION

from dnabench import TASKS
from dnabench.tasks._declare import ORIGINS, Origin, declare
from dnabench.tasks.io import archives
from dnabench.tasks.io import download as _download
from dnabench.tasks.io.fetching import fetch

OTHER = "f" * 40
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>please</body></html>"


def fasta(n, seed):
    """As the NT suite publishes it."""
    part = planted_split(n, seed, length=500)
    return "".join(f">s{i}|{part.y[i]}\n{part.seqs[i]}\n" for i in range(n)).encode()


def csv_of(n, seed):
    """As GUE publishes it."""
    part = planted_split(n, seed, length=70)
    return (
        "sequence,label\n" + "".join(f"{part.seqs[i]},{part.y[i]}\n" for i in range(n))
    ).encode()


def gue_zip():
    return zipped({f"GUE/mouse/0/{s}.csv": csv_of(30, i) for i, s in enumerate(SPLITS)})


SPLITS = ("train", "dev", "test")


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def tarred(members, mode="w:gz"):
    """Members are bytes, or TarInfo for what is no file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(data, bytes):
                info.size = len(data)
            t.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return out.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def noise(n, seed=0):
    return np.random.default_rng(seed).bytes(n)


@pytest.fixture(scope="module")
def running():
    one = FileServer()
    with one.serving() as url:
        one.url = url
        yield one


@pytest.fixture
def server(running, tmp_path, monkeypatch):
    """An empty server that huggingface_hub takes for the hub, with an empty cache; no waiting."""
    from huggingface_hub import constants

    for kept in (running.files, running.asked, running.tokens):
        kept.clear()
    template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(_download, "PAUSE", 0.01)
    return running


@pytest.fixture
def task():
    """Declare a stand-in, and take it out of the registry again."""
    names = []

    def add(name="standin/h3", **origin):
        declare(
            name, kind="binary", classes=("0", "1"), metric="mcc", length=500, official={},
            source="here", license="CC0-1.0", origin=Origin(**origin),
        )  # fmt: skip
        names.append(name)
        return name

    yield add
    for name in names:
        TASKS._entries.pop(name)
        ORIGINS.pop(name)


NT = {
    "repo": "org/nt",
    "revision": REVISION,
    "files": {"train": ("H3/H3_train.fna",), "test": ("H3/H3_test.fna",)},
}


def put_nt(server, revision=REVISION):
    data = {"H3/H3_train.fna": fasta(40, 0), "H3/H3_test.fna": fasta(20, 1)}
    for path, content in data.items():
        server.put_dataset("org/nt", path, content, revision)
    return data


def refused(name, folder, *says):
    with pytest.raises(ValueError, match=f"^{name}: ") as e:
        fetch(name, folder)
    for text in says:
        assert text in str(e.value), str(e.value)
    return str(e.value)


def visible(folder):
    """Paths of the files that are no traces of a download."""
    if not folder.exists():
        return []
    paths = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(p) for p in paths if not any(x.startswith(".") for x in p.parts))


# ------------------------------------------------------------------------------------ the hub


def test_a_task_of_the_hub_lands_at_its_place_and_is_asked_for_once(server, task, tmp_path):
    data, name, seen = put_nt(server), task(**NT), []
    got = fetch(name, tmp_path / "d", lambda *words: seen.append(words))
    assert got.fresh and got.place == f"org/nt@{REVISION}" and got.folder == tmp_path / "d" / name
    assert {p.relative_to(got.folder).as_posix(): p.read_bytes() for p in got.files} == data
    size = len(data["H3/H3_test.fna"])
    assert seen[-1] == ("H3/H3_test.fna", size, size)
    n = len(server.asked)
    again = fetch(name, tmp_path / "d")
    assert not again.fresh and again[:4] == got[:4] and len(server.asked) == n


def test_the_folder_is_enough_without_hub_and_cache(server, task, tmp_path, monkeypatch):
    from huggingface_hub import constants

    put_nt(server)
    name = task(**NT)
    fetch(name, tmp_path / "d")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not fetch(name, tmp_path / "d").fresh
    refused(name, tmp_path / "elsewhere", "HF_HUB_OFFLINE is set", str(tmp_path / "other"),
            "H3/H3_train.fna", f"https://huggingface.co/datasets/org/nt/tree/{REVISION}",
            f"dnabench data import FOLDER --tasks {name}")  # fmt: skip


def test_the_hubs_cache_is_enough_without_the_hub(server, task, tmp_path, monkeypatch):
    from huggingface_hub import constants

    data, name = put_nt(server), task(**NT)
    fetch(name, tmp_path / "one")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    n = len(server.asked)
    got = fetch(name, tmp_path / "two")
    assert [p.read_bytes() for p in got.files] == list(data.values()) and len(server.asked) == n


def test_a_changed_file_of_the_folder_is_put_right(server, task, tmp_path):
    data, name = put_nt(server), task(**NT)
    path = fetch(name, tmp_path / "d").files[0]
    path.write_bytes(path.read_bytes().replace(b"A", b"C", 1))
    assert fetch(name, tmp_path / "d").fresh and path.read_bytes() == data["H3/H3_train.fna"]


def test_another_revision_replaces_the_files(server, task, tmp_path):
    put_nt(server)
    name = task(**NT)
    fetch(name, tmp_path / "d")
    for path in ("H3/H3_train.fna", "H3/H3_test.fna"):
        server.put_dataset("org/nt", path, fasta(10, 7), OTHER)
    got = fetch(name, tmp_path / "d", revision=OTHER)
    assert got.place.endswith(OTHER) and got.files[0].read_bytes() == fasta(10, 7)


def test_a_download_from_the_hub_that_breaks_off_goes_on(server, task, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # it resumes at whole chunks
    data, name = put_nt(server), task(**NT)
    size = len(data["H3/H3_train.fna"])
    train = next(f for p, f in server.files.items() if p.endswith("train.fna"))
    train.cuts.append(size // 2)
    assert fetch(name, tmp_path / "d").files[0].read_bytes() == data["H3/H3_train.fna"]
    assert server.gets("train.fna") == ["", f"bytes={size // 2 // 1000 * 1000}-"]


def test_a_wrong_checksum_of_the_hub_names_both(server, task, tmp_path):
    data = put_nt(server)["H3/H3_train.fna"]
    name = task(**NT, sha256={"H3/H3_train.fna": "0" * 64})
    refused(
        name, tmp_path / "d", "H3/H3_train.fna of org/nt@", "wrong checksum", "0" * 64, sha(data)
    )
    assert visible(tmp_path / "d") == []


def test_bytes_that_are_not_those_the_hub_names_are_refused(server, task, tmp_path):
    put_nt(server)
    name, claimed = task(**NT), sha(b"something else")
    next(f for p, f in server.files.items() if p.endswith("train.fna")).etag = claimed
    refused(name, tmp_path / "d", "wrong checksum", claimed)


def test_a_damaged_cache_of_the_hub_heals(server, task, tmp_path):
    data, name = put_nt(server), task(**NT)
    fetch(name, tmp_path / "one")
    blobs = [p for p in (tmp_path / "hf").rglob("blobs/*") if p.is_file()]
    for blob in blobs:
        blob.write_bytes(b">x|0\nACGT\n")
    assert len(blobs) == 2
    got = fetch(name, tmp_path / "two")
    assert [p.read_bytes() for p in got.files] == list(data.values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"repo": "org/none"}, "the hub knows no such data set"),
        ({"revision": OTHER}, "the data set has no such revision (404"),
        ({"files": {"train": ("H3/none.fna",)}}, "the data set has no such file (404"),
        ({"revision": ""}, "none is known here: take it from https://huggingface.co/datasets/org/nt"),
        ({"revision": "main"}, "'main' is not one"),
        ({"files": {}}, "it is not known which files of org/nt are those of"),
    ],
)  # fmt: skip
def test_what_the_hub_lacks_is_named(server, task, tmp_path, change, says):
    put_nt(server)
    name = task(**{**NT, **change})
    refused(name, tmp_path / "d", says, "by hand from https://huggingface.co/datasets/org/n")
    assert visible(tmp_path / "d") == []


def test_a_page_instead_of_the_hub_is_named(server, task, tmp_path):
    for path in NT["files"]["train"] + NT["files"]["test"]:
        server.put_file(f"/datasets/org/nt/resolve/{REVISION}/{path}", PAGE, kind="text/html")
    refused(task(**NT), tmp_path / "d", "answers, but not as the hub does: an HTML page")


def test_a_page_that_passes_for_a_file_of_the_hub_is_named(server, task, tmp_path):
    server.put_dataset("org/nt", "H3/H3_train.fna", PAGE)
    refused(task(**NT), tmp_path / "d", "an HTML page titled 'Sign in', not data")


def test_a_hub_file_cut_for_good_is_named(server, task, tmp_path, monkeypatch):
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)  # between its six tries
    data = put_nt(server)["H3/H3_train.fna"]
    train = next(f for p, f in server.files.items() if p.endswith("train.fna"))
    train.data, train.length = data[:-9], len(data)
    refused(task(**NT), tmp_path / "d", "H3/H3_train.fna of org/nt@", "truncated: ", "20310")
    assert visible(tmp_path / "d") == []


def test_a_hub_file_without_room_is_not_begun(server, task, tmp_path):
    put_nt(server)
    next(f for p, f in server.files.items() if p.endswith("train.fna")).length = 10**15
    refused(task(**NT), tmp_path / "d", "needs 1,000,000,000,000,000 bytes of disk", "are free in")
    assert server.gets("train.fna") == []


def test_an_archive_of_the_hub_becomes_a_folder(server, task, tmp_path):
    server.put_dataset("org/gue", "GUE.zip", gue_zip())
    name = task("standin/mouse_0", repo="org/gue", revision=REVISION,
                files=dict.fromkeys(SPLITS, ("GUE.zip",)))  # fmt: skip
    got = fetch(name, tmp_path)
    assert got.files == (tmp_path / name / "GUE",)
    assert visible(got.files[0]) == [f"GUE/mouse/0/{s}.csv" for s in sorted(SPLITS)]


def test_mirrors_help_out_when_the_hub_fails(server, task, tmp_path):
    server.put_file("/h3.fna", fasta(40, 0))
    name = task(**NT, urls=(f"{server.url}/h3.fna",))
    got = fetch(name, tmp_path)
    assert got.place == f"{server.url}/h3.fna" and got.files == (tmp_path / name / "h3.fna",)


# ------------------------------------------------------------------------------------ mirrors


def web(server, task, data, path="/h3.fna", **trouble):
    """A task of one file at a URL: its name and how it is served."""
    served = server.put_file(path, data, **trouble)
    return task(urls=(server.url + path,), sha256={server.url + path: sha(data)}), served


def test_a_file_of_a_url_arrives_with_progress(server, task, tmp_path):
    data = noise(3_000_000)
    name, _ = web(server, task, data)
    seen = []
    got = fetch(name, tmp_path, lambda *words: seen.append(words))
    assert got.files[0].read_bytes() == data
    done = [n for _, n, _ in seen]
    assert len(done) > 3 and done == sorted(done) and seen[-1] == ("h3.fna", len(data), len(data))
    stamp = json.loads((tmp_path / "standin/h3/.h3.fna.origin.json").read_text())
    assert stamp == {"place": f"{server.url}/h3.fna", "sha256": sha(data), "bytes": len(data)}
    names = [".h3.fna.lock", ".h3.fna.origin.json", "h3.fna"]  # and nothing else
    assert sorted(p.name for p in got.folder.iterdir()) == names
    assert not fetch(name, tmp_path).fresh and len(server.asked) == 1


def test_a_cut_connection_goes_on_where_it_stopped(server, task, tmp_path):
    data = noise(100_000)
    name, served = web(server, task, data)
    served.cuts += [30_000, 20_000, 1]
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert server.gets() == ["", "bytes=30000-", "bytes=50000-", "bytes=50001-"]


def test_a_truncated_file_is_named_and_completed_by_a_later_call(server, task, tmp_path):
    data = noise(100_000)
    name, served = web(server, task, data)
    served.cuts += [60_000] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated: it ended after 60,000 of 100,000 bytes (4 times in a row)",
            f"{server.url}/h3.fna")  # fmt: skip
    assert visible(tmp_path) == []
    server.asked.clear()
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert server.gets() == ["bytes=60000-"]


def test_without_ranges_a_cut_download_starts_again_and_gives_up(server, task, tmp_path):
    data = noise(100_000)
    name, served = web(server, task, data, ranges=False)
    served.cuts += [60_000, 99_000]
    assert fetch(name, tmp_path / "a").files[0].read_bytes() == data
    served.cuts += [60_000] * 9
    refused(name, tmp_path / "b", "truncated: it ended after 60,000 of 100,000")


def test_a_file_that_changed_meanwhile_is_not_mixed(server, task, tmp_path):
    old, new = noise(100_000, 1), noise(100_000, 2)
    served = server.put_file("/h3.fna", old)
    name = task(urls=(f"{server.url}/h3.fna",))
    served.cuts += [60_000] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated")
    served.data = new
    assert fetch(name, tmp_path).files[0].read_bytes() == new


def test_a_server_that_ignores_if_range_is_caught_by_its_etag(server, task, tmp_path):
    old, new = noise(100_000, 1), noise(100_000, 2)
    served = server.put_file("/h3.fna", old, validates=False)
    name = task(urls=(f"{server.url}/h3.fna",))
    served.cuts += [60_000] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated")
    served.data = new
    server.asked.clear()
    assert fetch(name, tmp_path).files[0].read_bytes() == new
    assert server.gets() == ["bytes=60000-", ""]


def test_a_server_that_cannot_tell_a_changed_file_is_caught_by_the_checksum(server, task, tmp_path):
    old, new = noise(100_000, 1), noise(100_000, 2)
    name, served = web(server, task, new, validates=False, etag="always the same")
    served.data = old
    served.cuts += [60_000] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated")
    served.data = new
    server.asked.clear()
    assert fetch(name, tmp_path).files[0].read_bytes() == new
    assert server.gets() == ["bytes=60000-", ""]  # the mixture was thrown away


def test_without_validator_and_checksum_nothing_is_resumed(server, task, tmp_path):
    data = noise(50_000)
    served = server.put_file("/h3.fna", data, etag="")
    name = task(urls=(f"{server.url}/h3.fna",))
    served.cuts += [20_000]
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert server.gets() == ["", ""]


def test_a_complete_part_of_a_killed_process_is_taken(server, task, tmp_path):
    data = noise(50_000)
    name, served = web(server, task, data)
    served.cuts += [49_999] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated")
    with (tmp_path / "standin/h3/.h3.fna.part").open("ab") as f:
        f.write(data[-1:])
    server.asked.clear()
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert server.gets() == ["bytes=50000-"]


def test_a_wrong_checksum_names_both_and_leaves_nothing(server, task, tmp_path):
    server.put_file("/h3.fna", b">x|0\nACGT\n")
    url = f"{server.url}/h3.fna"
    name = task(urls=(url,), sha256={url: "a" * 64})
    refused(name, tmp_path, url, f"sha256 {sha(b'>x|0' + bytes([10]) + b'ACGT' + bytes([10]))}",
            f"not {'a' * 64}")  # fmt: skip
    assert visible(tmp_path) == [] and not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"statuses": [403]}, "status 403 it may not be read without a log-in"),
        ({"statuses": [410]}, "status 410 it was taken away"),
        ({"statuses": [503] * 9}, "status 503 Service Unavailable (4 times in a row)"),
        ({"data": b""}, "the answer is empty"),
        ({"data": PAGE, "kind": "text/html"}, "an HTML page titled 'Sign in', not data"),
        ({"data": b"\xef\xbb\xbf \n<html>"}, "an HTML page, not data"),
        ({"encoding": "gzip"}, "it comes as gzip, which was not asked for"),
        ({"length": 10**15}, "needs 1,000,000,000,000,000 bytes of disk"),
        ({"redirect": "ftp://127.0.0.1/h3.fna"}, "no answer"),
    ],
)  # fmt: skip
def test_troubles_of_a_mirror_are_named(server, task, tmp_path, trouble, says):
    served = server.put_file("/h3.fna", b">x|0\nACGT\n")
    for field, value in trouble.items():
        setattr(served, field, value)
    refused(
        task(urls=(f"{server.url}/h3.fna",)),
        tmp_path,
        f"{server.url}/h3.fna: ",
        says,
        f"Get them by hand from {server.url}/h3.fna, then run `dnabench data import FOLDER",
    )
    assert visible(tmp_path) == []


def test_a_busy_server_is_asked_again(server, task, tmp_path):
    name, served = web(server, task, noise(1000))
    served.statuses += [503, 429]
    assert fetch(name, tmp_path).files[0].stat().st_size == 1000


def test_a_page_does_not_cost_what_was_downloaded(server, task, tmp_path):
    data = noise(100_000)
    name, served = web(server, task, data)
    served.cuts += [60_000] + [0] * _download.TRIES
    refused(name, tmp_path, "truncated")
    server.put_file("/h3.fna", PAGE)
    refused(name, tmp_path, "HTML page")
    server.put_file("/h3.fna", data)
    server.asked.clear()
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert server.gets() == ["bytes=60000-"]


def test_redirects_are_followed(server, task, tmp_path):
    data = noise(1000)
    server.put_file("/real", data)
    name, _ = web(server, task, data, redirect=f"{server.url}/real")
    assert fetch(name, tmp_path).files[0].read_bytes() == data


def test_mirrors_are_tried_in_order_and_share_what_came(server, task, tmp_path):
    data = noise(100_000)
    first, second, third = (server.put_file(f"/{i}/h3.fna", data) for i in (1, 2, 3))
    first.statuses.append(404)
    second.cuts += [40_000] + [0] * _download.TRIES
    urls = tuple(f"{server.url}/{i}/h3.fna" for i in (1, 2, 3))
    name = task(urls=urls, sha256={urls[0]: sha(data)})  # the same name: the same file
    got = fetch(name, tmp_path)
    assert got.place == urls[2] and got.files[0].read_bytes() == data
    assert server.gets("3/h3.fna") == ["bytes=40000-"] and third.statuses == []


def test_when_no_mirror_answers_each_is_named(server, task, tmp_path):
    closed = "http://127.0.0.1:9/h3.fna"
    name = task(urls=(closed, f"{server.url}/none.fna"), by_hand="Ask the authors.")
    refused(name, tmp_path, f"{closed}: no answer: [Errno 111] Connection refused",
            f"{server.url}/none.fna: status 404 no such file there",
            f"Ask the authors, then run `dnabench data import FOLDER --tasks {name}`")  # fmt: skip


def test_offline_mode_asks_no_mirror(server, task, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    name, _ = web(server, task, b">x|0\nACGT\n")
    refused(name, tmp_path, f"HF_HUB_OFFLINE is set, so {server.url}/h3.fna was not asked")
    assert server.asked == []


def test_other_schemes_are_refused(task, tmp_path):
    (tmp_path / "secret").write_text("x")
    name = task(urls=(f"file://{tmp_path}/secret",))
    refused(name, tmp_path / "d", "only http and https are spoken")


def test_tasks_that_no_program_may_fetch_say_what_to_do(task, tmp_path):
    refused(task(by_hand="Fill in the form at example.org"), tmp_path,
            "no program may fetch them. Fill in the form at example.org, then run")  # fmt: skip
    refused("demo/cell_type", tmp_path, "nothing to fetch")
    with pytest.raises(KeyError, match="no task named 'nt/no_such'"):
        fetch("nt/no_such", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server, task, tmp_path):
    (tmp_path / "file").write_text("")
    name, _ = web(server, task, b">x|0\nACGT\n")
    refused(name, tmp_path / "file" / "d", str(tmp_path / "file"), "name another folder")


# ------------------------------------------------------------------------------------ archives


def test_one_archive_of_a_suite_is_fetched_once(server, task, tmp_path):
    data = gue_zip()
    served = server.put_file("/GUE.zip", data)
    served.cuts.append(len(data) // 2)
    urls = (f"{server.url}/GUE.zip",)
    names = [task(f"standin/mouse_{i}", urls=urls) for i in (0, 1)]
    one, two = (fetch(name, tmp_path) for name in names)
    assert (one.fresh, two.fresh) == (True, False) and len(server.gets()) == 2
    assert one.folder == two.folder == tmp_path / "standin" / "GUE"
    assert visible(tmp_path) == [f"standin/GUE/GUE/mouse/0/{s}.csv" for s in sorted(SPLITS)]
    assert (one.folder / "GUE/mouse/0/train.csv").read_bytes() == csv_of(30, 0)
    assert not list(tmp_path.rglob("*.part")) + list(tmp_path.rglob("*.unpacking"))


def test_class_folders_in_a_tar_arrive_as_they_are(server, task, tmp_path):
    members = {f"enhancers/{s}/{c}/{i}.txt": b"ACGT" * 9 for s in ("train", "test")
               for c in ("positive", "negative") for i in range(3)}  # fmt: skip
    link = tarfile.TarInfo()
    link.type = tarfile.DIRTYPE
    server.put_file("/enhancers.tar.gz", tarred({"enhancers": link, **members, "._x": b"mac"}))
    name = task("standin/enhancers", urls=(f"{server.url}/enhancers.tar.gz",))
    got = fetch(name, tmp_path)
    assert visible(got.files[0]) == sorted(members)
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o111 == 0
               for p in got.files[0].rglob("*.txt"))  # fmt: skip


def tar_info(kind, target=""):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def zip_link():
    info = zipfile.ZipInfo("a/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(info, "/etc/passwd")
        z.writestr("a/link/x", "evil")
    return out.getvalue()


def zip_twice():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("a.txt", "1")
        z.writestr("a.txt", "2")
    return out.getvalue()


UNSAFE = {
    "parent": (zipped({"ok.txt": b"1", "../evil.txt": b"2"}), "member '../evil.txt' leaves"),
    "deep": (zipped({"a/../../evil.txt": b"2"}), "member 'a/../../evil.txt' leaves"),
    "absolute": (zipped({"/tmp/evil.txt": b"2"}), "member '/tmp/evil.txt' leaves"),
    "backslash": (zipped({"..\\evil.txt": b"2"}), "leaves the folder"),
    "drive": (zipped({"C:evil.txt": b"2"}), "member 'C:evil.txt' leaves"),
    "zip link": (zip_link(), "member 'a/link' is a link or a device"),
    "tar parent": (tarred({"../evil.txt": b"2"}), "member '../evil.txt' leaves"),
    "symlink": (tarred({"l": tar_info(tarfile.SYMTYPE, ".."), "l/evil.txt": b"2"}),
                "member 'l' is a link"),
    "hardlink": (tarred({"l": tar_info(tarfile.LNKTYPE, "/etc/passwd")}), "member 'l' is a link"),
    "fifo": (tarred({"f": tar_info(tarfile.FIFOTYPE)}), "member 'f' is a link or a device"),
    "twice": (zip_twice(), "member 'a.txt' comes twice"),
    "file and folder": (tarred({"a": b"1", "a/b": b"2"}), "member 'a/b' lies in what was a file"),
    "bomb": (zipped({"zeros.txt": bytes(80 << 20)}), "'zeros.txt' brings it to 83,886,080 bytes"),
    "damaged": (zipped({"a.txt": noise(5000)}).replace(noise(5000)[99:109], b"0123456789"),
                "damaged or truncated"),
    "truncated": (tarred({"a.txt": noise(90_000)})[:60_000], "damaged or truncated"),
    "bad end": (tarred({"a.txt": noise(90_000)})[:-8] + bytes(8), "damaged or truncated"),
    "empty": (zipped({"__MACOSX/x": b"1"}), "it holds no files"),
}  # fmt: skip


@pytest.mark.parametrize("which", list(UNSAFE))
def test_unsafe_and_damaged_archives_leave_nothing(server, task, tmp_path, which):
    data, says = UNSAFE[which]
    server.put_file("/x/suite.zip", data)
    refused(task(urls=(f"{server.url}/x/suite.zip",)), tmp_path / "d",
            f"{server.url}/x/suite.zip cannot be unpacked: ", says)  # fmt: skip
    assert visible(tmp_path) == [] and not list(tmp_path.rglob("*evil*"))
    assert not [p for p in tmp_path.rglob("*") if p.is_symlink()]
    server.put_file("/x/suite.zip", zipped({"a.txt": b"ACGT"}))
    assert visible(fetch("standin/h3", tmp_path / "d").files[0]) == ["a.txt"]


def test_more_files_than_plausible_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    (tmp_path / "x.zip").write_bytes(zipped({f"{i}.txt": b"A" for i in range(4)}))
    with pytest.raises(ValueError, match="more than 3 files"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("name", "data", "archive"),
    [
        ("a.bin", zipped({"a": b"1"}), True), ("a.bin", tarred({"a": b"1"}), True),
        ("a.bin", tarred({"a": b"1"}, "w:xz"), True), ("a.bin", tarred({"a": b"1"}, "w"), True),
        ("a.csv.gz", gzip.compress(b"sequence,label\nACGT,1\n"), False),
        ("a.npz", zipped({"a.npy": b"1"}), False), ("a.csv", b"sequence,label\n", False),
        ("a.fna", bytes(2048), False), ("a.gz", gzip.compress(noise(5000))[:99], False),
    ],
)  # fmt: skip
def test_an_archive_is_known_by_its_content(tmp_path, name, data, archive):
    (tmp_path / name).write_bytes(data)
    assert archives.is_archive(tmp_path / name) is archive


# ------------------------------------------------------------------------------------ processes

SCRIPT = """
import json, sys
from pathlib import Path
from dnabench.tasks._declare import Origin, declare
from dnabench.tasks.io.fetching import fetch
name, origin, folder = json.loads(sys.argv[1])
declare(name, kind="binary", classes=("0", "1"), metric="mcc", length=500, official={},
        source="here", license="CC0-1.0", origin=Origin(**origin))
seen = []
try:
    got = fetch(name, Path(folder), lambda *w: seen.append(w))
    print(json.dumps({"fresh": got.fresh, "files": [str(p) for p in got.files], "seen": seen}))
except ValueError as e:
    print(json.dumps({"error": str(e)}))
"""


def process(name, origin, folder, **env):
    argv = [sys.executable, "-c", SCRIPT, json.dumps([name, origin, str(folder)])]
    env = {**os.environ, **env}
    return subprocess.Popen(
        argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def said(started):
    out, err = started.communicate(timeout=120)
    assert started.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_two_processes_share_one_download(server, tmp_path):
    data = gue_zip()
    server.put_file("/GUE.zip", data, slow=0.2)
    origin = {"urls": [f"{server.url}/GUE.zip"]}
    both = [process("standin/mouse_0", origin, tmp_path / "d") for _ in range(2)]
    one, two = (said(p) for p in both)
    assert sorted([one["fresh"], two["fresh"]]) == [False, True] and len(server.gets()) == 1
    assert one["files"] == two["files"]
    path = Path(one["files"][0]) / "GUE/mouse/0/train.csv"
    assert path.read_bytes() == csv_of(30, 0)
    late = one if two["fresh"] else two
    assert [w[0] for w in late["seen"]] in ([], ["GUE.zip: waiting for another process"])


def test_a_killed_download_is_completed_by_a_later_process(server, tmp_path):
    data = noise(2_000_000)
    served = server.put_file("/h3.fna", data, slow=0.5)
    origin = {"urls": [f"{server.url}/h3.fna"]}
    part = tmp_path / "d/standin/h3/.h3.fna.part"
    first = process("standin/h3", origin, tmp_path / "d")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = part.stat().st_size
    assert 0 < kept < len(data) and visible(tmp_path / "d") == []
    served.slow = 0.0
    second = said(process("standin/h3", origin, tmp_path / "d"))
    assert Path(second["files"][0]).read_bytes() == data
    assert server.gets() == ["", f"bytes={kept}-"]


def test_the_environment_names_hub_cache_and_token(server, tmp_path):
    data = put_nt(server)
    env = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    both = [process("standin/h3", NT, tmp_path / f"{i}", **env) for i in range(2)]  # one cache
    for got in map(said, both):
        assert [Path(p).read_bytes() for p in got["files"]] == list(data.values())
    asked = zip(server.asked, server.tokens, strict=True)
    assert {t for (_, path, _), t in asked if "/resolve/" in path} == {"Bearer hf_secret"}
    assert (tmp_path / "home" / "hub").is_dir()
    env |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    got = said(process("standin/h3", NT, tmp_path / "third", **env))
    assert [Path(p).read_bytes() for p in got["files"]] == list(data.values())
    env["HF_HOME"] = str(tmp_path / "empty")
    assert (
        "HF_HUB_OFFLINE is set" in said(process("standin/h3", NT, tmp_path / "4", **env))["error"]
    )


def test_a_hub_that_is_not_there_is_named(tmp_path):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    error = said(process("standin/h3", NT, tmp_path / "d", **env))["error"]
    assert "http://127.0.0.1:9 is not reached" in error and "Connection refused" in error


IMPORT = """
import dataclasses, json, sys
from dnabench import TASKS
from dnabench.tasks._declare import ORIGINS
from dnabench.tasks.io.fetching import fetch_and_import
names, url = json.loads(sys.argv[1])
list(TASKS)
gb = "genomic_benchmarks/human_nontata_promoters"
ORIGINS[gb] = dataclasses.replace(ORIGINS[gb], urls=(url,))
seen = []
out = fetch_and_import(names, lambda *w: seen.append(w))
assert [w for w in seen if "importing" in w[0]] == [
    (f"importing {o.task}", 0, 0) for o in out if o.imported], seen
for o in out:
    counts = o.imported.counts if o.imported else {}
    print(json.dumps([o.task, counts, o.fetched.place if o.fetched else "", o.error]))
"""
LOAD = """
import json, sys
from dnabench import TASKS
for name in sys.argv[1:]:
    t = TASKS[name]
    print(json.dumps([len(t.load("train").y), str(t.load("test").seqs[0]), t.data]))
"""


def test_nt_gue_and_genomic_benchmarks_are_fetched_and_imported(server, tmp_path):
    nt, gue = (ORIGINS[TASKS[name].name] for name in ("nt/h3", "gue/mouse_0"))
    for path, data in (("H3/train.fna", fasta(40, 0)), ("H3/test.fna", fasta(20, 1))):
        server.put_dataset(nt.repo, path, data, nt.revision)
    for i, split in enumerate(SPLITS):
        server.put_dataset(gue.repo, f"GUE/mouse_0/{split}.csv", csv_of(30, i), gue.revision)
    server.put_file("/gb_v0.zip", zipped(
        {f"human_nontata_promoters/{split}/{c}/{i}.txt": str(planted_split(9, 3).seqs[i])
         for split in ("train", "test") for c in ("negative", "positive") for i in range(4)}
    ))  # fmt: skip
    names = ["nt/H3", "gue/mouse_0", "gue/mouse_1", "genomic_benchmarks/human_nontata_promoters"]
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"),
           "DNABENCH_CACHE": str(tmp_path / "cache")}  # fmt: skip

    def run(code, *words):
        argv = [sys.executable, "-c", code, *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    words = json.dumps([names, f"{server.url}/gb_v0.zip?download=1"])
    h3, mouse, absent, gb = run(IMPORT, words)
    assert h3 == ["nt/h3", {"train": 40, "test": 20}, f"{nt.repo}@{nt.revision}", ""]
    assert mouse[:2] == ["gue/mouse_0", {"train": 30, "dev": 30, "test": 30}] and not mouse[3]
    assert absent[:3] == ["gue/mouse_1", {}, ""]
    assert "GUE/mouse_1/train.csv" in absent[3] and "no such file (404" in absent[3]
    assert gb == [names[3], {"train": 8, "test": 8}, f"{server.url}/gb_v0.zip?download=1", ""]
    loaded = run(LOAD, "nt/h3", "gue/mouse_0", names[3])
    assert [n for n, _, _ in loaded] == [40, 30, 8] and all(data for _, _, data in loaded)
    assert loaded[0][1] == str(planted_split(20, 1, length=500).seqs[0])
    n = len(server.asked)
    assert run(IMPORT, json.dumps([names[::3], f"{server.url}/gb_v0.zip?download=1"])) == [h3, gb]
    assert len(server.asked) == n  # imported again from what is there


def test_without_locks_two_downloads_do_not_meet(server, task, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def none(lock, waiting):
        yield False

    monkeypatch.setattr(_download, "alone", none)
    data = noise(1000)
    name, _ = web(server, task, data)
    other = tmp_path / "standin/h3/.h3.fna.part"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"of somebody else")
    assert fetch(name, tmp_path).files[0].read_bytes() == data
    assert other.read_bytes() == b"of somebody else"


def test_declaring_and_looking_imports_no_network_library():
    code = (
        "import sys, dnabench\nfrom dnabench import TASKS\nlist(TASKS)\n"
        "print([m for m in ('huggingface_hub', 'urllib.request', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
