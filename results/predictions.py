"""What may be wrong with a file of predictions, said before it takes memory or the report."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dnabench.host.machine import free_memory

SMALL = 2**22  # bytes that are read without asking for room, which takes longer


def check_memory(arrays: Any) -> None:
    """Raise MemoryError where the arrays of an .npz would not fit in memory together."""
    size = sum(member.file_size for member in arrays.zip.infolist())
    if size > SMALL and 0 < (free := free_memory()) < size:
        raise MemoryError(f"it unpacks to {size:,} bytes, {free:,} of memory are free")


def check_sizes(arrays: Any) -> None:
    """Raise ValueError where an array of an .npz says that it is larger than its bytes."""
    for member in arrays.zip.infolist():
        with arrays.zip.open(member) as f:
            version = np.lib.format.read_magic(f)
            first = version == (1, 0)
            read = (
                np.lib.format.read_array_header_1_0
                if first
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(f)
        if math.prod(shape) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} is shorter than it says")


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what a damaged file of predictions raises into a message that says what to do.

    A lack of memory says nothing of the file: it is an OSError, as of a file out of reach.
    """
    try:
        yield
    except OSError:
        raise
    except MemoryError as e:
        why = str(e) or "memory is short"
        raise OSError(errno.ENOMEM, f"not read for lack of memory: {why}", str(path)) from e
    except Exception as e:  # zipfile, zlib and NumPy have many for a damaged file
        why = str(e) or type(e).__name__
        raise ValueError(f"cannot read {path}: {why}; run the trial again") from e
