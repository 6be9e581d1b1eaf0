"""A store for one reading of a folder: what was read stays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dnabench.results.predictions import arrays_in, damaged
from dnabench.results.store import Store
from dnabench.types import Array, Record


class ReadOnce(Store):
    """A folder whose predictions stay in memory once they were read, as far as KEPT bytes go.

    For a report, which reads them several times, needs no changes that others make meanwhile, and
    seldom looks at a curve: those stay JSON until they are read.
    """

    KEPT = 2**28

    def __init__(self, folder: Path | str) -> None:
        super().__init__(folder)
        self._kept: dict[str, dict[str, Array]] = {}
        self._bytes = 0

    def records(self, ids: Collection[str] | None = None) -> Iterator[Record]:
        """As that of Store."""
        return self.listing(ids, whole=False)[1]

    @contextmanager
    def open_predictions(self, trial_id: str) -> Iterator[Mapping[str, Array]]:
        """As that of Store."""
        if trial_id not in self._kept:
            with super().open_predictions(trial_id) as arrays:
                if self._bytes >= self.KEPT:
                    yield arrays
                    return
                self._kept[trial_id] = arrays_in(arrays)
            self._bytes += sum(x.nbytes for x in self._kept[trial_id].values())
        with damaged(self.predictions_path(trial_id)):
            yield self._kept[trial_id]
