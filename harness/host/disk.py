"""What dnabench keeps on disk besides records, and how to remove it."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from dnabench.cache import cache_folder

# Folders of the cache that can be made again, and what they hold; in `tasks` each task is an entry
KEPT = {
    "fetched": "downloads, already imported; `dnabench data fetch` downloads them again",
    "convolution": "the fastest convolution of each shape; measured again when needed",
    "encoded": "BPE tokens of tasks; encoded again when needed",
    "frozen": "features of frozen backbones (finetune=probe); computed again when needed",
    "checks": "what was found wrong with such features; looked at again when needed",
    "compiled": "networks compiled by torch.compile; compiled again when needed",
    "audits": "findings of `dnabench audit data`, which makes them again",
}
LEFT_OVER = ("unpacked-", ".removing-")  # folders of an import or a removal that did not end
_WRITING = 600  # seconds; a folder written to that recently is in use


class Entry(NamedTuple):
    """A file or folder that is kept."""

    name: str  # for `clear`
    path: Path
    bytes: int  # on disk
    used: float  # seconds since 1970; last read or write, as far as the file system records it
    what: str  # in words
    ours: bool = True  # whether `clear` may remove it; other entries are only listed


def entries(out: Path | None = None) -> list[Entry]:
    """Everything there is, tasks first.

    Args:
        out: a folder of records, whose `.cache` of computed intervals is listed too.

    Raises:
        OSError: a folder that cannot be read.
    """
    home = cache_folder()
    found = [
        _entry(f"task:{path.parent.name}/{path.name}", path, "imported data")
        for path in sorted((home / "tasks").glob("*/*"))
        if path.is_dir() and not path.name.startswith(".")
    ]
    for path in sorted(home.iterdir()) if home.is_dir() else []:
        if path.name in KEPT:
            found.append(_entry(path.name, path, KEPT[path.name]))
        elif path.name.startswith(LEFT_OVER):
            found.append(_entry(path.name, path, "left over from a process that was killed"))
        elif path.name != "tasks":
            found.append(_entry(path.name, path, "not dnabench's; never removed", ours=False))
    if out is not None and (out / ".cache").is_dir():
        found.append(_entry("intervals", out / ".cache", f"computed from the records in {out}"))
    hub = hub_folder()
    if hub.is_dir():
        found.append(_entry("hub", hub, "of huggingface_hub; `hf cache rm` clears it", ours=False))
    return found


def hub_folder() -> Path:
    """The cache of huggingface_hub: $HF_HUB_CACHE, else $HF_HOME/hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def clear(chosen: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Remove entries of `entries`, except those that another process holds, maps or just wrote.

    An entry is renamed before its files are removed, so that no process finds half of it.

    Returns:
        Each entry with the reason why it is still there, "" = it was removed.
    """
    return [(entry, _clear(entry)) for entry in chosen]


def named(names: Sequence[str], found: Sequence[Entry]) -> list[Entry]:
    """The entries of these names; `tasks` stands for all tasks, `task:SUITE` for those of a suite.

    Raises:
        KeyError: an unknown name; the message suggests.
    """
    from dnabench.registry import explain_miss

    chosen: dict[str, Entry] = {}
    where = "`dnabench cache list` prints what there is"
    for name in names:
        whole = "task:" if name == "tasks" else f"{name}/"
        hits = {e.name: e for e in found if e.name == name or e.name.startswith(whole)}
        if not hits:
            raise KeyError(explain_miss("cache", name, [e.name for e in found], where))
        chosen |= hits
    return list(chosen.values())


def size(n: float) -> str:
    """Bytes in three digits: 512 B, 1.23 kB, 45.6 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5:
            return f"{n:.0f} B" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} TB"


def _entry(name: str, path: Path, what: str, ours: bool = True) -> Entry:
    total, used = 0, 0.0
    for file in _files(path):
        with suppress(OSError):  # removed meanwhile
            stat = file.lstat()
            total += stat.st_blocks * 512
            used = max(used, stat.st_atime, stat.st_mtime)
    return Entry(name, path, total, used or path.lstat().st_mtime, what, ours)


def _files(path: Path) -> Iterator[Path]:
    """Every file below, or the file; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for at, _, names in os.walk(path):
        yield from (Path(at, name) for name in names)


def _clear(entry: Entry) -> str:
    if not entry.ours:
        return f"dnabench does not remove it: {entry.what}"
    try:
        with _alone(entry.path) as why:
            if why:
                return why
            going = entry.path.with_name(f".removing-{os.getpid()}-{entry.path.name}")
            entry.path.rename(going)
        shutil.rmtree(going) if going.is_dir() and not going.is_symlink() else going.unlink()
    except FileNotFoundError:
        return ""  # removed by another process
    except OSError as e:
        return f"{e.filename or entry.path}: {e.strerror or e}; remove it by hand"
    return ""


@contextmanager
def _alone(path: Path) -> Iterator[str]:
    """Hold every lock file below; yields why that is not possible, "" = it is."""
    with ExitStack() as held:
        for file in _files(path):
            if file.name.endswith(".lock"):
                lock = held.enter_context(file.open("r"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield f"another process holds {file}; try again when it has ended"
                    return
        yield _busy(path)


def _busy(path: Path) -> str:
    """Why an entry is in use, "" = it is not, as far as this user may see."""
    written = [p for p in path.rglob(".writing-*") if p.is_dir()]
    for folder in [*written, path] if path.name.startswith(LEFT_OVER) else written:
        newest = max((f.lstat().st_mtime for f in _files(folder)), default=folder.stat().st_mtime)
        if time.time() - newest < _WRITING:
            return f"something was written to {folder} just now; try again in ten minutes"
    if users := users_of(path):
        return f"in use by process {', '.join(map(str, users))}; try again when it has ended"
    return ""


def users_of(path: Path) -> list[int]:
    """Ids of other processes that map or have open a file below `path`; Linux only."""
    inside, found = f"{path.resolve()}/", []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            if inside in (process / "maps").read_text() or any(
                str(fd.readlink()).startswith(inside) for fd in (process / "fd").iterdir()
            ):
                found.append(int(process.name))
    return sorted({*found} - {os.getpid()})
