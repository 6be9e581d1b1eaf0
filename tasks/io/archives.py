"""Unpack what was downloaded: regular files only, inside one folder, of bounded size."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from dnabench.cache import room
from dnabench.tasks.io.bounds import MOST_TEXT, MOST_TIMES, RAISE, raised

MAX_MEMBERS = 2_000_000
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_CHUNK = 1 << 20
_JUNK = ("__MACOSX", ".DS_Store")


class Member(NamedTuple):
    """A regular file of an archive."""

    name: str
    size: int  # bytes unpacked, as the archive says
    file: IO[bytes]


def stem(name: str) -> str:
    """The name of an archive without its suffix; other names unchanged."""
    found = [s for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)]
    return name[: -len(found[0])] if found else name


def is_archive(path: Path) -> bool:
    """Whether the content is a zip or a tar archive, whatever its name."""
    with path.open("rb") as f:
        start = f.read(512)
    if path.suffix in (".npz", ".xlsx"):  # zip files that are data
        return False
    if start[:4] == b"PK\x03\x04":
        return True
    try:
        return bool(start.strip(b"\0")) and tarfile.is_tarfile(path)
    except Exception:  # gzip, bz2 and xz data that are damaged raise many things
        return False


def unpack(archive: Path, target: Path) -> list[Path]:
    """Unpack a zip or tar archive into a new folder, completely or not at all.

    Links are neither followed nor created; modes and owners are ignored.

    Args:
        archive: read according to its content.
        target: the folder to make; its parent exists.

    Returns:
        The files in the order of the archive, without those added by macOS.

    Raises:
        ValueError: a link, device or encrypted member, or a name that leaves the folder or is
            repeated, with the member's name; an implausible number of members or bytes; not
            enough room; a damaged or truncated archive; neither zip nor tar.
    """
    target.mkdir()
    try:
        return _written(archive, target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _written(archive: Path, target: Path) -> list[Path]:
    limit = raised(max(MOST_TEXT, MOST_TIMES * archive.stat().st_size))
    most = raised(MAX_MEMBERS)
    free = room(target)
    total, out = 0, list[Path]()
    try:
        for member in _members(archive):
            path = _inside(target, member.name)
            if path.name in _JUNK or path.name.startswith("._") or _JUNK[0] in path.parts:
                continue
            if path.exists():
                raise ValueError(f"member {member.name!r} is repeated")
            total += member.size
            if len(out) == most:
                raise ValueError(f"it has more than {most:,} files; if it is sound, {RAISE}")
            if total > limit:
                raise ValueError(
                    f"member {member.name!r} brings it to {total:,} bytes, more than the {limit:,} "
                    f"that {archive.stat().st_size:,} bytes of an archive may become; if it is "
                    f"sound, {RAISE}"
                )
            if total > free:
                raise ValueError(f"it unpacks to {total:,} bytes or more, {free:,} are free")
            _copy(member, path)
            out.append(path)
    except ValueError:
        raise
    except Exception as e:  # zlib, lzma, bz2, zipfile and tarfile each have their own
        if isinstance(e, OSError) and e.errno:
            raise ValueError(f"it cannot be read or written: {e.strerror or e}") from e
        raise ValueError(f"it is damaged or truncated: {e}") from e
    if not out:
        raise ValueError("it holds no files")
    return out


def _copy(member: Member, path: Path) -> None:
    """Write at most the declared size, which was counted."""
    left = member.size
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):  # `a` is a file, and here comes `a/b`
        raise ValueError(f"member {member.name!r} is inside what was a file before") from None
    with path.open("xb") as f:
        while chunk := member.file.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise ValueError(f"member {member.name!r} is longer than the archive says")
            f.write(chunk)
    if left:
        raise ValueError(f"it is damaged or truncated: {member.name!r} ends {left:,} bytes early")


def _inside(target: Path, name: str) -> Path:
    """The path of a member; its name must be a plain relative path below the folder."""
    parts = [p for p in name.split("/") if p not in ("", ".")]
    plain = parts and not name.startswith("/") and ".." not in parts
    if not plain or any(c in name for c in "\\\0") or ":" in parts[0]:
        raise ValueError(f"member {name!r} leaves the folder it is unpacked to; nothing was kept")
    return target.joinpath(*parts)


def _members(archive: Path) -> Iterator[Member]:
    with archive.open("rb") as f:
        zipped = f.read(4) == b"PK\x03\x04"
    if zipped:
        with zipfile.ZipFile(archive) as z:
            yield from _of_zip(z)
        return
    try:
        tar = tarfile.open(archive)  # noqa: SIM115 (closed below)
    except tarfile.ReadError as e:
        raise ValueError(f"it is neither a zip nor a tar archive, or damaged: {e}") from e
    with tar:
        yield from _of_tar(tar)


def _of_zip(z: zipfile.ZipFile) -> Iterator[Member]:
    for info in z.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            _refuse(info.filename)
        if info.flag_bits & 1:
            raise ValueError(f"member {info.filename!r} is encrypted")
        if not info.is_dir():
            with z.open(info) as f:
                yield Member(info.filename, info.file_size, f)


def _of_tar(tar: tarfile.TarFile) -> Iterator[Member]:
    for info in tar:
        if info.isreg():
            file = tar.extractfile(info)
            assert file is not None  # a regular file has content
            with file:
                yield Member(info.name, info.size, file)
        elif not info.isdir():
            _refuse(info.name)
    while tar.fileobj and tar.fileobj.read(_CHUNK):  # to the end, where the checksum is
        pass


def _refuse(name: str) -> None:
    raise ValueError(
        f"member {name!r} is a link or a device; only files and folders are unpacked, and nothing "
        "was kept"
    )
