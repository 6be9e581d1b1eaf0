"""The folder of everything that dnabench keeps on disk beside records."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where downloaded and imported data are: $DNABENCH_CACHE, else ~/.cache/dnabench."""
    return Path(os.environ.get("DNABENCH_CACHE") or "~/.cache/dnabench").expanduser()


def made_folder(kind: str) -> Path:
    """A folder in the cache for what can be made again; made where it is missing.

    Raises:
        OSError: when it cannot be made; of a cache that $DNABENCH_CACHE names the parent must be
            there, as a name with a slip of the pen would be made too otherwise.
        RuntimeError: when nobody's home is known.
    """
    home = cache_folder()
    home.mkdir(parents=not os.environ.get("DNABENCH_CACHE"), exist_ok=True)
    (home / kind).mkdir(exist_ok=True)
    return home / kind
