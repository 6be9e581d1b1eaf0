"""One job after another in this process: for debuggers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dnabench.executors.base import Event, Here, attempt, first

# which a deterministic trial on CUDA sets, and one that compiles; later workers would inherit them
VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_CACHE_DIR")


@contextmanager
def _undone(threads: int) -> Iterator[None]:
    """Give PyTorch so many threads; undo them and what else a job sets for all of this process.

    These are PyTorch's random state, its default type and whether it follows gradients, and the
    variables of the environment in VARIABLES.
    """
    import torch

    variables = {name: os.environ.get(name) for name in VARIABLES}
    before, kind = torch.get_num_threads(), torch.get_default_dtype()
    follows, drawn = torch.is_grad_enabled(), torch.get_rng_state()
    cuda: Any = torch.cuda
    gpus = cuda.get_rng_state_all() if cuda.is_initialized() else []
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(kind)
        torch.set_grad_enabled(follows)
        torch.set_rng_state(drawn)
        with suppress(RuntimeError):  # of a GPU that a job has broken; the job's record is kept
            cuda.set_rng_state_all(gpus)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
        """Run the jobs; see `_undone`."""
        waiting: deque[tuple[int, Any]] = self._queue(handle)
        while (taken := first(waiting)) is not None:
            number, job = taken
            yield Event("started", number)
            steps: list[tuple[int, int]] = []
            with _undone(self.threads):
                kind, value = attempt(self.work, job, lambda *step, to=steps: to.append(step))
            yield from (Event("progress", number, step) for step in steps)
            yield Event(kind, number, value)

    def hold(self, handle: str) -> None:
        """Forget the jobs that have not started."""
        self._queue(handle).clear()

    def cancel(self, handle: str) -> None:
        """The same."""
        self.hold(handle)
