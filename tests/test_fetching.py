"""Fetching against a real server on loopback: what works, and what every trouble is called."""

import json
import stat
import tarfile

import pytest
from fetch_cases import PAGE, SPLITS, csv_of, gue_zip, noise, refused, sha, tarred, visible, web

from dnabench.tasks.io import download as _download
from dnabench.tasks.io.fetching import fetch


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
        ({"statuses": [403]}, "status 403 access is denied, perhaps without a login"),
        ({"statuses": [410]}, "status 410 it was removed"),
        ({"statuses": [503] * 9}, "status 503 Service Unavailable (4 times in a row)"),
        ({"data": b""}, "the answer is empty"),
        ({"data": PAGE, "kind": "text/html"}, "an HTML page titled 'Sign in', not data"),
        ({"data": b"\xef\xbb\xbf \n<html>"}, "an HTML page, not data"),
        ({"encoding": "gzip"}, "it arrives encoded as gzip, which was not requested"),
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
            f"{server.url}/none.fna: status 404 no such file",
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
    refused(name, tmp_path / "d", "only http and https are supported")


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
