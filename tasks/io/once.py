"""The user's own data, read once in a process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dnabench.types import OwnData, Task


@lru_cache(maxsize=8)
def own_task(path: str, own: OwnData) -> Task:
    """The task of the user's own files; `own_task.cache_clear()` has them read again.

    Raises:
        FileNotFoundError, ValueError: as `task_from_path`.
    """
    from dnabench.tasks.io.files import task_from_path

    return task_from_path(Path(path), own=own)
