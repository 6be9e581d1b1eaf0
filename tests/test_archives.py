"""tasks/io/archives.py: unsafe, damaged and odd archives leave nothing behind."""

import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from fetch_cases import noise, refused, tarred, visible, zipped

from dnabench.tasks.io import archives
from dnabench.tasks.io.fetching import fetch


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
    "twice": (zip_twice(), "member 'a.txt' is repeated"),
    "file and folder": (tarred({"a": b"1", "a/b": b"2"}), "member 'a/b' is inside what was a file"),
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
