"""Arrays that grow on disk, chunk by chunk, in bounded memory: used by `imported.Writer`.

N examples.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.types import IGNORED, Array, N, Split, SplitName

NAMES = ("codes", "offsets", "ambiguous", "y", "ids")
BLOCK = 1 << 22  # values or names at a time, when an array is rewritten


def array_path(folder: Path, split: str, array: str) -> Path:
    """The file of an array of a split; `array` is one of NAMES."""
    return folder / f"{split}.{array}.bin"


class Part:
    """A split being written.

    rows: N. longest: bp. not_acgt: rows with letters other than A, C, G and T, the number of such
    letters, and of IUPAC ambiguity letters among them. repeated: whether names were repeated, so
    that ids are `split:row`; known after `finish`.
    """

    def __init__(self, folder: Path, split: SplitName) -> None:
        self.split, self.rows, self.longest = split, 0, 0
        self.not_acgt = {"rows": 0, "letters": 0, "iupac": 0}
        self.repeated = False
        self._arrays = {name: Growing(array_path(folder, split, name)) for name in NAMES}
        self._arrays["y"].fill = IGNORED
        self._arrays["offsets"].append(np.zeros(1, np.int64))
        self._bp = 0
        self._hashes: list[Array] = []

    def add(self, part: Split) -> None:
        """Append examples; at least one."""
        seqs, y, ids = part[:3]
        start, stop = int(seqs.offsets[0]), int(seqs.offsets[-1])
        codes = np.asarray(seqs.codes[start:stop], np.uint8)
        if codes.max(initial=0) > N:
            raise ValueError(f"{self.split}: code {codes.max()} is not a base; bases are 0 to {N}")
        points = _code_points(np.asarray(ids, str))
        self._arrays["codes"].append(codes)
        self._arrays["offsets"].append(np.asarray(seqs.offsets[1:] - start + self._bp, np.int64))
        self._arrays["ambiguous"].append(np.asarray(seqs.ambiguous, np.int64))
        self._arrays["y"].append(np.asarray(y))
        self._arrays["ids"].append(points)
        self._hashes.append(_row_hashes(points))
        at = np.flatnonzero(codes == N)
        owners = np.searchsorted(seqs.offsets, at + start, side="right")
        self.not_acgt["rows"] += len(np.unique(owners))
        self.not_acgt["letters"] += len(at)
        self.not_acgt["iupac"] += seqs.n_ambiguous
        self.rows += len(points)
        self._bp += len(codes)
        self.longest = max(self.longest, int(seqs.lengths.max()))

    def close(self) -> None:
        """Close the files; may be called twice."""
        for array in self._arrays.values():
            array.close()

    def finish(self) -> dict[str, dict[str, Any]]:
        """Close the files; the manifest's entry of each array."""
        hashes = np.concatenate(self._hashes)
        self.repeated = len(np.unique(hashes)) < len(hashes)
        if self.repeated:
            self._number()
        return {name: array.finish() for name, array in self._arrays.items()}

    def _number(self) -> None:
        old = self._arrays["ids"]
        old.close()
        old.path.unlink()
        self._arrays["ids"] = Growing(old.path)
        for first in range(1, self.rows + 1, BLOCK):
            rows = range(first, min(first + BLOCK, self.rows + 1))
            self._arrays["ids"].append(_code_points(np.array([f"{self.split}:{i}" for i in rows])))


class Growing:
    """An array on disk to which rows are appended. Rows of ids and bases may differ in width.

    Args:
        path: of the file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.fill = path, 0
        self._file = path.open("xb")
        self._sha = hashlib.sha256()
        self._dtype = np.dtype(np.void)
        self._blocks: list[tuple[int, ...]] = []  # shapes, neighbours of equal width merged

    def append(self, rows: Array) -> None:
        """Append rows of the same type.

        Raises:
            ValueError: another type, or another width where widths are fixed.
        """
        rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
        last = self._blocks[-1] if self._blocks else rows.shape
        varies = rows.dtype in (np.int8, np.uint32)  # labels of bases; ids
        self._dtype = self._dtype if self._blocks else rows.dtype
        if rows.dtype != self._dtype or len(rows.shape) != len(last) or (
            rows.shape[1:] != last[1:] and not varies
        ):  # fmt: skip
            raise ValueError(
                f"{self.path.name}: a chunk is {rows.dtype} {rows.shape}, the one before is "
                f"{self._dtype} {last}"
            )
        self._file.write(rows.data if rows.size else b"")
        self._sha.update(rows.data if rows.size else b"")
        if self._blocks and last[1:] == rows.shape[1:]:
            self._blocks[-1] = (last[0] + len(rows), *last[1:])
        else:
            self._blocks.append(rows.shape)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def finish(self) -> dict[str, Any]:
        """Flush the file to disk and close it; dtype, shape and sha256 of the array."""
        if len(self._blocks) > 1:
            self._widen()
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        rows = sum(block[0] for block in self._blocks)
        width = np.max([block[1:] for block in self._blocks], axis=0).astype(int).tolist()
        return {"dtype": self._dtype.str, "shape": [rows, *width], "sha256": self._sha.hexdigest()}

    def _widen(self) -> None:
        """Rewrite the file with all rows as wide as the widest."""
        self._file.close()
        width = max(block[1] for block in self._blocks)
        step = max(1, BLOCK // width)
        narrow = self.path.rename(self.path.with_suffix(".narrow"))
        self._file, self._sha = self.path.open("xb"), hashlib.sha256()
        with narrow.open("rb") as old:
            for rows, own in self._blocks:
                for first in range(0, rows, step):
                    n = min(step, rows - first)
                    out = np.full((n, width), self.fill, self._dtype)
                    raw = old.read(n * own * self._dtype.itemsize)
                    out[:, :own] = np.frombuffer(raw, self._dtype).reshape(n, own)
                    self._file.write(out.data)
                    self._sha.update(out.data)
        narrow.unlink()


def _code_points(ids: Array) -> Array:
    """uint32 (N, longest), padded with zeros."""
    return np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), -1)


def _row_hashes(points: Array) -> Array:
    """uint64 (N,): equal for equal names, however they are padded."""
    out = np.zeros(len(points), np.uint64)
    for column in range(points.shape[1]):
        letter = points[:, column].astype(np.uint64)
        mixed = (out ^ letter) * np.uint64(0x9E3779B97F4A7C15)
        out = np.where(letter != 0, mixed ^ (mixed >> np.uint64(29)), out)
    return out
