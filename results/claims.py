"""Claims: which process runs a trial, on one machine or on many that share a folder.

A claim is a file that one process creates (O_EXCL, which holds on every shared file system) and
touches while it lives. Where the file system has locks, the process also holds one: the kernel
frees it at once when the process ends, which other processes of the same host see.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dnabench.cache import exclusive, read_json
from dnabench.results.provenance import batch_job

BEAT = 15.0  # seconds between two touches
STALE = 120.0  # seconds without one, after which another host takes over; NFS shows times 60 s late
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without


class Claim(NamedTuple):
    """A trial that this process runs."""

    path: Path
    owner: dict[str, Any]

    def lost(self) -> bool:
        """Whether another host took over because this process did not touch its file for long."""
        return read_json(self.path) != self.owner or _next(self.path).exists()


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[Claim | None]:
    """Hold the claim `name` in a folder; None while another process holds it.

    A claim whose process ended is taken over: at once on the same host, elsewhere when its file was
    not touched for `STALE` seconds by the clock of the file server.

    Raises:
        OSError: when the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            free, locks = stack.enter_context(exclusive(folder / name)), True
        except OSError as e:
            if e.errno not in NO_LOCKS:
                raise
            free, locks = True, False
        claim = _take(folder / f"{name}.1", locks) if free else None
        if claim is not None:
            stack.enter_context(_held(claim))
        yield claim


def host() -> str:
    """This machine as far as processes are numbered: its name, and digits of its start.

    Containers of one machine may share its name, but number processes on their own; the digits are
    those of the namespace as well.
    """
    with suppress(OSError):
        boot = int(Path("/proc/sys/kernel/random/boot_id").read_text()[:8], 16)
        return f"{socket.gethostname()}-{boot ^ Path('/proc/self/ns/pid').stat().st_ino:08x}"
    return socket.gethostname()


def _take(first: Path, locks: bool) -> Claim | None:
    """Create the first file, or the one behind that of an owner that is gone.

    Who takes over adds a file and leaves the old one: of two that try, one creates it.
    """
    owner = {
        "host": host(), "pid": os.getpid(), "token": secrets.token_hex(8),
        "since": time.time(), "batch_job": batch_job(),
    }  # fmt: skip
    path = first
    while (found := read_json(path)) is not None or path.exists():
        last, path = path, _next(path)
        if not path.exists() and not _gone(last, found, locks):
            return None
    try:
        file = path.open("x")
    except FileExistsError:
        return None
    try:
        with file:
            json.dump(owner, file)
    except OSError:  # a full disk; who cannot write its claim does not hold it
        path.unlink(missing_ok=True)
        raise
    return Claim(path, owner)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.stem}.{int(path.suffix[1:]) + 1}")


def _gone(path: Path, owner: Any, locks: bool) -> bool:
    """Whether the owner of a claim has ended, as far as can be known here."""
    here = isinstance(owner, dict) and owner.get("host") == host()
    if here and (locks or _process_gone(owner)):  # who lives would hold the lock
        return True
    try:
        return server_time(path.parent) - path.stat().st_mtime > STALE
    except FileNotFoundError:
        return False  # released meanwhile; the next try gets it


def server_time(folder: Path) -> float:
    """The time by the clock of the server of a folder."""
    clock = folder / f".clock-{secrets.token_hex(8)}.tmp"
    try:
        clock.touch()
        return clock.stat().st_mtime
    finally:
        clock.unlink(missing_ok=True)


class Holder(NamedTuple):
    """Who holds a claim."""

    host: str
    batch_job: str  # as in `provenance.batch_job`
    since: float  # seconds since 1970, by the holder's clock
    beat: float  # seconds since its file was touched
    gone: bool  # it has ended, as far as can be known here


def holders(folder: Path) -> dict[str, Holder]:
    """Who holds which claims of a folder. Only looks: a claim can be taken at the same time."""
    files = [p for p in folder.glob("[!.]*.*") if p.suffix[1:].isdecimal()]
    now, found = time.time(), dict[str, Holder]()
    if files:
        with suppress(OSError):  # a folder that can only be read
            now = server_time(folder)
    for path in sorted(files, key=lambda p: int(p.suffix[1:])):  # who took over comes last
        owner = read_json(path)
        owner = owner if isinstance(owner, dict) else {}
        with suppress(FileNotFoundError, ValueError, TypeError):
            beat = now - path.stat().st_mtime
            found[path.stem] = Holder(
                str(owner.get("host", "?")), str(owner.get("batch_job", "")),
                float(owner.get("since", now)), max(0.0, beat),
                _process_gone(owner) or beat > STALE,
            )  # fmt: skip
    return found


def _process_gone(owner: dict[str, Any]) -> bool:
    """Whether an owner was a process of this host and is none now."""
    if owner.get("host") != host():
        return False
    try:
        os.kill(int(owner.get("pid", 0)), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, TypeError):
        return False
    return False


@contextmanager
def _held(claim: Claim) -> Iterator[None]:
    """Touch the file until the block ends, then remove it and those it took over."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):
                os.utime(claim.path)

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        if not claim.lost():
            stem, number = claim.path.stem, int(claim.path.suffix[1:])
            for n in itertools.islice(itertools.count(number, -1), number):
                claim.path.with_name(f"{stem}.{n}").unlink(missing_ok=True)
