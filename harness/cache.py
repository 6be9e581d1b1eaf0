"""Files that dnabench keeps: the cache folder, atomic writes, locks, hashes, room on disk.

The cache holds what can be downloaded, imported or computed again. Every file that another process
may read, here or in a folder of records, is written by `replacing`.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a full disk, or a full share of one, says
ABANDONED = 86_400  # seconds; an unfinished file older than that has lost its process


def cache_folder(named: str | None = None) -> Path:
    """The folder of the cache, which may not exist yet.

    Args:
        named: None = what $DNABENCH_CACHE says; "" = ~/.cache/dnabench.

    Raises:
        RuntimeError: when the home folder is not known.
    """
    named = os.environ.get("DNABENCH_CACHE") if named is None else named
    return Path(named or "~/.cache/dnabench").expanduser()


def made_folder(kind: str, named: str | None = None) -> Path:
    """A folder in the cache, created if missing; `named` and RuntimeError as for `cache_folder`.

    Raises:
        OSError: when it cannot be created. The parent of a cache that is named must exist: a
            misspelled path is not created.
    """
    named = os.environ.get("DNABENCH_CACHE") if named is None else named
    home = cache_folder(named or "")
    home.mkdir(parents=not named, exist_ok=True)
    (home / kind).mkdir(exist_ok=True)
    return home / kind


@contextmanager
def replacing(path: Path, *, sync: bool = False, first: bool = False) -> Iterator[BufferedRandom]:
    """Write a file whole or not at all: readers see the old content or the new, never a part.

    The bytes go to `.<name>.<random>.tmp` beside it. That file is removed when the block raises; a
    killed process leaves it behind for `remove_drafts`.

    Args:
        path: its folder is created if missing.
        sync: flush file and folder to the disk, so that a power cut loses neither.
        first: keep a file that another process has put there meanwhile. Without hard links on the
            file system, the later of two simultaneous writers wins.

    Raises:
        OSError: when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("x+b") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        if not first or (not _linked(draft, path) and not path.exists()):
            draft.replace(path)
        if sync:
            _flush_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _linked(draft: Path, path: Path) -> bool:
    """Give the draft a second name, unless that is taken; False where links are not possible."""
    try:
        os.link(draft, path)
    except OSError as e:
        return isinstance(e, FileExistsError)
    return True


def _flush_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_drafts(*folders: Path) -> None:
    """Remove temporary files that killed processes left in folders a day ago or longer."""
    for folder in folders:
        with suppress(OSError):  # no such folder, or not ours
            names = [entry.name for entry in os.scandir(folder)]
            for draft in (folder / n for n in names if n.startswith(".") and ".tmp" in n):
                with suppress(OSError):
                    if time.time() - draft.stat().st_mtime > ABANDONED:
                        draft.unlink()


@contextmanager
def exclusive(
    path: Path, waiting: Callable[[], object] | None = None, required: bool = True
) -> Iterator[bool]:
    """Hold a lock file. The kernel releases it when the process ends, however it ends.

    The file stays: if it were removed, two processes could hold locks of the same name.

    Args:
        path: created if missing.
        waiting: called when another process holds it, before waiting for it; None = do not wait.
        required: whether a file system without locks is an error.

    Yields:
        Whether the lock is held.

    Raises:
        OSError: when the file cannot be written or, if `required`, not be locked.
    """
    with path.open("w") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                held = False
            else:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            if required:
                raise
            held = False
        yield held


def file_sha256(path: Path) -> str:
    """64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """The value in a file; None when there is no file or it is not JSON."""
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def json_files(folder: Path) -> list[Path]:
    """Those of a folder, the newest last, without drafts."""
    return sorted(folder.glob("[!.]*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))


def keep_json(path: Path, value: Any) -> None:
    """Write a value that can be computed again; a folder that cannot be written keeps nothing."""
    with suppress(OSError), replacing(path) as file:
        file.write(json.dumps(value).encode())


def write_json(path: Path, value: Any, at: int = 0) -> None:
    """Write a value as indented JSON, whole or not at all.

    Args:
        path: its folder is created if missing.
        value: what JSON can hold.
        at: time of change that the file gets, in nanoseconds since 1970; 0 = now.

    Raises:
        OSError: when the file cannot be written.
    """
    with replacing(path, sync=True) as file:
        file.write(json.dumps(value, indent=1, sort_keys=True).encode())
        if at:
            file.flush()
            os.utime(file.name, ns=(at, at))


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(p for p in (folder, *folder.parents) if p.is_dir())


def room(folder: Path) -> int:
    """Free bytes of the disk on which a folder is or would be created."""
    return shutil.disk_usage(existing(folder)).free
