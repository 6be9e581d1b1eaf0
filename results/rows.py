"""Records as rows of a table: a few plain columns, and the rest as JSON that is parsed in bulk."""

from __future__ import annotations

import hashlib
import inspect
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from io import BufferedRandom
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from dnabench.schema import trial_id
from dnabench.types import Recipe, Record, Trial

Stamp = tuple[str, int, int, int]  # the first four fields of a row
SEPARATE = ("trial", "task", "where", "curve")  # fields of a record that are not in `Texts.own`
GROUP = 16_384  # rows that are compressed together


class Row(NamedTuple):
    """The file of a record, and what is often asked of it."""

    id: str
    size: int  # bytes
    written: int  # nanoseconds since 1970
    status: int  # likewise, when its content, name or rights last changed
    why: str = ""  # it is not a record
    failed: bool = False
    model: str = ""
    task: str = ""
    device: str = ""
    length: int = 0  # bp, of the task; 0 = not known
    seconds: float = 0.0
    peak_memory: int = 0  # bytes

    @property
    def stamp(self) -> Stamp:
        """As it was when the file was read."""
        return self[:4]

    @property
    def done(self) -> bool:
        """Whether the trial ended without an error."""
        return not (self.failed or self.why)


class Texts(NamedTuple):
    """A record as JSON; many records have the first three in common."""

    trial: str = "{}"  # without the seed
    about: str = "{}"  # `Record.task`
    where: str = "{}"
    own: str = "{}"  # the other fields, and the seed
    curve: str = "[]"


def row_of(record: Record, stamp: Stamp) -> Row:
    """What is often asked of a record that was just read."""
    length, device = record.task.get("length"), record.where.get("device")
    return Row(
        *stamp, failed=bool(record.error), model=record.trial.model, task=record.trial.task,
        device=device if isinstance(device, str) else "",
        length=length if isinstance(length, int) and 0 <= length < 2**62 else 0,
        seconds=float(record.seconds), peak_memory=max(0, min(record.peak_memory, 2**62)),
    )  # fmt: skip


def texts_of(record: Record) -> Texts:
    """What `Maker` makes the record of."""
    trial = {k: v for k, v in vars(record.trial).items() if k not in ("seed", "id")}
    trial["recipe"] = vars(record.trial.recipe)
    own = {k: v for k, v in vars(record).items() if k not in SEPARATE}
    own["seed"] = record.trial.seed
    parts = (trial, record.task, record.where, own, record.curve)
    return Texts(*(json.dumps(part, sort_keys=True) for part in parts))


class Unread(Sequence[Mapping[str, Any]]):
    """A list as compressed JSON, parsed each time it is read: in a fraction of the memory."""

    __slots__ = ("_packed",)

    def __init__(self, text: str) -> None:
        self._packed = zlib.compress(text.encode(), 1) if text != "[]" else b""

    def _all(self) -> list[Any]:
        return json.loads(zlib.decompress(self._packed)) if self._packed else []

    def __bool__(self) -> bool:
        return bool(self._packed)

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __getitem__(self, at: Any) -> Any:
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Unread) else other)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies are lists, so that `dataclasses.asdict` gives plain JSON."""
        return list, (self._all(),)


class Maker:
    """Makes records of texts; equal parts of them are one object.

    Args:
        whole: parse the curves, which are most of a record; else they are `Unread`.
    """

    def __init__(self, whole: bool) -> None:
        self._parts: dict[str, dict[str, Any]] = {}
        self.whole = whole

    def __call__(self, found: Mapping[Stamp, Texts]) -> Iterator[tuple[Stamp, Record]]:
        """The record of each stamp, in that order, parsed together so that equal keys are one."""
        every = _parsed(texts.own for texts in found.values())
        lines = [texts.curve for texts in found.values()]
        curves = _parsed(lines) if self.whole else map(Unread, lines)
        for (stamp, texts), own, curve in zip(found.items(), every, curves, strict=True):
            trial = Trial(**self._part(texts.trial, True), seed=own.pop("seed"))
            vars(trial)["id"] = stamp[0]
            about, where = self._part(texts.about), self._part(texts.where)
            yield stamp, Record(trial=trial, task=about, where=where, curve=curve, **own)

    def _part(self, text: str, of_trial: bool = False) -> dict[str, Any]:
        if text not in self._parts:
            part = json.loads(text)
            if of_trial:
                part["recipe"] = Recipe(**part["recipe"])
            self._parts[text] = part
        return self._parts[text]


def _parsed(texts: Iterable[str]) -> list[Any]:
    return json.loads(f"[{','.join(texts)}]")  # type: ignore[no-any-return]


_TEXTS = tuple(f"json_{name}" for name in Texts._fields)


@cache
def code() -> str:
    """A hash of the code that reads records: other code may read others, or read them otherwise."""
    files = [Path(inspect.getfile(thing)) for thing in (trial_id, Record, Recipe, Row)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


@contextmanager
def _usable() -> Iterator[None]:
    """Turn what Arrow says of a table or file that it cannot read, make or write into OSError."""
    import pyarrow as pa  # type: ignore[import-untyped]

    try:
        yield
    except (pa.ArrowException, KeyError, OverflowError, TypeError, ValueError) as e:
        raise OSError(f"no table of records: {e}") from e


@_usable()
def table_of(rows: Sequence[Row], texts: Sequence[Texts]) -> Any:
    """An Arrow table of rows, at least one, and their texts."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    fields = [(name, kinds[kind]) for name, kind in get_type_hints(Row).items()]
    fields += [(name, pa.large_string()) for name in _TEXTS]
    values = [*zip(*rows, strict=True), *zip(*texts, strict=True)]
    arrays = [pa.array(x, kind) for x, (_, kind) in zip(values, fields, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


@_usable()
def write_table(table: Any, file: BufferedRandom) -> None:
    """Write it as Parquet, with checksums."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    pq.write_table(table, file, compression="zstd", row_group_size=GROUP, write_page_checksum=True)


@_usable()
def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """The table in a file, or some of its columns.

    Raises:
        OSError: it was removed, is damaged, or cannot be read; so do the other functions of tables.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns)


@_usable()
def read_texts(path: Path, group: int) -> Any:
    """The texts of GROUP rows of a file, those from number GROUP * group on."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read_row_group(group, _TEXTS)


@_usable()
def joined(parts: Sequence[tuple[Any, Sequence[int]]]) -> Any:
    """A table of some rows of several; of each, at least one."""
    import pyarrow as pa

    return pa.concat_tables([table.take(list(at)) for table, at in parts])


@_usable()
def rows_in(table: Any) -> list[Row]:
    """The rows of a table."""
    values = (column.to_pylist() for column in table.select(Row._fields).columns)
    return list(map(tuple.__new__, repeat(Row), zip(*values, strict=True)))  # twice as fast


@_usable()
def texts_in(table: Any, at: Sequence[int]) -> list[Texts]:
    """Some rows of `read_texts`."""
    values = (column.to_pylist() for column in table.take(list(at)).columns)
    return list(map(Texts._make, zip(*values, strict=True)))
