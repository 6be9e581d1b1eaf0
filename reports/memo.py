"""What a report computed before, kept by content beside the records: the next one is quick."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnabench.cache import keep_json, read_json

VERSION = 3  # of the numbers; raise it when a computation changes


def stamp(path: Path) -> list[int] | None:
    """Size and time of a file, which tell whether it changed; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


class Memo:
    """A folder of JSON values, named by the hash of what they were computed from.

    Any number of processes may read and write it; a file appears whole or not at all. One that
    cannot be read is computed again; where none can be written, nothing is kept. The folder is made
    on the first write; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(
        self, what: str, key: Any, compute: Callable[[], Any],
        lasting: Callable[[Any], bool] = lambda _: True,
    ) -> Any:  # fmt: skip
        """The value of the computation `what` for this key, or `compute()`, which is then kept.

        `key` is everything the value depends on; floats count to the last bit. Both are JSON, in
        which NaN is fine. A value that is not `lasting` is not kept.
        """
        if self.folder is None:
            return compute()
        text = json.dumps([VERSION, what, key], sort_keys=True)
        path = self.folder / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
        value = read_json(path)
        if value is None:
            value = compute()
            if lasting(value):
                keep_json(path, value)
        return value
