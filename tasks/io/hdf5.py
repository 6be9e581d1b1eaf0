"""HDF5 files, which MATLAB 7.3 writes too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def claimed(array: Any) -> int:
    """Bytes that an array of an HDF5 file says it has; at least those of a chunk of it."""
    elements = max(int(array.size), math.prod(array.chunks or ()))
    return elements * int(array.dtype.itemsize)


def open_hdf5(path: Path) -> Any:
    """Open an HDF5 file for reading.

    Raises:
        ValueError: h5py is not installed, or the file is not HDF5.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError:
        raise ValueError(f"{path}: an HDF5 file needs h5py; pip install h5py") from None
    try:
        return h5py.File(path, "r")
    except OSError as e:
        raise ValueError(f"{path}: not a complete HDF5 file ({e}); download it again") from e


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    with path.open("rb") as file:  # MATLAB puts 512 bytes of its own first
        head = file.read(520)
    return b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:])
