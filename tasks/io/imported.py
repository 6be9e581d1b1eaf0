"""Imported data on disk: flat, memory-mapped arrays and a manifest that describes them.

<cache>/tasks/<suite>/<task>/manifest.json          counts, shapes, SHA-256; replaced last
<cache>/tasks/<suite>/<task>/<16 hex>/<split>.<array>.bin   raw, little-endian, C order

The arrays of a split: codes uint8 (total bp,), one byte per base; offsets int64 (N + 1,); ambiguous
int64 (N,); y, as in `Split`; ids uint32 (N, longest id), the code points. N examples.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from dnabench.cache import ABANDONED, cache_folder, exclusive, file_sha256, remove_drafts, replacing
from dnabench.tasks.io.arrays import NAMES, Part, array_path
from dnabench.types import Array, Sequences, Split, SplitName

SCHEMA = "dnabench.data/1"
SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")
_HASHED = ("codes", "offsets", "y")  # what a score depends on; not on ids and `ambiguous`


class Cached(NamedTuple):
    """The imported data of a task.

    data: 16 hex of the SHA-256 over sequences and labels of every split, in order; ids and file
        names do not change it. counts: examples of each split. length: bp of the longest sequence.
        origin: path or repository@revision. notes: findings of the import; always with `not_acgt`:
        split -> rows, letters and iupac (letters read as N).
    """

    data: str
    counts: dict[SplitName, int]
    length: int
    origin: str
    notes: dict[str, Any]


def task_folder(name: str) -> Path:
    """The folder of a task's data, which need not exist.

    Raises:
        ValueError: when the name is not suite/task.
    """
    if not re.fullmatch(r"\w[\w.+-]*/\w[\w.+-]*", name):
        raise ValueError(f"{name!r} is not the name of a task; write suite/task")
    return cache_folder() / "tasks" / name


def cached(name: str) -> Cached | None:
    """The imported data of a task, from its manifest alone.

    Returns:
        None when nothing is imported, or the manifest cannot be read; `check` says why.
    """
    try:
        return _summary(_manifest(name))
    except (OSError, ValueError):
        return None


def open_split(name: str, split: SplitName, data: str = "") -> Split:
    """A split in the cache, memory-mapped: read on access. Changing it changes no file.

    Args:
        name: of the task.
        split: which.
        data: 16 hex of the expected data; "" = any.

    Raises:
        FileNotFoundError: nothing, or not that split, is imported.
        ValueError: the files are damaged, or hold other data.
    """
    manifest = _current(name, data)
    try:
        return _mapped(name, split, manifest)
    except (OSError, ValueError):
        again = _current(name, data)
        if again == manifest:
            raise
        return _mapped(name, split, again)  # another process replaced the data meanwhile


def check(name: str) -> list[str]:
    """Read every stored array again and compare it with the manifest.

    Returns:
        Problems as text; empty when all is as written.
    """
    try:
        manifest = _manifest(name)
    except FileNotFoundError:
        return [f"{name}: nothing is imported, there is no {task_folder(name) / 'manifest.json'}"]
    except (OSError, ValueError) as e:
        return [str(e)]
    problems = []
    for split, arrays in manifest["arrays"].items():
        for array, of in arrays.items():
            path = array_path(task_folder(name) / manifest["folder"], split, array)
            expected = _size(of)
            if not path.exists():
                problems.append(f"{path}: the file is gone; import {name} again")
            elif path.stat().st_size != expected:
                size = path.stat().st_size
                problems.append(f"{path}: {size} bytes, not {expected}; import {name} again")
            elif (found := file_sha256(path)) != of["sha256"]:
                problems.append(
                    f"{path}: sha256 {found[:16]}, not {of['sha256'][:16]}; import {name} again"
                )
    if _digest(manifest["arrays"]) != manifest["data"]:
        problems.append(
            f"{task_folder(name) / 'manifest.json'}: says {manifest['data']}, but its checksums "
            f"make {_digest(manifest['arrays'])}; import {name} again"
        )
    return problems


class Writer:
    """Writes the data of a task in chunks; at the end of `with` they replace the old data.

    When the block raises, or the process dies, the old data stay. Names that are repeated within a
    split cannot be ids: ids become `split:row`, rows from 1, and a note says so.

    Args:
        name: suite/task.
        origin: path, or repository@revision, that the data came from.
    """

    def __init__(self, name: str, origin: str) -> None:
        self.name, self.origin = name, origin
        self.result: Cached | None = None  # when written
        self._home = task_folder(name)
        self._notes: dict[str, Any] = {}
        self._parts: dict[SplitName, Part] = {}
        self._folder = Path()

    def __enter__(self) -> Writer:
        with self._explained():
            self._home.mkdir(parents=True, exist_ok=True)
            _sweep(self._home)
            self._folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=self._home))
            self._folder.chmod(0o755)
        return self

    def add(self, split: SplitName, part: Split) -> None:
        """Append examples to a split; their order is kept.

        Raises:
            ValueError: sequences, labels and ids do not match each other or the chunks before.
        """
        if not len(part.seqs) == len(part.y) == len(part.ids):
            raise ValueError(
                f"{self.name} {split}: {len(part.seqs)} sequences, {len(part.y)} labels, "
                f"{len(part.ids)} ids"
            )
        if split not in SPLITS:
            raise ValueError(f"{self.name}: no split {split!r}, only {', '.join(SPLITS)}")
        if len(part.y):
            with self._explained():
                if split not in self._parts:
                    self._parts[split] = Part(self._folder, split)
                self._parts[split].add(part)

    def note(self, key: str, value: Any) -> None:
        """Remember something about the data; `value` must be JSON."""
        self._notes[key] = value

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            for part in self._parts.values():
                part.close()
            if kind is None:
                with self._explained():
                    self._commit()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _commit(self) -> None:
        if not self._parts:
            raise ValueError(f"{self.name}: {self.origin} holds no examples; nothing was changed")
        parts = {split: self._parts[split] for split in SPLITS if split in self._parts}
        arrays = {split: part.finish() for split, part in parts.items()}
        notes = self._notes | {"not_acgt": {s: p.not_acgt for s, p in parts.items()}}
        if repeated := [s for s, part in parts.items() if part.repeated]:
            notes["repeated_names"] = repeated
        everything = "".join(_lines(arrays, NAMES))
        manifest = {
            "schema": SCHEMA,
            "name": self.name,
            "data": _digest(arrays),
            "folder": hashlib.sha256(everything.encode()).hexdigest()[:16],
            "counts": {s: part.rows for s, part in parts.items()},
            "length": max(part.longest for part in parts.values()),
            "origin": self.origin,
            "notes": notes,
            "arrays": arrays,
        }
        self._replace(manifest)
        self.result = _summary(manifest)

    def _replace(self, manifest: Mapping[str, Any]) -> None:
        target, path = self._home / manifest["folder"], self._home / "manifest.json"
        with exclusive(self._home / ".lock", waiting=lambda: None):
            if target.exists():  # the same content, but it may be damaged by now
                target.rename(self._folder.with_suffix(".old"))
            self._folder.rename(target)
            with replacing(path, sync=True) as f:
                f.write(json.dumps(manifest, indent=1).encode())
            for old in self._home.iterdir():
                if old.is_dir() and old != target and (old.suffix == ".old" or old.name[0] != "."):
                    shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise ValueError(
                f"cannot write the data of {self.name} to {self._home}: {e.strerror or e}; make "
                "room there, or name another folder in the environment variable DNABENCH_CACHE"
            ) from e


def _sweep(home: Path) -> None:
    """Remove half-written folders of processes that died."""
    remove_drafts(home)
    for path in home.glob(".writing-*"):
        with suppress(OSError):  # another process may be renaming it
            newest = max(p.stat().st_mtime for p in (path, *path.iterdir()))
            if time.time() - newest > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _current(name: str, data: str) -> dict[str, Any]:
    try:
        manifest = _manifest(name)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the data of {name} are not in {task_folder(name)}; run `dnabench data fetch "
            f"{name}`, or `dnabench data import FOLDER` with files you have"
        ) from None
    if data and manifest["data"] != data:
        raise ValueError(
            f"the data of {name} were imported again and have changed ({manifest['data']}, not "
            f"{data}); start again"
        )
    return manifest


def _mapped(name: str, split: SplitName, manifest: Mapping[str, Any]) -> Split:
    arrays, folder = manifest["arrays"].get(split), task_folder(name) / manifest["folder"]
    if arrays is None:
        raise FileNotFoundError(
            f"the data of {name} have no {split} split: {manifest['origin']} held only "
            f"{' and '.join(manifest['arrays'])}; import a folder that has it"
        )
    try:
        of = {array: _array(array_path(folder, split, array), arrays[array]) for array in arrays}
    except (OSError, ValueError) as e:
        raise ValueError(
            f"{folder}: the {split} split of {name} cannot be read ({e}); import it again"
        ) from None
    ids = of["ids"].view(f"<U{of['ids'].shape[1]}")[:, 0]
    return Split(Sequences(of["codes"], of["offsets"], of["ambiguous"]), of["y"], ids)


def _array(path: Path, described: Mapping[str, Any]) -> Array:
    shape, dtype = tuple(described["shape"]), described["dtype"]
    found, expected = path.stat().st_size, _size(described)
    if found != expected:
        raise ValueError(f"{path.name} has {found} bytes, not {expected}")
    if not expected:
        return np.zeros(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "c", shape=shape))


def _size(described: Mapping[str, Any]) -> int:
    """Bytes of an array."""
    return int(math.prod(described["shape"]) * np.dtype(described["dtype"]).itemsize)


def _manifest(name: str) -> dict[str, Any]:
    path = task_folder(name) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f"{path}: not a manifest ({e}); import {name} again") from None
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {schema!r}, not {SCHEMA!r}; import {name} again")
    return cast("dict[str, Any]", manifest)


def _summary(manifest: Mapping[str, Any]) -> Cached:
    with suppress(KeyError, TypeError):
        return Cached(**{field: manifest[field] for field in Cached._fields})
    raise ValueError("the manifest lacks a field")


def _digest(arrays: Mapping[Any, Any]) -> str:
    return hashlib.sha256("".join(_lines(arrays, _HASHED)).encode()).hexdigest()[:16]


def _lines(arrays: Mapping[Any, Any], names: tuple[str, ...]) -> Iterator[str]:
    for split in arrays:
        for name in names:
            of = arrays[split][name]
            yield f"{split} {name} {of['dtype']} {of['shape']} {of['sha256']}\n"
