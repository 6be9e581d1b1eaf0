"""Fetch the published files of a task: from the Hugging Face hub, or from mirrors over HTTP.

FOLDER/<suite>/<task>/<path in the repository>    of the hub
FOLDER/<suite>/<task>/<name of the file>          of a URL that holds one task
FOLDER/<suite>/<name of the file>                 of a URL that several tasks of the suite share
Archives become folders, named without .zip or .tar.gz. Beside each is `.<name>.origin.json` with
its origin and sha256; during a download also `.<name>.part`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from dnabench.cache import cache_folder, exclusive, file_sha256, read_json, replacing
from dnabench.registry import TASKS
from dnabench.tasks._declare import ORIGINS, Origin
from dnabench.tasks.io import archives, download, hub
from dnabench.tasks.io.download import Got, Observe, RefusedError
from dnabench.weights import REVISION

if TYPE_CHECKING:
    from dnabench.tasks.io.importing import Imported


class Fetched(NamedTuple):
    """The files of a task on disk.

    folder: for `import_tree`. files: the files; an archive is the folder it became. place:
    repository@revision or URL. fresh: whether anything came from the network or the hub's cache
    and was not in the folder before.
    """

    task: str
    folder: Path
    files: tuple[Path, ...]
    place: str
    fresh: bool


class Outcome(NamedTuple):
    """The result for one task; `error` is empty when it is fetched and imported."""

    task: str
    fetched: Fetched | None
    imported: Imported | None
    error: str


def fetched_folder() -> Path:
    """The default folder of fetched files."""
    return cache_folder() / "fetched"


def fetch(
    name: str, folder: Path, observe: Observe = lambda *_: None, revision: str = ""
) -> Fetched:
    """Fetch the published files of a task to a folder. Valid files that are there stay.

    The hub is tried first, then the mirrors. HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN are
    honoured; with HF_HUB_OFFLINE the mirrors are not asked either.

    Args:
        name: of the task, or an alias.
        folder: made if needed.
        observe: called with (what, bytes done, bytes in all; 0 = unknown) as bytes arrive, and
            once when this process waits for another that fetches the same file.
        revision: of the hub's data set, 40 hex digits, instead of the pinned one.

    Raises:
        KeyError: no such task.
        ValueError: the files cannot be had; with task, file, places, reasons and what to do.
    """
    task = TASKS[name].name
    origin = ORIGINS.get(task)
    if origin is None:
        raise ValueError(f"{task}: nothing to fetch; its data come with the package that adds it")
    origin = replace(origin, revision=revision) if revision else origin
    home = folder / task.partition("/")[0]
    reasons = []
    for there, get in ((origin.repo, _from_hub), (origin.urls, _from_web)):
        if there:
            try:
                return get(task, origin, home, observe)
            except RefusedError as e:
                reasons.append(str(e))
            except OSError as e:
                raise ValueError(
                    f"{task}: cannot write to {e.filename or folder}: {e.strerror or e}; make room "
                    "or name another folder"
                ) from e
    because = "; ".join(reasons) or "no program may fetch them"
    raise ValueError(f"{task}: cannot get its files: {because}. {_by_hand(origin, task)}")


def fetch_and_import(
    names: Sequence[str], observe: Observe = lambda *_: None, folder: Path | None = None,
    revision: str = "",
) -> list[Outcome]:  # fmt: skip
    """Fetch tasks and import them. A task that fails never stops the others.

    Args:
        names: of tasks, or aliases.
        observe: as for `fetch`; also ("importing <task>", 0, 0).
        folder: of the files; None = `fetched_folder()`.
        revision: as for `fetch`.

    Returns:
        One outcome for each task, in the order of the names.

    Raises:
        KeyError: a name is not a task; nothing is fetched then.
    """
    from dnabench.tasks.io.importing import import_tree

    def importing(task: str, *_: int) -> None:
        if task:
            observe(f"importing {task}", 0, 0)

    names = list(dict.fromkeys(TASKS[name].name for name in names))
    here, errors = dict[str, Fetched](), dict[str, str]()
    for name in names:
        try:
            here[name] = fetch(name, folder or fetched_folder(), observe, revision)
        except ValueError as e:
            errors[name] = str(e)
    done = dict[str, "Imported"]()
    for root in dict.fromkeys(f.folder for f in here.values()):
        wanted = [f.task for f in here.values() if f.folder == root]
        results = import_tree(root, only=wanted, observe=importing)
        done |= {imported.task: imported for imported in results}
    return [_outcome(name, here.get(name), done, errors.get(name, "")) for name in names]


def _outcome(
    name: str, fetched: Fetched | None, done: Mapping[str, Imported], error: str
) -> Outcome:
    if fetched is None:
        return Outcome(name, None, None, error)
    imported = done.get(fetched.task)
    if imported is None:
        error = (
            f"{fetched.task}: nothing in {fetched.folder} was recognised as this task, though "
            f"{', '.join(f.name for f in fetched.files)} came from {fetched.place}; look what the "
            "files hold"
        )
    return Outcome(fetched.task, fetched, imported, error or (imported.error if imported else ""))


def _by_hand(origin: Origin, task: str) -> str:
    """Instructions for getting the files by hand and importing them."""
    places = [_page(origin)] if origin.repo else list(origin.urls)
    get = origin.by_hand.rstrip(".") or f"get them by hand from {' or '.join(places)}"
    get = f"{get[0].upper()}{get[1:]}"
    if "dnabench data import" in get:
        return get
    return f"{get}, then run `dnabench data import FOLDER --tasks {task}`"


def _page(origin: Origin) -> str:
    tree = f"/tree/{origin.revision}" if REVISION.fullmatch(origin.revision) else ""
    return f"https://huggingface.co/datasets/{origin.repo}{tree}"


def _from_hub(task: str, origin: Origin, home: Path, observe: Observe) -> Fetched:
    """All files of a task from the hub or its cache."""
    if not REVISION.fullmatch(origin.revision):
        what = f"{origin.revision!r} is not one" if origin.revision else "none is known here"
        raise RefusedError(
            f"the hub needs a revision of 40 hex digits, a branch can change; {what}: take it from "
            f"https://huggingface.co/datasets/{origin.repo}/commits/main and name it with "
            "--revision"
        )
    folder, place = home / task.partition("/")[2], f"{origin.repo}@{origin.revision}"
    paths = list(dict.fromkeys(p for of_split in origin.files.values() for p in of_split))
    if not paths:
        raise RefusedError(f"it is not known which files of {origin.repo} are those of {task}")
    fresh = []
    for path in paths:
        expected = origin.sha256.get(path, "")

        def get(part: Path, path: str = path, expected: str = expected) -> Got:
            return hub.get(origin.repo, origin.revision, path, expected, part, observe)

        try:
            target = folder / Path(path).with_name(archives.stem(Path(path).name))
            fresh.append(_settle(target, {place: expected}, get, path, observe))
        except RefusedError as e:
            raise RefusedError(f"{path} of {place}: {e}") from e
    files = tuple(folder / Path(p).with_name(archives.stem(Path(p).name)) for p in paths)
    return Fetched(task, folder, files, place, any(fresh))


def _from_web(task: str, origin: Origin, home: Path, observe: Observe) -> Fetched:
    """The single file or archive of a task or suite, from its mirrors."""
    names = [unquote(Path(urlsplit(url).path).name) for url in origin.urls]
    mirrors = {url: _expected(origin, url, n) for url, n in zip(origin.urls, names, strict=True)}
    shared = sum(other.urls == origin.urls for other in ORIGINS.values()) > 1
    stem = re.sub(r"[^\w.+-]", "_", archives.stem(names[0])) or "data"
    folder = home if shared else home / task.partition("/")[2]
    target = folder / stem

    def get(part: Path) -> Got:
        if hub.offline():
            raise RefusedError(f"HF_HUB_OFFLINE is set, so {' and '.join(mirrors)} was not asked")
        return download.download(mirrors, part, names[0], observe)

    fresh = _settle(target, mirrors, get, names[0], observe)
    place = _stamp(target)["place"]
    return Fetched(task, target if shared and target.is_dir() else folder, (target,), place, fresh)


def _expected(origin: Origin, url: str, name: str) -> str:
    """The sha256 of a mirror: its own, or that of another mirror with the same file name."""
    same = [u for u in origin.urls if unquote(Path(urlsplit(u).path).name) == name]
    return next((origin.sha256[k] for k in (url, name, *same) if k in origin.sha256), "")


def _settle(
    target: Path, places: Mapping[str, str], get: Callable[[Path], Got], what: str, observe: Observe
) -> bool:
    """Put a file, or the folder of an archive, at `target`; False when it was there already.

    Args:
        target: replaced in one step.
        places: possible origins -> sha256, "" = unknown.
        get: downloads the complete, checked file to a path.
        what: passed to `observe`.
        observe: called when another process is fetching it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)

    def waiting() -> None:
        observe(f"{what}: waiting for another process", 0, 0)

    lock = target.with_name(f".{target.name}.lock")
    with exclusive(lock, waiting, required=False) as held:
        if _is_settled(target, places):
            return False
        unique = "" if held else f".{os.getpid()}"
        part = target.with_name(f".{target.name}{unique}.part")
        got = get(part)
        stamp = {"place": got.place, "sha256": got.sha256, "bytes": got.size}
        _stamp_path(target).unlink(missing_ok=True)
        if archives.is_archive(part):
            _unpack(part, target, got)
        else:
            _remove(target)
            part.replace(target)
        with replacing(_stamp_path(target)) as f:
            f.write(json.dumps(stamp, indent=1).encode())
    return True


def _unpack(part: Path, target: Path, got: Got) -> None:
    """Unpack beside the target, then rename. The archive is removed, even if unreadable."""
    beside = part.with_suffix(".unpacking")
    _remove(beside)
    try:
        archives.unpack(part, beside)
    except ValueError as e:
        raise RefusedError(f"{got.place} cannot be unpacked: {e}") from e
    finally:
        part.unlink()
    _remove(target)
    beside.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _is_settled(target: Path, places: Mapping[str, str]) -> bool:
    """Whether `target` came from one of these places and is unchanged."""
    stamp = _stamp(target)
    if stamp.get("place") not in places or not target.exists():
        return False
    if places[stamp["place"]] not in ("", stamp["sha256"]):
        return False
    return target.is_dir() or file_sha256(target) == stamp["sha256"]


def _stamp_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.origin.json")


def _stamp(target: Path) -> dict[str, Any]:
    stamp = read_json(_stamp_path(target))
    return stamp if isinstance(stamp, dict) and {"place", "sha256"} <= stamp.keys() else {}
