"""The records of a folder by way of Parquet files beside them: 100,000 are read in seconds.

runs/.cache/records/<host>-<code>-<random>.parquet     what some of the records say, see rows.py

The JSON files stay the truth: a row counts as long as its file has the size and the times, of
content and of status, that it had when the row was made. Every process adds files and changes
none; a host with more than MOST replaces its own by one. All of them can be deleted, and what
cannot be read or written here is read from the JSON files.
"""

from __future__ import annotations

import gc
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

from dnabench.cache import remove_drafts, replacing
from dnabench.host.processes import each
from dnabench.results.claims import server_time
from dnabench.results.rows import (
    GROUP,
    Maker,
    Row,
    Stamp,
    Texts,
    code,
    joined,
    read_table,
    read_texts,
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
PARSED = 256  # JSON files that a process reads at a time
HOST = socket.gethostname()
NEVER = 2**63 - 1
SETTLED = 2e9  # nanoseconds; a younger file can change without a change of its times


class Index:
    """The records of a folder.

    Args:
        records: the folder of the JSON files.
        folder: of the Parquet files. What fails there costs time, and nothing else.
        load: the record of a trial, from its JSON file. OSError: it cannot be opened now;
            ValueError: it holds none.
        read: likewise; None when there is none that can be read, of which it keeps the reason.
    """

    def __init__(
        self,
        records: Path,
        folder: Path,
        load: Callable[[str], Record],
        read: Callable[[str], Record | None],
    ) -> None:
        self.source, self.folder, self.load, self.read = records, folder, load, read
        self._rows: dict[Stamp, Row] = {}  # of the Parquet files
        self._stamps: dict[Path, list[Stamp]] = {}  # of the files' rows, in their order
        self._places: dict[Stamp, tuple[Path, int]] = {}  # where texts are, see `_texts`
        self._seen: set[Path] = set()

    def rows(self, fresh: dict[Stamp, Record] | None = None) -> list[Row]:
        """A row for each file, by the time it was written; what the Parquet files lack is read.

        Args:
            fresh: filled with the records that were read and are in no Parquet file.

        Raises:
            OSError: when the folder cannot be listed.
        """
        with _no_search_for_cycles():
            return self._current({} if fresh is None else fresh, keep=fresh is not None)

    def _current(self, fresh: dict[Stamp, Record], keep: bool) -> list[Row]:
        stamps = _stamps(self.source)
        if len(stamps) >= LEAST:
            self._look()
        known, missing = self._known(stamps)
        enough = max(LEAST, len(stamps) // PART)
        if len(missing) >= enough and len(settled := self._settled(missing)) >= enough:
            for at in range(0, len(settled), AT_ONCE):
                if not self._save(settled[at : at + AT_ONCE]):
                    break
            self._compact_own(stamps)
            known, missing = self._known(stamps)
        found: dict[Stamp, Row] = {}
        for row, content in self._load_each(missing):
            found[row.stamp] = row
            if keep and isinstance(content, Record):
                fresh[row.stamp] = content
        if missing:
            known = [row or found.get(stamp) for row, stamp in zip(known, stamps, strict=True)]
        return [row for row in known if row is not None]

    def records(
        self, rows: Sequence[Row], fresh: Mapping[Stamp, Record], whole: bool = True
    ) -> Iterator[Record]:
        """The records of some of the rows that `rows` gave with `fresh`, in their order.

        Those that the Parquet files have no more are read again, as they are then.

        Args:
            rows: some of those that `rows` gave.
            fresh: what `rows` filled.
            whole: whether curves are lists; else those of the Parquet files are `rows.Unread`.
        """
        make, tables = Maker(whole), dict[tuple[Path, int], Any]()
        for at in range(0, len(rows), MADE):
            some = rows[at : at + MADE]
            with _no_search_for_cycles():
                stored = [row.stamp for row in some if row.stamp not in fresh]
                made = dict(make(self._texts(stored, tables)))
            for row in some:
                record = fresh.get(row.stamp) or made.get(row.stamp) or self.read(row.id)
                if record is not None:
                    yield record

    def compact(self) -> tuple[int, int]:
        """Replace the Parquet files of all hosts by one, and remove those of other versions.

        Returns:
            How many files were removed, and how many rows the new one has.

        Raises:
            OSError: when the folder cannot be read or written.
        """
        stamps = [row.stamp for row in self.rows()]
        paths = sorted(self.folder.glob("*.parquet"))
        remove_drafts(self.folder)
        return len(paths), self._replace(paths, stamps)

    def _known(self, stamps: Sequence[Stamp]) -> tuple[list[Row | None], list[Stamp]]:
        """The row of each stamp, None where the Parquet files lack it, and those that they lack."""
        known = list(map(self._rows.get, stamps))
        if None not in known:
            return known, []
        return known, [stamp for stamp, row in zip(stamps, known, strict=True) if row is None]

    def _paths(self, host: str = "*") -> set[Path]:
        """The Parquet files that this version wrote."""
        return set(self.folder.glob(f"{host}-{code()}-????????.parquet"))

    def _look(self) -> None:
        """Take in new Parquet files."""
        for path in self._paths() - self._seen:
            self._seen.add(path)
            with suppress(OSError):
                self._take(path, rows_in(read_table(path, Row._fields)))

    def _settled(self, stamps: Iterable[Stamp]) -> list[Stamp]:
        """Those of files that cannot change unnoticed; none where nothing can be kept."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            now = min(server_time(self.folder), server_time(self.source)) * 1e9
        except OSError:
            return []
        return [stamp for stamp in stamps if max(stamp[2:]) < now - SETTLED]

    def _take(self, path: Path, rows: Sequence[Row]) -> None:
        stamps = [row[:4] for row in rows]  # as `Row.stamp`, in a third of the time
        self._rows.update(zip(stamps, rows, strict=True))
        self._stamps[path] = stamps

    def _load_each(self, stamps: Iterable[Stamp]) -> Iterator[tuple[Row, Record | Texts | None]]:
        """Read JSON files: the record, no texts if there is none, None if it cannot be opened."""
        for stamp in stamps:
            try:
                record = self.load(stamp[0])
                yield row_of(record, stamp), record
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as e:
                yield Row(*stamp, why=e.strerror or str(e)), None
            except ValueError as e:
                yield Row(*stamp, why=str(e)), Texts()

    def _save(self, stamps: Sequence[Stamp]) -> bool:
        """Read JSON files and write what they hold; False when that could not be written."""
        parts = [stamps[n : n + PARSED] for n in range(0, len(stamps), PARSED)]
        read = [found for part in each(self._read_each, parts) for found in part]
        rows, texts = [row for row, _ in read], [own for _, own in read]
        try:
            if rows:
                self._write(rows, table_of(rows, texts))
        except OSError:
            return False
        return True

    def _read_each(self, stamps: Iterable[Stamp]) -> list[tuple[Row, Texts]]:
        """What JSON files hold, as far as it can be kept."""
        return [
            (row, content if isinstance(content, Texts) else texts_of(content))
            for row, content in self._load_each(stamps)
            if content is not None and (row.id + row.why).isascii()
        ]

    def _write(self, rows: Sequence[Row], table: Any) -> None:
        path = self.folder / f"{HOST}-{code()}-{secrets.token_hex(4)}.parquet"
        with replacing(path) as file:
            write_table(table, file)
        self._seen.add(path)
        self._take(path, rows)

    def _compact_own(self, stamps: Sequence[Stamp]) -> None:
        own = self._paths(HOST)
        if len(own) > MOST:
            with suppress(OSError):
                self._replace(sorted(own), stamps)

    def _replace(self, paths: Sequence[Path], stamps: Sequence[Stamp]) -> int:
        """Remove files, and write one with those of their rows that count.

        Who removes a file has its rows, so that none is copied twice, nor one that has to stay.
        """
        parts, kept, wanted = list[tuple[Any, list[int]]](), list[Row](), set(stamps)
        ours, stays = self._paths(), None
        for path in paths:
            table, rows = None, list[Row]()
            with suppress(OSError):
                table = read_table(path) if path in ours else None
                rows = rows_in(table) if table else []
            try:
                path.unlink()
            except FileNotFoundError:  # another process has its rows
                continue
            except OSError as e:
                stays = e
                continue
            at = [n for n, row in enumerate(rows) if row.stamp in wanted]
            if at:
                parts.append((table, at))
                kept += [rows[n] for n in at]
                wanted -= {rows[n].stamp for n in at}
        if kept:
            self._write(kept, joined(parts))
        if stays:
            raise stays
        return len(kept)

    def _texts(
        self, stamps: Iterable[Stamp], tables: dict[tuple[Path, int], Any]
    ) -> dict[Stamp, Texts]:
        """What the Parquet files hold of these records; `tables` keeps what the next may need."""
        for path, own in self._stamps.items():
            self._places.update(zip(own, zip(repeat(path), count()), strict=False))
        self._stamps.clear()
        places, found = dict[tuple[Path, int], list[Stamp]](), dict[Stamp, Texts]()
        for stamp in stamps:
            if stamp in self._places:
                path, at = self._places[stamp]
                places.setdefault((path, at // GROUP), []).append(stamp)
        for place in tables.keys() - places.keys():
            del tables[place]
        for place, some in places.items():
            with suppress(OSError):  # removed or damaged since
                if place not in tables:
                    tables[place] = read_texts(*place)
                texts = texts_in(tables[place], [self._places[stamp][1] % GROUP for stamp in some])
                found |= zip(some, texts, strict=True)
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


def _stamps(folder: Path) -> list[Stamp]:
    """What tells whether each file changed, in the order in which they, or links, were written."""
    found, links = list[Stamp](), dict[str, int]()
    number = os.open(folder, os.O_RDONLY)  # a number is found faster
    try:
        for entry in os.scandir(number):  # kept, 100,000 entries would hold 23 MB
            if not entry.name.endswith(".json") or entry.name[0] == ".":
                continue
            name = entry.name[:-5]  # without .json
            try:
                if entry.is_symlink():
                    links[name] = entry.stat(follow_symlinks=False).st_mtime_ns
                of = entry.stat()
                found.append((name, of.st_size, of.st_mtime_ns, of.st_ctime_ns))
            except FileNotFoundError:  # removed meanwhile, or a link to nothing
                continue
            except OSError:  # out of reach, such as links in a circle: reading it says so
                found.append((name, 0, 0, NEVER))
    finally:
        os.close(number)
    if links or len({written for _, _, written, _ in found}) < len(found):
        return sorted(found, key=lambda stamp: (links.get(stamp[0], stamp[2]), stamp))
    return sorted(found, key=itemgetter(2))  # the same, in a third of the time
