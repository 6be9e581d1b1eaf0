"""One job after another in this process: for debuggers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from dnabench.executors.base import Event, Here, attempt, first

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # which a deterministic trial on CUDA sets


class Inline(Here):
    """One job after another in this process, while `events` is read.

    What it cannot do: run jobs at once (`workers` is ignored), stop a job at a timeout, survive a
    job that ends the process, or report progress before the job has ended.
    """

    name, isolated = "inline", False

    def submit(self, jobs: Sequence[Any]) -> str:
        """Nothing runs before `events` is read."""
        return self._keep(deque(enumerate(jobs)))

    def events(self, handle: str) -> Iterator[Event]:
        """Run the jobs; PyTorch's threads and cuBLAS's variable are then as before."""
        import torch

        before, workspace = torch.get_num_threads(), os.environ.get(CUBLAS)
        torch.set_num_threads(self.threads)
        waiting: deque[tuple[int, Any]] = self._queue(handle)
        try:
            while (taken := first(waiting)) is not None:
                number, job = taken
                yield Event("started", number)
                steps: list[tuple[int, int]] = []
                kind, value = attempt(self.work, job, lambda *step, to=steps: to.append(step))
                yield from (Event("progress", number, step) for step in steps)
                yield Event(kind, number, value)
        finally:
            torch.set_num_threads(before)
            if workspace is None:  # or workers that this process starts later would inherit it
                os.environ.pop(CUBLAS, None)

    def hold(self, handle: str) -> None:
        """Forget the jobs that have not started."""
        self._queue(handle).clear()

    def cancel(self, handle: str) -> None:
        """The same."""
        self.hold(handle)
