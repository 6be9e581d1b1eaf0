"""Checkpoints of trials that have not ended, beside their records: where they are, and which stay.

runs/checkpoints/<trial id>.pt    written while it is trained, see train/checkpoint.py
"""

from __future__ import annotations

import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dnabench.results.store import Store

FOLDER = "checkpoints"


class Place(NamedTuple):
    """Where a trial keeps its checkpoint, and when."""

    path: Path
    every: float  # seconds; 0 = after each epoch; below 0 = never
    mine: Callable[[], bool]  # whether the trial is still this process's
    soon: Callable[[], bool] = lambda: False  # whether the process may be ended soon


@contextmanager
def warned() -> Iterator[Callable[[], bool]]:
    """Whether SIGUSR1 has come since: batch systems send it before they end a process.

    Who handled it before hears of it too. Where nobody did, and outside the main thread, it is
    left alone.
    """
    heard, before = threading.Event(), signal.getsignal(signal.SIGUSR1)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield heard.is_set
        return

    def hear(number: int, frame: Any) -> None:
        heard.set()
        before(number, frame)

    signal.signal(signal.SIGUSR1, hear)
    try:
        yield heard.is_set
    finally:
        signal.signal(signal.SIGUSR1, before)


def checkpoint_path(folder: Path, trial_id: str) -> Path:
    """Where the checkpoint of a trial is or will be, in a folder of results."""
    return folder / FOLDER / f"{trial_id}.pt"


def checkpoints(folder: Path) -> dict[str, Path]:
    """The checkpoints of a folder of results, by trial id."""
    return {path.stem: path for path in sorted((folder / FOLDER).glob("[!.]*.pt"))}


def remove_checkpoint(folder: Path, trial_id: str) -> None:
    """Remove a checkpoint, if there is one, with what killed writers left of it."""
    path = checkpoint_path(folder, trial_id)
    with suppress(OSError):
        path.unlink(missing_ok=True)
    remove_unfinished(path)


def remove_unfinished(path: Path) -> None:
    """Remove what writers of this checkpoint left when they were killed."""
    with suppress(OSError):  # one who lost the trial and writes still finds it gone, and goes on
        for draft in path.parent.glob(f".{path.name}.*.tmp"):
            draft.unlink(missing_ok=True)


def damage(path: Path) -> str:
    """What is wrong with the bytes of a checkpoint, by their checksums; "" if nothing is.

    Raises:
        OSError: when it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except OSError:
        raise
    except Exception as e:  # of a damaged archive zipfile raises what it likes
        return f"it is damaged or cut off ({type(e).__name__})"
    return f"it is damaged ({part})" if part else ""


def stale(store: Store) -> Iterator[tuple[str, Path]]:
    """The checkpoints of trials that have ended without an error."""
    found = checkpoints(store.folder)
    done = store.done() if found else set()
    yield from ((trial_id, path) for trial_id, path in found.items() if trial_id in done)


def remove_stale(store: Store) -> int:
    """Remove those of `stale`, unless a process runs the trial; how many."""
    n = 0
    for trial_id, _ in list(stale(store)):
        with store.claim(trial_id) as mine:
            record = store.read(trial_id) if mine else None
            if record is not None and not record.error:
                remove_checkpoint(store.folder, trial_id)
                n += 1
    return n
