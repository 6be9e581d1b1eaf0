"""Records on disk: one file a trial, written whole or not at all, shared by many processes.

runs/records/<trial id>.json       the record; its presence means the trial has ended
runs/predictions/<trial id>.npz    logits float32 (N, K), labels (N,), ids (N,) of the test split
runs/configs/<time>-<pid>.json     the resolved configuration of every `dnabench run`
runs/journal.jsonl                 one line a trial started, ended or failed
runs/.locks/<trial id>             held while a process runs the trial
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from dnabench.types import Array, Record


class Store:
    """A folder of records. Any number of processes may read and write it at once.

    Args:
        folder: made on the first write.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.unreadable: dict[Path, str] = {}  # filled by reading

    def check_writable(self) -> None:
        """Make the folder, and write and lock a file in it.

        Raises:
            ValueError: when that cannot be done, as on a file system without locks; names the
                folder and the reason.
        """
        try:
            for name in ("records", "predictions", "configs", ".locks"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            with self.claim(f".probe-{os.getpid()}"):
                pass
            (self.folder / ".locks" / f".probe-{os.getpid()}").unlink()
        except OSError as e:
            raise ValueError(
                f"cannot write to {self.folder}: {e.strerror}; name another folder with --out"
            ) from None

    def record_path(self, trial_id: str) -> Path:
        """Where the record of that trial is or will be."""
        return self.folder / "records" / f"{trial_id}.json"

    def predictions_path(self, trial_id: str) -> Path:
        """Where the predictions of that trial are or will be."""
        return self.folder / "predictions" / f"{trial_id}.npz"

    def append(self, record: Record, predictions: Mapping[str, Array] | None = None) -> None:
        """Write the predictions, then the record; each appears whole or not at all."""
        trial_id = record.trial.id
        if predictions is not None:
            with _replacing(self.predictions_path(trial_id)) as f:
                np.savez_compressed(f, allow_pickle=False, **predictions)
        with _replacing(self.record_path(trial_id)) as f:
            f.write(record.to_json().encode())
        self.log("failed" if record.error else "ended", trial_id)

    def read(self, trial_id: str) -> Record | None:
        """The record of that trial; None when there is none or it cannot be read."""
        path = self.record_path(trial_id)
        try:
            return Record.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ValueError(f"cannot read {path.parent}: not a folder") from None
        except (ValueError, OSError) as e:
            self.unreadable[path] = str(e)
            return None

    def predictions(self, trial_id: str) -> dict[str, Array]:
        """`logits` float32 (N, K), `labels` (N,), `ids` (N,) of test; see `run.run_trial`."""
        with (
            self.predictions_path(trial_id).open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            return dict(arrays)

    def __iter__(self) -> Iterator[Record]:
        """Every readable record, by the time it was written; the others are in `unreadable`."""
        records = self.folder / "records"
        try:
            paths = [path for path in records.iterdir() if not path.name.startswith(".")]
        except FileNotFoundError:
            return
        except OSError as e:
            raise ValueError(f"cannot read {records}: {e.strerror}") from None
        for path in sorted(paths, key=lambda p: (p.stat().st_mtime_ns, p.name)):
            record = self.read(path.stem)
            if record is not None:
                yield record

    def done(self) -> set[str]:
        """Ids of the trials that ended without an error."""
        return {r.trial.id for r in self if not r.error}

    def save_config(self, config: Mapping[str, Any]) -> Path:
        """Keep what a run was asked to do."""
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = self.folder / "configs" / f"{now}-{os.getpid()}.json"
        with _replacing(path) as f:
            f.write(json.dumps(config, indent=1, sort_keys=True).encode())
        return path

    def log(self, event: str, trial_id: str) -> None:
        """Add a line to the journal: a single O_APPEND write, which does not mix with others."""
        line = {"at": round(time.time(), 3), "event": event, "trial": trial_id, "pid": os.getpid()}
        fd = os.open(self.folder / "journal.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, (json.dumps(line) + "\n").encode())
        finally:
            os.close(fd)

    @contextmanager
    def claim(self, trial_id: str) -> Iterator[bool]:
        """Hold a trial while it runs. Yields False when another process holds it.

        The kernel lets go of the lock when the process ends, however it ends. The lock files stay:
        removing one would let two processes hold "the" lock of the same name.
        """
        path = self.folder / ".locks" / trial_id
        with path.open("w") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary file beside `path`, flush it to the disk, put it in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Only then does the new name survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
