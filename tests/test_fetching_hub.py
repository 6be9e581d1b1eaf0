"""tasks/io/hub.py: fetching from the Hugging Face hub and its cache, and what can go wrong."""

import pytest
from fetch_cases import NT, PAGE, SPLITS, fasta, gue_zip, put_nt, refused, sha, visible
from hub import REVISION

from dnabench.tasks.io.fetching import fetch

OTHER = "f" * 40


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
