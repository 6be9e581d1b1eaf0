"""Arrays that one trial makes and others read: on disk, under the hash of all they are made from.

<cache>/<kind>/<32 hex>    SHA-256 of the rest, then numpy's .npz; written whole or not at all

Nobody waits for anybody: processes that want the same at the same time all make it, the same bytes.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dnabench.cache import made_folder
from dnabench.types import Array

LARGEST = 2**31  # bytes of the arrays of a file; larger ones are not kept
ABANDONED = 86_400  # seconds; a draft older than that belongs to nobody
Arrays = Mapping[str, Array]


def kept(
    kind: str,
    made_from: Sequence[str],
    make: Callable[[], Arrays],
    worth: Callable[[], bool] = lambda: True,
    fits: Callable[[Arrays], bool] = lambda arrays: True,
) -> Arrays:
    """What `make` gives, made once for all processes that share the cache folder.

    Args:
        kind: a folder of the cache.
        made_from: everything that decides the bytes of the arrays; the package's own code, numpy
            and tokenizers need not be named.
        make: arrays by name, of numbers or text; called when there are none, or damaged ones.
        worth: whether what was made may be kept; asked afterwards.
        fits: whether what was read may be used; if not it is made anew.

    Returns:
        The arrays, the same bytes whether made or read.

    Raises:
        What `make` raises. A cache that cannot be written is none: the arrays are made each time.
    """
    digest = hashlib.sha256(repr([*made_from, CODE]).encode()).hexdigest()[:32]
    try:
        file = made_folder(kind) / digest
    except (OSError, RuntimeError):
        return make()
    found = _read(file)
    if found is None or not fits(found):
        found = make()
        # code that was changed meanwhile is not the code that ran
        if worth() and sum(a.nbytes for a in found.values()) <= LARGEST and _code() == CODE:
            _write(found, file)
    return found


def _code() -> str:
    """Of the modules that decide what a network computes, models and harness, and libraries."""
    harness = Path(__file__).parents[1]
    models = Path(str(import_module("dnabench.models").__file__)).parent
    digest = hashlib.sha256(f"{np.__version__} {version('tokenizers')}".encode())
    for path in [*sorted(harness.rglob("*.py")), *sorted(models.rglob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


CODE = _code()  # now, while it is what is being imported


def _read(file: Path) -> Arrays | None:
    """None when there is no file, or one that is not as it was written."""
    try:
        with file.open("rb") as stream:
            said = stream.read(32)
            if hashlib.file_digest(stream, "sha256").digest() != said:
                return None
            stream.seek(32)
            with np.load(stream, allow_pickle=False) as arrays:
                return dict(arrays)
    except OSError:
        return None


def _write(arrays: Arrays, file: Path) -> None:
    draft = file.with_name(f".{uuid.uuid4().hex}")
    try:
        with draft.open("w+b") as stream:
            stream.write(bytes(32))
            np.savez(stream, **arrays)  # type: ignore[arg-type]
            stream.seek(32)
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0)
            stream.write(digest)
        draft.replace(file)
        for old in file.parent.glob(".*"):
            if old.stat().st_mtime < time.time() - ABANDONED:
                old.unlink()
    except OSError:  # a full disk, another's folder: nothing is kept
        with suppress(OSError):
            draft.unlink(missing_ok=True)
