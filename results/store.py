"""Records on disk: one file a trial, written whole or not at all, shared by many processes.

runs/records/<trial id>.json       the record; its presence means the trial has ended
runs/records/<trial id>.json.unreadable-<n>    one that could not be read when its trial ran again
runs/records/<trial id>.json.replaced-<n>      one that was set aside to run its trial again
runs/predictions/<trial id>.npz    logits, labels and ids of the test split, see `trial.run_trial`
runs/checkpoints/<trial id>.pt     of a trial that has not ended, see results/checkpoints.py
runs/networks/<trial id>/          a kept network; network.json comes last
runs/tuning/<id>.json              a search of `dnabench tune`, see results/searches.py
runs/regimes/<id>.json             a column of `dnabench regimes`, see results/regimes.py
runs/pretrained/<name>/            a network that `dnabench regimes` pretrained
runs/configs/<time>-<host>-<random>.json       the resolved configuration of every `dnabench run`
runs/journal-<host>.jsonl          one line a trial started, ended or failed
runs/.locks/<trial id>[.<n>]       held while a process runs the trial, see results/claims.py
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.cache import remove_drafts, replacing
from dnabench.results.checkpoints import remove_checkpoint
from dnabench.results.claims import Claim, Holder, claimed, holders
from dnabench.results.index import HOST, Index
from dnabench.results.predictions import check_memory, check_sizes, damaged
from dnabench.results.rows import Row, Stamp
from dnabench.types import Array, Record

KEPT = ".unreadable-"  # in the names of records that this version cannot read
REPLACED = ".replaced-"  # and of those that were run again on request
COPY = "a copy: its id is"  # begins the reason of a record in a file of another name
NETWORK = ("network.json", "model.safetensors", "tokenizer.json")  # files of a kept network
FEW = 256  # records that are read one by one, however many others the folder has
FOLDERS = ("records", "predictions", "configs", ".locks")
SWEPT = ("checkpoints", "tuning", "regimes", "ray", "slurm/*", ".cache/records")  # where they are


class UnwritableError(ValueError):
    """The folder cannot be written, as on a full disk; the message says what to do."""


class Store:
    """A folder of records. Any number of processes may read and write it at once.

    Args:
        folder: made on the first write.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._records, self._predictions = self.folder / "records", self.folder / "predictions"
        self._index = Index(
            self._records, self.folder / ".cache" / "records", self._load, self.read
        )
        self.unreadable: dict[Path, str] = {}  # filled by reading

    def check_writable(self) -> None:
        """Make the folder, claim a trial in it, and remove what killed writers left.

        Raises:
            ValueError: when that cannot be done; names the folder and the reason.
        """
        probe = f".probe-{secrets.token_hex(8)}.tmp"
        with self._explained():
            for name in FOLDERS:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            remove_drafts(*(f for name in (*FOLDERS, *SWEPT) for f in self.folder.glob(name)))
            with self.claim(probe):
                (self.folder / ".locks" / probe).unlink()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what keeps the folder from being written into a message that says what to do."""
        try:
            yield
        except OSError as e:
            raise UnwritableError(
                f"cannot write to {self.folder}: {e.strerror or e}; make room or give access, or "
                "name another folder with --out. Finished trials are kept: the same command runs "
                "the others"
            ) from e

    def record_path(self, trial_id: str) -> Path:
        """Where the record of that trial is or will be."""
        return self._records / f"{trial_id}.json"

    def written(self, trial_id: str) -> int:
        """When that trial's record was written, in nanoseconds since 1970; 0 = there is none."""
        try:
            return self.record_path(trial_id).stat().st_mtime_ns
        except OSError:
            return 0

    def can_open(self, trial_id: str) -> bool:
        """Whether the file of that trial's record can be opened, whatever it holds."""
        try:
            self.record_path(trial_id).open("rb").close()
        except OSError:
            return False
        return True

    def predictions_path(self, trial_id: str) -> Path:
        """Where the predictions of that trial are or will be."""
        return self._predictions / f"{trial_id}.npz"

    def network_path(self, trial_id: str) -> Path:
        """The folder in which the network of that trial is or will be."""
        return self.folder / "networks" / trial_id

    def has_network(self, trial_id: str) -> bool:
        """Whether the network of that trial is kept."""
        return (self.network_path(trial_id) / "network.json").is_file()

    def save_network(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        """Write the files of a network, each whole or not at all, network.json last.

        Raises:
            UnwritableError: when the folder cannot be written, as on a full disk.
        """
        folder = self.network_path(trial_id)
        with self._explained():
            for name in sorted(files, key="network.json".__eq__):
                with replacing(folder / name, sync=True) as f:
                    f.write(files[name])
            remove_drafts(folder)

    def remove_network(self, trial_id: str) -> None:
        """Remove a kept network, network.json first; files that others put beside it stay."""
        folder = self.network_path(trial_id)
        with self._explained():
            for name in NETWORK:
                (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or not there
            folder.rmdir()

    def append(
        self, record: Record, predictions: Mapping[str, Array] | None = None, first: bool = False
    ) -> bool:
        """Write the predictions, then the record; each appears whole or not at all.

        Args:
            record: of a trial that this process has claimed.
            predictions: of the test split.
            first: keep a record that another host wrote meanwhile, even one not seen here yet.

        Returns:
            Whether the record is the one in the folder now.

        Raises:
            UnwritableError: when the folder cannot be written, as on a full disk.
        """
        trial_id = record.trial.id
        if first and self.written(trial_id):
            return False
        with self._explained():
            if predictions is not None:
                with replacing(self.predictions_path(trial_id), sync=True) as f:
                    np.savez_compressed(f, allow_pickle=False, **predictions)
            text = record.to_json().encode()
            with replacing(self.record_path(trial_id), sync=True, first=first) as f:
                f.write(text)
            if first and self.record_path(trial_id).read_bytes() != text:
                return False
        self.log("failed" if record.error else "ended", trial_id)
        return True

    def read(self, trial_id: str) -> Record | None:
        """The record of that trial; None when there is none, or none that can be read.

        The reason of the latter is then in `unreadable`.
        """
        path = self.record_path(trial_id)
        try:
            return self._load(trial_id)
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise ValueError(f"cannot read {path.parent}: not a folder") from None
        except OSError as e:
            self.unreadable[path] = e.strerror or str(e)
        except ValueError as e:
            self.unreadable[path] = str(e)
        return None

    def read_before_writing(self, trial_id: str) -> Record | None:
        """The record of a trial that is claimed and about to run.

        A file that holds no record for this version, perhaps one of a newer version, is renamed to
        `<id>.json.unreadable-<n>`, so that `append` does not overwrite it; see `kept`. So are its
        predictions and its network.

        Raises:
            ValueError: when the file cannot be opened or renamed, so the trial must not run.
        """
        path = self.record_path(trial_id)
        try:
            return self._load(trial_id)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise ValueError(
                f"cannot read {path}: {e.strerror or e}; the trial did not run, as that would "
                "overwrite the file: give access to it or move it away, then run the same command"
            ) from e
        except ValueError:
            self._rename(trial_id, KEPT)
            return None

    def _rename(self, trial_id: str, ending: str) -> None:
        """Add the first free ending to the names of what a trial has in the folder."""
        paths = self.record_path, self.predictions_path, self.network_path
        with self._explained():
            for path in (of(trial_id) for of in paths):
                names = (path.with_name(f"{path.name}{ending}{n}") for n in itertools.count(1))
                with suppress(FileNotFoundError):
                    path.rename(next(name for name in names if not name.exists()))

    def _load(self, trial_id: str) -> Record:
        record = Record.from_json(self.record_path(trial_id).read_text(encoding="utf-8"))
        if record.trial.id != trial_id:
            raise ValueError(f"{COPY} {record.trial.id}, which is not its file name; not counted")
        return record

    def set_aside(self, trial_id: str) -> None:
        """Rename record, predictions and network of a trial to `.replaced-<n>`; it then runs again.

        Raises:
            ValueError: when they cannot be renamed.
        """
        self._rename(trial_id, REPLACED)
        remove_checkpoint(self.folder, trial_id)

    def kept(self) -> set[Path]:
        """The records that `read_before_writing` renamed."""
        entries = os.scandir(self._records) if self._records.is_dir() else ()
        return {Path(entry.path) for entry in entries if KEPT in entry.name}

    @contextmanager
    def open_predictions(self, trial_id: str) -> Iterator[Mapping[str, Array]]:
        """The arrays of `predictions`, each read when it is asked for.

        Raises:
            ValueError: when the file is damaged, or lacks an array that was asked for.
            OSError: when it is missing or cannot be read now, as for lack of memory.
        """
        path = self.predictions_path(trial_id)
        with damaged(path), path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("not an .npz archive")
            with arrays:
                check_memory(arrays)
                try:
                    yield arrays
                except MemoryError:
                    check_sizes(arrays)
                    raise

    def predictions(self, trial_id: str) -> dict[str, Array]:
        """`logits` float32 (N, K), `labels` (N,), `ids` (N,) of test; see `trial.run_trial`.

        Raises:
            ValueError, OSError: as `open_predictions`.
        """
        with self.open_predictions(trial_id) as arrays:
            return dict(arrays)

    def rows(self) -> list[Row]:
        """What is often asked of the records, by the time they were written, quickly.

        Files that are no records have a row that says why; so has `unreadable`.

        Raises:
            ValueError: when the folder cannot be read.
        """
        return self._listed(None)

    def _listed(self, fresh: dict[Stamp, Record] | None) -> list[Row]:
        try:
            found = self._index.rows(fresh)
        except FileNotFoundError:
            return []
        except OSError as e:
            raise ValueError(f"cannot read {self._records}: {e.strerror}") from None
        self.unreadable |= {self.record_path(row.id): row.why for row in found if row.why}
        return found

    def listing(
        self, ids: Collection[str] | None = None, whole: bool = True
    ) -> tuple[list[Row], Iterator[Record]]:
        """As `rows` and `records`, of one moment; `whole` as for `Index.records`."""
        fresh: dict[Stamp, Record] = {}
        rows = self._listed(fresh)
        some = [row for row in rows if not row.why and (ids is None or row.id in ids)]
        return rows, self._index.records(some, fresh, whole)

    def records(self, ids: Collection[str] | None = None) -> Iterator[Record]:
        """The readable records of these trials, or all, by the time they were written."""
        if ids is None or len(ids) > FEW:
            return self.listing(ids)[1]
        return filter(None, map(self.read, sorted(ids, key=lambda i: (self.written(i), i))))

    def __iter__(self) -> Iterator[Record]:
        """Every readable record, by the time it was written; the others are in `unreadable`."""
        return self.records()

    def compact(self) -> tuple[int, int]:
        """As `Index.compact`."""
        with self._explained():
            return self._index.compact()

    def done(self) -> set[str]:
        """Ids of the trials that ended without an error."""
        return {row.id for row in self.rows() if row.done}

    def save_config(self, config: Mapping[str, Any]) -> Path:
        """Keep what a run was asked to do."""
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = self.folder / "configs" / f"{now}-{HOST}-{secrets.token_hex(4)}.json"
        with self._explained(), replacing(path, sync=True) as f:
            f.write(json.dumps(config, indent=1, sort_keys=True).encode())
        return path

    def declared(self) -> list[tuple[str, str]]:
        """Pairs of models that were declared before results existed, each once."""
        found: dict[tuple[str, str], None] = {}
        for path in sorted((self.folder / "configs").glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                for a, b in json.loads(path.read_text(encoding="utf-8"))["declared"]:
                    found[str(a), str(b)] = None
        return list(found)

    def log(self, event: str, trial_id: str) -> None:
        """Add a line to this host's journal: one O_APPEND write, which does not mix with others."""
        line = {"at": round(time.time(), 3), "event": event, "trial": trial_id, "pid": os.getpid()}
        with self._explained():
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            fd = os.open(self.folder / f"journal-{HOST}.jsonl", flags, 0o644)
            try:
                os.write(fd, (json.dumps(line) + "\n").encode())
            finally:
                os.close(fd)

    @contextmanager
    def claim(self, trial_id: str) -> Iterator[Claim | None]:
        """Hold a trial while it runs. Yields None when another process, here or elsewhere, does."""
        with ExitStack() as stack:
            with self._explained():
                held = stack.enter_context(claimed(self.folder / ".locks", trial_id))
            yield held

    def holders(self) -> dict[str, Holder]:
        """Which trials are being run, and by whom; a trial can be claimed at the same time."""
        return holders(self.folder / ".locks")
