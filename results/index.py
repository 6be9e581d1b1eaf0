"""The records of a folder by way of Parquet files beside them: 100,000 are read in seconds.

runs/.cache/records/<host>-<code>-<random>.parquet     what some of the records say, see rows.py

The JSON files stay the truth: a row counts as long as its file has the size and the times, of
content and of status, that it had when the row was made. Every process adds files and changes
none; a host with more than MOST replaces its own by one. All of them can be deleted.
"""

from __future__ import annotations

import gc
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, repeat
from pathlib import Path
from typing import Any

from dnabench.cache import exclusive, remove_drafts, replacing
from dnabench.results.claims import server_time
from dnabench.results.rows import (
    Maker,
    Row,
    Stamp,
    Texts,
    code,
    read_table,
    row_of,
    rows_in,
    table_of,
    texts_in,
    texts_of,
    write_table,
)
from dnabench.types import Record

LEAST = 256  # new rows that are worth a file; in a large folder,
PART = 100  # one in so many
AT_ONCE = 16_384  # rows of a new file, so that a long first reading may be ended and goes on
MOST = 8  # files of a host
MADE = 2048  # records that are parsed together
HOST = socket.gethostname()
NEVER = 2**63 - 1
SETTLED = 2e9  # nanoseconds; a younger file can change without a change of its times


class Index:
    """The records of a folder.

    Args:
        records: the folder of the JSON files.
        folder: of the Parquet files.
        load: the record of a trial, from its JSON file. OSError: it cannot be opened now;
            ValueError: it holds none.
    """

    def __init__(self, records: Path, folder: Path, load: Callable[[str], Record]) -> None:
        self.source, self.folder, self.load = records, folder, load
        self._rows: dict[Stamp, Row] = {}  # of the Parquet files
        self._places: dict[Stamp, tuple[Path, int]] = {}  # where their texts are
        self._new: dict[Stamp, Record | Texts] = {}  # what the last `rows` read
        self._seen: set[Path] = set()

    def rows(self) -> list[Row]:
        """A row for each file, by the time it was written; what the Parquet files lack is read.

        Raises:
            OSError: when the folder cannot be listed.
        """
        with _no_search_for_cycles():
            return self._current()

    def _current(self) -> list[Row]:
        entries = [e for e in os.scandir(self.source) if _is_record(e.name)]
        now = self._begin(len(entries))
        stamps = _stamps(entries)
        missing = [stamp for stamp in stamps if stamp not in self._rows]
        settled = [stamp for stamp in missing if max(stamp[2:]) < now - SETTLED]
        found: dict[Stamp, Row] = {}
        self._new = {}
        if len(settled) >= max(LEAST, len(stamps) // PART):
            for at in range(0, len(settled), AT_ONCE):
                found |= self._saved(self._read(settled[at : at + AT_ONCE], as_texts=True))
            self._compact_own(stamps)
        rest = [stamp for stamp in missing if stamp not in found]
        found |= self._read(rest, as_texts=len(rest) >= LEAST)
        both = ((self._rows.get(stamp) or found.get(stamp)) for stamp in stamps)
        return [row for row in both if row is not None]

    def records(self, rows: Sequence[Row]) -> Iterator[Record]:
        """The records of some of the rows that `rows` gave last, in their order."""
        make, tables = Maker(), dict[Path, Any]()
        for at in range(0, len(rows), MADE):
            some = rows[at : at + MADE]
            with _no_search_for_cycles():
                found = self._sources(some, tables)
                all_ = {self._path(row): found[row.stamp] for row in some if row.stamp in found}
                ready = {path: one for path, one in all_.items() if isinstance(one, Record)}
                ready |= make({path: one for path, one in all_.items() if isinstance(one, Texts)})
            yield from (ready[path] for row in some if (path := self._path(row)) in ready)

    def compact(self) -> tuple[int, int]:
        """Replace the Parquet files of all hosts and versions by one, if there are any.

        Returns:
            How many files were replaced, and how many rows the new one has.

        Raises:
            OSError: when the folder cannot be read or written.
        """
        stamps = [row.stamp for row in self.rows()]
        paths = sorted(self.folder.glob("*.parquet"))
        remove_drafts(self.folder)
        return len(paths), self._replace(paths, stamps) if paths else 0

    def _path(self, row: Row) -> Path:
        return self.source / f"{row.id}.json"

    def _begin(self, n: int) -> float:
        """Take in new Parquet files; the time, in nanoseconds, or -inf where nothing is kept."""
        if n < LEAST:
            return float("-inf")
        for path in set(self.folder.glob(f"*-{code()}-*.parquet")) - self._seen:
            self._seen.add(path)
            with suppress(FileNotFoundError, ValueError):
                self._take(path, rows_in(read_table(path, Row._fields)))
        try:
            return server_time(self.source) * 1e9
        except OSError:
            return float("-inf")

    def _take(self, path: Path, rows: Sequence[Row]) -> None:
        stamps = [row[:4] for row in rows]  # as `Row.stamp`, in a third of the time
        self._rows.update(zip(stamps, rows, strict=True))
        self._places.update(zip(stamps, zip(repeat(path), count()), strict=False))

    def _read(self, stamps: Iterable[Stamp], as_texts: bool) -> dict[Stamp, Row]:
        """Read JSON files, and keep what they hold for `records`."""
        found = {}
        for stamp in stamps:
            try:
                record = self.load(stamp[0])
                found[stamp] = row_of(record, stamp)
                self._new[stamp] = texts_of(record) if as_texts else record
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as e:
                found[stamp] = Row(*stamp, why=e.strerror or str(e))
            except ValueError as e:
                found[stamp] = Row(*stamp, why=str(e))
                self._new[stamp] = Texts()
        return found

    def _saved(self, found: dict[Stamp, Row]) -> dict[Stamp, Row]:
        """Write rows to a file of this host, except those of records that could not be opened."""
        rows = [row for stamp, row in found.items()
                if stamp in self._new and (row.id + row.why).isascii()]  # fmt: skip
        with suppress(OSError):
            self._write(rows, table_of(rows, [_texts(self._new[row.stamp]) for row in rows]))
            for row in rows:
                del self._new[row.stamp]
        return found

    def _write(self, rows: Sequence[Row], table: Any) -> Path:
        path = self.folder / f"{HOST}-{code()}-{secrets.token_hex(4)}.parquet"
        with replacing(path) as file:
            write_table(table, file)
        self._seen.add(path)
        self._take(path, rows)
        return path

    def _compact_own(self, stamps: Sequence[Stamp]) -> None:
        own = sorted(self.folder.glob(f"{HOST}-{code()}-*.parquet"))
        if len(own) > MOST:
            with suppress(OSError), exclusive(self.folder / f".{HOST}.lock") as free:
                if free:
                    self._replace(own, stamps)

    def _replace(self, paths: Sequence[Path], stamps: Sequence[Stamp]) -> int:
        """Write one file with those rows of others that count, and remove these."""
        import pyarrow as pa  # type: ignore[import-untyped]

        parts, kept, wanted = [], list[Row](), set(stamps)
        for path in paths:
            with suppress(FileNotFoundError, ValueError):
                table = read_table(path)
                rows = rows_in(table)
                at = [n for n, row in enumerate(rows) if row.stamp in wanted]
                kept += [rows[n] for n in at]
                wanted -= {row.stamp for row in kept}
                parts.append(table.take(at))
        if kept:
            self._write(kept, pa.concat_tables(parts))
        for path in paths:
            path.unlink(missing_ok=True)
        return len(kept)

    def _sources(self, rows: Sequence[Row], tables: dict[Path, Any]) -> dict[Stamp, Record | Texts]:
        """Records, or what they are made of: read by `rows`, from Parquet, or from JSON again."""
        found = {row.stamp: self._new[row.stamp] for row in rows if row.stamp in self._new}
        places: dict[Path, list[Stamp]] = {}
        for row in rows:
            if row.stamp not in found:
                places.setdefault(self._places[row.stamp][0], []).append(row.stamp)
        for path, stamps in places.items():
            try:
                if path not in tables:
                    tables[path] = read_table(path)
                texts = texts_in(tables[path], [self._places[stamp][1] for stamp in stamps])
                found |= zip(stamps, texts, strict=True)
            except (FileNotFoundError, ValueError):  # removed or damaged since
                self._read(stamps, as_texts=True)
                found |= {stamp: self._new[stamp] for stamp in stamps if stamp in self._new}
        return found


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Among a million new objects that refer to no other, it would take a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _texts(source: Record | Texts) -> Texts:
    return source if isinstance(source, Texts) else texts_of(source)


def _is_record(name: str) -> bool:
    return name.endswith(".json") and name[0] != "."


def _stamps(entries: Iterable[os.DirEntry[str]]) -> list[Stamp]:
    """What tells whether each file changed, in the order in which they, or links, were written."""
    found = []
    for entry in entries:
        name = entry.name[:-5]  # without .json
        try:
            written = entry.stat(follow_symlinks=False).st_mtime_ns
            of = entry.stat()
            found.append((written, (name, of.st_size, of.st_mtime_ns, of.st_ctime_ns)))
        except FileNotFoundError:  # removed meanwhile, or a link to nothing
            continue
        except OSError:  # out of reach, such as links in a circle: reading it says so
            found.append((0, (name, 0, 0, NEVER)))
    return [stamp for _, stamp in sorted(found)]
