"""The argument of `data import`: a folder, a file or an archive, and archives in the folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dnabench.cache import cache_folder
from dnabench.registry import TASKS
from dnabench.tasks._declare import ORIGINS
from dnabench.tasks.io import archives
from dnabench.tasks.io.layouts import LAYOUTS, Found, Match, Place, walk
from dnabench.tasks.io.names import Names


class Tree(NamedTuple):
    """A folder, or the contents of an archive. shown: its name in messages."""

    root: Path
    shown: str
    places: list[Place]
    match: Match

    def found(self, forced: str = "") -> list[Found]:
        """The finds of every layout; `forced` names the task of all files."""
        match = (lambda *_: [forced]) if forced else self.match
        return [found for layout in LAYOUTS.values() for found in layout(self.places, match)]

    def origin(self, found: Found) -> str:
        """Where the files came from, as noted when they were fetched, else their path."""
        paths = [path for files in found.files.values() for path in files]
        if (
            len(places := {_fetched_from(path, self.root) for path in paths}) == 1
            and "" not in places
        ):
            return places.pop()
        common = os.path.commonpath([path.absolute() for path in paths])
        return self.words(common)

    def words(self, text: str) -> str:
        """The text with the archive's name in place of the folder it was unpacked to."""
        root = str(self.root.absolute())
        return text.replace(root, self.shown) if self.shown != str(self.root) else text


def tree(root: Path, shown: str = "") -> Tree:
    """Read the tree of a folder, or a single file."""
    return Tree(root, shown or str(root), walk(root), _names(root).match)


@contextmanager
def trees(root: Path) -> Iterator[tuple[list[Tree], dict[Path, str]]]:
    """The tree and those of the archives in it, unpacked meanwhile; why others could not be.

    Only archives named after a task or a suite are unpacked, and `root` itself.

    Raises:
        FileNotFoundError: there is nothing at `root`.
        ValueError: `root` is an archive that cannot be unpacked, or there is nowhere to unpack.
    """
    found = _archives_in(root)
    out = [] if root in found else [tree(root)]
    failed: dict[Path, str] = {}
    with _temporary(bool(found)) as home:
        for i, archive in enumerate(found):
            # names around an archive help to recognise its contents
            around = home / str(i) / archive.absolute().parent.name
            around.mkdir(parents=True)
            try:
                folder = around / archives.stem(archive.name)
                archives.unpack(archive, folder)
                out.append(tree(folder, str(archive)))
            except ValueError as e:
                if archive == root:
                    raise ValueError(f"{archive}: {e}") from e
                failed[archive] = str(e)
        yield out, failed


@contextmanager
def _temporary(needed: bool) -> Iterator[Path]:
    if not needed:
        yield Path()
        return
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="unpacked-", dir=cache_folder()))
    except OSError as e:
        raise ValueError(
            f"cannot unpack archives to {cache_folder()}: {e.strerror or e}; name another folder "
            "in the environment variable DNABENCH_CACHE"
        ) from e
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _names(root: Path) -> Names:
    """Names of tasks with one label per sequence; other kinds have their own layouts."""
    kinds = ("binary", "multiclass")
    return Names((TASKS[n] for n in TASKS if n in ORIGINS and TASKS[n].kind in kinds), root)


def _archives_in(root: Path) -> Sequence[Path]:
    if root.is_file():
        return [root] if archives.is_archive(root) else []
    names = _names(root)
    paths = (Path(at, name) for at, _, files in os.walk(root) for name in sorted(files))
    packed = (path for path in paths if path.name.lower().endswith(archives.SUFFIXES))
    stems = ((path, archives.stem(path.name)) for path in packed)
    known = (
        path
        for path, stem in stems
        if (names.suite(stem) or names.match(path.parent, stem))
        and not path.with_name(stem).is_dir()  # already unpacked here
    )
    return [path for path in known if archives.is_archive(path)]


def _fetched_from(path: Path, root: Path) -> str:
    """The origin that `fetching` noted beside a file, or beside an unpacked archive."""
    for at in (path, *path.parents):
        if at == root.parent:
            break
        with suppress(OSError, ValueError, KeyError, TypeError):
            stamp = json.loads(at.with_name(f".{at.name}.origin.json").read_text("utf-8"))
            return str(stamp["place"])
    return ""
