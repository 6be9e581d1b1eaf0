"""Arrays that one trial makes and others read: on disk, under the hash of all they are made from.

<cache>/<kind>/<32 hex>.npz    each array with a CRC-32; written whole or not at all
<cache>/<kind>/<32 hex>.lock   held while they are made: who wants the same waits, then reads
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from dnabench.tasks._cache import made_folder
from dnabench.types import Array

LARGEST = 2**31  # bytes of the arrays of a file; larger ones are not kept
Arrays = Mapping[str, Array]


def kept(
    kind: str,
    made_from: Sequence[str],
    make: Callable[[], Arrays],
    worth: Callable[[], bool] = lambda: True,
) -> Arrays:
    """What `make` gives, made once for all processes that share the cache folder.

    Args:
        kind: a folder of the cache.
        made_from: everything that decides the bytes of the arrays; the package's own code, numpy
            and the processor need not be named.
        make: arrays by name, of numbers or text; called when there are none, or damaged ones.
        worth: whether what was made may be kept; asked afterwards.

    Returns:
        The arrays, the same bytes whether made or read.

    Raises:
        What `make` raises. A cache that cannot be written is none: the arrays are made each time.
    """
    digest = hashlib.sha256(repr([*made_from, code(), np.__version__]).encode()).hexdigest()[:32]
    try:
        file = made_folder(kind) / f"{digest}.npz"
    except (OSError, RuntimeError):
        return make()
    found = _read(file)
    if found is not None:
        return found
    lock = _locked(file.with_suffix(".lock"))
    try:
        found = _read(file)  # made by the one that was waited for
        if found is None:
            found = make()
            if lock and worth() and sum(a.nbytes for a in found.values()) <= LARGEST:
                _write(found, file)
        return found
    finally:
        if lock:
            Path(lock.name).unlink(missing_ok=True)
            lock.close()


@functools.cache
def code() -> str:
    """SHA-256 of the modules that decide what a network computes: models and harness."""
    import dnabench
    from dnabench import models

    digest = hashlib.sha256()
    for module in (dnabench, models):
        for path in sorted(Path(str(module.__file__)).parent.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _read(file: Path) -> Arrays | None:
    """None when there is no file, or a damaged one, which is removed."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        with suppress(OSError):
            file.unlink()
        return None


def _locked(file: Path) -> IO[str] | None:
    """The lock, waited for; None where the cache cannot be written."""
    try:
        lock = file.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        return None
    return lock


def _write(arrays: Arrays, file: Path) -> None:
    draft = file.with_name(f".{uuid.uuid4().hex}.npz")
    try:
        np.savez(draft, **arrays)  # type: ignore[arg-type]
        draft.replace(file)
    except OSError:  # a full disk: nothing is kept
        draft.unlink(missing_ok=True)
