"""Arrays of an older MATLAB file, piece by piece, unpacked on demand.

Source:
    MathWorks, "MAT-File Format" (level 5).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from dnabench.types import Array

LONGEST_ELEMENT = 1 << 16  # bytes of an array's name, shape or flags
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15


def arrays_in(path: Path) -> Iterator[tuple[str, tuple[int, ...], Callable[[int], Array]]]:
    """Name, shape and a reader of the next n numbers of each array of a level 5 MAT-file."""
    with path.open("rb") as file:
        head = file.read(128)
        if len(head) < 128 or head[126:] not in (b"IM", b"MI"):
            raise ValueError(
                f"{path}: not a MATLAB file, it begins with {head[:20]!r}; download it again"
            )
        order = "<" if head[126:] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(order + "II", tag)
            start = file.tell()
            packed = kind == _COMPRESSED
            stream: _Bytes = _Inflated(path, file, size) if packed else _Plain(path, file)
            if packed:
                kind, _ = struct.unpack(order + "II", stream.read(8))
            if kind == _MATRIX:
                yield _matrix(stream, order)
                stream.finish()
            file.seek(start + size)


def _matrix(stream: _Bytes, order: str) -> tuple[str, tuple[int, ...], Callable[[int], Array]]:
    _element(stream, order)  # flags: class of the array
    dimensions = _element(stream, order)
    shape = tuple(np.frombuffer(dimensions, order + "i4").tolist())
    name = _element(stream, order).decode("latin-1")
    kind, _ = struct.unpack(order + "II", stream.read(8))

    def values(n: int) -> Array:
        dtype = np.dtype(order + _NUMBERS[kind])
        return np.frombuffer(stream.read(n * dtype.itemsize), dtype)

    return name, shape, values


def _element(stream: _Bytes, order: str) -> bytes:
    """A whole element; up to four bytes of data may be inside the tag."""
    tag = stream.read(8)
    kind, size = struct.unpack(order + "II", tag)
    if kind >> 16:
        return tag[4 : 4 + (kind >> 16)]
    if size > LONGEST_ELEMENT:
        raise ValueError("the name or the shape of an array is damaged; download the file again")
    return stream.read(-(-size // 8) * 8)[:size]


class _Bytes(Protocol):
    def read(self, n: int) -> bytes: ...

    def finish(self) -> None: ...


class _Plain:
    """The next bytes of a file, or an error."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file

    def read(self, n: int) -> bytes:
        out = self._file.read(n)
        if len(out) < n:
            raise ValueError(f"{self._path}: the file ends too early; download it again")
        return out

    def finish(self) -> None:
        """Nothing to check."""


class _Inflated:
    """The next bytes of a compressed part of a file, unpacked on demand."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self._path, self._file, self._left, self._zlib = path, file, size, zlib.decompressobj()

    def read(self, n: int) -> bytes:
        out = bytearray()
        while len(out) < n:
            out += self._more(n - len(out))
        return bytes(out)

    def finish(self) -> None:
        """Unpack the rest, which ends with a checksum."""
        while not self._zlib.eof:
            self._more(1 << 20)

    def _more(self, most: int) -> bytes:
        packed = self._zlib.unconsumed_tail
        if not packed:
            packed = self._file.read(min(1 << 20, self._left))
            self._left -= len(packed)
        try:
            out = self._zlib.decompress(packed, most)
        except zlib.error as e:
            raise ValueError(f"{self._path}: damaged ({e}); download it again") from e
        if not packed and not out:
            raise ValueError(f"{self._path}: the file ends too early; download it again")
        return out
